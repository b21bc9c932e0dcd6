//! Real servers on loopback, for tests: a Restate server, a Kafka broker, the processes that serve
//! handlers, and a client that calls them (feature `test-server`).
//!
//! A test starts what it needs, registers its handlers, and calls them through the ingress as any
//! client would. Servers find free ports, use little memory, and end with the value that holds
//! them; no daemon, container or fixed port is involved. A server that several tests share may sit
//! in a static: it ends with the test process, however that ends.
//!
//! ```no_run
//! use durably::test_server::{ProcessUnderTest, RestateServer, free_port};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let port = free_port()?.to_string();
//! let handlers = ProcessUnderTest::spawn("target/debug/greeter", [("PORT", &port)])?;
//! let server = RestateServer::builder().start().await?;
//! server.register(&format!("http://127.0.0.1:{port}")).await?;
//!
//! let call = server.ingress().send("Greeter", "greet_slowly", &"Ada").await?;
//! handlers.kill9(); // a crash in the middle …
//! handlers.restart()?;
//! let greeting: String = server.ingress().attach(&call.invocation_id).await?; // … loses nothing
//! # Ok(())
//! # }
//! ```
//!
//! Handlers can also be served from the test's own process: [`RestateServer::serve`].
//!
//! The programs are the real ones, so the first use on a machine installs them: see
//! [`RestateServer`] and [`KafkaBroker`]. Unix only.
//!
//! This module knows nothing of the service protocol.

mod admin;
mod client;
mod error;
mod guard;
mod ingress;
mod install;
mod kafka;
mod log;
mod port;
mod process;
mod serve;
mod server;
mod settings;

pub use crate::ingress::IngressError;
pub use admin::Deployment;
pub use error::TestServerError;
pub use ingress::{Ingress, IngressRequest, Reply, Sent};
pub use kafka::{KafkaBroker, KafkaPosition, KafkaRecord};
pub use port::free_port;
pub use process::{ProcessBuilder, ProcessUnderTest};
pub use serve::Served;
pub use server::RestateServer;
pub use settings::RestateServerBuilder;
