//! CANCEL: who is reached, in what order, and how that replays.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::join_all, stream::FuturesUnordered};

use super::{
    driver::Outside,
    scenario::{Outcome, Scenario, scenario},
    wire::{Msg, call, cancel, invoked, named, run, send_cancel, set, sleep, value, void},
};
use crate::{Target, TerminalError, WorkflowContext, context::Shield};

const SECOND: Duration = Duration::from_secs(1);

fn service_call(ctx: &WorkflowContext) -> crate::Call<'_, String> {
    ctx.request::<_, String>(Target::service("S", "h"), 1)
        .call()
}

fn code<T>(result: Result<T, TerminalError>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(error) => error.code().to_string(),
    }
}

#[test]
fn what_is_awaited_ends_with_409_and_the_handler_goes_on() {
    scenario(|ctx, _| {
        async move {
            let (slept, awoken, went) = crate::join!(
                ctx.sleep(SECOND),
                ctx.awakeable::<()>(),
                ctx.signal::<()>("go")
            );
            let error = slept.unwrap_err();
            assert!(error.is_cancelled());
            ctx.set("compensated", &true);
            ctx.sleep(SECOND).await?;
            Ok(format!("{error} {} {}", code(awoken), code(went)))
        }
        .boxed()
    })
    .expect(["Sleep #1"])
    .send([cancel()])
    .expect(["SetState compensated=true", "Sleep #2"])
    .send([void(2)])
    .expect(["Output cancelled 409 409", "End"])
    .run();
}

#[test]
fn a_handler_that_lets_the_failure_through_ends_with_it() {
    let of = || {
        scenario(|ctx, _| {
            async move {
                ctx.sleep(SECOND).await?;
                Ok(String::new())
            }
            .boxed()
        })
    };
    of().expect(["Sleep #1"])
        .send([cancel()])
        .expect(["Output !409 cancelled", "End"])
        .run();
    of().replay([sleep(1), cancel()])
        .expect(["Output !409 cancelled", "End"])
        .run();
    of().replay([cancel()])
        .expect(["Sleep #1", "Output !409 cancelled", "End"])
        .run();
    of().replay([cancel(), void(1), sleep(1)])
        .expect(["Output !409 cancelled", "End"])
        .run();
    of().replay([void(1), cancel(), sleep(1)])
        .expect(["Output ", "End"])
        .run();
}

/// Three calls: one completed before the CANCEL, one after it, one not at all; and a send.
fn three_calls(ctx: &WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
    async move {
        let calls = [service_call(ctx), service_call(ctx), service_call(ctx)];
        ctx.request::<_, ()>(Target::service("S", "send"), 1).send();
        let results = join_all(calls).await;
        let codes: Vec<_> = results.into_iter().map(code).collect();
        Ok(codes.join(" "))
    }
    .boxed()
}

const CALLS: [&str; 4] = [
    "Call S/h #1 #2",
    "Call S/h #3 #4",
    "Call S/h #5 #6",
    "OneWayCall S/send #7",
];

#[test]
fn calls_that_have_not_completed_before_are_cancelled_in_issue_order() {
    scenario(three_calls)
        .expect(CALLS)
        .send([
            invoked(5, "inv_c"),
            invoked(3, "inv_b"),
            invoked(1, "inv_a"),
            value(4, "x"),
        ])
        // The completion of the first stands behind the CANCEL, though both come together.
        .send([cancel(), value(2, "x")])
        .expect([
            "SendSignal inv_a 1=void",
            "SendSignal inv_c 1=void",
            "Output 409 ok 409",
            "End",
        ])
        .run();
}

