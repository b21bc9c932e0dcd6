//! What the server has recorded and what the logs say, compared with the ledger.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    time::{Duration, Instant},
};

use durably::test_server::RestateServer;
use serde_json::Value;

use super::Ledger;

/// How long the server has for what is still open when nothing is asked any more.
const LIMIT: Duration = Duration::from_secs(60);

/// What the server has recorded.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) problems: Vec<String>,
    pub(crate) invocations: u64,
    /// Invocations that have ended as failures; those that should not are among the problems.
    pub(crate) failed: u64,
    /// Those of them that are journal mismatches or protocol violations.
    pub(crate) mismatches: u64,
}

impl Records {
    /// Waits until no invocation is open any more.
    pub(crate) async fn all_ended(server: &RestateServer) -> Vec<String> {
        let mut records = Self::default();
        records.await_ends(server).await;
        records.problems
    }

    /// Compares the invocations with the ledger, once they have all ended.
    pub(crate) async fn of(server: &RestateServer, ledger: &Ledger) -> Self {
        let mut records = Self::default();
        records.await_ends(server).await;
        records.counts(server, ledger).await;
        records.failures(server, ledger).await;
        records
    }

    async fn rows(&mut self, server: &RestateServer, sql: &str) -> Vec<Value> {
        match server.query(sql).await {
            Ok(rows) => rows,
            Err(error) => {
                self.problems.push(format!("{sql}: {error}"));
                Vec::new()
            }
        }
    }

    async fn await_ends(&mut self, server: &RestateServer) {
        let sql = "SELECT id, target, status, retry_count, last_failure FROM sys_invocation \
             WHERE status <> 'completed'";
        let start = Instant::now();
        loop {
            let open = self.rows(server, sql).await;
            if open.is_empty() {
                return;
            }
            if start.elapsed() > LIMIT {
                let open = open.iter().map(|row| format!("not ended: {row}"));
                self.problems.extend(open);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Each handler was invoked as often as it should, and each idempotency key made one invocation.
    async fn counts(&mut self, server: &RestateServer, ledger: &Ledger) {
        let sql = "SELECT target_service_name || '/' || target_handler_name AS handler, \
             COUNT(*) AS n FROM sys_invocation GROUP BY 1";
        let mut found = BTreeMap::new();
        for row in self.rows(server, sql).await {
            let handler = row["handler"].as_str().unwrap_or_default().to_owned();
            let n = row["n"].as_u64().unwrap_or_default();
            self.invocations += n;
            found.insert(handler, n);
        }
        for (handler, due) in &ledger.invocations {
            let found = found.get(*handler).copied().unwrap_or_default();
            // What is asked afterwards is not in the ledger.
            if found != *due {
                self.problems.push(format!(
                    "{found} invocations of {handler}, there should be {due}"
                ));
            }
        }
        let sql = "SELECT COUNT(*) AS n, COUNT(DISTINCT idempotency_key) AS keys \
             FROM sys_invocation WHERE idempotency_key LIKE 'key-%'";
        for row in self.rows(server, sql).await {
            let due = ledger.keys;
            if row["n"].as_u64() != Some(due) || row["keys"].as_u64() != Some(due) {
                self.problems
                    .push(format!("{due} idempotency keys were used, and made {row}"));
            }
        }
    }

    /// What has ended as a failure is what should.
    async fn failures(&mut self, server: &RestateServer, ledger: &Ledger) {
        let sql = "SELECT id, target, idempotency_key, completion_failure FROM sys_invocation \
             WHERE completion_result = 'failure'";
        let mut by_key = 0;
        for row in self.rows(server, sql).await {
            self.failed += 1;
            let text = |name: &str| row[name].as_str().unwrap_or_default();
            if is_mismatch(text("completion_failure")) {
                self.mismatches += 1;
            }
            by_key += usize::from(ledger.failures.contains_key(text("idempotency_key")));
            if !is_due_failure(&row, ledger) {
                self.problems.push(format!("ended as a failure: {row}"));
            }
        }
        if by_key != ledger.failures.len() {
            let due = ledger.failures.len();
            let problem = format!("{by_key} requests have failed, there should be {due}");
            self.problems.push(problem);
        }
    }
}

/// Whether this invocation had to end as the failure that it did.
pub(crate) fn is_due_failure(row: &Value, ledger: &Ledger) -> bool {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let (failure, target) = (text("completion_failure"), text("target"));
    match ledger.failures.get(text("idempotency_key")) {
        Some(message) => failure.starts_with(&format!("[500] {message}")),
        None if target.starts_with("Failing/") => {
            target.ends_with("/terminallyFailingCall")
                && failure.starts_with("[500] fails by design")
        }
        None => {
            (target.starts_with("CancelTestBlockingService/")
                || target.starts_with("AwakeableHolder/"))
                && failure.starts_with("[409]")
        }
    }
}

fn is_mismatch(failure: &str) -> bool {
    failure.contains("[570]") || failure.contains("[571]")
}

/// How many attempts have failed, by the code that the server's log gives.
pub(crate) fn failed_attempts(server_log: &str) -> BTreeMap<String, u64> {
    let mut codes = BTreeMap::new();
    for entry in server_log.split("Invocation error").skip(1) {
        let code = entry
            .split_once("restate.error.code=")
            .map_or("none", |(_, rest)| {
                rest.split_whitespace().next().unwrap_or_default()
            });
        *codes.entry(code.to_owned()).or_default() += 1;
    }
    codes
}

/// How many warnings a log has, but for attempts that fail by design. Of a line that a kill has cut off nobody can
/// say what it is about.
pub(crate) fn warnings_of(log: &str) -> u64 {
    let by_design = ["the attempt failed", "Failing/", "error=[500]"];
    let warnings = log.lines().filter(|line| {
        line.contains(" WARN ")
            && !line.ends_with(CUT_OFF)
            && !by_design.iter().all(|part| line.contains(part))
    });
    warnings.count().try_into().unwrap()
}

/// How a line ends that a process was killed in the middle of.
pub(crate) const CUT_OFF: &str = " (cut off)";

/// Ends the last line of what a process wrote that was killed, so that the next one begins on a line of its own.
/// (The system writes a line page by page, and a kill may come between two of them.)
pub(crate) fn end_last_line(path: &Path) {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .open(path)
        .unwrap();
    let mut last = [b'\n'];
    // An empty file has nothing before its end.
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last).unwrap();
    }
    if last != [b'\n'] {
        writeln!(file, "{CUT_OFF}").unwrap();
    }
}

/// How many lines of a log contain all of these.
pub(crate) fn matches_of(log: &str, parts: &[&str]) -> u64 {
    let lines = log
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)));
    lines.count().try_into().unwrap()
}
