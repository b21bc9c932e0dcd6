//! End-to-end tests: handlers written with this crate on a real server, in every mode in which the
//! two can talk to each other; and on the embedded runtime, in modes `local` and `local-suspend`.
//!
//! One module a topic, each with its services and their cases; `harness` has what they share, and
//! says how a case is added.
//!
//! What does not run on the embedded runtime, and why:
//!
//! | cases | what they need |
//! | --- | --- |
//! | `deployment`, `drain`, `serving` | handlers that are served, registered and stopped apart from the runtime |
//! | `crash`, `ingress::the_server_is_killed_in_a_call` | two processes, one of which is killed; `local_crash` of the test services kills the runtime |
//! | `kafka`, `records` | subscriptions that are made through the admin API |
//! | `lifecycle::an_invocation_is_restarted_as_a_new_one` | a restart as new, which it has not |
//! | `lifecycle::a_paused_invocation_goes_on_with_other_code` | two deployments at once |
//! | `order::a_run_is_recorded_before_what_comes_after_it` | handlers that look into their own runtime while it is shared |
//! | `state::state_is_partial_where_it_is_too_large` | a limit of the server's |
//! | `large::the_limit_may_be_raised_to_the_servers_own` | the server's limit of a message |
//! | `ingress::neither_signals_nor_promises` | an ingress without signals: this one has them |
//! | `errors::before_v7_…`, `errors::scopes_are_refused_…` | a version of the protocol before v7 |

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
