//! A Restate server of one's own: started on free loopback ports, killed, restarted, and gone when
//! the value is dropped.
//!
//! In: a few settings. Out: a server that is ready to take deployments and calls. What is asked of
//! it afterwards is in `admin.rs` and `ingress.rs`. This module does not serve handlers.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::client;
use super::error::TestServerError;
use super::guard::{GuardedChild, Launch};
use super::ingress::Ingress;
use super::install::RESTATE_SERVER;
use super::log::Log;
use super::port::free_port;
use super::settings::RestateServerBuilder;

/// A server is ready within a second; a machine that is busy compiling takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a restart waits for its ports, should somebody else have taken one of them.
const PORTS_LIMIT: Duration = Duration::from_secs(10);

/// How long [`RestateServer::terminate`] waits before it kills.
const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(20);

/// How often other ports are tried when somebody was faster to take one.
const PORT_ATTEMPTS: usize = 8;

/// A Restate server for tests, on loopback.
///
/// It uses little memory, two partitions, and its own directory. It is killed when the value is
/// dropped, and also when the test process itself is killed, so none is ever left running. If the
/// test that drops it is panicking, the end of the server's log is shown on stderr; the log file
/// itself is then kept.
///
/// The server's program comes from the variable `RESTATE_SERVER_BIN`, else from the `PATH` (if it
/// is the native one and its version fits), else it is installed once with npm into a cache
/// directory: `DURABLY_CACHE_DIR`, else `durably` below `XDG_CACHE_HOME` or `~/.cache`.
///
/// # Examples
///
/// ```no_run
/// use durably::test_server::RestateServer;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let server = RestateServer::builder().start().await?;
/// server.register("http://127.0.0.1:9080").await?;
/// let greeting: String = server.ingress().call("Greeter", "greet", &"Ada").await?;
///
/// server.kill9();
/// server.restart().await?; // same addresses, same data
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RestateServer {
    pub(super) client: reqwest::Client,
    ingress: Ingress,
    ingress_url: String,
    admin_url: String,
    launch: Launch,
    log: Log,
    /// What the watchdog removes should this process be killed: only data that nobody named.
    leftovers: Option<PathBuf>,
    child: Mutex<Option<GuardedChild>>,
    directory: Option<TempDir>,
}

/// How one start of the program went.
enum Start {
    Ready,
    PortTaken(TestServerError),
}

/// What one look at the starting server showed.
enum Look {
    Ready,
    NotYet(String),
}

impl RestateServer {
    /// Starts to describe a server.
    ///
    /// # Examples
    ///
    /// See [`RestateServer`].
    pub fn builder() -> RestateServerBuilder {
        RestateServerBuilder::default()
    }

    pub(super) async fn start(settings: RestateServerBuilder) -> Result<Self, TestServerError> {
        let program = RESTATE_SERVER.locate(settings.binary.clone()).await?;
        let (directory, base) = match &settings.base_dir {
            Some(base) => (None, base.clone()),
            None => {
                let directory = tempfile::Builder::new()
                    .prefix("durably-restate-")
                    .tempdir()
                    .map_err(TestServerError::io("create a directory for the server"))?;
                let base = directory.path().to_owned();
                (Some(directory), base)
            }
        };
        let prepare = || TestServerError::io(format!("use the directory {}", base.display()));
        let base = std::path::absolute(&base).map_err(prepare())?;
        fs::create_dir_all(&base).map_err(prepare())?;

        let config = base.join("restate.toml");
        let data = base.join("data");
        let client = client::client().map_err(|error| {
            TestServerError::io("create an HTTP client")(io::Error::other(error))
        })?;
        let mut server = RestateServer {
            ingress: ingress_client(&client, "http://127.0.0.1")?,
            client,
            ingress_url: String::new(),
            admin_url: String::new(),
            launch: Launch {
                program,
                args: vec![
                    "--no-logo".into(),
                    "--config-file".into(),
                    config.clone().into(),
                ],
                envs: settings.envs.clone(),
                hidden: hidden_variables(),
                directory: Some(base.clone()),
            },
            log: Log::new(base.join("restate-server.log")),
            leftovers: directory.is_some().then(|| data.clone()),
            child: Mutex::new(None),
            directory,
        };
        let mut attempt = 1;
        loop {
            server.choose_ports(&settings, &data, &config)?;
            match server.launch_once().await? {
                Start::Ready => return Ok(server),
                Start::PortTaken(error) if attempt == PORT_ATTEMPTS => return Err(error),
                Start::PortTaken(_) => attempt += 1,
            }
        }
    }

