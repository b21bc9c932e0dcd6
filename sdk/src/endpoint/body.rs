//! The response body: where an attempt meets its two byte streams.
//!
//! hyper (or whoever serves the endpoint) polls the response body, and that alone drives the attempt:
//! request chunks are fed to it, the handler runs to rest, and what it wrote leaves as DATA frames.
//! No task is spawned and no channel lies between. What the bytes mean is the executor's business.
//!
//! Rules of this layer:
//! * A frame is never empty.
//! * What ends the attempt (End, Error, Suspension) leaves at once; the response itself ends only when
//!   the request has ended, and until then the request is read and thrown away: some proxies reset a
//!   connection whose request was not drained.
//! * A request that breaks off means that the runtime has gone: the attempt is dropped and the
//!   response ends quietly.
//! * One turn reads a bounded part of the request, so that one large journal does not starve the other
//!   streams of its thread.

use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::drain::DrainWatch;
use crate::error::BoxError;
use crate::executor::Attempt;

/// How many chunks of the request one turn reads.
const TURN_CHUNKS: usize = 512;
/// How many bytes of the request one turn reads, except for the chunk that goes beyond.
const TURN_BYTES: usize = 1024 * 1024;

pin_project! {
/// The body of an [`Endpoint`](super::Endpoint)'s response.
///
/// For an invocation it reads the request's body and runs the handler whenever it is polled; it must be
/// polled to its end. Otherwise it is a short text or the endpoint manifest.
///
/// # Examples
///
/// ```
/// use durably::Endpoint;
/// use http_body_util::{BodyExt, Empty};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::builder().build()?;
/// let request = http::Request::get("/discover").body(Empty::<bytes::Bytes>::new())?;
/// let body = endpoint.handle(request).into_body();
/// # let manifest = futures::executor::block_on(async {
/// let manifest = body.collect().await?.to_bytes();
/// # Ok::<_, Box<dyn std::error::Error>>(manifest) })?;
/// assert!(manifest.starts_with(b"{"));
/// # Ok(())
/// # }
/// ```
#[must_use = "an invocation only runs while its response body is polled"]
pub struct EndpointBody<B> {
    #[pin]
    inner: Inner<B>,
}
}

pin_project! {
    #[project = InnerProjection]
    enum Inner<B> {
        Answer { answer: Answer<B> },
        Attempt {
            #[pin]
            body: AttemptBody<B, Attempt>,
        },
    }
}

impl<B> EndpointBody<B>
where
    B: Body<Data = Bytes>,
{
    /// A text that does not depend on the request's body.
    pub(super) fn answer(text: Bytes, request: B) -> Self {
        let request = (!request.is_end_stream()).then(|| Box::pin(request));
        let text = Some(text).filter(|text| !text.is_empty());
        Self {
            inner: Inner::Answer {
                answer: Answer { text, request },
            },
        }
    }

    /// See [`AttemptBody::awaits_request`].
    #[cfg(feature = "http-server")]
    pub(crate) fn awaits_request(&self) -> Option<u64> {
        match &self.inner {
            Inner::Answer { .. } => None,
            Inner::Attempt { body } => body.awaits_request(),
        }
    }

    /// Whether what there is to say has been said.
    #[cfg(feature = "http-server")]
    pub(crate) fn has_answered(&self) -> bool {
        match &self.inner {
            Inner::Answer { answer } => answer.text.is_none(),
            Inner::Attempt { body } => body.attempt.is_none() && body.ahead.is_none(),
        }
    }

    /// Whether a run's closure executes that the handler waits for.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn executes_runs(&self) -> bool {
        match &self.inner {
            Inner::Answer { .. } => false,
            Inner::Attempt { body } => body.attempt.as_ref().is_some_and(Attempt::executes_runs),
        }
    }

    /// The attempt, while there is one.
    #[cfg(feature = "testing")]
    pub(crate) fn running(&self) -> Option<&Attempt> {
        match &self.inner {
            Inner::Answer { .. } => None,
            Inner::Attempt { body } => body.attempt.as_ref(),
        }
    }

    /// The stream of an attempt.
    pub(super) fn attempt(attempt: Attempt, request: B, drain: Option<DrainWatch>) -> Self {
        Self {
            inner: Inner::Attempt {
                body: AttemptBody::new(attempt, request, drain),
            },
        }
    }
}

