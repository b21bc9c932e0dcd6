//! The services on the test kit's runtime: what the contract says of them, without a server.

use std::time::Duration;

use durably::{
    Endpoint, InvocationId, Raw, Target, TerminalError,
    testing::{InvocationStatus, TestRuntime, request},
};
use serde_json::{Value, json};

use crate::services;

/// A runtime with all services, in each mode.
fn runtimes() -> impl Iterator<Item = TestRuntime> {
    [5, 6, 7].into_iter().flat_map(|version| {
        [false, true].map(|always_suspend| {
            let builder = Endpoint::builder();
            let endpoint = services::all()
                .into_iter()
                .fold(builder, |builder, service| builder.bind(service));
            let endpoint = endpoint.build().unwrap();
            let builder = TestRuntime::builder(endpoint)
                .protocol(version)
                .seed(u64::from(version));
            if always_suspend {
                builder.always_suspend().build()
            } else {
                builder.build()
            }
        })
    })
}

/// `Service/handler`, or `Service/key/handler`.
fn target(path: &str) -> Target {
    let parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    match <[String; 3]>::try_from(parts) {
        Ok([service, key, handler]) => Target::object(service, key, handler),
        Err(parts) => Target::service(parts[0].clone(), parts[1].clone()),
    }
}

fn body(input: &Value) -> Raw {
    Raw(if input.is_null() {
        "".into()
    } else {
        input.to_string().into()
    })
}

async fn call(runtime: &mut TestRuntime, path: &str, input: Value) -> Result<Value, TerminalError> {
    let request = request::<_, Raw>(target(path), body(&input));
    let Raw(output) = runtime.call_async(request).await?;
    Ok(if output.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&output).unwrap()
    })
}

fn send(runtime: &mut TestRuntime, path: &str, input: &Value) -> InvocationId {
    let request = request::<_, Raw>(target(path), body(input));
    runtime.send(request).unwrap()
}

#[tokio::test]
async fn objects_keep_their_state() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        let added = call(runtime, "Counter/a/add", json!(3)).await.unwrap();
        assert_eq!(added, json!({"oldValue": 0, "newValue": 3}));
        let failed = call(runtime, "Counter/a/addThenFail", json!(4))
            .await
            .unwrap_err();
        assert_eq!((failed.code(), failed.message()), (500, "a"));
        assert_eq!(
            call(runtime, "Counter/a/get", Value::Null).await.unwrap(),
            json!(7)
        );
        assert_eq!(runtime.state::<i64>("Counter", "a", "counter"), Some(7));

        for (key, value) in [("x", "1"), ("y", "")] {
            let entry = json!({"key": key, "value": value});
            call(runtime, "MapObject/m/set", entry).await.unwrap();
        }
        let all = call(runtime, "MapObject/m/clearAll", Value::Null)
            .await
            .unwrap();
        assert_eq!(all.as_array().unwrap().len(), 2);
        assert!(runtime.state_keys("MapObject", "m").is_empty());

        call(runtime, "ListObject/l/append", json!("x"))
            .await
            .unwrap();
        let list = call(runtime, "ListObject/l/clear", Value::Null)
            .await
            .unwrap();
        assert_eq!(list, json!(["x"]));
    }
}

#[tokio::test]
async fn the_proxy_calls_anything() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        let proxied = |one_way: bool| {
            let request = json!({
                "serviceName": "Counter", "virtualObjectKey": "p", "handlerName": "add",
                "message": [b'1'], "delayMillis": if one_way { json!(5000) } else { Value::Null },
            });
            json!({"proxyRequest": request, "oneWayCall": one_way, "awaitAtTheEnd": !one_way})
        };
        let calls = json!([proxied(false), proxied(true), proxied(false)]);
        call(runtime, "Proxy/manyCalls", calls).await.unwrap();
        assert_eq!(runtime.state::<i64>("Counter", "p", "counter"), Some(2));
        runtime.run_until_idle_async().await;
        assert_eq!(runtime.state::<i64>("Counter", "p", "counter"), Some(3));
    }
}

#[tokio::test]
async fn workflows_wait_for_their_promise() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        let id = send(runtime, "BlockAndWaitWorkflow/w/run", &json!("in"));
        runtime.settle();
        let state = call(runtime, "BlockAndWaitWorkflow/w/getState", Value::Null).await;
        assert_eq!(state.unwrap(), json!("in"));
        call(runtime, "BlockAndWaitWorkflow/w/unblock", json!("out"))
            .await
            .unwrap();
        assert_eq!(runtime.attach::<String>(&id).unwrap(), "out");
        let again = call(runtime, "BlockAndWaitWorkflow/w/run", json!("in")).await;
        assert_eq!(again.unwrap_err().code(), 409);
    }
}

