//! The services that answer, call and fail.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::suite::{ALL, BEFORE_V7, Mode, SINCE_V7, Suite};
use crate::{Failed, Setup, eventually};

const NOTHING: Value = Value::Null;

/// How long a call is to wait: far longer than one takes that does not.
const DELAY_MILLIS: u64 = 500;

async fn utils(t: &Setup) {
    let call = |handler, input| t.service("TestUtilsService", handler, input);
    assert_eq!(call("echo", json!("Grüße")).await, Ok(json!("Grüße")));
    let upper = call("uppercaseEcho", json!("Grüße, 1")).await;
    assert_eq!(upper, Ok(json!("GRüßE, 1")));
    let count = call("countExecutedSideEffects", json!(10)).await.unwrap();
    assert!(count.as_u64().unwrap() <= 10, "{count}");

    let raw = || t.ingress.service("TestUtilsService", "rawEcho");
    for (content_type, body) in [
        ("application/json", &b"not JSON"[..]),
        ("image/png", &[0, 255, 128]),
        ("text/plain", b""),
    ] {
        let request = raw().raw(content_type, Bytes::from_static(body));
        let reply = request.call_raw().await.unwrap();
        assert_eq!(reply.body, body);
        let answered = reply.headers.get("content-type").map(|h| h.as_bytes());
        if !body.is_empty() {
            assert_eq!(answered, Some(&b"application/octet-stream"[..]));
        }
    }
    assert_eq!(raw().call_raw().await.unwrap().body, "");

    let headers = t.ingress.service("TestUtilsService", "echoHeaders");
    let headers: Value = headers.header("x-my-header", "1").call().await.unwrap();
    assert_eq!(headers["x-my-header"], "1", "{headers}");
}

fn request(service: &str, key: Option<&str>, handler: &str, message: &[u8]) -> Value {
    json!({
        "serviceName": service,
        "virtualObjectKey": key,
        "handlerName": handler,
        "message": message,
    })
}

async fn proxy(t: &Setup) {
    let call = |handler, input| t.service("Proxy", handler, input);
    // Bytes that are no JSON pass untouched.
    let raw = request("TestUtilsService", None, "rawEcho", &[0, 1, 254, 255]);
    assert_eq!(call("call", raw).await, Ok(json!([0, 1, 254, 255])));
    let nothing = request("TestUtilsService", None, "rawEcho", &[]);
    assert_eq!(call("call", nothing).await, Ok(json!([])));

    let add = request("Counter", Some("proxy"), "addThenFail", b"2");
    let failed = call("call", add.clone()).await;
    assert_eq!(failed, Err(Failed(500, "proxy".to_owned())));
    let id = call("oneWayCall", add.clone()).await.unwrap();
    assert!(id.as_str().unwrap().starts_with("inv_1"), "{id}");
    t.object_gives("Counter", "proxy", "get", NOTHING, json!(4))
        .await;

    // Two requests of one key are one invocation.
    let mut once = request("Counter", Some("proxy"), "add", b"10");
    once["idempotencyKey"] = json!("once");
    let first = call("call", once.clone()).await.unwrap();
    assert_eq!(call("call", once).await, Ok(first));
    t.object_gives("Counter", "proxy", "get", NOTHING, json!(14))
        .await;

    let mut later = request("Counter", Some("proxy"), "add", b"100");
    later["delayMillis"] = json!(DELAY_MILLIS);
    let asked = Instant::now();
    call("oneWayCall", later).await.unwrap();
    t.object_gives("Counter", "proxy", "get", NOTHING, json!(114))
        .await;
    // Not before it was due, however long the answers took. Times are rounded to milliseconds on the way.
    let passed = asked.elapsed();
    assert!(
        passed > Duration::from_millis(DELAY_MILLIS - 10),
        "it was added after {passed:?}"
    );
}

fn scoped(limit_key: &str) -> Value {
    let mut request = request("TestUtilsService", None, "echo", b"\"hello\"");
    request["scope"] = json!("tenant");
    request["limitKey"] = json!(limit_key);
    request
}

