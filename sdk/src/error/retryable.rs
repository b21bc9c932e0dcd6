//! The failure that asks for another attempt in a certain way.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::{Behavior, BoxError};

/// An error that is worth another attempt, with a say in when that attempt comes.
///
/// Errors are retried anyway; wrap one in `RetryableError` to ask for a [delay](Self::after), a
/// [pause](Self::pause) or an [end](Self::fail), or to retry although a
/// [`TerminalError`](crate::TerminalError) stands in its source chain. Like `TerminalError` it is
/// recognised behind wrappers; where both stand in one chain, the outer one decides.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use durably::{HandlerResult, RetryableError};
///
/// fn charge(status: u16) -> HandlerResult<()> {
///     if status == 429 {
///         let busy = RetryableError::new("the payment provider is busy");
///         return Err(busy.after(Duration::from_secs(30)).into());
///     }
///     Ok(())
/// }
///
/// assert!(!charge(429).unwrap_err().is_terminal());
/// ```
///
/// Opting out of a terminal verdict:
///
/// ```
/// use durably::{HandlerError, RetryableError, TerminalError};
///
/// let callee_failed = TerminalError::new("not deployed yet");
/// let error = HandlerError::from(RetryableError::new(callee_failed));
/// assert!(!error.is_terminal());
/// ```
pub struct RetryableError {
    marker: RetryableMarker,
}

/// What a [`RetryableError`] returns as its source. It stands for the wrapped error: its own source
/// is the wrapped error's.
pub(super) struct RetryableMarker {
    error: BoxError,
    pub(super) delay: Option<Duration>,
    pub(super) behavior: Behavior,
}

impl RetryableError {
    /// Wraps an error; without further settings it is retried as the runtime's policy says.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::RetryableError;
    ///
    /// let error = RetryableError::new(std::io::Error::other("connection reset"));
    /// assert_eq!(error.to_string(), "connection reset");
    /// ```
    pub fn new(error: impl Into<BoxError>) -> Self {
        let marker = RetryableMarker {
            error: error.into(),
            delay: None,
            behavior: Behavior::Retry,
        };
        Self { marker }
    }

    /// Asks for the next attempt after this delay instead of the one of the runtime's policy.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use durably::RetryableError;
    ///
    /// let error = RetryableError::new("rate limited").after(Duration::from_secs(5));
    /// assert_eq!(error.to_string(), "rate limited");
    /// ```
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.marker.delay = Some(delay);
        self
    }

    /// Asks the runtime to pause the invocation until somebody resumes it.
    ///
    /// Takes the place of [`fail`](Self::fail). A runtime that speaks a service protocol before v7
    /// cannot be asked; there the invocation is retried as its own policy says.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::RetryableError;
    ///
    /// let error = RetryableError::new("the warehouse is closed for stocktaking").pause();
    /// assert_eq!(error.to_string(), "the warehouse is closed for stocktaking");
    /// ```
    #[must_use]
    pub fn pause(mut self) -> Self {
        self.marker.behavior = Behavior::Pause;
        self
    }

    /// Asks the runtime to fail the invocation without another attempt.
    ///
    /// Unlike a [`TerminalError`](crate::TerminalError) this is not a result of the handler: it ends
    /// the attempt, and the runtime ends the invocation. Takes the place of [`pause`](Self::pause).
    /// A runtime that speaks a service protocol before v7 cannot be asked; there the invocation ends
    /// with a [`TerminalError`](crate::TerminalError) of code 500 and the same message.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::RetryableError;
    ///
    /// let error = RetryableError::new("this build is known to be broken").fail();
    /// assert_eq!(error.to_string(), "this build is known to be broken");
    /// ```
    #[must_use]
    pub fn fail(mut self) -> Self {
        self.marker.behavior = Behavior::Fail;
        self
    }
}

impl fmt::Debug for RetryableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryableError")
            .field("error", &self.marker.error)
            .field("delay", &self.marker.delay)
            .field("behavior", &self.marker.behavior)
            .finish()
    }
}

impl fmt::Display for RetryableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.marker.error, f)
    }
}

impl Error for RetryableError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.marker)
    }
}

impl fmt::Debug for RetryableMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RetryableMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.behavior, self.delay) {
            (Behavior::Retry, None) => f.write_str("retryable error"),
            (Behavior::Retry, Some(delay)) => write!(f, "retryable error, again after {delay:?}"),
            (Behavior::Pause, _) => f.write_str("retryable error, pause the invocation"),
            (Behavior::Fail, _) => f.write_str("retryable error, fail the invocation"),
        }
    }
}

impl Error for RetryableMarker {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
