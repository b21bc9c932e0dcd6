//! What ends an attempt without an outcome of the handler.

use std::{borrow::Cow, fmt, time::Duration};

use crate::error::{Behavior, BoxError, Retryable};
use crate::protocol::MessageType;

/// The journal does not match the code.
pub(crate) const JOURNAL_MISMATCH: u16 = 570;
/// The runtime sent what cannot come now.
pub(crate) const PROTOCOL_VIOLATION: u16 = 571;
/// Everything else.
pub(crate) const INTERNAL: u16 = 500;

/// A command of the journal, for reports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommandRef {
    pub(crate) index: u32,
    pub(crate) ty: MessageType,
    pub(crate) name: String,
}

impl fmt::Display for CommandRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {} ({}", self.index, self.ty)?;
        if !self.name.is_empty() {
            write!(f, " `{}`", self.name)?;
        }
        f.write_str(")")
    }
}

/// An attempt that ends with an `Error` message: the runtime tries again, unless `behavior` says
/// otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AttemptError {
    pub(crate) code: u16,
    pub(crate) message: String,
    /// The end of the message, which may quote a payload: it goes to the runtime, which holds the
    /// payload anyway, and into no log.
    pub(crate) quoting: Box<str>,
    /// Goes into the message's `stacktrace` field.
    pub(crate) details: Box<str>,
    pub(crate) command: Option<CommandRef>,
    pub(crate) delay: Option<Duration>,
    pub(crate) behavior: Behavior,
}

impl AttemptError {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            quoting: Box::default(),
            details: Box::default(),
            command: None,
            delay: None,
            behavior: Behavior::Retry,
        }
    }

    /// What came cannot come now, or cannot be read.
    pub(crate) fn violation(message: impl fmt::Display) -> Self {
        Self::new(PROTOCOL_VIOLATION, format!("protocol violation: {message}"))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(INTERNAL, message)
    }

    pub(crate) fn retryable(failure: Retryable) -> Self {
        Self {
            details: failure.details.into(),
            delay: failure.delay,
            behavior: failure.behavior,
            ..Self::new(INTERNAL, failure.message)
        }
    }

    /// Adds a cause whose text may quote a payload.
    pub(crate) fn quoting(mut self, cause: &BoxError) -> Self {
        self.quoting = cause.to_string().into();
        self
    }

    /// The message as the runtime gets it.
    pub(crate) fn sent_message(&self) -> Cow<'_, str> {
        if self.quoting.is_empty() {
            Cow::Borrowed(&self.message)
        } else {
            Cow::Owned(format!("{}: {}", self.message, self.quoting))
        }
    }

    pub(crate) fn about(mut self, command: Option<CommandRef>) -> Self {
        self.command = self.command.or(command);
        self
    }
}

/// As it stands in a log.
impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)
    }
}
