//! Running the virtual world until something has come, blocking or async.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    TestRuntime,
    body::Unpark,
    driver::{Fault, Step},
};
use crate::engine::words::describe_status;

/// Steps without an end after which the world is said never to come to rest.
const STEPS: u64 = 20_000_000;

/// How long a blocking method waits for a run's closure that makes no progress.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far the time may move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Time {
    /// From timer to timer, unless it is moved by hand only.
    Free,
    Still,
    /// Up to here.
    Until(u64),
}

/// What became of waiting.
enum Waited<T> {
    Came(T),
    /// Everything waits, and the time may not move further.
    Idle,
}

impl TestRuntime {
    /// Runs the world until `done` gives something, or nothing more happens.
    fn poll_world<T>(
        &mut self,
        waker: &Waker,
        time: Time,
        done: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Poll<Result<Waited<T>, Fault>> {
        for _ in 0..STEPS {
            match self.driver.step()? {
                Step::Worked => {
                    if let Some(came) = done(self) {
                        return Poll::Ready(Ok(Waited::Came(came)));
                    }
                }
                Step::Executes => {
                    if let Some(came) = done(self) {
                        return Poll::Ready(Ok(Waited::Came(came)));
                    }
                    if self.driver.wait(waker) {
                        return Poll::Pending;
                    }
                }
                Step::Idle => {
                    if let Some(came) = done(self) {
                        return Poll::Ready(Ok(Waited::Came(came)));
                    }
                    let due = self.driver.engine.next_timer();
                    let due = due.filter(|due| match time {
                        Time::Free => !self.manual_time,
                        Time::Still => *due <= self.driver.engine.now(),
                        Time::Until(until) => *due <= until,
                    });
                    match due {
                        Some(due) => self.driver.advance_to(due),
                        None => return Poll::Ready(Ok(Waited::Idle)),
                    }
                }
            }
        }
        Poll::Ready(Err(Fault(
            "the invocations never come to rest: something begins again and again".to_owned(),
        )))
    }

    /// Blocks until `done` gives something; `None` if nothing more happens.
    #[track_caller]
    pub(super) fn run_until<T>(
        &mut self,
        time: Time,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let begun = Instant::now();
        loop {
            match self.poll_world(&waker, time, &mut done) {
                Poll::Ready(waited) => return self.waited(waited),
                Poll::Pending => {
                    if is_within_current_thread_runtime() {
                        self.fail(
                            "a run's closure waits for something that this very thread's tokio runtime would \
                             drive, and the thread is blocked: use the methods that end in `_async`",
                        );
                    }
                    if begun.elapsed() > PATIENCE {
                        self.fail("a run's closure does not end");
                    }
                    std::thread::park_timeout(PATIENCE / 60);
                }
            }
        }
    }

    /// As [`run_until`](Self::run_until), returning to the caller's runtime while a closure waits.
    pub(super) async fn run_until_async<T>(
        &mut self,
        time: Time,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let waited = poll_fn(|cx| self.poll_world(cx.waker(), time, &mut done)).await;
        self.waited(waited)
    }

    #[track_caller]
    fn waited<T>(&self, waited: Result<Waited<T>, Fault>) -> Option<T> {
        match waited {
            Ok(Waited::Came(came)) => Some(came),
            Ok(Waited::Idle) => None,
            Err(Fault(reason)) => self.fail(&reason),
        }
    }

    /// Fails the test.
    #[track_caller]
    pub(super) fn fail(&self, reason: &str) -> ! {
        let mut text = reason.to_owned();
        let engine = &self.driver.engine;
        let executing: Vec<_> = self.driver.executing().collect();
        let open = engine.invocations.iter();
        for (index, invocation) in open.filter(|(_, invocation)| !invocation.is_over()) {
            let status = if executing.contains(&index) {
                "executes a run".to_owned()
            } else {
                describe_status(invocation)
            };
            text.push_str(&format!(
                "\n  {} {}: {status}",
                invocation.id,
                invocation.target()
            ));
        }
        if self.driver.course.is_some() {
            // The exploration catches and reports it: nothing is printed here.
            std::panic::resume_unwind(Box::new(text));
        }
        panic!("{text}\n  (seed {})", self.seed);
    }
}

/// Whether blocking this thread would stop the tokio runtime that it belongs to.
fn is_within_current_thread_runtime() -> bool {
    tokio::runtime::Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::CurrentThread)
}
