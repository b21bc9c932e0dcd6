//! SQLite as an ordered map of bytes: one connection that writes, a few that read, one that moves the log's
//! pages to their places.
//!
//! Every entry carries a checksum of its key and value, so that a damaged file is told and never handed on.

use std::{
    fs::OpenOptions,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, types::ValueRef};

use super::{Fsync, Scan, StoreError, Table, Write, after_prefix, folder, folder::Folder, sql};

/// The latest format of the tables that is known.
const FORMAT: u32 = 1;
/// Says in the file's header whose it is: "dura".
const APPLICATION: u32 = 0x6475_7261;
/// Entries are a few hundred bytes: of the sizes tried, this gave the most commits.
const PAGE_BYTES: u32 = 8192;
/// A log this long is moved to its places, 16 MiB: long enough that a page is moved once for many commits.
const LONG_LOG: u32 = 2048;
/// A log this long makes a commit wait for that, 128 MiB.
const TOO_LONG_LOG: u32 = 8 * LONG_LOG;
/// How long a statement waits for another connection's lock: they are held for a moment only.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a commit waits for readers of the log before it begins anew: another commit may do so as well.
const SHORT_PATIENCE: Duration = Duration::from_millis(5);
/// The same when the log is too long.
const LONG_PATIENCE: Duration = Duration::from_secs(1);
/// Connections for reading that are kept open.
const READERS: usize = 8;
/// Free pages that stay in the file for what comes next, 8 MiB.
const SPARE_PAGES: i64 = 1024;
/// Free pages that one call of `tidy` cuts off, 16 MiB.
const TIDY_PAGES: i64 = 2048;

pub(super) struct Database {
    path: PathBuf,
    pub(super) log: PathBuf,
    pub(super) writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
    checkpointer: Mutex<Connection>,
    /// Pages in the log since it was last begun anew.
    log_pages: Arc<AtomicU32>,
    moving: Mutex<Moving>,
}

/// How far it is with moving the pages of a long log.
#[derive(Clone, Copy, PartialEq)]
enum Moving {
    No,
    /// It is being done while commits go on.
    UnderWay,
    /// Most of it is done. The next commit does the rest: only between two of them is there an end to it.
    AlmostDone,
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    /// Why nothing is written any more.
    pub(super) failed: Option<String>,
}

