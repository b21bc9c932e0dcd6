//! Cancellation: of what waits, of its calls, of what has not begun.

use std::time::Duration;

use serde_json::json;

use crate::On;
use crate::program::{HOUR, Step, tried};
use crate::table::Suite;
use crate::world::Ask;

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("cancelled_waits", async |w| {
        let unending = w.free([Step::Sleep(HOUR)]);
        let other = w.start(unending.clone()).await;
        for (name, step) in [
            ("sleep", Step::Sleep(HOUR)),
            ("awakeable", Step::Awakeable(w.key("awakeable id"))),
            ("signal", Step::Signal("go".into())),
            ("call", Step::Call(w.wanted(unending))),
            ("attach", Step::Attach(other.clone())),
        ] {
            let id = w.waiting(name, step).await;
            w.is(name, w.cancel(&id).await, json!({"Ok": null}));
            w.see(name, w.attach(&id).await);
        }
        // Whom one attaches to is not cancelled.
        w.is("attached to", w.status(&other).await, json!("going on"));
        w.see("kill", w.kill(&other).await);
    });

    suite.scenario("an_uncaught_cancellation", async |w| {
        let id = w
            .start(w.free([Step::Note(w.key("a")), Step::Sleep(HOUR)]))
            .await;
        w.noted("a").await;
        w.see("cancel", w.cancel(&id).await);
        w.is(
            "attach",
            w.attach(&id).await,
            json!({"Err": {"code": 409, "message": "cancelled", "metadata": []}}),
        );
        w.is("status", w.status(&id).await, json!("failed"));
    });

    suite.scenario("a_cancelled_promise", async |w| {
        let id = w
            .start(w.workflow(
                "a",
                [Step::Note(w.key("a")), tried(Step::Promise("p".into()))],
            ))
            .await;
        w.until_journal(&id, "GetPromise").await;
        w.see("cancel", w.cancel(&id).await);
        w.see("attach", w.attach(&id).await);
        w.see(
            "resolve",
            w.call(w.beside("a", [tried(Step::ResolvePromise("p".into(), json!(1)))]))
                .await,
        );
    });

    suite.scenario("a_cancellation_reaches_the_children", async |w| {
        let leaf = w.object(
            "leaf",
            [
                Step::Note(w.key("leaf")),
                tried(Step::Sleep(HOUR)),
                Step::Set("cleaned".into(), json!(true)),
                Step::Fail(410, "cleaned".into(), Vec::new()),
            ],
        );
        let sent = w.free([Step::Note(w.key("sent")), Step::Sleep(HOUR)]);
        let middle = w.object(
            "middle",
            [
                Step::Note(w.key("middle")),
                Step::Send(w.wanted(sent), 0),
                tried(Step::Call(w.wanted(leaf))),
            ],
        );
        let id = w.start(w.free([tried(Step::Call(w.wanted(middle)))])).await;
        let leaf = w.noted("leaf").await;
        w.until_journal(&leaf, "Sleep").await;
        w.see("cancel", w.cancel(&id).await);
        w.see("root", w.attach(&id).await);
        let middle = w.noted("middle").await;
        w.see("middle", w.attach(&middle).await);
        w.see("leaf", w.attach(&leaf).await);
        w.is(
            "state",
            w.state("Obj", "leaf").await,
            json!({"cleaned": true}),
        );
        let sent = w.noted("sent").await;
        w.is(
            "what was sent goes on",
            w.status(&sent).await,
            json!("going on"),
        );
        w.see("kill", w.kill(&sent).await);
    });

    suite.scenario("a_call_that_is_cancelled_in_its_queue", async |w| {
        let holder = w
            .start(w.object("a", [Step::Awakeable(w.key("wait"))]))
            .await;
        let awakeable = w.noted("wait").await;
        let queued = w.wanted(w.object("a", [Step::Note(w.key("queued"))]));
        let id = w.waiting("caller", Step::Call(queued)).await;
        w.see("cancel", w.cancel(&id).await);
        w.see("caller", w.attach(&id).await);
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see("holder", w.attach(&holder).await);
        w.is(
            "the key is free",
            w.call(w.object("a", [Step::Key])).await.is_ok(),
            json!(true),
        );
        w.is("ran", w.notes("queued"), json!([]));
    });

    suite.scenario("calls_that_nobody_awaits_are_cancelled", async |w| {
        let child = |name: &str| w.wanted(w.free([Step::Note(w.key(name)), Step::Sleep(HOUR)]));
        let done = w.wanted(Ask::to("Free", "double").json(4));
        let steps = [
            Step::CallOnly(child("first")),
            Step::CallOnly(done),
            Step::CallOnly(child("second")),
            Step::Send(child("sent"), 0),
            tried(Step::Sleep(HOUR)),
        ];
        let id = w.start(w.free(steps)).await;
        let first = w.noted("first").await;
        let second = w.noted("second").await;
        let sent = w.noted("sent").await;
        // The result of the one that is done, which needs no cancellation any more.
        w.until_journal(&id, "← Call").await;
        w.until_journal(&id, "Sleep").await;
        w.see("cancel", w.cancel(&id).await);
        w.see("parent", w.attach(&id).await);
        w.see("first", w.attach(&first).await);
        w.see("second", w.attach(&second).await);
        w.is("sent", w.status(&sent).await, json!("going on"));
        w.see("kill", w.kill(&sent).await);
        // Results come when they come: the order is open.
        let mut journal = w.journal(&id).await;
        journal.sort();
        w.see("journal", journal);
    });

    suite.scenario("what_a_cancelled_one_does_afterwards", async |w| {
        let double = || Step::Call(w.wanted(Ask::to("Free", "double").json(4)));
        let steps = [
            Step::Note(w.key("a")),
            tried(Step::Sleep(HOUR)),
            double(),
            Step::Sleep(20),
            Step::Run {
                name: "clean".into(),
                failures: 1,
                attempts: None,
            },
            double(),
        ];
        let id = w.start(w.free(steps)).await;
        w.noted("a").await;
        w.see("cancel", w.cancel(&id).await);
        w.see("attach", w.attach(&id).await);
    });

    // One that is suspended in its clean-up hears of another CANCEL when it goes on.
    suite.attempting("cancelled_twice", async |w| {
        let steps = [
            Step::Note(w.key("a")),
            tried(Step::Sleep(HOUR)),
            Step::Note(w.key("b")),
            tried(Step::Signal("never".into())),
            Step::Call(w.wanted(Ask::to("Free", "double").json(4))),
        ];
        let id = w.start(w.free(steps)).await;
        w.noted("a").await;
        w.see("cancel", w.cancel(&id).await);
        w.noted("b").await;
        w.rest().await;
        w.is("status", w.status(&id).await, json!("going on"));
        w.see("cancel again", w.cancel(&id).await);
        w.see("attach", w.attach(&id).await);
    });

    suite.scenario("cancelled_at_once", async |w| {
        let id = w
            .start(w.free([
                tried(Step::Sleep(HOUR)),
                Step::Fail(410, "cleaned".into(), Vec::new()),
            ]))
            .await;
        w.see("cancel", w.cancel(&id).await);
        let end = w.attach(&id).await.unwrap_err();
        // It may have begun or not.
        w.is("ends", [409, 410].contains(&end.code), json!(true));
    });

    suite.scenario("a_cancelled_workflow_and_its_key", async |w| {
        let run = || {
            w.workflow(
                "a",
                [
                    Step::Note(w.key("a")),
                    Step::Set("n".into(), json!(1)),
                    Step::Sleep(HOUR),
                ],
            )
        };
        let id = w.start(run()).await;
        w.until_journal(&id, "Sleep").await;
        w.see("cancel", w.cancel(&id).await);
        w.see("attach", w.attach(&id).await);
        w.see("again", w.call(run()).await);
        w.is("state", w.state("Flow", "a").await, json!({"n": 1}));
    });

    suite.scenario("an_idempotent_call_that_another_waits_for", async |w| {
        let shared = || {
            let ask = w.free([Step::Note(w.key("child")), tried(Step::Sleep(HOUR))]);
            w.wanted(ask.idempotency_key(&w.key("i")))
        };
        let caller = async |name: &str| {
            w.start(w.free([Step::Note(w.key(name)), tried(Step::Call(shared()))]))
                .await
        };
        let first = caller("first").await;
        w.noted("child").await;
        let second = caller("second").await;
        w.until_journal(&second, "Call").await;
        // The cancellation of one caller reaches the callee, and so the other caller.
        w.see("cancel", w.cancel(&second).await);
        w.see("second", w.attach(&second).await);
        w.see("first", w.attach(&first).await);
    });

    suite.scenario("cancelled_in_the_queue", async |w| {
        let holder = w
            .start(w.object("a", [Step::Awakeable(w.key("wait"))]))
            .await;
        let awakeable = w.noted("wait").await;
        let queued = w.start(w.object("a", [Step::Note(w.key("queued"))])).await;
        let attached = w.attached(&queued).await;
        w.is("status", w.status(&queued).await, json!("queued"));
        w.see("cancel", w.cancel(&queued).await);
        w.see("who was attached", w.attach(&attached).await);
        w.see("who attaches later", w.attach(&queued).await);
        w.is("status", w.status(&queued).await, json!(null));
        w.see("again", w.cancel(&queued).await);
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see("holder", w.attach(&holder).await);
        w.is("ran", w.notes("queued"), json!([]));
    });

    suite.scenario("cancelled_before_it_is_due", async |w| {
        let scheduled = async |millis: u64| {
            let ask = w.free([Step::Note(w.key("ran"))]);
            let sent = w.send_after(ask, Duration::from_millis(millis)).await;
            sent.unwrap()
        };
        let id = scheduled(HOUR).await;
        let attached = w.attached(&id).await;
        w.see("cancel", w.cancel(&id).await);
        w.see("who was attached", w.attach(&attached).await);
        w.see("who attaches later", w.attach(&id).await);
        w.is("status", w.status(&id).await, json!(null));
        // Nor does it begin when it would have been due.
        let id = scheduled(3000).await;
        w.see("cancel", w.cancel(&id).await);
        w.pass(3200).await;
        w.is("ran", w.notes("ran"), json!([]));
        w.is("status", w.status(&id).await, json!(null));
    });

    suite.scenario("cancelled_before_it_begins_with_a_key", async |w| {
        let ask = || {
            w.free([Step::Note(w.key("ran"))])
                .idempotency_key(&w.key("i"))
        };
        let id = w
            .send_after(ask(), Duration::from_millis(3_600_000))
            .await
            .unwrap();
        w.see("cancel", w.cancel(&id).await);
        w.until("it is gone", async || {
            w.status(&id).await.is_none().then_some(())
        })
        .await;
        w.see("the key is free", w.call(ask()).await);
        w.is("ran", w.notes("ran").len(), json!(1));
    });

    suite.scenario("a_workflow_cancelled_before_it_is_due", async |w| {
        let run = || w.workflow("a", [Step::Note(w.key("ran"))]);
        let id = w
            .send_after(run(), Duration::from_millis(3_600_000))
            .await
            .unwrap();
        let resolve = Step::ResolvePromise("p".into(), json!(1));
        w.see("resolve", w.call(w.beside("a", [resolve])).await);
        w.see("cancel", w.cancel(&id).await);
        w.until("it is gone", async || {
            w.status(&id).await.is_none().then_some(())
        })
        .await;
        let peek = w.beside("a", [Step::Peek("p".into())]);
        w.is("the promise", w.call(peek).await, json!({"Ok": [1]}));
        w.see("the key is free", w.call(run()).await);
    });

    suite.scenario("a_cancelled_child_for_its_caller", async |w| {
        let child = w.free([Step::Note(w.key("child")), Step::Sleep(HOUR)]);
        let id = w.start(w.free([tried(Step::Call(w.wanted(child)))])).await;
        let child = w.noted("child").await;
        w.see("cancel", w.call(w.free([Step::Cancel(child)])).await);
        w.see("caller", w.attach(&id).await);
    });

    suite.scenario("handlers_cancel", async |w| {
        let cancel = async |id: &str| w.call(w.free([Step::Cancel(id.to_owned())])).await;
        let scheduled = w.free([Step::Note(w.key("ran"))]);
        let scheduled = w
            .send_after(scheduled, Duration::from_millis(HOUR))
            .await
            .unwrap();
        w.see("scheduled", cancel(&scheduled).await);
        w.until("it is gone", async || {
            w.status(&scheduled).await.is_none().then_some(())
        })
        .await;
        let over = w.start(w.free([])).await;
        w.see("attach", w.attach(&over).await);
        w.see("over", cancel(&over).await);
        w.see("attach", w.attach(&over).await);
        w.see(
            "nobody",
            cancel("inv_1dbhPRDdDpYI1Ahn7RDWfZWPGDsYYaFAcb").await,
        );
        let id = w
            .start(w.free([tried(Step::Awakeable(w.key("wait")))]))
            .await;
        w.noted("wait").await;
        w.see("one that waits", cancel(&id).await);
        w.see("attach", w.attach(&id).await);
        w.is("ran", w.notes("ran"), json!([]));
    });

    suite.scenario("who_is_attached_to_a_killed_one", async |w| {
        let id = w
            .start(w.free([Step::Note(w.key("a")), Step::Sleep(HOUR)]))
            .await;
        w.noted("a").await;
        let attached = w.attached(&id).await;
        w.see("kill", w.kill(&id).await);
        w.see("attached", w.attach(&attached).await);
    });

    suite.scenario(
        "a_cancellation_of_one_that_backs_off_in_an_object",
        async |w| {
            let steps = [
                Step::Note(w.key("a")),
                tried(Step::Sleep(HOUR)),
                Step::Set("n".into(), json!(1)),
                Step::Stumble(w.key("s"), 1),
            ];
            let id = w.start(w.object("a", steps)).await;
            w.until_journal(&id, "Sleep").await;
            let queued = w.start(w.object("a", [Step::Get("n".into())])).await;
            w.see("cancel", w.cancel(&id).await);
            w.see("attach", w.attach(&id).await);
            w.see("queued", w.attach(&queued).await);
        },
    );
}
