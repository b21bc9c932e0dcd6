//! Scopes and limit keys, beside a server that takes them.

use serde_json::json;

use crate::exchange::{Ask, Http};
use crate::table::Suite;

const LIMIT_KEY: &str = "x-restate-limit-key";

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.scoped("scoped_requests", async |p| {
        let key = p.key("k");
        let idempotent = |ask: Ask| ask.header("idempotency-key", &key);
        for scope in ["s", "s", "t"] {
            let path = format!("/restate/scope/{scope}/call/Plain/about");
            p.see(idempotent(Ask::post(path))).await;
        }
        p.see(idempotent(Ask::get("/restate/scope/s/send/Plain/about"))).await;
        p.see(Ask::post("/restate/scope/s/send/Plain/about?delay=1h")).await;
        p.see(Ask::post("/restate/scope/s/call/Plain/about?delay=1h")).await;
        p.see(Ask::post("/restate/scope/s/call/Plain/about").body("a")).await;
        p.see(Ask::new("PUT", "/restate/scope/s/call/Plain/about")).await;
        p.see(Ask::post("/restate/scope/s/call/Plain/private")).await;
        p.see(Ask::post("/restate/scope/s/call/Plain/headers")).await;
        p.see(Ask::post(format!("/restate/scope/s/call/Obj/{key}/key"))).await;
        p.see(Ask::post(format!("/restate/scope/s/call/Brief/{key}/run"))).await;
        p.see(Ask::post(format!("/restate/scope/s/call/Brief/{key}/run"))).await;
        p.see(Ask::get(format!("/restate/invocation/Plain/about/{key}/output"))).await;
        for scope in [json!("s"), json!("t"), json!("u"), json!(null), json!("!"), json!("")] {
            for which in [
                json!({
                    "target": "idempotentInvocation", "service": "Plain", "handler": "about",
                    "idempotencyKey": key, "scope": scope,
                }),
                json!({"target": "workflow", "workflowName": "Brief", "workflowKey": key, "scope": scope}),
            ] {
                for verb in ["attach", "output", "lookup"] {
                    p.see(Ask::post(format!("/restate/{verb}")).json(which.clone())).await;
                }
            }
        }
    });

    suite.scoped("scopes_keep_keys_apart", async |p| {
        let key = p.key("k");
        let of = |scope: &str, rest: &str| {
            if scope.is_empty() {
                return format!("/restate/{rest}");
            }
            format!("/restate/scope/{scope}/{rest}")
        };
        let obj = |scope, handler| of(scope, &format!("call/Obj/{key}/{handler}"));
        let flow = |scope, handler| of(scope, &format!("call/Flow/{key}/{handler}"));
        for scope in ["", "s", "t", "s", ""] {
            p.see(Ask::post(obj(scope, "count"))).await;
        }

        // Whose turn it is in one scope says nothing about another.
        let name = p.note("a");
        let waiting = p.begin(Ask::post(obj("s", "wait")).json(&*name));
        let id = p.noted("a").await;
        for scope in ["", "t"] {
            p.see(Ask::post(obj(scope, "count"))).await;
        }
        let path = format!("/restate/awakeables/{id}/resolve");
        p.see(Ask::post(path).body("done")).await;
        p.saw("waited", &waiting.await.unwrap());

        // One run in each scope, with promises of its own.
        for scope in ["", "s", "t"] {
            let run = of(scope, &format!("send/Flow/{key}/run"));
            p.see(Ask::post(run.clone()).json("end")).await;
            p.see(Ask::post(run).json("end")).await;
        }
        for scope in ["t", "", "s"] {
            p.see(Ask::post(flow(scope, "go")).json(scope)).await;
            p.see(Ask::post(flow(scope, "go")).json("again")).await;
            let which = json!({
                "target": "workflow", "workflowName": "Flow", "workflowKey": key,
                "scope": (!scope.is_empty()).then_some(scope),
            });
            p.see(Ask::post("/restate/attach").json(which)).await;
        }
    });

    suite.scoped("odd_scopes", async |p| {
        let long = ["a".repeat(36), "a".repeat(37), "é".repeat(40)];
        let odd = [
            "!", "", "a%2Db", "a%2Fb", "%FF", "a:b", "é", ".", "A_b-c.d", "a%20b",
        ];
        for scope in odd.into_iter().chain(long.iter().map(|scope| &**scope)) {
            for path in [
                "call/Plain/nothing",
                "call/Nobody/x",
                "send/Plain/nobody",
                "x",
            ] {
                p.see(Ask::post(format!("/restate/scope/{scope}/{path}")))
                    .await;
            }
        }
    });

    suite.scoped("limit_keys", async |p| {
        for key in ["a", "a/b", "a/b/c", "/", "a/", "/a", "a//b", "!", "", "a b"] {
            for handler in ["headers", "about"] {
                let path = format!("/restate/scope/s/call/Plain/{handler}");
                p.see(Ask::post(path).header(LIMIT_KEY, key)).await;
            }
            p.see(Ask::post("/Plain/about").header(LIMIT_KEY, key))
                .await;
        }
    });
}
