//! The jobs of the load, but for programs. Each enters what it does and checks what it is told.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Driver, Result, decode, programs::program};
use crate::random::Random;

/// A job, drawn from the mixture.
pub(super) async fn any(t: &Driver, worker: u64, random: &mut Random) -> Result {
    match random.below(100) {
        0..20 => add(t, random).await,
        20..24 => add_then_fail(t, random).await,
        24..32 => append(t, random).await,
        32..40 => set(t, worker, random).await,
        40..50 => many_calls(t, random).await,
        50..56 => nested_calls(t, random).await,
        56..70 => program(t, random).await,
        70..76 => workflow(t, random).await,
        76..82 => send(t, random).await,
        82..87 => runs(t, random).await,
        87..92 => echo(t, random).await,
        92..95 => fail(t, random).await,
        95..98 if t.with_failing_attempts => fail_for_a_while(t, random).await,
        95..98 => add(t, random).await,
        _ => cancel(t, random).await,
    }
}

fn amount(random: &mut Random) -> i64 {
    random.between(1, 100).try_into().unwrap()
}

/// A counter to which only [`add`] adds: the answers must form one chain.
async fn add(t: &Driver, random: &mut Random) -> Result {
    let key = format!("chained-{}", random.below(8));
    let n = amount(random);
    t.ledger().added(&key, n);
    let request = t.ingress.object("Counter", &key, "add").json(&n);
    if let Some(update) = t.must::<Value>(request).await? {
        let value = |name: &str| update[name].as_i64().unwrap_or(-1);
        let addition = (value("oldValue"), value("newValue"));
        let mut ledger = t.ledger();
        ledger.additions.entry(key).or_default().push(addition);
    }
    Ok(())
}

fn shared_counter(random: &mut Random) -> String {
    format!("shared-{}", random.below(8))
}

/// Calls what must fail with this message.
async fn must_fail(
    t: &Driver,
    request: durably::test_server::IngressRequest,
    message: &str,
) -> Result {
    let key = t.name("key-");
    t.ledger().failures.insert(key.clone(), message.to_owned());
    let answer = t.ask_as(&key, request).await?;
    let due = Answer::Failed {
        status: 500,
        message: message.to_owned(),
    };
    if answer != due {
        t.problem(format!("{key} gave {answer:?}, not {due:?}"));
    }
    Ok(())
}

async fn add_then_fail(t: &Driver, random: &mut Random) -> Result {
    let key = shared_counter(random);
    let n = amount(random);
    {
        let mut ledger = t.ledger();
        *ledger.counters.entry(key.clone()).or_default() += n;
        ledger.invoked("Counter/addThenFail", 1);
    }
    let request = t.ingress.object("Counter", &key, "addThenFail").json(&n);
    must_fail(t, request, &key).await
}

async fn append(t: &Driver, random: &mut Random) -> Result {
    let list = format!("list-{}", random.below(8));
    let item = t.name("item-");
    let request = t.ingress.object("ListObject", &list, "append").json(&item);
    {
        let mut ledger = t.ledger();
        ledger.lists.entry(list).or_default().push(item);
        ledger.invoked("ListObject/append", 1);
    }
    t.must::<()>(request).await?;
    Ok(())
}

/// Sets a map's entry that belongs to this worker, or one that is new, and reads it back.
async fn set(t: &Driver, worker: u64, random: &mut Random) -> Result {
    let map = format!("map-{}", random.below(4));
    let value = t.name("value-");
    let entry = if random.chance(300) {
        t.name("entry-")
    } else {
        format!("worker-{worker}")
    };
    let input = json!({ "key": entry, "value": value });
    let set = t.ingress.object("MapObject", &map, "set").json(&input);
    let get = t.ingress.object("MapObject", &map, "get").json(&entry);
    {
        let mut ledger = t.ledger();
        let entries = ledger.maps.entry(map.clone()).or_default();
        entries.insert(entry.clone(), value.clone());
        ledger.invoked("MapObject/set", 1);
        ledger.invoked("MapObject/get", 1);
    }
    t.must::<()>(set).await?;
    if let Some(found) = t.must::<String>(get).await?
        && found != value
    {
        t.problem(format!("{map}/{entry} is {found}, not {value}"));
    }
    Ok(())
}

fn proxied(service: &str, key: Option<&str>, handler: &str, input: &Value) -> Value {
    json!({
        "serviceName": service,
        "virtualObjectKey": key,
        "handlerName": handler,
        "message": input.to_string().as_bytes(),
    })
}

