//! The test services on a real server: each service is driven over the ingress, in every mode in
//! which server and services can talk to each other. And on the embedded runtime, in the services' own
//! process: what kills the services kills the runtime with them.
//!
//! **To add a case**: in the `cases` function of its module, add `suite.case("name", ALL, scenario)`
//! beside the function `async fn scenario(t: &Setup)`. Cases of one mode share a server, and run at
//! the same time: they use keys of their own. [`Suite::alone`] is for one that starts its own.

#![allow(clippy::unwrap_used, reason = "a test")]

mod calls;
mod interpreter;
mod lifecycle;
mod objects;
#[path = "../failures/ports.rs"]
mod ports;
mod process;
#[path = "../../../sdk/tests/suite/mod.rs"]
mod suite;
#[path = "../../../sdk/tests/suite/local.rs"]
mod suite_local;

use std::{convert::Infallible, process::ExitCode, sync::Mutex, time::Duration};

use durably::{
    admin::AdminClient,
    test_server::{Ingress, IngressError, ProcessUnderTest, RestateServer, RestateServerBuilder},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use suite::{ALL, Mode, Suite, block_on, outcome};
use suite_local::Looks;

const PROGRAM: &str = env!("CARGO_BIN_EXE_durably-test-services");

/// What the program writes once it serves: as an endpoint, and as a runtime.
const LISTENS: &str = "listening";
const RUNS: &str = "the local runtime runs";

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one case may take in one mode.
const LIMIT: Duration = Duration::from_secs(180);

/// How much of the logs a failing case shows.
const TAIL_LINES: usize = 80;

/// A server at which the test services are registered, or a runtime in their process.
struct Setup {
    mode: Mode,
    runtime: Runtime,
    ingress: Ingress,
    services: ProcessUnderTest,
    /// Of a runtime.
    directory: Mutex<Option<TempDir>>,
}

enum Runtime {
    Server(Box<RestateServer>),
    Local(Looks),
}

/// The ones that the cases of a mode share.
static SETUPS: [OnceCell<Setup>; ALL.len()] = [const { OnceCell::const_new() }; ALL.len()];

impl Setup {
    async fn start(mode: Mode) -> Self {
        Self::start_with(mode, |server| server).await
    }

    /// With other settings of the server, in modes that have one.
    async fn start_with(
        mode: Mode,
        set_up: impl FnOnce(RestateServerBuilder) -> RestateServerBuilder,
    ) -> Self {
        if mode.is_local() {
            return Self::start_local(mode).await;
        }
        let described = |[port]: [u16; 1]| {
            ProcessUnderTest::builder(PROGRAM)
                .env("PORT", port.to_string())
                .env("CONTRACT_TEST", "set")
        };
        let ((services, [port]), server) = tokio::join!(
            ports::start_on(described, LISTENS, PATIENCE),
            set_up(mode.server()).start()
        );
        let server = server.unwrap();
        let uri = format!("http://127.0.0.1:{port}");
        let deployment = mode.register(&server, &uri).await.unwrap();
        assert_eq!(deployment.services.len(), 14);
        Self {
            mode,
            ingress: server.ingress(),
            runtime: Runtime::Server(Box::new(server)),
            services,
            directory: Mutex::default(),
        }
    }

    async fn start_local(mode: Mode) -> Self {
        let directory = suite_local::folder();
        let described = |[ingress, admin]: [u16; 2]| {
            let services = ProcessUnderTest::builder(PROGRAM)
                .env("LOCAL_PATH", directory.path())
                .env("INGRESS_PORT", ingress.to_string())
                .env("ADMIN_PORT", admin.to_string())
                .env("CONTRACT_TEST", "set");
            match mode {
                Mode::LocalSuspend => services.env("ALWAYS_SUSPEND", "set"),
                _ => services,
            }
        };
        let (services, [ingress, admin]) = ports::start_on(described, RUNS, PATIENCE).await;
        Self {
            mode,
            ingress: Ingress::new(format!("http://127.0.0.1:{ingress}")).unwrap(),
            runtime: Runtime::Local(Looks::at(&format!("http://127.0.0.1:{admin}"))),
            services,
            directory: Mutex::new(Some(directory)),
        }
    }

    async fn shared(mode: Mode) -> &'static Self {
        let start = || Self::start(mode);
        SETUPS[mode as usize].get_or_init(start).await
    }

    /// Ends what would leave something behind: statics are not dropped.
    fn stop_shared() {
        for setup in SETUPS.iter().filter_map(OnceCell::get) {
            if let Some(directory) = setup.directory.lock().unwrap().take() {
                setup.services.kill9();
                drop(directory);
            }
        }
    }

    /// Waits until requests are taken again after a restart of the services.
    async fn is_up(&self) {
        let says = if self.mode.is_local() { RUNS } else { LISTENS };
        ports::serves_again(&self.services, says, PATIENCE).await;
    }

    /// What operators do.
    fn admin(&self) -> AdminClient {
        match &self.runtime {
            Runtime::Server(server) => server.admin(),
            Runtime::Local(looks) => looks.admin().clone(),
        }
    }

    /// The real server, in those modes that have one.
    fn server(&self) -> &RestateServer {
        match &self.runtime {
            Runtime::Server(server) => server,
            Runtime::Local(_) => panic!("there is no server in this mode"),
        }
    }

    /// The rows, as in the server's table `sys_invocation`, of all invocations of a handler, for one key if there
    /// are keys.
    async fn invocations(&self, service: &str, key: Option<&str>, handler: &str) -> Vec<Value> {
        match &self.runtime {
            Runtime::Server(server) => {
                let mut sql = format!(
                    "SELECT * FROM sys_invocation \
                     WHERE target_service_name = '{service}' AND target_handler_name = '{handler}'"
                );
                if let Some(key) = key {
                    sql += &format!(" AND target_service_key = '{key}'");
                }
                server.query(&sql).await.unwrap()
            }
            Runtime::Local(looks) => {
                let mut path = format!("invocations?service={service}&handler={handler}");
                if let Some(key) = key {
                    path += &format!("&key={key}");
                }
                let mut listed = looks.look(&path).await.unwrap();
                assert!(listed["next"].is_null(), "there are too many to look at");
                serde_json::from_value(listed["invocations"].take()).unwrap()
            }
        }
    }

    /// The kinds of what is in an invocation's journal, as in the server's table `sys_journal`.
    async fn journal(&self, id: &str) -> Vec<String> {
        match &self.runtime {
            Runtime::Server(server) => {
                let sql = format!("SELECT entry_type FROM sys_journal WHERE id = '{id}'");
                let rows = server.query(&sql).await.unwrap();
                let kinds = rows.iter().map(|row| row["entry_type"].as_str());
                kinds.map(|kind| kind.unwrap().to_owned()).collect()
            }
            Runtime::Local(looks) => {
                let journal = looks.journal(id).await.into_iter();
                journal.map(|(kind, _)| kind).collect()
            }
        }
    }

    /// How many entries the state of an object has.
    async fn state_size(&self, service: &str, key: &str) -> usize {
        match &self.runtime {
            Runtime::Server(server) => {
                let sql = format!(
                    "SELECT key FROM state WHERE service_name = '{service}' AND service_key = '{key}'"
                );
                server.query(&sql).await.unwrap().len()
            }
            Runtime::Local(looks) => {
                let state = looks.look(&format!("state/{service}/{key}")).await.unwrap();
                let parts = ["state", "base64"];
                parts
                    .map(|part| state[part].as_object().unwrap().len())
                    .iter()
                    .sum()
            }
        }
    }

    /// The runtime's log, where that is not the services' own.
    fn server_log(&self) -> String {
        match &self.runtime {
            Runtime::Server(server) => server.log(),
            Runtime::Local(_) => String::new(),
        }
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
                    let (server, services) = (setup.server_log(), setup.services.log());
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
    let code = suite.run();
    Setup::stop_shared();
    code
}
