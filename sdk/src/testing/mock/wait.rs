//! Waiting for the world outside, which run closures may do: a waker that remembers, an alarm in real
//! time, and a way to drive a future without an async runtime.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

/// Remembers that the attempt was woken, and passes it on to whoever drives the mock.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wakes {
    pub(super) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    pub(super) fn set_outer(&self, waker: &Waker) {
        let old = self.lock().replace(waker.clone());
        drop(old);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.outer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        let outer = self.lock().clone();
        if let Some(outer) = outer {
            outer.wake();
        }
    }
}

/// Wakes after some time, unless it is dropped before. It needs no async runtime, whose time may stand
/// still.
#[derive(Debug)]
pub(super) struct Alarm {
    _until_dropped: mpsc::Sender<()>,
}

impl Alarm {
    pub(super) fn set(after: Duration, wakes: Arc<Wakes>) -> Self {
        let (sender, dropped) = mpsc::channel();
        thread::spawn(move || {
            if dropped.recv_timeout(after) == Err(mpsc::RecvTimeoutError::Timeout) {
                wakes.wake();
            }
        });
        Self {
            _until_dropped: sender,
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future to its end on this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}
