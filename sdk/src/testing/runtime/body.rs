//! The request body of an attempt, fed by hand, and the waker that says which attempt wants a poll.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::engine::invocation::AttemptId;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    ended: bool,
    /// How many chunks may be read before more are allowed, if that is limited.
    allowed: Option<usize>,
}

/// Where a request's bytes are put.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed(Arc<Mutex<Queue>>);

impl Feed {
    pub(super) fn push(&self, chunk: Bytes) {
        lock(&self.0).chunks.push_back(chunk);
    }

    pub(super) fn end(&self) {
        lock(&self.0).ended = true;
    }

    /// Chunks that were not read yet.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).chunks.len()
    }

    /// Lets no more than so many chunks be read.
    pub(super) fn allow(&self, chunks: Option<usize>) {
        lock(&self.0).allowed = chunks;
    }

    pub(super) fn body(&self) -> RequestBody {
        RequestBody(self.clone())
    }
}

/// A request's body. It wakes nobody: whoever feeds it polls the attempt afterwards.
#[derive(Debug)]
pub(super) struct RequestBody(Feed);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut queue = lock(&self.0.0);
        match &mut queue.allowed {
            Some(0) => return Poll::Pending,
            Some(left) => *left -= 1,
            None => {}
        }
        match queue.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None if queue.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Attempts that were woken, and whom to wake for that.
#[derive(Debug, Default)]
pub(super) struct Woken(Mutex<WokenState>);

#[derive(Debug, Default)]
struct WokenState {
    attempts: Vec<AttemptId>,
    outer: Option<Waker>,
}

impl Woken {
    /// The attempts that were woken since the last call.
    pub(super) fn take(&self) -> Vec<AttemptId> {
        std::mem::take(&mut lock(&self.0).attempts)
    }

    /// Registers `outer` for the next wake; `false` if there was one.
    pub(super) fn wait(&self, outer: &Waker) -> bool {
        let mut state = lock(&self.0);
        if !state.attempts.is_empty() {
            return false;
        }
        state.outer = Some(outer.clone());
        true
    }
}

/// The waker of one attempt.
#[derive(Debug)]
pub(super) struct AttemptWaker {
    pub(super) attempt: AttemptId,
    pub(super) woken: Arc<Woken>,
}

impl Wake for AttemptWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let outer = {
            let mut state = lock(&self.woken.0);
            state.attempts.push(self.attempt);
            state.outer.take()
        };
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

/// Wakes a thread that is parked.
#[derive(Debug)]
pub(super) struct Unpark(pub(super) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
