//! Cancelled, killed and non-deterministic invocations.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::END_LIMIT;
use crate::suite::{ALL, Mode, SERVER, Suite};
use crate::{Failed, Setup, eventually};

const NOTHING: Value = Value::Null;

/// Starts the test for an operation, lets it block there, cancels it, and looks at the remains.
async fn cancel(t: &Setup, key: &str, op: &str, cancel: impl AsyncFnOnce(&str)) {
    let id = t
        .send("CancelTestRunner", key, "startTest", json!(op))
        .await;
    t.object_gives("AwakeableHolder", key, "hasAwakeable", NOTHING, json!(true))
        .await;
    t.object("AwakeableHolder", key, "unlock", json!("go"))
        .await
        .unwrap();
    // Blocked in the operation: the journal shows it.
    let entry = match op {
        "CALL" => "Command: Call",
        "SLEEP" => "Command: Sleep",
        _ => "Notification: Signal",
    };
    let due = if op == "CALL" { 2 } else { 1 };
    eventually(&format!("{op} blocks"), async || {
        let blocking = t.invocations("CancelTestBlockingService", Some(key), "block");
        let mut seen = 0;
        for row in blocking.await {
            let journal = t.journal(row["id"].as_str().unwrap()).await;
            seen += journal.iter().filter(|kind| **kind == entry).count();
        }
        seen >= due
    })
    .await;
    cancel(&id).await;
    t.object_gives("CancelTestRunner", key, "verifyTest", NOTHING, json!(true))
        .await;
    let free = t
        .object("CancelTestBlockingService", key, "isUnlocked", NOTHING)
        .await;
    assert_eq!(free, Ok(NOTHING));
}

async fn cancel_call(t: &Setup) {
    let by_admin = async |id: &str| t.admin().cancel(id).await.unwrap();
    cancel(t, "cancel-call", "CALL", by_admin).await;
}

async fn cancel_sleep(t: &Setup) {
    let by_admin = async |id: &str| t.admin().cancel(id).await.unwrap();
    cancel(t, "cancel-sleep", "SLEEP", by_admin).await;
}

async fn cancel_awakeable(t: &Setup) {
    let by_admin = async |id: &str| t.admin().cancel(id).await.unwrap();
    cancel(t, "cancel-awakeable", "AWAKEABLE", by_admin).await;
}

async fn cancel_by_handler(t: &Setup) {
    let by_handler = async |id: &str| {
        let call = t.service("TestUtilsService", "cancelInvocation", json!(id));
        assert_eq!(call.await, Ok(NOTHING));
    };
    cancel(t, "cancel-by-handler", "CALL", by_handler).await;
    let call = t.service("TestUtilsService", "cancelInvocation", json!("inv_x"));
    let refused = call.await;
    assert!(matches!(refused, Err(Failed(400, _))), "{refused:?}");
}

async fn kill(t: &Setup) {
    let key = "kill";
    let id = t
        .send("KillTestRunner", key, "startCallTree", NOTHING)
        .await;
    t.object_gives("AwakeableHolder", key, "hasAwakeable", NOTHING, json!(true))
        .await;
    t.object("AwakeableHolder", key, "unlock", json!("go"))
        .await
        .unwrap();
    eventually("the singleton calls itself", async || {
        let calls = t.invocations("KillTestSingleton", Some(key), "recursiveCall");
        calls.await.len() >= 2
    })
    .await;
    t.admin().kill(&id).await.unwrap();
    let free = t
        .object("KillTestSingleton", key, "isUnlocked", NOTHING)
        .await;
    assert_eq!(free, Ok(NOTHING));
}

const NON_DETERMINISTIC: [&str; 4] = [
    "eitherSleepOrCall",
    "callDifferentMethod",
    "backgroundInvokeWithDifferentTargets",
    "setDifferentKey",
];

/// Every second execution takes the recorded branch, so that they come to their end.
async fn non_deterministic_handlers_end(t: &Setup) {
    for handler in NON_DETERMINISTIC {
        let key = format!("ends-{handler}");
        let ended = t.object("NonDeterministic", &key, handler, NOTHING).await;
        assert_eq!(ended, Ok(NOTHING), "{handler}");
        t.object_gives("Counter", &key, "get", NOTHING, json!(1))
            .await;
    }
}

