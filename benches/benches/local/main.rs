//! Three durable steps a request, through the embedded runtime and through a real Restate server: invocations a
//! second, how long a client waits, and processor time. The same handlers, the same client, the same machine.
//!
//! `cargo bench -p durably-benches --bench local -- [--seconds 5] [--clients 1,16,64] [--only TEXT] [--rounds 3]`
//! prints a table in Markdown. `cargo test` asks each handler of the embedded runtime a few times, and takes no times.
//!
//! Servers and handlers run in processes of their own: this program once more, and the test kit's server.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod load;
mod servers;
mod three;

use std::time::Duration;

use crate::{
    load::{Measured, measure},
    servers::{Policy, Server, System},
};

/// What the clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// `Three/run`.
    Service,
    /// `ThreeObject/{client}/run`: each client has an object of its own.
    Object,
    /// `ThreeObject/one/run`: all clients have the same object.
    OneObject,
}

impl Target {
    const ALL: [Self; 3] = [Self::Service, Self::Object, Self::OneObject];

    fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Object => "object of each client",
            Self::OneObject => "one object",
        }
    }

    fn path(self, client: usize) -> String {
        match self {
            Self::Service => "/Three/run".to_owned(),
            Self::Object => format!("/ThreeObject/{client}/run"),
            Self::OneObject => "/ThreeObject/one/run".to_owned(),
        }
    }
}

struct Options {
    seconds: f64,
    clients: Vec<usize>,
    only: String,
    rounds: usize,
}

impl Options {
    fn read() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let option = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let clients = option("--clients").unwrap_or("1,16,64".to_owned());
        Self {
            seconds: option("--seconds").map_or(5.0, |text| text.parse().unwrap()),
            clients: clients.split(',').map(|n| n.parse().unwrap()).collect(),
            only: option("--only").unwrap_or_default(),
            rounds: option("--rounds").map_or(3, |text| text.parse().unwrap()),
        }
    }
}

fn main() {
    if servers::is_child() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if std::env::args().any(|argument| argument == "--bench") {
        runtime.block_on(compare(&Options::read()));
    } else {
        runtime.block_on(smoke());
    }
}

async fn smoke() {
    let server = Server::start(System::Local(Policy::Never)).await;
    for target in Target::ALL {
        let time = Duration::from_millis(200);
        let measured = measure(&server, target, 3, Duration::ZERO, time).await;
        assert!(measured.count > 0, "{target:?}");
    }
}

/// The systems take turns, so that what else the machine does meets them all; a cell is the median of its rounds.
async fn compare(options: &Options) {
    let systems = System::ALL.iter().copied();
    let systems: Vec<_> = systems
        .filter(|system| system.name().contains(&options.only))
        .collect();
    println!("| asked for | clients | runtime | invocations/s | p50 ms | p99 ms | CPU ms each |");
    println!("| --- | ---: | --- | ---: | ---: | ---: | ---: |");
    let time = Duration::from_secs_f64(options.seconds);
    for target in Target::ALL {
        for &clients in &options.clients {
            if target == Target::OneObject && clients == 1 {
                continue;
            }
            let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); systems.len()];
            for _ in 0..options.rounds {
                for (system, rounds) in systems.iter().zip(&mut rounds) {
                    let server = Server::start(*system).await;
                    let warm = Duration::from_secs(2);
                    rounds.push(measure(&server, target, clients, warm, time).await);
                }
            }
            for (system, rounds) in systems.iter().zip(rounds) {
                let median = |of: &dyn Fn(&Measured) -> f64| {
                    let mut all: Vec<_> = rounds.iter().map(of).collect();
                    all.sort_unstable_by(f64::total_cmp);
                    all[all.len() / 2]
                };
                println!(
                    "| {} | {clients} | {} | {:.0} | {:.2} | {:.2} | {:.2} |",
                    target.name(),
                    system.name(),
                    median(&|one| one.count as f64 / one.seconds),
                    median(&|one| one.p50),
                    median(&|one| one.p99),
                    median(&|one| one.processor / one.count as f64 * 1000.0),
                );
            }
        }
    }
}