#[tokio::test]
async fn cancellations_reach_what_blocks() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        for op in ["CALL", "SLEEP", "AWAKEABLE"] {
            let path = |handler: &str| format!("CancelTestRunner/{op}/{handler}");
            let id = send(runtime, &path("startTest"), &json!(op));
            runtime.settle();
            let unlock = format!("AwakeableHolder/{op}/unlock");
            call(runtime, &unlock, json!("go")).await.unwrap();
            runtime.settle();
            runtime.cancel(&id).unwrap();
            runtime.attach::<()>(&id).unwrap();
            let verified = call(runtime, &path("verifyTest"), Value::Null).await;
            assert_eq!(verified.unwrap(), json!(true), "{op}");
            let blocking = format!("CancelTestBlockingService/{op}/isUnlocked");
            call(runtime, &blocking, Value::Null).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_kill_frees_the_whole_tree() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        let id = send(runtime, "KillTestRunner/k/startCallTree", &Value::Null);
        runtime.settle();
        call(runtime, "AwakeableHolder/k/unlock", json!("go"))
            .await
            .unwrap();
        runtime.settle();
        runtime.kill(&id).unwrap();
        call(runtime, "KillTestSingleton/k/isUnlocked", Value::Null)
            .await
            .unwrap();
        assert_eq!(runtime.status(&id), InvocationStatus::Failed);
    }
}

#[tokio::test]
async fn failures_are_retried_and_end() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        let failing = "Failing/f/callTerminallyFailingCall";
        let error = call(runtime, failing, json!({"errorMessage": "no"}))
            .await
            .unwrap_err();
        assert_eq!((error.code(), error.message()), (500, "no"));
        for (handler, input) in [
            ("failingCallWithEventualSuccess", Value::Null),
            ("sideEffectSucceedsAfterGivenAttempts", json!(4)),
        ] {
            let n = call(runtime, &format!("Failing/f/{handler}"), input).await;
            assert_eq!(n.unwrap(), json!(4), "{handler}");
        }
        let failed = call(
            runtime,
            "Failing/f/sideEffectFailsAfterGivenAttempts",
            json!(3),
        )
        .await;
        assert_eq!(failed.unwrap(), json!(3));
    }
}

#[tokio::test]
async fn what_differs_in_a_replay_is_found_and_does_nothing_twice() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        for handler in [
            "eitherSleepOrCall",
            "callDifferentMethod",
            "setDifferentKey",
        ] {
            let path = format!("NonDeterministic/{handler}/{handler}");
            call(runtime, &path, Value::Null).await.unwrap();
            runtime.run_until_idle_async().await;
            assert_eq!(runtime.state::<i64>("Counter", handler, "counter"), Some(1));
        }
    }
}

#[tokio::test]
async fn programs_of_combinators_are_interpreted() {
    for mut runtime in runtimes() {
        let runtime = &mut runtime;
        let awakeable = json!({"type": "createAwakeable", "awakeableKey": "a"});
        let sleep = json!({"type": "sleep", "timeoutMillis": 50});
        let run = json!({"type": "runReturns", "value": "ran"});
        let throw = json!({"type": "runThrowTerminalException", "reason": "no"});
        let program = json!({"commands": [
            {"type": "awaitAllCompleted", "commands": [run, throw, sleep]},
            {"type": "awaitAnySuccessful", "commands": [throw, run]},
            {"type": "awaitAny", "commands": [awakeable, sleep]},
            {"type": "awaitAwakeableOrTimeout", "awakeableKey": "b", "timeoutMillis": 60_000},
        ]});
        let interpret = "VirtualObjectCommandInterpreter/v/interpretCommands";
        let id = send(runtime, interpret, &program);
        let resolve = "VirtualObjectCommandInterpreter/v/resolveAwakeable";
        let deadline = Duration::from_secs(10);
        let begun = runtime.now();
        while call(
            runtime,
            "VirtualObjectCommandInterpreter/v/hasAwakeable",
            json!("b"),
        )
        .await
            == Ok(json!(false))
        {
            assert!(runtime.now() - begun < deadline, "{}", runtime.journal(&id));
            runtime.advance_async(Duration::from_millis(10)).await;
        }
        let value = json!({"awakeableKey": "b", "value": "in time"});
        call(runtime, resolve, value).await.unwrap();
        runtime.run_until_idle_async().await;
        assert_eq!(
            runtime.output::<String>(&id).unwrap().as_deref(),
            Some("in time")
        );
        let results = call(
            runtime,
            "VirtualObjectCommandInterpreter/v/getResults",
            Value::Null,
        );
        let results = results.await.unwrap();
        assert_eq!(
            results,
            json!(["ok:ran|err:no|ok:sleep", "ran", "sleep", "in time"])
        );
    }
}
