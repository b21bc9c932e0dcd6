//! What operators do beside: kill, pause, resume, purge.

use std::time::Duration;

use serde_json::json;

use crate::On;
use crate::program::{HOUR, Step, tried};
use crate::table::Suite;
use crate::world::{Ask, Operation, World};

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("a_killed_workflow_and_its_key", async |w| {
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
        w.see("kill", w.kill(&id).await);
        w.see("attach", w.attach(&id).await);
        w.see("again", w.call(run()).await);
        w.is("state", w.state("Flow", "a").await, json!({"n": 1}));
    });

    suite.scenario("what_a_kill_leaves", async |w| {
        let sent = || w.free([Step::Note(w.key("sent")), Step::Sleep(HOUR)]);
        let later = w.free([Step::Note(w.key("later"))]);
        let other = w.start(sent()).await;
        let steps = [
            Step::Set("n".into(), json!(1)),
            Step::Send(w.wanted(sent()), 0),
            Step::Send(w.wanted(later), 5000),
            Step::Attach(other.clone()),
        ];
        let id = w.start(w.object("a", steps)).await;
        w.until_journal(&id, "AttachInvocation").await;
        let sent = w
            .until("what is sent begins", async || {
                w.notes("sent").into_iter().find(|id| *id != other)
            })
            .await;
        w.see("kill", w.kill(&id).await);
        w.see("attach", w.attach(&id).await);
        w.is("attached to", w.status(&other).await, json!("going on"));
        w.see("kill", w.kill(&other).await);
        // What it has sent is killed with it, unlike by a cancellation, and what was due later is gone.
        w.see("sent", w.attach(&sent).await);
        w.is("state", w.state("Obj", "a").await, json!({"n": 1}));
        w.pass(5100).await;
        w.is("later", w.notes("later"), json!([]));
    });

    suite.scenario("what_is_over_stays", async |w| {
        let id = w.start(Ask::to("Free", "double").json(4)).await;
        w.see("attach", w.attach(&id).await);
        for operation in [
            Operation::Cancel,
            Operation::Kill,
            Operation::Pause,
            Operation::Resume,
        ] {
            w.see(&format!("{operation:?}"), w.operate(operation, &id).await);
        }
        w.is("attach", w.attach(&id).await, json!({"Ok": 8}));
        w.is(
            "purge",
            w.operate(Operation::Purge, &id).await,
            json!({"Ok": null}),
        );
        w.see("attach", w.attach(&id).await);
        w.see("output", w.output(&id).await);
        for operation in [
            Operation::Cancel,
            Operation::Kill,
            Operation::Pause,
            Operation::Resume,
            Operation::Purge,
        ] {
            w.see(&format!("{operation:?}"), w.operate(operation, &id).await);
        }
    });

    suite.scenario("operations_on_nobody", async |w| {
        let nobody = "inv_1dbhPRDdDpYI1Ahn7RDWfZWPGDsYYaFAcb";
        for operation in [
            Operation::Cancel,
            Operation::Kill,
            Operation::Pause,
            Operation::Resume,
            Operation::Purge,
        ] {
            w.see(
                &format!("{operation:?}"),
                w.operate(operation, nobody).await,
            );
        }
    });

    suite.scenario("operations_on_what_has_not_begun", async |w| {
        let scheduled = async || {
            let ask = w.free([Step::Note(w.key("ran"))]);
            w.send_after(ask, Duration::from_millis(3_600_000))
                .await
                .unwrap()
        };
        let id = scheduled().await;
        for operation in [
            Operation::Pause,
            Operation::Resume,
            Operation::Purge,
            Operation::Kill,
        ] {
            w.see(
                &format!("{operation:?} scheduled"),
                w.operate(operation, &id).await,
            );
        }
        w.until("it is gone", async || {
            w.status(&id).await.is_none().then_some(())
        })
        .await;
        w.see("attach", w.attach(&id).await);
        let holder = w
            .start(w.object("a", [Step::Awakeable(w.key("wait"))]))
            .await;
        w.noted("wait").await;
        let id = w.start(w.object("a", [Step::Note(w.key("ran"))])).await;
        w.until_status(&id, "queued").await;
        for operation in [
            Operation::Pause,
            Operation::Resume,
            Operation::Purge,
            Operation::Kill,
        ] {
            w.see(
                &format!("{operation:?} queued"),
                w.operate(operation, &id).await,
            );
        }
        w.until("it is gone", async || {
            w.status(&id).await.is_none().then_some(())
        })
        .await;
        w.see("kill", w.kill(&holder).await);
        w.is("ran", w.notes("ran"), json!([]));
    });

    suite.scenario("a_kill_ends_all_below", async |w| {
        let leaf = w.object(
            "leaf",
            [
                Step::Note(w.key("leaf")),
                tried(Step::Sleep(HOUR)),
                Step::Set("cleaned".into(), json!(true)),
            ],
        );
        let middle = w.free([
            Step::Note(w.key("middle")),
            tried(Step::Call(w.wanted(leaf))),
        ]);
        let id = w.waiting("root", Step::Call(w.wanted(middle))).await;
        let leaf = w.noted("leaf").await;
        let middle = w.noted("middle").await;
        w.see("kill", w.kill(&id).await);
        for id in [&id, &middle, &leaf] {
            w.see("attach", w.attach(id).await);
        }
        w.is("state", w.state("Obj", "leaf").await, json!({}));
        w.is(
            "the key is free",
            w.call(w.object("leaf", [Step::Key])).await.is_ok(),
            json!(true),
        );
    });

    suite.scenario("a_killed_child_for_its_caller", async |w| {
        let child = w.free([Step::Note(w.key("child")), Step::Sleep(HOUR)]);
        let id = w.start(w.free([tried(Step::Call(w.wanted(child)))])).await;
        let child = w.noted("child").await;
        w.see("kill", w.kill(&child).await);
        w.see("caller", w.attach(&id).await);
    });

    suite.attempting("pause_and_resume", async |w| {
        let id = w
            .start(w.free([Step::Note(w.key("a")), Step::Awakeable(w.key("wait"))]))
            .await;
        let awakeable = w.noted("wait").await;
        w.see(
            "resume what goes on",
            w.resume(&id).await.map_err(|refusal| refusal.code),
        );
        w.see("purge what goes on", w.operate(Operation::Purge, &id).await);
        pause(w, &id).await;
        w.see("again", w.pause(&id).await);
        w.see("output", w.output(&id).await);
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.rest().await;
        w.is("status", w.status(&id).await, json!("paused"));
        w.is("resume", w.resume(&id).await, json!({"Ok": null}));
        w.see("attach", w.attach(&id).await);
    });

    suite.attempting("a_paused_one_is_cancelled", async |w| {
        let id = w
            .start(w.free([Step::Note(w.key("a")), tried(Step::Sleep(HOUR))]))
            .await;
        w.noted("a").await;
        pause(w, &id).await;
        w.see("cancel", w.cancel(&id).await);
        // Nobody has to resume it.
        w.until_status(&id, "succeeded").await;
        w.see("attach", w.attach(&id).await);
    });

    suite.attempting("a_paused_one_is_killed", async |w| {
        let id = w
            .start(w.free([Step::Note(w.key("a")), Step::Sleep(HOUR)]))
            .await;
        w.noted("a").await;
        pause(w, &id).await;
        w.see("kill", w.kill(&id).await);
        w.see("attach", w.attach(&id).await);
    });

    suite.attempting("a_paused_one_keeps_its_key", async |w| {
        let id = w
            .start(w.object("a", [Step::Awakeable(w.key("wait"))]))
            .await;
        let awakeable = w.noted("wait").await;
        pause(w, &id).await;
        let queued = w.start(w.object("a", [Step::Key])).await;
        w.rest().await;
        w.is("queued", w.status(&queued).await, json!("queued"));
        w.see("resume", w.resume(&id).await);
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see("attach", w.attach(&id).await);
        w.see("attach", w.attach(&queued).await);
    });

    suite.scenario("a_pause_of_a_suspended_one", async |w| {
        let steps = [Step::Awakeable(w.key("wait")), Step::Sleep(1)];
        let id = w.start(Ask::to("Free", "suspending").json(steps)).await;
        let awakeable = w.noted("wait").await;
        w.until_suspended(&id).await;
        w.see("pause", w.pause(&id).await);
        w.rest().await;
        w.see("status", w.status(&id).await);
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        // It was not paused.
        w.until_status(&id, "succeeded").await;
        w.see("output", w.output(&id).await);
        w.see("resume", w.resume(&id).await);
        w.see("attach", w.attach(&id).await);
    });

    suite.scenario("a_suspended_one_and_operators", async |w| {
        let suspended = async |name: &str| {
            let steps = [Step::Note(w.key(name)), tried(Step::Sleep(HOUR))];
            let id = w.start(Ask::to("Free", "suspending").json(steps)).await;
            w.noted(name).await;
            w.until_suspended(&id).await;
            id
        };
        let id = suspended("a").await;
        w.see("resume", w.resume(&id).await);
        w.rest().await;
        w.until_suspended(&id).await;
        w.see("status", w.status(&id).await);
        w.see("pause", w.pause(&id).await);
        w.rest().await;
        w.see("status", w.status(&id).await);
        w.see("resume", w.resume(&id).await);
        w.rest().await;
        w.see("status", w.status(&id).await);
        w.see("cancel", w.cancel(&id).await);
        w.see("attach", w.attach(&id).await);
        let id = suspended("b").await;
        w.see("kill", w.kill(&id).await);
        w.see("attach", w.attach(&id).await);
    });
}

/// Pauses what is being attempted. How soon it is, and again after a suspension, is the backend's affair.
async fn pause(w: &World, id: &str) {
    w.until("the pause is accepted", async || w.pause(id).await.ok())
        .await;
    w.until_status(id, "paused").await;
}
