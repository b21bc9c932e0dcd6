//! Workflows: they run once, are asked and told things meanwhile, and are remembered.

use std::time::Duration;

use serde_json::json;

use crate::On;
use crate::program::{HOUR, Step, tried};
use crate::table::Suite;
use crate::world::{Ask, Handle, Operation, World};

fn handle(w: &World, key: &str) -> Handle {
    Handle::Workflow("Flow".into(), w.key(key))
}

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("a_workflow_runs_once", async |w| {
        let run = || w.workflow("a", [Step::Note(w.key("ran")), Step::Key]);
        w.see("run", w.call(run()).await);
        w.see("second call", w.call(run()).await);
        let id = w.start(run()).await;
        w.is(
            "a send gives the first",
            w.start(run()).await == id,
            json!(true),
        );
        w.see("attach", w.attach(&id).await);
        w.see("attach by key", w.attach_to(handle(w, "a")).await);
        w.see("output by key", w.output_of(handle(w, "a")).await);
        w.is("ran", w.notes("ran").len(), json!(1));
        w.see("another key", w.call(w.workflow("b", [Step::Key])).await);
    });

    suite.scenario("a_second_run_while_it_goes_on", async |w| {
        let run = || w.workflow("a", [Step::Promise("go".into())]);
        let id = w.start(run()).await;
        w.see("call", w.call(run()).await);
        w.is("send", w.start(run()).await == id, json!(true));
        w.is(
            "output",
            w.output_of(handle(w, "a")).await,
            json!({"Ok": null}),
        );
        let tell = w.beside("a", [Step::ResolvePromise("go".into(), json!(1))]);
        w.see("resolve", w.call(tell).await);
        w.is(
            "attach",
            w.attach_to(handle(w, "a")).await,
            json!({"Ok": [1]}),
        );
    });

    suite.scenario("a_second_run_by_a_handler", async |w| {
        let run = || w.wanted(w.workflow("a", [Step::Key]));
        w.see("first", w.call(w.free([Step::Call(run())])).await);
        w.see("second", w.call(w.free([tried(Step::Call(run()))])).await);
        w.see("sent", w.call(w.free([Step::Send(run(), 0)])).await);
        let attach = Step::AttachWorkflow("Flow".into(), w.key("a"));
        w.see("attach", w.call(w.free([attach])).await);
        let output = Step::OutputWorkflow("Flow".into(), w.key("a"));
        w.see("output", w.call(w.free([output])).await);
        let output = Step::OutputWorkflow("Flow".into(), w.key("never"));
        w.see("output of nobody", w.call(w.free([tried(output)])).await);
        let attach = Step::AttachWorkflow("Flow".into(), w.key("never"));
        w.see("attach to nobody", w.call(w.free([tried(attach)])).await);
    });

    suite.scenario("promises", async |w| {
        let id = w
            .start(w.workflow(
                "a",
                [Step::Promise("p".into()), tried(Step::Promise("q".into()))],
            ))
            .await;
        let ask = |step| w.beside("a", [tried(step)]);
        w.is(
            "peek",
            w.call(ask(Step::Peek("p".into()))).await,
            json!({"Ok": [{"ok": null}]}),
        );
        w.see(
            "resolve",
            w.call(ask(Step::ResolvePromise("p".into(), json!("x"))))
                .await,
        );
        w.see(
            "again",
            w.call(ask(Step::ResolvePromise("p".into(), json!("y"))))
                .await,
        );
        w.see(
            "or reject",
            w.call(ask(Step::RejectPromise("p".into(), 418, "no".into())))
                .await,
        );
        w.see("peek", w.call(ask(Step::Peek("p".into()))).await);
        w.see("get", w.call(ask(Step::Promise("p".into()))).await);
        w.see(
            "reject",
            w.call(ask(Step::RejectPromise("q".into(), 418, "no".into())))
                .await,
        );
        w.see("peek", w.call(ask(Step::Peek("q".into()))).await);
        w.see("get", w.call(ask(Step::Promise("q".into()))).await);
        w.see("result", w.attach(&id).await);
        w.see(
            "peek when it is over",
            w.call(ask(Step::Peek("p".into()))).await,
        );
        w.see(
            "resolve when it is over",
            w.call(ask(Step::ResolvePromise("r".into(), json!(1))))
                .await,
        );
        w.see(
            "get when it is over",
            w.call(ask(Step::Promise("r".into()))).await,
        );
    });

    suite.scenario("a_promise_before_the_run", async |w| {
        let ask = |step| w.beside("a", [tried(step)]);
        w.see(
            "resolve",
            w.call(ask(Step::ResolvePromise("p".into(), json!(1))))
                .await,
        );
        w.see(
            "run",
            w.call(w.workflow("a", [Step::Promise("p".into())])).await,
        );
    });

    suite.scenario("several_wait_for_a_promise", async |w| {
        let mut ids = Vec::new();
        for n in 0..3 {
            let steps = [
                Step::Note(w.key(&format!("asked{n}"))),
                Step::Promise("p".into()),
            ];
            ids.push(w.start(w.beside("a", steps)).await);
        }
        for n in 0..3 {
            w.noted(&format!("asked{n}")).await;
        }
        w.see(
            "run",
            w.call(w.workflow(
                "a",
                [
                    Step::ResolvePromise("p".into(), json!(7)),
                    Step::Peek("p".into()),
                ],
            ))
            .await,
        );
        for id in ids {
            w.see("each", w.attach(&id).await);
        }
    });

    suite.scenario("state_of_a_workflow", async |w| {
        let set = |n: u64| Step::Set("n".into(), json!(n));
        let id = w
            .start(w.workflow(
                "a",
                [
                    set(1),
                    Step::Promise("go".into()),
                    set(2),
                    Step::Get("n".into()),
                ],
            ))
            .await;
        w.until("it has begun", async || {
            (!w.state("Flow", "a").await.is_empty()).then_some(())
        })
        .await;
        w.is(
            "meanwhile",
            w.call(w.beside("a", [Step::Get("n".into()), Step::Keys]))
                .await,
            json!({"Ok": [1, ["n"]]}),
        );
        w.see(
            "go",
            w.call(w.beside("a", [Step::ResolvePromise("go".into(), json!(0))]))
                .await,
        );
        w.see("result", w.attach(&id).await);
        w.is(
            "afterwards",
            w.call(w.beside("a", [Step::Get("n".into())])).await,
            json!({"Ok": [2]}),
        );
        w.is("from outside", w.state("Flow", "a").await, json!({"n": 2}));
    });

    suite.scenario("a_failed_workflow", async |w| {
        let run = || w.workflow("a", [Step::Fail(418, "no".into(), Vec::new())]);
        w.see("call", w.call(run()).await);
        w.see("again", w.call(run()).await);
        w.see("attach", w.attach_to(handle(w, "a")).await);
        w.see("output", w.output_of(handle(w, "a")).await);
        let id = w.start(run()).await;
        w.see("purge", w.operate(Operation::Purge, &id).await);
        w.see("attach", w.attach_to(handle(w, "a")).await);
        w.see("once more", w.call(w.workflow("a", [Step::Key])).await);
        w.is("by the same id", w.start(run()).await == id, json!(true));
    });

    suite.scenario("a_purged_workflow_leaves_nothing", async |w| {
        let steps = [
            Step::Set("n".into(), json!(1)),
            Step::ResolvePromise("p".into(), json!(1)),
        ];
        let id = w.start(w.workflow("a", steps)).await;
        w.see("run", w.attach(&id).await);
        w.see("purge", w.operate(Operation::Purge, &id).await);
        w.until("the state is gone", async || {
            w.state("Flow", "a").await.is_empty().then_some(())
        })
        .await;
        w.is(
            "promise",
            w.call(w.beside("a", [Step::Peek("p".into())])).await,
            json!({"Ok": [null]}),
        );
        w.is("status", w.status(&id).await, json!(null));
        w.see("again", w.operate(Operation::Purge, &id).await);
    });

    suite.scenario("a_workflow_with_an_idempotency_key", async |w| {
        let run = || w.workflow("a", [Step::Key]).idempotency_key(&w.key("i"));
        w.see("first", w.call(run()).await);
        w.see("second", w.call(run()).await);
        w.see("sent", w.send(run()).await);
        // A handler may use one, also for a workflow.
        let call = || Step::Call(w.wanted(run()));
        let id = w.start(Ask::to("Free", "pausing").json([call()])).await;
        let end = w
            .until("it ends, or gives up", async || match w.status(&id).await {
                Some(end @ ("paused" | "succeeded" | "failed")) => Some(end),
                _ => None,
            })
            .await;
        w.see("by a handler", (end, w.output(&id).await));
        let beside = || {
            w.beside("b", [Step::Note(w.key("beside"))])
                .idempotency_key(&w.key("i"))
        };
        w.see(
            "of another handler",
            (w.call(beside()).await, w.call(beside()).await),
        );
        w.is("once", w.notes("beside").len(), json!(1));
    });

    suite.scenario("a_brief_workflow_is_forgotten", async |w| {
        let run = || Ask::to("Brief", "run").key(w.key("a")).json(7);
        let id = w.start(run()).await;
        w.see("attach", w.attach(&id).await);
        w.see("again at once", w.call(run()).await);
        w.until("it is forgotten", async || {
            w.attach_to(Handle::Workflow("Brief".into(), w.key("a")))
                .await
                .err()
        })
        .await;
        w.see("again", w.call(run()).await);
    });

    suite.scenario("a_workflow_that_is_scheduled", async |w| {
        let run = |key: &str| w.workflow(key, [Step::Note(w.key(key))]);
        let scheduled = async |key: &str, millis: u64| {
            let sent = w.send_after(run(key), Duration::from_millis(millis)).await;
            sent.unwrap()
        };
        // What is looked at is not due in any case.
        let id = scheduled("a", HOUR).await;
        w.see("call", w.call(run("a")).await);
        w.is("send", w.start(run("a")).await == id, json!(true));
        w.see("output", w.output_of(handle(w, "a")).await);
        w.see(
            "beside",
            w.call(w.beside("a", [Step::Peek("p".into())])).await,
        );
        let id = scheduled("b", 1000).await;
        w.is("send", w.start(run("b")).await == id, json!(true));
        w.see("attach", w.attach_to(handle(w, "b")).await);
        w.is("ran", w.notes("b").len(), json!(1));
        w.is("not due", w.notes("a"), json!([]));
    });
}
