//! Why a request to the ingress gave nothing.

use std::time::Duration;

use crate::error::{BoxError, TerminalError};

/// Why a request through an [`IngressClient`](super::IngressClient) gave no output.
///
/// The first question is mostly whether the handler failed for good, or something on the way to it:
/// [`as_terminal`](Self::as_terminal). Every variant names its request by method and path; no variant
/// shows a byte of a payload's.
///
/// In a handler (within a `ctx.run`, say) `?` on it works as on a call: the terminal error of the
/// invoked handler ends the invocation, everything else is tried again.
///
/// # Examples
///
/// ```no_run
/// use durably::{ingress::{IngressClient, IngressError}, prelude::*};
/// # struct Payments;
/// # #[durably::service]
/// # impl Payments {
/// #     #[handler]
/// #     async fn charge(&self, _ctx: &Context, cents: u64) -> HandlerResult<String> { Ok(cents.to_string()) }
/// # }
///
/// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
/// match ingress.service::<PaymentsClient>().charge(700).idempotency_key("order-17").await {
///     Ok(receipt) => println!("{receipt}"),
///     Err(error) => match error.as_terminal() {
///         Some(declined) if declined.code() == 402 => println!("declined: {declined}"),
///         _ => return Err(error),
///     },
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngressError {
    /// The invocation failed for good: the handler's terminal error, with its code, message and
    /// metadata.
    #[error("{request} failed with code {}: {error}", error.code())]
    #[non_exhaustive]
    Terminal {
        /// The request's method and path.
        request: String,
        /// What the handler failed with.
        #[source]
        error: TerminalError,
        /// The invocation that failed, as the server names it.
        invocation_id: Option<String>,
    },
    /// The server, or something before it, refused the request: the invocation was not started, or
    /// its result could not be had.
    #[error("{request} was refused with status {status}: {message}")]
    #[non_exhaustive]
    Refused {
        /// The request's method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// What was said about it.
        message: String,
        /// How long the server asks to wait before another try.
        retry_after: Option<Duration>,
    },
    /// No answer came, or not all of it: whether the request arrived is not known, unless the
    /// connection was refused.
    #[error("{request} got no answer: {}", chain(&**source))]
    #[non_exhaustive]
    Transport {
        /// The request's method and path.
        request: String,
        /// What happened to the connection.
        source: BoxError,
    },
    /// The answer did not come in time. The invocation goes on; its result can still be had by its
    /// idempotency key, workflow key or id.
    #[error("{request} got no answer within {timeout:?}")]
    #[non_exhaustive]
    Timeout {
        /// The request's method and path.
        request: String,
        /// The time that it had.
        timeout: Duration,
    },
    /// The request cannot be written: the input does not encode, or a header, key or address is
    /// impossible. Nothing was sent.
    #[error("{request} cannot be sent: {}", chain(&**source))]
    #[non_exhaustive]
    Invalid {
        /// The request's method and path, or the client's address.
        request: String,
        /// What is wrong with it.
        source: BoxError,
    },
    /// The handler's output, or the server's answer, is not of the expected type. The invocation
    /// succeeded.
    #[error("{request} gave what cannot be decoded: {}", chain(&**source))]
    #[non_exhaustive]
    Decode {
        /// The request's method and path.
        request: String,
        /// What is wrong with it.
        source: BoxError,
    },
}

impl IngressError {
    /// The terminal error of the invocation, if that is what came back.
    ///
    /// # Examples
    ///
    /// See [`IngressError`].
    #[must_use]
    pub fn as_terminal(&self) -> Option<&TerminalError> {
        match self {
            Self::Terminal { error, .. } => Some(error),
            _ => None,
        }
    }

    /// Whether the answer did not come in time.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::ingress::IngressError;
    ///
    /// fn exit_code(error: &IngressError) -> i32 {
    ///     if error.is_timeout() { 75 } else { 1 }
    /// }
    /// ```
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// The HTTP status of an answer that was a failure; of a terminal error, its code.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::ingress::IngressError;
    ///
    /// fn is_unknown(error: &IngressError) -> bool {
    ///     error.status() == Some(404) // no such service, handler or invocation
    /// }
    /// ```
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Terminal { error, .. } => Some(error.code()),
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the handler's terminal error says, or the server's refusal.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::ingress::IngressError;
    ///
    /// fn is_sold_out(error: &IngressError) -> bool {
    ///     error.message() == Some("out of stock")
    /// }
    /// ```
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Terminal { error, .. } => Some(error.message()),
            Self::Refused { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The metadata of a terminal error, sorted by key; empty for everything else.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::ingress::IngressError;
    ///
    /// fn skus(error: &IngressError) -> impl Iterator<Item = &str> {
    ///     error.metadata().iter().filter(|(key, _)| key == "sku").map(|(_, sku)| &**sku)
    /// }
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &[(String, String)] {
        self.as_terminal().map_or(&[], TerminalError::metadata)
    }

    /// How long the server asks to wait before another try.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use durably::ingress::IngressError;
    ///
    /// fn pause(error: &IngressError) -> Duration {
    ///     error.retry_after().unwrap_or(Duration::from_secs(1))
    /// }
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The id of the invocation that failed, as the server names it.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::ingress::IngressError;
    ///
    /// fn report(error: &IngressError) -> String {
    ///     format!("{} failed", error.invocation_id().unwrap_or("the request"))
    /// }
    /// ```
    #[must_use]
    pub fn invocation_id(&self) -> Option<&str> {
        match self {
            Self::Terminal { invocation_id, .. } => invocation_id.as_deref(),
            _ => None,
        }
    }
}

/// An error and its causes in one line: transports say what happened in the last of them.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in crate::error::causes(error) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
