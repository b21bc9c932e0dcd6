//! What is compared: processes that serve the handlers, on folders that are gone afterwards.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use durably::{
    HttpServer,
    local::{Fsync, LocalRuntime},
    test_server::{ProcessUnderTest, RestateServer, free_port},
};
use tempfile::TempDir;

use crate::three;

/// How the embedded runtime makes commits safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Always,
    Every,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Local(Policy),
    /// The real server, with its handlers in a process of their own.
    Real {
        fsync: bool,
    },
}

/// How long after a commit its fsync may come.
const EVERY: Duration = Duration::from_millis(100);

impl System {
    pub(crate) const ALL: [Self; 5] = [
        Self::Local(Policy::Always),
        Self::Real { fsync: true },
        Self::Local(Policy::Every),
        Self::Local(Policy::Never),
        Self::Real { fsync: false },
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local(Policy::Always) => "local, fsync always",
            Self::Local(Policy::Every) => "local, fsync every 100 ms",
            Self::Local(Policy::Never) => "local, no fsync",
            Self::Real { fsync: true } => "server, fsync of each batch (its default)",
            Self::Real { fsync: false } => "server, no fsync",
        }
    }
}

const ROLE: &str = "DURABLY_BENCH_ROLE";
const PORT: &str = "DURABLY_BENCH_PORT";
const FOLDER: &str = "DURABLY_BENCH_FOLDER";
const START_LIMIT: Duration = Duration::from_secs(30);

/// Whether this process is a server; it does not return before it has ended.
pub(crate) fn is_child() -> bool {
    let Ok(role) = env::var(ROLE) else {
        return false;
    };
    let port: u16 = env::var(PORT).unwrap().parse().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let fsync = match &*role {
            "handlers" => {
                let server = HttpServer::new(three::endpoint());
                return server.listen(address).await.unwrap();
            }
            "always" => Fsync::Always,
            "every" => Fsync::Every(EVERY),
            _ => Fsync::Never,
        };
        let runtime = LocalRuntime::builder(three::endpoint())
            .path(env::var(FOLDER).unwrap())
            .fsync(fsync)
            .ingress(address)
            .admin((Ipv4Addr::LOCALHOST, 0));
        runtime.run().await.unwrap();
    });
    true
}

/// A system that serves. Dropped, it is killed.
pub(crate) struct Server {
    ingress: u16,
    _real: Option<RestateServer>,
    _process: ProcessUnderTest,
    /// Whose processor time counts.
    processes: Vec<u32>,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start(system: System) -> Self {
        // Where the build is, is a disk, which a folder for temporary files need not be.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = free_port().unwrap();
        let spawn = |role: &str| {
            ProcessUnderTest::builder(env::current_exe().unwrap())
                .env(ROLE, role)
                .env(PORT, port.to_string())
                .env(FOLDER, folder.path())
                .spawn()
                .unwrap()
        };
        let (ingress, real, process) = match system {
            System::Local(policy) => {
                let role = match policy {
                    Policy::Always => "always",
                    Policy::Every => "every",
                    Policy::Never => "never",
                };
                (port, None, spawn(role))
            }
            System::Real { fsync } => {
                let process = spawn("handlers");
                let disabled = (!fsync).to_string();
                let server = RestateServer::builder()
                    .base_dir(folder.path())
                    .env("RESTATE_LOG_SERVER__ROCKSDB_DISABLE_WAL_FSYNC", disabled)
                    .start()
                    .await
                    .unwrap();
                let uri = format!("http://127.0.0.1:{port}");
                server.register(&uri).await.unwrap();
                let ingress = server.ingress_url().rsplit(':').next().unwrap();
                (ingress.parse().unwrap(), Some(server), process)
            }
        };
        let processes = [process.id(), real.as_ref().and_then(RestateServer::id)];
        let server = Self {
            ingress,
            _real: real,
            processes: processes.into_iter().flatten().collect(),
            _process: process,
            _folder: folder,
        };
        let began = tokio::time::Instant::now();
        while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, ingress))
            .await
            .is_err()
        {
            assert!(began.elapsed() < START_LIMIT, "{system:?} does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub(crate) fn ingress(&self) -> u16 {
        self.ingress
    }

    /// Seconds of processor time so far.
    pub(crate) fn processor(&self) -> f64 {
        let of = |process: &u32| {
            // The times of all threads, ended ones too, in hundredths of a second.
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let fields = stat.rsplit(") ").next().unwrap_or_default();
            let times = fields.split(' ').skip(11).take(2);
            times
                .filter_map(|time| time.parse::<f64>().ok())
                .sum::<f64>()
                / 100.0
        };
        self.processes.iter().map(of).sum()
    }
}
