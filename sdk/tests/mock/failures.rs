//! How a test fails: at once, and with a message that says what to do.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use durably::{
    Target,
    prelude::*,
    testing::{FailureKind, MockContext, MockFailure, object},
};

use super::*;

fn failure<C: 'static, R: std::fmt::Debug>(
    attempt: impl Future<Output = Result<R, MockFailure>>,
    kind: FailureKind,
    _: &MockContext<C>,
) -> String {
    let failure = futures::executor::block_on(attempt).unwrap_err();
    assert_eq!(failure.kind(), kind, "{failure}");
    text(&failure)
}

#[test]
fn an_unscripted_call_shows_the_line_to_add() {
    let mock = MockContext::object("order-7").state("seen", &3);
    let told = failure(
        mock.try_call(async |ctx| {
            ctx.set("seen", &4);
            ctx.run("check", async || HandlerResult::Ok(true)).await?;
            ctx.object_client::<InventoryClient>("teapot")
                .reserve(2)
                .await
        }),
        FailureKind::Unscripted,
        &mock,
    );
    let expected = "\
the handler calls Inventory/teapot/reserve with 2, and nothing is scripted for that

If that is meant to happen, script it:

    mock.on(object::<InventoryClient>(\"teapot\").reserve(2)).returns(&…);
    // or, without the generated client: mock.on(request::<Raw, _>(Target::object(\"Inventory\", \"teapot\", \"reserve\"), Raw::default())).returns(&…);

The handler had done this so far:

    → set state `seen` to 4
    → run `check`
    ← run `check`: true";
    assert_eq!(told, expected);
    // The line works, as it stands there.
    mock.on(object::<InventoryClient>("teapot").reserve(2))
        .returns(&true);
    let reserved = mock.call_blocking(async |ctx| {
        ctx.object_client::<InventoryClient>("teapot")
            .reserve(2)
            .await
    });
    assert_eq!(reserved, Ok(true));
}

#[test]
fn inputs_in_the_line_to_add() {
    for (target, input, line) in [
        (
            Target::service("A", "h"),
            serde_json::json!("text"),
            "service::<AClient>().h(\"text\".into())",
        ),
        (
            Target::service("A", "h"),
            serde_json::json!({"a": 1}),
            "service::<AClient>().h(Default::default())",
        ),
        (
            Target::object("A", "k", "h"),
            serde_json::json!(true),
            "object::<AClient>(\"k\").h(true)",
        ),
    ] {
        let mock = MockContext::service();
        let told = failure(
            mock.try_call(async |ctx| ctx.request::<_, ()>(target, input).await),
            FailureKind::Unscripted,
            &mock,
        );
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn a_call_that_is_scripted_otherwise_says_so() {
    let mock = MockContext::service();
    mock.on(object::<InventoryClient>("cup").reserve(0))
        .returns(&true);
    let told = failure(
        mock.try_call(async |ctx| {
            ctx.object_client::<InventoryClient>("teapot")
                .reserve(2)
                .await
        }),
        FailureKind::Unscripted,
        &mock,
    );
    assert!(
        told.contains("is for another key or input, or used up"),
        "{told}"
    );
}

#[test]
fn a_failure_names_the_place_of_the_call() {
    let mock = MockContext::service();
    let line = line!() + 2;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        mock.call_blocking(async |ctx| ctx.signal::<u64>("go").await)
    }));
    let panic = panic.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    let place = format!("The handler was started at sdk/tests/mock/failures.rs:{line}:");
    assert!(message.contains(&place), "{message}");
    let mut running = mock.start(async |ctx| {
        ctx.service_client::<AuditClient>()
            .record("a".to_owned())
            .send();
    });
    running.advance(Duration::ZERO);
    running.finish_blocking();
}

#[test]
fn waiting_for_what_does_not_come() {
    let mock = MockContext::workflow("w");
    let told = failure(
        mock.try_call(async |ctx| {
            durably::select! {
                result = ctx.promise::<u64>("approval") => result.map(|_| ()),
                result = ctx.awakeable::<u64>() => result.map(|_| ()),
                result = ctx.signal::<u64>("go") => result.map(|_| ()),
                result = ctx.workflow_invocation("Signup", "ada").attach::<()>() => result,
            }
        }),
        FailureKind::Stuck,
        &mock,
    );
    for part in [
        "the handler does not end: it waits for promise `approval`",
        "and nothing will come",
        "\n    mock.promise(\"approval\").returns(&…);",
        "\n    mock.awakeable(0).returns(&…);",
        "\n    mock.signal(\"go\").returns(&…);",
        "\n    mock.invocation(\"Signup/ada\").returns(&…);",
        "\n    → get promise `approval`",
    ] {
        assert!(told.contains(part), "{part}\n\n{told}");
    }
    mock.run("slow").never();
    let told = failure(
        mock.try_call(async |ctx| ctx.run("slow", async || HandlerResult::Ok(())).await),
        FailureKind::Stuck,
        &mock,
    );
    assert!(
        told.contains("it waits for run `slow`, which is scripted never to end"),
        "{told}"
    );
}

#[test]
fn waiting_for_time_that_is_moved_by_hand() {
    let mock = MockContext::service().manual_time();
    let told = failure(
        mock.try_call(async |ctx| ctx.sleep(Duration::from_secs(60)).await),
        FailureKind::Stuck,
        &mock,
    );
    assert!(
        told.contains("waits for 60s to pass, and time is moved by hand"),
        "{told}"
    );
}

#[test]
fn a_timer_that_nobody_waits_for_is_not_what_is_missing() {
    let mock = MockContext::service().manual_time();
    mock.signal("first").returns(&1);
    let told = failure(
        mock.try_call(async |ctx| {
            let first = ctx.signal::<u64>("first");
            first.or_timeout(Duration::from_secs(60)).await.unwrap();
            ctx.signal::<u64>("second").await
        }),
        FailureKind::Stuck,
        &mock,
    );
    assert!(told.contains("it waits for signal `second`"), "{told}");
    assert!(
        told.contains("\n    mock.signal(\"second\").returns(&…);"),
        "{told}"
    );
    // One that it waits for is, beside what else it waits for.
    let told = failure(
        mock.try_call(async |ctx| {
            let second = ctx.signal::<u64>("second");
            second.or_timeout(Duration::from_secs(60)).await
        }),
        FailureKind::Stuck,
        &mock,
    );
    assert!(told.contains("time is moved by hand"), "{told}");
}

#[test]
fn waiting_for_a_cancellation() {
    let mock = MockContext::service().explicit_cancellation();
    let told = failure(
        mock.try_call(async |ctx| ctx.cancellation().await),
        FailureKind::Stuck,
        &mock,
    );
    assert!(
        told.contains("it waits for its cancellation (call `start` instead of `call`"),
        "{told}"
    );
    assert!(!told.contains("awakeable"), "{told}");
}

#[tokio::test]
async fn foreign_waiting() {
    let mock = MockContext::service();
    let begin = Instant::now();
    let slept = mock
        .try_call(async |ctx| {
            ctx.sleep(Duration::from_secs(1)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(600)).await;
        })
        .await;
    let failure = slept.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Foreign);
    assert!(
        text(&failure).contains("waits for something that is not durable"),
        "{failure}"
    );
    assert!(
        text(&failure).ends_with("→ sleep for 1s\n    ← sleep for 1s"),
        "{failure}"
    );

    let yielded = mock
        .try_call(async |_| tokio::task::yield_now().await)
        .await;
    assert_eq!(yielded.unwrap_err().kind(), FailureKind::Foreign);
    let never = mock
        .try_call(async |_| std::future::pending::<()>().await)
        .await;
    assert_eq!(never.unwrap_err().kind(), FailureKind::Foreign);
    let spinning = mock.try_call(async |_| {
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })
        .await;
    });
    assert_eq!(spinning.await.unwrap_err().kind(), FailureKind::Foreign);
    assert!(begin.elapsed() < Duration::from_secs(60));
}

