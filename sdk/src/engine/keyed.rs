//! Virtual objects and workflows: state, promises, and whose turn it is.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use bytes::Bytes;

use super::{
    Engine,
    changes::Change,
    invocation::{Index, Outcome},
    paging::Lookup,
};

/// Which object or workflow: each scope has its own of a key, and so have requests without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyedId {
    pub(crate) service: String,
    pub(crate) key: String,
    pub(crate) scope: Option<String>,
}

impl KeyedId {
    pub(crate) fn new(service: &str, key: &str, scope: Option<&str>) -> Self {
        Self {
            service: service.to_owned(),
            key: key.to_owned(),
            scope: scope.map(str::to_owned),
        }
    }
}

impl fmt::Display for KeyedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.key)?;
        match &self.scope {
            Some(scope) => write!(f, " in the scope {scope}"),
            None => Ok(()),
        }
    }
}

/// One object or workflow.
#[derive(Debug, Default)]
pub(crate) struct Keyed {
    pub(crate) id: KeyedId,
    pub(crate) state: BTreeMap<Bytes, Bytes>,
    pub(crate) promises: BTreeMap<String, Promise>,
    /// The exclusive invocation whose turn it is; of a workflow, its run.
    pub(crate) running: Option<Index>,
    pub(crate) queue: VecDeque<Index>,
    /// The run of the workflow, also when it is over.
    pub(crate) run: Option<Index>,
    /// How many invocations in memory belong to it.
    pub(crate) users: usize,
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
    pub(crate) fn place(&mut self, id: &KeyedId) -> usize {
        match self.find_place(id) {
            Some(place) => place,
            None => self.place_unchecked(id),
        }
    }

    /// As [`place`](Self::place), without a look at whether the time of its workflow is up.
    pub(super) fn place_unchecked(&mut self, id: &KeyedId) -> usize {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let archive = self.archive.as_ref();
        let keyed = archive.map_or_else(Keyed::default, |archive| archive.keyed(id));
        let place = self.keyed.push(Keyed {
            id: id.clone(),
            ..keyed
        });
        self.places.insert(id.clone(), place);
        self.leave_place(place);
        place
    }

    pub(crate) fn find_place(&mut self, id: &KeyedId) -> Option<usize> {
        let place = match self.places.get(id) {
            Some(place) => *place,
            None if self.archive.is_some() => self.place_unchecked(id),
            None => return None,
        };
        if let Some(run) = self.keyed[place].run {
            if self.invocations.get(run).is_none() {
                self.fetch(Lookup::Index(run));
            }
            match self.invocations.get(run) {
                Some(invocation) if !invocation.is_expired(self.now) => {}
                Some(_) => self.forget(run),
                None => self.keyed[place].run = None,
            }
        }
        Some(place)
    }

    /// What is left of an invocation that is over goes: nobody finds it, and its keys are free.
    pub(crate) fn forget(&mut self, index: Index) {
        let invocation = &mut self.invocations[index];
        if std::mem::replace(&mut invocation.forgotten, true) {
            // Its id and keys may be another one's by now.
            return;
        }
        let (place, idempotent) = (invocation.place, invocation.idempotent());
        let has_begun = invocation.attempts > 0;
        if let Some(place) = place
            && self.keyed[place].run == Some(index)
        {
            self.forget_run(place, has_begun);
        }
        if let Some(key) = idempotent
            && self.by_idempotency_key.get(&key) == Some(&index)
        {
            self.by_idempotency_key.remove(&key);
        }
        self.changed(|| Change::Forgotten(index));
        self.leave(index);
    }

    /// The run of a workflow goes, with what it left; one that never began has left nothing, so what others have said
    /// before it is for the next run.
    fn forget_run(&mut self, place: usize, has_begun: bool) {
        let keyed = &mut self.keyed[place];
        let before = std::mem::take(keyed);
        let (id, mut state, mut promises) = (before.id, before.state, before.promises);
        if has_begun {
            state.clear();
            // Who still waits for a promise may get it from the next run.
            promises.retain(|_, promise| promise.result.is_none());
        }
        *keyed = Keyed {
            id: id.clone(),
            state: state.clone(),
            promises,
            users: before.users,
            ..Keyed::default()
        };
        let results = keyed.promises.iter();
        let results = results.filter_map(|(name, one)| Some((name.clone(), one.result.clone()?)));
        let results: Vec<_> = results.collect();
        self.changed(|| Change::KeyForgotten(id.clone()));
        // That deletes all of it: what stays is written again.
        for (name, value) in state {
            self.changed(|| Change::State {
                of: id.clone(),
                name,
                value: Some(value),
            });
        }
        for (name, outcome) in results {
            self.changed(|| Change::Promise {
                of: id.clone(),
                name,
                outcome,
            });
        }
    }

    /// All objects and workflows, sorted.
    pub(crate) fn all_keyed(&self) -> impl Iterator<Item = &Keyed> {
        self.places.values().map(|place| &self.keyed[*place])
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
