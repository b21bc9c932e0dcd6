//! How things grow: time with the journal and with the fan-out, memory with open invocations, copies with the
//! payload.
//!
//! The exponent is that of a power law through the sizes (least squares of the logarithms): 1 is
//! linear, 2 quadratic. All journals and notifications come in one piece, since thousands of small frames
//! at once close the peer's connection.

use durably_benches::{
    conversation::{self, Conversation, Framing, Order},
    driver::Driver,
};

use crate::{
    build::Binaries,
    memory,
    process::Server,
    progress,
    rows::{LARGE, Row},
    session::{Session, Who},
    table::{self, figure},
    valgrind::{self, Tool},
};

/// What counts as linear; n log n is about 1.05 in these ranges.
const LINEAR: f64 = 1.1;

/// How much processor time a measurement takes at least, in nanoseconds.
const ENOUGH: u64 = 300_000_000;

/// What grows: a name, the sizes, and the conversation of a size.
struct Growing {
    name: String,
    sizes: [u32; 3],
    talk: Box<dyn Fn(u32) -> Conversation>,
}

fn growing(version: u32) -> Vec<Growing> {
    let mut all = vec![Growing {
        name: "replay of n runs (2 n entries)".to_owned(),
        sizes: [500, 5_000, 50_000],
        talk: Box::new(move |n| conversation::replayed_runs(version, Framing::Coalesced, n)),
    }];
    for (path, name) in [
        ("Bench/callsUnordered", "as they complete"),
        ("Bench/callsSequential", "awaited in order"),
    ] {
        for order in [Order::Issue, Order::Reverse, Order::Shuffled] {
            let order_name = match order {
                Order::Issue => "in order",
                Order::Reverse => "reverse",
                Order::Shuffled => "shuffled",
            };
            all.push(Growing {
                name: format!("fan-out of n, {name}, {order_name}"),
                sizes: [100, 1_000, 10_000],
                talk: Box::new(move |n| {
                    conversation::calls(version, path, Framing::Coalesced, n, order)
                }),
            });
        }
    }
    all
}

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let binaries = session.build()?;
    let times = times(session, &binaries).await?;
    let memory = memory(session, &binaries).await?;
    let copies = match valgrind::check() {
        Ok(()) => Some(copies(session, &binaries).await?),
        Err(error) => {
            progress::clear();
            eprintln!("copies are left out: {error}");
            None
        }
    };
    progress::clear();
    println!("{}\n", session.heading());
    let head = |columns: &[&str]| {
        columns
            .iter()
            .map(|&column| column.to_owned())
            .collect::<Vec<_>>()
    };
    table::print(
        &head(&[
            "µs for each of n",
            "endpoint",
            "n",
            "µs",
            "n",
            "µs",
            "n",
            "µs",
            "exponent",
            "aim",
            "met",
        ]),
        &times,
    );
    println!();
    let mut columns = head(&["bytes for each open invocation"]);
    columns.extend(session.who().iter().map(Who::to_string));
    table::print(&columns, &memory);
    if let Some(copies) = copies {
        println!();
        let mut columns = head(&[
            "bytes copied for each byte of the payload",
            "aim (durably − echo)",
            "met",
        ]);
        columns.extend(session.who().iter().map(Who::to_string));
        table::print(&columns, &copies);
    }
    Ok(())
}

async fn times(session: &Session, binaries: &Binaries) -> anyhow::Result<Vec<Vec<String>>> {
    let mut lines = Vec::new();
    for growing in growing(session.protocol) {
        if !session.wants(&growing.name) {
            continue;
        }
        for who in session.who() {
            let server = Server::start(&binaries.of(who), &[]).await?;
            let driver = server.connect().await?;
            let mut line = vec![growing.name.clone(), who.to_string()];
            let mut points = Vec::new();
            for n in growing.sizes {
                progress::say(&format!("{}: {who}, n = {n}", growing.name));
                let talk = (growing.talk)(n);
                let nanos = each(&server, &driver, who, &talk).await?;
                points.push((f64::from(n), nanos));
                line.push(figure(f64::from(n)));
                line.push(figure(nanos / 1_000.0 / f64::from(n)));
            }
            let exponent = exponent(&points);
            line.push(format!("{exponent:.2}"));
            if who == Who::Ours {
                line.extend(table::aim(exponent, Some(LINEAR)));
            }
            lines.push(line);
            drop(driver);
            server.stop().await?;
        }
    }
    Ok(lines)
}

/// Nanoseconds of processor time for a conversation; what is short is held often, after a first time.
async fn each(
    server: &Server,
    driver: &Driver,
    who: Who,
    talk: &Conversation,
) -> anyhow::Result<f64> {
    if who == Who::Echo {
        driver.teach(talk).await?;
    }
    let slice = async |times: u32| {
        let before = server.cpu()?;
        driver.hold(talk, who.endpoint(), times, 1).await?;
        anyhow::Ok(server.cpu()? - before)
    };
    let mut times = 1;
    loop {
        let took = slice(times).await?;
        // The very first one does not count, unless it takes so long that nothing else matters.
        if took >= ENOUGH && (times > 1 || took >= 3 * ENOUGH) {
            return Ok(took as f64 / f64::from(times));
        }
        times = times * 2 + 1;
    }
}

/// The exponent of the power law through the points.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let logs = || points.iter().map(|(x, y)| (x.ln(), y.ln()));
    let (x, y) = logs().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (x, y) = (x / count, y / count);
    let above: f64 = logs().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = logs().map(|point| (point.0 - x).powi(2)).sum();
    above / below
}

async fn memory(session: &Session, binaries: &Binaries) -> anyhow::Result<Vec<Vec<String>>> {
    let mut lines = Vec::new();
    for (few, many) in [(500, 2_000), (2_000, 8_000)] {
        let name = format!("from {few} to {many}");
        if !session.wants(&name) {
            continue;
        }
        let mut line = vec![name.clone()];
        for who in session.who() {
            progress::say(&format!("open invocations, {name}: {who}"));
            let each = memory::each_open(session.protocol, binaries, who, few, many).await?;
            line.push(figure(each));
        }
        lines.push(line);
    }
    Ok(lines)
}

async fn copies(session: &Session, binaries: &Binaries) -> anyhow::Result<Vec<Vec<String>>> {
    let mut lines = Vec::new();
    for (name, length) in [("payload of 1 MiB", LARGE / 8), ("payload of 8 MiB", LARGE)] {
        if !session.wants(name) {
            continue;
        }
        let row = Row {
            name,
            talk: conversation::raw_bytes(session.protocol, length),
            at_once: 1,
            counts: (1, 2),
            aim: 1.0,
            blocks: None,
        };
        let mut values = Vec::new();
        for who in session.who() {
            progress::say(&format!("copies, {name}: {who}"));
            let copied = valgrind::count(binaries, Tool::DhatCopies, who, &row).await?;
            values.push(copied.amount / length as f64);
        }
        let mut line = vec![name.to_owned()];
        // A few bytes of framing come with every payload.
        line.extend(table::aim(values[1] - values[0], Some(1.01)));
        line.extend(values.into_iter().map(figure));
        lines.push(line);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_found() {
        let points = |power| [10.0_f64, 100.0, 1_000.0].map(|n| (n, 3.0 * n.powf(power)));
        assert!((exponent(&points(1.0)) - 1.0).abs() < 1e-9);
        assert!((exponent(&points(2.0)) - 2.0).abs() < 1e-9);
    }
}
