//! The runtime as a state machine: invocations, their journals, keyed queues, timers, promises,
//! idempotency, retries.
//!
//! Events flow in (a request from outside, a message of an attempt, the time), effects flow out (begin
//! this attempt, tell it this, answer that caller). There is no clock, no thread, no I/O and no async
//! here, and everything is a function of the seed and the events: whoever drives the engine decides
//! what happens when.

mod arena;
mod attempts;
pub(crate) mod catalog;
pub(crate) mod changes;
mod commands;
mod control;
mod ids;
pub(crate) mod invocation;
pub(crate) mod keyed;
pub(crate) mod paging;
pub(crate) mod submit;
#[cfg(test)]
mod tests;
mod timers;
pub(crate) mod words;

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

#[cfg(any(test, feature = "testing"))]
pub(crate) use self::ids::Fnv;
use self::{
    arena::Arena,
    catalog::{Catalog, HandlerType},
    changes::{Change, Changes},
    invocation::{
        AttemptId, CallerId, Index, Invocation, Outcome, RawId, Record, Status, Waiter, What,
    },
    keyed::{Keyed, KeyedId},
    paging::{Archive, Leaving, Lookup},
    submit::IdempotencyKey,
    timers::Timers,
};
pub(crate) use self::{
    commands::{already_invoked, not_found},
    control::does_not_exist,
    ids::check_invocation_id,
    submit::{Origin, Submission},
    timers::Timer,
};
use crate::{
    protocol::{
        MessageType, ProtocolVersion,
        message::{Failure, Notification, NotificationId, NotificationResult, Value, Void},
    },
    random::Rng,
    wire::{Awaited, CommandMessage, Msg},
};

/// What is to be done outside.
#[derive(Debug)]
pub(crate) enum Effect {
    /// An attempt begins: a request to this handler, with these bytes.
    Begin {
        attempt: AttemptId,
        invocation: Index,
        frames: Bytes,
    },
    Tell {
        attempt: AttemptId,
        message: Msg,
    },
    /// The request of the attempt ends.
    Close {
        attempt: AttemptId,
    },
    /// The attempt is of no interest any more.
    Drop {
        attempt: AttemptId,
    },
    Answer {
        caller: CallerId,
        outcome: Outcome,
    },
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) catalog: Catalog,
    version: ProtocolVersion,
    now: u64,
    seed: u64,
    rng: Rng,
    /// How many invocations were made from outside.
    made: u64,
    /// What is due waits to be told that it happens: see [`Engine::fire_due`].
    pub(crate) stepwise: bool,
    pub(crate) invocations: Arena<Invocation>,
    by_id: HashMap<String, Index>,
    by_raw: HashMap<RawId, Index>,
    by_idempotency_key: HashMap<IdempotencyKey, Index>,
    attempts: HashMap<AttemptId, Index>,
    next_attempt: AttemptId,
    keyed: Arena<Keyed>,
    /// Places in `keyed`. Ordered, for lists.
    places: BTreeMap<KeyedId, usize>,
    timers: Timers,
    effects: VecDeque<Effect>,
    /// How many have waited for their turn.
    turns: u64,
    /// If somebody wants to know.
    changes: Option<Changes>,
    /// Where the past is, if not in memory.
    archive: Option<Box<dyn Archive>>,
    /// See [`Engine::take_leaving`].
    leaving: Leaving,
    /// How often each of these was told to be leaving, and has not been evicted.
    held: HashMap<Index, u32>,
    held_places: HashMap<usize, u32>,
}

