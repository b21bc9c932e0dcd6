//! What the cases share: one runtime a mode with all services on it, and what is told of a failure.
//!
//! **To add a case**: in the `cases` function of its module, add
//! `suite.case("what_it_shows", ALL, async |env| { … Ok(()) })`; its handlers go into a service
//! that `main.rs` binds. [`Suite::alone`] is for a case that starts its own server. An unexpected
//! warning in our own log fails the case that ends next, so failures that a case wants say `on
//! purpose`.
//!
//! In: a case as an async closure over an [`Env`]. The servers sit in statics, since starting one
//! takes longer than most cases; they end with the process. The handlers run in this process, so
//! that they can leave traces in statics ([`effect`]) that tell attempts apart.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::Write;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use durably::Endpoint;
use durably::admin::AdminClient;
use durably::test_server::{Ingress, RestateServer, Served, TestServerError};
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore};

use crate::suite::{ALL, Column as _, Mode, Suite, block_on, outcome};
use crate::suite_local::Local;

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// What `?` makes of an error in a case: a panic, right there. So it has a place, and what the case
/// holds (processes, servers of its own) shows its log when it is dropped.
#[derive(Debug)]
pub(crate) enum Failure {}

impl<E: fmt::Display> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        panic!("{error}")
    }
}

/// How long one case may take in one mode. On a busy machine the servers alone take a while.
const LIMIT: Duration = Duration::from_secs(300);

/// The same for a case that moves some hundred megabytes: where the disk is slow, most of it is waiting.
const HEAVY_LIMIT: Duration = Duration::from_secs(400);

/// How long [`eventually`] asks.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much of a server's log and of our own a failing case shows.
const TAIL_LINES: usize = 80;

/// A runtime in one mode, with all services of this binary.
pub(crate) struct Env {
    pub(crate) mode: Mode,
    runtime: Runtime,
}

enum Runtime {
    Server {
        server: Box<RestateServer>,
        _served: Served,
    },
    Local(Local),
}

/// An entry of a journal.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As the server writes it: `Command: Run`, `Notification: Sleep`.
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl Env {
    /// The real server, in those modes that have one.
    pub(crate) fn server(&self) -> &RestateServer {
        match &self.runtime {
            Runtime::Server { server, .. } => server,
            Runtime::Local(_) => panic!("there is no server in mode {}", self.mode.name()),
        }
    }

    pub(crate) fn ingress(&self) -> Ingress {
        match &self.runtime {
            Runtime::Server { server, .. } => server.ingress(),
            Runtime::Local(local) => Ingress::new(local.ingress_url()).unwrap(),
        }
    }

    pub(crate) fn ingress_url(&self) -> &str {
        match &self.runtime {
            Runtime::Server { server, .. } => server.ingress_url(),
            Runtime::Local(local) => local.ingress_url(),
        }
    }

    /// What operators do.
    pub(crate) fn admin(&self) -> AdminClient {
        match &self.runtime {
            Runtime::Server { server, .. } => server.admin(),
            Runtime::Local(local) => local.looks().admin().clone(),
        }
    }

    /// The value of one column of an invocation's row in `sys_invocation`; `null` without a row.
    pub(crate) async fn invocation(&self, id: &str, column: &str) -> Result<Value> {
        // Columns that are null are left out of the rows.
        let mut row = self.row(id).await?;
        Ok(row.get_mut(column).map(Value::take).unwrap_or_default())
    }

    /// An invocation's row in `sys_invocation`; `null` if there is none.
    pub(crate) async fn row(&self, id: &str) -> Result<Value> {
        let row = match &self.runtime {
            Runtime::Server { server, .. } => {
                let sql = format!("SELECT * FROM sys_invocation WHERE id = '{id}'");
                server.query(&sql).await?.pop()
            }
            Runtime::Local(local) => local.looks().invocation(id).await,
        };
        Ok(row.unwrap_or_default())
    }

    /// The journal of an invocation.
    pub(crate) async fn journal(&self, id: &str) -> Result<Vec<Entry>> {
        let entries = match &self.runtime {
            Runtime::Server { server, .. } => return journal(server, id).await,
            Runtime::Local(local) => local.looks().journal(id).await.into_iter(),
        };
        Ok(entries.map(|(kind, name)| Entry { kind, name }).collect())
    }

    /// Waits until the journal of an invocation has so many entries of a kind.
    pub(crate) async fn has_entries(&self, id: &str, kind: &str, count: usize) -> Result {
        let what = format!("{count} times `{kind}` in the journal of {id}");
        eventually(&what, async || {
            let journal = self.journal(id).await?;
            let found = journal.iter().filter(|entry| entry.kind == kind).count();
            Ok((found >= count).then_some(()))
        })
        .await
    }

    /// The state of an object, which is JSON.
    pub(crate) async fn state(&self, service: &str, key: &str) -> Result<Value> {
        Ok(match &self.runtime {
            Runtime::Server { server, .. } => {
                let sql = format!(
                    "SELECT key, value_utf8 FROM state \
                     WHERE service_name = '{service}' AND service_key = '{key}'"
                );
                let mut state = serde_json::Map::new();
                for row in server.query(&sql).await? {
                    let text = |column: &str| row[column].as_str().unwrap_or_default();
                    let value = serde_json::from_str(text("value_utf8"))?;
                    state.insert(text("key").to_owned(), value);
                }
                state.into()
            }
            Runtime::Local(local) => {
                let seen = local.looks().look(&format!("state/{service}/{key}")).await;
                seen.unwrap()["state"].take()
            }
        })
    }

    fn log(&self) -> String {
        match &self.runtime {
            Runtime::Server { server, .. } => server.log(),
            // It is our own.
            Runtime::Local(_) => String::new(),
        }
    }

    async fn stop(&self) {
        if let Runtime::Local(local) = &self.runtime {
            local.stop().await;
        }
    }
}

