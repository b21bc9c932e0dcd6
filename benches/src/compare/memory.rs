//! Memory: of open invocations, and the peak while a large payload passes.

use std::time::Duration;

use durably_benches::{
    conversation,
    driver::{Driver, Open},
};

use crate::{
    build::Binaries,
    process::Server,
    progress,
    rows::LARGE,
    session::{Session, Who},
    table::{self, figure},
};

pub(crate) const OPEN: &str = "an open invocation, bytes";
pub(crate) const PEAK: &str = "peak while 8 MiB are echoed, in payloads";

/// How many streams each connection has.
const STREAMS: u32 = 100;

/// Invocations that are open while memory is read, first and then. The difference does not know of
/// start-up.
const FEW: u32 = 1_000;
const MANY: u32 = 5_000;

fn line(session: &Session, name: &str, aim: f64, values: &[f64]) -> Vec<String> {
    let ours = session.who().iter().position(|who| *who == Who::Ours);
    let value = ours.and_then(|at| values.get(at)).copied();
    let mut line = vec![name.to_owned()];
    line.extend(table::aim(value.unwrap_or(f64::NAN), Some(aim)));
    line.extend(values.iter().copied().map(figure));
    line
}

/// Memory for each open invocation.
pub(crate) async fn open(session: &Session, binaries: &Binaries) -> anyhow::Result<Vec<String>> {
    let mut values = Vec::new();
    for who in session.who() {
        progress::say(&format!("{OPEN}: {who}"));
        values.push(each_open(session.protocol, binaries, who, FEW, MANY).await?);
    }
    Ok(line(session, OPEN, 5_000.0, &values))
}

/// The same for one endpoint: the growth from `few` to `many`.
pub(crate) async fn each_open(
    version: u32,
    binaries: &Binaries,
    who: Who,
    few: u32,
    many: u32,
) -> anyhow::Result<f64> {
    let talk = conversation::awakeable(version);
    let server = Server::start(&binaries.of(who), &[]).await?;
    let teacher = server.connect().await?;
    if who == Who::Echo {
        teacher.teach(&talk).await?;
    }
    let mut opened: Vec<Open> = Vec::new();
    let mut connections: Vec<Driver> = Vec::new();
    let mut resident = Vec::new();
    for count in [few, many] {
        while opened.len() < count as usize {
            if opened.len().is_multiple_of(STREAMS as usize) {
                connections.push(server.connect().await?);
            }
            let driver = connections.last().unwrap_or(&teacher);
            let mut open = driver.open(&talk, 0, who.endpoint()).await?;
            open.send(&talk.attempts[0].steps[0].send, false)?;
            open.begin().await?;
            opened.push(open);
        }
        // What was sent may still be under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        resident.push(server.resident()?);
    }
    // Were they open? They are if they all answer now.
    for mut open in opened {
        let step = &talk.attempts[0].steps[1];
        open.send(&step.send, false)?;
        open.expect(&step.due).await?;
        open.end(false).await?;
    }
    drop((connections, teacher));
    server.stop().await?;
    let grown = resident[1] as f64 - resident[0] as f64;
    Ok(grown / f64::from(many - few))
}

/// How far memory rises while a large payload passes.
pub(crate) async fn peak(session: &Session, binaries: &Binaries) -> anyhow::Result<Vec<String>> {
    let talk = conversation::raw_bytes(session.protocol, LARGE);
    let hello = conversation::hello(session.protocol, conversation::Framing::Single);
    let mut values = Vec::new();
    for who in session.who() {
        progress::say(&format!("{PEAK}: {who}"));
        let server = Server::start(&binaries.of(who), &[]).await?;
        let driver = server.connect().await?;
        if who == Who::Echo {
            driver.teach(&talk).await?;
            driver.teach(&hello).await?;
        }
        driver.hold(&hello, who.endpoint(), 10, 1).await?;
        server.reset_peak()?;
        let before = server.resident()?;
        driver.hold(&talk, who.endpoint(), 3, 1).await?;
        let rise = server.peak()?.saturating_sub(before);
        values.push(rise as f64 / LARGE as f64);
        drop(driver);
        server.stop().await?;
    }
    Ok(line(session, PEAK, 2.0, &values))
}
