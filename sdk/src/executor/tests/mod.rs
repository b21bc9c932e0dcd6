//! Tests of the executor.
//!
//! * Scenarios, one file a topic: scripted attempts over the real wire ([`scenario`]).
//! * Properties: random handler programs over an in-memory runtime ([`properties`]).

mod awaiting;
mod cancellation;
mod cases;
mod commands;
mod driver;
mod ephemeral;
mod faults;
mod fields;
mod foreign;
mod garbage;
mod leaves;
mod limits;
mod log;
mod program;
mod properties;
mod replay;
mod report;
mod retries;
mod runs;
mod scenario;
mod signals;
mod sim;
mod state;
mod transcript;
pub(crate) mod wire;
