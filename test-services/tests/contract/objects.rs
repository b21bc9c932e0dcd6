//! The objects that keep something, and the workflow.

use serde_json::{Value, json};

use crate::suite::{ALL, Suite};
use crate::{Failed, Setup};

const NOTHING: Value = Value::Null;

async fn counter(t: &Setup) {
    let call = |handler, input| t.object("Counter", "counter", handler, input);
    assert_eq!(call("get", NOTHING).await, Ok(json!(0)));
    let added = json!({ "oldValue": 0, "newValue": 5 });
    assert_eq!(call("add", json!(5)).await, Ok(added));
    let failed = call("addThenFail", json!(-7)).await;
    assert_eq!(failed, Err(Failed(500, "counter".to_owned())));
    assert_eq!(call("get", NOTHING).await, Ok(json!(-2)));
    assert_eq!(call("reset", NOTHING).await, Ok(NOTHING));
    assert_eq!(call("get", NOTHING).await, Ok(json!(0)));
    assert_eq!(t.state_size("Counter", "counter").await, 0);
    let refused = call("add", json!("five")).await;
    assert!(matches!(refused, Err(Failed(400, _))), "{refused:?}");
}

async fn map(t: &Setup) {
    let call = |handler, input| t.object("MapObject", "map", handler, input);
    assert_eq!(call("get", json!("a")).await, Ok(json!("")));
    for (key, value) in [("a", "1"), ("", "empty key"), ("b c/ü", "")] {
        let entry = json!({ "key": key, "value": value });
        assert_eq!(call("set", entry).await, Ok(NOTHING));
    }
    assert_eq!(call("get", json!("a")).await, Ok(json!("1")));
    let mut all = call("clearAll", NOTHING).await.unwrap();
    all.as_array_mut()
        .unwrap()
        .sort_by_key(|entry| entry["key"].to_string());
    let due = json!([
        { "key": "", "value": "empty key" },
        { "key": "a", "value": "1" },
        { "key": "b c/ü", "value": "" },
    ]);
    assert_eq!(all, due);
    assert_eq!(call("clearAll", NOTHING).await, Ok(json!([])));
}

async fn list(t: &Setup) {
    let call = |handler, input| t.object("ListObject", "list", handler, input);
    assert_eq!(call("get", NOTHING).await, Ok(json!([])));
    for item in ["b", "a", "b"] {
        assert_eq!(call("append", json!(item)).await, Ok(NOTHING));
    }
    assert_eq!(call("get", NOTHING).await, Ok(json!(["b", "a", "b"])));
    assert_eq!(call("clear", NOTHING).await, Ok(json!(["b", "a", "b"])));
    assert_eq!(call("get", NOTHING).await, Ok(json!([])));
}

async fn awakeable_holder(t: &Setup) {
    let call = |handler, input| t.object("AwakeableHolder", "holder", handler, input);
    assert_eq!(call("hasAwakeable", NOTHING).await, Ok(json!(false)));
    let refused = call("unlock", json!("x")).await;
    assert!(matches!(refused, Err(Failed(500, _))), "{refused:?}");
    assert_eq!(call("hold", json!("no awakeable")).await, Ok(NOTHING));
    assert_eq!(call("hasAwakeable", NOTHING).await, Ok(json!(true)));
    let refused = call("unlock", json!("x")).await;
    assert!(matches!(refused, Err(Failed(400, _))), "{refused:?}");
}

async fn workflow(t: &Setup) {
    let key = "workflow";
    let call = |handler, input| t.object("BlockAndWaitWorkflow", key, handler, input);
    assert_eq!(call("getState", NOTHING).await, Ok(NOTHING));
    let run = t.send("BlockAndWaitWorkflow", key, "run", json!("my input"));
    let run = run.await;
    t.object_gives(
        "BlockAndWaitWorkflow",
        key,
        "getState",
        NOTHING,
        json!("my input"),
    )
    .await;
    assert_eq!(call("unblock", json!("done")).await, Ok(NOTHING));
    let output: String = t.ingress.attach(&run).await.unwrap();
    assert_eq!(output, "done");
    let again = call("unblock", json!("done twice")).await;
    assert!(again.is_err(), "{again:?}");
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("awakeable_holder", ALL, awakeable_holder);
    suite.case("counter", ALL, counter);
    suite.case("list", ALL, list);
    suite.case("map", ALL, map);
    suite.case("workflow", ALL, workflow);
}
