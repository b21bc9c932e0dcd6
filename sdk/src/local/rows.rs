//! How the engine lies in the store: one row an invocation, one for how it stands, one a record, and the
//! tables by which things are found.
//!
//! In: what has changed. Out: writes. And back: rows to invocations. The rows are protobuf messages, so that
//! fields can be added.

mod keys;
mod writing;

use bytes::Bytes;
use prost::Message;

#[cfg(feature = "local-kafka")]
pub(super) use self::keys::composed;
pub(super) use self::{
    keys::{
        NEXT, expiry_key, idempotency_key, index_of, invocation_key, keyed_key, last_piece,
        status_key,
    },
    writing::writes,
};
use super::store::Table;
use crate::{
    engine::{
        catalog::{HandlerInfo, HandlerType},
        invocation::{Invocation, Next, Outcome, Record, Running, Status, What},
    },
    protocol::{
        MessageType,
        message::{Failure, Header},
    },
    wire::{Awaited, CommandMessage, Error, Msg, Suspension},
};

/// What never changes of an invocation.
#[derive(Clone, PartialEq, Message)]
pub(super) struct InvocationRow {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
    #[prost(uint64, tag = "2")]
    seed: u64,
    #[prost(string, tag = "3")]
    service: String,
    #[prost(string, tag = "4")]
    handler: String,
    #[prost(string, optional, tag = "5")]
    key: Option<String>,
    #[prost(bytes = "bytes", tag = "6")]
    input: Bytes,
    #[prost(message, repeated, tag = "7")]
    headers: Vec<Header>,
    #[prost(string, optional, tag = "8")]
    idempotency_key: Option<String>,
    #[prost(string, optional, tag = "9")]
    scope: Option<String>,
    #[prost(string, optional, tag = "10")]
    limit_key: Option<String>,
    #[prost(uint64, tag = "11")]
    created_at: u64,
    #[prost(string, optional, tag = "12")]
    source: Option<String>,
    #[prost(string, tag = "13")]
    id: String,
    /// How it stands to others of its key, whatever becomes of its handler.
    #[prost(enumeration = "Turns", tag = "14")]
    turns: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Turns {
    Free = 0,
    Exclusive = 1,
    Shared = 2,
    Workflow = 3,
}

impl Turns {
    fn of(ty: HandlerType) -> Self {
        match ty {
            HandlerType::Free => Self::Free,
            HandlerType::Exclusive => Self::Exclusive,
            HandlerType::Shared => Self::Shared,
            HandlerType::Workflow => Self::Workflow,
        }
    }

    fn handler_type(self) -> HandlerType {
        match self {
            Self::Free => HandlerType::Free,
            Self::Exclusive => HandlerType::Exclusive,
            Self::Shared => HandlerType::Shared,
            Self::Workflow => HandlerType::Workflow,
        }
    }
}

/// How an invocation stands.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRow {
    #[prost(enumeration = "Kind", tag = "1")]
    kind: i32,
    /// When it begins, or tries again.
    #[prost(uint64, tag = "2")]
    at: u64,
    #[prost(uint32, tag = "3")]
    attempts: u32,
    #[prost(uint32, tag = "4")]
    failures: u32,
    #[prost(uint32, tag = "5")]
    retries: u32,
    #[prost(uint64, tag = "6")]
    stored_at: u64,
    /// How many invocations it has made.
    #[prost(uint64, tag = "7")]
    made: u64,
    #[prost(uint64, tag = "8")]
    turn: u64,
    #[prost(uint64, tag = "9")]
    completed_at: u64,
    #[prost(uint64, tag = "10")]
    expires_at: u64,
    #[prost(message, optional, tag = "11")]
    awaited: Option<Suspension>,
    #[prost(message, optional, tag = "12")]
    outcome: Option<OutcomeRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Scheduled = 0,
    Queued = 1,
    Running = 2,
    Suspended = 3,
    BackingOff = 4,
    Paused = 5,
    Completed = 6,
}

/// A result. Without a failure it is the value.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OutcomeRow {
    #[prost(bytes = "bytes", tag = "1")]
    value: Bytes,
    #[prost(message, optional, tag = "2")]
    failure: Option<Failure>,
}

/// Something that happened to an invocation.
#[derive(Clone, PartialEq, Message)]
struct RecordRow {
    #[prost(uint64, tag = "1")]
    at: u64,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(enumeration = "Happened", tag = "3")]
    what: i32,
    /// Of commands and notifications: the message.
    #[prost(uint32, tag = "4")]
    ty: u32,
    #[prost(bytes = "bytes", tag = "5")]
    payload: Bytes,
    #[prost(message, optional, tag = "6")]
    awaited: Option<Suspension>,
    #[prost(message, optional, tag = "7")]
    error: Option<Error>,
    /// After a failure: the pause before the next attempt; without one, it was paused or ended.
    #[prost(uint64, optional, tag = "8")]
    retry: Option<u64>,
    #[prost(bool, tag = "9")]
    ended: bool,
    #[prost(message, optional, tag = "10")]
    outcome: Option<OutcomeRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Happened {
    Began = 0,
    Command = 1,
    Notification = 2,
    Closed = 3,
    Suspended = 4,
    Failed = 5,
    Paused = 6,
    Resumed = 7,
    Ended = 8,
}

