//! The thread that writes batches, and then lets happen what they decided: attempts begin and are told, callers
//! get their answers.
//!
//! Batches that wait are written together, in one commit: that is the group commit.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    attempt::{Head, Host, Task},
    store::{Store, StoreError, Write},
};
use crate::engine::invocation::{AttemptId, Index};

/// Batches of one commit, at most.
const GROUP: usize = 16;

/// What one turn of the engine came to.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    /// What happens once they are on disk, in this order.
    pub(super) releases: Vec<Release>,
    /// Invocations that need not stay in memory then.
    pub(super) leaving: Vec<Index>,
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
    pub(super) fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        written: &mpsc::UnboundedSender<Vec<Index>>,
    ) -> Result<(), StoreError> {
        let mut group = Vec::with_capacity(GROUP);
        while let Some(first) = batches.blocking_recv() {
            group.push(first);
            while group.len() < GROUP
                && let Ok(next) = batches.try_recv()
            {
                group.push(next);
            }
            let writes: Vec<_> = group
                .iter_mut()
                .flat_map(|batch| std::mem::take(&mut batch.writes))
                .collect();
            if !writes.is_empty() {
                self.store.commit(&writes)?;
            }
            for batch in group.drain(..) {
                for release in batch.releases {
                    self.release(release);
                }
                if !batch.leaving.is_empty() {
                    // Who evicts nothing any more has no memory to save.
                    drop(written.send(batch.leaving));
                }
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

impl Drop for Committer {
    fn drop(&mut self) {
        for live in self.live.values() {
            live.task.stop();
        }
    }
}
