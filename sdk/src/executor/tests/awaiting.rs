//! Suspension, and what a v7 runtime is told while a handler waits.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::join_all, stream::FuturesUnordered};

use super::{
    driver::{Cut, Driver, Handler, Outside},
    scenario::{Outcome, V7, scenario},
    wire::{self, Msg, ack, call, named, run, sleep, value, void},
};
use crate::{Target, TerminalError, WorkflowContext, protocol::MessageType};

const SECOND: Duration = Duration::from_secs(1);

/// The driver has checked the shape: three lists up to v6, a tree from v7 on, CANCEL always there.
#[test]
fn a_suspension_names_everything_that_is_awaited_once_and_sorted() {
    scenario(|ctx, _| {
        async move {
            let (b, a) = (ctx.signal::<()>("b"), ctx.signal::<()>("a"));
            let again = ctx.signal::<()>("b");
            let awakeables = [ctx.awakeable::<()>(), ctx.awakeable()];
            let sleeps = [ctx.sleep(SECOND), ctx.sleep(SECOND)];
            let _dropped = ctx.sleep(SECOND);
            let _ = crate::join!(b, a, again, join_all(awakeables), join_all(sleeps));
            Ok(String::new())
        }
        .boxed()
    })
    .expect([
        "Sleep #1",
        "Sleep #2",
        "Sleep #3",
        "Suspension c1 c2 s17 s18 `a` `b`",
    ])
    .run();
}

#[test]
fn a_replay_suspends_on_what_is_left() {
    scenario(|ctx, _| {
        async move {
            let call = ctx
                .request::<_, String>(Target::service("S", "h"), 1)
                .call();
            let (called, slept) = crate::join!(call, ctx.sleep(SECOND));
            slept?;
            Ok(called?)
        }
        .boxed()
    })
    .replay([call(1), sleep(3), void(3)])
    .expect(["Suspension c2"])
    .run();
}

/// Only what somebody polls counts: the loop's body waits, the other futures do not.
#[test]
fn leaves_that_nobody_polls_are_not_awaited() {
    scenario(|ctx, _| {
        async move {
            let mut sleeps: FuturesUnordered<_> = (0..3).map(|_| ctx.sleep(SECOND)).collect();
            while sleeps.next().await.is_some() {
                ctx.signal::<String>("body").await?;
            }
            Ok("done".into())
        }
        .boxed()
    })
    .replay([sleep(1), sleep(2), sleep(3), void(2)])
    .expect(["Suspension `body`"])
    .run();
}

#[test]
fn a_suspension_comes_as_soon_as_the_input_closes_and_not_before() {
    scenario(|ctx, _| {
        async move {
            ctx.sleep(SECOND).await?;
            ctx.signal::<String>("go").await?;
            Ok(String::new())
        }
        .boxed()
    })
    .expect(["Sleep #1"])
    .send([void(1)])
    .expect([""; 0])
    .close()
    .expect(["Suspension `go`"])
    .run();
}

// ---- AwaitingOn ------------------------------------------------------------------------------------

#[test]
fn awaiting_on_comes_once_per_await_point() {
    scenario(|ctx, _| {
        async move {
            let (sleep, go) = (ctx.sleep(SECOND), ctx.signal::<String>("go"));
            let (slept, went) = crate::join!(sleep, go);
            slept?;
            ctx.awakeable::<()>().await?;
            Ok(went?)
        }
        .boxed()
    })
    .awaiting()
    .expect(["Sleep #1", "AwaitingOn c1 `go`"])
    // What nobody waits for is no news.
    .send([named("other", "x")])
    .expect([""; 0])
    .send([named("go", "went")])
    .expect(["AwaitingOn c1"])
    .send([void(1)])
    .expect(["AwaitingOn s17"])
    .close()
    .expect(["Suspension s17"])
    .run();
}

