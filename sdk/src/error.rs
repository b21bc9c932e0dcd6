//! What a handler can fail with, and how the SDK tells a final failure from one worth another attempt.
//!
//! In: any error a handler returns with `?` (standard, `thiserror`, `anyhow`, boxed, plain text).
//! Out: a [`Failure`], which the executor turns into an Output command with a failure (terminal) or
//! into an Error message (retryable).
//!
//! The verdict is found by walking the error's source chain. Wrappers do not keep the types they
//! wrap visible: `anyhow` and `#[error(transparent)]` forward `source()` of the inner error and hide
//! the inner error itself. So [`TerminalError`] and [`RetryableError`] return a private marker as
//! their own `source()`: whatever forwards or returns the source keeps the marker in the chain. The
//! outermost marker decides.

mod retryable;
mod terminal;

use std::error::Error;
use std::fmt;
use std::time::Duration;

pub use self::retryable::RetryableError;
use self::retryable::RetryableMarker;
pub use self::terminal::TerminalError;
use self::terminal::TerminalMarker;

/// A boxed error that may travel between threads: what any error becomes on its way to the runtime.
///
/// # Examples
///
/// ```
/// use durably::BoxError;
///
/// let error: BoxError = "the card reader is on fire".into();
/// assert_eq!(error.to_string(), "the card reader is on fire");
/// ```
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What a handler returns: a value, or an error of any kind through `?`.
///
/// # Examples
///
/// ```
/// use durably::{HandlerResult, TerminalError};
///
/// fn quantity(text: &str) -> HandlerResult<u32> {
///     let quantity = text.parse()?; // any standard error: retried
///     if quantity == 0 {
///         return Err(TerminalError::new("nothing to order").with_code(400).into()); // final
///     }
///     Ok(quantity)
/// }
///
/// assert_eq!(quantity("3").unwrap(), 3);
/// assert!(!quantity("three").unwrap_err().is_terminal());
/// assert!(quantity("0").unwrap_err().is_terminal());
/// ```
pub type HandlerResult<T> = Result<T, HandlerError>;

/// A source chain longer than this is taken for a cycle (an error that is its own source).
const MAX_CHAIN: usize = 1024;

/// What a handler fails with: any error, with the verdict whether it is terminal.
///
/// Every error converts into it with `?`: standard errors, `thiserror` enums, `anyhow::Error`,
/// `Box<dyn Error + Send + Sync>`, `String` and `&str`. Like `anyhow::Error` it is therefore not an
/// [`Error`] itself; [`as_error`](Self::as_error) and [`into_error`](Self::into_error) lead back.
///
/// It is terminal if a [`TerminalError`] stands anywhere in the source chain, unless a
/// [`RetryableError`] stands before it.
///
/// `{}` shows the error's message, `{:#}` the whole chain in one line, `{:?}` the chain line by line.
///
/// # Examples
///
/// ```
/// use anyhow::Context as _;
/// use durably::{HandlerResult, TerminalError};
///
/// fn find(id: u32) -> Result<String, TerminalError> {
///     Err(TerminalError::new(format_args!("no order {id}")).with_code(404))
/// }
///
/// fn handler() -> HandlerResult<String> {
///     Ok(find(7).context("while shipping")?) // still terminal
/// }
///
/// let error = handler().unwrap_err();
/// assert_eq!(error.as_terminal().unwrap().code(), 404);
/// assert_eq!(format!("{error:#}"), "while shipping: no order 7");
/// ```
pub struct HandlerError {
    error: BoxError,
    /// Copied out of the chain when the error is made, as nothing in the chain is certain to be a
    /// `TerminalError` that could be lent out.
    terminal: Option<TerminalError>,
    /// The handler's input could not be decoded, so that the handler was not called.
    decode_failure: bool,
}

impl HandlerError {
    /// Whether the invocation ends with this error.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{HandlerError, TerminalError};
    ///
    /// assert!(HandlerError::from(TerminalError::new("no")).is_terminal());
    /// assert!(!HandlerError::from("not yet").is_terminal());
    /// ```
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// The terminal error with which the invocation ends, or `None` if it is retried.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{HandlerError, TerminalError};
    ///
    /// let error = HandlerError::from(TerminalError::new("no").with_code(403));
    /// assert_eq!(error.as_terminal().map(TerminalError::code), Some(403));
    /// ```
    #[must_use]
    pub fn as_terminal(&self) -> Option<&TerminalError> {
        self.terminal.as_ref()
    }

