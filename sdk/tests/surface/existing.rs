//! Invocations that are there, or are not: attach, output, lookup.

use serde_json::{Value, json};

use crate::exchange::{Ask, Http};
use crate::paths::GONE;
use crate::services::noted;
use crate::table::Suite;

const VERBS: [&str; 3] = ["attach", "output", "lookup"];

fn by_body(verb: &str, which: &Value) -> Ask {
    Ask::post(format!("/restate/{verb}")).json(which.clone())
}

/// All ways to name an invocation of `Obj/wait`.
fn ways(verb: &str, id: &str, object: &str, key: &str) -> [Ask; 5] {
    let by_id = json!({"target": "invocation", "invocationId": id});
    let by_key = json!({
        "target": "idempotentInvocation", "service": "Obj", "key": object, "handler": "wait",
        "idempotencyKey": key,
    });
    [
        Ask::get(format!("/restate/{verb}/{id}")),
        Ask::get(format!("/restate/invocation/{id}/{verb}")),
        Ask::get(format!(
            "/restate/invocation/Obj/{object}/wait/{key}/{verb}"
        )),
        by_body(verb, &by_id),
        by_body(verb, &by_key),
    ]
}

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("ids_that_are_none", async |p| {
        let other = |kind: &str| GONE.replace("inv", kind);
        let digits = |digit: &str| format!("inv_1{}", digit.repeat(33));
        for id in [
            GONE.to_owned(),
            "x".to_owned(),
            "inv".to_owned(),
            "inv_".to_owned(),
            "inv_1".to_owned(),
            "inv_1abc".to_owned(),
            "inv_2".to_owned(),
            "inv_2abc".to_owned(),
            GONE.replace("_1", "_2"),
            format!("{GONE}a"),
            GONE[..37].to_owned(),
            other("INV"),
            other("sign"),
            other("prom"),
            other("dp"),
            other("sub"),
            other("snap"),
            other("foo"),
            other("part"),
            other(""),
            "_".to_owned(),
            "__".to_owned(),
            "inv__1".to_owned(),
            "inv-1".to_owned(),
            "%20".to_owned(),
            "é".to_owned(),
            "inv_é".to_owned(),
            "inv_1é".to_owned(),
            format!("inv_1{}é", "a".repeat(31)),
            format!("inv_1{}é{}", "a".repeat(10), "a".repeat(21)),
            digits("0"),
            digits("z"),
            digits("Z"),
            digits("!"),
            "inv_1lYGhA16ahyf7N42dgm5tFLK9N8MT7fHC7".to_owned(),
            "inv_1lYGhA16ahyf7N42dgm5tFLK9N8MT7fHC8".to_owned(),
            "inv_1lYGhA16ahyg7N42dgm5tFLK9N8MT7fHC7".to_owned(),
        ] {
            for verb in ["attach", "output"] {
                p.see(Ask::get(format!("/restate/{verb}/{id}"))).await;
                p.see(Ask::get(format!("/restate/invocation/{id}/{verb}")))
                    .await;
                p.see(Ask::new("PUT", format!("/restate/{verb}/{id}")))
                    .await;
            }
            for verb in VERBS {
                p.see(by_body(
                    verb,
                    &json!({"target": "invocation", "invocationId": id}),
                ))
                .await;
            }
        }
    });

    suite.case("nobody", async |p| {
        let key = p.key("none");
        for verb in ["attach", "output"] {
            for path in [
                format!("/restate/invocation/Plain/nothing/{key}/{verb}"),
                format!("/restate/invocation/Plain/nobody/{key}/{verb}"),
                format!("/restate/invocation/Obj/a/key/{key}/{verb}"),
                format!("/restate/workflow/Flow/{key}/{verb}"),
                format!("/restate/workflow/Nobody/{key}/{verb}"),
                format!("/restate/workflow/Obj/{key}/{verb}"),
            ] {
                p.see(Ask::get(path)).await;
            }
        }
        for which in [
            json!({"target": "workflow", "workflowName": "Flow", "workflowKey": key}),
            json!({"target": "workflow", "workflowName": "Nobody", "workflowKey": key}),
            json!({"target": "workflow", "workflowName": "Flow", "workflowKey": key, "scope": "s"}),
            json!({"target": "workflow", "workflowName": "Flow", "workflowKey": key, "scope": "!"}),
            json!({"target": "workflow", "workflowName": "Flow", "workflowKey": key, "scope": ""}),
            json!({"target": "workflow", "workflowName": "Flow", "workflowKey": key, "scope": null}),
            json!({"target": "idempotentInvocation", "service": "Plain", "handler": "nothing", "idempotencyKey": key}),
            json!({"target": "idempotentInvocation", "service": "Plain", "key": "a", "handler": "nothing", "idempotencyKey": key}),
            json!({"target": "idempotentInvocation", "service": "Nobody", "handler": "nothing", "idempotencyKey": key}),
            json!({"target": "idempotentInvocation", "service": "Obj", "handler": "key", "idempotencyKey": key}),
            json!({"target": "idempotentInvocation", "service": "Obj", "key": "a", "handler": "key", "idempotencyKey": key}),
        ] {
            for verb in VERBS {
                p.see(by_body(verb, &which)).await;
            }
        }
    });

    suite.case("bodies_that_name_nobody", async |p| {
        for verb in VERBS {
            for body in [
                "",
                "{bad",
                "{}",
                "[]",
                "1",
                "\"x\"",
                "null",
                "{\"target\": \"x\"}",
                "{\"target\": 1}",
                "{\"target\": \"invocation\"}",
                "{\"target\": \"workflow\", \"workflowName\": \"Flow\"}",
                "{\"target\": \"invocation\", \"invocationId\": 1}",
                "{\"target\": \"invocation\", \"target\": \"invocation\", \"invocationId\": \"x\"}",
                "{\"target\": \"invocation\", \"invocationId\": \"x\", \"other\": 1}",
            ] {
                p.see(Ask::post(format!("/restate/{verb}")).text("application/json", body))
                    .await;
            }
            let body = json!({"target": "invocation", "invocationId": GONE}).to_string();
            p.see(Ask::post(format!("/restate/{verb}")).body(body.clone()))
                .await;
            p.see(Ask::post(format!("/restate/{verb}")).text("text/plain", body.clone()))
                .await;
            p.see(Ask::get(format!("/restate/{verb}")).text("text/plain", body.clone()))
                .await;
            p.see(Ask::post(format!("/restate/{verb}/")).text("text/plain", body))
                .await;
        }
    });

    suite.case("one_that_is_found_in_all_ways", async |p| {
        let (key, object) = (p.key("k"), p.key("o"));
        let sent = Ask::post(format!("/Obj/{object}/wait/send")).json(p.note("w"));
        let id = p.see(sent.header("idempotency-key", &key)).await.id();
        let awakeable = p.noted("w").await;
        let all = |verb: &str| ways(verb, &id, &object, &key);
        for ask in all("output") {
            p.see(ask).await;
        }
        let resolve = format!("/restate/awakeables/{awakeable}/resolve");
        p.see(Ask::post(resolve).text("a/b", &b"\xff\0"[..])).await;
        p.ended(&id).await;
        for ask in all("output").into_iter().chain(all("attach")) {
            p.see(ask).await;
        }
        let [.., by_id, by_key] = all("lookup");
        p.see(by_id).await;
        p.see(by_key).await;

        p.see_waiting(async |round| {
            let (key, object) = (p.key(&format!("k{round}")), p.key(&format!("o{round}")));
            let name = p.note(&format!("w{round}"));
            let sent = Ask::post(format!("/Obj/{object}/wait/send")).json(&*name);
            let sent = sent.header("idempotency-key", &key);
            let id = sent.send(p.address, p.http).await.id();
            let awakeable = noted(&name).await;
            let waiting = ways("attach", &id, &object, &key).map(|ask| p.begin(ask));
            let resolve = format!("/restate/awakeables/{awakeable}/resolve");
            let resolve = Ask::post(resolve).text("a/b", &b"\xff\0"[..]);
            (Vec::from(waiting), resolve)
        })
        .await;
    });

    suite.case("one_without_a_key", async |p| {
        let id = p.see(Ask::post("/Plain/hello/send").json("Ada")).await.id();
        p.ended(&id).await;
        for verb in ["attach", "output", "attach"] {
            p.see(Ask::get(format!("/restate/{verb}/{id}"))).await;
        }
        let id = p.see(Ask::post("/Plain/nothing")).await.id();
        for verb in ["attach", "output"] {
            p.see(Ask::get(format!("/restate/invocation/{id}/{verb}")))
                .await;
        }
        let later = p.see(Ask::post("/Plain/nothing/send?delay=1h")).await.id();
        p.see(Ask::get(format!("/restate/output/{later}"))).await;
    });
}
