//! The default run: processor time per invocation, in short slices of each endpoint in turn.
//!
//! A ratio is made of slices of the same round, which saw the same state of the machine; the table
//! shows the median of the rounds.

use anyhow::ensure;

use crate::{
    memory,
    process::Server,
    progress,
    rows::{self, Row},
    session::{Session, Who},
    table::{self, figure},
};
use durably_benches::driver::Driver;

/// How many rounds there are.
const ROUNDS: usize = 15;

/// How much processor time a slice takes, about, in nanoseconds.
const SLICE: u64 = 60_000_000;

/// The most conversations in a slice.
const MOST: u32 = 5_000;

struct Measured {
    who: Who,
    server: Server,
    driver: Driver,
}

impl Measured {
    /// Nanoseconds of processor time for each of `times` conversations.
    async fn slice(&self, row: &Row, times: u32) -> anyhow::Result<f64> {
        let before = self.server.cpu()?;
        let to = self.who.endpoint();
        self.driver.hold(&row.talk, to, times, row.at_once).await?;
        Ok((self.server.cpu()? - before) as f64 / f64::from(times))
    }

    /// Warms up, and finds out how many conversations make a slice.
    async fn prepare(&self, row: &Row) -> anyhow::Result<u32> {
        if self.who == Who::Echo {
            self.driver.teach(&row.talk).await?;
        }
        let mut times = 1;
        loop {
            let each = self.slice(row, times).await?;
            let slice = (SLICE as f64 / each.max(1.0)).clamp(1.0, f64::from(MOST)) as u32;
            if slice <= times * 4 {
                return Ok(slice);
            }
            times *= 4;
        }
    }
}

/// The ratios of one row: the medians.
struct Ratios {
    micros: Vec<f64>,
    to_echo: Vec<f64>,
}

async fn measure(measured: &[Measured], row: &Row, say: &str) -> anyhow::Result<Ratios> {
    let mut times = Vec::new();
    for one in measured {
        progress::say(&format!("{say}: {} warms up", one.who));
        times.push(one.prepare(row).await?);
    }
    let mut nanos = vec![Vec::new(); measured.len()];
    for round in 0..ROUNDS {
        progress::say(&format!("{say}: round {} of {ROUNDS}", round + 1));
        // Each begins in turn.
        for at in 0..measured.len() {
            let at = (at + round) % measured.len();
            nanos[at].push(measured[at].slice(row, times[at]).await?);
        }
    }
    let ratio = |of: &Vec<f64>| {
        let ratios = of.iter().zip(&nanos[0]).map(|(of, echo)| of / echo);
        table::median(&mut ratios.collect::<Vec<_>>())
    };
    Ok(Ratios {
        to_echo: nanos.iter().map(ratio).collect(),
        micros: nanos
            .iter()
            .map(|of| table::median(&mut of.clone()) / 1_000.0)
            .collect(),
    })
}

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let binaries = session.build()?;
    let wanted = rows::wanted(session);
    let memory = session.wants(memory::OPEN);
    let peak = session.wants(memory::PEAK);
    ensure!(!wanted.is_empty() || memory || peak, "there is no such row");

    let mut measured = Vec::new();
    for who in session.who() {
        let server = Server::start(&binaries.of(who), &[]).await?;
        let driver = server.connect().await?;
        measured.push(Measured {
            who,
            server,
            driver,
        });
    }
    let mut lines = Vec::new();
    for (at, row) in wanted.iter().enumerate() {
        let say = format!("[{}/{}] {}", at + 1, wanted.len(), row.name);
        let ratios = measure(&measured, row, &say).await?;
        let mut line = vec![row.name.to_owned(), figure(row.aim)];
        line[1] = table::aim(ratios.to_echo[1], Some(row.aim))[0].clone();
        line.push(figure(ratios.to_echo[1]));
        line.push(table::aim(ratios.to_echo[1], Some(row.aim))[1].clone());
        if session.peer {
            line.push(figure(ratios.to_echo[2]));
            line.push(figure(ratios.micros[2] / ratios.micros[1]));
        }
        line.extend(ratios.micros.into_iter().map(figure));
        lines.push(line);
    }
    for one in measured {
        drop(one.driver);
        one.server.stop().await?;
    }

    let open = if memory {
        Some(memory::open(session, &binaries).await?)
    } else {
        None
    };
    let peak = if peak {
        Some(memory::peak(session, &binaries).await?)
    } else {
        None
    };

    progress::clear();
    println!("{}\n", session.heading());
    if !lines.is_empty() {
        let mut head = vec![
            "processor time per invocation",
            "aim",
            "durably / echo",
            "met",
        ];
        if session.peer {
            head.extend(["restate-sdk / echo", "restate-sdk / durably"]);
        }
        let mut head: Vec<String> = head.into_iter().map(str::to_owned).collect();
        head.extend(session.who().iter().map(|who| format!("{who}, µs")));
        table::print(&head, &lines);
        println!();
    }
    let lines: Vec<_> = open.into_iter().chain(peak).collect();
    if !lines.is_empty() {
        let mut head = vec!["memory".to_owned(), "aim".to_owned(), "met".to_owned()];
        head.extend(session.who().iter().map(Who::to_string));
        table::print(&head, &lines);
    }
    Ok(())
}
