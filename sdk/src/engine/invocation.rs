//! What the engine keeps of one invocation.

use bytes::Bytes;

use super::{
    catalog::{HandlerInfo, HandlerType},
    keyed::KeyedId,
    submit::{IdempotencyKey, idempotent},
};
use crate::{
    protocol::message::{Failure, Notification, NotificationId},
    wire::{Awaited, CommandMessage, Error, Msg},
};

/// An invocation by its place in the store, which is never given to another one.
pub(crate) type Index = usize;
/// An attempt by its number in the life of the runtime.
pub(crate) type AttemptId = u64;
/// Somebody outside who waits for an outcome.
pub(crate) type CallerId = u64;
/// How an invocation ended.
pub(crate) type Outcome = Result<Bytes, Failure>;

/// The bytes of an invocation's id: 8 of the partition key, 16 of its own.
pub(crate) type RawId = [u8; 24];

#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    pub(crate) id: String,
    pub(crate) raw: RawId,
    pub(crate) seed: u64,
    pub(crate) service: String,
    pub(crate) handler: String,
    pub(crate) key: Option<String>,
    pub(crate) info: HandlerInfo,
    pub(crate) input: Bytes,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) limit_key: Option<String>,
    /// The object or workflow, for keyed services.
    pub(crate) place: Option<usize>,
    pub(crate) status: Status,
    /// Everything that happened, in order; the journal are its commands and notifications.
    pub(crate) records: Vec<Record>,
    pub(crate) created_at: u64,
    pub(crate) completed_at: u64,
    pub(crate) attempts: u32,
    /// The result of the Output command in the journal: a later attempt may be the one that says End.
    pub(crate) output: Option<Outcome>,
    /// Failed attempts since a command was stored, as `Start` tells them.
    pub(crate) failures: u32,
    /// Failed attempts that count for the retry policy: since the invocation began, was suspended or resumed.
    pub(crate) retries: u32,
    pub(crate) stored_at: u64,
    /// Whom it has called or sent something: a kill reaches them.
    pub(crate) children: Vec<Index>,
    /// How many invocations it has made.
    pub(crate) made: u64,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) last_error: Option<Error>,
    /// Ended before it began, or retained no longer: nobody finds it by its id.
    pub(crate) forgotten: bool,
    /// Its place in the line of those that waited for their turn.
    pub(crate) turn: u64,
    /// The subscription that it came by.
    pub(crate) source: Option<String>,
}

impl Invocation {
    /// What it is found by, if it was requested with an idempotency key.
    pub(crate) fn idempotent(&self) -> Option<IdempotencyKey> {
        idempotent(
            &self.service,
            self.key.as_deref(),
            &self.handler,
            self.idempotency_key.as_deref(),
            self.scope.as_deref(),
        )
    }

    /// The object or workflow that it belongs to.
    pub(crate) fn keyed_id(&self) -> Option<KeyedId> {
        let key = self.key.as_deref()?;
        Some(KeyedId::new(&self.service, key, self.scope.as_deref()))
    }

    /// The workflow that it is the run of.
    pub(crate) fn run_of(&self) -> Option<KeyedId> {
        match self.info.ty {
            HandlerType::Workflow => self.keyed_id(),
            _ => None,
        }
    }

    /// The stored journal without the Input command.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Msg> {
        self.records.iter().filter_map(|record| match &record.what {
            What::Command(msg, _) | What::Notification(msg, _) => Some(msg),
            _ => None,
        })
    }

    /// Whether the completion with this id is stored.
    pub(crate) fn is_completed(&self, id: u32) -> bool {
        self.records.iter().any(|record| {
            matches!(&record.what, What::Notification(_, Notification { id: Some(NotificationId::Completion(known)), .. }) if *known == id)
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status, Status::Completed(_))
    }

    /// It has ended, and its result is kept no longer.
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.is_over() && self.expires_at() <= now
    }

    /// Until when the result of one that has ended is kept.
    pub(crate) fn expires_at(&self) -> u64 {
        let retention = match self.info.ty {
            HandlerType::Workflow => self.info.workflow_retention,
            // Also without an idempotency key.
            _ => self.info.idempotency_retention,
        };
        self.completed_at.saturating_add(retention)
    }

    /// It waits for its time, or for its turn.
    pub(crate) fn is_unbegun(&self) -> bool {
        matches!(self.status, Status::Scheduled(_) | Status::Queued)
    }

    /// `Service/handler`, or `Service/key/handler`.
    pub(crate) fn target(&self) -> String {
        match &self.key {
            Some(key) => format!("{}/{key}/{}", self.service, self.handler),
            None => format!("{}/{}", self.service, self.handler),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Status {
    /// Begins later.
    Scheduled(u64),
    /// Waits for its turn at its key.
    Queued,
    Running(Running),
    Suspended(Awaited),
    BackingOff(u64),
    Paused,
    Completed(Outcome),
}

#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) attempt: AttemptId,
    /// How many records there were when the request ended: of later ones the attempt does not know.
    pub(crate) closed_at: Option<usize>,
    pub(crate) active_at: u64,
    /// What it waits for, as far as it says so (v7).
    pub(crate) awaiting: Option<Awaited>,
    /// When the attempt is over, no other one begins.
    pub(crate) pausing: bool,
}

/// Who is told how an invocation ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Waiter {
    Outside(CallerId),
    /// An invocation, by the completion id of its command, and whether that was a Call.
    Invocation {
        index: Index,
        completion: u32,
        is_call: bool,
    },
}

/// Something that happened to an invocation.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) at: u64,
    /// Attempts so far.
    pub(crate) attempt: u32,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Began,
    Command(Msg, Box<CommandMessage>),
    Notification(Msg, Notification),
    /// The request ended, for the attempt to suspend.
    Closed,
    Suspended(Awaited),
    Failed(Error, Next),
    Paused,
    Resumed,
    /// The exploration cut it here, in this way.
    Cut(&'static str),
    Ended(Outcome),
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    /// The next attempt, after so many milliseconds.
    Retry(u64),
    Pause,
    End,
}