#[test]
fn panics_of_the_handler_and_of_its_assertions() {
    let mock = MockContext::service();
    let told = failure(
        mock.try_call(async |ctx| {
            ctx.run("before", async || HandlerResult::Ok(()))
                .await
                .unwrap();
            assert_eq!(1 + 1, 3, "sums");
        }),
        FailureKind::Panicked,
        &mock,
    );
    assert!(
        told.starts_with("the handler panicked: assertion `left == right` failed: sums"),
        "{told}"
    );
    assert!(told.contains("→ run `before`"), "{told}");
    let told = failure(
        mock.try_call(async |ctx| {
            ctx.run("burn", async || -> HandlerResult<()> { panic!("fire") })
                .await
        }),
        FailureKind::Panicked,
        &mock,
    );
    assert!(told.contains("fire"), "{told}");
}

#[test]
fn a_failed_attempt() {
    let mock = MockContext::service();
    let told = failure(
        mock.try_call(async |ctx| {
            let charge = async || Err::<u64, _>(std::io::Error::other("connection refused"));
            ctx.run("charge", charge).await
        }),
        FailureKind::AttemptFailed,
        &mock,
    );
    let begin =
        "the attempt failed, and a runtime tries again: run `charge` failed: connection refused";
    assert!(told.starts_with(begin), "{told}");

    let told = failure(
        mock.try_call(async |ctx| {
            let policy = RetryPolicy::fixed(Duration::from_secs(2)).max_attempts(3);
            let charge = async || Err::<u64, _>(std::io::Error::other("busy"));
            ctx.run("charge", charge).retry(policy).await
        }),
        FailureKind::AttemptFailed,
        &mock,
    );
    assert!(
        told.contains("tries again in 2s: run `charge` failed: busy"),
        "{told}"
    );

    let told = failure(
        mock.try_call(async |ctx| {
            let inner = async || HandlerResult::Ok(ctx.random().u64());
            ctx.run("draw", inner).await
        }),
        FailureKind::AttemptFailed,
        &mock,
    );
    assert!(
        told.contains("the closure of run `draw` used the context"),
        "{told}"
    );
}

