//! Builds what is measured, with the default release profile.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::{progress, session::Who};

/// Where the built programs are.
#[derive(Debug)]
pub(crate) struct Binaries {
    target: PathBuf,
}

impl Binaries {
    /// Where they are, or will be: in the target folder of this program.
    pub(crate) fn here() -> anyhow::Result<Self> {
        // target/release/compare
        let target = env::current_exe()?;
        let target = target.ancestors().nth(2);
        let target = target.context("this program stands in no target folder")?;
        Ok(Self {
            target: target.to_owned(),
        })
    }

    /// The endpoint's program.
    pub(crate) fn of(&self, who: Who) -> PathBuf {
        self.target.join(match who {
            Who::Echo => "release/echo",
            Who::Ours => "release/bench-endpoint",
            Who::Peer => "peer/release/peer-endpoint",
        })
    }

    /// A folder for what valgrind writes.
    pub(crate) fn scratch(&self) -> anyhow::Result<PathBuf> {
        let folder = self.target.join("compare");
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// The `benches` folder.
pub(crate) fn benches() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The cargo that runs us, or the one on the path.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds all endpoints.
pub(crate) fn all(peer: bool) -> anyhow::Result<Binaries> {
    let binaries = Binaries::here()?;
    progress::say("building durably and the echo");
    let mut ours = cargo();
    ours.args(["build", "--release", "--quiet", "-p", "durably-benches"])
        .args(["--bin", "bench-endpoint", "--bin", "echo", "--target-dir"])
        .arg(&binaries.target)
        .current_dir(benches());
    run(&mut ours)?;
    if peer {
        progress::say("building restate-sdk (minutes, the first time)");
        let mut peer = cargo();
        peer.args(["build", "--release", "--quiet", "--locked", "--target-dir"])
            .arg(binaries.target.join("peer"))
            .current_dir(benches().join("peer"));
        run(&mut peer)?;
    }
    Ok(binaries)
}

/// Runs a command to its end, with its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// The version of a package in a lock file.
pub(crate) fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    after.split('"').next()
}
