//! The thread that writes batches, and then lets happen what they decided: attempts begin and are told, callers
//! get their answers.
//!
//! Batches that wait are written together, in one commit: that is the group commit.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    attempt::{Head, Host, Task},
    store::{Store, StoreError, Table, Write},
};
use crate::engine::{invocation::AttemptId, paging::Leaving};

/// Batches of one commit, at most: as many as may wait.
pub(super) const GROUP: usize = 128;

/// What one turn of the engine came to.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// What happens once they are on disk, in this order.
    pub(super) releases: Vec<Release>,
    /// What need not stay in memory then.
    pub(super) leaving: Leaving,
}

/// Something that must not happen before what led to it is on disk.
pub(super) enum Release {
    Begin(AttemptId, Head, Bytes),
    Tell(AttemptId, Bytes),
    Close(AttemptId),
    Drop(AttemptId),
    Reply(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, attempt) = match self {
            Self::Begin(attempt, ..) => ("Begin", attempt),
            Self::Tell(attempt, _) => ("Tell", attempt),
            Self::Close(attempt) => ("Close", attempt),
            Self::Drop(attempt) => ("Drop", attempt),
            Self::Reply(_) => return f.write_str("Reply"),
        };
        f.debug_tuple(name).field(attempt).finish()
    }
}

/// An attempt at work.
struct Live {
    /// Where its request's bytes go, until the request ends.
    feed: Option<mpsc::UnboundedSender<Bytes>>,
    task: Task,
}

pub(super) struct Committer {
    store: Store,
    host: Arc<Host>,
    live: HashMap<AttemptId, Live>,
}

impl Committer {
    pub(super) fn new(store: Store, host: Arc<Host>) -> Self {
        Self {
            store,
            host,
            live: HashMap::new(),
        }
    }

    /// Runs until no more batches can come. Blocks its thread.
    ///
    /// After an error, whoever called says why before `batches` closes: that is all that others see of it.
    pub(super) fn run(
        mut self,
        batches: &mut mpsc::Receiver<Batch>,
        written: &mpsc::UnboundedSender<Leaving>,
    ) -> Result<(), StoreError> {
        let mut group = Vec::with_capacity(GROUP);
        while let Some(first) = batches.blocking_recv() {
            group.push(first);
            while group.len() < GROUP
                && let Ok(next) = batches.try_recv()
            {
                group.push(next);
            }
            let writes = group.iter_mut();
            let writes = writes.map(|batch| std::mem::take(&mut batch.writes));
            let writes = newest(writes.collect());
            if !writes.is_empty() {
                self.store.commit(&writes)?;
            }
            let mut gone = Leaving::default();
            for mut batch in group.drain(..) {
                for release in batch.releases {
                    self.release(release);
                }
                gone.append(&mut batch.leaving);
            }
            if !gone.is_empty() {
                // Who evicts nothing any more has no memory to save.
                drop(written.send(gone));
            }
        }
        Ok(())
    }

    fn release(&mut self, release: Release) {
        match release {
            Release::Begin(attempt, head, frames) => {
                let (feed, body) = mpsc::unbounded_channel();
                drop(feed.send(frames));
                let task = self.host.begin(attempt, &head, body);
                let feed = Some(feed);
                self.live.insert(attempt, Live { feed, task });
            }
            Release::Tell(attempt, frame) => {
                if let Some(Live {
                    feed: Some(feed), ..
                }) = self.live.get(&attempt)
                {
                    // An attempt that has ended listens no more.
                    drop(feed.send(frame));
                }
            }
            Release::Close(attempt) => {
                if let Some(live) = self.live.get_mut(&attempt) {
                    live.feed = None;
                }
            }
            Release::Drop(attempt) => {
                // With it, its request ends.
                if let Some(live) = self.live.remove(&attempt) {
                    live.task.stop();
                }
            }
            Release::Reply(reply) => reply(),
        }
    }
}

/// The writes of some batches, in their order: of how an invocation stands, only the newest of them. That is
/// written with most of what happens, and nobody has seen what it was in between.
fn newest(batches: Vec<Vec<Write>>) -> Vec<Write> {
    if batches.len() == 1 {
        return batches.into_iter().flatten().collect();
    }
    let mut seen = HashSet::new();
    let mut writes: Vec<_> = batches.into_iter().flatten().collect();
    let kept: Vec<_> = writes
        .iter()
        .rev()
        .map(|write| match write {
            Write::Put {
                table: Table::Status,
                key,
                ..
            }
            | Write::Delete {
                table: Table::Status,
                key,
            } => seen.insert(key.as_slice()),
            _ => true,
        })
        .collect();
    let mut kept = kept.into_iter().rev();
    writes.retain(|_| kept.next().unwrap_or(true));
    writes
}

impl Drop for Committer {
    fn drop(&mut self) {
        for live in self.live.values() {
            live.task.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_how_it_stands_the_newest_is_written_and_of_all_else_everything() {
        let put = |table, key: &[u8], value: &'static [u8]| Write::Put {
            table,
            key: key.to_vec(),
            value: Bytes::from_static(value),
        };
        let delete = |key: &[u8]| Write::Delete {
            table: Table::Status,
            key: key.to_vec(),
        };
        let batches = vec![
            vec![
                put(Table::Status, b"1", b"a"),
                put(Table::State, b"1", b"a"),
            ],
            vec![
                put(Table::Status, b"2", b"a"),
                put(Table::Status, b"1", b"b"),
            ],
            vec![delete(b"2"), put(Table::State, b"1", b"b")],
        ];
        let due = [
            put(Table::State, b"1", b"a"),
            put(Table::Status, b"1", b"b"),
            delete(b"2"),
            put(Table::State, b"1", b"b"),
        ];
        assert_eq!(newest(batches), due);
    }
}
