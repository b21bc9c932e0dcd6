//! Runs: when closures start, what is proposed, and how failures are retried.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::join_all};

use super::{
    driver::Outside,
    scenario::{V5, V6, V7, V8, scenario},
    wire::{ack, failed, run, sleep, value, void},
};
use crate::{
    HandlerError, TerminalError,
    context::FromAttempt as _,
    executor::{AttemptHandle, AttemptRequest, Cell},
};

const SECOND: Duration = Duration::from_secs(1);

type Ran = Result<String, HandlerError>;

fn ran(outside: &Outside, note: &str) -> Ran {
    outside.note(note);
    Ok(note.to_owned())
}

#[test]
fn a_run_is_recorded_executed_proposed_and_awaited() {
    let of = |versions: &[_]| {
        scenario(|ctx, outside| {
            async move { Ok(ctx.run("r", async || ran(&outside, "ran")).await?) }.boxed()
        })
        .on(versions)
        .expect(["Run #1 `r`", "Propose #1=\"ran\""])
    };
    let end = ["Output ran", "End"];
    // The completion comes in full; from v7 on the ack stands for it, or the completion all the same.
    of(&[V5, V6, V7, V8])
        .send([value(1, "ran")])
        .expect(end)
        .notes(["ran"])
        .run();
    of(&[V7, V8])
        .send([ack(1)])
        .expect(end)
        .notes(["ran"])
        .run();
}

#[test]
fn a_run_whose_input_is_closed_finishes_proposes_and_suspends() {
    scenario(|ctx, outside| {
        async move {
            let run = ctx.run("r", || async {
                outside.gate("g").await;
                ran(&outside, "ran")
            });
            let (ran, _) = crate::join!(run, ctx.sleep(SECOND));
            Ok(ran?)
        }
        .boxed()
    })
    .close()
    .expect(["Run #1 `r`", "Sleep #2"])
    .open("g")
    .expect(["Propose #1=\"ran\"", "Suspension c1 c2"])
    .run();
    // Without a gate: all of it at once.
    scenario(|ctx, outside| {
        async move { Ok(ctx.run("r", async || ran(&outside, "ran")).await?) }.boxed()
    })
    .expect(["Run #1 `r`", "Propose #1=\"ran\"", "Suspension c1"])
    .run();
}

#[test]
fn the_ack_takes_the_place_of_the_completion_in_the_order() {
    // The sleep is over before the ack: the select sees it first, though both came together.
    scenario(|ctx, outside| {
        async move {
            let run = ctx.run("r", async || ran(&outside, "ran"));
            let sleep = ctx.sleep(SECOND);
            Ok(crate::select! { ran = run => ran?, _ = sleep => "slept".to_owned() })
        }
        .boxed()
    })
    .on(&[V7, V8])
    .expect(["Run #1 `r`", "Sleep #2", "Propose #1=\"ran\""])
    .send([void(2), ack(1)])
    .expect(["Output slept", "End"])
    .run();
}

#[test]
fn terminal_failures_are_proposed() {
    let of = || {
        scenario(|ctx, _| {
            async move {
                let teapot = || TerminalError::new("teapot").with_code(418);
                let ran = ctx.run("r", async || Err::<(), _>(teapot())).await;
                Ok(format!("{:?}", ran.map_err(|error| error.code())))
            }
            .boxed()
        })
    };
    of().expect(["Run #1 `r`", "Propose #1=!418 teapot"])
        .send([failed(1, 418, "teapot")])
        .expect(["Output Err(418)", "End"])
        .run();
    of().on(&[V7])
        .expect(["Run #1 `r`", "Propose #1=!418 teapot"])
        .send([ack(1)])
        .expect(["Output Err(418)", "End"])
        .run();
    of().replay([run(1, "r"), failed(1, 418, "teapot")])
        .expect(["Output Err(418)", "End"])
        .run();
}

#[test]
fn metadata_of_a_failure_needs_v6() {
    let of = |versions: &[_]| {
        scenario(|ctx, _| {
            async move {
                let error = TerminalError::new("no").with_metadata("a", "1");
                ctx.run("r", async || Err::<(), _>(error)).await?;
                Ok(String::new())
            }
            .boxed()
        })
        .on(versions)
    };
    of(&[V5])
        .expect([
            "Run #1 `r`",
            "Error 500 @1 Run `r`: a run failed with metadata, which needs a later version…",
        ])
        .run();
    of(&[V6, V7, V8])
        .expect(["Run #1 `r`", "Propose #1=!500 no a=1", "Suspension c1"])
        .run();
}

#[test]
fn all_pending_runs_that_are_polled_start() {
    scenario(|ctx, outside| {
        async move {
            let runs = ["a", "b", "c"].map(|name| {
                let outside = &outside;
                ctx.run(name, move || async move {
                    outside.note(format!("{name} starts"));
                    outside.gate(name).await;
                    ran(outside, name)
                })
            });
            let unpolled = ctx.run("d", || async { ran(&outside, "d") });
            let all = join_all(runs).await;
            drop(unpolled);
            Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?.join(""))
        }
        .boxed()
    })
    .expect(["Run #1 `a`", "Run #2 `b`", "Run #3 `c`", "Run #4 `d`"])
    .open("b")
    .expect(["Propose #2=\"b\""])
    .nudge("a")
    .open("c")
    .open("a")
    .expect(["Propose #3=\"c\"", "Propose #1=\"a\""])
    .send([value(1, "a"), value(3, "c"), value(2, "b")])
    .expect(["Output abc", "End"])
    .notes(["a starts", "b starts", "c starts", "b", "c", "a"])
    .run();
}

