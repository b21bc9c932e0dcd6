//! Idempotency keys, and the keys of workflows.

use crate::exchange::{Ask, Http};
use crate::services::noted;
use crate::table::Suite;

const KEY: &str = "idempotency-key";

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("idempotency_keys", async |p| {
        let key = p.key("k");
        let nothing = || Ask::post("/Plain/nothing").header(KEY, &key);
        p.see(nothing()).await;
        p.see(nothing()).await;
        p.see(Ask::post("/Plain/nothing/send").header(KEY, &key))
            .await;
        p.see(Ask::post("/Plain/nothing/send?delay=1h").header(KEY, &key))
            .await;
        // What it was first is what it is.
        let json = |body: &'static str| Ask::post("/Plain/json").text("application/json", body);
        for body in ["1", "2", "{bad"] {
            p.see(json(body).header(KEY, &key)).await;
        }
        p.see(Ask::post("/Plain/json").header(KEY, &key)).await;
        // A handler and an object each have their own.
        for object in ["a", "b", "b"] {
            p.see(Ask::post(format!("/Obj/{object}/key")).header(KEY, &key))
                .await;
        }
        p.see(Ask::post("/Obj/b/shared").header(KEY, &key)).await;
        p.see(Ask::post("/restate/call/Obj/b/shared").header(KEY, &key))
            .await;
        let fail =
            || Ask::post("/Plain/fail").json(serde_json::json!({"code": 418, "message": "no"}));
        p.see(fail().header(KEY, &key)).await;
        p.see(fail().header(KEY, &key)).await;
        p.see(Ask::post("/Plain/private").header(KEY, &key)).await;
    });

    suite.case("odd_idempotency_keys", async |p| {
        let key = p.key("odd");
        for odd in [
            format!("{key} b/c%20"),
            format!("{key}{}", "x".repeat(2000)),
            format!("{key}\t"),
            String::new(),
        ] {
            // So that the empty one is of this case alone.
            let ask = || Ask::post(format!("/Obj/{key}/key")).header(KEY, &odd);
            p.see(ask()).await;
            p.see(ask()).await;
        }
        p.see(Ask::get(format!(
            "/restate/invocation/Obj/{key}/key//output"
        )))
        .await;
        for odd in [&b"\xff"[..], "é".as_bytes()] {
            p.see(Ask::post("/Plain/nothing").header(KEY, odd)).await;
            p.see(Ask::post("/Plain/private").header(KEY, odd)).await;
            p.see(Ask::post("/Plain/nothing?delay=x").header(KEY, odd))
                .await;
            p.see(Ask::post("/Plain/nothing").header(KEY, odd).body("a"))
                .await;
        }
        let (one, two) = (p.key("one"), p.key("two"));
        p.see(
            Ask::post("/Plain/nothing")
                .header(KEY, &one)
                .header(KEY, &two),
        )
        .await;
        for key in [&one, &two] {
            p.see(Ask::get(format!(
                "/restate/invocation/Plain/nothing/{key}/output"
            )))
            .await;
        }
        let other = Ask::post("/Plain/nothing").header("x-restate-idempotency-key", &one);
        p.see(other).await;
        // A key in a path is what stands there.
        let escaped = format!("/restate/invocation/Obj/{key}/key/{key}%20b%2Fc%2520/output");
        p.see(Ask::get(escaped)).await;
    });

    suite.case("a_key_whose_invocation_waits", async |p| {
        let key = p.key("k");
        let wait = || Ask::post("/Plain/wait").json(p.note("w")).header(KEY, &key);
        let first = p.begin(wait());
        let awakeable = p.noted("w").await;
        let path = format!("/restate/invocation/Plain/wait/{key}");
        p.see(Ask::post("/Plain/wait/send").json("x").header(KEY, &key))
            .await;
        p.see(Ask::get(format!("{path}/output"))).await;
        let resolve = format!("/restate/awakeables/{awakeable}/resolve");
        p.see(Ask::post(resolve).json(7)).await;
        p.saw("first", &first.await.unwrap());
        p.see(wait()).await;
        p.see(Ask::get(format!("{path}/output"))).await;

        p.see_waiting(async |round| {
            let key = p.key(&format!("k{round}"));
            let name = p.note(&format!("w{round}"));
            let wait = || Ask::post("/Plain/wait").json(&*name).header(KEY, &key);
            let first = p.begin(wait());
            let awakeable = noted(&name).await;
            let attach = Ask::get(format!("/restate/invocation/Plain/wait/{key}/attach"));
            let others = [wait(), wait(), attach].map(|ask| p.begin(ask));
            let resolve = format!("/restate/awakeables/{awakeable}/resolve");
            let waiting: Vec<_> = [first].into_iter().chain(others).collect();
            (waiting, Ask::post(resolve).json(7))
        })
        .await;
    });

    suite.case("a_key_whose_invocation_is_scheduled", async |p| {
        let key = p.key("later");
        let send = |query: &str| Ask::post(format!("/Plain/nothing/send{query}")).header(KEY, &key);
        p.see(send("?delay=1h")).await;
        p.see(send("")).await;
        p.see(send("?delay=2h")).await;
        p.see(Ask::get(format!(
            "/restate/invocation/Plain/nothing/{key}/output"
        )))
        .await;
        let key = p.key("soon");
        let send = |query: &str| Ask::post(format!("/Plain/nothing/send{query}")).header(KEY, &key);
        let id = p.see(send("?delay=100ms")).await.id();
        p.ended(&id).await;
        p.see(send("")).await;
        let key = p.key("now");
        let send = |query: &str| Ask::post(format!("/Plain/nothing/send{query}")).header(KEY, &key);
        let id = p.see(send("?delay=0")).await.id();
        p.ended(&id).await;
        p.see(send("?delay=0")).await;
    });

    suite.case("workflows_run_once", async |p| {
        let key = p.key("w");
        let run = |query: &str| Ask::post(format!("/Flow/{key}/run{query}")).json("end");
        let refused = [
            run("").header(KEY, "x"),
            run("/send").header(KEY, "x"),
            run("?delay=x").header(KEY, "x"),
            run("").header(KEY, b"\xff"),
            run("").header(KEY, "x").header("x-bad", b"\xff"),
            Ask::post(format!("/Flow/{key}/run"))
                .body("\"end\"")
                .header(KEY, "x"),
        ];
        for ask in refused {
            p.see(ask).await;
        }
        for verb in ["attach", "output"] {
            p.see(Ask::get(format!("/restate/workflow/Flow/{key}/{verb}")))
                .await;
        }
        let id = p.see(run("/send")).await.id();
        p.see(run("/send")).await;
        p.see(run("/send?delay=10s")).await;
        p.see(run("")).await;
        p.see(Ask::get(format!("/restate/workflow/Flow/{key}/output")))
            .await;
        let go = || Ask::post(format!("/Flow/{key}/go")).json("came");
        // A shared handler may have one.
        p.see(go().header(KEY, "x")).await;
        p.ended(&id).await;
        p.see(go().header(KEY, "x")).await;
        p.see(go()).await;
        for verb in ["attach", "output", "attach/", "attach/x", "output/x/y"] {
            p.see(Ask::get(format!("/restate/workflow/Flow/{key}/{verb}")))
                .await;
        }
        p.see(Ask::get(format!(
            "/restate/invocation/Flow/{key}/go/x/output"
        )))
        .await;
        p.see(Ask::get(format!(
            "/restate/invocation/Flow/{key}/run/x/output"
        )))
        .await;
        p.see(run("")).await;
        p.see(run("/send")).await;

        p.see_waiting(async |round| {
            let key = p.key(&format!("w{round}"));
            let run = Ask::post(format!("/Flow/{key}/run/send")).json("end");
            run.send(p.address, p.http).await;
            let attach = Ask::get(format!("/restate/workflow/Flow/{key}/attach"));
            let go = Ask::post(format!("/Flow/{key}/go")).json("came");
            (vec![p.begin(attach)], go)
        })
        .await;
    });

    suite.case("a_workflow_that_fails", async |p| {
        let key = p.key("w");
        let running = p.begin(Ask::post(format!("/Flow/{key}/run")).json("end"));
        let fail = serde_json::json!({"code": 410, "message": "gone", "metadata": {"a": "b"}});
        p.see(Ask::post(format!("/Flow/{key}/fail")).json(fail))
            .await;
        p.saw("run", &running.await.unwrap());
        for verb in ["attach", "output"] {
            p.see(Ask::get(format!("/restate/workflow/Flow/{key}/{verb}")))
                .await;
        }
    });
}
