//! The endpoint: from an HTTP request to an answer or to a running attempt.
//!
//! Requests flow in, checked for identity, routed and negotiated in that order; out flows a response
//! whose body drives the attempt ([`EndpointBody`]). Nothing here knows which server carries the
//! requests, and nothing waits: the head of a response is made at once. This is the only layer
//! that reads the clock.
//!
//! An [`Endpoint`] is a `tower` service, so it can be mounted in any server of the hyper world, under
//! any path prefix. [`HttpServer`](crate::HttpServer) serves it without one.

pub(crate) mod body;
mod builder;
mod clock;
pub(crate) mod drain;
mod error;
#[cfg(feature = "identity")]
pub(crate) mod identity;
pub(crate) mod negotiate;
pub(crate) mod route;
mod timer;
pub(crate) mod wakers;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;

pub use body::EndpointBody;
pub use builder::EndpointBuilder;
#[cfg(feature = "local")]
pub(crate) use clock::system as system_clock;
use drain::{Drain, DrainWatch};
use error::RequestError;
pub(crate) use error::printable;
pub use error::{BuildError, BuildProblem};
use route::Route;
#[cfg(feature = "testing")]
pub(crate) use timer::system as timer;

use crate::error::BoxError;
use crate::executor::{Attempt, AttemptRequest, Clock, ForeignHook, Setting};
use crate::protocol::{ProtocolVersion, frame::Limits};
use crate::service::HandlerFn;
use crate::service::manifest::{ManifestVersion, ProtocolMode};

/// Names this SDK to the server, which records it as the deployment's SDK version.
pub(crate) const SERVER: HeaderName = HeaderName::from_static("x-restate-server");
pub(crate) const SERVER_VALUE: HeaderValue =
    HeaderValue::from_static(concat!("durably/", env!("CARGO_PKG_VERSION")));

/// Services, bound and checked, ready to answer the server's requests.
///
/// A clone is cheap and the same endpoint.
///
/// # Examples
///
/// Serve it with [`HttpServer`](crate::HttpServer), or mount it wherever a `tower` service can be
/// mounted (as a fallback of an axum router, say): the paths may have any prefix.
///
/// ```
/// use durably::{Endpoint, ServiceDefinition, ServiceKind};
/// use http_body_util::Empty;
///
/// let endpoint = Endpoint::builder()
///     .bind(ServiceDefinition::new(ServiceKind::Service, "Greeter"))
///     .build()?;
///
/// let request = http::Request::get("/restate/health").body(Empty::<bytes::Bytes>::new())?;
/// assert_eq!(endpoint.handle(request).status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

struct Shared {
    services: Registry,
    manifests: Manifests,
    limits: Limits,
    max_version: ProtocolVersion,
    clock: Clock,
    /// For servers that have no signal of their own.
    drain: Drain,
    #[cfg(feature = "identity")]
    identity: identity::Identity,
}

/// Service name → handler name → handler.
type Registry = HashMap<Arc<str>, HashMap<Arc<str>, Handler>>;

struct Handler {
    service: Arc<str>,
    name: Arc<str>,
    function: HandlerFn,
    setting: Setting,
}

/// The manifest in each version and mode, written once, or why that version cannot hold it.
struct Manifests([ManifestModes; ManifestVersion::ALL.len()]);

/// The manifest of one version in each mode.
struct ManifestModes {
    bidi_stream: Result<Bytes, String>,
    request_response: Result<Bytes, String>,
    #[cfg(feature = "lambda")]
    lambda: Result<Bytes, String>,
}

impl Manifests {
    fn get(&self, version: ManifestVersion, mode: ProtocolMode) -> &Result<Bytes, String> {
        let [v2, v3, v4] = &self.0;
        let modes = match version {
            ManifestVersion::V2 => v2,
            ManifestVersion::V3 => v3,
            ManifestVersion::V4 => v4,
        };
        match mode {
            ProtocolMode::BidiStream => &modes.bidi_stream,
            ProtocolMode::RequestResponse => &modes.request_response,
            #[cfg(feature = "lambda")]
            ProtocolMode::Lambda => &modes.lambda,
        }
    }
}

/// What a request gets.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are attempts, and it lives for a moment"
)]
enum Answer {
    Text(&'static str),
    Manifest(ManifestVersion, Bytes),
    Attempt(AttemptRequest, HandlerFn),
}

impl Endpoint {
    /// Collects services and options.
    pub fn builder() -> EndpointBuilder {
        EndpointBuilder::new()
    }

