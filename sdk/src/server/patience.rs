//! How long a request is waited for that has stopped coming.
//!
//! A response's body flows in, and out again unchanged, unless it waits for nothing but more of its
//! request and none comes for a while. HTTP/2 peers that are gone are found by PING; this finds those
//! that are there and silent, and over HTTP/1.1 those that are gone.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::endpoint::{EndpointBody, EndpointFuture};
use crate::error::BoxError;

pin_project! {
    /// Makes a [`Patient`] of an endpoint's answer.
    pub(super) struct PatientFuture<B> {
        #[pin]
        answer: EndpointFuture<B>,
        patience: Option<Duration>,
        // Over HTTP/1.1 the peer may wait with its body until it is told to go on. hyper does so when
        // the body is asked for, but not any more once the head of the response has been written.
        expects: bool,
        asked: Option<Response<EndpointBody<B>>>,
    }
}

impl<B> PatientFuture<B> {
    pub(super) fn new(
        answer: EndpointFuture<B>,
        patience: Option<Duration>,
        expects: bool,
    ) -> Self {
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
        let patience = *this.patience;
        Poll::Ready(Ok(response.map(|body| Patient {
            body,
            ahead: ahead.map(Box::new),
            patience,
            timer: None,
            received: 0,
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
        patience: Option<Duration>,
        // Runs while the request is awaited, and is looked at when it is over. Most streams have none.
        timer: Option<Pin<Box<Sleep>>>,
        // What had come of the request when the timer was started.
        received: u64,
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
            *this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})));
        }
        let (Some(patience), Some(received)) = (*this.patience, this.body.awaits_request()) else {
            *this.timer = None;
            return Poll::Pending;
        };
        loop {
            match this.timer.as_mut() {
                None => {
                    *this.received = received;
                    *this.timer = Some(Box::pin(tokio::time::sleep(patience)));
                }
                Some(timer) => {
                    ready!(timer.as_mut().poll(cx));
                    if *this.received == received {
                        break;
                    }
                    // Something has come meanwhile. So a pause of up to twice the time may pass,
                    // and no timer is moved for each piece of a request.
                    *this.timer = None;
                }
            }
        }
        if this.body.has_answered() {
            // All is said; whoever leaves the request open does not need it.
            return Poll::Ready(None);
        }
        tracing::warn!(
            received,
            timeout = ?patience,
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