impl Engine {
    pub(crate) fn new(catalog: Catalog, version: ProtocolVersion, seed: u64, now: u64) -> Self {
        Self {
            catalog,
            version,
            now,
            seed,
            rng: Rng::new(seed),
            made: 0,
            stepwise: false,
            invocations: Arena::default(),
            by_id: HashMap::new(),
            by_raw: HashMap::new(),
            by_idempotency_key: HashMap::new(),
            attempts: HashMap::new(),
            next_attempt: 1,
            keyed: Arena::default(),
            places: BTreeMap::new(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            turns: 0,
            changes: None,
            archive: None,
            leaving: Leaving::default(),
            held: HashMap::new(),
            held_places: HashMap::new(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn find(&mut self, id: &str) -> Option<Index> {
        let known = self.by_id.get(id).copied();
        let index = known.or_else(|| self.fetch(Lookup::Id(id)))?;
        let invocation = &self.invocations[index];
        (!invocation.forgotten && !invocation.is_expired(self.now)).then_some(index)
    }

    /// Whether an invocation is there and has not ended.
    pub(crate) fn is_live(&self, index: Index) -> bool {
        let one = self.invocations.get(index);
        one.is_some_and(|one| !one.is_over())
    }

    /// Any invocation that there ever was, for looking at.
    pub(crate) fn find_any(&self, id: &str) -> Option<Index> {
        self.by_id.get(id).copied()
    }

    /// Chooses one of `n`, by the seed.
    pub(crate) fn choose(&mut self, n: usize) -> usize {
        if n < 2 {
            return 0;
        }
        self.rng.below(n as u64) as usize
    }

    fn record(&mut self, index: Index, what: What) {
        let at = self.now;
        // A longer journal alone changes nothing in how the invocation stands.
        let touches = !matches!(what, What::Command(..) | What::Notification(..));
        let invocation = &mut self.invocations[index];
        let attempt = invocation.attempts;
        invocation.records.push(Record { at, attempt, what });
        let number = invocation.records.len() - 1;
        self.changed(|| Change::Recorded(index, number));
        if touches {
            self.touch(index);
        }
    }

    // ---- notifications -----------------------------------------------------------------------

    /// Stores a notification, and passes it on to whom it is for.
    fn notify(
        &mut self,
        index: Index,
        ty: MessageType,
        id: NotificationId,
        result: NotificationResult,
    ) {
        if !self.is_live(index) {
            return;
        }
        let message = Msg::notification(ty, id.clone(), result.clone());
        let notification = Notification {
            id: Some(id),
            result: Some(result),
        };
        let wakes = match &self.invocations[index].status {
            Status::Suspended(awaited) => is_awaited(awaited, &notification),
            _ => false,
        };
        self.record(index, What::Notification(message.clone(), notification));
        self.tell(index, message);
        if wakes {
            self.begin(index);
        }
    }

    /// Tells the running attempt, if it still listens.
    fn tell(&mut self, index: Index, message: Msg) {
        let now = self.now;
        if let Status::Running(running) = &mut self.invocations[index].status
            && running.closed_at.is_none()
        {
            running.active_at = now;
            let attempt = running.attempt;
            self.effects.push_back(Effect::Tell { attempt, message });
        }
    }

    fn complete_with(
        &mut self,
        index: Index,
        command: MessageType,
        id: u32,
        result: NotificationResult,
    ) {
        let ty = crate::wire::completion_type(command);
        self.notify(index, ty, NotificationId::Completion(id), result);
    }

    // ---- the end -----------------------------------------------------------------------------

    /// The invocation has ended.
    fn complete(&mut self, index: Index, outcome: Outcome) {
        self.end_attempt(index);
        if let Status::BackingOff(_) = self.invocations[index].status {
            self.timers.remove(&Timer::Retry(index));
        }
        self.record(index, What::Ended(outcome.clone()));
        // Nobody waits for its timers any more.
        for record in &self.invocations[index].records {
            if let What::Command(_, command) = &record.what
                && let CommandMessage::Sleep(sleep) = &**command
            {
                self.timers.remove(&Timer::Sleep(index, sleep.result));
            }
        }
        let now = self.now;
        let invocation = &mut self.invocations[index];
        invocation.status = Status::Completed(outcome.clone());
        invocation.completed_at = now;
        for waiter in std::mem::take(&mut invocation.waiters) {
            self.tell_outcome(waiter, &outcome);
        }
        self.release(index);
        self.leave(index);
    }

    fn tell_outcome(&mut self, waiter: Waiter, outcome: &Outcome) {
        match waiter {
            Waiter::Outside(caller) => {
                let outcome = outcome.clone();
                self.effects.push_back(Effect::Answer { caller, outcome });
            }
            Waiter::Invocation {
                index,
                completion,
                is_call,
            } => {
                let ty = if is_call {
                    MessageType::CALL
                } else {
                    MessageType::ATTACH_INVOCATION
                };
                self.complete_with(index, ty, completion, of_outcome(outcome));
            }
        }
    }

    /// Its key is free for the next one.
    fn release(&mut self, index: Index) {
        let invocation = &self.invocations[index];
        let Some(place) = invocation.place else {
            return;
        };
        if matches!(invocation.info.ty, HandlerType::Shared) {
            return;
        }
        let keyed = &mut self.keyed[place];
        if keyed.running == Some(index) {
            keyed.running = keyed.queue.pop_front();
            if let Some(next) = keyed.running {
                self.begin(next);
            }
        } else {
            keyed.queue.retain(|waiting| *waiting != index);
        }
    }
}

/// Whether this is one of the things that are awaited.
pub(crate) fn is_awaited(awaited: &Awaited, notification: &Notification) -> bool {
    match &notification.id {
        Some(NotificationId::Completion(id)) => awaited.completions.contains(id),
        Some(NotificationId::Signal(id)) => awaited.signals.contains(id),
        Some(NotificationId::NamedSignal(name)) => awaited.named.contains(name),
        None => false,
    }
}

fn of_outcome(outcome: &Outcome) -> NotificationResult {
    match outcome {
        Ok(content) => NotificationResult::Value(Value {
            content: content.clone(),
        }),
        Err(failure) => NotificationResult::Failure(Box::new(failure.clone())),
    }
}

const VOID: NotificationResult = NotificationResult::Void(Void {});

fn failure(code: u32, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        metadata: Vec::new(),
    }
}