    /// Answers one request of the server.
    ///
    /// The head of the response is made at once, without waiting for the request's body. An
    /// invocation then runs while the response's body is polled, in the task that polls it.
    ///
    /// | request | answer |
    /// | --- | --- |
    /// | `GET …/discover` | the endpoint manifest |
    /// | `GET …/health` | 200 |
    /// | `POST …/invoke/{service}/{handler}` | the stream of an attempt |
    ///
    /// Anything else is 404, an unknown media type 415, and with request identity an untrusted
    /// request 401; each with one line of text that says what to do.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Endpoint;
    /// use http_body_util::Empty;
    ///
    /// let endpoint = Endpoint::builder().build()?;
    /// let request = http::Request::get("/nowhere").body(Empty::<bytes::Bytes>::new())?;
    /// assert_eq!(endpoint.handle(request).status(), 404);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle<B>(&self, request: Request<B>) -> Response<EndpointBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.handle_until(request, None)
    }

    /// Tells open attempts, and those to come, to suspend as soon as they are blocked: for a server of
    /// your own that is about to end.
    ///
    /// Without this a graceful shutdown waits for handlers that sleep, or wait for an answer, until the
    /// runtime asks them to suspend (its inactivity timeout). Nothing is lost: the runtime goes on with
    /// them elsewhere, or here once a new process serves. Steps (`run`) that execute are finished first.
    ///
    /// [`HttpServer`](crate::HttpServer) does that by itself, for its own connections.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use durably::Endpoint;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let endpoint = Endpoint::builder().build()?;
    /// let routes = Router::new().nest_service("/handlers", endpoint.clone());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stop = async {};
    /// axum::serve(listener, routes)
    ///     .with_graceful_shutdown(async move {
    ///         stop.await; // a signal, say
    ///         endpoint.drain();
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain(&self) {
        self.shared.drain.start();
    }

    /// As [`handle`](Self::handle), for a server that can drain.
    pub(crate) fn handle_until<B>(
        &self,
        request: Request<B>,
        drain: Option<DrainWatch>,
    ) -> Response<EndpointBody<B>>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        // HTTP/1.1 cannot carry two streams at once; what came over HTTP/2 can be invoked over it.
        let mode = if parts.version >= http::Version::HTTP_2 {
            ProtocolMode::BidiStream
        } else {
            ProtocolMode::RequestResponse
        };
        let drain = drain.unwrap_or_else(|| self.shared.drain.watch());
        Self::respond(self.answer(parts, mode), body, Some(drain))
    }

    /// As [`handle`](Self::handle), for an event of AWS Lambda. The body is only unpacked for an attempt:
    /// what is refused, for want of a signature say, costs nothing more.
    #[cfg(feature = "lambda")]
    pub(crate) fn handle_event<E>(
        &self,
        head: Parts,
        unpack: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Response<EndpointBody<http_body_util::Full<Bytes>>>, E> {
        let answer = self.answer(head, ProtocolMode::Lambda);
        let body = match answer {
            Ok(Answer::Attempt(..)) => unpack()?,
            _ => Bytes::new(),
        };
        Ok(Self::respond(answer, body.into(), None))
    }

    /// As [`handle`](Self::handle), for a runtime in the same process, whose requests are trusted: attempts live by
    /// its clock, and tell it, if it wants to know, when their handlers wait for something foreign.
    #[cfg(any(test, feature = "testing", feature = "local"))]
    pub(crate) fn handle_in_process<B>(
        &self,
        request: Request<B>,
        clock: &Clock,
        foreign: ForeignHook,
    ) -> Response<EndpointBody<B>>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let mut answer = self.route(parts, ProtocolMode::BidiStream);
        if let Ok(Answer::Attempt(request, _)) = &mut answer {
            request.clock = clock.clone();
            request.foreign = foreign;
        }
        Self::respond(answer, body, None)
    }

    /// The endpoint manifest in its newest version, as the runtime gets it.
    #[cfg(any(test, feature = "testing", feature = "local"))]
    pub(crate) fn manifest(&self) -> &Result<Bytes, String> {
        let manifests = &self.shared.manifests;
        manifests.get(ManifestVersion::V4, ProtocolMode::BidiStream)
    }

    fn respond<B>(
        answer: Result<Answer, RequestError>,
        body: B,
        drain: Option<DrainWatch>,
    ) -> Response<EndpointBody<B>>
    where
        B: Body<Data = Bytes>,
    {
        let (status, content_type, body) = match answer {
            Ok(Answer::Text(text)) => {
                let body = EndpointBody::answer(Bytes::from_static(text.as_bytes()), body);
                (StatusCode::OK, TEXT, body)
            }
            Ok(Answer::Manifest(version, document)) => (
                StatusCode::OK,
                version.content_type(),
                EndpointBody::answer(document, body),
            ),
            Ok(Answer::Attempt(request, function)) => {
                let version = request.version;
                let attempt = Attempt::new(request, function);
                let body = EndpointBody::attempt(attempt, body, drain);
                (StatusCode::OK, version.content_type(), body)
            }
            Err(error) => {
                tracing::debug!(error = %error, "refused a request");
                let body = EndpointBody::answer(Bytes::from(error.to_string()), body);
                (error.status(), TEXT, body)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(SERVER, SERVER_VALUE);
        response
    }

    fn answer(&self, request: Parts, mode: ProtocolMode) -> Result<Answer, RequestError> {
        self.check_identity(&request)?;
        self.route(request, mode)
    }

    fn route(&self, request: Parts, mode: ProtocolMode) -> Result<Answer, RequestError> {
        match Route::parse(&request.method, request.uri.path())? {
            Route::Health => Ok(Answer::Text("ok")),
            Route::Discover => self.discover(&request, mode),
            Route::Invoke { service, handler } => {
                let handler = self.find(service, handler)?;
                let max = self.shared.max_version;
                let version = negotiate::protocol_version(&request.headers, max)?;
                let attempt = AttemptRequest {
                    version,
                    service: Arc::clone(&handler.service),
                    handler: Arc::clone(&handler.name),
                    attempt_headers: request.headers,
                    clock: self.shared.clock.clone(),
                    limits: self.shared.limits,
                    foreign: ForeignHook::default(),
                    setting: handler.setting.clone(),
                };
                Ok(Answer::Attempt(attempt, Arc::clone(&handler.function)))
            }
        }
    }

    #[cfg(feature = "identity")]
    fn check_identity(&self, request: &Parts) -> Result<(), RequestError> {
        let path = request.uri.path();
        let signed_path = route::signed_path(&request.method, path);
        let now_secs = self.shared.clock.now() / 1000;
        self.shared
            .identity
            .check(&request.headers, signed_path, now_secs)
            .map_err(|reason| {
                // No more of it than an answer would repeat: whoever may write may not write much.
                let path = printable(path);
                tracing::warn!(path, reason = %reason, "refused a request that is not trusted");
                RequestError::Unauthorized
            })
    }

    #[cfg(not(feature = "identity"))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the feature's other half"
    )]
    fn check_identity(&self, _request: &Parts) -> Result<(), RequestError> {
        Ok(())
    }

    fn discover(&self, request: &Parts, mode: ProtocolMode) -> Result<Answer, RequestError> {
        let version = negotiate::manifest_version(&request.headers)?;
        match self.shared.manifests.get(version, mode) {
            Ok(document) => Ok(Answer::Manifest(version, document.clone())),
            Err(reason) => Err(RequestError::UnsupportedManifest(reason.clone())),
        }
    }

    fn find(&self, service: &str, handler: &str) -> Result<&Handler, RequestError> {
        let handlers =
            self.shared
                .services
                .get(service)
                .ok_or_else(|| RequestError::NoSuchService {
                    service: printable(service),
                })?;
        handlers
            .get(handler)
            .ok_or_else(|| RequestError::NoSuchHandler {
                service: printable(service),
                handler: printable(handler),
            })
    }
}

