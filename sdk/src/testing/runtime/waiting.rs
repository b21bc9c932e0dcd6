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

/// How often the time may move by itself while one method waits. Where something happens for ever, as a
/// handler that sends itself a delayed message, memory would be used up long before all those steps.
const MOVES: u64 = if cfg!(test) { 1_000 } else { 1_000_000 };

/// How long a blocking method waits for run closures while no attempt says anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Since when no attempt has said anything, in real time.
struct Patience {
    since: Instant,
    heard: u64,
}

impl Patience {
    /// Whether nothing was heard for too long; `heard`: how much was, so far.
    fn is_over(&mut self, heard: u64, now: Instant) -> bool {
        if heard != self.heard {
            *self = Self { since: now, heard };
        }
        now.saturating_duration_since(self.since) > PATIENCE
    }
}

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
        let mut moves = 0;
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
                    let engine = &self.driver.engine;
                    let due = match time {
                        Time::Free if self.manual_time => None,
                        Time::Free => self.driver.next_timer(),
                        Time::Still => engine.next_timer().filter(|due| *due <= engine.now()),
                        Time::Until(until) => engine.next_timer().filter(|due| *due <= until),
                    };
                    let Some(due) = due else {
                        return Poll::Ready(Ok(Waited::Idle));
                    };
                    moves += u64::from(time == Time::Free);
                    if moves > MOVES {
                        return Poll::Ready(Err(Fault(format!(
                            "the invocations never come to rest: the time has moved on {MOVES} times, and there is \
                             still something to come, as where a handler sends itself a delayed message each \
                             time. Move the time with `advance` there"
                        ))));
                    }
                    self.driver.advance_to(due);
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
        let mut patience = Patience {
            since: Instant::now(),
            heard: self.driver.heard,
        };
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
                    if patience.is_over(self.driver.heard, Instant::now()) {
                        self.fail(&format!(
                            "a run's closure does not end: nothing has happened for {PATIENCE:?} of real time"
                        ));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::{prelude::*, testing::object};

    #[test]
    fn patience_ends_when_nothing_is_heard_and_not_before() {
        let begun = Instant::now();
        let mut patience = Patience {
            since: begun,
            heard: 0,
        };
        // Closures that end one after the other, each in time.
        for heard in 0..5_u32 {
            let now = begun + PATIENCE * heard;
            assert!(!patience.is_over(heard.into(), now), "{heard}");
        }
        assert!(!patience.is_over(4, begun + PATIENCE * 5));
        assert!(patience.is_over(4, begun + PATIENCE * 5 + Duration::from_millis(1)));
    }

    struct Cron;

    #[crate::object(crate = "crate")]
    impl Cron {
        #[handler]
        async fn tick(&self, ctx: &ObjectContext) -> HandlerResult<()> {
            let next = ctx.object_client::<CronClient>(ctx.key()).tick();
            next.send_after(Duration::from_secs(3600));
            Ok(())
        }
    }

    fn cron() -> TestRuntime {
        let endpoint = Endpoint::builder().bind(Cron).build().unwrap();
        let mut runtime = TestRuntime::new(endpoint);
        runtime.send(object::<CronClient>("hourly").tick()).unwrap();
        runtime
    }

    #[test]
    fn what_begins_again_for_ever_can_be_driven_by_hand() {
        let mut runtime = cron();
        runtime.advance(Duration::from_secs(2_000 * 3600));
        assert_eq!(runtime.invocations().len(), 2_002);
    }

    #[test]
    #[should_panic(expected = "the time has moved on 1000 times")]
    fn what_begins_again_for_ever_fails_the_test() {
        cron().run_until_idle();
    }
}