impl Database {
    pub(super) fn open(folder: &Folder, fsync: Fsync) -> Result<Self, StoreError> {
        let path = folder.database();
        let error = |error: rusqlite::Error| {
            if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) && !folder.created() {
                return StoreError::NotAStore { path: path.clone() };
            }
            StoreError::from_database(&path, error)
        };
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_CREATE).map_err(error)?;
        // These two only count before the first table is made.
        connection
            .pragma_update(None, "page_size", PAGE_BYTES)
            .map_err(error)?;
        connection
            .pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .map_err(error)?;
        let mode: String = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(error)?;
        if mode != "wal" {
            return Err(folder.error(io::Error::other(
                "its file system cannot share memory between connections, which the log needs",
            )));
        }
        settings(&connection, fsync).map_err(error)?;
        let log_pages = Arc::new(AtomicU32::new(0));
        let pages = Arc::clone(&log_pages);
        connection
            .wal_hook(Some(move |_: &mut _, in_log: i32| {
                pages.store(in_log.unsigned_abs(), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(error)?;
        let checkpointer = connect(&path, OpenFlags::empty()).map_err(error)?;
        settings(&checkpointer, fsync).map_err(error)?;
        let database = Self {
            log: folder.log(),
            writer: Mutex::new(Writer {
                connection,
                failed: None,
            }),
            readers: Mutex::default(),
            checkpointer: Mutex::new(checkpointer),
            log_pages,
            moving: Mutex::new(Moving::No),
            path,
        };
        database.create()?;
        Ok(database)
    }

    /// Makes the tables, unless they are there; refuses what is not ours.
    fn create(&self) -> Result<(), StoreError> {
        let mut writer = lock(&self.writer);
        let connection = &mut writer.connection;
        let number = |connection: &Connection, name: &str| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
        };
        let application = number(connection, "application_id").map_err(|e| self.error(e))?;
        let format = number(connection, "user_version").map_err(|e| self.error(e))?;
        let empty: bool = connection
            .query_row(
                "SELECT NOT EXISTS (SELECT * FROM sqlite_schema)",
                [],
                |row| row.get(0),
            )
            .map_err(|e| self.error(e))?;
        if application != APPLICATION && !(empty && application == 0 && format == 0) {
            return Err(StoreError::NotAStore {
                path: self.path.clone(),
            });
        }
        if format > FORMAT {
            return Err(StoreError::NewerFormat {
                path: self.path.clone(),
                found: format,
                known: FORMAT,
            });
        }
        let mut create = || {
            let transaction = connection.transaction()?;
            for table in Table::ALL {
                transaction.execute(table.create(), [])?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION)?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()
        };
        create().map_err(|e| self.error(e))
    }

    /// Makes the changes, or none; tells whether the pages of the log are to be moved now.
    pub(super) fn commit(&self, writes: &[Write]) -> Result<bool, StoreError> {
        let mut writer = lock(&self.writer);
        if let Some(why) = &writer.failed {
            return Err(StoreError::Failed {
                path: self.path.clone(),
                why: why.clone(),
            });
        }
        if self.log_pages() > TOO_LONG_LOG {
            self.begin_anew(&writer, LONG_PATIENCE)?;
        } else if *lock(&self.moving) == Moving::AlmostDone {
            self.begin_anew(&writer, SHORT_PATIENCE)?;
        }
        if let Err(failure) = apply(&writer.connection, writes) {
            let unknown =
                failure.at_end && failure.error.sqlite_error_code() != Some(ErrorCode::DiskFull);
            let back = writer.connection.is_autocommit()
                || writer.connection.execute_batch("ROLLBACK").is_ok();
            if unknown || !back {
                writer.failed = Some(failure.error.to_string());
            }
            return Err(self.error(failure.error));
        }
        let mut moving = lock(&self.moving);
        let long = self.log_pages() > LONG_LOG && *moving == Moving::No;
        if long {
            *moving = Moving::UnderWay;
        }
        Ok(long)
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.read(|connection| {
            let mut statement = connection.prepare_cached(table.get())?;
            statement
                .query_row([key], |row| entry(key, row, 0))
                .optional()
        })?;
        found
            .map(|value| value.ok_or_else(|| self.damaged(table, key)))
            .transpose()
    }

    pub(super) fn scan(
        &self,
        table: Table,
        range: &Scan,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let found = self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql::scan(table, range))?;
            statement.raw_bind_parameter(1, i64::try_from(range.limit).unwrap_or(i64::MAX))?;
            if let Bound::Included(key) | Bound::Excluded(key) = &range.from {
                statement.raw_bind_parameter(2, key)?;
            }
            if let Bound::Included(key) | Bound::Excluded(key) = &range.to {
                statement.raw_bind_parameter(3, key)?;
            }
            let mut rows = statement.raw_query();
            let (mut found, mut room) = (Vec::new(), range.bytes);
            while let Some(row) = rows.next()? {
                let key = row.get_ref(0)?.as_blob()?.to_vec();
                let value = entry(&key, row, 1)?;
                let bytes = value.as_ref().map(|value| key.len() + value.len());
                found.push((key, value));
                room = room.saturating_sub(bytes.unwrap_or(room));
                if room == 0 {
                    break;
                }
            }
            Ok(found)
        })?;
        found
            .into_iter()
            .map(|(key, value)| match value {
                Some(value) => Ok((key, value)),
                None => Err(self.damaged(table, &key)),
            })
            .collect()
    }

    /// Puts on disk what the operating system has of the log.
    ///
    /// A page is in the log until it has been moved, and moving puts both places on disk.
    pub(super) fn sync_log(&self) {
        let sync = || match OpenOptions::new().write(true).open(&self.log) {
            Ok(log) => log.sync_data(),
            // It comes with the first commit.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = sync() {
            let why = folder::io_error(&self.log, error).to_string();
            tracing::error!("{why}");
            // What a disk has failed to keep once, it may never be asked for again.
            lock(&self.writer).failed.get_or_insert(why);
        }
    }

    /// Moves the log's pages to their places while commits go on, since it has become long.
    pub(super) fn move_pages_for_commits(&self) {
        let moved = self.move_pages();
        *lock(&self.moving) = match moved {
            Ok(()) => Moving::AlmostDone,
            // Tidying tells a failure to its caller, and so do commits once the log is too long.
            Err(error) => {
                tracing::warn!("the log of the store stays long: {error}");
                Moving::No
            }
        };
    }

    fn move_pages(&self) -> Result<(), StoreError> {
        lock(&self.checkpointer)
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|e| self.error(e))
    }

    /// Moves what is left in the log, and has the next commit begin it anew.
    ///
    /// Readers that need the log are waited for, but not for long: there is another time.
    fn begin_anew(&self, writer: &Writer, patience: Duration) -> Result<(), StoreError> {
        // Whoever moves pages meanwhile comes to an end first.
        let _checkpointer = lock(&self.checkpointer);
        let restart = || {
            writer.connection.busy_timeout(patience)?;
            let busy = writer
                .connection
                .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0));
            writer.connection.busy_timeout(PATIENCE)?;
            busy
        };
        let busy: rusqlite::Result<bool> = restart();
        *lock(&self.moving) = Moving::No;
        if !busy.map_err(|e| self.error(e))? {
            self.log_pages.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn tidy(&self) -> Result<(), StoreError> {
        let cut = || {
            let writer = lock(&self.writer);
            let count = |name: &str| {
                writer
                    .connection
                    .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            };
            // What was free once is soon needed again: a part of it stays.
            let spare = (count("page_count")? / 4).max(SPARE_PAGES);
            let spared = count("freelist_count")? - spare;
            if spared > 0 && writer.failed.is_none() {
                let cut = format!("PRAGMA incremental_vacuum({})", spared.min(TIDY_PAGES));
                let mut statement = writer.connection.prepare(&cut)?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
            }
            Ok(())
        };
        cut().map_err(|e| self.error(e))?;
        if self.log_pages() > 0 {
            self.move_pages()?;
            self.begin_anew(&lock(&self.writer), SHORT_PATIENCE)?;
        }
        Ok(())
    }

    /// Reads with a connection that nobody else uses meanwhile.
    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let kept = lock(&self.readers).pop();
        let connection = match kept {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::empty())
                .and_then(|connection| {
                    connection.pragma_update(None, "query_only", true)?;
                    connection.pragma_update(None, "cell_size_check", true)?;
                    Ok(connection)
                })
                .map_err(|e| self.error(e))?,
        };
        let result = read(&connection);
        let mut readers = lock(&self.readers);
        if readers.len() < READERS {
            readers.push(connection);
        }
        result.map_err(|e| self.error(e))
    }

    fn log_pages(&self) -> u32 {
        self.log_pages.load(Ordering::Relaxed)
    }

    fn error(&self, error: rusqlite::Error) -> StoreError {
        StoreError::from_database(&self.path, error)
    }

    fn damaged(&self, table: Table, key: &[u8]) -> StoreError {
        let name = table.name();
        StoreError::Damaged {
            path: self.path.clone(),
            what: format!(
                "the checksum of the entry {} in {name} does not match",
                key.escape_ascii()
            ),
        }
    }
}