/// A report must not poll anybody: the tasks of a `FuturesUnordered` that one result wakes go on in the
/// order in which they were woken, and the replay reports nothing.
#[test]
fn awaiting_on_does_not_change_the_order_of_tasks() {
    fn handler(ctx: &WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
        async move {
            // Made the other way round, so that the order of leaves is not that of tasks.
            let own: Vec<_> = (0..3).map(|_| ctx.sleep(SECOND)).collect();
            let shared = ctx.signal::<String>("shared").shared();
            let tasks = own.into_iter().rev().enumerate().map(|(at, own)| {
                let shared = shared.clone();
                async move {
                    crate::select! { _ = shared => {}, _ = own => {} }
                    ctx.set("task", &at);
                }
            });
            let mut tasks: FuturesUnordered<_> = tasks.collect();
            while tasks.next().await.is_some() {
                ctx.signal::<String>("body").await?;
            }
            Ok("done".into())
        }
        .boxed()
    }
    let sets = ["SetState task=0", "SetState task=1", "SetState task=2"];
    scenario(handler)
        .on(&[V7])
        .expect(["Sleep #1", "Sleep #2", "Sleep #3"])
        .send([void(3)])
        .expect([sets[0]])
        .send([named("shared", "")])
        .send([named("body", "")])
        .expect([sets[1]])
        .send([named("body", "")])
        .expect([sets[2]])
        .send([named("body", "")])
        .expect(["Output done", "End"])
        .run();
    let set = |n| wire::set("task", n);
    scenario(handler)
        .replay([sleep(1), sleep(2), sleep(3), void(3), named("shared", "")])
        .replay([named("body", ""), named("body", ""), named("body", "")])
        .replay([set("0"), set("1"), set("2")])
        .expect(["Output done", "End"])
        .run();
}

#[test]
fn awaiting_on_is_silent_while_a_run_executes_and_while_replaying() {
    scenario(|ctx, outside| {
        async move {
            ctx.sleep(SECOND).await?;
            let run = ctx.run("r", || async {
                outside.gate("g").await;
                Ok::<_, TerminalError>(())
            });
            let (ran, slept) = crate::join!(run, ctx.sleep(SECOND));
            ran?;
            slept?;
            Ok("done".into())
        }
        .boxed()
    })
    .awaiting()
    .replay([sleep(1), void(1), run(2, "r")])
    .expect(["Sleep #3"])
    .send([void(3)])
    .nudge("g")
    .expect([""; 0])
    .open("g")
    .expect(["Propose #2=", "AwaitingOn c2"])
    .send([ack(2)])
    .expect(["Output done", "End"])
    .run();
}

/// A run that failed for good and is only held does not silence the reports.
#[test]
fn awaiting_on_comes_after_a_cancelled_run_that_is_still_held() {
    scenario(|ctx, outside| {
        async move {
            let run = ctx.run("r", || async {
                outside.gate("g").await;
                Ok::<_, TerminalError>(())
            });
            let mut run = std::pin::pin!(run);
            let cancelled = run.as_mut().await.unwrap_err();
            ctx.sleep(SECOND).await?;
            Ok(cancelled.to_string())
        }
        .boxed()
    })
    .awaiting()
    .expect(["Run #1 `r`"])
    .send([wire::cancel()])
    .expect(["Sleep #2", "AwaitingOn c2 and no CANCEL"])
    .run();
}

#[test]
fn nothing_is_told_at_the_end() {
    scenario(|_, _| async { Ok("done".into()) }.boxed())
        .awaiting()
        .expect(["Output done", "End"])
        .run();
}

/// Sizes of the AwaitingOn frames and of all frames of a fan-out, completed in an order.
fn fan_out(handler: Handler, n: u32, order: impl Iterator<Item = u32>) -> (Vec<usize>, usize) {
    let mut driver = Driver::new(V7, Cut::Whole, &handler);
    driver.feed(&[
        Msg::new(MessageType::START, &wire::start(1)),
        wire::input(""),
    ]);
    driver.settle();
    for id in order {
        driver.feed(&[void(id)]);
        driver.settle();
    }
    assert_eq!(driver.out.last().unwrap().ty, MessageType::END, "{n}");
    let total = driver.out.iter().map(|out| 8 + out.payload.len()).sum();
    let awaiting = driver
        .out
        .iter()
        .filter(|out| out.ty == MessageType::AWAITING_ON);
    (awaiting.map(|out| 8 + out.payload.len()).collect(), total)
}

