//! `VirtualObjectCommandInterpreter`: every command and every combinator.

use serde_json::{Value, json};

use crate::suite::{ALL, Suite};
use crate::{Failed, Setup};

const SERVICE: &str = "VirtualObjectCommandInterpreter";

async fn interpret(t: &Setup, key: &str, commands: Value) -> Result<Value, Failed> {
    let program = json!({ "commands": commands });
    t.object(SERVICE, key, "interpretCommands", program).await
}

async fn results(t: &Setup, key: &str) -> Value {
    let results = t.object(SERVICE, key, "getResults", Value::Null);
    results.await.unwrap()
}

async fn has_awakeable(t: &Setup, key: &str, awakeable: &str) {
    t.object_gives(SERVICE, key, "hasAwakeable", json!(awakeable), json!(true))
        .await;
}

fn returns(value: &str) -> Value {
    json!({ "type": "runReturns", "value": value })
}

fn throws(reason: &str) -> Value {
    json!({ "type": "runThrowTerminalException", "reason": reason })
}

fn sleeps(millis: u64) -> Value {
    json!({ "type": "sleep", "timeoutMillis": millis })
}

fn awakeable(key: &str) -> Value {
    json!({ "type": "createAwakeable", "awakeableKey": key })
}

fn signal(name: &str) -> Value {
    json!({ "type": "createSignal", "signalName": name })
}

fn one(command: Value) -> Value {
    json!({ "type": "awaitOne", "command": command })
}

fn many(combinator: &str, commands: &[Value]) -> Value {
    json!({ "type": combinator, "commands": commands })
}

/// A sleep that is never the first.
const LONG: u64 = 24 * 60 * 60 * 1000;

async fn programs(t: &Setup) {
    let key = "programs";
    assert_eq!(interpret(t, key, json!([])).await, Ok(json!("")));
    assert_eq!(results(t, key).await, json!([]));
    let program = json!([
        one(returns("a")),
        one(sleeps(10)),
        { "type": "getEnvVariable", "envName": "CONTRACT_TEST" },
        { "type": "getEnvVariable", "envName": "CONTRACT_TEST_UNSET" },
    ]);
    assert_eq!(interpret(t, key, program).await, Ok(json!("")));
    let due = json!(["a", "sleep", "set", ""]);
    assert_eq!(results(t, key).await, due);
}

async fn failures(t: &Setup) {
    let key = "failures";
    let program = json!([one(returns("a")), one(throws("no")), one(returns("b"))]);
    let failed = interpret(t, key, program).await;
    assert_eq!(failed, Err(Failed(500, "no".to_owned())));
    assert_eq!(results(t, key).await, json!(["a"]));
    for combinator in ["awaitAny", "awaitFirstCompleted", "awaitAnySuccessful"] {
        let failed = interpret(t, key, json!([many(combinator, &[])])).await;
        assert!(failed.is_err(), "{combinator}");
    }
    for handler in ["resolveAwakeable", "rejectAwakeable"] {
        let input = json!({ "awakeableKey": "unknown", "value": "", "reason": "" });
        let failed = t.object(SERVICE, key, handler, input).await;
        let due = Failed(500, "Awakeable is not registered yet".to_owned());
        assert_eq!(failed, Err(due));
    }
}

async fn combinators(t: &Setup) {
    let key = "combinators";
    let no = || Err(Failed(500, "no".to_owned()));
    let check = async |combinator: &str, commands: &[Value], due: Result<Value, Failed>| {
        let result = interpret(t, key, json!([many(combinator, commands)])).await;
        assert_eq!(result, due, "{combinator} {commands:?}");
    };
    for any in ["awaitAny", "awaitFirstCompleted"] {
        let commands = [sleeps(LONG), returns("a"), signal("never")];
        check(any, &commands, Ok(json!("a"))).await;
        check(any, &[awakeable("never"), throws("no")], no()).await;
        check(any, &[awakeable("never"), sleeps(1)], Ok(json!("sleep"))).await;
    }
    for any in ["awaitAnySuccessful", "awaitFirstSucceededOrAllFailed"] {
        let commands = [throws("no"), sleeps(LONG), returns("a")];
        check(any, &commands, Ok(json!("a"))).await;
        check(any, &[throws("no"), throws("no")], no()).await;
    }
    let all = "awaitAllSucceededOrFirstFailed";
    let commands = [returns("a"), sleeps(20), returns("b")];
    check(all, &commands, Ok(json!("a|sleep|b"))).await;
    check(all, &[returns("a"), sleeps(LONG), throws("no")], no()).await;
    check(all, &[], Ok(json!(""))).await;
    let all = "awaitAllCompleted";
    let commands = [returns("a"), throws("no"), sleeps(20)];
    check(all, &commands, Ok(json!("ok:a|err:no|ok:sleep"))).await;
}

