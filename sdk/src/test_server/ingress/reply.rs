//! What the ingress answers: outputs, accepted sends, and failures.

use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;
use serde::de::DeserializeOwned;

/// Why a call through the [`Ingress`](super::Ingress) gave no output.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::{Ingress, IngressError};
/// # async fn example(ingress: Ingress) {
/// let outcome = ingress.call::<String>("Greeter", "greet", &"").await;
/// assert_eq!(outcome.unwrap_err().status(), Some(400));
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngressError {
    /// The ingress answered with a failure: the handler's terminal error or its own refusal.
    #[error("{request} failed with status {status}: {message}")]
    Failed {
        /// The request's method and path.
        request: String,
        /// The HTTP status, which for a terminal error is its code.
        status: u16,
        /// The failure's message.
        message: String,
        /// What the terminal error carried besides, sorted by key.
        metadata: Vec<(String, String)>,
        /// The invocation that failed; none if the request never became one.
        invocation_id: Option<String>,
    },
    /// The ingress gave no answer.
    #[error("{request} got no answer: {source}")]
    Unanswered {
        /// The request's method and path.
        request: String,
        /// What happened to the connection.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The request cannot be written.
    #[error("{request} cannot be sent: {source}")]
    Unsendable {
        /// The request's method and path.
        request: String,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The output is not what the caller expects.
    #[error("{request} gave an output that cannot be decoded ({source}): {body}")]
    Undecodable {
        /// The request's method and path.
        request: String,
        /// The output as it came.
        body: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl IngressError {
    /// The HTTP status of a failure that the ingress answered.
    ///
    /// # Examples
    ///
    /// See [`IngressError`].
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Failed { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The message of a failure that the ingress answered.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::IngressError;
    /// # fn example(error: IngressError) {
    /// assert_eq!(error.message(), Some("out of stock"));
    /// # }
    /// ```
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Failed { message, .. } => Some(message),
            _ => None,
        }
    }

    /// The metadata of the terminal error, sorted by key.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::IngressError;
    /// # fn example(error: IngressError) {
    /// assert_eq!(error.metadata(), [("sku".to_owned(), "A-1".to_owned())]);
    /// # }
    /// ```
    pub fn metadata(&self) -> &[(String, String)] {
        match self {
            Self::Failed { metadata, .. } => metadata,
            _ => &[],
        }
    }
}

/// A handler's output as the ingress gave it.
///
/// # Examples
///
/// See [`IngressRequest`](super::IngressRequest).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reply {
    request: String,
    /// The answer's headers.
    pub headers: http::HeaderMap,
    /// The output's bytes.
    pub body: Bytes,
}

impl Reply {
    pub(super) fn new(request: String, headers: http::HeaderMap, body: Bytes) -> Self {
        Self {
            request,
            headers,
            body,
        }
    }

    /// The answer to a request that was only sent.
    pub(super) fn sent(self) -> Result<Sent, IngressError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            invocation_id: String,
            #[serde(default)]
            status: String,
        }
        let answer: Answer = self.decode()?;
        let already = answer.status == "PreviouslyAccepted";
        Ok(Sent {
            invocation_id: answer.invocation_id,
            already,
        })
    }

    /// The id of the invocation that gave this output.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`](super::IngressRequest).
    pub fn invocation_id(&self) -> Option<&str> {
        invocation_id(&self.headers)
    }

    /// Decodes the output from JSON. No output at all decodes as `null`, so as `()` too.
    ///
    /// # Errors
    ///
    /// When the output is not what the caller expects.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::{IngressError, Reply};
    /// # fn example(reply: Reply) -> Result<(), IngressError> {
    /// let greeting: String = reply.decode()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn decode<T: DeserializeOwned>(self) -> Result<T, IngressError> {
        let json: &[u8] = if self.body.is_empty() {
            b"null"
        } else {
            &self.body
        };
        serde_json::from_slice(json).map_err(|source| IngressError::Undecodable {
            request: self.request.clone(),
            body: String::from_utf8_lossy(&self.body).into_owned(),
            source,
        })
    }
}

/// An invocation that was started without waiting for it.
///
/// # Examples
///
/// See [`Ingress::send`](super::Ingress::send).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Sent {
    /// The invocation's id.
    pub invocation_id: String,
    /// Whether an earlier request with the same idempotency key or workflow key had started it.
    pub already: bool,
}

pub(super) fn invocation_id(headers: &http::HeaderMap) -> Option<&str> {
    headers.get("x-restate-id")?.to_str().ok()
}

/// What a failure's JSON says, or the whole body as the message if it is something else.
pub(super) fn failure(body: &[u8]) -> (String, Vec<(String, String)>) {
    #[derive(serde::Deserialize)]
    struct Failure {
        message: String,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => (failure.message, failure.metadata.into_iter().collect()),
        Err(_) => (String::from_utf8_lossy(body).into_owned(), Vec::new()),
    }
}
