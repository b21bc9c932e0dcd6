//! Attempts that fail: back-off, pause, kill, and panics.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use durably::{
    prelude::*,
    testing::{InvocationStatus, TestRuntime, service},
};

use crate::{endpoint, secs};

struct Flaky {
    attempts: Arc<AtomicU32>,
    fails: u32,
}

#[durably::service]
impl Flaky {
    #[handler]
    async fn default(&self, _ctx: &Context) -> HandlerResult<u32> {
        self.attempt()
    }

    #[handler(retry(max_attempts = 3, initial_interval = "10s", on_max_attempts = "kill"))]
    async fn killed(&self, _ctx: &Context) -> HandlerResult<u32> {
        self.attempt()
    }

    #[handler(retry(max_attempts = 2, on_max_attempts = "pause"))]
    async fn paused(&self, _ctx: &Context) -> HandlerResult<u32> {
        self.attempt()
    }

    #[handler]
    async fn panics(&self, _ctx: &Context) -> HandlerResult<u32> {
        let n = self.attempt();
        if n.is_err() {
            panic!("on purpose");
        }
        n
    }

    #[handler]
    async fn run(&self, ctx: &Context) -> HandlerResult<u32> {
        let policy = RetryPolicy::fixed(secs(7)).max_attempts(3);
        Ok(ctx
            .run("flaky", async || self.attempt())
            .retry(policy)
            .await?)
    }
}

impl Flaky {
    fn attempt(&self) -> HandlerResult<u32> {
        let n = self.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        if n <= self.fails {
            return Err(std::io::Error::other(format!("failure {n}")).into());
        }
        Ok(n)
    }
}

fn flaky(fails: u32) -> (TestRuntime, Arc<AtomicU32>) {
    let attempts = Arc::new(AtomicU32::new(0));
    let service = Flaky {
        attempts: Arc::clone(&attempts),
        fails,
    };
    (TestRuntime::new(endpoint(service)), attempts)
}

fn client() -> FlakyClient<&'static Context> {
    service::<FlakyClient>()
}

#[test]
fn the_pause_doubles() {
    let (mut runtime, _) = flaky(4);
    let begun = runtime.now();
    assert_eq!(runtime.call(client().default()), Ok(5));
    let halves = 1 + 2 + 4 + 8;
    assert_eq!(runtime.now() - begun, Duration::from_millis(500) * halves);
    let (mut runtime, _) = flaky(1);
    assert_eq!(runtime.call(client().panics()), Ok(2));
}

#[test]
fn attempts_that_are_used_up_end_or_pause_it() {
    let (mut runtime, attempts) = flaky(u32::MAX);
    let begun = runtime.now();
    let error = runtime.call(client().killed()).unwrap_err();
    assert_eq!(error.message(), "failure 3");
    assert_eq!(runtime.now() - begun, secs(30));
    assert_eq!(attempts.load(Ordering::SeqCst), 3);

    let (mut runtime, attempts) = flaky(2);
    let id = runtime.send(client().paused()).unwrap();
    runtime.run_until_idle();
    assert_eq!(runtime.status(&id), InvocationStatus::Paused);
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    runtime.resume(&id).unwrap();
    assert_eq!(runtime.attach::<u32>(&id), Ok(3));

    let (mut runtime, attempts) = flaky(u32::MAX);
    let id = runtime.send(client().default()).unwrap();
    runtime.run_until_idle();
    assert_eq!(runtime.status(&id), InvocationStatus::Paused);
    assert_eq!(attempts.load(Ordering::SeqCst), 70);
}

#[test]
#[should_panic(expected = "paused after 2 attempts, the last failed: [500] failure 2")]
fn a_call_that_pauses_fails_the_test_with_the_reason() {
    let (mut runtime, _) = flaky(u32::MAX);
    let _ = runtime.call(client().paused());
}

#[test]
fn a_run_s_own_policy_counts_its_executions() {
    let (mut runtime, attempts) = flaky(u32::MAX);
    let begun = runtime.now();
    let error = runtime.call(client().run()).unwrap_err();
    assert_eq!(error.message(), "failure 3");
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    assert_eq!(runtime.now() - begun, secs(14));
    let (mut runtime, _) = flaky(2);
    assert_eq!(runtime.call(client().run()), Ok(3));
}