/// A row that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("a row of the table `{table}` cannot be read: {reason}")]
pub(super) struct BadRow {
    table: &'static str,
    reason: String,
}

impl BadRow {
    fn new(table: Table, reason: impl ToString) -> Self {
        Self {
            table: table.name(),
            reason: reason.to_string(),
        }
    }
}

impl InvocationRow {
    fn of(invocation: &Invocation) -> Self {
        let headers = invocation.headers.iter().map(|(key, value)| Header {
            key: key.clone(),
            value: value.clone(),
        });
        Self {
            raw: Bytes::copy_from_slice(&invocation.raw),
            seed: invocation.seed,
            service: invocation.service.clone(),
            handler: invocation.handler.clone(),
            key: invocation.key.clone(),
            input: invocation.input.clone(),
            headers: headers.collect(),
            idempotency_key: invocation.idempotency_key.clone(),
            scope: invocation.scope.clone(),
            limit_key: invocation.limit_key.clone(),
            created_at: invocation.created_at,
            source: invocation.source.clone(),
            id: invocation.id.clone(),
            turns: Turns::of(invocation.info.ty).into(),
        }
    }
}

impl StatusRow {
    fn of(invocation: &Invocation) -> Self {
        let mut row = Self {
            attempts: invocation.attempts,
            failures: invocation.failures,
            retries: invocation.retries,
            stored_at: invocation.stored_at,
            made: invocation.made,
            turn: invocation.turn,
            ..Self::default()
        };
        let kind = match &invocation.status {
            Status::Scheduled(at) => {
                row.at = *at;
                Kind::Scheduled
            }
            Status::Queued => Kind::Queued,
            // With the process, its attempt would be over.
            Status::Running(running) if running.pausing => Kind::Paused,
            Status::Running(_) => Kind::Running,
            Status::Suspended(awaited) => {
                row.awaited = Some(suspension(awaited));
                Kind::Suspended
            }
            Status::BackingOff(at) => {
                row.at = *at;
                Kind::BackingOff
            }
            Status::Paused => Kind::Paused,
            Status::Completed(outcome) => {
                row.completed_at = invocation.completed_at;
                row.expires_at = invocation.expires_at();
                row.outcome = Some(OutcomeRow::of(outcome));
                Kind::Completed
            }
        };
        row.set_kind(kind);
        row
    }
}

impl OutcomeRow {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Ok(value) => Self {
                value: value.clone(),
                failure: None,
            },
            Err(failure) => Self {
                value: Bytes::new(),
                failure: Some(failure.clone()),
            },
        }
    }

    fn outcome(self) -> Outcome {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.value),
        }
    }
}

fn suspension(awaited: &Awaited) -> Suspension {
    Suspension {
        completions: awaited.completions.clone(),
        signals: awaited.signals.clone(),
        named: awaited.named.clone(),
        tree: None,
    }
}

impl RecordRow {
    fn of(record: &Record) -> Self {
        let mut row = Self {
            at: record.at,
            attempt: record.attempt,
            ..Self::default()
        };
        let what = match &record.what {
            What::Began => Happened::Began,
            What::Command(message, _) => {
                (row.ty, row.payload) = (u32::from(message.ty.0), message.payload.clone());
                Happened::Command
            }
            What::Notification(message, _) => {
                (row.ty, row.payload) = (u32::from(message.ty.0), message.payload.clone());
                Happened::Notification
            }
            What::Closed => Happened::Closed,
            What::Suspended(awaited) => {
                row.awaited = Some(suspension(awaited));
                Happened::Suspended
            }
            What::Failed(error, next) => {
                row.error = Some(error.clone());
                match next {
                    Next::Retry(delay) => row.retry = Some(*delay),
                    Next::Pause => {}
                    Next::End => row.ended = true,
                }
                Happened::Failed
            }
            What::Paused => Happened::Paused,
            What::Resumed => Happened::Resumed,
            // Only the exploration of tests cuts, in memory.
            What::Cut(_) => Happened::Closed,
            What::Ended(outcome) => {
                row.outcome = Some(OutcomeRow::of(outcome));
                Happened::Ended
            }
        };
        row.set_what(what);
        row
    }