#[test]
fn a_run_starts_only_when_nothing_can_be_offered() {
    // The sleep is known: its branch goes on before the run starts.
    scenario(|ctx, outside| {
        async move {
            let run = ctx.run("r", async || ran(&outside, "ran"));
            let other = async {
                ctx.sleep(SECOND).await?;
                outside.note("slept");
                ctx.set("k", &1);
                Ok::<_, TerminalError>(())
            };
            let (ran, other) = crate::join!(run, other);
            other?;
            Ok(ran?)
        }
        .boxed()
    })
    .replay([run(1, "r"), sleep(2), void(2)])
    .expect(["SetState k=1", "Propose #1=\"ran\"", "Suspension c1"])
    .notes(["slept", "ran"])
    .run();
}

#[test]
fn a_run_with_a_known_completion_is_not_executed() {
    scenario(|ctx, outside| {
        async move {
            let (a, b) = crate::join!(
                ctx.run("a", async || ran(&outside, "never")),
                ctx.run("b", || async { ran(&outside, "b") }),
            );
            Ok(a? + &b?)
        }
        .boxed()
    })
    .replay([run(1, "a"), run(2, "b"), value(1, "a")])
    .expect(["Propose #2=\"b\"", "Suspension c2"])
    .notes(["b"])
    .run();
}

#[test]
fn a_dropped_run_is_not_executed_and_a_lost_race_drops_its_closure() {
    scenario(|ctx, outside| {
        async move {
            drop(ctx.run("dropped", || async { ran(&outside, "never") }));
            let run = ctx.run("lost", || async {
                outside.note("starts");
                outside.gate("g").await;
                ran(&outside, "never")
            });
            let sleep = ctx.sleep(SECOND);
            crate::select! { _ = run => {}, _ = sleep => {} }
            ctx.sleep(SECOND).await?;
            Ok("done".into())
        }
        .boxed()
    })
    .expect(["Run #1 `dropped`", "Run #2 `lost`", "Sleep #3"])
    .send([void(3)])
    .expect(["Sleep #4"])
    .open("g")
    .expect([""; 0])
    .send([void(4)])
    .expect(["Output done", "End"])
    .notes(["starts"])
    .run();
}

#[test]
fn the_context_cannot_be_used_within_a_run() {
    let of = |what: fn(&crate::WorkflowContext)| {
        scenario(move |ctx, outside| {
            async move {
                ctx.run("outer", || async {
                    what(ctx);
                    ran(&outside, "ran")
                })
                .await?;
                Ok(String::new())
            }
            .boxed()
        })
    };
    let uses: [fn(&crate::WorkflowContext); 7] = [
        |ctx| ctx.set("k", &1),
        |ctx| drop(ctx.get::<u64>("k")),
        |ctx| drop(ctx.sleep(SECOND)),
        |ctx| drop(ctx.run("inner", async || Ok::<_, TerminalError>(()))),
        |ctx| drop(ctx.awakeable::<()>()),
        |ctx| drop(ctx.signal::<()>("go")),
        |ctx| assert_eq!(ctx.random().u64(), 0),
    ];
    for what in uses {
        of(what)
            .expect([
                "Run #1 `outer`",
                "Error 500 @1 Run `outer`: the closure of run `outer` used the context: …",
            ])
            .run();
    }
    scenario(|ctx, _| {
        async move {
            let sleep = ctx.sleep(SECOND);
            ctx.run("outer", async || sleep.await).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .expect([
        "Sleep #1",
        "Run #2 `outer`",
        "Error 500 @2 Run `outer`: the closure of run `outer` awaits a durable future, …",
    ])
    .run();
}

/// A panic that the handler catches leaves the context usable.
#[test]
fn a_caught_panic_of_a_closure_leaves_nothing_behind() {
    use std::panic::AssertUnwindSafe;
    scenario(|ctx, _| {
        async move {
            let run = ctx.run("r", async || -> Ran { panic!("caught") });
            let caught = AssertUnwindSafe(run).catch_unwind().await.is_err();
            ctx.set("caught", &caught);
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .expect([
        "Run #1 `r`",
        "SetState caught=true",
        "Sleep #2",
        "Suspension c2",
    ])
    .run();
}

#[test]
fn a_drain_is_known_to_whoever_asks_and_ends_nothing() {
    let cell = Arc::new(Cell::new(AttemptRequest {
        version: crate::protocol::ProtocolVersion::MAX,
        service: "S".into(),
        handler: "h".into(),
        attempt_headers: http::HeaderMap::new(),
        clock: crate::executor::Clock::new(|| 0),
        limits: crate::protocol::frame::Limits::default(),
        foreign: crate::executor::ForeignHook::default(),
        setting: crate::executor::Setting::default(),
    }));
    let ctx = crate::Context::from_attempt(AttemptHandle(Arc::clone(&cell)));
    let (ending, finished) = (ctx.attempt_ending(), ctx.attempt_finished());
    assert!(!ending.is_ending() && ending.clone().now_or_never().is_none());
    drop(cell.set_ending());
    assert!(ending.is_ending() && ctx.attempt_ending().is_ending());
    assert!(finished.clone().now_or_never().is_none());
    drop(cell.close());
    assert!(finished.now_or_never().is_some() && ctx.attempt_ending().is_ending());
}
