//! What can go wrong between the embedded runtime and its disk.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use crate::BoxError;

/// Why the embedded runtime's store could not be opened, read or written.
///
/// # Examples
///
/// ```
/// use durably::local::StoreError;
///
/// fn advice(error: &StoreError) -> &'static str {
///     match error {
///         StoreError::InUse { .. } => "stop the other process, or choose another folder",
///         StoreError::Full { .. } => "free some space",
///         _ => "look at the disk",
///     }
/// }
/// # assert_eq!(advice(&StoreError::Full { path: "data".into() }), "free some space");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another runtime in this one, has the folder open.
    #[error("{} is in use by another process, or by another runtime in this one", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A later version of this library has written the folder.
    #[error(
        "{} has format {found}, and this version of durably knows formats up to {known}: use a later version",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The latest one that is known.
        known: u32,
    },
    /// There is something else in the place of the store.
    #[error("{} is no store of durably: choose another folder", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// What was read is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// There is no space left for a commit, which was not made.
    #[error("no space left on the disk of {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// An earlier commit could not be finished, and what is on disk is only known after opening again.
    #[error(
        "{} takes no commits any more, since an earlier one failed and only opening it again tells what is on disk; the failure: {why}",
        path.display()
    )]
    Failed {
        /// The file.
        path: PathBuf,
        /// What happened to the earlier commit.
        why: String,
    },
    /// The database refused something that should have worked.
    #[error("the database {} failed: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: BoxError,
    },
}

impl StoreError {
    /// What the database said, in our terms.
    pub(super) fn from_database(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                what: error.to_string(),
            },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly,
            ) => Self::Io {
                path,
                source: io::Error::other(error),
            },
            _ => Self::Database {
                path,
                source: error.into(),
            },
        }
    }
}
