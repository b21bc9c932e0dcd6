//! Runs: which closures wait to be started, which execute, which want to be polled.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    journal::{CommandRef, Issued},
    protocol::MessageType,
};

/// A run as its future holds it: its completion id, and its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunRef {
    pub(crate) id: u32,
    slot: usize,
}

/// A run whose closure has not ended.
#[derive(Debug)]
struct Run {
    id: u32,
    executing: bool,
    /// The closure's waker was woken.
    woken: bool,
    /// The slot of its leaf, while that waits.
    leaf: Option<usize>,
    /// The Run command stood in the recorded journal.
    replayed: bool,
    /// The index of the Run command.
    command: u32,
    /// When the closure was started; milliseconds since the Unix epoch.
    started: u64,
}

/// The runs of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    slots: Vec<Option<Run>>,
    free: Vec<usize>,
    /// By completion id. Entries that do not hold any more are passed over: a run that is granted from
    /// here is not started, and its leaf waits.
    startable: BinaryHeap<Reverse<RunRef>>,
    /// The same: the run executes and is woken, and its leaf waits.
    resumable: BinaryHeap<Reverse<RunRef>>,
    executing: usize,
}

impl Runs {
    pub(crate) fn create(&mut self, issued: Issued) -> RunRef {
        let run = Run {
            id: issued.first,
            executing: false,
            woken: false,
            leaf: None,
            replayed: issued.replayed,
            command: issued.index,
            started: 0,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(run);
        RunRef {
            id: issued.first,
            slot,
        }
    }

    fn get(&self, run: RunRef) -> Option<&Run> {
        let found = self.slots.get(run.slot)?.as_ref()?;
        (found.id == run.id).then_some(found)
    }

    fn get_mut(&mut self, run: RunRef) -> Option<&mut Run> {
        let found = self.slots.get_mut(run.slot)?.as_mut()?;
        (found.id == run.id).then_some(found)
    }

    /// The closure has ended, or the run's future is dropped.
    pub(crate) fn remove(&mut self, run: RunRef) {
        if let Some(found) = self.get(run) {
            self.executing -= usize::from(found.executing);
            self.slots[run.slot] = None;
            self.free.push(run.slot);
        }
    }

    /// The closure is polled; the first time it starts.
    pub(crate) fn start(&mut self, run: RunRef, now: impl FnOnce() -> u64) -> bool {
        let Some(found) = self.get_mut(run) else {
            return false;
        };
        if !found.executing {
            found.executing = true;
            found.started = now();
            self.executing += 1;
        }
        true
    }

    /// What a failure needs to know of the run: the index of its command, whether that was replayed,
    /// and when the closure was started.
    pub(crate) fn record(&self, run: RunRef) -> (u32, bool, u64) {
        self.get(run).map_or((0, false, 0), |run| {
            (run.command, run.replayed, run.started)
        })
    }

    /// The command of the run, for reports.
    pub(crate) fn command(&self, run: RunRef, name: &str) -> CommandRef {
        CommandRef {
            index: self.get(run).map_or(0, |run| run.command),
            ty: MessageType::RUN,
            name: name.to_owned(),
        }
    }

    /// Its leaf waits. With its result there (`completed`) it is not started: it gets that first.
    pub(super) fn leaf_waits(&mut self, run: RunRef, leaf: usize, completed: bool) {
        if let Some(found) = self.get_mut(run) {
            found.leaf = Some(leaf);
            if found.executing {
                if found.woken {
                    self.resumable.push(Reverse(run));
                }
            } else if !completed {
                self.startable.push(Reverse(run));
            }
        }
    }

    pub(super) fn leaf_stops(&mut self, run: RunRef) {
        if let Some(found) = self.get_mut(run) {
            found.leaf = None;
        }
    }

    /// The closures of these runs were woken.
    pub(crate) fn woken(&mut self, runs: Vec<RunRef>) {
        for run in runs {
            if let Some(found) = self.get_mut(run) {
                found.woken = true;
                if found.executing && found.leaf.is_some() {
                    self.resumable.push(Reverse(run));
                }
            }
        }
    }

    /// Grants the next woken closure a poll: the run, and the slot of its leaf.
    pub(crate) fn grant_resumable(&mut self) -> Option<(RunRef, usize)> {
        loop {
            let Reverse(run) = self.resumable.pop()?;
            if let Some(found) = self.get_mut(run)
                && found.executing
                && found.woken
                && let Some(leaf) = found.leaf
            {
                found.woken = false;
                return Some((run, leaf));
            }
        }
    }

    /// Grants the next run that was not started a poll: the run, and the slot of its leaf.
    pub(crate) fn grant_startable(&mut self) -> Option<(RunRef, usize)> {
        loop {
            let Reverse(run) = self.startable.pop()?;
            if let Some(found) = self.get_mut(run)
                && !found.executing
                && let Some(leaf) = found.leaf
            {
                found.woken = false;
                return Some((run, leaf));
            }
        }
    }

    /// At rest: a grant that was not taken is void. A closure that was woken stays so.
    pub(crate) fn withdraw(&mut self, run: RunRef) {
        if let Some(found) = self.get_mut(run) {
            found.woken = true;
        }
    }

    pub(crate) fn any_executing(&self) -> bool {
        self.executing > 0
    }

    /// Whether a closure executes whose leaf waits.
    pub(crate) fn any_active(&self) -> bool {
        self.executing > 0
            && self
                .slots
                .iter()
                .flatten()
                .any(|run| run.executing && run.leaf.is_some())
    }
}
