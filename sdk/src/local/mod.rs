//! The embedded runtime (feature `local`): the same handlers in one process, durable on disk, with nothing to install.
//!
//! [`LocalRuntime`] calls the handlers of an [`Endpoint`](crate::Endpoint), keeps their journals in a folder, and takes
//! requests over the Restate server's own HTTP interface. It is for development, for tests, and for what runs on one
//! machine; for more than one, serve the same endpoint with an [`HttpServer`](crate::HttpServer) and let a Restate server
//! call it. Handlers do not know the difference.
//!
//! ```no_run
//! use durably::{local::LocalRuntime, prelude::*};
//!
//! struct Greeter;
//!
//! #[durably::service]
//! impl Greeter {
//!     #[handler]
//!     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
//!         Ok(format!("Hello, {name}!"))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let endpoint = Endpoint::builder().bind(Greeter).build()?;
//!     LocalRuntime::builder(endpoint).run().await?; // curl localhost:8080/Greeter/greet --json '"Ada"'
//!     Ok(())
//! }
//! ```
//!
//! After a crash at any moment it goes on where it was: nothing is answered, and no step goes on, before what led to it
//! is written. [`Fsync`] says what a power cut may take. <http://localhost:9070> shows what runs, and each journal.
//!
//! The guide `local_runtime` tells the rest: what lies on disk and for how long, the limits, the requests it answers, and
//! when to move to the server.

mod archive;
mod attempt;
mod builder;
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
    builder::LocalRuntimeBuilder,
    runtime::{LocalError, LocalRuntime},
    store::{Fsync, StoreError},
};