#[test]
fn ids_that_are_not_known_are_awaited_first() {
    // Nothing else is delivered meanwhile.
    scenario(three_calls)
        .expect(CALLS)
        .send([
            cancel(),
            invoked(3, "inv_b"),
            value(2, "x"),
            value(4, "x"),
            value(6, "x"),
        ])
        .expect([""; 0])
        .send([invoked(1, "inv_a")])
        .expect([""; 0])
        .send([invoked(5, "inv_c")])
        .expect([
            "SendSignal inv_a 1=void",
            "SendSignal inv_b 1=void",
            "SendSignal inv_c 1=void",
            "Output 409 409 409",
            "End",
        ])
        .run();
    // Closed: suspended on the first id that is missing. Not on the CANCEL, which is in the journal.
    for (known, awaited) in [
        (
            vec![invoked(3, "inv_b"), value(2, "x")],
            "Suspension c1 and no CANCEL",
        ),
        (
            vec![invoked(1, "inv_a"), invoked(3, "inv_b")],
            "Suspension c5 and no CANCEL",
        ),
        (
            vec![invoked(3, "inv_b"), invoked(1, "inv_a")],
            "Suspension c5 and no CANCEL",
        ),
    ] {
        scenario(three_calls)
            .expect(CALLS)
            .send([cancel()])
            .send(known)
            .expect([awaited])
            .run();
    }
}

#[test]
fn a_run_goes_on_while_an_id_is_awaited_and_holds_the_suspension_back() {
    scenario(|ctx, outside| {
        async move {
            let run = ctx.run("r", async || {
                outside.gate("g").await;
                Ok::<_, TerminalError>("ran".to_owned())
            });
            let (called, ran) = crate::join!(service_call(ctx), run);
            Ok(format!("{} {}", code(called), code(ran)))
        }
        .boxed()
    })
    // The run is made before the call.
    .expect(["Run #1 `r`", "Call S/h #2 #3"])
    .send([cancel()])
    .close()
    .expect([""; 0])
    .open("g")
    .expect(["Propose #1=\"ran\"", "Suspension c2 and no CANCEL"])
    .run();
}

fn two_steps(ctx: &WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
    async move {
        let first = code(service_call(ctx).await);
        ctx.set("first", &1);
        let second = code(service_call(ctx).await);
        Ok(format!("{first} {second}"))
    }
    .boxed()
}

#[test]
fn a_second_cancel_reaches_only_what_was_issued_after_the_first() {
    scenario(two_steps)
        .expect(["Call S/h #1 #2"])
        .send([invoked(1, "inv_a"), cancel()])
        .expect([
            "SendSignal inv_a 1=void",
            "SetState first=1",
            "Call S/h #3 #4",
        ])
        .send([invoked(3, "inv_b"), cancel()])
        .expect(["SendSignal inv_b 1=void", "Output 409 409", "End"])
        .run();
}

#[test]
fn cancellations_replay_from_every_point() {
    let journal = [
        call(1),
        invoked(1, "inv_a"),
        cancel(),
        send_cancel("inv_a"),
        set("first", "1"),
        call(3),
        invoked(3, "inv_b"),
        value(2, "late"),
        cancel(),
        send_cancel("inv_b"),
    ];
    // Suspensions name the ids that are awaited there: no CANCEL, since one is in the journal.
    let ends: [(usize, &[&str]); 6] = [
        (
            3,
            &[
                "SendSignal inv_a 1=void",
                "SetState first=1",
                "Call S/h #3 #4",
                "Suspension c4 and no CANCEL",
            ],
        ),
        (
            4,
            &[
                "SetState first=1",
                "Call S/h #3 #4",
                "Suspension c4 and no CANCEL",
            ],
        ),
        (5, &["Call S/h #3 #4", "Suspension c4 and no CANCEL"]),
        (8, &["Suspension c4 and no CANCEL"]),
        (9, &["SendSignal inv_b 1=void", "Output 409 409", "End"]),
        (10, &["Output 409 409", "End"]),
    ];
    for (known, expected) in ends {
        scenario(two_steps)
            .replay(journal[..known].to_vec())
            .expect(expected.iter().copied())
            .run();
    }
    // A completed call that was signalled all the same, as other SDKs do, does not match.
    scenario(two_steps)
        .replay([
            call(1),
            invoked(1, "inv_a"),
            value(2, "x"),
            cancel(),
            send_cancel("inv_a"),
        ])
        .expect(["Error 570 @2 SetState: …"])
        .run();
    // The signal stands in the journal, the id it went to does not.
    scenario(two_steps)
        .replay([call(1), cancel(), send_cancel("inv_a")])
        .expect(["Error 570 @2 SendSignal: the code does not match the journal at command 2: the code waits…"])
        .run();
}

