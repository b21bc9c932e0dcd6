//! Virtual objects and workflows: state, promises, and whose turn it is.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    Engine,
    invocation::{Index, Outcome},
};

/// One object or workflow.
#[derive(Debug, Default)]
pub(crate) struct Keyed {
    pub(crate) state: BTreeMap<Bytes, Bytes>,
    pub(crate) promises: BTreeMap<String, Promise>,
    /// The exclusive invocation whose turn it is; of a workflow, its run.
    pub(crate) running: Option<Index>,
    pub(crate) queue: VecDeque<Index>,
    /// The run of the workflow, also when it is over.
    pub(crate) run: Option<Index>,
}

/// A durable promise of a workflow.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    pub(crate) result: Option<Outcome>,
    /// Who waits for it, by completion id.
    pub(crate) waiters: Vec<(Index, u32)>,
}

impl Engine {
    /// The place of a key, made if it is new. What a workflow left is gone when its time is up.
    pub(crate) fn place(&mut self, service: &str, key: &str) -> usize {
        if let Some(place) = self.find_place(service, key) {
            return place;
        }
        let place = self.keyed.len();
        self.keyed.push(Keyed::default());
        self.places
            .entry(service.to_owned())
            .or_default()
            .insert(key.to_owned(), place);
        place
    }

    pub(crate) fn find_place(&mut self, service: &str, key: &str) -> Option<usize> {
        let place = *self.places.get(service)?.get(key)?;
        if let Some(run) = self.keyed[place].run
            && self.invocations[run].is_expired(self.now)
        {
            self.forget(run);
        }
        Some(place)
    }

    /// What is left of an invocation that is over goes: nobody finds it, and its keys are free.
    pub(crate) fn forget(&mut self, index: Index) {
        let invocation = &mut self.invocations[index];
        invocation.forgotten = true;
        if let Some(place) = invocation.place
            && self.keyed[place].run == Some(index)
        {
            self.keyed[place] = Keyed::default();
        }
        self.by_idempotency_key.retain(|_, known| *known != index);
    }

    /// All objects and workflows, with their services and keys, sorted.
    pub(crate) fn all_keyed(&self) -> impl Iterator<Item = (&str, &str, &Keyed)> {
        self.places.iter().flat_map(move |(service, keys)| {
            let keys = keys.iter();
            keys.map(move |(key, place)| (&**service, &**key, &self.keyed[*place]))
        })
    }

    pub(crate) fn keyed(&self, place: usize) -> &Keyed {
        &self.keyed[place]
    }

    pub(crate) fn keyed_mut(&mut self, place: usize) -> &mut Keyed {
        &mut self.keyed[place]
    }

    /// Takes a turn, or a place in the queue.
    pub(super) fn take_turn(&mut self, place: usize, index: Index) -> bool {
        let keyed = &mut self.keyed[place];
        if keyed.running.is_some() {
            keyed.queue.push_back(index);
            return false;
        }
        keyed.running = Some(index);
        true
    }
}
