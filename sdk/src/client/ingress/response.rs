//! What the ingress answers: outputs, and invocations that were started.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    IngressClient, IngressError, IngressFuture, IngressInvocation, exchange::INVOCATION_ID,
    invocation_id,
};
use crate::{Decode, InvocationId};

/// A handler's output with what came with it.
///
/// # Examples
///
/// ```no_run
/// use durably::{Target, ingress::{IngressClient, IngressError}};
///
/// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
/// let request = ingress.request::<_, String>(Target::service("Greeter", "greet"), "Ada");
/// let response = request.call_with_response().await?;
/// println!("{} ({:?})", response.output, response.invocation_id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IngressResponse<Out> {
    /// The handler's output.
    pub output: Out,
    /// The headers of the response.
    pub headers: HeaderMap,
}

impl<Out> IngressResponse<Out> {
    /// The id of the invocation whose output it is.
    ///
    /// # Examples
    ///
    /// See [`IngressResponse`].
    #[must_use]
    pub fn invocation_id(&self) -> Option<InvocationId> {
        let id = self.headers.get(INVOCATION_ID)?.to_str().ok()?;
        Some(invocation_id(id))
    }
}

pub(super) fn decode<Out: Decode>(
    request: String,
    response: http::Response<Bytes>,
) -> Result<IngressResponse<Out>, IngressError> {
    let (parts, body) = response.into_parts();
    let output = Out::decode(body).map_err(|source| IngressError::Decode { request, source })?;
    Ok(IngressResponse {
        output,
        headers: parts.headers,
    })
}

/// Whether a request that was sent has started its invocation.
///
/// # Examples
///
/// See [`IngressSent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendStatus {
    /// It has.
    Accepted,
    /// An earlier request with the same idempotency key, or for the same workflow, had; perhaps an
    /// earlier try of this one.
    PreviouslyAccepted,
}

/// An invocation that was started without waiting for it.
///
/// # Examples
///
/// ```no_run
/// use durably::{Target, ingress::{IngressClient, IngressError, SendStatus}};
///
/// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
/// let request = ingress.request::<_, String>(Target::workflow("Signup", "ada", "run"), "ada@example.com");
/// let sent = request.send().await?;
/// if sent.status() == SendStatus::PreviouslyAccepted {
///     println!("already signing up, in {}", sent.id());
/// }
/// let outcome = sent.attach().await?;
/// # Ok(())
/// # }
/// ```
pub struct IngressSent<Out> {
    invocation: IngressInvocation,
    id: InvocationId,
    status: SendStatus,
    marker: PhantomData<fn() -> Out>,
}

impl<Out> IngressSent<Out> {
    /// The invocation's id.
    ///
    /// # Examples
    ///
    /// See [`IngressSent`].
    #[must_use]
    pub fn id(&self) -> &InvocationId {
        &self.id
    }

    /// Whether this request has started it.
    ///
    /// # Examples
    ///
    /// See [`IngressSent`].
    #[must_use]
    pub fn status(&self) -> SendStatus {
        self.status
    }

    /// The invocation, to say more than [`attach`](Self::attach) and [`output`](Self::output) can.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use durably::ingress::{IngressError, IngressSent};
    ///
    /// # async fn example(sent: IngressSent<String>) -> Result<(), IngressError> {
    /// let outcome: String = sent.invocation().timeout(Duration::from_secs(10)).attach().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn invocation(&self) -> IngressInvocation {
        self.invocation.clone()
    }

    /// Waits for the output.
    ///
    /// # Errors
    ///
    /// The terminal error of the handler, or what went wrong on the way: see [`IngressError`].
    ///
    /// # Examples
    ///
    /// See [`IngressSent`].
    pub fn attach(&self) -> IngressFuture<Out>
    where
        Out: Decode + 'static,
    {
        self.invocation.attach()
    }

    /// The output if the invocation has ended, `None` if not; does not wait.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::ingress::{IngressError, IngressSent};
    ///
    /// # async fn example(sent: IngressSent<String>) -> Result<(), IngressError> {
    /// let so_far: Option<String> = sent.output().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn output(&self) -> IngressFuture<Option<Out>>
    where
        Out: Decode + 'static,
    {
        self.invocation.output()
    }
}

impl<Out> Clone for IngressSent<Out> {
    fn clone(&self) -> Self {
        Self {
            invocation: self.invocation.clone(),
            id: self.id.clone(),
            status: self.status,
            marker: PhantomData,
        }
    }
}

impl<Out> fmt::Debug for IngressSent<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngressSent")
            .field("id", &self.id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The answer to a request that was only sent.
pub(super) fn sent<Out>(
    client: IngressClient,
    request: String,
    response: &http::Response<Bytes>,
) -> Result<IngressSent<Out>, IngressError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        invocation_id: String,
        status: Status,
    }
    #[derive(serde::Deserialize)]
    enum Status {
        Accepted,
        PreviouslyAccepted,
    }
    let answer: Answer = json(request, response)?;
    Ok(IngressSent {
        invocation: client.invocation(&answer.invocation_id),
        id: InvocationId::known(answer.invocation_id),
        status: match answer.status {
            Status::Accepted => SendStatus::Accepted,
            Status::PreviouslyAccepted => SendStatus::PreviouslyAccepted,
        },
        marker: PhantomData,
    })
}

/// An answer of the ingress' own.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    request: String,
    response: &http::Response<Bytes>,
) -> Result<T, IngressError> {
    serde_json::from_slice(response.body()).map_err(|error| IngressError::Decode {
        request,
        source: error.into(),
    })
}
