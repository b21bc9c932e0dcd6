//! Virtual objects: state, and who runs when.

use serde_json::json;

use crate::On;
use crate::program::Step;
use crate::table::Suite;
use crate::world::Ask;

fn set(name: &str, value: impl Into<serde_json::Value>) -> Step {
    Step::Set(name.into(), value.into())
}

fn get(name: &str) -> Step {
    Step::Get(name.into())
}

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("state_is_kept", async |w| {
        w.see(
            "set",
            w.call(w.object("a", [set("n", 1), set("m", json!({"x": [1]})), get("n")]))
                .await,
        );
        w.is(
            "get",
            w.call(w.object("a", [get("n"), get("m"), get("o")])).await,
            json!({"Ok": [1, {"x": [1]}, null]}),
        );
        w.is(
            "shared",
            w.call(w.shared("a", [get("n"), Step::Keys])).await,
            json!({"Ok": [1, ["m", "n"]]}),
        );
        w.is(
            "of another key",
            w.call(w.object("b", [get("n"), Step::Keys])).await,
            json!({"Ok": [null, []]}),
        );
        w.is(
            "from outside",
            w.state("Obj", "a").await,
            json!({"m": {"x": [1]}, "n": 1}),
        );
        w.is("of another key", w.state("Obj", "b").await, json!({}));
    });

    suite.scenario("state_is_cleared", async |w| {
        let steps = [
            set("a", 1),
            set("b", 2),
            set("c", 3),
            Step::Clear("b".into()),
            get("b"),
            Step::Keys,
        ];
        w.is(
            "clear",
            w.call(w.object("a", steps)).await,
            json!({"Ok": [null, null, null, null, null, ["a", "c"]]}),
        );
        w.is(
            "from outside",
            w.state("Obj", "a").await,
            json!({"a": 1, "c": 3}),
        );
        let steps = [
            Step::Clear("never".into()),
            Step::ClearAll,
            Step::Keys,
            get("a"),
            set("d", 4),
            Step::Keys,
        ];
        w.is(
            "clear all",
            w.call(w.object("a", steps)).await,
            json!({"Ok": [null, null, [], null, null, ["d"]]}),
        );
        w.is("from outside", w.state("Obj", "a").await, json!({"d": 4}));
    });

    suite.scenario("lazy_state", async |w| {
        let lazily = |steps: Vec<Step>| Ask::to("Obj", "lazily").key(w.key("a")).json(steps);
        w.see(
            "set",
            w.call(w.object("a", [set("a", 1), set("b", 2)])).await,
        );
        let steps = vec![
            get("a"),
            get("none"),
            Step::Keys,
            Step::Clear("a".into()),
            get("a"),
            Step::Keys,
            set("c", 3),
            get("c"),
        ];
        let id = w.start(lazily(steps)).await;
        w.is(
            "lazily",
            w.attach(&id).await,
            json!({"Ok": [1, null, ["a", "b"], null, null, ["b"], null, 3]}),
        );
        w.see("journal", w.journal(&id).await);
        let id = w
            .start(lazily(vec![
                Step::ClearAll,
                Step::Keys,
                get("b"),
                set("d", 1),
                Step::Keys,
            ]))
            .await;
        w.see("after all was cleared", w.attach(&id).await);
        w.see("journal", w.journal(&id).await);
        w.is("from outside", w.state("Obj", "a").await, json!({"d": 1}));
    });

    suite.scenario("state_survives_a_failure", async |w| {
        let failing = [set("n", 1), Step::Fail(500, "no".into(), Vec::new())];
        w.see("fails", w.call(w.object("a", failing)).await);
        w.is("written before", w.state("Obj", "a").await, json!({"n": 1}));
    });

    suite.scenario("odd_state", async |w| {
        let steps = [
            set("", 1),
            set("with space/ü", "ü"),
            set("null", json!(null)),
            get("null"),
            Step::Keys,
        ];
        w.see("set", w.call(w.object("a", steps)).await);
        w.see("from outside", w.state("Obj", "a").await);
    });

    suite.scenario("exclusive_handlers_queue", async |w| {
        let first = w
            .start(w.object("a", [Step::Awakeable(w.key("wait")), set("order", "first")]))
            .await;
        let awakeable = w.noted("wait").await;
        let mut ids = Vec::new();
        for n in 0..3 {
            ids.push(
                w.start(w.object("a", [Step::Note(w.key("order")), set("order", n)]))
                    .await,
            );
        }
        w.rest().await;
        w.is("ran", w.notes("order"), json!([]));
        for id in &ids {
            w.is("status", w.status(id).await, json!("queued"));
            w.is("output", w.output(id).await, json!({"Ok": null}));
        }
        // Shared ones run beside it, and so do those of other keys.
        w.is(
            "shared",
            w.call(w.shared("a", [get("order")])).await,
            json!({"Ok": [null]}),
        );
        w.is(
            "another key",
            w.call(w.object("b", [get("order")])).await,
            json!({"Ok": [null]}),
        );
        w.see("resolve", w.resolve(&awakeable, json!(0)).await);
        for id in &ids {
            w.see("then", w.attach(id).await);
        }
        w.is("first", w.attach(&first).await, json!({"Ok": [0, null]}));
        w.is("in order", w.notes("order") == ids, json!(true));
        w.is("state", w.state("Obj", "a").await, json!({"order": 2}));
    });

    suite.scenario("shared_handlers_run_at_once", async |w| {
        let wait = |name: &str| w.shared("a", [Step::Awakeable(w.key(name))]);
        let first = w.start(wait("first")).await;
        let awakeable = w.noted("first").await;
        let second = w.start(wait("second")).await;
        let other = w.noted("second").await;
        w.see("resolve", w.resolve(&other, json!(2)).await);
        w.is("second", w.attach(&second).await, json!({"Ok": [2]}));
        w.is("first", w.output(&first).await, json!({"Ok": null}));
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.is("first", w.attach(&first).await, json!({"Ok": [1]}));
    });

    suite.scenario("a_shared_handler_sees_a_snapshot", async |w| {
        w.see("set", w.call(w.object("a", [set("n", 1)])).await);
        let shared = w
            .start(w.shared("a", [Step::Awakeable(w.key("wait")), get("n")]))
            .await;
        let awakeable = w.noted("wait").await;
        w.see("set", w.call(w.object("a", [set("n", 2)])).await);
        w.see("resolve", w.resolve(&awakeable, json!(0)).await);
        // What it sees depends on whether it has been suspended meanwhile; it ends.
        w.is("ends", w.attach(&shared).await.is_ok(), json!(true));
        w.is("state", w.state("Obj", "a").await, json!({"n": 2}));
    });

    suite.scenario("a_delayed_send_takes_its_turn_when_due", async |w| {
        let delayed = w.object("a", [set("who", "delayed")]);
        let id = w
            // The other one has had its turn long before that.
            .send_after(delayed, std::time::Duration::from_millis(5000))
            .await
            .unwrap();
        w.is("status", w.status(&id).await, json!("scheduled"));
        w.see(
            "meanwhile",
            w.call(w.object("a", [get("who"), set("who", "other")]))
                .await,
        );
        w.see("attach", w.attach(&id).await);
        w.is(
            "state",
            w.state("Obj", "a").await,
            json!({"who": "delayed"}),
        );
    });

    suite.scenario("odd_keys", async |w| {
        let answer = w
            .call(
                Ask::to("Obj", "run")
                    .key(format!("{}%2Fb%20%C3%BC", w.key("a")))
                    .json([Step::Key]),
            )
            .await;
        // Percent-encoded in a path, and nowhere else: only the server has paths.
        w.is("is answered", answer.is_ok(), json!(true));
    });

    suite.scenario("state_from_outside", async |w| {
        w.see(
            "set",
            w.call(w.object("a", [set("n", 1), set("m", 2)])).await,
        );
        w.set_state("Obj", "a", [("n", json!(3)), ("o", json!("x"))])
            .await;
        w.until("it is there", async || {
            (w.state("Obj", "a").await.get("n") == Some(&json!(3))).then_some(())
        })
        .await;
        w.is(
            "get",
            w.call(w.object("a", [get("n"), get("m"), get("o"), Step::Keys]))
                .await,
            json!({"Ok": [3, null, "x", ["n", "o"]]}),
        );
        w.set_state("Obj", "b", [("n", json!(7))]).await;
        w.until("it is there", async || {
            (!w.state("Obj", "b").await.is_empty()).then_some(())
        })
        .await;
        w.is(
            "of one that never was",
            w.call(w.shared("b", [get("n")])).await,
            json!({"Ok": [7]}),
        );
    });

    suite.scenario("a_shared_handler_calls_an_exclusive_one", async |w| {
        let inner = w.wanted(w.object("a", [set("n", 1)]));
        w.see(
            "call",
            w.call(w.shared("a", [get("n"), Step::Call(inner)])).await,
        );
        w.is("state", w.state("Obj", "a").await, json!({"n": 1}));
    });
}
