//! The runtime as a state machine: invocations, their journals, keyed queues, timers, promises,
//! idempotency, retries.
//!
//! Events flow in (a request from outside, a message of an attempt, the time), effects flow out (begin
//! this attempt, tell it this, answer that caller). There is no clock, no thread, no I/O and no async
//! here, and everything is a function of the seed and the events: whoever drives the engine decides
//! what happens when.

pub(crate) mod catalog;
mod commands;
mod control;
mod ids;
pub(crate) mod invocation;
mod keyed;
mod submit;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};

use self::{
    catalog::{Catalog, HandlerType},
    invocation::{
        AttemptId, CallerId, Index, Invocation, Next, Outcome, RawId, Record, Running, Status,
        Waiter, What,
    },
    keyed::Keyed,
    submit::IdempotencyKey,
    timers::{Timer, Timers},
};
pub(crate) use self::{
    commands::{already_invoked, not_found},
    submit::{Origin, Submission},
};
use crate::{
    protocol::{
        MessageType, ProtocolVersion,
        message::{
            Failure, Header, InputCommand, Notification, NotificationId, NotificationResult, Start,
            StateEntry, Value, Void,
        },
    },
    random::Rng,
    testing::wire::{Awaited, CommandMessage, Error, Msg, Outgoing},
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
    rng: Rng,
    pub(crate) invocations: Vec<Invocation>,
    by_id: HashMap<String, Index>,
    by_raw: HashMap<RawId, Index>,
    by_idempotency_key: HashMap<IdempotencyKey, Index>,
    attempts: HashMap<AttemptId, Index>,
    next_attempt: AttemptId,
    keyed: Vec<Keyed>,
    /// Service → key → place in `keyed`. Ordered, for lists.
    places: BTreeMap<String, BTreeMap<String, usize>>,
    timers: Timers,
    effects: VecDeque<Effect>,
}