/// Many calls and sends of one invocation: to counters, and in order to one list.
async fn many_calls(t: &Driver, random: &mut Random) -> Result {
    let list = t.name("ordered-");
    let mut due = Vec::new();
    let mut calls = Vec::new();
    let count = if random.chance(50) {
        random.between(40, 80)
    } else {
        random.between(2, 12)
    };
    for number in 0..count {
        let one_way = random.chance(500);
        let mut request = if random.chance(400) {
            let item = number.to_string();
            let request = proxied("ListObject", Some(&list), "append", &json!(item));
            due.push(item);
            t.ledger().invoked("ListObject/append", 1);
            request
        } else {
            let counter = shared_counter(random);
            let n = amount(random);
            let mut request = proxied("Counter", Some(&counter), "add", &json!(n));
            t.ledger().added(&counter, n);
            if one_way && random.chance(200) {
                request["delayMillis"] = json!(random.between(1, 300));
            }
            request
        };
        let is_counter = request["serviceName"] == "Counter";
        let mut times = 1;
        if is_counter && random.chance(150) {
            // Called twice, executed once.
            request["idempotencyKey"] = json!(t.name("inner-"));
            times = 2;
        }
        let call = json!({
            "proxyRequest": request,
            "oneWayCall": one_way,
            "awaitAtTheEnd": !one_way && random.chance(800),
        });
        calls.extend(std::iter::repeat_n(call, times));
    }
    {
        let mut ledger = t.ledger();
        if !due.is_empty() {
            ledger.ordered_lists.insert(list, due);
        }
        ledger.invoked("Proxy/manyCalls", 1);
    }
    let request = t.ingress.service("Proxy", "manyCalls").json(&calls);
    t.must::<()>(request).await?;
    Ok(())
}

/// A call through a proxy, or through several.
async fn nested_calls(t: &Driver, random: &mut Random) -> Result {
    let counter = shared_counter(random);
    let n = amount(random);
    let mut request = proxied("Counter", Some(&counter), "add", &json!(n));
    let depth = random.between(1, 3);
    for _ in 1..depth {
        request = proxied("Proxy", None, "call", &request);
    }
    {
        let mut ledger = t.ledger();
        ledger.added(&counter, n);
        ledger.invoked("Proxy/call", depth);
    }
    let request = t.ingress.service("Proxy", "call").json(&request);
    let Some(mut bytes) = t.must::<Vec<u8>>(request).await? else {
        return Ok(());
    };
    for _ in 1..depth {
        bytes = serde_json::from_slice(&bytes).unwrap_or_default();
    }
    let update: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let value = |name: &str| update[name].as_i64().unwrap_or_default();
    if value("newValue") - value("oldValue") != n {
        t.problem(format!("{n} added to {counter} through proxies: {update}"));
    }
    Ok(())
}

/// A workflow that waits for a promise.
async fn workflow(t: &Driver, random: &mut Random) -> Result {
    let blocked = block(t, "workflow-").await?;
    if random.chance(500) {
        tokio::time::sleep(random.millis(1, 300)).await;
    }
    blocked.release(t).await
}

/// A workflow that waits until it is released.
pub(crate) struct Blocked {
    key: String,
    id: Option<String>,
}

const WORKFLOW: &str = "BlockAndWaitWorkflow";

/// Starts a workflow that waits, under a name that begins like this.
pub(crate) async fn block(t: &Driver, prefix: &str) -> Result<Blocked> {
    let key = t.name(prefix);
    let request = t.ingress.object(WORKFLOW, &key, "run").json("begin");
    {
        let mut ledger = t.ledger();
        ledger.workflows.insert(key.clone(), "begin".to_owned());
        ledger.invoked("BlockAndWaitWorkflow/run", 1);
        ledger.invoked("BlockAndWaitWorkflow/unblock", 1);
    }
    let id = t.submit(None, request).await?;
    Ok(Blocked { key, id })
}

impl Blocked {
    /// Waits until it has begun to execute.
    pub(crate) async fn has_begun(&self, t: &Driver) -> Result {
        let look = t.ingress.object(WORKFLOW, &self.key, "getState");
        while decode(&t.answer(&look).await?) != Some("begin".to_owned()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            t.check_time(&format!("{} begins", self.key))?;
        }
        Ok(())
    }

    pub(crate) async fn release(self, t: &Driver) -> Result {
        let due = format!("end of {}", self.key);
        let unblock = t.ingress.object(WORKFLOW, &self.key, "unblock");
        t.must::<()>(unblock.json(&due)).await?;
        if let Some(id) = self.id {
            let answer = t.join(&id).await?;
            if decode(&answer) != Some(due) {
                t.problem(format!("{} ended with {answer:?}", self.key));
            }
        }
        Ok(())
    }
}

/// A send, perhaps with a delay.
async fn send(t: &Driver, random: &mut Random) -> Result {
    let counter = shared_counter(random);
    let n = amount(random);
    t.ledger().added(&counter, n);
    let request = t.ingress.object("Counter", &counter, "add").json(&n);
    t.submit(Some(&t.name("key-")), request).await?;
    Ok(())
}

/// Many runs one after the other.
async fn runs(t: &Driver, random: &mut Random) -> Result {
    let n = random.between(1, 20);
    t.ledger()
        .invoked("TestUtilsService/countExecutedSideEffects", 1);
    let handler = t
        .ingress
        .service("TestUtilsService", "countExecutedSideEffects");
    if let Some(executed) = t.must::<u64>(handler.json(&n)).await?
        && executed > n
    {
        t.problem(format!("of {n} runs {executed} were executed"));
    }
    Ok(())
}

