//! Runs under valgrind: instructions (callgrind) and heap blocks (dhat) per invocation.
//!
//! Each is the difference of two runs of different length, so that starting, connecting and warming up
//! cancel. These figures do not depend on the machine's load.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use crate::{
    build::Binaries,
    process::Server,
    progress,
    rows::{self, Row},
    session::{Session, Who},
    table::{self, figure},
};

const MISSING: &str = "this run needs valgrind, which is not on the path. It comes with the system's \
    packages (Debian and Ubuntu: `apt-get install valgrind`)";

/// What valgrind counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// Instructions; or bytes on the heap; or bytes copied.
    pub(crate) amount: f64,
    /// Blocks on the heap; or copies.
    pub(crate) blocks: f64,
}

/// A tool of valgrind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Callgrind,
    Dhat,
    DhatCopies,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Callgrind => "callgrind",
            Self::Dhat => "dhat",
            Self::DhatCopies => "copies",
        }
    }

    /// The command in front of the program; what the tool writes goes to files with this beginning.
    fn command(self, files: &Path) -> Vec<String> {
        let files = files.display();
        let tool = match self {
            Self::Callgrind => vec![
                "--tool=callgrind".to_owned(),
                format!("--callgrind-out-file={files}.out"),
            ],
            Self::Dhat => vec![
                "--tool=dhat".to_owned(),
                format!("--dhat-out-file={files}.out"),
            ],
            Self::DhatCopies => vec![
                "--tool=dhat".to_owned(),
                "--mode=copy".to_owned(),
                format!("--dhat-out-file={files}.out"),
            ],
        };
        let log = format!("--log-file={files}.log");
        // Deep enough to reach from the allocator over generic code to whoever wanted something.
        let callers = "--num-callers=40".to_owned();
        let mut command = vec!["valgrind".to_owned(), log, callers];
        command.extend(tool);
        command
    }

    /// The totals in valgrind's log.
    fn count(self, log: &str) -> Option<Count> {
        let number = |text: &str| text.trim().replace(',', "").parse::<f64>().ok();
        match self {
            Self::Callgrind => {
                let line = log.lines().find_map(|line| line.split_once("Collected :"));
                Some(Count {
                    amount: number(line?.1)?,
                    blocks: 0.0,
                })
            }
            Self::Dhat | Self::DhatCopies => {
                let line = log.lines().find_map(|line| line.split_once("Total:"))?.1;
                let (bytes, blocks) = line.split_once(" bytes in ")?;
                Some(Count {
                    amount: number(bytes)?,
                    blocks: number(blocks.split(' ').next()?)?,
                })
            }
        }
    }
}

/// Counts per conversation.
pub(crate) async fn count(
    binaries: &Binaries,
    tool: Tool,
    who: Who,
    row: &Row,
) -> anyhow::Result<Count> {
    let (short, more) = row.counts;
    let short_count = run(binaries, tool, who, row, short, "short").await?;
    let long_count = run(binaries, tool, who, row, short + more, "long").await?;
    let each = |long: f64, short: f64| (long - short) / f64::from(more);
    Ok(Count {
        amount: each(long_count.amount, short_count.amount),
        blocks: each(long_count.blocks, short_count.blocks),
    })
}

async fn run(
    binaries: &Binaries,
    tool: Tool,
    who: Who,
    row: &Row,
    times: u32,
    length: &str,
) -> anyhow::Result<Count> {
    let name: String = row
        .name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let files = format!("{}-{name}-{who}-{length}", tool.name());
    let files = binaries.scratch()?.join(files);
    let server = Server::start(&binaries.of(who), &tool.command(&files)).await?;
    let driver = server.connect().await?;
    if who == Who::Echo {
        driver.teach(&row.talk).await?;
    }
    let to = who.endpoint();
    driver.hold(&row.talk, to, times, row.at_once).await?;
    drop(driver);
    server.stop().await?;
    let log = files.with_extension("log");
    let text = fs::read_to_string(&log)?;
    tool.count(&text)
        .with_context(|| format!("valgrind has counted nothing: see {}", log.display()))
}