/// Without retries the mismatch is what the invocation ends with.
async fn mismatches(mode: Mode) {
    let t = Setup::start_with(mode, |server| server.disable_retries()).await;
    for handler in NON_DETERMINISTIC {
        let key = format!("fails-{handler}");
        let failed = t.object("NonDeterministic", &key, handler, NOTHING).await;
        let Err(Failed(status, message)) = failed else {
            panic!("{handler} went well");
        };
        assert_eq!(status, 570, "{handler}: {message}");
        let sql = format!(
            "SELECT completion_failure FROM sys_invocation WHERE target_service_key = '{key}' \
             AND target_service_name = 'NonDeterministic'"
        );
        let rows = t.server().query(&sql).await.unwrap();
        let failure = rows[0]["completion_failure"].to_string();
        assert!(failure.contains("570"), "{handler}: {failure}");
        // Nothing after the mismatch was done.
        let counter = t.object("Counter", &key, "get", NOTHING).await;
        assert_eq!(counter, Ok(json!(0)));
    }
}

/// The process is killed again and again while a long row of calls is made: each arrives once, in
/// order.
async fn crashes(mode: Mode) {
    let t = Setup::start(mode).await;
    const CALLS: usize = 60;
    let calls = (0..CALLS).map(|i| {
        let request = json!({
            "serviceName": "ListObject",
            "virtualObjectKey": "crashes",
            "handlerName": "append",
            "message": json!(i.to_string()).to_string().as_bytes(),
        });
        let one_way = i % 2 == 0;
        json!({ "proxyRequest": request, "oneWayCall": one_way, "awaitAtTheEnd": !one_way })
    });
    let calls = Value::Array(calls.collect());
    let runs = json!(100);
    let many = t.ingress.service("Proxy", "manyCalls").json(&calls);
    let count = t
        .ingress
        .service("TestUtilsService", "countExecutedSideEffects");
    let many = many.send().await.unwrap().invocation_id;
    let count = count.json(&runs).send().await.unwrap().invocation_id;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        t.services.kill9();
        t.services.restart().unwrap();
    }
    t.is_up().await;
    let _: () = t.ingress.attach(&many).await.unwrap();
    let _: u32 = t.ingress.attach(&count).await.unwrap();
    let due: Vec<String> = (0..CALLS).map(|i| i.to_string()).collect();
    t.object_gives("ListObject", "crashes", "get", NOTHING, json!(due))
        .await;
}

/// The process is told to end while invocations are open on it: it ends soon, and the next one goes
/// on with them.
async fn termination(mode: Mode) {
    let t = Setup::start(mode).await;
    let (workflow, key) = ("BlockAndWaitWorkflow", "termination");
    let id = t.send(workflow, key, "run", json!("input")).await;
    t.object_gives(workflow, key, "getState", NOTHING, json!("input"))
        .await;
    let told = Instant::now();
    let ended = t.services.terminate().await.unwrap();
    // By itself: had it to be killed, there would be no status.
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert!(told.elapsed() < END_LIMIT);
    t.services.restart().unwrap();
    t.is_up().await;
    let unblocked = t.object(workflow, key, "unblock", json!("done")).await;
    assert_eq!(unblocked, Ok(NOTHING));
    let output: String = t.ingress.attach(&id).await.unwrap();
    assert_eq!(output, "done");
}

/// All of it was spoken in the version that the mode says.
async fn protocol(t: &Setup) {
    let held = t.object("AwakeableHolder", "protocol", "hasAwakeable", NOTHING);
    assert_eq!(held.await, Ok(json!(false)));
    let version = if t.mode.is_v7() { 7 } else { 6 };
    let sql = "SELECT DISTINCT pinned_service_protocol_version AS version FROM sys_invocation \
        WHERE pinned_service_protocol_version IS NOT NULL";
    let rows = t.server().query(sql).await.unwrap();
    assert_eq!(rows, [json!({ "version": version })]);
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("cancel_awakeable", ALL, cancel_awakeable);
    suite.case("cancel_by_handler", ALL, cancel_by_handler);
    suite.case("cancel_call", ALL, cancel_call);
    suite.case("cancel_sleep", ALL, cancel_sleep);
    suite.case("kill", ALL, kill);
    suite.case(
        "non_deterministic_handlers_end",
        ALL,
        non_deterministic_handlers_end,
    );
    suite.case("protocol", SERVER, protocol);
    suite.alone("crashes", ALL, crashes);
    let suspending = &[Mode::Suspend, Mode::V7Suspend, Mode::Http1];
    suite.alone("mismatches", suspending, mismatches);
    suite.alone("termination", ALL, termination);
}