/// Bytes that come back, as an input or through a call.
async fn echo(t: &Driver, random: &mut Random) -> Result {
    let size = if random.chance(200) {
        random.between(50_000, 300_000)
    } else {
        random.between(0, 5_000)
    };
    let bytes = random.bytes(size.try_into().unwrap());
    t.ledger().invoked("TestUtilsService/rawEcho", 1);
    let back = if size < 50_000 && random.chance(500) {
        let mut request = proxied("TestUtilsService", None, "rawEcho", &Value::Null);
        request["message"] = json!(bytes);
        t.ledger().invoked("Proxy/call", 1);
        let request = t.ingress.service("Proxy", "call").json(&request);
        t.must::<Vec<u8>>(request).await?.unwrap_or_default()
    } else {
        let bytes = Bytes::from(bytes.clone());
        let request = t.ingress.service("TestUtilsService", "rawEcho");
        let request = request.raw("application/octet-stream", bytes);
        match t.ask(request).await? {
            Answer::Output { body, .. } => body.to_vec(),
            Answer::Failed { .. } => b"a failure".to_vec(),
        }
    };
    if back != bytes {
        t.problem(format!("{} bytes came back as {}", size, back.len()));
    }
    Ok(())
}

/// A failure that comes from a call.
async fn fail(t: &Driver, random: &mut Random) -> Result {
    let message = t.name("fails by design ");
    let input = json!({ "errorMessage": message, "metadata": { "why": "design" } });
    let key = t.name("failing-");
    let handler = match random.below(3) {
        0 => {
            t.ledger().invoked("Failing/callTerminallyFailingCall", 1);
            t.ledger().invoked("Failing/terminallyFailingCall", 1);
            "callTerminallyFailingCall"
        }
        1 => {
            t.ledger().invoked("Failing/terminallyFailingCall", 1);
            "terminallyFailingCall"
        }
        _ => {
            t.ledger().invoked("Failing/terminallyFailingSideEffect", 1);
            "terminallyFailingSideEffect"
        }
    };
    let request = t.ingress.object("Failing", &key, handler).json(&input);
    must_fail(t, request, &message).await
}

/// Attempts that fail of their own accord, and go well in the end.
async fn fail_for_a_while(t: &Driver, random: &mut Random) -> Result {
    const LEAST: u64 = 3;
    let key = t.name("retried-");
    let handler = "sideEffectSucceedsAfterGivenAttempts";
    t.ledger()
        .invoked("Failing/sideEffectSucceedsAfterGivenAttempts", 1);
    let request = t.ingress.object("Failing", &key, handler).json(&LEAST);
    if let Some(attempts) = t.must::<u64>(request).await?
        && attempts < LEAST
    {
        t.problem(format!("{key} went well after {attempts} attempts"));
    }
    // The server may find it at any point.
    tokio::time::sleep(random.millis(0, 10)).await;
    Ok(())
}

/// A tree of invocations that waits for ever, cancelled at any moment.
async fn cancel(t: &Driver, random: &mut Random) -> Result {
    let key = t.name("cancelled-");
    let op = ["CALL", "SLEEP", "AWAKEABLE"][random.index(3)];
    let object = |handler: &str| t.ingress.object("CancelTestRunner", &key, handler);
    {
        let mut ledger = t.ledger();
        for handler in ["CancelTestRunner/startTest", "CancelTestRunner/verifyTest"] {
            ledger.invoked(handler, 1);
        }
        ledger.invoked("TestUtilsService/cancelInvocation", 1);
        ledger.invoked("CancelTestBlockingService/isUnlocked", 1);
    }
    let Some(id) = t
        .submit(Some(&t.name("key-")), object("startTest").json(op))
        .await?
    else {
        return Ok(());
    };
    tokio::time::sleep(random.millis(0, 200)).await;
    if random.chance(500) {
        // From the awakeable into the operation, if it is there already.
        let has = t.ingress.object("AwakeableHolder", &key, "hasAwakeable");
        if decode(&t.answer(&has).await?) == Some(true) {
            let unlock = t.ingress.object("AwakeableHolder", &key, "unlock");
            t.must::<()>(unlock.json("go")).await?;
            tokio::time::sleep(random.millis(0, 100)).await;
        }
    }
    let cancel = t.ingress.service("TestUtilsService", "cancelInvocation");
    t.must::<()>(cancel.json(&id)).await?;
    let ended = t.join(&id).await?;
    if decode::<()>(&ended).is_none() {
        t.problem(format!("{key} ended with {ended:?}"));
    }
    if t.must::<bool>(object("verifyTest")).await? != Some(true) {
        t.problem(format!("{key} was not cancelled"));
    }
    let unlocked = t
        .ingress
        .object("CancelTestBlockingService", &key, "isUnlocked");
    t.must::<()>(unlocked).await?;
    Ok(())
}
