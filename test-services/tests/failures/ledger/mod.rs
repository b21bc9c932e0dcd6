//! The ledger: what the load has asked for and been told, and so what must be true in the end.
//!
//! In: entries by the jobs of the load. Out: problems, found by comparing what the services say
//! (`check.rs`) and what the server and the logs say (`records.rs`) with the entries.

mod check;
mod records;

use std::collections::BTreeMap;

use bytes::Bytes;
use durably::test_server::IngressRequest;

pub(crate) use self::check::check;
#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use self::records::{
    CUT_OFF, Records, end_last_line, failed_attempts, is_due_failure, matches_of, warnings_of,
};

/// What a request has come to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Output { id: Option<String>, body: Bytes },
    Failed { status: u16, message: String },
}

/// A request with an idempotency key, and its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: IngressRequest,
    pub(crate) answer: Answer,
}

/// A request that was sent with an idempotency key (a workflow: with its own key), and the invocation
/// it became.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) request: IngressRequest,
    pub(crate) id: String,
}

/// All entries.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Idempotency keys that were used, all of them different.
    pub(crate) keys: u64,
    pub(crate) asked: Vec<Asked>,
    pub(crate) submitted: Vec<Submitted>,
    /// Invocations that were attached to, and what they came to.
    pub(crate) attached: Vec<(String, Answer)>,
    /// How many invocations each handler must have had. Handlers that are missing are not counted.
    pub(crate) invocations: BTreeMap<&'static str, u64>,
    /// The sum that each counter must hold.
    pub(crate) counters: BTreeMap<String, i64>,
    /// Old and new value of each addition, for counters to which nobody else adds.
    pub(crate) additions: BTreeMap<String, Vec<(i64, i64)>>,
    /// The items that each list must hold, in any order.
    pub(crate) lists: BTreeMap<String, Vec<String>>,
    /// The items that each list must hold, in this order.
    pub(crate) ordered_lists: BTreeMap<String, Vec<String>>,
    pub(crate) maps: BTreeMap<String, BTreeMap<String, String>>,
    /// The results that each program must have left behind.
    pub(crate) programs: BTreeMap<String, Vec<String>>,
    /// The input of each workflow.
    pub(crate) workflows: BTreeMap<String, String>,
    /// The message of each invocation that must fail, by its idempotency key.
    pub(crate) failures: BTreeMap<String, String>,
    /// Answers that were wrong when they came, and requests that were never answered.
    pub(crate) problems: Vec<String>,
}

impl Ledger {
    /// Enters that a handler must have been invoked so many times more.
    pub(crate) fn invoked(&mut self, handler: &'static str, times: u64) {
        *self.invocations.entry(handler).or_default() += times;
    }

    /// Enters that so much is added to a counter.
    pub(crate) fn added(&mut self, counter: &str, n: i64) {
        *self.counters.entry(counter.to_owned()).or_default() += n;
        self.invoked("Counter/add", 1);
    }
}
