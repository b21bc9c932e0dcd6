//! What the tests share: one server a mode with all services on it, a runtime that outlives the
//! tests, and what a failing test prints.
//!
//! In: a test as an async closure over an [`Env`]. The servers sit in statics, since starting one
//! takes longer than most tests; they end with the process. The handlers run in this process, so
//! that they can leave traces in statics ([`effect`]) that tell attempts apart.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use durably::Endpoint;
use durably::test_server::{Ingress, RestateServer, Served};
use futures::FutureExt as _;
use futures::future::join_all;
use tokio::sync::OnceCell;

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// What `?` makes of an error in a test: a panic, right there. So it has a place, and what the test
/// holds (processes, servers of its own) shows its log when it is dropped.
#[derive(Debug)]
pub(crate) enum Failure {}

impl<E: fmt::Display> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        panic!("{error}")
    }
}

/// How long one test may take in one mode. On a busy machine the servers alone take a while.
const LIMIT: Duration = Duration::from_secs(60);

/// How long [`eventually`] asks.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of a server's log and of our own a failing test shows.
const TAIL_LINES: usize = 80;

/// How a server is set up and talks to the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Protocol v6, as a server is out of the box.
    Default,
    /// Every await suspends, so that every step replays what came before.
    Suspend,
    V7,
    V7Suspend,
    /// HTTP/1.1: the whole request, then the whole response.
    Http1,
}

pub(crate) const ALL: &[Mode] = &[
    Mode::Default,
    Mode::Suspend,
    Mode::V7,
    Mode::V7Suspend,
    Mode::Http1,
];
pub(crate) const DEFAULT: &[Mode] = &[Mode::Default];
pub(crate) const V7: &[Mode] = &[Mode::V7, Mode::V7Suspend];

impl Mode {
    pub(crate) fn is_v7(self) -> bool {
        matches!(self, Self::V7 | Self::V7Suspend)
    }
}

/// A server in one mode, with all services of this binary.
pub(crate) struct Env {
    pub(crate) mode: Mode,
    pub(crate) server: RestateServer,
    _served: Served,
}

impl Env {
    pub(crate) fn ingress(&self) -> Ingress {
        self.server.ingress()
    }

    /// The value of one column of an invocation's row in `sys_invocation`; `null` without a row.
    pub(crate) async fn invocation(&self, id: &str, column: &str) -> Result<serde_json::Value> {
        invocation(&self.server, id, column).await
    }
}

/// The value of one column of an invocation's row in `sys_invocation`; `null` without a row.
pub(crate) async fn invocation(
    server: &RestateServer,
    id: &str,
    column: &str,
) -> Result<serde_json::Value> {
    let sql = format!("SELECT {column} AS value FROM sys_invocation WHERE id = '{id}'");
    let mut rows = server.query(&sql).await?;
    // Columns that are null are left out of the rows.
    Ok(rows
        .first_mut()
        .and_then(|row| row.get_mut("value"))
        .map(serde_json::Value::take)
        .unwrap_or_default())
}

async fn env(mode: Mode) -> &'static Env {
    static ENVS: [OnceCell<Env>; 5] = [const { OnceCell::const_new() }; 5];
    let start = async || {
        let builder = RestateServer::builder();
        let builder = match mode {
            Mode::Default | Mode::Http1 => builder,
            Mode::Suspend => builder.always_suspend(),
            Mode::V7 => builder.protocol_v7(),
            Mode::V7Suspend => builder.protocol_v7().always_suspend(),
        };
        let server = builder.start().await.expect("the server starts");
        let endpoint = crate::services();
        let served = match mode {
            Mode::Http1 => server.serve_http1(endpoint).await,
            _ => server.serve(endpoint).await,
        };
        Env {
            mode,
            _served: served.expect("the services are registered"),
            server,
        }
    };
    ENVS[mode as usize].get_or_init(start).await
}

/// Runs a test in each of these modes, all at once, and shows what helps if one fails.
pub(crate) fn in_modes(modes: &[Mode], test: impl AsyncFn(&'static Env) -> Result) {
    block_on(async {
        let tests = modes.iter().map(|mode| async {
            let env = env(*mode).await;
            (env, outcome(test(env)).await)
        });
        let mut failed = Vec::new();
        for (env, outcome) in join_all(tests).await {
            if let Err(error) = outcome {
                eprintln!(
                    "--- in mode {:?}: {error}\n--- the end of that server's log ---\n{}\n---",
                    env.mode,
                    tail(&env.server.log())
                );
                failed.push(env.mode);
            }
        }
        finish(&failed);
    });
}

/// Runs a test that brings its own servers; those print their logs themselves.
pub(crate) fn alone(test: impl Future<Output = Result>) {
    block_on(async {
        let outcome = outcome(test).await;
        if let Err(error) = &outcome {
            eprintln!("--- {error}");
        }
        finish(outcome.err().as_slice());
    });
}

/// The result of a test, panics and endless waits included.
async fn outcome(test: impl Future<Output = Result>) -> Result<(), String> {
    let test = tokio::time::timeout(LIMIT, AssertUnwindSafe(test).catch_unwind());
    match test.await {
        Ok(Ok(Ok(()))) => Ok(()),
        // The message is on stderr already.
        Ok(Err(_)) => Err("it failed, see above".to_owned()),
        Err(_) => Err(format!("it has not ended within {LIMIT:?}")),
    }
}

fn finish<T: fmt::Debug>(failed: &[T]) {
    let surprises = std::mem::take(&mut *SURPRISES.lock().unwrap_or_else(PoisonError::into_inner));
    if !failed.is_empty() || !surprises.is_empty() {
        for surprise in surprises {
            eprintln!("--- not on purpose (maybe in a test beside this one): {surprise}");
        }
        eprintln!("--- the end of our own log ---\n{}\n---", tail(&log()));
        panic!("failed: {failed:?}");
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// One runtime for all tests: what a static server is asked through, and the handlers that it calls,
/// must not end with the test that came first.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    record_log();
    RUNTIME
        .get_or_init(|| tokio::runtime::Runtime::new().expect("the runtime starts"))
        .block_on(future)
}

// ---- our own log -----------------------------------------------------------------------------

static LOG: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());
const LOG_SIZE: usize = 4 * 1024 * 1024;

/// Failed attempts that no test meant to fail. Retries would hide them.
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
        tokio::time::sleep(Duration::from_millis(15)).await;
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
