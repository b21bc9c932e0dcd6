//! Time limits of runs, cancellation by hand, and attempts that end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use durably::{
    Service as _,
    prelude::*,
    testing::{MockContext, TestRuntime, service},
};

use crate::{Log, in_all_modes};

const MOMENT: Duration = Duration::from_millis(20);

#[derive(Clone, Default)]
struct Slow {
    tries: Arc<AtomicU32>,
    log: Log,
}

/// Says that it was dropped.
struct Dropped(Log);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

#[durably::service]
impl Slow {
    /// Its run hangs as often as `hangs` says.
    #[handler]
    async fn work(&self, ctx: &Context, hangs: u32) -> HandlerResult<u32> {
        let work = ctx.run("work", async || {
            let dropped = Dropped(self.log.clone());
            if self.tries.fetch_add(1, Ordering::SeqCst) < hangs {
                futures::future::pending::<()>().await;
            }
            std::mem::forget(dropped);
            HandlerResult::Ok(self.tries.load(Ordering::SeqCst))
        });
        let policy = RetryPolicy::fixed(Duration::from_secs(1)).max_attempts(3);
        Ok(work.attempt_timeout(MOMENT).retry(policy).await?)
    }

    /// Ends in good order when it is cancelled.
    #[handler]
    async fn count(&self, ctx: &Context) -> HandlerResult<u32> {
        let mut cancelled = ctx.cancellation();
        let mut count = 0;
        loop {
            durably::select! {
                cancelled = &mut cancelled => { cancelled?; break }
                slept = ctx.sleep(Duration::from_secs(1)) => { slept?; count += 1; }
            }
        }
        // It was cancelled, for whoever asks; and what is awaited does not fail.
        ctx.cancellation().await?;
        let (one, two) = durably::join!(ctx.cancellation(), ctx.cancellation());
        one.and(two)?;
        ctx.sleep(Duration::from_secs(60)).await?;
        ctx.run("note", async || self.log.done("orderly")).await?;
        Ok(count)
    }

    #[handler]
    async fn child(&self, ctx: &Context) -> HandlerResult<()> {
        Ok(ctx.signal::<()>("never").await?)
    }

    /// Cancels its call itself, at a time of its own.
    #[handler]
    async fn parent(&self, ctx: &Context) -> HandlerResult<u16> {
        let child = ctx.service_client::<SlowClient>().child().call();
        ctx.cancellation().await?;
        ctx.sleep(Duration::from_secs(5)).await?;
        self.log.add("still waits");
        child.cancel().await?;
        Ok(child.await.err().map_or(0, |error| error.code()))
    }

    /// In a handler without the option, the token comes first, then the failure.
    #[handler]
    async fn implicit(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let mut order = Vec::new();
        let (mut token, mut sleep) = (ctx.cancellation(), ctx.sleep(Duration::from_secs(60)));
        for _ in 0..2 {
            durably::select! {
                token = &mut token, if order.is_empty() => order.push(format!("token {token:?}")),
                slept = &mut sleep => order.push(format!("sleep {}", slept.is_err())),
            }
        }
        Ok(order)
    }
}

fn client() -> SlowClient<&'static Context> {
    service::<SlowClient>()
}

fn endpoint(slow: &Slow, explicit: bool) -> Endpoint {
    let definition = slow.clone().definition();
    let definition = ["count", "parent"]
        .iter()
        .fold(definition, |definition, name| {
            definition.with_handler(name, |handler| handler.explicit_cancellation(explicit))
        });
    Endpoint::builder().bind(definition).build().unwrap()
}

#[test]
fn a_closure_that_takes_too_long_is_dropped_and_tried_again() {
    let slow = Slow::default();
    in_all_modes(
        || endpoint(&slow, true),
        |runtime| {
            slow.tries.store(0, Ordering::SeqCst);
            assert_eq!(runtime.call(client().work(2)).unwrap(), 3);
            assert_eq!(slow.log.take(), ["dropped", "dropped"]);
            slow.tries.store(0, Ordering::SeqCst);
            let error = runtime.call(client().work(5)).unwrap_err();
            assert!(
                error.message().contains("did not end within 20ms"),
                "{error}"
            );
            assert_eq!(slow.tries.load(Ordering::SeqCst), 3);
            assert_eq!(slow.log.take().len(), 3);
        },
    );
}

#[tokio::test]
async fn the_limit_counts_by_the_async_runtime_s_time() {
    let slow = Slow::default();
    let mut runtime = TestRuntime::new(endpoint(&slow, true));
    assert_eq!(runtime.call_async(client().work(1)).await.unwrap(), 2);
}

