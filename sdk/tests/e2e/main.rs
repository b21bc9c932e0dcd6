//! End-to-end tests: handlers written with this crate on a real server, in every mode in which the
//! two can talk to each other.
//!
//! One module a topic, each with its services and their tests; `harness` has what they share.

mod harness;
mod state;
mod steps;

use durably::Endpoint;

/// All services that the shared servers call.
fn services() -> Endpoint {
    harness::endpoint(|builder| builder.bind(state::Ledger).bind(steps::Steps))
}