fn connect(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    // No mutex: a connection is always one thread's.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(connection)
}

/// What holds for a connection that writes.
fn settings(connection: &Connection, fsync: Fsync) -> rusqlite::Result<()> {
    // NORMAL asks the disk before and after pages are moved, so that a power cut takes the last commits and
    // leaves the rest whole.
    let synchronous = if fsync.each_commit() {
        "FULL"
    } else {
        "NORMAL"
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // An fsync that macOS takes seriously.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -32 * 1024)?;
    // A log that one large commit has made longer than usual is cut off.
    let log_bytes = i64::from(LONG_LOG) * i64::from(PAGE_BYTES) * 2;
    connection.pragma_update_and_check(None, "journal_size_limit", log_bytes, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
}

struct Failure {
    error: rusqlite::Error,
    /// Whether it was the end of the transaction that failed.
    at_end: bool,
}

fn apply(connection: &Connection, writes: &[Write]) -> Result<(), Failure> {
    let run = || {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for write in writes {
            apply_one(connection, write)?;
        }
        Ok(())
    };
    run().map_err(|error| Failure {
        error,
        at_end: false,
    })?;
    let end = || connection.prepare_cached("COMMIT")?.execute([]);
    end().map(drop).map_err(|error| Failure {
        error,
        at_end: true,
    })
}

fn apply_one(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    let changed = match write {
        Write::Put { table, key, value } => {
            let mut statement = connection.prepare_cached(table.put())?;
            statement.execute((key, checksum(key, value), &value[..]))
        }
        Write::Delete { table, key } => connection.prepare_cached(table.delete())?.execute([key]),
        Write::DeletePrefix { table, prefix } => match after_prefix(prefix) {
            Some(end) => connection
                .prepare_cached(table.delete_range())?
                .execute([prefix, &end]),
            None => connection
                .prepare_cached(table.delete_from())?
                .execute([prefix]),
        },
    };
    changed.map(drop)
}

/// The value of an entry whose checksum stands in column `at`; `None` if the two do not agree.
fn entry(key: &[u8], row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Bytes>> {
    let (ValueRef::Integer(checksum), ValueRef::Blob(value)) =
        (row.get_ref(at)?, row.get_ref(at + 1)?)
    else {
        return Ok(None);
    };
    Ok((i64::from(self::checksum(key, value)) == checksum).then(|| Bytes::copy_from_slice(value)))
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(key);
    checksum.update(value);
    checksum.finalize()
}

// A panic while one of these locks is held leaves at worst an open transaction, which the next commit meets as
// an error and rolls back.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
