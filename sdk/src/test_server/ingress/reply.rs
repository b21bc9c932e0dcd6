//! What the ingress answers: outputs, and accepted sends.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::Raw;
use crate::ingress::{IngressError, IngressResponse, IngressSent, SendStatus};

/// A handler's output as the ingress gave it.
///
/// # Examples
///
/// See [`IngressRequest`](super::IngressRequest).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reply {
    /// The answer's headers.
    pub headers: http::HeaderMap,
    /// The output's bytes.
    pub body: Bytes,
}

impl Reply {
    pub(super) fn new(response: IngressResponse<Raw>) -> Self {
        Self {
            headers: response.headers,
            body: response.output.0,
        }
    }

    pub(super) fn of(body: Bytes) -> Self {
        Self {
            headers: http::HeaderMap::new(),
            body,
        }
    }

    /// The id of the invocation that gave this output.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`](super::IngressRequest).
    pub fn invocation_id(&self) -> Option<&str> {
        self.headers.get("x-restate-id")?.to_str().ok()
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
    /// # use durably::{ingress::IngressError, test_server::Reply};
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
        serde_json::from_slice(json).map_err(|error| IngressError::Decode {
            request: "the request".to_owned(),
            source: format!("{error} in {}", String::from_utf8_lossy(&self.body)).into(),
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

impl Sent {
    pub(super) fn new(sent: &IngressSent<Raw>) -> Self {
        Self {
            invocation_id: sent.id().to_string(),
            already: sent.status() == SendStatus::PreviouslyAccepted,
        }
    }
}
