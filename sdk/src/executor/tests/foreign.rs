//! Handlers that wait for what the journal does not know.

use std::{sync::Arc, task::Poll, time::Duration};

use futures::FutureExt as _;

use super::{
    driver::{Cut, Driver, Handler},
    log::logged,
    scenario::{V7, scenario},
    wire::{self, Msg, sleep, void},
};
use crate::{TerminalError, protocol::MessageType};

const SECOND: Duration = Duration::from_secs(1);

/// The warnings about foreign waiting while `play` runs.
fn foreign(play: impl FnOnce()) -> Vec<String> {
    let mut lines = logged(tracing::Level::WARN, play);
    lines.retain(|line| line.contains("waits for something that is not durable"));
    lines
}

fn begin(handler: Handler, replay: &[Msg]) -> Driver {
    let mut driver = Driver::new(V7, Cut::Whole, &handler);
    let start = Msg::new(MessageType::START, &wire::start(1 + replay.len()));
    driver.feed(&[start, wire::input("")]);
    driver.feed(replay);
    driver
}

fn kinds(driver: &Driver) -> Vec<MessageType> {
    driver.out.iter().map(|out| out.ty).collect()
}

#[test]
fn it_is_said_once_with_the_last_command_and_waited_for() {
    let handler: Handler = Arc::new(|ctx, outside| {
        async move {
            ctx.set("k", &1);
            outside.gate("a").await;
            outside.gate("b").await;
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    });
    let warnings = foreign(|| {
        let mut driver = begin(Arc::clone(&handler), &[]);
        driver.settle();
        driver.close();
        driver.settle();
        assert_eq!(kinds(&driver), [MessageType::SET_STATE], "not suspended");
        driver.outside.nudge("a", true);
        driver.settle_if_woken();
        driver.outside.nudge("b", true);
        driver.settle_if_woken();
        let ended = [
            MessageType::SET_STATE,
            MessageType::SLEEP,
            MessageType::SUSPENSION,
        ];
        assert_eq!(kinds(&driver), ended);
    });
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    for part in [
        "invocation.target=\"Tests/key/run\"",
        "after=command 1 (SetState)",
        "inv_test",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
}

/// While replaying as well; the commands that remain are not taken for a mismatch.
#[test]
fn a_replaying_handler_is_waited_for() {
    let handler: Handler = Arc::new(|ctx, outside| {
        async move {
            outside.gate("a").await;
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    });
    let warnings = foreign(|| {
        let mut driver = begin(handler, &[sleep(1), void(1)]);
        driver.settle();
        assert_eq!(kinds(&driver), []);
        driver.outside.nudge("a", true);
        driver.settle_if_woken();
        assert_eq!(kinds(&driver), [MessageType::OUTPUT, MessageType::END]);
    });
    assert_eq!(warnings.len(), 1);
}

/// A wake that is neither an offer's nor a closure's.
#[test]
fn a_wake_from_elsewhere_is_said() {
    let handler: Handler = Arc::new(|ctx, outside| {
        async move {
            let foreign = async {
                outside.gate("a").await;
                ctx.set("k", &1);
            };
            let (slept, ()) = crate::join!(ctx.sleep(SECOND), foreign);
            slept?;
            Ok(String::new())
        }
        .boxed()
    });
    let warnings = foreign(|| {
        let mut driver = begin(handler, &[]);
        driver.settle();
        driver.outside.nudge("a", false);
        driver.settle_if_woken();
        driver.outside.nudge("a", true);
        driver.settle_if_woken();
        driver.feed(&[void(1)]);
        driver.settle();
        assert_eq!(driver.out.last().unwrap().ty, MessageType::END);
    });
    assert_eq!(warnings.len(), 1);
}

#[test]
fn durable_handlers_are_not_warned_about() {
    let handler: Handler = Arc::new(|ctx, outside| {
        async move {
            let (tx, rx) = tokio::sync::oneshot::channel();
            let send = async {
                let run = ctx.run("r", async || {
                    outside.gate("a").await;
                    tokio::task::yield_now().await;
                    Ok::<_, TerminalError>(7u64)
                });
                let _ = tx.send(run.await);
            };
            let receive = async { rx.await.map_err(|_| TerminalError::new("gone")) };
            let ((), received, slept) = crate::join!(send, receive, ctx.sleep(SECOND));
            slept?;
            Ok(received??.to_string())
        }
        .boxed()
    });
    let warnings = foreign(|| {
        let mut driver = begin(handler, &[]);
        driver.settle();
        driver.feed(&[void(1)]);
        driver.settle();
        driver.outside.nudge("a", false);
        driver.settle_if_woken();
        driver.outside.nudge("a", true);
        driver.settle_if_woken();
        driver.feed(&[wire::ack(2)]);
        driver.settle();
        assert_eq!(driver.out.last().unwrap().ty, MessageType::END);
    });
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// A handler that wakes itself at every poll gives the thread back, and is told about it.
#[test]
fn a_handler_that_wakes_itself_does_not_hang_the_thread() {
    let handler: Handler = Arc::new(|ctx, outside| {
        async move {
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                if polls > 10_000 {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            outside.note("slept");
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    });
    let warnings = foreign(|| {
        let mut driver = begin(handler, &[]);
        driver.poll();
        assert!(
            driver.outside.notes().is_empty(),
            "one poll does not do it all"
        );
        assert!(driver.wakes.take(), "but the task is woken to go on");
        driver.settle();
        assert_eq!(driver.outside.notes(), ["slept"]);
        assert!(driver.turns > 10, "{}", driver.turns);
    });
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_long_replay_gives_the_thread_back() {
    const N: u32 = 5000;
    let handler: Handler = Arc::new(|ctx, _| {
        async move {
            for _ in 0..N {
                ctx.sleep(SECOND).await?;
            }
            Ok(String::new())
        }
        .boxed()
    });
    let replay: Vec<_> = (1..=N).flat_map(|id| [sleep(id), void(id)]).collect();
    let mut driver = begin(handler, &replay);
    driver.settle();
    assert_eq!(driver.out.last().unwrap().ty, MessageType::END);
    assert!((5..100).contains(&driver.turns), "{}", driver.turns);
}

/// Output leaves before there is too much of it.
#[test]
fn a_handler_that_writes_much_lets_it_leave_in_between() {
    let handler: Handler = Arc::new(|ctx, _| {
        async move {
            for _ in 0..200 {
                ctx.set("k", &"x".repeat(2000));
                ctx.get::<String>("k").await?;
            }
            Ok(String::new())
        }
        .boxed()
    });
    let mut driver = begin(handler, &[]);
    driver.settle();
    assert_eq!(driver.out.last().unwrap().ty, MessageType::END);
    assert!(driver.turns >= 3, "{}", driver.turns);
}

/// Every mismatch names foreign waiting among its causes.
#[test]
fn mismatches_name_it_as_a_cause() {
    scenario(|_, _| async { Ok(String::new()) }.boxed())
        .replay([sleep(1)])
        .expect(["Error 570 @1 Output: …"])
        .run();
    let mut driver = begin(
        Arc::new(|_, _| async { Ok(String::new()) }.boxed()),
        &[sleep(1)],
    );
    driver.settle();
    let error: wire::Error = driver.out[0].decode();
    let cause = "the handler awaits something that is not durable";
    assert!(error.message.contains(cause), "{}", error.message);
}
