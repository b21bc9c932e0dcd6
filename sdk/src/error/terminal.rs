//! The failure that ends an invocation.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A failure that no further attempt will change: the invocation ends with it and the caller gets it.
///
/// Every other error makes the runtime try again. A `TerminalError` is recognised anywhere in an
/// error's source chain, so wrapping it (with `anyhow`'s `.context()`, in a `thiserror` enum with
/// `#[from]`, `#[source]` or `transparent`, in an `io::Error`, in a box) keeps it terminal. The
/// caller receives this error's code, message and metadata; the text of the wrappers stays here.
///
/// The code is HTTP-like and 500 unless set: the ingress answers with it as the HTTP status, and a
/// calling handler reads it from [`code`](Self::code).
///
/// A durable operation that failed for good (a call whose callee failed, a rejected awakeable, a
/// run out of attempts, a cancelled invocation) yields a `TerminalError` too; returning it with `?`
/// passes it on to the caller.
///
/// # Examples
///
/// ```
/// use durably::TerminalError;
///
/// let declined = TerminalError::new("the card was declined")
///     .with_code(402)
///     .with_metadata("provider", "acme-pay");
///
/// assert_eq!(declined.code(), 402);
/// assert_eq!(declined.message(), "the card was declined");
/// assert_eq!(declined.metadata(), [("provider".to_owned(), "acme-pay".to_owned())]);
/// ```
///
/// Any error can be made terminal, since every `Display` type is a message:
///
/// ```
/// use durably::{HandlerResult, TerminalError};
///
/// fn parse(amount: &str) -> HandlerResult<u64> {
///     Ok(amount.parse().map_err(TerminalError::new)?)
/// }
///
/// assert!(parse("12 €").unwrap_err().is_terminal());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TerminalError {
    marker: TerminalMarker,
}

/// What a [`TerminalError`] returns as its source, to be found behind any wrapper.
///
/// Shared, so that a copy is cheap and a `Result<T, TerminalError>` stays small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TerminalMarker(Arc<TerminalData>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct TerminalData {
    code: u16,
    message: String,
    /// Sorted by key, each key once. The server keeps it so: entries in another order would change
    /// places between the first attempt and a replay, and a key that comes twice makes the server
    /// (1.7.12) panic and end.
    metadata: Vec<(String, String)>,
}

impl TerminalError {
    /// The code of an error that was not given one.
    const DEFAULT_CODE: u16 = 500;
    /// The code with which a cancelled invocation's awaits end.
    const CANCELLED: u16 = 409;

    /// Creates a terminal error with this message and the code 500.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::TerminalError;
    ///
    /// let error = TerminalError::new(format_args!("no such order: {}", 7));
    /// assert_eq!(error.message(), "no such order: 7");
    /// assert_eq!(error.code(), 500);
    /// ```
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            marker: TerminalMarker(Arc::new(TerminalData {
                code: Self::DEFAULT_CODE,
                message: message.to_string(),
                metadata: Vec::new(),
            })),
        }
    }

    /// Sets the HTTP-like code.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::TerminalError;
    ///
    /// assert_eq!(TerminalError::new("no such order").with_code(404).code(), 404);
    /// ```
    #[must_use]
    pub fn with_code(mut self, code: u16) -> Self {
        self.data_mut().code = code;
        self
    }

    /// Sets a metadata entry. Metadata is a map: a key has one value, the last one set. NUL
    /// characters in a key become U+FFFD.
    ///
    /// Metadata travels to the caller from service protocol v6 on; on v5, an attempt that would send some
    /// fails with an error that says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::TerminalError;
    ///
    /// let error = TerminalError::new("out of stock").with_metadata("sku", "A-17");
    /// assert_eq!(error.metadata().len(), 1);
    /// ```
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (mut key, value) = (key.into(), value.into());
        if key.contains('\0') {
            // The server's keys end at a NUL: two keys could become the same.
            key = key.replace('\0', "\u{FFFD}");
        }
        let metadata = &mut self.data_mut().metadata;
        match metadata.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => metadata[at].1 = value,
            Err(at) => metadata.insert(at, (key, value)),
        }
        self
    }

    /// The HTTP-like code, 500 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(durably::TerminalError::new("broken").code(), 500);
    /// ```
    #[must_use]
    pub fn code(&self) -> u16 {
        self.data().code
    }

    /// The message.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(durably::TerminalError::new("broken").message(), "broken");
    /// ```
    #[must_use]
    pub fn message(&self) -> &str {
        &self.data().message
    }

    /// The metadata entries, sorted by key.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(durably::TerminalError::new("broken").metadata().is_empty());
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        &self.data().metadata
    }

    /// Whether this is the failure with which a cancelled invocation's awaits end (code 409).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::TerminalError;
    ///
    /// assert!(TerminalError::new("cancelled").with_code(409).is_cancelled());
    /// assert!(!TerminalError::new("broken").is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.code() == Self::CANCELLED
    }

    /// Whether this is what `or_timeout` fails with: code 408.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::TerminalError;
    /// assert!(TerminalError::new("too late").with_code(408).is_timeout());
    /// ```
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.code() == 408
    }

    /// The terminal error whose marker this is.
    pub(super) fn from_marker(marker: &TerminalMarker) -> Self {
        Self {
            marker: marker.clone(),
        }
    }

    fn data(&self) -> &TerminalData {
        &self.marker.0
    }

    fn data_mut(&mut self) -> &mut TerminalData {
        Arc::make_mut(&mut self.marker.0)
    }
}

impl fmt::Debug for TerminalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TerminalData {
            code,
            message,
            metadata,
        } = self.data();
        f.debug_struct("TerminalError")
            .field("code", code)
            .field("message", message)
            .field("metadata", metadata)
            .finish()
    }
}

impl fmt::Display for TerminalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl Error for TerminalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.marker)
    }
}

// Other people's reports print the chain, so the marker says something useful there.
impl fmt::Display for TerminalMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "terminal error, code {}", self.0.code)
    }
}

impl Error for TerminalMarker {}
