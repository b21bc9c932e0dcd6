//! An endpoint's process: started, asked what it has used, stopped.

use std::{
    fs,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use durably_benches::driver::Driver;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// How long a process may take to listen, and to end. Under valgrind either takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running endpoint. Dropped, it is killed.
pub(crate) struct Server {
    child: Child,
    id: u32,
    port: u16,
}

impl Server {
    /// Starts a program, with others in front of it if need be, and waits until it listens.
    pub(crate) async fn start(program: &Path, before: &[String]) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = match before {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        let mut child = command
            .env("PORT", port.to_string())
            .env("THREADS", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let id = child.id().context("a process has ended at once")?;
        let began = Instant::now();
        while Driver::connect(port).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} has ended: {status}", program.display());
            }
            if began.elapsed() > PATIENCE {
                bail!("{} does not listen on {port}", program.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { child, id, port })
    }

    /// A new connection to it.
    pub(crate) async fn connect(&self) -> anyhow::Result<Driver> {
        Driver::connect(self.port).await
    }

    /// The processor time of its thread, in nanoseconds: user and system. Finer than the clock ticks of
    /// `stat`, and without the helper threads of start-up.
    pub(crate) fn cpu(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/schedstat", self.id);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let nanos = text.split_whitespace().next().context("it is empty")?;
        Ok(nanos.parse()?)
    }

    /// Its resident memory in bytes, now.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.kilobytes("smaps_rollup", "Rss:")
    }

    /// Forgets the peak so far.
    pub(crate) fn reset_peak(&self) -> anyhow::Result<()> {
        let path = format!("/proc/{}/clear_refs", self.id);
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    /// The most resident memory that it had since, in bytes.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        self.kilobytes("status", "VmHWM:")
    }

    fn kilobytes(&self, file: &str, field: &str) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/{file}", self.id);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let value = line.and_then(|line| line.split_whitespace().next());
        let value: u64 = value
            .with_context(|| format!("no {field} in {path}"))?
            .parse()?;
        Ok(value * 1024)
    }

    /// Tells it to end (SIGTERM), and waits for that.
    pub(crate) async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        let told = Command::new("kill")
            .args(["-TERM", &self.id.to_string()])
            .status()
            .await?;
        if !told.success() {
            bail!("cannot stop process {}", self.id);
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("process {} does not end", self.id),
        }
    }
}

/// A port that nobody listens on, so far.
fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}
