//! What handlers ask of others: calls, sends, attaching, signals.

use std::time::Duration;

use serde_json::json;

use crate::On;
use crate::program::{HOUR, Step, tried};
use crate::table::Suite;
use crate::world::{Ask, World};

fn call(w: &World, ask: Ask) -> Step {
    Step::Call(w.wanted(ask))
}

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("calls_give_results_and_failures", async |w| {
        let fail = w.free([Step::Fail(418, "no".into(), vec![("a".into(), "b".into())])]);
        let steps = [
            call(w, Ask::to("Free", "double").json(4)),
            call(w, Ask::to("Free", "nothing")),
            call(w, Ask::to("Obj", "double").key(w.key("a")).json(5)),
            tried(call(w, fail)),
        ];
        w.see("calls", w.call(w.free(steps)).await);
        let through = w.free([call(
            w,
            w.free([Step::Fail(418, "no".into(), vec![("a".into(), "b".into())])]),
        )]);
        w.see("a failure goes through", w.call(through).await);
    });

    suite.scenario("bad_input_by_a_handler", async |w| {
        let double = || Ask::to("Free", "double");
        let steps = [
            tried(call(w, double().body("no JSON"))),
            tried(call(w, double())),
            tried(call(
                w,
                double().body("4").header("content-type", "text/plain"),
            )),
            tried(call(w, Ask::to("Free", "nothing").body("4"))),
        ];
        w.see("calls", w.call(w.free(steps)).await);
    });

    // What the server refuses of a handler fails its attempt, and again the next one.
    suite.scenario("refused_calls_fail_the_attempt", async |w| {
        for (what, ask) in [
            ("unknown service", Ask::to("Nobody", "run")),
            ("unknown handler", Ask::to("Free", "nobody")),
            ("no key", Ask::to("Obj", "double").body("4")),
            (
                "key of a service",
                Ask::to("Free", "double").key("k").body("4"),
            ),
            ("empty key", Ask::to("Obj", "double").key("").body("4")),
        ] {
            let steps = [call(w, ask.clone())];
            let id = w.start(Ask::to("Free", "pausing").json(steps)).await;
            let end = w
                .until(what, async || match w.status(&id).await {
                    Some(end @ ("paused" | "succeeded" | "failed")) => Some(end),
                    _ => None,
                })
                .await;
            w.see(what, end);
            if end != "paused" {
                w.see(what, w.attach(&id).await);
            }
            let steps = [Step::Send(w.wanted(ask), 0)];
            let id = w.start(Ask::to("Free", "pausing").json(steps)).await;
            let end = w
                .until(what, async || match w.status(&id).await {
                    Some(end @ ("paused" | "succeeded" | "failed")) => Some(end),
                    _ => None,
                })
                .await;
            w.see(&format!("{what}, sent"), end);
        }
    });

    suite.scenario("sends_go_on_by_themselves", async |w| {
        let sent = w.free([Step::Note(w.key("ran"))]);
        let never = w.free([Step::Note(w.key("never"))]);
        let steps = [
            Step::Send(w.wanted(never), HOUR),
            Step::Send(w.wanted(sent.clone()), 0),
            Step::Send(w.wanted(sent), 1000),
            // What is sent is on its way when the handler has ended. Behind it comes this call.
            call(w, Ask::to("Free", "double").json(4)),
        ];
        let ids = w.call(w.free(steps)).await.unwrap();
        let id = |at: usize| ids[at].as_str().unwrap();
        w.until_status(id(0), "scheduled").await;
        w.see("now", w.attach(id(1)).await);
        w.see("later", w.attach(id(2)).await);
        w.is("ran", w.notes("ran").len(), json!(2));
        w.is("never", w.notes("never"), json!([]));
    });

    suite.scenario("idempotent_calls_of_handlers", async |w| {
        let wanted = || {
            let ask = w.free([Step::Note(w.key("ran"))]);
            w.wanted(ask.idempotency_key(&w.key("i")))
        };
        let steps = [
            Step::Call(wanted()),
            Step::Call(wanted()),
            Step::AttachIdempotent(wanted()),
        ];
        w.see("calls", w.call(w.free(steps)).await);
        w.is("ran", w.notes("ran").len(), json!(1));
        let unknown = w.wanted(w.free([]).idempotency_key(&w.key("unknown")));
        w.see(
            "unknown",
            w.call(w.free([tried(Step::AttachIdempotent(unknown))]))
                .await,
        );
    });

    suite.scenario("attach_and_output_of_handlers", async |w| {
        let id = w.start(w.free([Step::Awakeable(w.key("wait"))])).await;
        let awakeable = w.noted("wait").await;
        w.is(
            "output",
            w.call(w.free([Step::Output(id.clone())])).await,
            json!({"Ok": [null]}),
        );
        let waiting = w
            .start(w.free([Step::Note(w.key("waits")), Step::Attach(id.clone())]))
            .await;
        w.until_journal(&waiting, "AttachInvocation").await;
        w.see("resolve", w.resolve(&awakeable, json!(7)).await);
        w.is(
            "attached",
            w.attach(&waiting).await,
            json!({"Ok": [null, [7]]}),
        );
        w.is(
            "output",
            w.call(w.free([Step::Output(id.clone())])).await,
            json!({"Ok": [[7]]}),
        );
        w.is(
            "attach",
            w.call(w.free([Step::Attach(id)])).await,
            json!({"Ok": [[7]]}),
        );
        let failed = w
            .start(w.free([Step::Fail(418, "no".into(), Vec::new())]))
            .await;
        w.see("failed", w.attach(&failed).await);
        w.see(
            "output",
            w.call(w.free([tried(Step::Output(failed.clone()))])).await,
        );
        w.see(
            "attach",
            w.call(w.free([tried(Step::Attach(failed))])).await,
        );
        let nobody = "inv_1dbhPRDdDpYI1Ahn7RDWfZWPGDsYYaFAcb";
        w.see(
            "output of nobody",
            w.call(w.free([tried(Step::Output(nobody.into()))])).await,
        );
        w.see(
            "attach to nobody",
            w.call(w.free([tried(Step::Attach(nobody.into()))])).await,
        );
    });

    suite.scenario("signals", async |w| {
        let waiting = || w.free([Step::Note(w.key("waits")), tried(Step::Signal("go".into()))]);
        let id = w.start(waiting()).await;
        w.noted("waits").await;
        let send = Step::SendSignal(id.clone(), "go".into(), json!({"n": 1}));
        w.see("resolve", w.call(w.free([send])).await);
        w.see("result", w.attach(&id).await);
        let id = w.start(waiting()).await;
        let send = Step::RejectSignal(id.clone(), "go".into(), 418, "no".into());
        w.see("reject", w.call(w.free([send])).await);
        w.see("result", w.attach(&id).await);
        let send = Step::SendSignal(id, "go".into(), json!(1));
        w.see("late", w.call(w.free([send])).await);
        let nobody = "inv_1dbhPRDdDpYI1Ahn7RDWfZWPGDsYYaFAcb";
        let send = Step::SendSignal(nobody.into(), "go".into(), json!(1));
        w.see("to nobody", w.call(w.free([send])).await);
    });

    suite.scenario("signals_in_order", async |w| {
        let twice = [
            Step::Signal("a".into()),
            Step::Signal("b".into()),
            Step::Signal("a".into()),
        ];
        let id = w.start(w.free(twice)).await;
        for (name, value) in [("a", 1), ("a", 2), ("b", 3)] {
            let send = Step::SendSignal(id.clone(), name.into(), json!(value));
            w.see("send", w.call(w.telling(send)).await);
        }
        w.is("result", w.attach(&id).await, json!({"Ok": [1, 3, 2]}));
    });

    suite.scenario("signals_to_what_has_not_begun", async |w| {
        let holder = w
            .start(w.object("a", [Step::Awakeable(w.key("wait"))]))
            .await;
        let awakeable = w.noted("wait").await;
        let send = |id: &str| w.telling(Step::SendSignal(id.to_owned(), "go".into(), json!(1)));
        let queued = w.start(w.object("a", [Step::Signal("go".into())])).await;
        w.see("send", w.call(send(&queued)).await);
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see("holder", w.attach(&holder).await);
        // It is told at once, long before it is due.
        let later = w.free([Step::Signal("go".into())]);
        let later = w
            .send_after(later, Duration::from_millis(3000))
            .await
            .unwrap();
        w.see("send", w.call(send(&later)).await);
        for id in [&queued, &later] {
            w.until(&format!("{id} begins"), async || {
                let waits = matches!(w.status(id).await, Some("queued" | "scheduled"));
                (!waits).then_some(())
            })
            .await;
        }
        w.rest().await;
        w.see("queued", w.output(&queued).await);
        w.see("later", w.output(&later).await);
    });

    suite.scenario("many_at_once", async |w| {
        let double = |n: u64| call(w, Ask::to("Free", "double").json(n));
        let join = Step::Join((0..20).map(double).collect());
        let expected: Vec<_> = (0..20).map(|n| n * 2).collect();
        w.is(
            "all",
            w.call(w.free([join])).await,
            json!({"Ok": [expected]}),
        );
    });

    suite.scenario("sleeps_in_order", async |w| {
        let branch = |millis: u64| Step::Join(vec![Step::Sleep(millis)]);
        let join = Step::Join(vec![branch(60), branch(0), branch(20)]);
        w.see("join", w.call(w.free([join, Step::Sleep(0)])).await);
    });

    suite.scenario("an_object_that_calls_itself_is_stuck", async |w| {
        let inner = w.wanted(w.object("a", [Step::Note(w.key("inner"))]));
        let id = w
            .start(w.object("a", [Step::Note(w.key("outer")), Step::Call(inner)]))
            .await;
        w.until_journal(&id, "Call").await;
        w.rest().await;
        w.is("inner", w.notes("inner"), json!([]));
        w.is("status", w.status(&id).await, json!("going on"));
        w.see("kill", w.kill(&id).await);
        w.see("result", w.attach(&id).await);
        w.is(
            "the key is free",
            w.call(w.object("a", [Step::Key])).await.is_ok(),
            json!(true),
        );
        // On the server the inner one may have its turn before the kill reaches it.
    });
}
