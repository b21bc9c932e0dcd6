//! What this run was asked for, whom it measures, and the lines above its table.

use std::{fmt, fs, process::Command};

use anyhow::{Context as _, bail};
use durably_benches::driver::Endpoint;

use crate::build::{self, Binaries};

/// The run that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Timing,
    Instructions,
    Allocations,
    Growth,
    Costs,
    Soak,
}

/// An endpoint that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Echo,
    Ours,
    Peer,
}

impl Who {
    /// How the driver must speak to it.
    pub(crate) fn endpoint(self) -> Endpoint {
        match self {
            Self::Echo => Endpoint::Echo,
            Self::Ours | Self::Peer => Endpoint::Sdk,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Echo => "echo",
            Self::Ours => "durably",
            Self::Peer => "restate-sdk",
        })
    }
}

/// The switches.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) what: What,
    pub(crate) only: Option<String>,
    pub(crate) protocol: u32,
    pub(crate) at_once: usize,
    pub(crate) peer: bool,
}

impl Session {
    /// Reads the switches; `None` if help is wanted.
    pub(crate) fn from_args(
        mut args: impl Iterator<Item = String>,
    ) -> anyhow::Result<Option<Self>> {
        let mut session = Self {
            what: What::Timing,
            only: None,
            protocol: 7,
            at_once: 1,
            peer: true,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            let what = match &*arg {
                "--help" | "-h" => return Ok(None),
                "--instructions" => What::Instructions,
                "--allocations" => What::Allocations,
                "--growth" => What::Growth,
                "--costs" => What::Costs,
                "--soak" => What::Soak,
                option => {
                    match option {
                        "--only" => session.only = Some(value()?),
                        "--protocol" => session.protocol = value()?.parse()?,
                        "--at-once" => session.at_once = value()?.parse()?,
                        "--without-peer" => session.peer = false,
                        _ => bail!("{arg} is no switch"),
                    }
                    continue;
                }
            };
            if session.what != What::Timing {
                bail!("{arg} is a run of its own");
            }
            session.what = what;
        }
        if !(6..=7).contains(&session.protocol) {
            bail!("--protocol is 6 or 7");
        }
        Ok(Some(session))
    }

    /// Whom this run measures.
    pub(crate) fn who(&self) -> Vec<Who> {
        let mut who = vec![Who::Echo, Who::Ours];
        who.extend(self.peer.then_some(Who::Peer));
        who
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }

    /// Builds what is measured.
    pub(crate) fn build(&self) -> anyhow::Result<Binaries> {
        build::all(self.peer)
    }

    /// What the figures are of: the date, the versions, the machine.
    pub(crate) fn heading(&self) -> String {
        let rustc = Command::new("rustc").arg("--version").output();
        let rustc = rustc.map_or_else(
            |_| "an unknown rustc".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find(|line| line.starts_with("model name"));
        let model = model
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("unknown processor");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lock = include_str!("../../../Cargo.lock");
        let version = |name| build::locked(lock, name).unwrap_or("?");
        let mut heading = format!(
            "{}: durably {}, hyper {}, h2 {}, tokio {}, {rustc}; {cores} × {model}; protocol v{}",
            crate::table::today(),
            env!("CARGO_PKG_VERSION"),
            version("hyper"),
            version("h2"),
            version("tokio"),
            self.protocol,
        );
        if self.peer {
            let lock = include_str!("../../peer/Cargo.lock");
            let version = |name| build::locked(lock, name).unwrap_or("?");
            heading += &format!(
                "; restate-sdk {} with hyper {}, h2 {}, tokio {}",
                version("restate-sdk"),
                version("hyper"),
                version("h2"),
                version("tokio"),
            );
        }
        heading
    }
}
