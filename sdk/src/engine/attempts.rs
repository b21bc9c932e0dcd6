//! Attempts: how they begin, what they say, how they end.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::{
    Effect, Engine,
    invocation::{AttemptId, Index, Next, Running, Status, What},
    is_awaited,
    timers::Timer,
};
use crate::{
    protocol::{
        MessageType,
        message::{Failure, Header, InputCommand, Start, StateEntry, Value},
    },
    wire::{Awaited, Error, Msg, Outgoing},
};

/// What an attempt is told of the state at its start, in bytes. What goes beyond it asks for: an endpoint takes
/// no message of any length.
const MAX_EAGER_STATE: usize = 32 * 1024 * 1024;

impl Engine {
    /// Begins the next attempt of an invocation.
    pub(super) fn begin(&mut self, index: Index) {
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
            pausing: false,
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
        let mut room = MAX_EAGER_STATE;
        let state_map: Vec<_> = state
            .iter()
            .filter(|(key, value)| {
                let left = room.checked_sub(key.len() + value.len());
                room = left.unwrap_or(room);
                left.is_some()
            })
            .map(|(key, value)| StateEntry {
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        let cut = state_map.len() < state.len();
        let v7 = self.version.has_v7();
        let start = Start {
            id: Bytes::copy_from_slice(&invocation.raw),
            debug_id: invocation.id.clone(),
            known_entries: u32::try_from(1 + invocation.entries().count()).unwrap_or(u32::MAX),
            state_map,
            partial_state: cut || lazy && invocation.place.is_some(),
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
                let before = (invocation.failures, invocation.stored_at);
                invocation.failures = 0;
                invocation.stored_at = now;
                if before.0 > 0 {
                    self.touch(index);
                }
                let record = What::Command(Msg::raw(ty, payload), Box::new(command.clone()));
                self.record(index, record);
                if let Err(refusal) = self.react(index, command) {
                    // What cannot be carried out is not stored.
                    self.take_back(index);
                    let invocation = &mut self.invocations[index];
                    (invocation.failures, invocation.stored_at) = before;
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
        // Not at once: the time would stand still where the next attempt begins at once, too.
        let due = self.now.saturating_add(abort.max(1));
        self.timers.add(due, Timer::Abort(attempt));
    }

    /// The attempt of an invocation is over, whoever ended it.
    pub(super) fn end_attempt(&mut self, index: Index) -> Option<Running> {
        let Status::Running(running) = &self.invocations[index].status else {
            return None;
        };
        let running = running.clone();
        self.attempts.remove(&running.attempt);
        self.timers.remove(&Timer::Inactivity(running.attempt));
        self.timers.remove(&Timer::Abort(running.attempt));
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
        invocation.retries = 0;
        invocation.status = Status::Suspended(awaited.clone());
        self.record(index, What::Suspended(awaited));
        if running.pausing {
            self.set_paused(index);
        } else if is_awake {
            self.begin(index);
        }
    }

    /// The attempt failed.
    pub(super) fn fail(&mut self, index: Index, error: Error) {
        let running = self.end_attempt(index);
        let pausing = running.is_some_and(|running| running.pausing);
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
        let next = match next {
            Next::Retry(_) if pausing => Next::Pause,
            next => next,
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
            Next::Pause => self.set_paused(index),
            Next::End => self.complete(index, Err(failure)),
        }
    }
}

pub(super) fn violation(message: &str) -> Error {
    Error {
        code: 571,
        message: message.to_owned(),
        ..Error::default()
    }
}
