//! The store beneath the embedded runtime: eleven ordered tables of bytes in one folder, changed by commits
//! that are wholly there or not at all.
//!
//! In: batches of writes, reads of keys and ranges. Out: what lies there; an error when the disk fails, is
//! full, or holds something else than what was written. The store owns its folder and everything in it; one
//! process at a time has it open. It lies below the engine and is all I/O, so threads and the clock are its
//! own business.
//!
//! Beneath is SQLite (`database`), used as an ordered map: its write-ahead log makes a commit one sequential
//! write and one fsync, lets readers go on meanwhile, and can leave the fsync to the operating system without
//! risking the rest.

mod database;
mod error;
mod folder;
mod fsync;
mod sql;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    fmt,
    ops::Bound,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::{database::Database, folder::Folder, worker::Worker};
pub use self::{error::StoreError, fsync::Fsync};

/// The tables. Each has byte keys in lexicographic order.
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

/// One change within a commit. Changes apply in their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Write {
    /// Sets the value of a key, whether or not it has one.
    Put {
        table: Table,
        key: Vec<u8>,
        value: Bytes,
    },
    /// Removes a key, if it is there.
    Delete { table: Table, key: Vec<u8> },
    /// Removes every key that begins so.
    DeletePrefix { table: Table, prefix: Vec<u8> },
}

/// Which entries a scan wants, and in which direction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scan {
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
    pub(crate) limit: usize,
    /// It ends behind the entry with which so many bytes are reached.
    pub(crate) bytes: usize,
    /// From the last key to the first.
    pub(crate) reverse: bool,
}

impl Scan {
    /// The whole table.
    pub(crate) fn all() -> Self {
        Self {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
            limit: usize::MAX,
            bytes: usize::MAX,
            reverse: false,
        }
    }

    /// Every key that begins so.
    pub(crate) fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let prefix = prefix.into();
        Self {
            to: after_prefix(&prefix).map_or(Bound::Unbounded, Bound::Excluded),
            from: Bound::Included(prefix),
            ..Self::all()
        }
    }

    /// At most so many entries.
    pub(crate) fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// No more once it has so many bytes.
    pub(crate) fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// From the last key to the first.
    pub(crate) fn reverse(self) -> Self {
        Self {
            reverse: true,
            ..self
        }
    }
}

/// The first key after all those that begin with `prefix`, if there is one.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let at = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut after = prefix.get(..=at)?.to_vec();
    *after.last_mut()? += 1;
    Some(after)
}

/// An open store. Clones are the same store; it closes with the last of them.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

// In the order of dropping: the threads end, the files close, and only then may another process come.
struct Inner {
    /// Puts on disk what `Fsync::Every` has left to the operating system, with the longest delay.
    sync: Option<(Worker, Duration)>,
    /// Moves the log's pages to their places while commits go on.
    checkpoint: Worker,
    database: Arc<Database>,
    folder: Folder,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store")
            .field(&self.inner.folder.path())
            .finish()
    }
}

impl Store {
    /// Opens the store in the folder `path`, which is made if it is not there.
    pub(crate) fn open(path: &Path, fsync: Fsync) -> Result<Self, StoreError> {
        let folder = Folder::open(path)?;
        let database = Arc::new(Database::open(&folder, fsync)?);
        folder.say_created()?;
        Self::with(database, folder, fsync)
    }

    fn with(database: Arc<Database>, folder: Folder, fsync: Fsync) -> Result<Self, StoreError> {
        let spawn = |name: &str, job: fn(&Database)| {
            let database = Arc::clone(&database);
            Worker::spawn(name, move || job(&database)).map_err(|error| folder.error(error))
        };
        let checkpoint = spawn("durably-store", Database::move_pages_for_commits)?;
        let sync = match fsync.delay() {
            Some(delay) => Some((spawn("durably-fsync", Database::sync_log)?, delay)),
            None => None,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                sync,
                checkpoint,
                database,
                folder,
            }),
        })
    }

    /// Makes all these changes, or none of them. Returns when they are as safe as the policy asks.
    ///
    /// After an error they are not to be seen. If the store cannot tell what has reached the disk, all later
    /// commits are refused, and the next opening shows what has.
    pub(crate) fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let log_is_long = self.inner.database.commit(writes)?;
        if let Some((sync, delay)) = &self.inner.sync
            && let Some(due) = Instant::now().checked_add(*delay)
        {
            sync.ring(due);
        }
        if log_is_long {
            self.inner.checkpoint.ring(Instant::now());
        }
        Ok(())
    }

    /// The value of a key, as of the last commit that has returned or a later one.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner.database.get(table, key)
    }

    /// The entries in a range, all as of one moment.
    pub(crate) fn scan(
        &self,
        table: Table,
        range: Scan,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.inner.database.scan(table, &range)
    }

    /// Gives space back that deletions have left, a bounded piece a call. To be called every few seconds.
    pub(crate) fn tidy(&self) -> Result<(), StoreError> {
        self.inner.database.tidy()
    }

    /// The bytes that the store takes on disk.
    pub(crate) fn size(&self) -> Result<u64, StoreError> {
        self.inner.folder.size()
    }
}
