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

use durably::test_server::{ProcessUnderTest, RestateServer, RestateServerBuilder, free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{load::VARIABLE, proxy::Proxy};

/// How long a process may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a process may take from SIGTERM to its end: less than until it would cut off what is open,
/// and far more than it takes.
const DRAIN_LIMIT: Duration = Duration::from_secs(7);

pub(crate) struct World {
    pub(crate) server: RestateServer,
    pub(crate) proxy: Option<Proxy>,
    /// All processes that there have been. The last serves.
    processes: Mutex<Vec<Arc<ProcessUnderTest>>>,
    pub(crate) services_killed: AtomicU64,
    pub(crate) server_killed: AtomicU64,
    drains: Mutex<Vec<Duration>>,
    /// How many attempts have started and how they have ended, as far as the server has lived to tell.
    attempts: Mutex<BTreeMap<String, u64>>,
}

impl World {
    pub(crate) async fn start(
        settings: RestateServerBuilder,
        proxy: Option<u64>,
        http1: bool,
    ) -> Self {
        let (process, port) = spawn();
        let server = settings.start().await.unwrap();
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
        process.restart().unwrap();
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
        let (new, port) = spawn();
        new.wait_for_log("listening", START_LIMIT).await.unwrap();
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
        let told = Instant::now();
        let status = process.terminate().await.unwrap();
        let took = told.elapsed();
        self.drains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(took);
        match status {
            Some(status) if status.success() && took < DRAIN_LIMIT => None,
            status => Some(format!("a process drained for {took:?}: {status:?}")),
        }
    }

    /// How many processes have drained, and the longest time it took.
    pub(crate) fn drains(&self) -> (usize, Duration) {
        let drains = self.drains.lock().unwrap_or_else(PoisonError::into_inner);
        (
            drains.len(),
            drains.iter().max().copied().unwrap_or_default(),
        )
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

fn spawn() -> (Arc<ProcessUnderTest>, u16) {
    let port = free_port().unwrap();
    let (name, value) = VARIABLE;
    let process = ProcessUnderTest::builder(env!("CARGO_BIN_EXE_durably-test-services"))
        .env("PORT", port.to_string())
        .env("RUST_LOG", "info,durably=debug")
        .env(name, value)
        .spawn()
        .unwrap();
    (Arc::new(process), port)
}