/// The journal of an invocation on a server.
pub(crate) async fn journal(server: &RestateServer, id: &str) -> Result<Vec<Entry>> {
    let sql = format!("SELECT entry_type, name FROM sys_journal WHERE id = '{id}' ORDER BY index");
    let rows = server.query(&sql).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = rows.iter().map(|row| Entry {
        kind: text(&row["entry_type"]),
        name: text(&row["name"]),
    });
    Ok(entries.collect())
}

async fn start(mode: Mode) -> Env {
    let runtime = if mode.is_local() {
        Runtime::Local(Local::start(crate::services(), mode == Mode::LocalSuspend).await)
    } else {
        let server = mode.server().start().await.expect("the server starts");
        let served = serve_in(mode, &server, crate::services()).await;
        Runtime::Server {
            _served: served.expect("the services are registered"),
            server: Box::new(server),
        }
    };
    Env { mode, runtime }
}

/// The runtimes that the cases of a mode share.
static ENVS: [OnceCell<Env>; ALL.len()] = [const { OnceCell::const_new() }; ALL.len()];

pub(crate) async fn shared(mode: Mode) -> &'static Env {
    ENVS[mode as usize].get_or_init(|| start(mode)).await
}

/// Stops what would leave something behind: statics are not dropped.
pub(crate) async fn stop() {
    for env in ENVS.iter().filter_map(OnceCell::get) {
        env.stop().await;
    }
}

/// Serves handlers that talk in this mode.
pub(crate) async fn serve_in(
    mode: Mode,
    server: &RestateServer,
    endpoint: Endpoint,
) -> std::result::Result<Served, TestServerError> {
    match mode {
        Mode::Http1 => server.serve_http1(endpoint).await,
        _ => server.serve(endpoint).await,
    }
}