async fn awakeables(t: &Setup) {
    let key = "awakeables";
    // Completed from outside, once with a value and once with a failure.
    let commands = [awakeable("a"), awakeable("b"), returns("c")];
    let program = json!({ "commands": [many("awaitAllCompleted", &commands)] });
    let id = t.send(SERVICE, key, "interpretCommands", program).await;
    has_awakeable(t, key, "b").await;
    let reject = json!({ "type": "ignored", "awakeableKey": "b", "reason": "no" });
    t.object(SERVICE, key, "rejectAwakeable", reject)
        .await
        .unwrap();
    for value in ["yes", "too late"] {
        let resolve = json!({ "awakeableKey": "a", "value": value });
        t.object(SERVICE, key, "resolveAwakeable", resolve)
            .await
            .unwrap();
    }
    let output: String = t.ingress.attach(&id).await.unwrap();
    assert_eq!(output, "ok:yes|err:no|ok:c");

    // Completed by the program itself, which left them behind in a combinator.
    let program = json!([
        many("awaitAny", &[awakeable("c"), awakeable("d"), sleeps(1)]),
        { "type": "resolveAwakeable", "awakeableKey": "c", "value": "yes" },
        { "type": "rejectAwakeable", "awakeableKey": "d", "reason": "no" },
    ]);
    assert_eq!(interpret(t, key, program).await, Ok(json!("")));
    let unknown = json!([{ "type": "resolveAwakeable", "awakeableKey": "unknown", "value": "" }]);
    let due = Failed(500, "Awakeable is not registered yet".to_owned());
    assert_eq!(interpret(t, key, unknown).await, Err(due));
    let due = json!(["ok:yes|err:no|ok:c", "sleep", "", ""]);
    assert_eq!(results(t, key).await, due);
}

async fn timeouts(t: &Setup) {
    let key = "timeouts";
    let program = |millis: u64| json!([{ "type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": millis }]);
    let failed = interpret(t, key, program(10)).await;
    assert_eq!(failed, Err(Failed(500, "await-timeout".to_owned())));

    let key = "no-timeouts";
    let program = json!({ "commands": program(LONG) });
    let id = t.send(SERVICE, key, "interpretCommands", program).await;
    has_awakeable(t, key, "a").await;
    let resolve = json!({ "awakeableKey": "a", "value": "yes" });
    t.object(SERVICE, key, "resolveAwakeable", resolve)
        .await
        .unwrap();
    let output: String = t.ingress.attach(&id).await.unwrap();
    assert_eq!(output, "yes");
}

async fn signals(t: &Setup) {
    let key = "signals";
    let program = json!({ "commands": [
        one(sleeps(50)),
        one(signal("early")),
        many("awaitAllCompleted", &[signal("a"), signal("b"), sleeps(1)]),
        many("awaitAny", &[signal("c"), sleeps(LONG)]),
    ] });
    let id = t.send(SERVICE, key, "interpretCommands", program).await;
    let complete = async |handler: &str, name: &str, with: &str| {
        let input =
            json!({ "invocationId": id, "signalName": name, "value": with, "reason": with });
        let done = t.service("TestUtilsService", handler, input).await;
        assert_eq!(done, Ok(Value::Null));
    };
    complete("resolveSignal", "early", "bird").await;
    complete("rejectSignal", "b", "no").await;
    complete("resolveSignal", "c", "last").await;
    complete("resolveSignal", "a", "yes").await;
    let output: String = t.ingress.attach(&id).await.unwrap();
    assert_eq!(output, "last");
    let due = json!(["sleep", "bird", "ok:yes|err:no|ok:sleep", "last"]);
    assert_eq!(results(t, key).await, due);
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("awakeables", ALL, awakeables);
    suite.case("combinators", ALL, combinators);
    suite.case("failures", ALL, failures);
    suite.case("programs", ALL, programs);
    suite.case("signals", ALL, signals);
    suite.case("timeouts", ALL, timeouts);
}
