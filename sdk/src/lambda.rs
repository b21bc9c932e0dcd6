//! AWS Lambda: an [`Endpoint`] as a function.
//!
//! Events of Lambda flow in ([`LambdaRequest`]), each of them one HTTP request in JSON; what it means is
//! the endpoint's business. Out flows one response, again in JSON ([`LambdaResponse`]). This module owns what
//! lies between: base64, compression, what fits into an event, and the loop that asks Lambda for the next
//! one (`lambda_runtime`).
//!
//! An attempt in Lambda is request and response in turn: all that the runtime knows comes at once, and
//! as soon as the handler waits for more than that, the attempt suspends and the function ends.
//!
//! # Examples
//!
//! The whole `main` of a function:
//!
//! ```no_run
//! use durably::prelude::*;
//!
//! struct Greeter;
//!
//! #[durably::service]
//! impl Greeter {
//!     #[handler]
//!     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
//!         Ok(format!("Hello, {name}!"))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     durably::lambda::run(Endpoint::builder().bind(Greeter).build()?).await?;
//!     Ok(())
//! }
//! ```

mod compression;
mod event;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::HeaderName};
use http_body_util::{BodyExt as _, Full};
pub use lambda_runtime;
use lambda_runtime::{Diagnostic, LambdaEvent};

use crate::endpoint::{Endpoint, EndpointBody};
use crate::error::BoxError;
use crate::journal::{AttemptError, Journal};
use crate::protocol::ProtocolVersion;
pub use event::{LambdaRequest, LambdaResponse};

/// What Lambda sets for every function, and `lambda_runtime` needs.
const VARIABLES: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
];

/// How many bytes a response may have in Lambda, in its JSON.
const MAX_PAYLOAD: usize = 6_291_556;

/// How many bytes of it the body may have, in base64; the rest is for the status and a few headers.
const MAX_BASE64: usize = MAX_PAYLOAD - 4096;

/// From how many bytes on a response is compressed, if the server takes it so. Packing a megabyte
/// takes some ten milliseconds, which the function pays for.
const COMPRESS_FROM: usize = 1024 * 1024;

/// See [`LambdaEndpoint::max_body_size`].
const DEFAULT_MAX_BODY: usize = 64 * 1024 * 1024;

/// Serves an endpoint as a function of AWS Lambda, until the process is told to end.
///
/// The same as [`LambdaEndpoint::run`] with the default settings.
///
/// # Errors
///
/// The process does not run in AWS Lambda, or Lambda's runtime interface fails.
///
/// # Examples
///
/// See the [module](self).
pub async fn run(endpoint: Endpoint) -> Result<(), LambdaError> {
    LambdaEndpoint::new(endpoint).run().await
}

/// An [`Endpoint`] that takes the events of AWS Lambda.
///
/// It is a `tower` service for `lambda_runtime`, so layers can be put around it; [`run`](Self::run) does
/// without.
///
/// # Examples
///
/// ```no_run
/// use durably::lambda::{LambdaEndpoint, lambda_runtime};
/// # async fn example(endpoint: durably::Endpoint) -> Result<(), lambda_runtime::Error> {
/// use lambda_runtime::{Runtime, layers::TracingLayer};
///
/// let function = LambdaEndpoint::new(endpoint).max_body_size(16 * 1024 * 1024);
/// Runtime::new(function).layer(TracingLayer::new()).run().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LambdaEndpoint {
    endpoint: Endpoint,
    max_body: usize,
}