#[test]
fn a_cancel_with_nothing_awaited_is_kept_for_the_next_await() {
    // Not a single poll after the CANCEL awaits something but the last.
    scenario(|ctx, outside| {
        async move {
            outside.gate("foreign").await;
            ctx.set("k", &1);
            Ok(code(ctx.sleep(SECOND).await))
        }
        .boxed()
    })
    .send([cancel()])
    .expect([""; 0])
    .open("foreign")
    .expect(["SetState k=1", "Sleep #1", "Output 409", "End"])
    .run();
}

#[test]
fn an_executing_run_is_cancelled_and_its_closure_dropped() {
    struct Note(Arc<Outside>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.note("dropped");
        }
    }
    scenario(|ctx, outside| {
        async move {
            let run = ctx.run("r", async || {
                let _note = Note(Arc::clone(&outside));
                outside.gate("g").await;
                Ok::<_, TerminalError>(())
            });
            let run = std::pin::pin!(run);
            let cancelled = code(run.await);
            outside.note("goes on");
            ctx.sleep(SECOND).await?;
            Ok(cancelled)
        }
        .boxed()
    })
    .expect(["Run #1 `r`"])
    .send([cancel()])
    .expect(["Sleep #2"])
    .open("g")
    .send([void(2)])
    .expect(["Output 409", "End"])
    .notes(["dropped", "goes on"])
    .run();
}

#[test]
fn failures_are_delivered_one_by_one_in_the_order_of_creation() {
    scenario(|ctx, outside| {
        async move {
            let outside = &outside;
            let wait = async |name: &'static str, awaited: BoxedWait<'_>| {
                let result = awaited.await;
                outside.note(format!("{name} {}", code(result)));
                // What is awaited now was not awaited then.
                code(ctx.sleep(SECOND).await)
            };
            let (a, b, c) = (ctx.sleep(SECOND), ctx.awakeable(), ctx.sleep(SECOND));
            let results = crate::join!(
                wait("c", c.boxed()),
                wait("b", b.boxed()),
                wait("a", a.boxed()),
            );
            Ok(format!("{results:?}"))
        }
        .boxed()
    })
    .expect(["Sleep #1", "Sleep #2"])
    .send([cancel()])
    .expect(["Sleep #3", "Sleep #4", "Sleep #5"])
    .notes(["a 409", "b 409", "c 409"])
    .run();
}

type BoxedWait<'a> = futures::future::BoxFuture<'a, Result<(), TerminalError>>;

/// The loop's body waits when it is the others' turn: their failure comes when they are polled again.
fn loop_with_a_body(ctx: &WorkflowContext, outside: Arc<Outside>) -> Outcome<'_> {
    async move {
        let mut sleeps: FuturesUnordered<_> = (0..3).map(|_| ctx.sleep(SECOND)).collect();
        while let Some(slept) = sleeps.next().await {
            outside.note(code(slept));
            let body = code(ctx.signal::<String>("body").await);
            outside.note(format!("body {body}"));
        }
        Ok("done".into())
    }
    .boxed()
}

