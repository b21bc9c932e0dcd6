//! What a replay comes to: how far today's code goes, or why it would break the invocation.

use std::{error::Error, fmt};

use bytes::Bytes;

use super::{RecordedJournal, listing::Listing};
use crate::TerminalError;

/// Today's code issues what was recorded, and goes on from there; see [`RecordedJournal::replay`].
///
/// # Examples
///
/// See [`RecordedJournal::replay`].
#[derive(Clone, Debug, Default)]
pub struct Replayed {
    pub(super) new_commands: Vec<String>,
    pub(super) awaits: String,
    pub(super) output: Option<Result<Bytes, TerminalError>>,
}

impl Replayed {
    /// The commands that the code issues behind the recorded ones, before it waits or ends, in words:
    /// ``run `ship` ``, `call Mailer/send("ada")`. None of them was carried out.
    ///
    /// # Examples
    ///
    /// See [`RecordedJournal::replay`].
    #[must_use]
    pub fn new_commands(&self) -> &[String] {
        &self.new_commands
    }

    /// What the code waits for at the end, in words; nothing if it has ended.
    ///
    /// # Examples
    ///
    /// See [`RecordedJournal::replay`].
    #[must_use]
    pub fn awaits(&self) -> &str {
        &self.awaits
    }

    /// Whether the code comes to its end with what is recorded.
    ///
    /// # Examples
    ///
    /// See [`RecordedJournal::replay`].
    #[must_use]
    pub fn ended(&self) -> bool {
        self.output.is_some()
    }

    /// What it ends with, if it ends: the handler's output, as bytes, or its terminal error.
    ///
    /// # Examples
    ///
    /// See [`RecordedJournal::replay`].
    #[must_use]
    pub fn output(&self) -> Option<Result<Bytes, TerminalError>> {
        self.output.clone()
    }
}

/// What kind of break it would be.
///
/// # Examples
///
/// See [`RecordedJournal::replay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplayFailureKind {
    /// The endpoint has no such service or handler any more.
    HandlerGone,
    /// The endpoint does not speak the protocol version of the record.
    Refused,
    /// The code issues other commands than were recorded, or in another order, or not all of them.
    Mismatch,
    /// The attempt fails otherwise: a recorded result cannot be decoded, the handler panics or returns an
    /// error that would be retried.
    AttemptFailed,
    /// The handler waits for something that is not durable.
    Foreign,
    /// The code does not wait for what the invocation waited for when it was recorded: it waits for
    /// something else, or ends.
    NotAwaited,
    /// The invocation had ended, and the code ends with something else.
    Output,
    /// The handler wakes itself for ever.
    Endless,
    /// The record itself is no journal that a runtime could send: it was changed by hand, maybe.
    Unusable,
}

/// Why today's code would break the invocation; see [`RecordedJournal::replay`].
///
/// It shows what differs, and the recorded journal with the command that is meant.
///
/// # Examples
///
/// See [`RecordedJournal::replay`].
#[derive(Clone)]
pub struct ReplayFailure {
    kind: ReplayFailureKind,
    title: String,
    what: String,
    listing: Box<Listing>,
}

impl ReplayFailure {
    pub(super) fn new(
        journal: &RecordedJournal,
        kind: ReplayFailureKind,
        what: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title: journal.title(),
            what: what.into(),
            listing: Box::new(Listing::of(journal)),
        }
    }

    /// It is about this command, Input being 0.
    pub(super) fn at(mut self, command: Option<u32>) -> Self {
        self.listing = Box::new(self.listing.mark(command));
        self
    }

    /// What kind of break it would be.
    ///
    /// # Examples
    ///
    /// See [`RecordedJournal::replay`].
    #[must_use]
    pub fn kind(&self) -> ReplayFailureKind {
        self.kind
    }
}

impl fmt::Display for ReplayFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this code would break {}\n\n{}\n\nThe recorded journal:\n{}",
            self.title, self.what, self.listing
        )
    }
}

/// `unwrap` shows it, and it is for people.
impl fmt::Debug for ReplayFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl Error for ReplayFailure {}