#[test]
fn a_large_fan_out_is_not_quadratic_on_the_wire() {
    const N: u32 = 10_000;
    let joined: Handler = Arc::new(|ctx, _| {
        async move {
            join_all((0..N).map(|_| ctx.sleep(SECOND))).await;
            Ok(String::new())
        }
        .boxed()
    });
    let unordered: Handler = Arc::new(|ctx, _| {
        async move {
            let mut all: FuturesUnordered<_> = (0..N).map(|_| ctx.sleep(SECOND)).collect();
            while all.next().await.is_some() {}
            Ok(String::new())
        }
        .boxed()
    });
    for handler in [joined, unordered] {
        let forward = fan_out(Arc::clone(&handler), N, 1..=N);
        let backward = fan_out(handler, N, (1..=N).rev());
        for (awaiting, total) in [forward, backward] {
            // Once, whenever half have gone, and one by one for the last 64.
            assert!(awaiting.len() < 64 + 16, "{}", awaiting.len());
            assert!(
                awaiting.iter().sum::<usize>() < 6 * N as usize,
                "{awaiting:?}"
            );
            assert!(total < 60 * N as usize, "{total}");
        }
    }
}

/// Above 64 ids a report comes when ids join and when half have gone.
#[test]
fn large_sets_are_reported_when_ids_join_or_half_have_gone() {
    let handler: Handler = Arc::new(|ctx, _| {
        async move {
            let first = async {
                ctx.sleep(SECOND).await?;
                join_all((0..10).map(|_| ctx.sleep(SECOND))).await;
                Ok::<_, TerminalError>(())
            };
            let others = join_all((0..199).map(|_| ctx.sleep(SECOND)));
            let (first, _) = crate::join!(first, others);
            first?;
            Ok(String::new())
        }
        .boxed()
    });
    let mut driver = Driver::new(V7, Cut::Whole, &handler);
    driver.feed(&[
        Msg::new(MessageType::START, &wire::start(1)),
        wire::input(""),
    ]);
    driver.settle();
    let count = |tree: &wire::Tree| tree.nested[0].completions.len();
    let mut told = Vec::new();
    let take = |driver: &mut Driver, told: &mut Vec<usize>| {
        for out in driver.take_frames() {
            if out.ty == MessageType::AWAITING_ON {
                told.push(count(&out.decode::<wire::AwaitingOn>().tree.unwrap()));
            }
        }
    };
    take(&mut driver, &mut told);
    for id in (1..=20).chain([200]).chain(21..=150) {
        driver.feed(&[void(id)]);
        driver.settle();
        take(&mut driver, &mut told);
    }
    // 200 at first; 189 when ten join after 20 have gone; then at the half; then below 65 each time.
    assert_eq!(told[..3], [200, 189, 94]);
    assert!(told[3..].iter().all(|n| *n <= 64), "{told:?}");
}

#[test]
fn values_that_arrive_together_are_reported_as_one_await_point() {
    scenario(|ctx, _| {
        async move {
            let one = ctx
                .request::<_, String>(Target::service("S", "h"), 1)
                .call()
                .await?;
            let two = ctx
                .request::<_, String>(Target::service("S", "h"), 1)
                .call()
                .await?;
            ctx.signal::<String>("go").await?;
            Ok(one + &two)
        }
        .boxed()
    })
    .awaiting()
    .replay([call(1), call(3)])
    .expect(["Error 570 @2 Call: …"])
    .run();
    scenario(|ctx, _| {
        async move {
            let calls = (0..2).map(|_| {
                ctx.request::<_, String>(Target::service("S", "h"), 1)
                    .call()
            });
            let calls: Vec<_> = calls.collect();
            for call in calls {
                call.await?;
            }
            ctx.signal::<String>("go").await?;
            Ok(String::new())
        }
        .boxed()
    })
    .awaiting()
    .replay([call(1)])
    .expect(["Call S/h #3 #4", "AwaitingOn c2"])
    .send([value(4, "b"), value(2, "a")])
    .expect(["AwaitingOn `go`"])
    .run();
}
