//! What the runtime has recorded, compared with the ledger.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    ledger::{Ledger, is_due_failure},
    world::World,
};

/// How long the runtime has for what is still open when nothing is asked any more.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until no invocation is open any more.
pub(crate) async fn all_ended(world: &World) -> Vec<String> {
    let start = Instant::now();
    let open = "&status=pending,scheduled,running,suspended,backing-off,paused";
    loop {
        let open = match world.invocations(open).await {
            Ok(open) if open.is_empty() => return Vec::new(),
            Ok(open) => open.iter().map(|row| format!("not ended: {row}")).collect(),
            Err(error) => vec![error],
        };
        if start.elapsed() > LIMIT {
            return open;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Compares the invocations with the ledger; how many there were, and how many of them failed by design.
pub(crate) async fn compare(world: &World, ledger: &Ledger) -> (Vec<String>, usize, usize) {
    let rows = match world.invocations("").await {
        Ok(rows) => rows,
        Err(error) => return (vec![error], 0, 0),
    };
    let mut problems = Vec::new();
    let mut handlers: BTreeMap<String, u64> = BTreeMap::new();
    let mut keys: HashMap<&str, u64> = HashMap::new();
    let (mut failed, mut by_key) = (0, 0);
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let handler = format!(
            "{}/{}",
            text("target_service_name"),
            text("target_handler_name")
        );
        *handlers.entry(handler).or_default() += 1;
        if text("idempotency_key").starts_with("key-") {
            *keys.entry(text("idempotency_key")).or_default() += 1;
        }
        if text("completion_result") == "failure" {
            failed += 1;
            by_key += usize::from(ledger.failures.contains_key(text("idempotency_key")));
            if !is_due_failure(row, ledger) && !is_stopped(row) {
                problems.push(format!("ended as a failure: {row}"));
            }
        }
    }
    for (handler, due) in &ledger.invocations {
        let found = handlers.get(*handler).copied().unwrap_or_default();
        // What is asked afterwards is not in the ledger.
        if found != *due {
            problems.push(format!(
                "{found} invocations of {handler}, there should be {due}"
            ));
        }
    }
    let twice = keys.iter().filter(|(_, times)| **times != 1);
    problems.extend(twice.map(|(key, times)| format!("{key} made {times} invocations")));
    if keys.len() as u64 != ledger.keys {
        let (found, due) = (keys.len(), ledger.keys);
        problems.push(format!(
            "{due} idempotency keys were used, {found} are known"
        ));
    }
    if by_key != ledger.failures.len() {
        let due = ledger.failures.len();
        problems.push(format!(
            "{by_key} requests have failed, there should be {due}"
        ));
    }
    (problems, rows.len(), failed)
}

/// What is killed or cancelled, and what it had begun.
fn is_stopped(row: &Value) -> bool {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    text("completion_failure").starts_with("[409]")
        && (text("target") == "Steps/endless" || text("target").starts_with("Tally/killed-"))
}
