//! The requests of one connection that are open: how many, and when the last has ended.
//!
//! In: the service that a connection calls. Out: the same service, watched. What the requests mean is
//! nothing to this module.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project_lite::pin_project;

/// What a connection knows of its requests.
#[derive(Debug, Default)]
pub(super) struct OpenRequests {
    used: AtomicBool,
    http2: AtomicBool,
    open: AtomicUsize,
    connection: AtomicWaker,
}

impl OpenRequests {
    /// Whether there has been a request.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether requests can be open side by side.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// Whether no request is open; if one is, the task is woken when the last has ended.
    pub(super) fn poll_none(&self, cx: &Context<'_>) -> bool {
        self.connection.register(cx.waker());
        self.open.load(Ordering::Acquire) == 0
    }

    fn begin(self: &Arc<Self>, version: Version) -> Open {
        self.used.store(true, Ordering::Relaxed);
        self.http2
            .store(version == Version::HTTP_2, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }
}

/// One open request.
#[derive(Debug)]
struct Open(Arc<OpenRequests>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.connection.wake();
        }
    }
}

/// A service whose requests are watched.
pub(super) struct Watched<S> {
    pub(super) service: S,
    pub(super) requests: Arc<OpenRequests>,
}

impl<S, I, B> Service<Request<I>> for Watched<S>
where
    S: Service<Request<I>, Response = Response<B>>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn call(&self, request: Request<I>) -> Self::Future {
        WatchedFuture {
            open: Some(self.requests.begin(request.version())),
            future: self.service.call(request),
        }
    }
}

pin_project! {
    /// A response that is being made.
    pub(super) struct WatchedFuture<F> {
        #[pin]
        future: F,
        open: Option<Open>,
    }
}

impl<F, B, E> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<WatchedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx));
        let open = this.open.take();
        Poll::Ready(response.map(|response| response.map(|body| WatchedBody { body, open })))
    }
}

pin_project! {
    /// A response's body; the request is open until it is dropped.
    pub(super) struct WatchedBody<B> {
        #[pin]
        body: B,
        open: Option<Open>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