#[test]
fn a_handler_that_returns_an_error_is_no_failure() {
    let mock = MockContext::service();
    let result = mock
        .call_blocking(async |_| -> HandlerResult<()> { Err(RetryableError::new("later").into()) });
    assert!(!result.unwrap_err().is_terminal());
}

#[test]
fn a_handler_that_never_ends() {
    let mock = MockContext::service().max_commands(50);
    let told = failure(
        mock.try_call::<()>(async |ctx| {
            loop {
                ctx.sleep(Duration::from_secs(1)).await.unwrap();
            }
        }),
        FailureKind::Endless,
        &mock,
    );
    assert!(
        told.contains("it has issued more than 50 commands"),
        "{told}"
    );
    assert!(
        told.contains("    … 61 lines\n    ← sleep for 1s"),
        "{told}"
    );
}

#[test]
fn a_handler_that_never_ends_without_commands() {
    let mock = MockContext::service().max_commands(50);
    mock.signal("go").returns(&1);
    let told = failure(
        mock.try_call::<()>(async |ctx| {
            loop {
                ctx.signal::<u64>("go").await.unwrap();
            }
        }),
        FailureKind::Endless,
        &mock,
    );
    assert!(
        told.contains("it has waited for more than 50 signals"),
        "{told}"
    );

    let mock = MockContext::service()
        .explicit_cancellation()
        .run_limit(Duration::from_millis(50));
    let mut running = mock.start::<()>(async |ctx| {
        loop {
            ctx.cancellation().await.unwrap();
        }
    });
    running.cancel();
    let told = failure(running.try_finish(), FailureKind::Endless, &mock);
    assert!(
        told.starts_with("the handler does not end: it goes on and on"),
        "{told}"
    );
}

#[test]
fn a_run_that_waits_too_long() {
    let limit = Duration::from_millis(50);
    let mock = MockContext::service().run_limit(limit);
    let begin = Instant::now();
    let told = failure(
        mock.try_call(async |ctx| {
            ctx.run("ask", async || -> HandlerResult<()> {
                std::future::pending().await
            })
            .await
        }),
        FailureKind::RunLimit,
        &mock,
    );
    assert!(begin.elapsed() >= limit);
    assert!(
        told.starts_with("run `ask` waits for the world outside for more than 50ms"),
        "{told}"
    );
    assert!(
        told.contains("    mock.run(\"ask\").returns(&…);"),
        "{told}"
    );

    // One that keeps waking itself, too.
    let mock = MockContext::service().run_limit(limit);
    failure(
        mock.try_call(async |ctx| {
            let spin = async || -> HandlerResult<()> {
                std::future::poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    std::task::Poll::Pending
                })
                .await
            };
            ctx.run("spin", spin).await
        }),
        FailureKind::RunLimit,
        &mock,
    );
}

#[test]
fn a_running_handler_fails_once_and_stays_so() {
    let mock = MockContext::service();
    let mut running = mock.start(async |ctx| {
        ctx.signal::<u64>("go").await.unwrap();
        ctx.service_client::<AuditClient>()
            .record("a".to_owned())
            .await
    });
    let first = catch_unwind(AssertUnwindSafe(|| running.signal("go", &1)));
    assert!(first.is_err());
    let failure = futures::executor::block_on(running.try_finish()).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unscripted);
}
