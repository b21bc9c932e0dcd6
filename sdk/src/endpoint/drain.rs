//! The signal by which a server tells open attempts that it is going away.
//!
//! A handler that waits would hold a shutdown back; told to drain, an attempt suspends as soon as it is
//! blocked, and the runtime continues it elsewhere. The server holds the [`Drain`], each attempt's
//! response body a [`DrainWatch`]. This is a flag with wakers and nothing else, so that
//! endpoints need no runtime of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use super::wakers::Wakers;

#[derive(Debug, Default)]
struct Shared {
    draining: AtomicBool,
    waiting: Wakers,
}

/// The server's side.
#[derive(Debug, Default)]
pub(crate) struct Drain(Arc<Shared>);

impl Drain {
    pub(crate) fn watch(&self) -> DrainWatch {
        DrainWatch {
            shared: Arc::clone(&self.0),
            slot: None,
        }
    }

    /// Tells every attempt, present and future. Wakes outside of the lock.
    pub(crate) fn start(&self) {
        self.0.draining.store(true, Ordering::Release);
        self.0.waiting.wake_all();
    }
}

/// An attempt's side.
#[derive(Debug)]
pub(crate) struct DrainWatch {
    shared: Arc<Shared>,
    slot: Option<usize>,
}

impl DrainWatch {
    /// Whether the server drains; if not, the task is woken when it starts to.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> bool {
        if self.shared.draining.load(Ordering::Acquire) {
            return true;
        }
        self.shared.waiting.register(&mut self.slot, cx);
        // A start between the check above and the registration has missed this waker.
        self.shared.draining.load(Ordering::Acquire)
    }

    /// Waits until the server drains.
    #[cfg(any(feature = "tls", all(feature = "http-server", feature = "admin")))]
    pub(crate) async fn drained(&mut self) {
        std::future::poll_fn(|cx| {
            if self.poll(cx) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    }
}

impl Clone for DrainWatch {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            slot: None,
        }
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        self.shared.waiting.release(&mut self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn watchers_are_woken_once_and_see_the_flag() {
        let drain = Drain::default();
        let (first, second) = (Arc::<Count>::default(), Arc::<Count>::default());
        let (mut a, mut b, mut gone) = (drain.watch(), drain.watch(), drain.watch());
        for (watch, count) in [(&mut a, &first), (&mut b, &second), (&mut gone, &second)] {
            let waker = Waker::from(Arc::clone(count));
            assert!(!watch.poll(&Context::from_waker(&waker)));
            assert!(!watch.poll(&Context::from_waker(&waker)));
        }
        drop(gone);
        drain.start();
        assert_eq!(first.0.load(Ordering::SeqCst), 1);
        assert_eq!(second.0.load(Ordering::SeqCst), 1);
        assert!(a.poll(&Context::from_waker(Waker::noop())));
        assert!(drain.watch().poll(&Context::from_waker(Waker::noop())));
    }

    #[test]
    fn slots_are_used_again() {
        let drain = Drain::default();
        for _ in 0..100 {
            let mut watch = drain.watch();
            assert!(!watch.poll(&Context::from_waker(Waker::noop())));
        }
        assert_eq!(drain.0.waiting.len(), 1);
    }
}
