//! Runs: which closures wait to be started, which execute, which want to be polled.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    journal::{CommandRef, Issued},
    protocol::MessageType,
};

/// A run whose closure has not ended.
#[derive(Debug)]
struct Run {
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

/// The runs of an attempt, by completion id.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: BTreeMap<u32, Run>,
    /// Not started, and their leaf waits.
    startable: BTreeSet<u32>,
    /// Executing and woken, and their leaf waits.
    resumable: BTreeSet<u32>,
    executing: usize,
    /// The run whose closure may be polled in the poll at hand.
    granted: Option<u32>,
}

impl Runs {
    pub(crate) fn create(&mut self, issued: Issued) {
        let Issued {
            first,
            index,
            replayed,
        } = issued;
        let run = Run {
            executing: false,
            woken: false,
            leaf: None,
            replayed,
            command: index,
            started: 0,
        };
        self.runs.insert(first, run);
    }

    /// The closure has ended, or the run's future is dropped.
    pub(crate) fn remove(&mut self, id: u32) {
        if let Some(run) = self.runs.remove(&id) {
            self.startable.remove(&id);
            self.resumable.remove(&id);
            self.executing -= usize::from(run.executing);
        }
    }

    /// Whether the closure may be polled now. The first time it starts. Taken once.
    pub(crate) fn take_grant(&mut self, id: u32, now: impl FnOnce() -> u64) -> bool {
        if self.granted != Some(id) {
            return false;
        }
        self.granted = None;
        let Some(run) = self.runs.get_mut(&id) else {
            return false;
        };
        if !run.executing {
            run.executing = true;
            run.started = now();
            self.executing += 1;
        }
        true
    }

    /// What a failure needs to know of the run: whether its command was replayed, and when the
    /// closure was started.
    pub(crate) fn record(&self, id: u32) -> (bool, u64) {
        self.runs
            .get(&id)
            .map_or((false, 0), |run| (run.replayed, run.started))
    }

    /// The command of the run, for reports.
    pub(crate) fn command(&self, id: u32, name: &str) -> CommandRef {
        CommandRef {
            index: self.runs.get(&id).map_or(0, |run| run.command),
            ty: MessageType::RUN,
            name: name.to_owned(),
        }
    }

    pub(super) fn leaf_waits(&mut self, id: u32, slot: usize) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.leaf = Some(slot);
            if !run.executing {
                self.startable.insert(id);
            } else if run.woken {
                self.resumable.insert(id);
            }
        }
    }

    pub(super) fn leaf_stops(&mut self, id: u32) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.leaf = None;
            self.startable.remove(&id);
            self.resumable.remove(&id);
        }
    }

    /// The closures of these runs were woken.
    pub(crate) fn woken(&mut self, ids: BTreeSet<u32>) {
        for id in ids {
            if let Some(run) = self.runs.get_mut(&id) {
                run.woken = true;
                if run.executing && run.leaf.is_some() {
                    self.resumable.insert(id);
                }
            }
        }
    }

    /// Grants the next woken closure a poll; the slot of its leaf.
    pub(crate) fn grant_resumable(&mut self) -> Option<usize> {
        let id = self.resumable.pop_first()?;
        self.grant(id)
    }

    /// Grants the next run that was not started a poll; the slot of its leaf.
    pub(crate) fn grant_startable(&mut self) -> Option<usize> {
        let id = self.startable.pop_first()?;
        self.grant(id)
    }

    fn grant(&mut self, id: u32) -> Option<usize> {
        let run = self.runs.get_mut(&id)?;
        run.woken = false;
        self.granted = Some(id);
        run.leaf
    }

    /// At rest: a grant that was not taken is void. A closure that was woken stays so.
    pub(crate) fn withdraw(&mut self) {
        if let Some(id) = self.granted.take()
            && let Some(run) = self.runs.get_mut(&id)
        {
            run.woken = true;
        }
    }

    pub(crate) fn any_executing(&self) -> bool {
        self.executing > 0
    }

    /// Whether a closure executes whose leaf waits.
    pub(crate) fn any_active(&self) -> bool {
        self.executing > 0
            && self
                .runs
                .values()
                .any(|run| run.executing && run.leaf.is_some())
    }
}
