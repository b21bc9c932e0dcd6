//! Alarms in real time, for the time limits of runs. Attempts are handed them; nothing below the endpoint
//! reads the time itself.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::executor::Timer;

/// The timer of the tokio runtime that polls the attempt; where there is none, threads.
pub(crate) fn system() -> Timer {
    Timer::new(|after| match tokio::runtime::Handle::try_current() {
        Ok(_) => Box::pin(tokio::time::sleep(after)),
        Err(_) => Box::pin(ThreadAlarm::new(after)),
    })
}

/// An alarm for where there is no async runtime, as in tests that block: a thread that sleeps, from the
/// first poll on.
struct ThreadAlarm {
    /// None: later than anybody waits.
    due: Option<Instant>,
    waker: Arc<Mutex<Option<Waker>>>,
    /// The thread goes when this does.
    until_dropped: Option<mpsc::Sender<()>>,
}

impl ThreadAlarm {
    fn new(after: Duration) -> Self {
        Self {
            due: Instant::now().checked_add(after),
            waker: Arc::default(),
            until_dropped: None,
        }
    }
}

impl Future for ThreadAlarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else {
            return Poll::Pending;
        };
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        let old = waker.replace(cx.waker().clone());
        drop(waker);
        drop(old);
        if self.until_dropped.is_none() {
            let (sender, dropped) = mpsc::channel();
            let waker = Arc::clone(&self.waker);
            self.until_dropped = Some(sender);
            thread::spawn(move || {
                if dropped.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let waker = waker.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            });
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn an_alarm_goes_off_without_an_async_runtime() {
        let begun = Instant::now();
        let after = Duration::from_millis(20);
        futures::executor::block_on(system().after(after));
        assert!(begun.elapsed() >= after);
        assert!(system().after(Duration::MAX).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_that_of_the_async_runtime() {
        let begun = Instant::now();
        system().after(Duration::from_secs(3600)).await;
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
