//! What the mock says to an attempt: Start and Input, signals, and results as the wire has them.

use bytes::Bytes;

use super::{World, failure::shown, record::Outcome};
use crate::{
    context::terminal,
    protocol::{
        MessageType,
        ids::base_64,
        message::{Failure, Header, InputCommand, Start, StateEntry, Value},
    },
    wire::Msg,
};

/// The raw id of the invocation under test.
const RAW_ID: [u8; 24] = [1; 24];
/// The first signal id of an awakeable.
pub(super) const FIRST_AWAKEABLE: u32 = crate::wire::FIRST_AWAKEABLE;

/// A signal to the handler.
#[derive(Debug)]
pub(super) enum SignalId {
    /// By the order in which the handler created them.
    Awakeable(u32),
    Named(String),
    Cancel,
}

impl SignalId {
    pub(super) fn what(&self) -> String {
        match self {
            Self::Awakeable(index) => format!("awakeable {index}"),
            Self::Named(name) => format!("signal `{name}`"),
            Self::Cancel => "cancel".to_owned(),
        }
    }
}

/// Which awakeable of the handler under test has this id, if one of them has.
pub(super) fn own_awakeable(id: &str) -> Option<u32> {
    let bytes = base_64(id.strip_prefix("sign_1")?).ok()?;
    let (raw_id, signal) = bytes.split_at_checked(RAW_ID.len())?;
    if *raw_id != RAW_ID {
        return None;
    }
    u32::from_be_bytes(signal.try_into().ok()?).checked_sub(FIRST_AWAKEABLE)
}

/// Start and Input.
pub(super) fn opening(world: &World) -> [Msg; 2] {
    let setup = &world.setup;
    let record = world.record.borrow();
    let entry = |(key, value): (&String, &Bytes)| StateEntry {
        key: key.clone().into(),
        value: value.clone(),
    };
    let eager = !setup.lazy_state;
    let start = Start {
        id: Bytes::from_static(&RAW_ID),
        debug_id: setup.invocation_id.clone(),
        known_entries: 1,
        state_map: record.state.iter().filter(|_| eager).map(entry).collect(),
        partial_state: setup.lazy_state,
        key: setup.key.clone(),
        retry_count_since_last_stored_entry: setup.retry_count,
        duration_since_last_stored_entry: 0,
        random_seed: setup.seed,
        scope: setup.scope.clone(),
        limit_key: setup.limit_key.clone(),
        idempotency_key: setup.idempotency_key.clone(),
    };
    let header = |(key, value): &(String, String)| Header {
        key: key.clone(),
        value: value.clone(),
    };
    let input = InputCommand {
        headers: setup.headers.iter().map(header).collect(),
        value: Some(Value::default()),
    };
    [
        Msg::new(MessageType::START, &start),
        Msg::new(MessageType::INPUT, &input),
    ]
}

/// A result on the wire, as a test sees it.
pub(super) fn recorded(value: Option<Bytes>, failure: Option<Failure>) -> Outcome {
    match failure {
        None => Ok(value.unwrap_or_default()),
        Some(failure) => Err(terminal(failure)),
    }
}

pub(super) fn shown_outcome(result: &Outcome) -> String {
    match result {
        Ok(value) => shown(value),
        Err(error) => format!("failure {}: {}", error.code(), error.message()),
    }
}