impl<B> Body for EndpointBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.project().inner.project() {
            InnerProjection::Answer { answer } => {
                Poll::Ready(answer.next(cx).map(|text| Ok(Frame::data(text))))
            }
            InnerProjection::Attempt { body } => body
                .poll_output(cx)
                .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Answer { answer } => answer.text.is_none(),
            Inner::Attempt { body } => body.is_finished(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Answer { answer } => {
                SizeHint::with_exact(answer.text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Inner::Attempt { .. } => SizeHint::default(),
        }
    }
}

impl<B> fmt::Debug for EndpointBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.inner {
            Inner::Answer { .. } => "answer",
            Inner::Attempt { .. } => "attempt",
        };
        f.debug_tuple("EndpointBody").field(&what).finish()
    }
}

/// A text, and the request that it does not care for.
struct Answer<B> {
    text: Option<Bytes>,
    request: Option<Pin<Box<B>>>,
}

impl<B: Body<Data = Bytes>> Answer<B> {
    /// The text, once. What has come of the request by then is drained; the rest is not waited for,
    /// since the other side may wait for this answer before it goes on or gives up.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        if let Some(mut request) = self.request.take() {
            for _ in 0..TURN_CHUNKS {
                match request.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(_)) | None) | Poll::Pending => break,
                }
            }
        }
        self.text.take()
    }
}

/// What the body needs of an attempt; tests put a script in its place.
pub(crate) trait Drive: Unpin {
    /// Takes bytes of the request, in any split.
    fn handle_input(&mut self, chunk: Bytes);
    /// Nothing more comes in.
    fn handle_input_closed(&mut self);
    /// The request has ended.
    fn handle_input_ended(&mut self) {
        self.handle_input_closed();
    }
    /// Runs the handler to rest. Ready: what ends the attempt is in the output.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// The next DATA frame.
    fn take_output(&mut self) -> Option<Bytes>;
    /// Whether the recorded journal is in.
    fn is_ready(&self) -> bool;
    /// Whether what ends the attempt has been written.
    fn is_ended(&self) -> bool;
}

impl Drive for Attempt {
    fn handle_input(&mut self, chunk: Bytes) {
        Self::handle_input(self, chunk);
    }

    fn handle_input_closed(&mut self) {
        Self::handle_input_closed(self);
    }

    fn handle_input_ended(&mut self) {
        Self::handle_input_ended(self);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll(self, cx)
    }

    fn take_output(&mut self) -> Option<Bytes> {
        Self::take_output(self)
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn is_ended(&self) -> bool {
        Self::is_ended(self)
    }
}

/// Where the attempt's input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// The request goes on and the attempt takes it.
    Open,
    /// The server drains: the attempt was told that nothing more comes; the request may go on.
    Closed,
    /// The request has ended.
    Ended,
}

/// Why a turn's reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Nothing more is here at present; the task is woken when there is.
    Drained,
    /// The turn's share is used up.
    Share,
    /// The request broke off.
    Broken,
}

pin_project! {
    /// One attempt between the request's body and the response's.
    pub(crate) struct AttemptBody<B, A> {
        #[pin]
        request: B,
        // Gone once its last output was taken, or the request broke off.
        attempt: Option<A>,
        // Looked up in advance once the attempt has ended, to know the last frame for the last.
        ahead: Option<Bytes>,
        input: Input,
        // Bytes of the request so far.
        received: u64,
        drain: Option<DrainWatch>,
    }
}

impl<B, A> AttemptBody<B, A>
where
    B: Body<Data = Bytes>,
    A: Drive,
{
    pub(crate) fn new(attempt: A, request: B, drain: Option<DrainWatch>) -> Self {
        Self {
            request,
            attempt: Some(attempt),
            ahead: None,
            input: Input::Open,
            received: 0,
            drain,
        }
    }

    /// If nothing can go on before more of the request comes (known entries are missing, or all is
    /// said and only the request's end is awaited): how many bytes of it have come.
    #[cfg(feature = "http-server")]
    fn awaits_request(&self) -> Option<u64> {
        let works = self.attempt.as_ref().is_some_and(Drive::is_ready);
        (self.input != Input::Ended && !works).then_some(self.received)
    }

    /// Whether there is nothing more to come: the response may end with the frame before.
    fn is_finished(&self) -> bool {
        self.attempt.is_none() && self.ahead.is_none() && self.input == Input::Ended
    }
}

