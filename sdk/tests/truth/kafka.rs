//! Records as invocations.

use serde_json::json;

use crate::On;
use crate::program::Step;
use crate::table::Suite;
use crate::world::{Ask, World};

/// Waits for so many records of a key.
async fn seen(w: &World, key: &str, count: usize) -> serde_json::Value {
    w.until(&format!("{count} records of {key}"), async || {
        // A record's key is the object's.
        let state = w.state("Events", key).await;
        let seen = state.get("seen")?.as_array()?;
        (seen.len() >= count).then(|| json!(seen))
    })
    .await
}

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.records("records_of_an_object", async |w| {
        w.subscribe("topic", "Events/on_event").await;
        let (a, b) = (w.key("a"), w.key("b"));
        w.produce("topic", Some(&a), Some("1")).await;
        w.produce("topic", Some(&b), Some("{\"x\":2}")).await;
        w.produce("topic", Some(&a), Some("3")).await;
        // A tombstone, and an empty value.
        w.produce("topic", Some(&a), None).await;
        w.produce("topic", Some(&a), Some("")).await;
        // This one ends its own invocation.
        w.produce("topic", Some(&a), Some("no JSON")).await;
        w.produce("topic", Some(&a), Some("4")).await;
        w.see("a", seen(w, "a", 5).await);
        w.see("b", seen(w, "b", 1).await);
    });

    suite.records("headers_of_a_record", async |w| {
        w.subscribe("topic", "Events/headers").await;
        w.produce("topic", Some(&w.key("a")), Some("1")).await;
        let names = w.until("the record", async || {
            w.state("Events", "a").await.remove("names")
        });
        w.see("names", names.await);
    });

    suite.records("records_of_a_workflow", async |w| {
        w.subscribe("topic", "EventFlow/run").await;
        w.produce("topic", Some(&w.key("a")), Some("1")).await;
        w.produce("topic", Some(&w.key("a")), Some("2")).await;
        w.produce("topic", Some(&w.key("b")), Some("3")).await;
        for key in ["a", "b"] {
            w.until(&format!("the run of {key}"), async || {
                w.state("EventFlow", key).await.remove("value")
            })
            .await;
        }
        w.rest().await;
        w.is(
            "the first counts",
            w.state("EventFlow", "a").await,
            json!({"value": 1}),
        );
    });

    suite.records("records_of_a_service", async |w| {
        w.subscribe("topic", "Listener/on_event").await;
        w.produce("topic", Some("k"), Some("1")).await;
        w.produce("topic", None, Some("2")).await;
        w.produce("topic", Some("gone"), None).await;
        w.produce("topic", None, None).await;
        let topic = w.key("topic");
        let mut seen = w
            .until("four records", async || {
                let notes = crate::program::notes(&topic);
                (notes.len() >= 4).then_some(notes)
            })
            .await;
        // They come in no order.
        seen.sort();
        w.see("records", seen);
    });

    suite.records("records_without_a_key_meet_on_one_object", async |w| {
        w.subscribe("topic", "Events/on_event").await;
        w.produce("topic", None, Some("1")).await;
        w.produce("topic", Some(""), Some("2")).await;
        let topic = w.key("topic");
        let state = || Ask::to("Events", "seen").key("");
        // Nobody outside can ask for the empty key: it has no path.
        let seen = w
            .until("two records", async || {
                let asked = w.call(w.free([Step::Call(w.wanted(state()))])).await.ok()?;
                let all = asked[0].as_array()?.clone();
                let of_topic = |one: &serde_json::Value| one["topic"] == json!(topic);
                let mine: Vec<_> = all.into_iter().filter(of_topic).collect();
                (mine.len() >= 2).then_some(mine)
            })
            .await;
        w.see("records", seen);
    });

    suite.records("who_takes_records", async |w| {
        for (name, handler, taken) in [
            ("private", "Listener/unseen", 3),
            ("plain", "Listener/number", 2),
        ] {
            w.subscribe(name, handler).await;
            let topic = w.key(name);
            for value in ["no JSON", "", "7", "8"] {
                w.produce(name, Some("k"), Some(value)).await;
            }
            let mut seen = w
                .until("the records", async || {
                    let notes = crate::program::notes(&topic);
                    (notes.len() >= taken).then_some(notes)
                })
                .await;
            seen.sort();
            w.see(handler, seen);
        }
    });

    suite.records("two_subscriptions_of_a_topic", async |w| {
        w.subscribe("topic", "Events/on_event").await;
        w.subscribe("topic", "Listener/on_event").await;
        w.produce("topic", Some(&w.key("a")), Some("1")).await;
        w.see("object", seen(w, "a", 1).await);
        let topic = w.key("topic");
        let notes = w
            .until("the other", async || {
                let notes = crate::program::notes(&topic);
                (!notes.is_empty()).then_some(notes)
            })
            .await;
        w.see("service", notes);
    });

    // A record for an object waits for its turn like any request.
    suite.records("records_wait_behind_a_stumbling_one", async |w| {
        w.subscribe("topic", "Events/stumbling").await;
        let key = w.key("a");
        for n in ["1", "2", "3"] {
            w.produce("topic", Some(&key), Some(n)).await;
        }
        let state = w.until("three records", async || {
            let state = w.state("Events", "a").await.remove("values")?;
            (state.as_array()?.len() == 3).then_some(state)
        });
        w.is("in order", state.await, json!([1, 2, 3]));
    });
}