impl Suite {
    /// Adds a case that uses the servers that all share.
    #[track_caller]
    pub(crate) fn case(
        &mut self,
        name: &str,
        modes: &'static [Mode],
        case: impl AsyncFn(&'static Env) -> Result + Send + Sync + 'static,
    ) {
        self.add(name, modes, move |mode| {
            block_on(async { run_on(shared(mode).await, LIMIT, &case).await })
        });
    }

    /// Adds a case that takes some hundred megabytes in server and handlers: they run one after
    /// another, each on a server that ends with it. (What such payloads leave in a store slows down
    /// all that comes later.)
    #[track_caller]
    pub(crate) fn heavy(
        &mut self,
        name: &str,
        modes: &'static [Mode],
        case: impl AsyncFn(&Env) -> Result + Send + Sync + 'static,
    ) {
        static TURN: Semaphore = Semaphore::const_new(1);
        self.add_spread(name, modes, move |mode| {
            block_on(async {
                let _turn = TURN.acquire().await;
                let env = start(mode).await;
                let outcome = run_on(&env, HEAVY_LIMIT, &case).await;
                env.stop().await;
                outcome
            })
        });
    }

    /// Adds a case that brings its own servers; those print their logs themselves.
    #[track_caller]
    pub(crate) fn alone(
        &mut self,
        name: &str,
        modes: &'static [Mode],
        case: impl AsyncFn(Mode) -> Result + Send + Sync + 'static,
    ) {
        self.add(name, modes, move |mode| {
            block_on(async {
                record_log();
                with_logs(outcome(LIMIT, case(mode)).await, String::new)
            })
        });
    }
}

/// Runs a case on a server; a failure shows the end of its log.
async fn run_on<'a>(
    env: &'a Env,
    limit: Duration,
    case: &impl AsyncFn(&'a Env) -> Result,
) -> std::result::Result<(), String> {
    record_log();
    let outcome = outcome(limit, case(env)).await;
    with_logs(outcome, || {
        let log = tail(&env.log());
        format!("--- the end of the server's log ---\n{log}\n")
    })
}

/// A failure with all that helps to understand it. What nobody meant to happen is one, too.
fn with_logs(
    outcome: Result<(), String>,
    server_log: impl FnOnce() -> String,
) -> Result<(), String> {
    let surprises = std::mem::take(&mut *SURPRISES.lock().unwrap_or_else(PoisonError::into_inner));
    let mut report = match outcome {
        Ok(()) if surprises.is_empty() => return Ok(()),
        Ok(()) => "something happened that nobody meant\n".to_owned(),
        Err(error) => format!("{error}\n"),
    };
    for surprise in surprises {
        report += &format!("--- not on purpose (maybe in a case beside this one): {surprise}");
    }
    let own_log = tail(&log());
    report += &server_log();
    report += &format!("--- the end of our own log ---\n{own_log}\n---");
    Err(report)
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

// ---- our own log -----------------------------------------------------------------------------

static LOG: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());
const LOG_SIZE: usize = 4 * 1024 * 1024;

/// Failed attempts that no case meant to fail. Retries would hide them.
static SURPRISES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How a failure that is meant shows: it says so, it comes from a handler that only misbehaves, or it
/// is a stranger who was turned away.
const MEANT: &[&str] = &[
    "on purpose",
    "/mis",
    "reason=the header x-restate-signature-scheme is missing",
];

/// Keeps the latest part of what the SDK logs.
struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // One event at a time.
        let event = String::from_utf8_lossy(bytes);
        if event.contains(" WARN ") && !MEANT.iter().any(|meant| event.contains(meant)) {
            let mut surprises = SURPRISES.lock().unwrap_or_else(PoisonError::into_inner);
            surprises.push(event.into_owned());
        }
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend(bytes);
        let excess = log.len().saturating_sub(LOG_SIZE);
        log.drain(..excess);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn record_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_env_filter("durably=debug")
            .with_ansi(false)
            .with_writer(|| LogWriter)
            .init();
    });
}

/// What the SDK has logged, as far as it is kept.
pub(crate) fn log() -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&log.iter().copied().collect::<Vec<_>>()).into_owned()
}

// ---- traces of handlers ----------------------------------------------------------------------

type Effects = HashMap<String, Vec<String>>;

fn effects_map() -> MutexGuard<'static, Effects> {
    static EFFECTS: LazyLock<Mutex<Effects>> = LazyLock::new(Mutex::default);
    EFFECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes, from within a handler and past the journal, that something happened. Gives how often
/// something has happened under this key, this time included.
pub(crate) fn effect(key: impl Into<String>, what: impl fmt::Display) -> usize {
    let mut effects = effects_map();
    let list = effects.entry(key.into()).or_default();
    list.push(what.to_string());
    list.len()
}

/// What has happened under a key, in order.
pub(crate) fn effects(key: &str) -> Vec<String> {
    effects_map().get(key).cloned().unwrap_or_default()
}

// ---- waiting ---------------------------------------------------------------------------------

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: it has not come true within {PATIENCE:?}").into());
        }
        // Whoever has waited for long may look less often: each look is work for the servers.
        let pause = (start.elapsed() / 8).clamp(ms(15), ms(100));
        tokio::time::sleep(pause).await;
    }
}

/// An endpoint with what is bound to the builder.
pub(crate) fn endpoint(
    bind: impl FnOnce(durably::EndpointBuilder) -> durably::EndpointBuilder,
) -> Endpoint {
    bind(Endpoint::builder())
        .build()
        .expect("the endpoint is valid")
}

/// Milliseconds, as a duration.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