impl<B, A> AttemptBody<B, A>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
    A: Drive,
{
    /// The next DATA frame of the response; `None` ends it.
    pub(crate) fn poll_output(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Bytes>> {
        if let Some(chunk) = self.as_mut().take_output() {
            return Poll::Ready(Some(chunk));
        }
        let read = match self.input {
            Input::Ended => Read::Drained,
            Input::Open | Input::Closed => self.as_mut().read_request(cx),
        };
        if read == Read::Broken {
            return Poll::Ready(None);
        }
        if read == Read::Drained {
            self.as_mut().run(cx);
        }
        if let Some(chunk) = self.as_mut().take_output() {
            return Poll::Ready(Some(chunk));
        }
        if self.is_finished() {
            return Poll::Ready(None);
        }
        if read == Read::Share {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes what has come of the request, up to a turn's share.
    fn read_request(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Read {
        let mut this = self.project();
        let (mut chunks, mut bytes) = (0, 0);
        while chunks < TURN_CHUNKS && bytes < TURN_BYTES {
            let frame = match this.request.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    let error: BoxError = error.into();
                    tracing::debug!(error = %error, "the request of an attempt broke off");
                    discard(this.attempt);
                    *this.ahead = None;
                    *this.input = Input::Ended;
                    return Read::Broken;
                }
                Poll::Ready(None) => {
                    if let (Input::Open, Some(attempt)) = (*this.input, this.attempt.as_mut()) {
                        attempt.handle_input_ended();
                    }
                    *this.input = Input::Ended;
                    return Read::Drained;
                }
                Poll::Pending => return Read::Drained,
            };
            chunks += 1;
            // Trailers mean nothing here.
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            bytes += chunk.len();
            *this.received += chunk.len() as u64;
            if let (Input::Open, Some(attempt)) = (*this.input, this.attempt.as_mut())
                && !chunk.is_empty()
                && !attempt.is_ended()
            {
                attempt.handle_input(chunk);
            }
        }
        Read::Share
    }

    /// Runs the handler to rest; if the server drains, once more with the input closed. Only once
    /// all that has come is taken: what the attempt writes depends on what it knows.
    fn run(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let this = self.project();
        let Some(attempt) = this.attempt.as_mut().filter(|attempt| !attempt.is_ended()) else {
            return;
        };
        if attempt.poll(cx).is_ready() {
            return;
        }
        // A journal that is still coming in is waited for: it would otherwise look cut off, and the
        // attempt would fail where it can suspend.
        if *this.input == Input::Open
            && attempt.is_ready()
            && let Some(drain) = this.drain.as_mut()
            && drain.poll(cx)
        {
            *this.input = Input::Closed;
            attempt.handle_input_closed();
            let _ = attempt.poll(cx);
        }
    }

    fn take_output(self: Pin<&mut Self>) -> Option<Bytes> {
        let this = self.project();
        let take = |attempt: &mut Option<A>| loop {
            let chunk = attempt.as_mut()?.take_output()?;
            if !chunk.is_empty() {
                return Some(chunk);
            }
        };
        let chunk = this.ahead.take().or_else(|| take(this.attempt));
        if this.attempt.as_ref().is_some_and(Drive::is_ended) {
            *this.ahead = take(this.attempt);
            if this.ahead.is_none() {
                // All is written: the handler and the journal need not wait for the request's end.
                discard(this.attempt);
            }
        }
        chunk
    }
}

/// Drops an attempt, and with it whatever the handler still holds. A panic in some destructor there
/// must not keep what was written from leaving.
fn discard<A>(attempt: &mut Option<A>) {
    let attempt = attempt.take();
    if catch_unwind(AssertUnwindSafe(|| drop(attempt))).is_err() {
        tracing::error!("something that a handler held panicked when it was dropped");
    }
}

#[cfg(test)]
mod tests;
