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
