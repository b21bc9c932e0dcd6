//! In memory for now.
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Invocations,
    Status,
    Records,
    State,
    Promises,
    Ids,
    Idempotency,
    Runs,
    Expiry,
    Offsets,
    Settings,
}
impl Table {
    pub(crate) fn name(self) -> &'static str {
        "table"
    }
}
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    Put {
        table: Table,
        key: Vec<u8>,
        value: Bytes,
    },
    Delete {
        table: Table,
        key: Vec<u8>,
    },
    DeletePrefix {
        table: Table,
        prefix: Vec<u8>,
    },
}
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fsync {
    #[default]
    Always,
    Every(Duration),
    Never,
}
#[derive(Clone, Debug, Default)]
pub(crate) struct Store(Arc<Mutex<BTreeMap<(u8, Vec<u8>), Bytes>>>);
#[derive(Debug, thiserror::Error)]
#[error("store")]
pub struct StoreError;
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
    pub(crate) limit: usize,
    pub(crate) reverse: bool,
    prefix: Vec<u8>,
}
impl Scan {
    pub(crate) fn all() -> Self {
        Self {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            limit: usize::MAX,
            reverse: false,
            prefix: vec![],
        }
    }
    pub(crate) fn prefix(p: Vec<u8>) -> Self {
        Self {
            prefix: p.clone(),
            from: Bound::Included(p),
            ..Self::all()
        }
    }
    pub(crate) fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
    pub(crate) fn reverse(self) -> Self {
        Self {
            reverse: true,
            ..self
        }
    }
}
impl Store {
    pub(crate) fn open(_: &Path, _: Fsync) -> Result<Self, StoreError> {
        Ok(Self::default())
    }
    pub(crate) fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut m = self.0.lock().map_err(|_| StoreError)?;
        for w in writes {
            match w {
                Write::Put { table, key, value } => {
                    m.insert((*table as u8, key.clone()), value.clone());
                }
                Write::Delete { table, key } => {
                    m.remove(&(*table as u8, key.clone()));
                }
                Write::DeletePrefix { table, prefix } => {
                    m.retain(|(t, k), _| *t != *table as u8 || !k.starts_with(prefix))
                }
            }
        }
        Ok(())
    }
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .0
            .lock()
            .map_err(|_| StoreError)?
            .get(&(table as u8, key.to_vec()))
            .cloned())
    }
    pub(crate) fn scan(&self, table: Table, s: Scan) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let m = self.0.lock().map_err(|_| StoreError)?;
        let mut all: Vec<_> = m
            .iter()
            .filter(|((t, k), _)| {
                *t == table as u8
                    && k.starts_with(&s.prefix)
                    && std::ops::RangeBounds::contains(&(s.from.clone(), s.to.clone()), k)
            })
            .map(|((_, k), v)| (k.clone(), v.clone()))
            .collect();
        if s.reverse {
            all.reverse();
        }
        all.truncate(s.limit);
        Ok(all)
    }
    pub(crate) fn tidy(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