impl Engine {
    pub(crate) fn new(catalog: Catalog, version: ProtocolVersion, seed: u64, now: u64) -> Self {
        Self {
            catalog,
            version,
            now,
            rng: Rng::new(seed),
            invocations: Vec::new(),
            by_id: HashMap::new(),
            by_raw: HashMap::new(),
            by_idempotency_key: HashMap::new(),
            attempts: HashMap::new(),
            next_attempt: 1,
            keyed: Vec::new(),
            places: BTreeMap::new(),
            timers: Timers::default(),
            effects: VecDeque::new(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Index> {
        let index = *self.by_id.get(id)?;
        (!self.invocations[index].forgotten).then_some(index)
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
        let invocation = &mut self.invocations[index];
        let attempt = invocation.attempts;
        invocation.records.push(Record { at, attempt, what });
    }

    // ---- attempts ----------------------------------------------------------------------------

    /// Begins the next attempt of an invocation.
    fn begin(&mut self, index: Index) {
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        self.attempts.insert(attempt, index);
        let now = self.now;
        let invocation = &mut self.invocations[index];
        invocation.attempts += 1;
        invocation.status = Status::Running(Running {
            attempt,
            closed_at: None,
            active_at: now,
            awaiting: None,
        });
        self.record(index, What::Began);
        let frames = self.frames(index);
        self.effects.push_back(Effect::Begin {
            attempt,
            invocation: index,
            frames,
        });
        let inactivity = self.invocations[index].info.inactivity_timeout;
        if inactivity == 0 {
            self.close(attempt);
        } else {
            self.timers
                .add(now.saturating_add(inactivity), Timer::Inactivity(attempt));
        }
    }

    /// Start, Input and the recorded entries.
    fn frames(&self, index: Index) -> Bytes {
        let invocation = &self.invocations[index];
        let lazy = invocation.info.lazy_state;
        let state = match invocation.place {
            Some(place) if !lazy => &self.keyed[place].state,
            _ => &BTreeMap::new(),
        };
        let state_map = state
            .iter()
            .map(|(key, value)| StateEntry {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        let v7 = self.version.has_v7();
        let start = Start {
            id: Bytes::copy_from_slice(&invocation.raw),
            debug_id: invocation.id.clone(),
            known_entries: u32::try_from(1 + invocation.entries().count()).unwrap_or(u32::MAX),
            state_map,
            partial_state: lazy && invocation.place.is_some(),
            key: invocation.key.clone().unwrap_or_default(),
            retry_count_since_last_stored_entry: invocation.failures,
            duration_since_last_stored_entry: if invocation.failures == 0 {
                0
            } else {
                self.now.saturating_sub(invocation.stored_at)
            },
            random_seed: invocation.seed,
            scope: invocation.scope.clone().filter(|_| v7),
            limit_key: invocation.limit_key.clone().filter(|_| v7),
            idempotency_key: invocation.idempotency_key.clone().filter(|_| v7),
        };
        let headers = invocation.headers.iter().map(|(key, value)| Header {
            key: key.clone(),
            value: value.clone(),
        });
        let input = InputCommand {
            headers: headers.collect(),
            value: Some(Value {
                content: invocation.input.clone(),
            }),
        };
        let mut frames = BytesMut::new();
        Msg::new(MessageType::START, &start).write(&mut frames);
        Msg::new(MessageType::INPUT, &input).write(&mut frames);
        for entry in invocation.entries() {
            entry.write(&mut frames);
        }
        frames.freeze()
    }

    /// A message of an attempt. One that is over has nothing to say.
    pub(crate) fn handle_message(&mut self, attempt: AttemptId, message: Outgoing) {
        let Some(&index) = self.attempts.get(&attempt) else {
            return;
        };
        let now = self.now;
        if let Status::Running(running) = &mut self.invocations[index].status {
            running.active_at = now;
            if !matches!(message, Outgoing::AwaitingOn(_)) {
                running.awaiting = None;
            }
        }
        match message {
            Outgoing::Command(ty, payload, command) => {
                let invocation = &mut self.invocations[index];
                let before = (
                    invocation.failures,
                    invocation.retries,
                    invocation.stored_at,
                );
                invocation.failures = 0;
                invocation.retries = 0;
                invocation.stored_at = now;
                let record = What::Command(Msg::raw(ty, payload), Box::new(command.clone()));
                self.record(index, record);
                if let Err(refusal) = self.react(index, command) {
                    // What cannot be carried out is not stored.
                    let invocation = &mut self.invocations[index];
                    invocation.records.pop();
                    (
                        invocation.failures,
                        invocation.retries,
                        invocation.stored_at,
                    ) = before;
                    let error = Error {
                        code: 500,
                        message: refusal,
                        ..Error::default()
                    };
                    self.fail(index, error);
                }
            }
            Outgoing::Proposal(id, result) => self.complete_run(index, id, result),
            Outgoing::AwaitingOn(awaited) => {
                if let Status::Running(running) = &mut self.invocations[index].status {
                    running.awaiting = Some(awaited);
                }
            }
            Outgoing::EphemeralRead(read) => self.answer_ephemeral(index, attempt, &read),
            Outgoing::Suspension(awaited) => self.suspend(index, awaited),
            Outgoing::Error(error) => self.fail(index, error),
            Outgoing::End => match self.invocations[index].output.take() {
                Some(outcome) => self.complete(index, outcome),
                None => self.fail(index, violation("the attempt said End without an Output")),
            },
        }
    }

    /// The attempt's response broke off, or cannot be read.
    pub(crate) fn handle_broken(&mut self, attempt: AttemptId, reason: &str) {
        if let Some(&index) = self.attempts.get(&attempt) {
            self.fail(index, violation(reason));
        }
    }

    /// Ends the request of an attempt: whoever waits there suspends.
    pub(crate) fn close(&mut self, attempt: AttemptId) {
        let Some(&index) = self.attempts.get(&attempt) else {
            return;
        };
        let known = self.invocations[index].records.len();
        let abort = self.invocations[index].info.abort_timeout;
        let Status::Running(running) = &mut self.invocations[index].status else {
            return;
        };
        if running.closed_at.is_some() {
            return;
        }
        running.closed_at = Some(known);
        running.active_at = self.now;
        self.record(index, What::Closed);
        self.effects.push_back(Effect::Close { attempt });
        let due = self.now.saturating_add(abort);
        self.timers.add(due, Timer::Abort(attempt));
    }

    /// The attempt of an invocation is over, whoever ended it.
    fn end_attempt(&mut self, index: Index) -> Option<Running> {
        let Status::Running(running) = &self.invocations[index].status else {
            return None;
        };
        let running = running.clone();
        self.attempts.remove(&running.attempt);
        self.timers.remove(&Timer::Inactivity(running.attempt));
        self.timers.remove(&Timer::Abort(running.attempt));
        self.invocations[index].output = None;
        self.effects.push_back(Effect::Drop {
            attempt: running.attempt,
        });
        Some(running)
    }

    fn suspend(&mut self, index: Index, awaited: Awaited) {
        let Some(running) = self.end_attempt(index) else {
            return;
        };
        let known = running.closed_at;
        let invocation = &mut self.invocations[index];
        let unseen = &invocation.records[known.unwrap_or(invocation.records.len())..];
        let is_awake = unseen.iter().any(|record| match &record.what {
            What::Notification(_, notification) => is_awaited(&awaited, notification),
            _ => false,
        });
        invocation.status = Status::Suspended(awaited.clone());
        self.record(index, What::Suspended(awaited));
        if is_awake {
            self.begin(index);
        }
    }

    /// The attempt failed.
    fn fail(&mut self, index: Index, error: Error) {
        self.end_attempt(index);
        let now = self.now;
        let invocation = &mut self.invocations[index];
        invocation.failures = invocation.failures.saturating_add(1);
        if invocation.failures == 1 && invocation.stored_at == 0 {
            invocation.stored_at = now;
        }
        invocation.last_error = Some(error.clone());
        let retry = &invocation.info.retry;
        let next = match (error.behavior, error.delay) {
            (1, _) => Next::Pause,
            (2, _) => Next::End,
            (_, Some(delay)) => Next::Retry(delay),
            _ => {
                invocation.retries = invocation.retries.saturating_add(1);
                if invocation.retries < retry.attempts {
                    Next::Retry(retry.delay(invocation.retries))
                } else if retry.kill {
                    Next::End
                } else {
                    Next::Pause
                }
            }
        };
        let failure = Failure {
            code: error.code,
            message: error.message.clone(),
            metadata: Vec::new(),
        };
        self.record(index, What::Failed(error, next));
        match next {
            Next::Retry(delay) => {
                let due = now.saturating_add(delay);
                self.invocations[index].status = Status::BackingOff(due);
                self.timers.add(due, Timer::Retry(index));
            }
            Next::Pause => {
                self.invocations[index].status = Status::Paused;
                self.record(index, What::Paused);
            }
            Next::End => self.complete(index, Err(failure)),
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
        if self.invocations[index].is_over() {
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
        let ty = crate::testing::wire::completion_type(command);
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

fn violation(message: &str) -> Error {
    Error {
        code: 571,
        message: message.to_owned(),
        ..Error::default()
    }
}

fn is_awaited(awaited: &Awaited, notification: &Notification) -> bool {
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