    /// The address that calls go to, such as `http://127.0.0.1:18080`. A restart keeps it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(server: durably::test_server::RestateServer) {
    /// println!("curl {}/Greeter/greet --json '\"Ada\"'", server.ingress_url());
    /// # }
    /// ```
    pub fn ingress_url(&self) -> &str {
        &self.ingress_url
    }

    /// The address of the admin API. A restart keeps it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(server: durably::test_server::RestateServer) {
    /// println!("curl {}/deployments", server.admin_url());
    /// # }
    /// ```
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// A client that calls handlers.
    ///
    /// # Examples
    ///
    /// See [`Ingress`].
    pub fn ingress(&self) -> Ingress {
        self.ingress.clone()
    }

    /// The process id, while the server has been started and neither killed nor terminated.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(server: durably::test_server::RestateServer) {
    /// println!("server runs as {:?}", server.id());
    /// # }
    /// ```
    pub fn id(&self) -> Option<u32> {
        self.lock().as_ref().map(GuardedChild::id)
    }

    /// All that the server has written so far, over all its runs.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(server: durably::test_server::RestateServer) {
    /// assert!(!server.log().contains("protocol violation"));
    /// # }
    /// ```
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// The server's log file.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(server: durably::test_server::RestateServer) {
    /// println!("tail -f {}", server.log_path().display());
    /// # }
    /// ```
    pub fn log_path(&self) -> &Path {
        self.log.path()
    }

    /// Kills the server at once (SIGKILL): it gets no chance to finish anything.
    ///
    /// # Examples
    ///
    /// See [`RestateServer`].
    pub fn kill9(&self) {
        *self.lock() = None;
    }