#[test]
fn a_failure_waits_for_a_leaf_that_is_not_polled_in_its_turn() {
    let live =
        || -> Scenario { scenario(loop_with_a_body).expect(["Sleep #1", "Sleep #2", "Sleep #3"]) };
    let expected = ["409", "body ok", "409", "body ok", "409", "body ok"];
    live()
        .send([cancel()])
        .expect([""; 0])
        .send([named("body", "1")])
        .send([named("body", "2"), named("body", "3")])
        .expect(["Output done", "End"])
        .notes(expected)
        .run();
    // Completions that come after the CANCEL change nothing for those that were awaited then.
    let replay: Vec<Msg> = vec![
        sleep(1),
        sleep(2),
        sleep(3),
        cancel(),
        void(3),
        void(2),
        named("body", "1"),
        named("body", "2"),
        named("body", "3"),
    ];
    scenario(loop_with_a_body)
        .replay(replay)
        .expect(["Output done", "End"])
        .notes(expected)
        .run();
}

/// A run whose closure is woken while others are cancelled gets its failure all the same.
#[test]
fn a_run_in_a_loop_that_is_woken_meanwhile_is_cancelled_as_in_its_replay() {
    fn handler(ctx: &WorkflowContext, outside: Arc<Outside>) -> Outcome<'_> {
        async move {
            let outside = &outside;
            let mut waits: FuturesUnordered<BoxedWait<'_>> = FuturesUnordered::new();
            waits.push(ctx.sleep(SECOND).boxed());
            let run = ctx.run("r", async || {
                outside.gate("g").await;
                Ok::<_, TerminalError>(())
            });
            waits.push(run.boxed());
            while let Some(result) = waits.next().await {
                outside.note(code(result));
                outside.note(code(ctx.signal::<String>("body").await));
            }
            Ok("done".into())
        }
        .boxed()
    }
    let expected = ["409", "ok", "409", "ok"];
    scenario(handler)
        .expect(["Sleep #1", "Run #2 `r`"])
        .send([cancel()])
        .nudge("g")
        .nudge("g")
        .send([named("body", "1"), named("body", "2")])
        .expect(["Output done", "End"])
        .notes(expected)
        .run();
    scenario(handler)
        .replay([
            sleep(1),
            run(2, "r"),
            cancel(),
            named("body", "1"),
            named("body", "2"),
        ])
        .expect(["Output done", "End"])
        .notes(expected)
        .run();
}

/// Sleeps twice, the first time with cancellations held off.
fn shielded() -> Scenario {
    scenario(|ctx, _| {
        async move {
            let shield = Shield::new(ctx.cell());
            ctx.sleep(SECOND).await?;
            drop(shield);
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    })
}

#[test]
fn a_cancel_that_is_held_off_is_delivered_afterwards() {
    shielded()
        .expect(["Sleep #1"])
        .send([cancel()])
        .send([void(1)])
        .expect(["Sleep #2", "Output !409 cancelled", "End"])
        .run();
    shielded()
        .replay([sleep(1), cancel(), void(1), sleep(2)])
        .expect(["Output !409 cancelled", "End"])
        .run();
}

#[test]
fn a_cancel_that_is_held_off_is_not_awaited_again() {
    shielded()
        .expect(["Sleep #1"])
        .send([cancel()])
        .close()
        .expect(["Suspension c1 and no CANCEL"])
        .run();
    shielded()
        .expect(["Sleep #1"])
        .close()
        .expect(["Suspension c1"])
        .run();
    shielded()
        .replay([sleep(1), cancel()])
        .awaiting()
        .expect(["AwaitingOn c1 and no CANCEL"])
        .run();
}

#[test]
fn whoever_waits_for_a_cancellation_alone_suspends_on_it_alone() {
    let token = || {
        scenario(|ctx, _| {
            async move {
                ctx.cancellation().await?;
                Ok("told".to_owned())
            }
            .boxed()
        })
    };
    token()
        .send([cancel()])
        .expect(["Output told", "End"])
        .run();
    token()
        .replay([cancel()])
        .expect(["Output told", "End"])
        .run();
}
