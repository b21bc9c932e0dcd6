//! Crash exploration: what it must find, and whom it must not accuse.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod caught;
mod covered;
mod programs;

use std::time::Duration;

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