    fn record(self) -> Result<Record, BadRow> {
        let bad = |reason: String| BadRow::new(Table::Records, reason);
        let ty = u16::try_from(self.ty).map(MessageType);
        let message = || {
            let ty = ty.map_err(|_| bad(format!("there is no message type {}", self.ty)))?;
            Ok::<_, BadRow>(Msg::raw(ty, self.payload.clone()))
        };
        let awaited = || Awaited::of(self.awaited.clone().unwrap_or_default());
        let known = Happened::try_from(self.what);
        let what = match known.map_err(|error| bad(error.to_string()))? {
            Happened::Began => What::Began,
            Happened::Command => {
                let message = message()?;
                let command = CommandMessage::decode(message.ty, &message.payload);
                let command = command.map_err(|error| bad(error.to_string()))?;
                What::Command(message, Box::new(command))
            }
            Happened::Notification => {
                let message = message()?;
                let notification = message.as_notification();
                let notification =
                    notification.ok_or_else(|| bad("it is no notification".to_owned()))?;
                What::Notification(message, notification)
            }
            Happened::Closed => What::Closed,
            Happened::Suspended => What::Suspended(awaited()),
            Happened::Failed => {
                let next = match (self.retry, self.ended) {
                    (Some(delay), _) => Next::Retry(delay),
                    (None, true) => Next::End,
                    (None, false) => Next::Pause,
                };
                What::Failed(self.error.clone().unwrap_or_default(), next)
            }
            Happened::Paused => What::Paused,
            Happened::Resumed => What::Resumed,
            Happened::Ended => What::Ended(self.outcome.clone().unwrap_or_default().outcome()),
        };
        Ok(Record {
            at: self.at,
            attempt: self.attempt,
            what,
        })
    }
}

// ---- reading ---------------------------------------------------------------------------------

/// A promise's result.
pub(super) fn read_outcome(bytes: Bytes) -> Result<Outcome, BadRow> {
    let row = OutcomeRow::decode(bytes).map_err(|error| BadRow::new(Table::Promises, error))?;
    Ok(row.outcome())
}

pub(super) fn read_record(bytes: Bytes) -> Result<Record, BadRow> {
    let row = RecordRow::decode(bytes).map_err(|error| BadRow::new(Table::Records, error))?;
    row.record()
}

/// An invocation from its rows. `info` gives what is known today of its handler.
pub(super) fn read_invocation(
    row: Bytes,
    status: Bytes,
    records: Vec<Record>,
    info: impl FnOnce(&str, &str) -> HandlerInfo,
) -> Result<Invocation, BadRow> {
    let row = InvocationRow::decode(row).map_err(|error| BadRow::new(Table::Invocations, error))?;
    let bad = |reason: String| BadRow::new(Table::Status, reason);
    let stands = StatusRow::decode(status).map_err(|error| bad(error.to_string()))?;
    let awaited = Awaited::of(stands.awaited.clone().unwrap_or_default());
    let kind = Kind::try_from(stands.kind).map_err(|error| bad(error.to_string()))?;
    let status = match kind {
        Kind::Scheduled => Status::Scheduled(stands.at),
        Kind::Queued => Status::Queued,
        // Its attempt is gone: this one stands for it until the next begins.
        Kind::Running => Status::Running(Running {
            attempt: 0,
            closed_at: None,
            active_at: 0,
            awaiting: None,
            pausing: false,
        }),
        Kind::Suspended => Status::Suspended(awaited),
        Kind::BackingOff => Status::BackingOff(stands.at),
        Kind::Paused => Status::Paused,
        Kind::Completed => Status::Completed(stands.outcome.clone().unwrap_or_default().outcome()),
    };
    let raw = row.raw.as_ref().try_into();
    let raw = raw.map_err(|_| BadRow::new(Table::Invocations, "its id has another length"))?;
    let turns = Turns::try_from(row.turns);
    let turns = turns.map_err(|error| BadRow::new(Table::Invocations, error))?;
    let mut info = info(&row.service, &row.handler);
    info.ty = turns.handler_type();
    if kind == Kind::Completed {
        // How long it is kept was decided when it ended.
        let retention = stands.expires_at.saturating_sub(stands.completed_at);
        (info.idempotency_retention, info.workflow_retention) = (retention, retention);
    }
    let mut invocation = Invocation {
        id: row.id,
        raw,
        seed: row.seed,
        service: row.service,
        handler: row.handler,
        key: row.key,
        info,
        input: row.input,
        headers: row.headers.into_iter().map(|h| (h.key, h.value)).collect(),
        idempotency_key: row.idempotency_key,
        scope: row.scope,
        limit_key: row.limit_key,
        place: None,
        status,
        records: Vec::new(),
        created_at: row.created_at,
        completed_at: stands.completed_at,
        attempts: stands.attempts,
        output: None,
        failures: stands.failures,
        retries: stands.retries,
        stored_at: stands.stored_at,
        children: Vec::new(),
        made: stands.made,
        waiters: Vec::new(),
        last_error: None,
        forgotten: false,
        turn: stands.turn,
        source: row.source,
    };
    for record in &records {
        match &record.what {
            What::Command(_, command) => {
                // The row may be older than the last command.
                invocation.stored_at = invocation.stored_at.max(record.at);
                if let CommandMessage::Output(output) = &**command {
                    invocation.output = Some(output.outcome());
                }
            }
            What::Failed(error, _) => invocation.last_error = Some(error.clone()),
            _ => {}
        }
    }
    invocation.records = records;
    Ok(invocation)
}