impl LambdaEndpoint {
    /// A function with the default settings.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Endpoint, lambda::LambdaEndpoint};
    ///
    /// let function = LambdaEndpoint::new(Endpoint::builder().build()?);
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            max_body: DEFAULT_MAX_BODY,
        }
    }

    /// How many bytes a request may have once it is unpacked, and a response before it is packed. The
    /// default is 64 MiB.
    ///
    /// Lambda takes no more than 6 MB of either, but compressed, and a few bytes can be unpacked to
    /// gigabytes. An attempt needs up to three times this much memory beside what its handler needs.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Endpoint, lambda::LambdaEndpoint};
    ///
    /// // For a function with 128 MB of memory.
    /// let endpoint = Endpoint::builder().build()?;
    /// let function = LambdaEndpoint::new(endpoint).max_body_size(16 * 1024 * 1024);
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    #[must_use]
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Asks Lambda for one event after the other, until the process is told to end.
    ///
    /// # Errors
    ///
    /// The process does not run in AWS Lambda, or Lambda's runtime interface fails.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{Endpoint, lambda::{LambdaEndpoint, LambdaError}};
    /// # async fn example(endpoint: Endpoint) -> Result<(), LambdaError> {
    /// LambdaEndpoint::new(endpoint).run().await
    /// # }
    /// ```
    pub async fn run(self) -> Result<(), LambdaError> {
        // `lambda_runtime` would panic.
        for variable in VARIABLES {
            if std::env::var_os(variable).is_none() {
                return Err(LambdaError::NotInLambda { variable });
            }
        }
        lambda_runtime::run(self)
            .await
            .map_err(LambdaError::Runtime)
    }

    /// Answers one event.
    ///
    /// # Errors
    ///
    /// The event is no HTTP request, so it does not come from a Restate server. (A request that is not
    /// in order gets a response that says so.)
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Endpoint, lambda::{LambdaEndpoint, LambdaRequest}};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let function = LambdaEndpoint::new(Endpoint::builder().build()?);
    /// let event: LambdaRequest = serde_json::from_str(
    ///     r#"{ "path": "/health", "httpMethod": "GET", "headers": {}, "isBase64Encoded": true }"#,
    /// )?;
    /// # let response = futures::executor::block_on(async {
    /// let response = function.handle(event).await?;
    /// # Ok::<_, Box<dyn std::error::Error>>(response) })?;
    /// assert_eq!(response.status(), 200);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn handle(&self, event: LambdaRequest) -> Result<LambdaResponse, LambdaError> {
        let (head, body) = match event.into_http()? {
            Ok(request) => request,
            Err(problem) => return Ok(refuse(problem.to_string())),
        };
        let packed = mentions_zstd(&head.headers, CONTENT_ENCODING);
        let may_pack = mentions_zstd(&head.headers, ACCEPT_ENCODING);
        let unpack = || {
            let body = body.decode().map_err(|error| error.to_string())?;
            if !packed {
                return Ok(body);
            }
            compression::unpack(&body, self.max_body)
                .map_err(|error| format!("the body, which is compressed with zstd, {error}"))
        };
        match self.endpoint.handle_event(head, unpack) {
            Ok(response) => Ok(self.collect(response, may_pack).await),
            Err(problem) => Ok(refuse(problem)),
        }
    }

    /// Runs an attempt to its end, or collects another answer.
    async fn collect(
        &self,
        response: Response<EndpointBody<Full<Bytes>>>,
        may_pack: bool,
    ) -> LambdaResponse {
        let (mut head, mut body) = response.into_parts();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(never) => match never {},
            };
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if chunk.len() > self.max_body.saturating_sub(whole.len()) {
                let limit = self.max_body;
                return too_large(
                    &head.headers,
                    &format!(
                        "it is larger than {limit} bytes even before it is compressed (see \
                         `LambdaEndpoint::max_body_size`)"
                    ),
                );
            }
            whole.extend_from_slice(&chunk);
        }
        let mut whole = whole.freeze();
        let size = whole.len();
        if may_pack && size >= COMPRESS_FROM {
            whole = compression::pack(&whole);
            let zstd = HeaderValue::from_static(compression::ZSTD);
            head.headers.insert(CONTENT_ENCODING, zstd);
        }
        if base64_len(whole.len()) > MAX_BASE64 {
            let packed = match whole.len() {
                same if same == size => {
                    "the server did not ask for compression: register the deployment again, with a \
                     server that does"
                        .to_owned()
                }
                packed => format!("{packed} once compressed"),
            };
            return too_large(
                &head.headers,
                &format!(
                    "it has {size} bytes ({packed}), and AWS Lambda passes at most {} on",
                    MAX_BASE64 / 4 * 3
                ),
            );
        }
        LambdaResponse::new(head.status, &head.headers, &whole)
    }
}

