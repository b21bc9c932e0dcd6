//! What happened to an invocation, as JSON: its commands, what came to it, and what the runtime did.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;

use super::{filter::Part, row::brief_awaited};
use crate::{
    engine::{
        invocation::{Invocation, Next, Record, What},
        words::{self, completions},
    },
    protocol::message::{Notification, NotificationId, NotificationResult},
    wire::CommandMessage,
};

/// The most of an input or output that is shown, in bytes.
const SHOWN: usize = 4096;

/// Something that happened.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    /// Its place among all that happened.
    index: usize,
    /// Milliseconds since 1970.
    at: u64,
    attempt: u32,
    /// `issued` by the handler, `came` to it, or done by the `runtime`.
    kind: &'static str,
    /// The command's or notification's name in the protocol; of the runtime's own what it did.
    #[serde(rename = "type")]
    ty: String,
    /// The handler's own name for the command.
    #[serde(skip_serializing_if = "str::is_empty")]
    name: String,
    text: String,
    /// Whether it is a failure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    /// Of a command: the completion that it waits for. Of a completion: its own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_id: Option<u32>,
    /// Of a call: the completion that says which invocation it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation_completion_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal_name: Option<String>,
    /// When it is to come to an end: of a sleep, and of a pause before the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    /// The invocation that a call made, in the completion that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    invocation: Option<String>,
}

/// A journal, or a part of it.
#[derive(Debug, Serialize)]
pub(super) struct Journal {
    input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    journal: Vec<Event>,
    /// Where the rest begins, if there is more.
    journal_next: Option<usize>,
}

impl Journal {
    pub(super) fn of(invocation: &Invocation, part: Part) -> Self {
        let records = &invocation.records;
        let from = part.from.min(records.len());
        let to = from.saturating_add(part.limit).min(records.len());
        // What a completion is of, for those that are shown: looked up once, not in all commands each time.
        let commands: HashMap<u32, &CommandMessage> = records
            .iter()
            .filter_map(|record| match &record.what {
                What::Command(_, command) => Some(&**command),
                _ => None,
            })
            .flat_map(|command| {
                let (invocation, result) = completions(command);
                invocation
                    .into_iter()
                    .chain(result)
                    .map(move |id| (id, command))
            })
            .collect();
        let shown = records.iter().enumerate().skip(from).take(to - from);
        Self {
            input: preview(&invocation.input),
            output: invocation
                .records
                .iter()
                .rev()
                .find_map(|record| match &record.what {
                    What::Ended(Ok(output)) => Some(preview(output)),
                    _ => None,
                }),
            journal: shown
                .map(|(index, record)| event(index, record, invocation, &commands))
                .collect(),
            journal_next: (to < records.len()).then_some(to),
        }
    }
}

fn event(
    index: usize,
    record: &Record,
    invocation: &Invocation,
    commands: &HashMap<u32, &CommandMessage>,
) -> Event {
    let mut event = Event {
        index,
        at: record.at,
        attempt: record.attempt,
        kind: "runtime",
        ty: String::new(),
        name: String::new(),
        text: String::new(),
        failed: false,
        completion_id: None,
        invocation_completion_id: None,
        signal_id: None,
        signal_name: None,
        until: None,
        invocation: None,
    };
    match &record.what {
        What::Command(message, command) => {
            event.kind = "issued";
            event.ty = message.ty.to_string();
            event.name = command.name().to_owned();
            event.text = words::describe_issued(command, record.at);
            (event.invocation_completion_id, event.completion_id) = completions(command);
            match &**command {
                CommandMessage::Sleep(sleep) => event.until = Some(sleep.wake_up_time),
                CommandMessage::Output(output) => event.failed = output.failure.is_some(),
                _ => {}
            }
        }
        What::Notification(message, notification) => {
            event.kind = "came";
            event.ty = message.ty.to_string();
            event.text = describe(notification, commands);
            match &notification.id {
                Some(NotificationId::Completion(id)) => event.completion_id = Some(*id),
                Some(NotificationId::Signal(id)) => event.signal_id = Some(*id),
                Some(NotificationId::NamedSignal(name)) => event.signal_name = Some(name.clone()),
                None => {}
            }
            match &notification.result {
                Some(NotificationResult::Failure(_)) => event.failed = true,
                Some(NotificationResult::InvocationId(id)) => {
                    event.invocation = std::str::from_utf8(id).ok().map(str::to_owned);
                }
                _ => {}
            }
        }
        What::Suspended(awaited) => {
            event.ty = "Suspended".to_owned();
            let ids = awaited.completions.iter();
            // Not all commands, but those that are awaited.
            let commands = ids.filter_map(|id| commands.get(id).copied());
            let commands = commands.collect::<Vec<_>>();
            let text = brief_awaited(commands.into_iter(), awaited);
            event.text = format!("suspended on {text}");
        }
        what => {
            event.ty = match what {
                What::Began => "Began",
                What::Closed => "Closed",
                What::Failed(..) => "Failed",
                What::Paused => "Paused",
                What::Resumed => "Resumed",
                What::Cut(_) => "Cut",
                _ => "Ended",
            }
            .to_owned();
            event.text = words::describe_record(invocation, record);
            match what {
                What::Failed(_, next) => {
                    event.failed = true;
                    if let Next::Retry(delay) = next {
                        event.until = Some(record.at.saturating_add(*delay));
                    }
                }
                What::Ended(outcome) => event.failed = outcome.is_err(),
                _ => {}
            }
        }
    }
    event
}

fn describe(notification: &Notification, commands: &HashMap<u32, &CommandMessage>) -> String {
    let command = match &notification.id {
        Some(NotificationId::Completion(id)) => commands.get(id).copied(),
        _ => None,
    };
    words::describe_notification(command.into_iter(), notification)
}

/// A payload as text.
fn preview(payload: &Bytes) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) if text.len() <= SHOWN => text.to_owned(),
        Ok(text) => format!(
            "{}… ({} bytes)",
            &text[..text.floor_char_boundary(SHOWN)],
            payload.len()
        ),
        Err(_) => format!("{} bytes", payload.len()),
    }
}