/// The content type of answers for people.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut services: Vec<_> = self.shared.services.keys().collect();
        services.sort_unstable();
        f.debug_struct("Endpoint")
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for Endpoint
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<EndpointBody<B>>;
    type Error = Infallible;
    type Future = EndpointFuture<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> EndpointFuture<B> {
        EndpointFuture::new(self.clone(), request, None)
    }
}

/// The response of an [`Endpoint`] used as a `tower` service: ready when first polled.
///
/// The request is looked at then and not before: servers call a service in the task of the connection,
/// and checking a signature there would hold its other streams up.
///
/// # Examples
///
/// ```
/// use durably::Endpoint;
/// use http_body_util::Empty;
/// use tower_service::Service as _;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut endpoint = Endpoint::builder().build()?;
/// let request = http::Request::get("/health").body(Empty::<bytes::Bytes>::new())?;
/// # let response = futures::executor::block_on(async {
/// let response = endpoint.call(request).await?;
/// # Ok::<_, std::convert::Infallible>(response) })?;
/// assert_eq!(response.status(), 200);
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct EndpointFuture<B> {
    endpoint: Endpoint,
    request: Option<Request<B>>,
    drain: Option<DrainWatch>,
}

impl<B> EndpointFuture<B> {
    pub(crate) fn new(endpoint: Endpoint, request: Request<B>, drain: Option<DrainWatch>) -> Self {
        Self {
            endpoint,
            request: Some(request),
            drain,
        }
    }
}

/// The request is moved out, never pinned.
impl<B> Unpin for EndpointFuture<B> {}

impl<B> Future for EndpointFuture<B>
where
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<EndpointBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        // Polled again after the end, it never ends again.
        let Some(request) = self.request.take() else {
            return Poll::Pending;
        };
        let drain = self.drain.take();
        Poll::Ready(Ok(self.endpoint.handle_until(request, drain)))
    }
}

impl<B> fmt::Debug for EndpointFuture<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod testutil;
