//! What becomes of failed attempts, and of failed runs.

use std::time::Duration;

use serde_json::json;

use crate::On;
use crate::program::{HOUR, Step, notes, tried};
use crate::table::Suite;
use crate::world::Ask;

fn run(name: &str, failures: usize, attempts: Option<u32>) -> Step {
    Step::Run {
        name: name.into(),
        failures,
        attempts,
    }
}

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("a_failed_attempt_is_followed_by_another", async |w| {
        let id = w
            .start(w.free([Step::Stumble(w.key("a"), 1), Step::RetryCount]))
            .await;
        w.is("attach", w.attach(&id).await, json!({"Ok": [null, 1]}));
        w.is("attempts", w.notes("a").len(), json!(2));
    });

    suite.scenario("attempts_are_used_up_pause", async |w| {
        let pausing = |times| Ask::to("Free", "pausing").json([Step::Stumble(w.key("a"), times)]);
        let id = w.start(pausing(4)).await;
        w.until_status(&id, "paused").await;
        w.is("attempts", w.notes("a").len(), json!(3));
        w.is("output", w.output(&id).await, json!({"Ok": null}));
        w.see("resume", w.resume(&id).await);
        w.see("attach", w.attach(&id).await);
        w.is("attempts", w.notes("a").len(), json!(5));
    });

    suite.scenario("attempts_are_used_up_again", async |w| {
        let pausing = |times| Ask::to("Free", "pausing").json([Step::Stumble(w.key("a"), times)]);
        let id = w.start(pausing(100)).await;
        w.until_status(&id, "paused").await;
        w.see("resume", w.resume(&id).await);
        w.until("it fails again", async || {
            (w.notes("a").len() > 3).then_some(())
        })
        .await;
        w.until_status(&id, "paused").await;
        w.is("attempts", w.notes("a").len(), json!(6));
        w.see("cancel", w.cancel(&id).await);
        w.until("three more attempts", async || {
            (w.notes("a").len() >= 9).then_some(())
        })
        .await;
        w.until_status(&id, "paused").await;
        w.rest().await;
        w.see("status", w.status(&id).await);
        w.see("attempts", w.notes("a").len());
        w.see("kill", w.kill(&id).await);
        w.see("attach", w.attach(&id).await);
    });

    suite.scenario("attempts_are_used_up_kill", async |w| {
        let id = w
            .start(Ask::to("Free", "killed").json([Step::Stumble(w.key("a"), 100)]))
            .await;
        w.see("attach", w.attach(&id).await);
        w.is("attempts", w.notes("a").len(), json!(3));
        w.is("status", w.status(&id).await, json!("failed"));
        let wanted = w.wanted(Ask::to("Free", "killed").json([Step::Stumble(w.key("b"), 100)]));
        w.see(
            "for a caller",
            w.call(w.free([tried(Step::Call(wanted))])).await,
        );
    });

    // What is stored meanwhile does not begin the count anew; a suspension does.
    suite.attempting("attempts_are_counted_over_progress", async |w| {
        let steps = [
            Step::Stumble(w.key("a"), 2),
            Step::Sleep(1),
            Step::Stumble(w.key("b"), 2),
            Step::Sleep(1),
        ];
        let id = w.start(Ask::to("Free", "killed").json(steps)).await;
        w.see("attach", w.attach(&id).await);
        w.see("attempts", (w.notes("a").len(), w.notes("b").len()));
    });

    suite.scenario("a_suspension_renews_the_attempts", async |w| {
        let awakeable = |name: &str| Step::Awakeable(w.key(name));
        let steps = [
            Step::Stumble(w.key("a"), 2),
            awakeable("wait"),
            Step::Stumble(w.key("b"), 100),
        ];
        let id = w.start(Ask::to("Free", "killed_soon").json(steps)).await;
        let awakeable = w.noted("wait").await;
        w.until_suspended(&id).await;
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see("attach", w.attach(&id).await);
        w.is("attempts", w.notes("b").len(), json!(3));
    });

    suite.scenario("backing_off", async |w| {
        let patient = |name: &str| {
            Ask::to("Free", "patient").json([Step::Stumble(w.key(name), 1), Step::RetryCount])
        };
        let id = w.start(patient("a")).await;
        w.until_status(&id, "backing off").await;
        w.is("resume", w.resume(&id).await, json!({"Ok": null}));
        w.see("attach", w.attach(&id).await);
        let id = w.start(patient("b")).await;
        w.until_status(&id, "backing off").await;
        w.is("pause", w.pause(&id).await, json!({"Ok": null}));
        w.until_status(&id, "paused").await;
        w.is("resume", w.resume(&id).await, json!({"Ok": null}));
        w.see("attach", w.attach(&id).await);
        let id = w.start(patient("c")).await;
        w.until_status(&id, "backing off").await;
        w.is("kill", w.kill(&id).await, json!({"Ok": null}));
        w.see("attach", w.attach(&id).await);
    });

    suite.scenario("cancelled_while_backing_off", async |w| {
        let steps = [Step::Stumble(w.key("a"), 1), tried(Step::Sleep(3_600_000))];
        let id = w.start(Ask::to("Free", "patient").json(steps)).await;
        w.until_status(&id, "backing off").await;
        w.see("cancel", w.cancel(&id).await);
        w.rest().await;
        w.see("status", w.status(&id).await);
        w.see("attempts", w.notes("a").len());
        w.see(
            "resume",
            w.resume(&id).await.map_err(|refusal| refusal.code),
        );
        w.see("attach", w.attach(&id).await);
    });

    suite.scenario("a_stumbling_object_keeps_its_key", async |w| {
        let first = w
            .start(w.object(
                "a",
                [
                    Step::Set("n".into(), json!(1)),
                    Step::Stumble(w.key("a"), 1),
                ],
            ))
            .await;
        let second = w.start(w.object("a", [Step::Get("n".into())])).await;
        w.see("first", w.attach(&first).await);
        w.see("second", w.attach(&second).await);
    });

    suite.scenario("runs", async |w| {
        let id = w
            .start(w.free([run("once", 0, None), run("thrice", 2, None)]))
            .await;
        w.is("attach", w.attach(&id).await, json!({"Ok": [1, 3]}));
        w.see("journal", w.journal(&id).await);
    });

    suite.scenario("runs_are_not_done_again", async |w| {
        let steps = [
            run("first", 0, None),
            Step::Stumble(w.key("a"), 1),
            run("second", 1, None),
            Step::Stumble(w.key("b"), 1),
        ];
        w.is(
            "call",
            w.call(w.free(steps)).await,
            json!({"Ok": [1, null, 2, null]}),
        );
    });

    suite.scenario("runs_that_are_used_up", async |w| {
        w.see("two", w.call(w.free([tried(run("a", 9, Some(2)))])).await);
        w.see("one", w.call(w.free([run("b", 9, Some(1))])).await);
        w.see("just enough", w.call(w.free([run("c", 1, Some(2))])).await);
    });

    suite.scenario("runs_that_fail_terminally", async |w| {
        let fail = || Step::RunTerminal("a".into(), 418, "no".into());
        w.see("tried", w.call(w.free([tried(fail())])).await);
        w.see("not tried", w.call(w.free([fail()])).await);
    });

    suite.scenario("suspensions", async |w| {
        for handler in ["suspending", "soon"] {
            let steps = [
                Step::Note(w.key(handler)),
                Step::Sleep(300),
                run("run", 0, None),
                Step::Call(w.wanted(Ask::to("Free", "double").json(4))),
                Step::Awakeable(w.key(&format!("{handler}-wait"))),
            ];
            let id = w.start(Ask::to("Free", handler).json(steps)).await;
            let awakeable = w.noted(&format!("{handler}-wait")).await;
            w.until_suspended(&id).await;
            w.see("resolve", w.resolve(&awakeable, json!("x")).await);
            w.is(
                handler,
                w.attach(&id).await,
                json!({"Ok": [null, null, 1, 8, "x"]}),
            );
            w.is("was replayed", w.notes(handler).len() > 1, json!(true));
        }
    });

    suite.scenario("a_delayed_send_with_an_idempotency_key", async |w| {
        let ask = |name: &str| {
            w.free([Step::Note(w.key(name))])
                .idempotency_key(&w.key(name))
        };
        let mut ids = Vec::new();
        for (name, millis) in [("never", HOUR), ("a", 1000)] {
            let delay = Duration::from_millis(millis);
            let id = w.send_after(ask(name), delay).await.unwrap();
            let again = w.start(ask(name)).await;
            w.is("the same", id == again, json!(true));
            ids.push(id);
        }
        // It has not been brought forward.
        w.is("status", w.status(&ids[0]).await, json!("scheduled"));
        w.see("attach", w.attach(&ids[1]).await);
        w.is("ran", w.notes("a").len(), json!(1));
        w.is("never", w.notes("never"), json!([]));
    });

    suite.scenario("an_error_that_asks_for_the_end", async |w| {
        let steps = [Step::Ask(w.key("a"), "fail".into())];
        w.see("call", w.call(w.free(steps)).await);
        w.is("attempts", w.notes("a").len(), json!(1));
    });

    suite.scenario("an_error_that_asks_for_a_delay", async |w| {
        let patient =
            Ask::to("Free", "patient").json([Step::Ask(w.key("a"), "50".into()), Step::RetryCount]);
        let id = w.start(patient).await;
        w.see("attach", w.attach(&id).await);
        w.is("attempts", w.notes("a").len(), json!(2));
    });

    // Before version 7 of the protocol nobody can ask for that.
    let before = &[On::Memory, On::Server];
    suite.scenario_on(before, "a_pause_that_cannot_be_asked_for", async |w| {
        let id = w
            .start(w.free([Step::Ask(w.key("a"), "pause".into())]))
            .await;
        w.see("attach", w.attach(&id).await);
        w.is("attempts", w.notes("a").len(), json!(2));
    });

    let since = &[
        On::MemorySuspend,
        On::ServerSuspend,
        On::Local,
        On::LocalSuspend,
    ];
    suite.scenario_on(since, "an_error_that_asks_for_a_pause", async |w| {
        let id = w
            .start(w.free([Step::Ask(w.key("a"), "pause".into())]))
            .await;
        w.until_status(&id, "paused").await;
        w.see("resume", w.resume(&id).await);
        w.see("attach", w.attach(&id).await);
        w.is("attempts", w.notes("a").len(), json!(2));
    });

    suite.scenario("panics", async |w| {
        let steps = |name: &str, times| [Step::Panic(w.key(name), times)];
        w.see("once", w.call(w.free(steps("a", 1))).await);
        let killed = Ask::to("Free", "killed").json(steps("b", 100));
        w.see("always", w.call(killed).await);
    });

    suite.scenario("a_handler_that_goes_another_way", async |w| {
        let steps = [Step::Flip(w.key("way")), Step::Stumble(w.key("a"), 1)];
        let id = w.start(Ask::to("Free", "killed").json(steps)).await;
        let end = w.attach(&id).await.unwrap_err();
        w.is("code", end.code, json!(570));
        w.see("message", end.message);
        w.see("status", w.status(&id).await);
    });

    suite.scenario("a_run_that_fails_for_ever_is_cancelled", async |w| {
        let steps = [tried(run("never", 1_000_000, None))];
        let id = w.start(w.free(steps)).await;
        // Its executions are noted by themselves.
        let executions = format!("{id} never");
        w.until("it has failed twice", async || {
            (notes(&executions).len() > 2).then_some(())
        })
        .await;
        w.see("cancel", w.cancel(&id).await);
        w.see("attach", w.attach(&id).await);
    });

    suite.scenario("what_comes_while_backing_off", async |w| {
        let steps = [
            Step::Join(vec![
                Step::Awakeable(w.key("wait")),
                Step::Stumble(w.key("a"), 1),
            ]),
            Step::RetryCount,
        ];
        let id = w.start(Ask::to("Free", "pausing").json(steps)).await;
        let awakeable = w.noted("wait").await;
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see(
            "attach",
            w.attach(&id).await.map(|results| results[0].clone()),
        );
    });
}