/// That valgrind is there.
pub(crate) fn check() -> anyhow::Result<()> {
    let version = Command::new("valgrind").arg("--version").output();
    ensure!(
        version.is_ok_and(|version| version.status.success()),
        MISSING
    );
    Ok(())
}

/// The counts of all wanted rows, row by row.
async fn counts(
    session: &Session,
    binaries: &Binaries,
    tool: Tool,
    rows: &[Row],
) -> anyhow::Result<Vec<Vec<Count>>> {
    let mut counts = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let mut of_row = Vec::new();
        for who in session.who() {
            progress::say(&format!("[{}/{}] {}: {who}", at + 1, rows.len(), row.name));
            of_row.push(count(binaries, tool, who, row).await?);
        }
        counts.push(of_row);
    }
    Ok(counts)
}

/// The run of `--instructions`.
pub(crate) async fn instructions(session: &Session) -> anyhow::Result<()> {
    check()?;
    let binaries = session.build()?;
    let rows = rows::wanted(session);
    ensure!(!rows.is_empty(), "there is no such row");
    let counts = counts(session, &binaries, Tool::Callgrind, &rows).await?;
    let mut lines = Vec::new();
    for (row, counts) in rows.iter().zip(&counts) {
        let to_echo = |at: usize| counts[at].amount / counts[0].amount;
        let [aim, met] = table::aim(to_echo(1), Some(row.aim));
        let mut line = vec![row.name.to_owned(), aim, figure(to_echo(1)), met];
        if session.peer {
            line.push(figure(to_echo(2)));
            line.push(figure(counts[2].amount / counts[1].amount));
        }
        line.extend(counts.iter().map(|count| figure(count.amount)));
        lines.push(line);
    }
    progress::clear();
    println!("{}\n", session.heading());
    let mut head = vec![
        "instructions per invocation",
        "aim",
        "durably / echo",
        "met",
    ];
    if session.peer {
        head.extend(["restate-sdk / echo", "restate-sdk / durably"]);
    }
    let mut head: Vec<String> = head.into_iter().map(str::to_owned).collect();
    head.extend(session.who().iter().map(Who::to_string));
    table::print(&head, &lines);
    println!("\nProfiles: {}", binaries.scratch()?.display());
    Ok(())
}

/// The run of `--allocations`.
pub(crate) async fn allocations(session: &Session) -> anyhow::Result<()> {
    check()?;
    let binaries = session.build()?;
    let rows = rows::wanted(session);
    ensure!(!rows.is_empty(), "there is no such row");
    let counts = counts(session, &binaries, Tool::Dhat, &rows).await?;
    let mut lines = Vec::new();
    for (row, counts) in rows.iter().zip(&counts) {
        let entries = row.blocks.map_or(1, |(_, entries)| entries);
        let ours = counts[1].blocks / f64::from(entries);
        let [aim, met] = table::aim(ours, row.blocks.map(|(aim, _)| aim));
        let aim = match entries {
            1 => aim,
            _ => format!("{aim} a run"),
        };
        let mut line = vec![row.name.to_owned(), aim, met];
        line.extend(counts.iter().map(|count| figure(count.blocks)));
        line.extend(counts.iter().map(|count| figure(count.amount)));
        lines.push(line);
    }
    progress::clear();
    println!("{}\n", session.heading());
    let mut head = vec!["heap blocks and bytes per invocation".to_owned()];
    head.extend(["aim (blocks)".to_owned(), "met".to_owned()]);
    head.extend(session.who().iter().map(Who::to_string));
    head.extend(session.who().iter().map(|who| format!("{who}, bytes")));
    table::print(&head, &lines);
    println!("\nProfiles: {}", binaries.scratch()?.display());
    Ok(())
}
