//! The test services on a real server: each service is driven over the ingress, in every mode in
//! which server and services can talk to each other.
//!
//! **To add a case**: in the `cases` function of its module, add `suite.case("name", ALL, scenario)`
//! beside the function `async fn scenario(t: &Setup)`. Cases of one mode share a server, and run at
//! the same time: they use keys of their own. [`Suite::alone`] is for one that starts its own.

#![allow(clippy::unwrap_used, reason = "a test")]

mod calls;
mod interpreter;
mod lifecycle;
mod objects;
mod process;
#[path = "../../../sdk/tests/suite/mod.rs"]
mod suite;

use std::{convert::Infallible, process::ExitCode, time::Duration};

use durably::test_server::{
    Ingress, IngressError, ProcessUnderTest, RestateServer, RestateServerBuilder, free_port,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use suite::{ALL, Mode, Suite, block_on, outcome};

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one case may take in one mode.
const LIMIT: Duration = Duration::from_secs(60);

/// How much of the logs a failing case shows.
const TAIL_LINES: usize = 80;

/// A server at which the test services are registered.
struct Setup {
    mode: Mode,
    server: RestateServer,
    ingress: Ingress,
    services: ProcessUnderTest,
}

impl Setup {
    async fn start(mode: Mode, server: RestateServerBuilder) -> Self {
        let port = free_port().unwrap().to_string();
        let services = ProcessUnderTest::spawn(
            env!("CARGO_BIN_EXE_durably-test-services"),
            [("PORT", &*port), ("CONTRACT_TEST", "set")],
        )
        .unwrap();
        let server = server.start().await.unwrap();
        let uri = format!("http://127.0.0.1:{port}");
        let deployment = mode.register(&server, &uri).await.unwrap();
        assert_eq!(deployment.services.len(), 14);
        Self {
            mode,
            ingress: server.ingress(),
            server,
            services,
        }
    }

    /// The one that the cases of a mode share.
    async fn shared(mode: Mode) -> &'static Self {
        static SETUPS: [OnceCell<Setup>; ALL.len()] = [const { OnceCell::const_new() }; ALL.len()];
        let start = || Self::start(mode, mode.server());
        SETUPS[mode as usize].get_or_init(start).await
    }

    /// Calls a handler of a service, and gives its output as JSON.
    async fn service(&self, name: &str, handler: &str, input: Value) -> Result<Value, Failed> {
        Ok(self.ingress.call(name, handler, &input).await?)
    }

    /// Calls a handler of an object or workflow. An input of `null` is sent as no body.
    async fn object(
        &self,
        name: &str,
        key: &str,
        handler: &str,
        input: Value,
    ) -> Result<Value, Failed> {
        let request = self.ingress.object(name, key, handler);
        let request = if input.is_null() {
            request
        } else {
            request.json(&input)
        };
        Ok(request.call().await?)
    }

    /// Sends a request to an object or workflow, and gives the invocation's id.
    async fn send(&self, name: &str, key: &str, handler: &str, input: Value) -> String {
        let request = self.ingress.object(name, key, handler);
        let request = if input.is_null() {
            request
        } else {
            request.json(&input)
        };
        request.send().await.unwrap().invocation_id
    }

    /// Waits until an object's handler gives this answer.
    async fn object_gives(&self, name: &str, key: &str, handler: &str, input: Value, due: Value) {
        eventually(&format!("{name}/{key}/{handler} gives {due}"), async || {
            self.object(name, key, handler, input.clone())
                .await
                .unwrap()
                == due
        })
        .await;
    }
}

/// A call that failed: its status and message.
#[derive(Debug, PartialEq)]
struct Failed(u16, String);

impl From<IngressError> for Failed {
    fn from(error: IngressError) -> Self {
        let status = error.status();
        let status = status.unwrap_or_else(|| panic!("{error}"));
        Self(status, error.message().unwrap_or_default().to_owned())
    }
}

/// Asks again and again until the answer is yes.
async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, asking).await.is_err() {
        panic!("not after {PATIENCE:?}: {what}");
    }
}

impl Suite {
    /// Adds a case that uses what the cases of its mode share.
    #[track_caller]
    fn case(
        &mut self,
        name: &str,
        modes: &'static [Mode],
        case: impl AsyncFn(&'static Setup) + Send + Sync + 'static,
    ) {
        self.add(name, modes, move |mode| {
            block_on(async {
                let setup = Setup::shared(mode).await;
                let outcome = outcome(LIMIT, infallible(case(setup))).await;
                outcome.map_err(|error| {
                    let (server, services) = (setup.server.log(), setup.services.log());
                    format!(
                        "{error}\n--- the end of the server's log ---\n{}\n\
                         --- the end of the services' log ---\n{}\n---",
                        tail(&server),
                        tail(&services)
                    )
                })
            })
        });
    }

    /// Adds a case that starts what it needs; that prints its logs itself.
    #[track_caller]
    fn alone(
        &mut self,
        name: &str,
        modes: &'static [Mode],
        case: impl AsyncFn(Mode) + Send + Sync + 'static,
    ) {
        self.add(name, modes, move |mode| {
            block_on(outcome(LIMIT, infallible(case(mode))))
        });
    }
}

/// These cases fail by panicking.
async fn infallible(case: impl Future<Output = ()>) -> Result<(), Infallible> {
    case.await;
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn main() -> ExitCode {
    let mut suite = Suite::default();
    for cases in [
        calls::cases,
        interpreter::cases,
        lifecycle::cases,
        objects::cases,
        process::cases,
    ] {
        cases(&mut suite);
    }
    suite.run()
}