/// The response to a request that cannot be read.
fn refuse(problem: String) -> LambdaResponse {
    tracing::warn!(%problem, "refused an event");
    LambdaResponse::text(StatusCode::BAD_REQUEST, problem)
}

/// The response in place of one that does not fit: a failed attempt, which the runtime tries again as
/// the invocation's retry policy says, so that a handler that is mended goes on where it was.
fn too_large(headers: &HeaderMap, reason: &str) -> LambdaResponse {
    let problem = format!(
        "the response of the function is too large: {reason}. Keep large payloads elsewhere and pass on \
         where they are, or serve this endpoint over HTTP"
    );
    tracing::warn!(%problem, "cannot give an answer to Lambda");
    let version = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(ProtocolVersion::from_content_type);
    let Some(version) = version else {
        return LambdaResponse::text(StatusCode::INTERNAL_SERVER_ERROR, problem);
    };
    let mut journal = Journal::new(version, usize::MAX);
    journal.close_failed(&AttemptError::internal(problem));
    let mut headers = headers.clone();
    headers.remove(CONTENT_ENCODING);
    let error = journal.take_output().unwrap_or_default();
    LambdaResponse::new(StatusCode::OK, &headers, &error)
}

/// Whether a header with content codings names zstd. The server writes it alone.
fn mentions_zstd(headers: &HeaderMap, name: HeaderName) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case(compression::ZSTD))
}

fn base64_len(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

impl tower_service::Service<LambdaEvent<LambdaRequest>> for LambdaEndpoint {
    type Response = LambdaResponse;
    type Error = LambdaError;
    type Future = LambdaFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LambdaError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<LambdaRequest>) -> LambdaFuture {
        let function = self.clone();
        LambdaFuture(Box::pin(
            async move { function.handle(event.payload).await },
        ))
    }
}

type Responding = Pin<Box<dyn Future<Output = Result<LambdaResponse, LambdaError>> + Send>>;

/// The response of a [`LambdaEndpoint`] used as a `tower` service.
///
/// # Examples
///
/// ```
/// use durably::{Endpoint, lambda::{LambdaEndpoint, LambdaRequest, lambda_runtime::LambdaEvent}};
/// use tower_service::Service as _;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut function = LambdaEndpoint::new(Endpoint::builder().build()?);
/// let event: LambdaRequest = serde_json::from_str(r#"{ "path": "/", "httpMethod": "GET" }"#)?;
/// # let response = futures::executor::block_on(async {
/// let response = function.call(LambdaEvent::new(event, Default::default())).await?;
/// # Ok::<_, Box<dyn std::error::Error>>(response) })?;
/// assert_eq!(response.status(), 404);
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct LambdaFuture(Responding);

impl Future for LambdaFuture {
    type Output = Result<LambdaResponse, LambdaError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for LambdaFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LambdaFuture").finish_non_exhaustive()
    }
}

/// What keeps a function from giving a response.
///
/// # Examples
///
/// ```
/// use durably::{Endpoint, lambda::{self, LambdaError}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::builder().build()?;
/// # let ended = futures::executor::block_on(async {
/// // On somebody's own machine:
/// let ended = lambda::run(endpoint).await;
/// # ended });
/// assert!(matches!(ended, Err(LambdaError::NotInLambda { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LambdaError {
    /// The process does not run in AWS Lambda.
    #[error(
        "the variable {variable} is not set, as it is in AWS Lambda: to serve this endpoint elsewhere, \
         use `HttpServer`"
    )]
    NotInLambda {
        /// What is missing in the environment.
        variable: &'static str,
    },
    /// The event is no HTTP request.
    #[error(
        "the event is no HTTP request (it has no `path` or no `httpMethod`): this function serves a \
         deployment of a Restate server, which alone should invoke it"
    )]
    NoRequest,
    /// Lambda's runtime interface failed.
    #[error("the runtime interface of AWS Lambda failed")]
    Runtime(#[source] BoxError),
}

/// As Lambda passes it on to whoever invoked the function.
impl From<LambdaError> for Diagnostic {
    fn from(error: LambdaError) -> Self {
        Self {
            error_type: "durably::lambda::LambdaError".to_owned(),
            error_message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
