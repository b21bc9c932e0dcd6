//! A recorded journal in words, entry by entry: those of the test runtime's stories.

use std::fmt;

use prost::Message as _;

use super::RecordedJournal;
use crate::{
    engine::words::{describe_awaited, describe_command, describe_notification, show},
    protocol::{MessageType, message::InputCommand},
    wire::{Awaited, CANCEL, CommandMessage},
};

/// Lines that are shown before the one that matters, and behind it.
const BEFORE: usize = 25;
const BEHIND: usize = 10;

/// An entry in words.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) text: String,
    /// Which command this is, Input being 0; none for a notification.
    command: Option<usize>,
}

/// The journal, line by line.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    lines: Vec<Line>,
    /// The line to look at.
    marked: Option<usize>,
}

/// The commands of a journal that can be read.
fn commands(journal: &RecordedJournal) -> Vec<CommandMessage> {
    let commands = journal.entries.iter().filter(|entry| entry.ty.is_command());
    commands
        .filter_map(|entry| CommandMessage::decode(entry.ty, &entry.payload).ok())
        .collect()
}

/// What is awaited, in words; `new` are the commands behind those of the record.
pub(super) fn awaited_in_words(
    journal: &RecordedJournal,
    new: &[CommandMessage],
    awaited: &Awaited,
) -> String {
    let recorded = commands(journal);
    let words = describe_awaited(recorded.iter().chain(new), awaited);
    // It is not told beside others, since every handler waits for it. One that waits for nothing else waits, too.
    if words.is_empty() && awaited.signals.contains(&CANCEL) {
        return "its cancellation".to_owned();
    }
    words
}

impl Listing {
    pub(super) fn of(journal: &RecordedJournal) -> Self {
        let known = commands(journal);
        let mut count = 0;
        let lines = journal.entries.iter().map(|entry| {
            if entry.ty.is_command() {
                count += 1;
                let text = if entry.ty == MessageType::INPUT {
                    let input = InputCommand::decode(entry.payload.clone()).unwrap_or_default();
                    format!("input {}", show(&input.value.unwrap_or_default().content))
                } else {
                    match CommandMessage::decode(entry.ty, &entry.payload) {
                        Ok(command) => describe_command(&command),
                        Err(error) => error.to_string(),
                    }
                };
                return Line {
                    text: format!("→ {text}"),
                    command: Some(count - 1),
                };
            }
            let text = match entry.as_notification() {
                Some(notification) => describe_notification(known.iter(), &notification),
                None => format!("{}, which cannot be decoded", entry.ty),
            };
            Line {
                text: format!("← {text}"),
                command: None,
            }
        });
        Self {
            lines: lines.collect(),
            marked: None,
        }
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Marks a command by its index, Input being 0.
    pub(super) fn mark(mut self, command: Option<u32>) -> Self {
        let command = command.and_then(|index| usize::try_from(index).ok());
        let mut lines = self.lines.iter();
        self.marked = command.and_then(|_| lines.position(|line| line.command == command));
        self
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.lines.len();
        let (from, to) = match self.marked {
            None => (last.saturating_sub(BEFORE + BEHIND), last),
            Some(at) => (at.saturating_sub(BEFORE), (at + BEHIND).min(last)),
        };
        if from > 0 {
            write!(f, "\n         … {from} entries")?;
        }
        for (at, line) in self.lines.iter().enumerate().take(to).skip(from) {
            let mark = if self.marked == Some(at) { "✗" } else { " " };
            write!(f, "\n  {mark} {at:>5} {}", line.text)?;
        }
        if to < last {
            write!(f, "\n         … {} entries", last - to)?;
        }
        Ok(())
    }
}
