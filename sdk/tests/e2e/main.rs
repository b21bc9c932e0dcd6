//! End-to-end tests: handlers written with this crate on a real server, in every mode in which the
//! two can talk to each other.
//!
//! One module a topic, each with its services and their tests; `harness` has what they share.

mod calls;
mod cancellation;
mod combinators;
mod crash;
mod deployment;
mod drain;
mod errors;
mod harness;
mod info;
mod kafka;
mod limits;
mod payloads;
mod retries;
mod scopes;
mod signals;
mod state;
mod steps;

use durably::Endpoint;

/// All services that the shared servers call.
fn services() -> Endpoint {
    harness::endpoint(|builder| {
        builder
            .bind(calls::Adder)
            .bind(calls::Callee)
            .bind(calls::Caller)
            .bind(calls::Flow)
            .bind(cancellation::Cancelled)
            .bind(combinators::Combinators)
            .bind(errors::Errors)
            .bind(info::Info)
            .bind(info::InfoObject)
            .bind(kafka::Events)
            .bind(kafka::Observer)
            .bind(limits::Large)
            .bind(limits::Wide)
            .bind(payloads::Payloads)
            .bind(retries::Retries)
            .bind(signals::Approval)
            .bind(signals::Waiter)
            .bind(state::Ledger)
            .bind(steps::Steps)
    })
}
