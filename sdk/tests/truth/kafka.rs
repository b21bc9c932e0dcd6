//! Records as invocations.

use serde_json::json;

use crate::On;
use crate::table::Suite;
use crate::world::World;

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
    suite.scenario("records_of_an_object", async |w| {
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

    suite.scenario("headers_of_a_record", async |w| {
        w.subscribe("topic", "Events/headers").await;
        w.produce("topic", Some(&w.key("a")), Some("1")).await;
        let names = w.until("the record", async || {
            w.state("Events", "a").await.remove("names")
        });
        w.see("names", names.await);
    });

    suite.scenario("records_of_a_workflow", async |w| {
        w.subscribe("topic", "EventFlow/run").await;
        w.produce("topic", Some(&w.key("a")), Some("1")).await;
        w.produce("topic", Some(&w.key("a")), Some("2")).await;
        w.produce("topic", Some(&w.key("b")), Some("3")).await;
        w.until("the last", async || {
            w.state("EventFlow", "b").await.remove("value")
        })
        .await;
        w.rest().await;
        w.is(
            "the first counts",
            w.state("EventFlow", "a").await,
            json!({"value": 1}),
        );
    });

    suite.scenario("records_of_a_service", async |w| {
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
}