#[test]
fn a_mock_s_run_has_its_limit_too() {
    let mock = MockContext::service();
    let policy = RetryPolicy::fixed(Duration::ZERO).max_attempts(1);
    let error = mock
        .call_blocking(async |ctx| {
            ctx.run("hang", async || {
                futures::future::pending::<()>().await;
                HandlerResult::Ok(())
            })
            .attempt_timeout(MOMENT)
            .retry(policy)
            .await
        })
        .unwrap_err();
    assert!(error.message().contains("did not end within"), "{error}");
}

#[test]
fn a_limit_that_is_not_reached_changes_nothing() {
    let mock = MockContext::service();
    let run = async |ctx: &Context| {
        ctx.run("work", async || HandlerResult::Ok(7))
            .attempt_timeout(Duration::from_secs(3600))
            .await
    };
    assert_eq!(mock.call_blocking(run), Ok(7));
}

#[test]
fn an_explicit_cancellation_fails_nothing() {
    for version in [5, 6, 7] {
        for always_suspend in [false, true] {
            let slow = Slow::default();
            let builder = TestRuntime::builder(endpoint(&slow, true)).manual_time();
            let builder = builder.protocol(version);
            let mut runtime = if always_suspend {
                builder.always_suspend()
            } else {
                builder
            }
            .build();
            let id = runtime.send(client().count()).unwrap();
            runtime.advance(Duration::from_millis(3500));
            runtime.cancel(&id).unwrap();
            runtime.advance(Duration::from_secs(30));
            // Another one is no news.
            runtime.cancel(&id).unwrap();
            runtime.advance(Duration::from_secs(29));
            assert_eq!(runtime.output::<u32>(&id).unwrap(), None);
            runtime.advance(Duration::from_secs(1));
            assert_eq!(runtime.output::<u32>(&id).unwrap(), Some(3));
            assert_eq!(slow.log.take(), ["orderly"]);
        }
    }
}

#[test]
fn calls_are_cancelled_by_hand() {
    let slow = Slow::default();
    in_all_modes(
        || endpoint(&slow, true),
        |runtime| {
            let id = runtime.send(client().parent()).unwrap();
            runtime.run_until_idle();
            runtime.cancel(&id).unwrap();
            runtime.run_until_idle();
            assert_eq!(runtime.output::<u16>(&id).unwrap(), Some(409));
            assert!(!slow.log.take().is_empty());
        },
    );
}

#[test]
fn without_the_option_the_token_comes_just_before_the_failures() {
    let slow = Slow::default();
    in_all_modes(
        || endpoint(&slow, false),
        |runtime| {
            let id = runtime.send(client().implicit()).unwrap();
            runtime.settle();
            runtime.cancel(&id).unwrap();
            runtime.settle();
            let order = runtime.output::<Vec<String>>(&id).unwrap().unwrap();
            assert_eq!(order, ["token Ok(())", "sleep true"]);
            // The option is off: it is cancelled as ever.
            let id = runtime.send(client().count()).unwrap();
            runtime.settle();
            runtime.cancel(&id).unwrap();
            runtime.settle();
            assert_eq!(runtime.output::<u32>(&id).unwrap_err().code(), 409);
        },
    );
}

#[test]
fn levels_of_the_option_override_each_other() {
    let slow = Slow::default();
    let cancel = |endpoint: Endpoint| {
        let mut runtime = TestRuntime::new(endpoint);
        let id = runtime.send(client().child()).unwrap();
        runtime.settle();
        runtime.cancel(&id).unwrap();
        runtime.settle();
        runtime.output::<()>(&id)
    };
    let definition = || slow.clone().definition();
    let explicit = || Endpoint::builder().explicit_cancellation(true);
    assert_eq!(
        cancel(explicit().bind(definition()).build().unwrap()).unwrap(),
        None
    );
    let service = definition().explicit_cancellation(false);
    let error = cancel(explicit().bind(service.clone()).build().unwrap()).unwrap_err();
    assert_eq!(error.code(), 409);
    let handler = service.with_handler("child", |child| child.explicit_cancellation(true));
    assert_eq!(
        cancel(explicit().bind(handler).build().unwrap()).unwrap(),
        None
    );
}

#[test]
fn the_end_of_an_attempt_reaches_closures_and_tasks() {
    // Made within a closure, and kept beyond the attempt.
    let (sender, receiver) = std::sync::mpsc::channel();
    let mock = MockContext::service();
    mock.call_blocking(async |ctx| {
        ctx.run("work", async || {
            let ending = ctx.attempt_ending();
            let is_ending = ending.is_ending();
            sender.send(ending).unwrap();
            HandlerResult::Ok(is_ending)
        })
        .await
        .map(|is_ending| assert!(!is_ending))
    })
    .unwrap();
    let ending = receiver.recv().unwrap();
    assert!(ending.is_ending());
    futures::executor::block_on(ending);
}
