//! How long a request is waited for that has stopped coming.
//!
//! A response's body flows in, and out again unchanged, unless it waits for nothing but more of its
//! request and none comes for a while. HTTP/2 peers that are gone are found by PING; this finds those
//! that are there and silent, and over HTTP/1.1 those that are gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::endpoint::wakers::Wakers;
use crate::endpoint::{EndpointBody, EndpointFuture};
use crate::error::BoxError;

/// How long the requests of a server may pause. One clock ticks for all of them, as often as that: nearly
/// every attempt waits a moment for the end of its request, and a timer for each would cost more than
/// the wait.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    timeout: Option<Duration>,
    clock: Arc<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    ticks: AtomicU64,
    waiting: Wakers,
}

impl Patience {
    /// `None`: for ever.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            clock: Arc::default(),
        }
    }

    /// Ticks, for as long as the server serves.
    pub(super) async fn tick(self) {
        let Some(timeout) = self.timeout else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(timeout.max(Duration::from_millis(1))).await;
            self.clock.ticks.fetch_add(1, Ordering::Relaxed);
            self.clock.waiting.wake_all();
        }
    }
}

/// A request that is waited for.
#[derive(Debug)]
struct Waiting {
    clock: Arc<Clock>,
    slot: Option<usize>,
    /// What had come of it, and the ticks, when it was looked at first.
    received: u64,
    since: u64,
}

impl Waiting {
    /// Whether nothing has come for the whole time between two ticks.
    fn is_over(&mut self, received: u64, cx: &Context<'_>) -> bool {
        let ticks = self.clock.ticks.load(Ordering::Relaxed);
        if self.received != received {
            (self.received, self.since) = (received, ticks);
        }
        let over = ticks >= self.since + 2;
        if !over {
            self.clock.waiting.register(&mut self.slot, cx);
        }
        over
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clock.waiting.release(&mut self.slot);
    }
}

pin_project! {
    /// Makes a [`Patient`] of an endpoint's answer.
    pub(super) struct PatientFuture<B> {
        #[pin]
        answer: EndpointFuture<B>,
        patience: Option<Patience>,
        // Over HTTP/1.1 the peer may wait with its body until it is told to go on. hyper does so when
        // the body is asked for, but not any more once the head of the response has been written.
        expects: bool,
        asked: Option<Response<EndpointBody<B>>>,
    }
}

impl<B> PatientFuture<B> {
    pub(super) fn new(answer: EndpointFuture<B>, patience: Patience, expects: bool) -> Self {
        let patience = Some(patience).filter(|patience| patience.timeout.is_some());
        Self {
            answer,
            patience,
            expects,
            asked: None,
        }
    }
}

impl<B> Future for PatientFuture<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<Patient<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut ahead = None;
        let response = match this.asked.take() {
            Some(response) => response,
            None => {
                let mut response = ready!(this.answer.poll(cx))?;
                if std::mem::take(this.expects) {
                    match Pin::new(response.body_mut()).poll_frame(cx) {
                        Poll::Ready(frame) => ahead = Some(frame),
                        Poll::Pending => {
                            *this.asked = Some(response);
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                }
                response
            }
        };
        let patience = this.patience.take();
        Poll::Ready(Ok(response.map(|body| Patient {
            body,
            ahead: ahead.map(Box::new),
            patience,
            waiting: None,
        })))
    }
}

/// What a body gave when it was polled.
type Ahead = Option<Result<Frame<Bytes>, Infallible>>;

pin_project! {
    /// The body of an endpoint's response, which does not wait for its request for ever.
    pub(super) struct Patient<B> {
        #[pin]
        body: EndpointBody<B>,
        // What was asked for ahead. Rare, and large.
        ahead: Option<Box<Ahead>>,
        patience: Option<Patience>,
        waiting: Option<Waiting>,
    }
}

/// The request has stopped coming before the attempt could begin.
#[derive(Debug, thiserror::Error)]
#[error("the request stopped coming before the known entries of its journal were in")]
pub(super) struct Stalled;

impl<B> Body for Patient<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Stalled;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Stalled>>> {
        let mut this = self.project();
        if let Some(frame) = this.ahead.take().map(|ahead| *ahead) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})));
        }
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            *this.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})));
        }
        let (Some(patience), Some(received)) = (this.patience, this.body.awaits_request()) else {
            *this.waiting = None;
            return Poll::Pending;
        };
        let waiting = this.waiting.get_or_insert_with(|| Waiting {
            clock: Arc::clone(&patience.clock),
            slot: None,
            received,
            since: patience.clock.ticks.load(Ordering::Relaxed),
        });
        if !waiting.is_over(received, cx) {
            return Poll::Pending;
        }
        if this.body.has_answered() {
            // All is said; whoever leaves the request open does not need it.
            return Poll::Ready(None);
        }
        tracing::warn!(
            received,
            timeout = ?patience.timeout,
            "a request stopped coming: giving its attempt up (see \
             `HttpServer::request_idle_timeout`)"
        );
        Poll::Ready(Some(Err(Stalled)))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.ahead {
            Some(ahead) if ahead.is_some() => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}
