//! The process that is killed: this program once more, as the embedded runtime on a folder and on ports that stay.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use durably::{
    Endpoint,
    local::{Fsync, LocalError, LocalRuntime},
    test_server::{Ingress, ProcessUnderTest},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tracing_subscriber::EnvFilter;

use crate::{
    ledger::end_last_line,
    load::VARIABLE,
    ports::{serves_again, start_on},
    random::Random,
    services::{self, Diary},
    test_services,
};

/// Where the runtime keeps its journal. Set, this program is the runtime.
const FOLDER: &str = "DURABLY_CRASH_FOLDER";
const INGRESS: &str = "DURABLY_CRASH_INGRESS";
const ADMIN: &str = "DURABLY_CRASH_ADMIN";
const FSYNC: &str = "DURABLY_CRASH_FSYNC";
const SUSPEND: &str = "DURABLY_CRASH_SUSPEND";

/// What it writes once it runs.
const RUNS: &str = "the local runtime runs";

/// How long a process may take until it runs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long an answer of its admin API may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How the process is set up.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) fsync: bool,
    pub(crate) always_suspend: bool,
}

/// Whether this process is the one that is killed; it does not return before it has ended.
pub(crate) fn is_runtime() -> bool {
    let Ok(folder) = env::var(FOLDER) else {
        return false;
    };
    let filter = EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve(Path::new(&folder)));
    true
}

async fn serve(folder: &Path) {
    let mut endpoint = Endpoint::builder();
    let diary = Diary::open(&folder.join("diary"));
    for service in test_services::all().into_iter().chain(services::all(diary)) {
        endpoint = endpoint.bind(service);
    }
    let address = |variable: &str| {
        let port: u16 = env::var(variable).unwrap().parse().unwrap();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let mut runtime = LocalRuntime::builder(endpoint.build().unwrap())
        .path(folder.join("journal"))
        .ingress(address(INGRESS))
        .admin(address(ADMIN))
        .fsync(match env::var(FSYNC).is_ok() {
            true => Fsync::Always,
            false => Fsync::Never,
        });
    if env::var(SUSPEND).is_ok() {
        runtime = runtime.always_suspend();
    }
    match runtime.run().await {
        // Who has started us does so again.
        Err(LocalError::Listen { address, source })
            if source.kind() == io::ErrorKind::AddrInUse =>
        {
            eprintln!("cannot listen on {address}: {source}");
        }
        ended => ended.unwrap(),
    }
}

pub(crate) struct World {
    process: ProcessUnderTest,
    folder: TempDir,
    ingress: u16,
    admin: u16,
    pub(crate) kills: AtomicU64,
    /// Of them, before the runtime ran.
    pub(crate) early_kills: AtomicU64,
}

impl World {
    pub(crate) async fn start(settings: Settings) -> Self {
        let folder = TempDir::with_prefix("durably-crash-").unwrap();
        let described = |[ingress, admin]: [u16; 2]| {
            let (name, value) = VARIABLE;
            let mut process = ProcessUnderTest::builder(env::current_exe().unwrap())
                .env(FOLDER, folder.path())
                .env(INGRESS, ingress.to_string())
                .env(ADMIN, admin.to_string())
                .env("RUST_LOG", "info,durably=debug")
                .env(name, value);
            if settings.fsync {
                process = process.env(FSYNC, "1");
            }
            if settings.always_suspend {
                process = process.env(SUSPEND, "1");
            }
            process
        };
        let (process, [ingress, admin]) = start_on(described, RUNS, START_LIMIT).await;
        Self {
            process,
            folder,
            ingress,
            admin,
            kills: AtomicU64::new(0),
            early_kills: AtomicU64::new(0),
        }
    }

    async fn runs(&self) {
        serves_again(&self.process, RUNS, START_LIMIT).await;
    }

    pub(crate) fn ingress(&self) -> Ingress {
        Ingress::new(format!("http://127.0.0.1:{}", self.ingress)).unwrap()
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// Kills the process and starts it again.
    fn kill(&self) {
        self.process.kill9();
        self.kills.fetch_add(1, Relaxed);
        end_last_line(&self.diary_path());
        end_last_line(self.process.log_path().unwrap());
        self.process.restart().unwrap();
    }

    /// Kills the process and waits until it runs again.
    pub(crate) async fn kill_and_wait(&self) {
        self.kill();
        self.runs().await;
    }

    /// Kills the process at random moments until the time is up, and so many times at least: in the middle of its
    /// work, right after it runs again, or while it starts.
    pub(crate) async fn kill_again_and_again(&self, random: &mut Random, end: Instant, least: u64) {
        let mut pause = random.millis(200, 1_000);
        while Instant::now() < end || self.kills.load(Relaxed) < least {
            tokio::time::sleep(pause).await;
            self.kill();
            pause = match random.below(6) {
                0 => {
                    self.early_kills.fetch_add(1, Relaxed);
                    random.millis(0, 60)
                }
                kind => {
                    self.runs().await;
                    match kind {
                        1 => random.millis(0, 30),
                        2 => random.millis(1_000, 4_000),
                        _ => random.millis(200, 2_000),
                    }
                }
            };
        }
        self.runs().await;
    }

    pub(crate) fn diary_path(&self) -> PathBuf {
        self.folder.path().join("diary")
    }

    pub(crate) fn diary(&self) -> String {
        fs::read_to_string(self.diary_path()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// The bytes that the journal takes on disk.
    pub(crate) fn size(&self) -> u64 {
        let files = fs::read_dir(self.folder.path().join("journal")).unwrap();
        // A file may go meanwhile.
        let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        sizes.sum()
    }

    /// Ends the process as its operator would. Gives what went wrong.
    pub(crate) async fn end(&self) -> Option<String> {
        match self.process.terminate().await.unwrap() {
            Some(status) if status.success() => None,
            status => Some(format!("told to end, the process ended with {status:?}")),
        }
    }

    /// Writes the log and the diary to where they stay.
    pub(crate) fn keep(&self, name: &str) -> PathBuf {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("runtime.log"), self.log()).unwrap();
        fs::write(directory.join("diary"), self.diary()).unwrap();
        directory
    }

    /// All invocations that the runtime knows, as rows.
    pub(crate) async fn invocations(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut rows = Vec::new();
        let mut before = String::new();
        loop {
            let path = format!("/invocations?limit=1000{query}{before}");
            let page = self.get(&path).await?;
            let page: Value = serde_json::from_str(&page).map_err(|e| e.to_string())?;
            rows.extend(page["invocations"].as_array().cloned().unwrap_or_default());
            match page["next"].as_u64() {
                Some(next) => before = format!("&before={next}"),
                None => return Ok(rows),
            }
        }
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let asking = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).await?;
            // An answer to HTTP/1.0 comes in one piece.
            let request = format!("GET {path} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let asked = tokio::time::timeout(ANSWER_LIMIT, asking).await;
        let answer = asked
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => Err(format!("{path}: {answer}")),
        }
    }
}
