//! End-to-end tests: handlers written with this crate on a real server, in every mode in which the
//! two can talk to each other.
//!
//! One module a topic, each with its services and their cases; `harness` has what they share, and
//! says how a case is added.

#![allow(clippy::unwrap_used, reason = "a test")]

mod calls;
mod cancellation;
mod combinators;
mod crash;
mod deployment;
mod determinism;
mod drain;
mod errors;
mod handles;
mod harness;
mod info;
mod ingress;
mod kafka;
mod large;
mod lifecycle;
mod limits;
mod metadata;
mod nested;
mod order;
mod payloads;
mod records;
mod retries;
mod sagas;
mod scopes;
mod serving;
mod signals;
mod state;
mod steps;
#[path = "../suite/mod.rs"]
mod suite;
#[path = "../suite/local.rs"]
mod suite_local;
mod workflows;

use std::process::ExitCode;

use durably::Endpoint;

use suite::Suite;

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
            .bind(determinism::Deterministic)
            .bind(errors::Errors)
            .bind(handles::Handles)
            .bind(info::Info)
            .bind(info::InfoObject)
            .bind(ingress::MyDesk)
            .bind(ingress::MyList)
            .bind(ingress::MyTrip)
            .bind(kafka::Events)
            .bind(kafka::Observer)
            .bind(large::Big)
            .bind(large::Journal)
            .bind(lifecycle::Life)
            .bind(limits::Large)
            .bind(limits::Wide)
            .bind(metadata::Chain)
            .bind(nested::Nested)
            .bind(order::Sequence)
            .bind(order::Sequencer)
            .bind(payloads::Payloads)
            .bind(records::DeadLetters)
            .bind(records::Numbers)
            .bind(records::Once)
            .bind(records::Witness)
            .bind(retries::Retries)
            .bind(sagas::sagas())
            .bind(scopes::Scoped)
            .bind(signals::Approval)
            .bind(signals::Waiter)
            .bind(state::Ledger)
            .bind(steps::Steps)
            .bind(workflows::Pilgrimage)
            .bind(workflows::Relay)
    })
}

fn main() -> ExitCode {
    // Some cases run this binary once more, as a process that serves handlers.
    if let Some(code) = crash::serve_child() {
        return code;
    }
    let mut suite = Suite::default();
    for cases in [
        calls::cases,
        cancellation::cases,
        combinators::cases,
        crash::cases,
        deployment::cases,
        determinism::cases,
        drain::cases,
        errors::cases,
        handles::cases,
        info::cases,
        ingress::cases,
        kafka::cases,
        lifecycle::cases,
        limits::cases,
        metadata::cases,
        nested::cases,
        order::cases,
        payloads::cases,
        records::cases,
        retries::cases,
        sagas::cases,
        scopes::cases,
        serving::cases,
        signals::cases,
        state::cases,
        steps::cases,
        workflows::cases,
        // The slow half: its cases wait for each other.
        large::cases,
    ] {
        cases(&mut suite);
    }
    let code = suite.run();
    suite::block_on(harness::stop());
    code
}
