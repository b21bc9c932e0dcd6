//! What carries a request to the server: reqwest, or any `tower` service.
//!
//! In: an HTTP request with its whole body. Out: the response with its whole body, or an error that says
//! whether anything can have been sent.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tower_service::Service;

use crate::{
    client::http::{io_errors, is_impossible},
    error::BoxError,
};

/// The time in which a connection must stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A call may wait for days without a byte: then only the system notices that the peer is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

pub(crate) type Exchanged =
    Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, TransportError>> + Send>>;

/// Exchanges requests for responses.
pub(crate) trait Transport: Send + Sync {
    fn exchange(&self, request: http::Request<Bytes>) -> Exchanged;
}

/// Why no response came.
#[derive(Debug)]
pub(crate) struct TransportError {
    pub(crate) source: BoxError,
    pub(crate) sent: Sent,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sent {
    /// Nobody knows.
    Perhaps,
    /// Not a byte of it has left: there was no connection.
    No,
    /// And there never will be one.
    Impossible,
}

/// The transport of a client that was not given one.
pub(crate) fn default() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEP_ALIVE)
        .build()
}

impl Transport for reqwest::Client {
    fn exchange(&self, request: http::Request<Bytes>) -> Exchanged {
        let client = self.clone();
        Box::pin(async move {
            let request = request.map(reqwest::Body::from).try_into()?;
            let response = client.execute(request).await?;
            let mut whole = http::Response::new(Bytes::new());
            *whole.status_mut() = response.status();
            *whole.headers_mut() = response.headers().clone();
            *whole.body_mut() = response.bytes().await?;
            Ok(whole)
        })
    }
}

impl From<reqwest::Error> for TransportError {
    fn from(error: reqwest::Error) -> Self {
        let sent = if is_impossible(&error) {
            Sent::Impossible
        } else if error.is_connect() {
            Sent::No
        } else {
            Sent::Perhaps
        };
        Self {
            sent,
            // The request is named by its path; the address is the client's own.
            source: error.without_url().into(),
        }
    }
}

/// Any `tower` service, cloned for each request. The lock makes it `Sync`: it is held only to clone.
pub(crate) struct Tower<S>(Mutex<S>);

impl<S> Tower<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S, B> Transport for Tower<S>
where
    S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn exchange(&self, request: http::Request<Bytes>) -> Exchanged {
        let mut service = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(foreign)?;
            let response = service
                .call(request.map(Full::new))
                .await
                .map_err(foreign)?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(foreign)?.to_bytes();
            Ok(http::Response::from_parts(parts, body))
        })
    }
}

fn foreign(error: impl Into<BoxError>) -> TransportError {
    let source = error.into();
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let sent = if io_errors(&*source).any(refused) {
        Sent::No
    } else {
        Sent::Perhaps
    };
    TransportError { source, sent }
}
