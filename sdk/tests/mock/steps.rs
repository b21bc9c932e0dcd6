//! Runs, time, and going on by hand.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use durably::{
    prelude::*,
    testing::{FailureKind, MockContext, object},
};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn sleeps_take_no_time() {
    let mock = MockContext::service();
    let begin = Instant::now();
    mock.call_blocking(async |ctx| {
        for _ in 0..100 {
            ctx.sleep(24 * HOUR).await.unwrap();
        }
    });
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(mock.sleeps(), [24 * HOUR; 100]);
}

#[test]
fn runs_are_executed_or_replaced_by_name() {
    let mock = MockContext::service();
    mock.run("charge").returns(&7);
    mock.run("refuse")
        .fails(TerminalError::new("no").with_code(402));
    let executed = Cell::new(0);
    mock.call_blocking(async |ctx| {
        let count = async || {
            executed.set(executed.get() + 1);
            HandlerResult::Ok(executed.get())
        };
        // A replaced run beside executed ones, and one that is never polled.
        let _not_awaited = ctx.run("idle", count);
        let (a, b, c) = durably::try_join!(
            ctx.run("first", count),
            ctx.run("charge", count),
            ctx.run("last", count),
        )
        .unwrap();
        assert_eq!((a, b, c), (1, 7, 2));
        assert_eq!(ctx.run("refuse", count).await.unwrap_err().code(), 402);
    });
    assert_eq!(executed.get(), 2);
    assert_eq!(mock.runs(), ["idle", "first", "charge", "last", "refuse"]);
    assert_eq!(mock.run_result::<i32>("idle"), None);
    assert_eq!(mock.run_result::<i32>("charge"), Some(Ok(7)));
    assert_eq!(mock.run_result::<i32>("last"), Some(Ok(2)));
    assert_eq!(
        mock.run_result::<i32>("refuse")
            .unwrap()
            .unwrap_err()
            .code(),
        402
    );
}

#[tokio::test]
async fn runs_may_use_the_async_runtime_of_the_test() {
    let mock = MockContext::service();
    let sum = mock
        .call(async |ctx| {
            let wait = |n: u64| async move {
                tokio::time::sleep(Duration::from_millis(5 * n)).await;
                let task = tokio::spawn(async move { n });
                HandlerResult::Ok(task.await?)
            };
            // Time does not move meanwhile: the run is first.
            let quick = ctx
                .run("quick", || wait(1))
                .or_timeout(Duration::from_millis(1))
                .await?;
            let (a, b) = durably::try_join!(ctx.run("a", || wait(3)), ctx.run("b", || wait(2)))?;
            HandlerResult::Ok(quick + a + b)
        })
        .await;
    assert_eq!(sum.unwrap(), 6);
}

#[test]
fn a_run_may_wait_for_a_thread() {
    let mock = MockContext::service();
    let (sender, receiver) = futures::channel::oneshot::channel();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        sender.send(5).unwrap();
    });
    let got = mock.call_blocking(async |ctx| ctx.run("wait", async || receiver.await).await);
    assert_eq!(got, Ok(5));
    thread.join().unwrap();
}

#[test]
fn time_by_hand() {
    let mock = MockContext::workflow("w").manual_time();
    let mut running = mock.start(async |ctx| {
        durably::select! {
            decision = ctx.promise::<bool>("decision") => format!("{decision:?}"),
            _ = ctx.sleep(HOUR) => "timed out".to_owned(),
        }
    });
    assert!(!running.is_finished());
    running.advance(HOUR - Duration::from_millis(1));
    assert!(!running.is_finished());
    running.advance(Duration::from_millis(1));
    assert!(running.is_finished());
    assert_eq!(running.finish_blocking(), "timed out");
}

#[test]
fn advancing_passes_each_moment_in_between() {
    let mock = MockContext::service().manual_time();
    let ticks = Cell::new(0);
    let mut running = mock.start::<()>(async |ctx| {
        loop {
            ctx.sleep(HOUR).await.unwrap();
            ticks.set(ticks.get() + 1);
        }
    });
    running.advance(10 * HOUR + HOUR / 2);
    assert_eq!(ticks.get(), 10);
    running.advance(HOUR / 2);
    assert_eq!(ticks.get(), 11);
    drop(running);
}

#[test]
fn a_handler_waits_for_the_test_by_itself() {
    let mock = MockContext::workflow("w");
    let mut running = mock.start(async |ctx| {
        let first = ctx.awakeable::<u64>().await.unwrap();
        let second = ctx.awakeable::<u64>().await.unwrap_err().code();
        let go = ctx.signal::<u64>("go").await.unwrap();
        let promise = ctx.promise::<u64>("p").await.unwrap();
        (first, second, go, promise)
    });
    running.resolve_awakeable(0, &1);
    running.reject_awakeable(1, TerminalError::new("no").with_code(402));
    running.signal("go", &3);
    running.resolve_promise("p", &4);
    assert_eq!(running.finish_blocking(), (1, 402, 3, 4));
}

#[test]
fn a_promise_is_completed_by_hand_once() {
    let mock = MockContext::workflow("w");
    let mut running = mock.start(async |ctx| {
        let promise = ctx.promise::<u64>("p");
        let first = promise.get().await;
        ctx.signal::<bool>("go").await.unwrap();
        (first, promise.get().await)
    });
    running.resolve_promise("p", &1);
    running.resolve_promise("p", &2);
    running.signal("go", &true);
    assert_eq!(running.finish_blocking(), (Ok(1), Ok(1)));
    let told = "← promise `p` was completed before, and stays so\n";
    assert!(mock.story().contains(told), "{}", mock.story());
}

#[test]
fn a_cancelled_handler_cleans_up_and_cancels_its_calls() {
    let mock = MockContext::service();
    mock.on(object::<InventoryClient>("a").reserve(0)).never();
    let mut running = mock.start(async |ctx| {
        let reserved = ctx.object_client::<InventoryClient>("a").reserve(1).await;
        assert!(reserved.unwrap_err().is_cancelled());
        ctx.run("clean up", async || HandlerResult::Ok(())).await
    });
    running.cancel();
    assert_eq!(running.finish_blocking(), Ok(()));
    assert_eq!(
        mock.cancelled(),
        [mock.all_calls()[0].invocation_id.as_str()]
    );
}

#[test]
fn forbidden_runs_fail_the_test_and_the_clock_does_not() {
    let mock = MockContext::service().forbid_runs();
    mock.run("known").returns(&1);
    let failure = futures::executor::block_on(mock.try_call(async |ctx| {
        ctx.now().await?;
        ctx.run("known", async || HandlerResult::Ok(2)).await?;
        ctx.run("unknown", async || HandlerResult::Ok(3)).await
    }));
    let failure = failure.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unscripted);
    assert!(
        text(&failure).contains("    mock.run(\"unknown\").returns(&…);"),
        "{failure}"
    );
}
