//! What has changed since it was last asked for: whoever keeps the engine on disk writes it down.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    Engine,
    invocation::{Index, Outcome},
    keyed::KeyedId,
};

/// Something that is to be written, in the order in which it happened.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// An invocation was made.
    Created(Index),
    /// It has a new record, with this number.
    Recorded(Index, usize),
    /// Nobody finds it any more.
    Forgotten(Index),
    /// A value of an object's or workflow's state, or its end.
    State {
        of: KeyedId,
        name: Bytes,
        value: Option<Bytes>,
    },
    /// All state of an object or workflow is gone.
    StateCleared(KeyedId),
    Promise {
        of: KeyedId,
        name: String,
        outcome: Outcome,
    },
    /// State, promises and the run of a workflow are gone; what stays of them follows.
    KeyForgotten(KeyedId),
}

/// All that has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) list: Vec<Change>,
    /// Invocations that stand differently than before.
    pub(crate) touched: BTreeSet<Index>,
}

impl Engine {
    /// From now on, changes are collected.
    pub(crate) fn collect_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// What has changed since the last call. Read what it names before the next event.
    pub(crate) fn take_changes(&mut self) -> Changes {
        self.changes
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    pub(super) fn changed(&mut self, change: impl FnOnce() -> Change) {
        if let Some(changes) = &mut self.changes {
            changes.list.push(change());
        }
    }

    pub(super) fn touch(&mut self, index: Index) {
        if let Some(changes) = &mut self.changes {
            changes.touched.insert(index);
        }
    }

    /// The newest record of an invocation is taken back: its command was refused, and changed nothing.
    pub(super) fn take_back(&mut self, index: Index) {
        let records = &mut self.invocations[index].records;
        records.pop();
        let number = records.len();
        if let Some(changes) = &mut self.changes {
            let of = |change: &Change| matches!(change, Change::Recorded(of, at) if (*of, *at) == (index, number));
            if let Some(at) = changes.list.iter().rposition(of) {
                changes.list.remove(at);
            }
        }
    }

    /// As [`changed`](Self::changed), for what belongs to the object or workflow of an invocation.
    pub(super) fn changed_at_key(&mut self, index: Index, change: impl FnOnce(KeyedId) -> Change) {
        if let Some(changes) = &mut self.changes
            && let Some(of) = self.invocations[index].keyed_id()
        {
            changes.list.push(change(of));
        }
    }
}
