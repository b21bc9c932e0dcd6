//! Ephemeral state reads (protocol v8): answered within the attempt, and not in the journal.
//!
//! Only a run's closure may make them, since a replay does not repeat them. Their ids count from 1
//! in each attempt. A read that is still open when the request ends will not be answered any more:
//! the attempt then fails, to be tried again.

use std::{
    collections::BTreeMap,
    task::{Poll, Waker},
};

use bytes::Bytes;

use super::cell::Cell;
use crate::journal::{AttemptError, Known};

/// What a read resulted in: the value, if the key is set.
pub(crate) type Read = Option<Bytes>;

#[derive(Debug)]
enum Entry {
    Open(Option<Waker>),
    Answered(Read),
}

/// The ephemeral reads of an attempt.
#[derive(Debug, Default)]
pub(crate) struct EphemeralReads {
    last: u32,
    reads: BTreeMap<u32, Entry>,
}

impl EphemeralReads {
    /// A new read that the runtime is asked for.
    pub(crate) fn open(&mut self) -> u32 {
        self.last = self.last.saturating_add(1);
        self.reads.insert(self.last, Entry::Open(None));
        self.last
    }

    /// The runtime has answered; wake what is returned. An answer nobody waits for is ignored.
    pub(crate) fn answer(&mut self, id: u32, read: Read) -> Option<Waker> {
        let entry = self.reads.get_mut(&id)?;
        match std::mem::replace(entry, Entry::Answered(read)) {
            Entry::Open(waker) => waker,
            Entry::Answered(_) => None,
        }
    }

    /// Takes the answer, or leaves a waker; the second value is one to drop outside of the lock.
    pub(crate) fn poll(&mut self, id: u32, waker: &Waker) -> (Poll<Read>, Option<Waker>) {
        match self.reads.get_mut(&id) {
            Some(Entry::Open(kept)) => {
                let unchanged = kept.as_ref().is_some_and(|kept| kept.will_wake(waker));
                (
                    Poll::Pending,
                    if unchanged {
                        None
                    } else {
                        kept.replace(waker.clone())
                    },
                )
            }
            Some(Entry::Answered(read)) => {
                let read = read.take();
                self.reads.remove(&id);
                (Poll::Ready(read), None)
            }
            None => (Poll::Pending, None),
        }
    }

    /// The read's future is dropped.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Waker> {
        match self.reads.remove(&id)? {
            Entry::Open(waker) => waker,
            Entry::Answered(_) => None,
        }
    }

    /// Whether a read waits for its answer.
    pub(crate) fn any_open(&self) -> bool {
        self.reads
            .values()
            .any(|entry| matches!(entry, Entry::Open(_)))
    }
}

/// An ephemeral read as its future holds it.
#[derive(Debug)]
pub(crate) enum EphemeralRead {
    /// The local view knew the answer.
    Known(Read),
    Asked(u32),
    /// The attempt is over for the handler, or the answer was handed out.
    Over,
}

/// The error of a read that the runtime can no longer answer.
pub(crate) fn unanswered_read() -> AttemptError {
    AttemptError::internal("the request ended before a state read within a run was answered")
}

impl Cell {
    /// Begins an ephemeral read: only within a run.
    pub(crate) fn open_ephemeral(&self, key: &str) -> EphemeralRead {
        let mut state = self.lock();
        if state.is_over() {
            return EphemeralRead::Over;
        }
        let asked = if state.polled_run.is_none() {
            Err(AttemptError::internal(format!(
                "state key `{key}` was read with `get_ephemeral` outside of a run: use `get`"
            )))
        } else {
            match state.journal.known_state(key) {
                Known::Value(value) => return EphemeralRead::Known(Some(value)),
                Known::Absent => return EphemeralRead::Known(None),
                Known::Unknown if state.input_closed && state.journal.version().has_v8() => {
                    Err(unanswered_read())
                }
                Known::Unknown => {
                    let id = state.ephemeral.open();
                    state.journal.write_ephemeral_read(id, key).map(|()| id)
                }
            }
        };
        match asked {
            Ok(id) => EphemeralRead::Asked(id),
            Err(error) => {
                let command = state.polled_command();
                let command = command.or_else(|| state.journal.last_command());
                state.fault = Some(error.about(command));
                EphemeralRead::Over
            }
        }
    }

    pub(crate) fn poll_ephemeral(&self, read: &mut EphemeralRead, waker: &Waker) -> Poll<Read> {
        match std::mem::replace(read, EphemeralRead::Over) {
            EphemeralRead::Known(value) => Poll::Ready(value),
            EphemeralRead::Asked(id) => {
                let (poll, dropped) = self.lock().ephemeral.poll(id, waker);
                drop(dropped);
                if poll.is_pending() {
                    *read = EphemeralRead::Asked(id);
                }
                poll
            }
            EphemeralRead::Over => Poll::Pending,
        }
    }

    /// The read's future is dropped.
    pub(crate) fn remove_ephemeral(&self, read: &mut EphemeralRead) {
        if let EphemeralRead::Asked(id) = read {
            let dropped = self.lock().ephemeral.remove(*id);
            drop(dropped);
        }
    }
}
