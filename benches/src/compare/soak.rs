//! A million short invocations on one connection: memory must not grow with their number.

use durably_benches::conversation::{self, Framing};

use crate::{
    process::Server,
    progress,
    session::{Session, Who},
    table::{self, figure},
};

const INVOCATIONS: u32 = 1_000_000;

/// Memory is read after so many each time.
const PART: u32 = 100_000;

/// How many are open at once.
const AT_ONCE: usize = 50;

/// By how much memory may grow after the first part, in KiB: what an allocator does by itself.
const GROWTH: f64 = 256.0;

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let binaries = session.build()?;
    let talk = conversation::hello(session.protocol, Framing::Single);
    let parts = INVOCATIONS / PART;
    let mut lines: Vec<Vec<String>> = (1..=parts)
        .map(|part| vec![format!("after {}", figure(f64::from(part * PART)))])
        .collect();
    lines.push(vec![format!("grown after the first (aim ≤ {GROWTH})")]);
    let mut flat = true;
    for who in session.who() {
        let server = Server::start(&binaries.of(who), &[]).await?;
        let driver = server.connect().await?;
        if who == Who::Echo {
            driver.teach(&talk).await?;
        }
        let mut first = None;
        let mut last = 0.0;
        for part in 1..=parts {
            progress::say(&format!("{who}: part {part} of {parts}"));
            driver.hold(&talk, who.endpoint(), PART, AT_ONCE).await?;
            last = server.resident()? as f64 / 1024.0;
            first.get_or_insert(last);
            lines[part as usize - 1].push(figure(last));
        }
        let grown = last - first.unwrap_or(last);
        lines[parts as usize].push(figure(grown));
        flat &= who != Who::Ours || grown <= GROWTH;
        drop(driver);
        server.stop().await?;
    }
    progress::clear();
    println!("{}\n", session.heading());
    let mut head = vec!["resident memory, KiB".to_owned()];
    head.extend(session.who().iter().map(Who::to_string));
    table::print(&head, &lines);
    let verdict = if flat { "yes" } else { "**no**" };
    println!(
        "\nFlat memory over {} invocations: {verdict}",
        figure(f64::from(INVOCATIONS))
    );
    Ok(())
}