async fn scope(mode: Mode) {
    let t = Setup::start_with(mode, |server| server.scopes()).await;
    let call = t.service("Proxy", "call", scoped("slow")).await;
    assert_eq!(call, Ok(json!(b"\"hello\"")));
    let rows = t.invocations("TestUtilsService", None, "echo").await;
    let scopes: Vec<_> = rows
        .iter()
        .map(|row| (row["scope"].as_str(), row["limit_key"].as_str()))
        .collect();
    assert_eq!(scopes, [(Some("tenant"), Some("slow"))]);
}

/// On v6 the call must not leave without its scope: the attempt fails.
async fn scope_needs_protocol_v7(t: &Setup) {
    let proxy = t.ingress.service("Proxy", "call").json(&scoped("slow"));
    let id = proxy.send().await.unwrap().invocation_id;
    let sql = format!("SELECT last_failure FROM sys_invocation WHERE id = '{id}'");
    eventually("the attempt fails", async || {
        let rows = t.server().query(&sql).await.unwrap();
        let failure = |row: &Value| row["last_failure"].to_string();
        rows.iter()
            .any(|row| failure(row).contains("negotiated v6"))
    })
    .await;
    t.admin().kill(&id).await.unwrap();
}

async fn many_calls(t: &Setup) {
    let one = |request: Value, one_way: bool, awaited: bool| json!({ "proxyRequest": request, "oneWayCall": one_way, "awaitAtTheEnd": awaited });
    let append = |item: &str| {
        let message = json!(item).to_string();
        request("ListObject", Some("many"), "append", message.as_bytes())
    };
    let mut calls = Vec::new();
    for i in 0..20 {
        calls.push(one(append(&i.to_string()), i % 3 == 0, i % 3 == 1));
    }
    // Not awaited, so its failure does not matter.
    let fails = |key| request("Counter", Some(key), "addThenFail", b"1");
    calls.push(one(fails("many-unawaited"), false, false));
    assert_eq!(
        t.service("Proxy", "manyCalls", Value::Array(calls)).await,
        Ok(NOTHING)
    );
    let due: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    t.object_gives("ListObject", "many", "get", NOTHING, json!(due))
        .await;
    let awaited = json!([one(fails("many"), false, true)]);
    let failed = t.service("Proxy", "manyCalls", awaited).await;
    assert_eq!(failed, Err(Failed(500, "many".to_owned())));
}

async fn failing(t: &Setup) {
    let call = |handler, input| t.object("Failing", "failing", handler, input);
    let failure = json!({ "errorMessage": "no", "metadata": { "b": "1", "a": "2" } });
    let no = || Err(Failed(500, "no".to_owned()));
    for handler in [
        "terminallyFailingCall",
        "callTerminallyFailingCall",
        "terminallyFailingSideEffect",
    ] {
        assert_eq!(call(handler, failure.clone()).await, no(), "{handler}");
        // The metadata is in its own output, also where it came from a call or a run.
        let request = t.ingress.object("Failing", "failing", handler);
        let error = request.json(&failure).call::<Value>().await.unwrap_err();
        let due = [("a", "2"), ("b", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(error.metadata(), due, "{handler}");
        let without = json!({ "errorMessage": "no" });
        assert_eq!(call(handler, without).await, no(), "{handler}");
    }

    let eventual = call("failingCallWithEventualSuccess", NOTHING).await;
    assert_eq!(eventual, Ok(json!(4)));
    let run = call("sideEffectSucceedsAfterGivenAttempts", json!(3)).await;
    assert_eq!(run, Ok(json!(3)));
    let first = call("sideEffectFailsAfterGivenAttempts", json!(3)).await;
    assert_eq!(first, Ok(json!(3)));
    let second = call("sideEffectFailsAfterGivenAttempts", json!(2)).await;
    assert_eq!(second, Ok(json!(5)));
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("failing", ALL, failing);
    suite.case("many_calls", ALL, many_calls);
    suite.case("proxy", ALL, proxy);
    suite.case("utils", ALL, utils);
    suite.alone("scope", SINCE_V7, scope);
    suite.case(
        "scope_needs_protocol_v7",
        BEFORE_V7,
        scope_needs_protocol_v7,
    );
}
