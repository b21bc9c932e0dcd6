//! The test kit: handlers tested in microseconds, without a server, a network or a sleep.

#[cfg(feature = "testing")]
mod mock;
pub(crate) mod wire;

#[cfg(feature = "testing")]
pub use mock::{
    ANY_KEY, CallScript, FailureKind, MockContext, MockFailure, Recorded, ResultScript, Running,
};
