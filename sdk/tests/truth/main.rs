//! One truth: scenarios, written once, that play on the test kit's runtime, on the real server and on the
//! embedded runtime, and must be seen to go the same way.
//!
//! **To add a scenario**: in the `scenarios` function of its module, add
//! `suite.scenario("what_it_shows", async |w| { … })`. It asks for what it wants of the [`World`] `w`,
//! mostly that handlers run a program ([`program::Step`]), and observes what comes of it: by `w.is` if
//! that is known, by `w.see` if it must only be the same everywhere. What may differ by nature (ids,
//! times, whether an attempt waits or is suspended) is no observation.
//!
//! In: scenarios. Out: a table of scenario × backend.

#![allow(clippy::unwrap_used, reason = "a test")]

mod calls;
mod cancellation;
mod http;
mod journals;
mod kafka;
mod local;
mod memory;
mod objects;
mod operators;
mod program;
mod records;
mod requests;
mod retries;
mod server;
mod services;
#[path = "../suite/local.rs"]
mod suite_local;
#[path = "../suite/table.rs"]
mod table;
mod workflows;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use http::Over;
use memory::Memory;
use records::Records;
use table::{Column, Suite, block_on, outcome};
use world::{Backend, Seen, World};

/// How long one scenario may take on one backend.
const LIMIT: Duration = Duration::from_secs(120);

/// Where a scenario plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// The test kit's runtime, in the version of the protocol that the server speaks.
    Memory,
    /// The same in another version, and suspended at each wait.
    MemorySuspend,
    Server,
    /// One that talks and suspends like the second.
    ServerSuspend,
    /// The embedded runtime, as it is out of the box.
    Local,
    /// One that is suspended at each wait.
    LocalSuspend,
}

impl Column for On {
    const ALL: &'static [Self] = &[
        Self::Memory,
        Self::MemorySuspend,
        Self::Server,
        Self::ServerSuspend,
        Self::Local,
        Self::LocalSuspend,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::MemorySuspend => "memory-suspend",
            Self::Server => "server",
            Self::ServerSuspend => "server-suspend",
            Self::Local => "local",
            Self::LocalSuspend => "local-suspend",
        }
    }
}

impl Suite<On> {
    /// Adds a scenario. Each backend's observations are compared with those of the first one.
    #[track_caller]
    fn scenario(
        &mut self,
        name: &'static str,
        scenario: impl AsyncFn(&World) + Send + Sync + 'static,
    ) {
        self.scenario_on(On::ALL, name, scenario);
    }

    /// Adds one in which something is always attempted, or in which it counts how often: what suspends
    /// cannot be paused, begins to count anew, and hears of a second CANCEL when it goes on.
    #[track_caller]
    fn attempting(
        &mut self,
        name: &'static str,
        scenario: impl AsyncFn(&World) + Send + Sync + 'static,
    ) {
        self.scenario_on(&[On::Memory, On::Server, On::Local], name, scenario);
    }

    /// Adds one with records.
    #[track_caller]
    fn records(
        &mut self,
        name: &'static str,
        scenario: impl AsyncFn(&World) + Send + Sync + 'static,
    ) {
        self.add_scenario(On::ALL, name, true, scenario);
    }

    /// Adds one for the columns that it names; the first is what the others are compared with.
    #[track_caller]
    fn scenario_on(
        &mut self,
        columns: &'static [On],
        name: &'static str,
        scenario: impl AsyncFn(&World) + Send + Sync + 'static,
    ) {
        self.add_scenario(columns, name, false, scenario);
    }

    #[track_caller]
    fn add_scenario(
        &mut self,
        columns: &'static [On],
        name: &'static str,
        records: bool,
        scenario: impl AsyncFn(&World) + Send + Sync + 'static,
    ) {
        self.add(name, columns, move |on| {
            block_on(async {
                let seen = play(name, on, records, &scenario).await?;
                let mut reasons = seen.wrong;
                let first = columns[0];
                if on != first {
                    let name = format!("{name}-beside-{}", on.name());
                    let first = play(&name, first, records, &scenario).await?;
                    reasons.extend(difference(&first.lines, &seen.lines));
                }
                if reasons.is_empty() {
                    return Ok(());
                }
                if std::env::var_os("DURABLY_TRUTH_SEEN").is_some() {
                    reasons.extend(seen.lines);
                }
                Err(reasons.join("\n"))
            })
        });
    }
}

/// Plays a scenario on one backend.
async fn play(
    name: &str,
    on: On,
    records: bool,
    scenario: &impl AsyncFn(&World),
) -> Result<Seen, String> {
    let tag = format!("{name}-{}", on.name()).replace('_', "-");
    let backend: Box<dyn Backend> = match on {
        On::Memory | On::MemorySuspend => Box::new(Memory::new(&tag, on == On::MemorySuspend)),
        On::Server | On::ServerSuspend => {
            Box::new(Over(server::server(on == On::ServerSuspend).await))
        }
        On::Local | On::LocalSuspend if records => {
            let records = Records::start(on == On::LocalSuspend).await;
            Box::new(Over(Box::new(records)))
        }
        On::Local | On::LocalSuspend => Box::new(Over(local::local(on == On::LocalSuspend).await)),
    };
    let world = World::new(backend, tag);
    let play = async {
        scenario(&world).await;
        Ok::<_, String>(())
    };
    match outcome(LIMIT, play).await {
        Ok(()) => Ok(world.into_seen()),
        Err(error) => {
            let mut report = format!("on {}: {error}", on.name());
            let seen = world.into_seen();
            for line in seen.wrong.iter().chain(&seen.lines) {
                report += &format!("\n  seen before: {line}");
            }
            if matches!(on, On::Server | On::ServerSuspend) {
                let log = server::server(on == On::ServerSuspend).await.log();
                let lines: Vec<_> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(15)..];
                report += &format!("\n--- the end of the server's log ---\n{}", tail.join("\n"));
            }
            Err(report)
        }
    }
}

/// Where what was seen differs from what was seen in memory.
fn difference(memory: &[String], other: &[String]) -> Vec<String> {
    let mut differences = Vec::new();
    for at in 0..memory.len().max(other.len()) {
        let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        let (left, right) = (line(memory), line(other));
        if left != right {
            differences.push(format!("in memory  {left}\n     here  {right}"));
        }
    }
    differences
}

fn main() -> ExitCode {
    let mut suite = Suite::default();
    for scenarios in [
        requests::scenarios,
        calls::scenarios,
        objects::scenarios,
        workflows::scenarios,
        cancellation::scenarios,
        operators::scenarios,
        retries::scenarios,
        kafka::scenarios,
        journals::scenarios,
    ] {
        scenarios(&mut suite);
    }
    let code = suite.run();
    block_on(local::stop());
    code
}
