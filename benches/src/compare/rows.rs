//! The workloads of the table, and the aims.

use durably_benches::conversation::{self, Conversation, Framing, Order};

use crate::session::Session;

/// A workload.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) talk: Conversation,
    /// How many conversations are open at once.
    pub(crate) at_once: usize,
    /// Under valgrind: how many conversations the short run has, and how many more the long one.
    pub(crate) counts: (u32, u32),
    /// What our ratio to the echo should not exceed.
    pub(crate) aim: f64,
    /// What our heap blocks should not exceed: the first number for an invocation, the second for each
    /// entry of so many.
    pub(crate) blocks: Option<(f64, u32)>,
}

/// 8 MiB.
pub(crate) const LARGE: usize = 8 * 1024 * 1024;

/// The workloads that this session wants.
pub(crate) fn wanted(session: &Session) -> Vec<Row> {
    let v = session.protocol;
    let row = |name, aim, counts, talk| Row {
        name,
        talk,
        at_once: 1,
        counts,
        aim,
        blocks: None,
    };
    let fan_out = |path, order| conversation::calls(v, path, Framing::Single, 1_000, order);
    let mut rows = vec![
        Row {
            blocks: Some((18.0, 1)),
            ..row(
                "hello",
                1.15,
                (100, 400),
                conversation::hello(v, Framing::Single),
            )
        },
        Row {
            blocks: Some((1.0, 1_000)),
            ..row(
                "replay of 1,000 runs, coalesced",
                3.0,
                (3, 10),
                conversation::replayed_runs(v, Framing::Coalesced, 1_000),
            )
        },
        Row {
            blocks: Some((1.0, 1_000)),
            ..row(
                "replay of 1,000 runs, a frame a message",
                1.3,
                (3, 10),
                conversation::replayed_runs(v, Framing::Single, 1_000),
            )
        },
        row(
            "10 live runs",
            1.4,
            (20, 100),
            conversation::live_runs(v, 10),
        ),
        row(
            "state: 100 eager keys, 100 get+set",
            5.0,
            (10, 50),
            conversation::state(v, 100, 100),
        ),
        row(
            "state: 1,000 eager keys, one get+set",
            1.5,
            (10, 50),
            conversation::state(v, 1_000, 1),
        ),
        row(
            "fan-out of 1,000, as they complete, in order",
            2.5,
            (1, 2),
            fan_out("Bench/callsUnordered", Order::Issue),
        ),
        row(
            "fan-out of 1,000, as they complete, reverse",
            2.5,
            (1, 2),
            fan_out("Bench/callsUnordered", Order::Reverse),
        ),
        row(
            "fan-out of 1,000, awaited in order, in order",
            2.0,
            (3, 10),
            fan_out("Bench/callsSequential", Order::Issue),
        ),
        row(
            "fan-out of 1,000, awaited in order, reverse",
            2.0,
            (3, 10),
            fan_out("Bench/callsSequential", Order::Reverse),
        ),
        row(
            "raw echo of 8 MiB",
            1.3,
            (1, 3),
            conversation::raw_bytes(v, LARGE),
        ),
        row(
            "suspend and resume",
            1.3,
            (50, 200),
            conversation::suspend_and_resume(v),
        ),
    ];
    for row in &mut rows {
        // The others are long: more at once would only measure how they wait for each other.
        if matches!(row.name, "hello" | "10 live runs" | "suspend and resume") {
            row.at_once = session.at_once;
        }
    }
    rows.retain(|row| session.wants(row.name));
    rows
}
