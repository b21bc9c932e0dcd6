//! The embedded runtime: the same handlers in one process, durable on disk, with nothing to install.

mod archive;
mod attempt;
mod commit;
mod core;
pub(crate) mod handle;
mod http;
#[cfg(feature = "local-kafka")]
mod kafka;
mod look;
mod rows;
mod runtime;
mod store;
#[cfg(test)]
mod tests;

#[cfg(feature = "local-kafka")]
pub use self::kafka::{KafkaSource, OffsetReset, SubscriptionState, UnreadableKey};
pub use self::{
    runtime::{LocalError, LocalRuntime, LocalRuntimeBuilder},
    store::{Fsync, StoreError},
};
