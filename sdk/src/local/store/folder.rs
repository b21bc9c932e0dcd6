//! The folder of a store: made where it is missing, locked against a second process, and remembered, so that
//! a store whose database has vanished is not taken for a new one.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write as _},
    path::{self, Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::StoreError;

const DATABASE: &str = "store.db";
const LOCK: &str = "lock";
/// What the lock file says once the database has been made.
const CREATED: &[u8] = b"a store of durably\n";

pub(super) struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open.
    lock: File,
    created: bool,
}

/// How long a lock is waited for. A process that begins another one shares its files with it for a moment, and if
/// it is killed then, its locks are held until that has begun.
const HANDOVER: Duration = Duration::from_millis(300);

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing the file would not do while a process that this one begins shares it.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the store's folder stays locked");
        }
    }
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        // A name from the root on means the same in another working directory, and to the database.
        let path = &path::absolute(path).map_err(|error| io_error(path, error))?;
        let error = |error| io_error(path, error);
        make(path).map_err(error)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(error)?;
        let begun = Instant::now();
        while let Err(refusal) = lock.try_lock() {
            match refusal {
                TryLockError::WouldBlock if begun.elapsed() < HANDOVER => {
                    thread::sleep(HANDOVER / 30);
                }
                TryLockError::WouldBlock => {
                    return Err(StoreError::InUse {
                        path: path.to_owned(),
                    });
                }
                TryLockError::Error(refusal) => return Err(io_error(path, refusal)),
            }
        }
        let mut says = Vec::new();
        lock.read_to_end(&mut says).map_err(error)?;
        let folder = Self {
            path: path.to_owned(),
            lock,
            created: says == CREATED,
        };
        if folder.created {
            let database = folder.database();
            if fs::metadata(&database).map_or(0, |found| found.len()) == 0 {
                return Err(StoreError::Damaged {
                    path: database,
                    what: "it was made once, and is missing or empty now".to_owned(),
                });
            }
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the database was made here before.
    pub(super) fn created(&self) -> bool {
        self.created
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The log beside it: the database names it so.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(format!("{DATABASE}-wal"))
    }

    /// Remembers that the database is there; and the folder that the files are.
    pub(super) fn say_created(&self) -> Result<(), StoreError> {
        if self.created {
            return Ok(());
        }
        let say = || {
            sync_folder(&self.path)?;
            // Saying so may have been cut short before.
            let mut lock = &self.lock;
            lock.set_len(0)?;
            lock.rewind()?;
            lock.write_all(CREATED)?;
            self.lock.sync_all()
        };
        say().map_err(|error| self.error(error))
    }

    pub(super) fn size(&self) -> Result<u64, StoreError> {
        let mut size = 0;
        for file in [self.database(), self.log()] {
            match fs::metadata(&file) {
                Ok(found) => size += found.len(),
                // The log comes with the first commit after opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error(&file, error)),
            }
        }
        Ok(size)
    }

    pub(super) fn error(&self, error: io::Error) -> StoreError {
        io_error(&self.path, error)
    }
}

/// Makes a folder and those above it, such that a power cut does not take them.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|folder| !folder.exists())
        .collect();
    fs::create_dir_all(path)?;
    for folder in missing.into_iter().rev() {
        if let Some(above) = folder.parent() {
            sync_folder(above)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

// Elsewhere a folder cannot be opened like a file, nor does it need to be.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_though_another_process_shares_its_files_for_a_moment() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let shared = folder.lock.try_clone().unwrap();
        drop(folder);
        Folder::open(place.path()).unwrap();
        drop(shared);
    }
}