    /// The error as it was returned, for inspection.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::HandlerError;
    ///
    /// let error = HandlerError::from("x".parse::<u32>().unwrap_err());
    /// assert!(error.as_error().is::<std::num::ParseIntError>());
    /// ```
    #[must_use]
    pub fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }

    /// Gives the error back as it was returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{HandlerError, RetryableError};
    ///
    /// // a verdict can be overruled
    /// let error = HandlerError::from(durably::TerminalError::new("no"));
    /// let error = HandlerError::from(RetryableError::new(error.into_error()));
    /// assert!(!error.is_terminal());
    /// ```
    #[must_use]
    pub fn into_error(self) -> BoxError {
        self.error
    }

    /// The error of an input that is not what the handler takes.
    pub(crate) fn from_decoding(error: TerminalError) -> Self {
        Self {
            decode_failure: true,
            ..error.into()
        }
    }

    /// Whether the handler's input could not be decoded.
    pub(crate) fn is_decode_failure(&self) -> bool {
        self.decode_failure
    }

    /// What the executor has to tell the runtime.
    pub(crate) fn into_failure(self) -> Failure {
        if let Some(terminal) = self.terminal {
            return Failure::Terminal(terminal);
        }
        let (delay, behavior) = match verdict(&*self.error) {
            Some(Verdict::Retryable(marker)) => (marker.delay, marker.behavior),
            Some(Verdict::Terminal(_)) | None => (None, Behavior::Retry),
        };
        let causes: Vec<String> = causes(&*self.error).map(ToString::to_string).collect();
        Failure::Retryable(Retryable {
            message: self.error.to_string(),
            details: causes.join("\n"),
            delay,
            behavior,
        })
    }
}

impl<E: Into<BoxError>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let error = error.into();
        Self {
            terminal: find_terminal(&*error),
            error,
            decode_failure: false,
        }
    }
}

/// So that `?` works on handlers in tests that return `Result<(), Box<dyn Error>>`. (Into a
/// [`BoxError`] it goes by [`HandlerError::into_error`]: a conversion would clash with the one above.)
impl From<HandlerError> for Box<dyn Error> {
    fn from(error: HandlerError) -> Self {
        error.into_error()
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if f.alternate() {
            for cause in causes(&*self.error) {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        if let Some(terminal) = &self.terminal {
            write!(f, " (terminal, code {})", terminal.code())?;
        }
        for (i, cause) in causes(&*self.error).enumerate() {
            if i == 0 {
                f.write_str("\n\nCaused by:")?;
            }
            write!(f, "\n    {cause}")?;
        }
        Ok(())
    }
}

/// What becomes of an attempt whose handler failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The handler's result: Output with a failure, then End.
    Terminal(TerminalError),
    /// The attempt failed: Error.
    Retryable(Retryable),
}

/// A failure that the Error message reports.
#[derive(Debug)]
pub(crate) struct Retryable {
    /// The error's own text.
    pub(crate) message: String,
    /// The texts of its causes, one after the other, each beginning a line.
    pub(crate) details: String,
    /// When the next attempt is wished.
    pub(crate) delay: Option<Duration>,
    /// What the runtime is asked to do.
    pub(crate) behavior: Behavior,
}

/// What the runtime is asked to do after a retryable failure (service protocol v7, Error message).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    /// Whatever its policy says.
    #[default]
    Retry,
    /// Pause the invocation.
    Pause,
    /// Fail the invocation.
    Fail,
}

/// A marker in a source chain.
enum Verdict<'a> {
    Terminal(&'a TerminalMarker),
    Retryable(&'a RetryableMarker),
}

/// The terminal error that decides this error's fate, if one does.
pub(crate) fn find_terminal(error: &(dyn Error + 'static)) -> Option<TerminalError> {
    match verdict(error) {
        Some(Verdict::Terminal(marker)) => Some(TerminalError::from_marker(marker)),
        Some(Verdict::Retryable(_)) | None => None,
    }
}

/// The outermost marker of the chain.
fn verdict<'a>(error: &'a (dyn Error + 'static)) -> Option<Verdict<'a>> {
    chain(error).find_map(as_marker)
}

fn as_marker<'a>(error: &'a (dyn Error + 'static)) -> Option<Verdict<'a>> {
    if let Some(marker) = error.downcast_ref() {
        Some(Verdict::Terminal(marker))
    } else {
        error.downcast_ref().map(Verdict::Retryable)
    }
}

/// What stands behind the error, without the markers.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    chain(error)
        .skip(1)
        .filter(|cause| as_marker(*cause).is_none())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source()).take(MAX_CHAIN)
}

#[cfg(test)]
mod tests;
