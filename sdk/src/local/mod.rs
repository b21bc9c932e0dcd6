//! The embedded runtime: the same handlers in one process, durable on disk, with nothing to install.

mod archive;
mod attempt;
mod commit;
mod core;
pub(crate) mod handle;
mod http;
mod look;
mod rows;
mod runtime;
mod store;
#[cfg(test)]
mod tests;

pub use self::{
    runtime::{LocalError, LocalRuntime, LocalRuntimeBuilder},
    store::{Fsync, StoreError},
};
