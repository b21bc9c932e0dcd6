//! The test services on a real server: each service is driven over the ingress, with a server that
//! keeps invocations running, with one that suspends them at every await, and on protocol v7.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod interpreter;
mod lifecycle;
mod objects;
mod process;

use std::{sync::Arc, time::Duration};

use durably::test_server::{
    Deployment, Ingress, IngressError, ProcessUnderTest, RestateServer, RestateServerBuilder,
    TestServerError, free_port,
};
use serde_json::{Value, json};
use tokio::task::LocalSet;

/// Nothing that is waited for takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// A server at which the test services are registered.
struct Setup {
    server: RestateServer,
    ingress: Ingress,
    services: ProcessUnderTest,
}

impl Setup {
    async fn start(server: RestateServerBuilder) -> Arc<Self> {
        Self::start_with(server, async |server, uri| server.register(uri).await).await
    }

    async fn start_http1(server: RestateServerBuilder) -> Arc<Self> {
        Self::start_with(server, async |server, uri| server.register_http1(uri).await).await
    }

    async fn start_with(
        server: RestateServerBuilder,
        register: impl AsyncFnOnce(&RestateServer, &str) -> Result<Deployment, TestServerError>,
    ) -> Arc<Self> {
        let port = free_port().unwrap().to_string();
        let services = ProcessUnderTest::spawn(
            env!("CARGO_BIN_EXE_durably-test-services"),
            [("PORT", &*port), ("CONTRACT_TEST", "set")],
        )
        .unwrap();
        let server = server.start().await.unwrap();
        let uri = format!("http://127.0.0.1:{port}");
        let deployment = register(&server, &uri).await.unwrap();
        assert_eq!(deployment.services.len(), 14);
        Arc::new(Self {
            ingress: server.ingress(),
            server,
            services,
        })
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
    if tokio::time::timeout(LIMIT, asking).await.is_err() {
        panic!("not after {LIMIT:?}: {what}");
    }
}

/// Runs the scenarios at the same time: they use keys of their own.
async fn run_all(setup: Arc<Setup>) {
    let mut scenarios = Vec::new();
    macro_rules! spawn {
        ($($module:ident::$scenario:ident),* $(,)?) => {
            $(scenarios.push((
                stringify!($scenario),
                tokio::task::spawn_local($module::$scenario(Arc::clone(&setup))),
            ));)*
        };
    }
    let spawn_all = async {
        spawn![
            calls::failing,
            calls::many_calls,
            calls::proxy,
            calls::utils,
            interpreter::awakeables,
            interpreter::combinators,
            interpreter::failures,
            interpreter::programs,
            interpreter::signals,
            interpreter::timeouts,
            lifecycle::cancel_awakeable,
            lifecycle::cancel_by_handler,
            lifecycle::cancel_call,
            lifecycle::cancel_sleep,
            lifecycle::kill,
            lifecycle::non_deterministic_handlers_end,
            objects::awakeable_holder,
            objects::counter,
            objects::list,
            objects::map,
            objects::workflow,
        ];
        let mut failed = Vec::new();
        for (name, scenario) in scenarios {
            if scenario.await.is_err() {
                failed.push(name);
            }
        }
        assert!(failed.is_empty(), "these scenarios failed: {failed:?}");
    };
    LocalSet::new().run_until(spawn_all).await;
}

async fn assert_protocol(setup: &Setup, version: u32) {
    let sql = "SELECT DISTINCT pinned_service_protocol_version AS version FROM sys_invocation \
        WHERE pinned_service_protocol_version IS NOT NULL";
    let rows = setup.server.query(sql).await.unwrap();
    assert_eq!(rows, [json!({ "version": version })]);
}

#[tokio::test]
async fn services_hold_the_contract() {
    let setup = Setup::start(RestateServer::builder()).await;
    run_all(Arc::clone(&setup)).await;
    assert_protocol(&setup, 6).await;
    calls::scope_needs_protocol_v7(Arc::clone(&setup)).await;
    lifecycle::termination(setup).await;
}

#[tokio::test]
async fn services_hold_the_contract_when_suspended_at_every_await() {
    let setup = Setup::start(RestateServer::builder().always_suspend()).await;
    run_all(setup).await;
}

#[tokio::test]
async fn services_hold_the_contract_on_protocol_v7() {
    let setup = Setup::start(RestateServer::builder().protocol_v7()).await;
    run_all(Arc::clone(&setup)).await;
    assert_protocol(&setup, 7).await;
}

#[tokio::test]
async fn services_hold_the_contract_on_protocol_v7_when_suspended_at_every_await() {
    let server = RestateServer::builder().protocol_v7().always_suspend();
    run_all(Setup::start(server).await).await;
}

#[tokio::test]
async fn services_hold_the_contract_over_http1() {
    let setup = Setup::start_http1(RestateServer::builder()).await;
    run_all(setup).await;
}

#[tokio::test]
async fn calls_go_to_scopes() {
    let setup = Setup::start(RestateServer::builder().scopes()).await;
    calls::scope(setup).await;
}

#[tokio::test]
async fn mismatches_have_their_code() {
    let server = RestateServer::builder().always_suspend().disable_retries();
    lifecycle::mismatches(Setup::start(server).await).await;
}

#[tokio::test]
async fn crashes_change_nothing() {
    let setup = Setup::start(RestateServer::builder().always_suspend()).await;
    lifecycle::crashes(setup).await;
}
