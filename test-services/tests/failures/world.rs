//! What a scenario happens in: a server, the services, perhaps a proxy between them; and the ways to
//! hurt them.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use durably::test_server::{ProcessUnderTest, RestateServer, RestateServerBuilder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ledger::{end_last_line, failed_attempts},
    load::VARIABLE,
    ports::{serves_again, start_on},
    proxy::Proxy,
};

/// What a process of the services writes once it listens.
const LISTENS: &str = "listening";

/// How long a process may take until then.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a process may take from SIGTERM to its end, on a machine that is busy. That it cuts off nothing,
/// which it would do after 8 seconds, is asked of its log.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// A process that was told to end.
struct Drain {
    took: Duration,
    /// How many attempts had been turned away in the scenario when it was told.
    turned_away_before: u64,
}

pub(crate) struct World {
    pub(crate) server: RestateServer,
    pub(crate) proxy: Option<Proxy>,
    /// All processes that there have been. The last serves.
    processes: Mutex<Vec<Arc<ProcessUnderTest>>>,
    pub(crate) services_killed: AtomicU64,
    pub(crate) server_killed: AtomicU64,
    drains: Mutex<Vec<Drain>>,
    /// How many attempts have started and how they have ended, as far as the server has lived to tell.
    attempts: Mutex<BTreeMap<String, u64>>,
}

impl World {
    pub(crate) async fn start(
        settings: RestateServerBuilder,
        proxy: Option<u64>,
        http1: bool,
    ) -> Self {
        let ((process, port), server) = tokio::join!(spawn(), settings.start());
        let server = server.unwrap();
        let proxy = match proxy {
            Some(seed) => Some(Proxy::start(seed, port).await),
            None => None,
        };
        let port = proxy.as_ref().map_or(port, Proxy::port);
        let uri = format!("http://127.0.0.1:{port}");
        let registered = if http1 {
            server.register_http1(&uri).await
        } else {
            server.register(&uri).await
        };
        registered.unwrap();
        Self {
            server,
            proxy,
            processes: Mutex::new(vec![process]),
            services_killed: AtomicU64::new(0),
            server_killed: AtomicU64::new(0),
            drains: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    fn process(&self) -> Arc<ProcessUnderTest> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(processes.last().unwrap())
    }

    /// Kills the services with SIGKILL, and starts them again on the same port.
    pub(crate) fn kill_services(&self) {
        let process = self.process();
        process.kill9();
        self.services_killed.fetch_add(1, Relaxed);
        end_last_line(process.log_path().unwrap());
        process.restart().unwrap();
    }

    /// Waits until the services are there after a kill.
    pub(crate) async fn services_serve(&self) {
        serves_again(&self.process(), LISTENS, START_LIMIT).await;
    }

    /// Kills the server with SIGKILL, and starts it again with its data.
    pub(crate) async fn kill_server(&self, dead: Duration) {
        self.count_attempts().await;
        self.server.kill9();
        self.server_killed.fetch_add(1, Relaxed);
        tokio::time::sleep(dead).await;
        self.server.restart().await.unwrap();
    }

    /// Starts a new process, leads the proxy's connections to it, and tells the old one to end. Gives
    /// what went wrong.
    pub(crate) async fn roll(&self) -> Option<String> {
        let (new, port) = spawn().await;
        let old = self.process();
        self.proxy.as_ref().unwrap().lead_to(port);
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(new);
        // What has connected by now was accepted.
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.drain(&old).await
    }

    /// Tells the services to end. Gives what went wrong.
    pub(crate) async fn end(&self) -> Option<String> {
        self.drain(&self.process()).await
    }

    async fn drain(&self, process: &ProcessUnderTest) -> Option<String> {
        let turned_away_before = self.all_turned_away();
        let told = Instant::now();
        let status = process.terminate().await.unwrap();
        let took = told.elapsed();
        self.drains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Drain {
                took,
                turned_away_before,
            });
        let cut_off = process.log().contains("cutting off what is still open");
        match status {
            Some(status) if status.success() && !cut_off && took < DRAIN_LIMIT => None,
            status => Some(format!(
                "a process drained for {took:?}: {status:?}, it has cut off what was open: {cut_off}"
            )),
        }
    }

    /// For each process that has drained, in their order: the time it took, and how many attempts were turned away
    /// from then on, until the next one was told to.
    pub(crate) fn drains(&self) -> Vec<(Duration, u64)> {
        let drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        let next = drains.iter().skip(1).map(|drain| drain.turned_away_before);
        let until = next.chain([self.all_turned_away()]);
        // What was turned away before anybody was told counts for the first.
        let mut from = 0;
        let counted = drains.iter().zip(until).map(|(drain, until)| {
            let count = until.saturating_sub(from);
            from = until;
            (drain.took, count)
        });
        counted.collect()
    }

    /// How many attempts have failed because their connection went away.
    fn all_turned_away(&self) -> u64 {
        let failed = failed_attempts(&self.server.log());
        failed.get("RT0010").copied().unwrap_or_default()
    }

    /// The logs of all processes that have served.
    pub(crate) fn logs(&self) -> Vec<String> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.iter().map(|process| process.log()).collect()
    }

    /// Writes the logs to where they stay.
    pub(crate) fn keep_logs(&self, name: &str) -> PathBuf {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("server.log"), self.server.log()).unwrap();
        for (number, log) in self.logs().iter().enumerate() {
            fs::write(directory.join(format!("services-{number}.log")), log).unwrap();
        }
        directory
    }

    /// Adds what the server has counted since it was started.
    pub(crate) async fn count_attempts(&self) {
        let text = self.metrics().await.unwrap_or_default();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            let Some(labels) = line.strip_prefix("restate_invoker_invocation_tasks_total{") else {
                continue;
            };
            let status = labels.split_once("status=\"").and_then(|(_, rest)| {
                let (status, _) = rest.split_once('"')?;
                Some(status.to_owned())
            });
            let count = labels
                .rsplit(' ')
                .next()
                .and_then(|n| n.parse::<u64>().ok());
            if let (Some(status), Some(count)) = (status, count) {
                *attempts.entry(status).or_default() += count;
            }
        }
    }

    pub(crate) fn attempts(&self, status: &str) -> u64 {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.get(status).copied().unwrap_or_default()
    }

    /// The server's own counters. They are at a port that only its settings name.
    async fn metrics(&self) -> Option<String> {
        let settings = self.server.log_path().with_file_name("restate.toml");
        let settings = fs::read_to_string(settings).ok()?;
        let (_, rest) = settings.split_once("bind-address = \"")?;
        let (address, _) = rest.split_once('"')?;
        let asking = async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            // An answer to HTTP/1.0 comes in one piece.
            let request = format!("GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            Some(answer)
        };
        let limit = Duration::from_secs(2);
        tokio::time::timeout(limit, asking).await.ok().flatten()
    }
}

async fn spawn() -> (Arc<ProcessUnderTest>, u16) {
    let described = |[port]: [u16; 1]| {
        let (name, value) = VARIABLE;
        ProcessUnderTest::builder(env!("CARGO_BIN_EXE_durably-test-services"))
            .env("PORT", port.to_string())
            .env("RUST_LOG", "info,durably=debug")
            .env(name, value)
    };
    let (process, [port]) = start_on(described, LISTENS, START_LIMIT).await;
    (Arc::new(process), port)
}
