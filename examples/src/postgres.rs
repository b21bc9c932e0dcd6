//! A PostgreSQL server for a demonstration: on a free port of the loopback interface, with its data in a
//! directory of its own, and gone with its value.
//!
//! In: the programs of Debian's package `postgresql`, which is installed if this machine lacks it and we
//! may. Out: the address of an empty database. PostgreSQL refuses to run as root: then it runs as the
//! user `postgres`, which comes with the package. The data are not kept, so nothing is flushed to disk.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use durably::test_server::{ProcessUnderTest, free_port};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::say;

/// Where Debian puts the programs, below the number of the version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// `RUNLEVEL` keeps the package from starting a server, where no systemd does that.
const INSTALL: &str = "apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends postgresql";

const START_LIMIT: Duration = Duration::from_secs(60);

/// How long the server may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How often another port is tried when somebody was faster to take one.
const PORT_ATTEMPTS: usize = 5;

/// How much of a failed program's output is shown.
const LINES: usize = 10;

/// A PostgreSQL server. It ends with this value, and also if this process is killed.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// let postgres = durably_examples::Postgres::start().await?;
/// let database = postgres.connect().await?;
/// database.batch_execute("CREATE TABLE accounts (name text, cents bigint)").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres {
    process: ProcessUnderTest,
    port: u16,
    _directory: TempDir,
}

impl Postgres {
    /// Starts a server with an empty database.
    ///
    /// # Errors
    ///
    /// PostgreSQL is missing and cannot be installed, or does not come up.
    ///
    /// # Examples
    ///
    /// See [`Postgres`].
    pub async fn start() -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(install_if_missing).await??;
        let programs = programs().context("PostgreSQL was installed and is not there")?;
        let user = User::of_server()?;
        let directory = tempfile::Builder::new()
            .prefix("durably-postgres-")
            .tempdir()?;
        if let Some(user) = &user {
            chown(directory.path(), Some(user.id), Some(user.group))?;
        }
        let data = directory.path().join("data");
        let mut initdb = command(&programs.join("initdb"), user.as_ref());
        initdb
            .args(["--no-sync", "--auth=trust", "--username=postgres"])
            .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .current_dir(directory.path());
        let output = tokio::task::spawn_blocking(move || initdb.output()).await??;
        ensure!(
            output.status.success(),
            "initdb failed:\n{}",
            text_of(&output)
        );

        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let process = serve(&programs, user.as_ref(), &data, port)?;
            match process
                .wait_for_log("ready to accept connections", START_LIMIT)
                .await
            {
                Ok(()) => {
                    return Ok(Self {
                        process,
                        port,
                        _directory: directory,
                    });
                }
                Err(_) if attempt < PORT_ATTEMPTS && process.log().contains("in use") => {
                    attempt += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The address of the database.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(postgres: durably_examples::Postgres) {
    /// println!("DATABASE_URL={}", postgres.url());
    /// # }
    /// ```
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// All that the server has logged.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(postgres: durably_examples::Postgres) {
    /// assert!(!postgres.log().contains("deadlock"));
    /// # }
    /// ```
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Connects to the database.
    ///
    /// # Errors
    ///
    /// The server does not answer.
    ///
    /// # Examples
    ///
    /// See [`Postgres`].
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        // Ends with the client; what goes wrong meanwhile is said to the client, too.
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Postgres {
    /// Lets the server end by itself, for it leaves a bit of shared memory behind when it is killed.
    fn drop(&mut self) {
        let Some(id) = self.process.id() else { return };
        // SIGINT: cut off whoever is connected, and end.
        let asked = Command::new("/bin/sh")
            .args(["-c", r#"kill -INT "$0""#, &id.to_string()])
            .status();
        let begin = Instant::now();
        while asked.is_ok() && self.process.is_running() && begin.elapsed() < STOP_LIMIT {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts the server as this user. It is killed when the value is dropped.
fn serve(
    programs: &Path,
    user: Option<&User>,
    data: &Path,
    port: u16,
) -> anyhow::Result<ProcessUnderTest> {
    let postgres = programs.join("postgres");
    let mut builder = match user {
        None => ProcessUnderTest::builder(postgres),
        // It becomes the program, under the same process id.
        Some(user) => ProcessUnderTest::builder("setpriv")
            .arg(format!("--reuid={}", user.id))
            .arg(format!("--regid={}", user.group))
            .arg("--clear-groups")
            .arg(postgres),
    };
    builder = builder.current_dir(data).arg("-D").arg(data);
    for setting in [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        "dynamic_shared_memory_type=mmap".to_owned(),
        "fsync=off".to_owned(),
    ] {
        builder = builder.arg("-c").arg(setting);
    }
    Ok(builder.spawn()?)
}

/// Whom the server runs as, if we are root.
struct User {
    id: u32,
    group: u32,
}

impl User {
    fn of_server() -> anyhow::Result<Option<Self>> {
        if !is_root()? {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        for name in ["postgres", "nobody"] {
            for line in users.lines() {
                let fields: Vec<_> = line.split(':').collect();
                if let [user, _, id, group, ..] = fields[..]
                    && user == name
                {
                    let (id, group) = (id.parse()?, group.parse()?);
                    return Ok(Some(Self { id, group }));
                }
            }
        }
        bail!("PostgreSQL does not run as root, and there is no other user to run it as")
    }
}

fn is_root() -> anyhow::Result<bool> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "0")
}

fn command(program: &Path, user: Option<&User>) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.id).gid(user.group);
    }
    command
}

/// The directory with `initdb` and `postgres`: on the `PATH`, or Debian's with the highest version.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path);
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let versions = versions.into_iter().rev().map(|(_, path)| path);
    let mut places = on_path.chain(versions);
    places.find(|place| place.join("postgres").is_file() && place.join("initdb").is_file())
}

fn install_if_missing() -> anyhow::Result<()> {
    if programs().is_some() {
        return Ok(());
    }
    ensure!(
        is_root()?,
        "PostgreSQL is not installed here, and only root may do that: apt-get install postgresql"
    );
    say("this takes a while the first time: PostgreSQL is being installed with apt-get …");
    let output = Command::new("/bin/sh").args(["-c", INSTALL]).output()?;
    ensure!(
        output.status.success() && programs().is_some(),
        "PostgreSQL is not installed here, and apt-get could not do it ({}):\n{}",
        output.status,
        text_of(&output)
    );
    Ok(())
}

/// The end of what a program has said.
fn text_of(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
