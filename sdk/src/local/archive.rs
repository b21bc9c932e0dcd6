//! What the engine finds in the store: invocations that have ended, objects, and at the start all that is live.

use std::{
    ops::Bound,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    rows::{self, BadRow},
    store::{Scan, Store, StoreError, Table},
};
use crate::engine::{
    catalog::{Catalog, HandlerInfo, ServiceType},
    invocation::{Index, Invocation, Record},
    keyed::{Keyed, KeyedId, Promise},
    paging::{Archive, Lookup},
};

/// Why the store does not give what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Row(#[from] BadRow),
}

/// How much is read at once for a list, in bytes: results are among it.
const CHUNK: usize = 4 * 1024 * 1024;

/// Reads invocations and objects.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    store: Store,
    catalog: Arc<Catalog>,
    /// The first thing that went wrong: the engine goes no further.
    fault: Arc<Mutex<Option<ReadError>>>,
}

impl Reader {
    pub(super) fn new(store: Store, catalog: Arc<Catalog>) -> Self {
        Self {
            store,
            catalog,
            fault: Arc::default(),
        }
    }

    pub(super) fn take_fault(&self) -> Option<ReadError> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.take()
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn info(&self, service: &str, handler: &str) -> HandlerInfo {
        let known = self.catalog.handler(service, handler).cloned();
        // The code of today may serve it no longer.
        known.unwrap_or_default()
    }

    fn index(&self, table: Table, key: &[u8]) -> Result<Option<Index>, ReadError> {
        let value = self.store.get(table, key)?;
        Ok(value.and_then(|value| rows::index_of(&value)))
    }

    pub(super) fn records(&self, index: Index) -> Result<Vec<Record>, ReadError> {
        let range = Scan::prefix(rows::invocation_key(index));
        let found = self.store.scan(Table::Records, range)?;
        let records = found.into_iter().map(|(_, row)| rows::read_record(row));
        Ok(records.collect::<Result<_, _>>()?)
    }

    /// An invocation, whether it is live or has ended.
    pub(super) fn read(
        &self,
        index: Index,
        status: Bytes,
        records: Vec<Record>,
    ) -> Result<Option<Invocation>, ReadError> {
        let row = self
            .store
            .get(Table::Invocations, &rows::invocation_key(index))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let info = |service: &str, handler: &str| self.info(service, handler);
        Ok(Some(rows::read_invocation(row, status, records, info)?))
    }

    /// One that has ended.
    pub(super) fn ended(
        &self,
        index: Index,
        records: Vec<Record>,
    ) -> Result<Option<Invocation>, ReadError> {
        match self
            .store
            .get(Table::Status, &rows::status_key(true, index))?
        {
            Some(status) => self.read(index, status, records),
            None => Ok(None),
        }
    }

    /// All that are live, with their records.
    pub(super) fn live(&self) -> Result<Vec<(Index, Invocation)>, ReadError> {
        let mut live = Vec::new();
        for (key, status) in self.store.scan(Table::Status, Scan::prefix(vec![0]))? {
            let Some(index) = rows::index_of(&key) else {
                continue;
            };
            let records = self.records(index)?;
            live.extend(
                self.read(index, status, records)?
                    .map(|found| (index, found)),
            );
        }
        Ok(live)
    }

    /// How some of those stand that have ended, from before a place in the line; newest first. None: there are
    /// no more.
    pub(super) fn newest_ended(
        &self,
        before: Option<Index>,
        limit: usize,
    ) -> Result<Vec<(Index, Bytes)>, ReadError> {
        let mut range = Scan::prefix(vec![1]).reverse().limit(limit).bytes(CHUNK);
        if let Some(before) = before {
            range.to = Bound::Excluded(rows::status_key(true, before));
        }
        let found = self.store.scan(Table::Status, range)?.into_iter();
        Ok(found
            .filter_map(|(key, status)| Some((rows::index_of(&key)?, status)))
            .collect())
    }

    /// The number that the next invocation gets.
    pub(super) fn next_index(&self) -> Result<Index, ReadError> {
        let range = Scan::all().reverse().limit(1);
        let last = self.store.scan(Table::Invocations, range)?;
        let last = last.first().and_then(|(key, _)| rows::index_of(key));
        let known = self.index(Table::Settings, rows::NEXT)?;
        Ok(last.map_or(0, |last| last + 1).max(known.unwrap_or(0)))
    }

    /// Those whose time is up, and where the next of them are looked for if there may be more.
    pub(super) fn expired(
        &self,
        after: Option<Vec<u8>>,
        now: u64,
        limit: usize,
    ) -> (Vec<Index>, Option<Vec<u8>>) {
        let mut range = Scan::all().limit(limit);
        range.from = after.map_or(Bound::Unbounded, Bound::Excluded);
        range.to = Bound::Excluded(rows::expiry_key(now.saturating_add(1), 0));
        let found = self.kept(|| Ok(self.store.scan(Table::Expiry, range)?));
        let next = found.last().filter(|_| found.len() == limit);
        let next = next.map(|(key, _)| key.clone());
        let found = found.iter();
        let found = found.filter_map(|(key, _)| rows::index_of(key));
        (found.collect(), next)
    }

    /// The result, or nothing, and the fault is kept.
    fn kept<T: Default>(&self, read: impl FnOnce() -> Result<T, ReadError>) -> T {
        read().unwrap_or_else(|error| {
            let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert(error);
            T::default()
        })
    }

    fn find(&self, by: Lookup<'_>) -> Result<Option<(Index, Invocation)>, ReadError> {
        let index = match by {
            Lookup::Index(index) => Some(index),
            Lookup::Id(id) => self.index(Table::Ids, id.as_bytes())?,
            Lookup::IdempotencyKey(key) => {
                self.index(Table::Idempotency, &rows::idempotency_key(key))?
            }
        };
        let Some(index) = index else {
            return Ok(None);
        };
        let found = self.ended(index, Vec::new())?;
        Ok(found.map(|found| (index, found)))
    }

    fn read_keyed(&self, id: &KeyedId) -> Result<Keyed, ReadError> {
        let place = rows::keyed_key(id);
        let mut keyed = Keyed::default();
        let state = Scan::prefix(place.clone());
        for (row, value) in self.store.scan(Table::State, state)? {
            keyed
                .state
                .insert(rows::last_piece(&row, place.len()), value);
        }
        // Of what is known to be no workflow, there is nothing else.
        let known = self.catalog.service(&id.service);
        if known.is_some_and(|service| service.ty != ServiceType::Workflow) {
            return Ok(keyed);
        }
        keyed.run = self.index(Table::Runs, &place)?;
        let promises = Scan::prefix(place.clone());
        for (row, value) in self.store.scan(Table::Promises, promises)? {
            let name = rows::last_piece(&row, place.len());
            let promise = Promise {
                result: Some(rows::read_outcome(value)?),
                waiters: Vec::new(),
            };
            let name = String::from_utf8_lossy(&name).into_owned();
            keyed.promises.insert(name, promise);
        }
        Ok(keyed)
    }
}

impl Archive for Reader {
    fn invocation(&self, by: Lookup<'_>) -> Option<(Index, Invocation)> {
        self.kept(|| self.find(by))
    }

    fn keyed(&self, id: &KeyedId) -> Keyed {
        self.kept(|| self.read_keyed(id))
    }
}
