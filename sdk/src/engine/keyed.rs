//! Virtual objects and workflows: state, promises, and whose turn it is.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{
    Engine,
    changes::Change,
    invocation::{Index, Outcome},
    paging::Lookup,
};

/// One object or workflow.
#[derive(Debug, Default)]
pub(crate) struct Keyed {
    pub(crate) service: String,
    pub(crate) key: String,
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
    pub(crate) fn place(&mut self, service: &str, key: &str) -> usize {
        match self.find_place(service, key) {
            Some(place) => place,
            None => self.place_unchecked(service, key),
        }
    }

    /// As [`place`](Self::place), without a look at whether the time of its workflow is up.
    pub(super) fn place_unchecked(&mut self, service: &str, key: &str) -> usize {
        if let Some(place) = self.known_place(service, key) {
            return place;
        }
        let archive = self.archive.as_ref();
        let keyed = archive.map_or_else(Keyed::default, |archive| archive.keyed(service, key));
        let place = self.keyed.push(Keyed {
            service: service.to_owned(),
            key: key.to_owned(),
            ..keyed
        });
        self.unused.extend(self.archive.is_some().then_some(place));
        self.places
            .entry(service.to_owned())
            .or_default()
            .insert(key.to_owned(), place);
        place
    }

    fn known_place(&self, service: &str, key: &str) -> Option<usize> {
        self.places.get(service)?.get(key).copied()
    }

    pub(crate) fn find_place(&mut self, service: &str, key: &str) -> Option<usize> {
        let place = match self.known_place(service, key) {
            Some(place) => place,
            None if self.archive.is_some() => self.place_unchecked(service, key),
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
        if let Some(place) = place
            && self.keyed[place].run == Some(index)
        {
            let keyed = &mut self.keyed[place];
            let (service, key) = (keyed.service.clone(), keyed.key.clone());
            let before = std::mem::take(keyed);
            // Who still waits for a promise may get it from the next run.
            let open = before.promises.into_iter();
            let open = open.filter(|(_, promise)| promise.result.is_none());
            *keyed = Keyed {
                service: service.clone(),
                key: key.clone(),
                promises: open.collect(),
                users: before.users,
                ..Keyed::default()
            };
            self.changed(|| Change::KeyForgotten { service, key });
        }
        if let Some(key) = idempotent
            && self.by_idempotency_key.get(&key) == Some(&index)
        {
            self.by_idempotency_key.remove(&key);
        }
        self.changed(|| Change::Forgotten(index));
        self.leave(index);
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