    /// Asks the server to end (SIGTERM) and waits until it has; kills it after 20 seconds.
    ///
    /// # Errors
    ///
    /// When the operating system cannot deliver the signal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(server: durably::test_server::RestateServer)
    /// # -> Result<(), durably::test_server::TestServerError> {
    /// server.terminate().await?;
    /// server.restart().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn terminate(&self) -> Result<(), TestServerError> {
        // Taken out, so that no lock is held while waiting; the drop at the end kills.
        let Some(mut child) = self.lock().take() else {
            return Ok(());
        };
        let ended = child.terminate(PATIENCE).await;
        ended
            .map(|_| ())
            .map_err(TestServerError::io("terminate the server"))
    }

    /// Starts the server again with the same addresses, settings and data, and waits until it
    /// takes requests. Kills it before if it still runs.
    ///
    /// # Errors
    ///
    /// When it does not come up, or when somebody has taken one of its ports meanwhile and does
    /// not give it back within ten seconds.
    ///
    /// # Examples
    ///
    /// See [`RestateServer`].
    pub async fn restart(&self) -> Result<(), TestServerError> {
        self.kill9();
        let start = Instant::now();
        loop {
            match self.launch_once().await? {
                Start::Ready => return Ok(()),
                Start::PortTaken(error) if start.elapsed() > PORTS_LIMIT => return Err(error),
                Start::PortTaken(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn choose_ports(
        &mut self,
        settings: &RestateServerBuilder,
        data: &Path,
        config: &Path,
    ) -> Result<(), TestServerError> {
        let port = || free_port().map_err(TestServerError::io("find a free loopback port"));
        let ports = [port()?, port()?, port()?];
        let [_, ingress, admin] = ports;
        self.ingress_url = format!("http://127.0.0.1:{ingress}");
        self.admin_url = format!("http://127.0.0.1:{admin}");
        self.ingress = ingress_client(&self.client, &self.ingress_url)?;
        settings
            .config(data, ports)
            .and_then(|text| fs::write(config, text))
            .map_err(TestServerError::io(format!("write {}", config.display())))
    }

    /// Starts the program and waits until it is ready, has ended, or takes too long.
    async fn launch_once(&self) -> Result<Start, TestServerError> {
        let doing = || TestServerError::io("start the server");
        let log_start = self.log.len();
        let output = self.log.open().map_err(doing())?;
        let child = GuardedChild::spawn(&self.launch, Some(output), self.leftovers.as_deref())
            .map_err(doing())?;
        *self.lock() = Some(child);

        let failed = |reason: String| TestServerError::NotStarted {
            program: RESTATE_SERVER.name.to_owned(),
            reason,
            log: self.log.tail(),
        };
        let start = Instant::now();
        loop {
            let look = self.look().await;
            // After the look, so that an answer counts only if our own server is still there.
            let ended = match self.lock().as_mut().map(GuardedChild::try_wait) {
                Some(Ok(None)) => None,
                Some(Ok(Some(status))) => Some(format!("it ended with {status}")),
                Some(Err(error)) => Some(error.to_string()),
                None => Some("it was killed while it started".to_owned()),
            };
            if let Some(ended) = ended {
                self.kill9();
                let error = failed(ended);
                let said = self.log.text_from(log_start);
                return if said.contains("failed binding to address") {
                    Ok(Start::PortTaken(error))
                } else {
                    Err(error)
                };
            }
            match look {
                Look::Ready => return Ok(Start::Ready),
                Look::NotYet(reason) if start.elapsed() > START_LIMIT => {
                    self.kill9();
                    return Err(failed(format!("not ready after {START_LIMIT:?}: {reason}")));
                }
                Look::NotYet(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Whether the server takes requests: its partitions answer queries, and so does its ingress.
    /// (Its health check answers earlier, when calls would still fail.)
    async fn look(&self) -> Look {
        // The admin API names its ingress, which tells our server from one that was faster to
        // take the port.
        match self.admin().get::<Value>("/version").await {
            Ok(version) => {
                let ingress = version.get("ingress_endpoint").and_then(Value::as_str);
                if ingress.map(|url| url.trim_end_matches('/')) != Some(&self.ingress_url) {
                    return Look::NotYet("another server answers at its address".to_owned());
                }
            }
            Err(error) => return Look::NotYet(error.to_string()),
        }
        if let Err(error) = self
            .query("SELECT COUNT(1) FROM sys_invocation_status")
            .await
        {
            return Look::NotYet(error.to_string());
        }
        let health = self
            .client
            .get(format!("{}/restate/health", self.ingress_url));
        match health.timeout(Duration::from_secs(2)).send().await {
            Ok(answer) if answer.status().is_success() => Look::Ready,
            Ok(answer) => Look::NotYet(format!("the ingress answers {}", answer.status())),
            Err(error) => Look::NotYet(client::describe(error).to_string()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<GuardedChild>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RestateServer {
    fn drop(&mut self) {
        self.kill9();
        self.log.show_if_panicking(RESTATE_SERVER.name);
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            // The log stays for whoever wants to see all of it; the data is big.
            let directory = directory.keep();
            let _ = fs::remove_dir_all(directory.join("data"));
            eprintln!("all of it is in {}", self.log.path().display());
        }
    }
}

/// The variables of our environment that would change the server's settings behind our back.
fn hidden_variables() -> Vec<OsString> {
    let proxies = ["HTTP_PROXY", "http_proxy"].map(OsString::from);
    env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("RESTATE_") || proxies.contains(name))
        .collect()
}

fn ingress_client(client: &reqwest::Client, url: &str) -> Result<Ingress, TestServerError> {
    Ingress::with_client(client.clone(), url.to_owned())
        .map_err(|error| TestServerError::io("make an ingress client")(io::Error::other(error)))
}
