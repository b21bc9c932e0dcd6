//! What the runtime says in an attempt, and what it must hear: data, made before anything is measured.
//!
//! A [`Conversation`] is the attempts of one invocation, each an alternation of frames to send and
//! messages to receive. The driver plays it, and the echo learns from it what bytes are due when.

use bytes::Bytes;

use crate::wire::{self, Message};

/// What must come from the endpoint.
///
/// # Examples
///
/// ```
/// use durably_benches::{conversation::Due, wire};
///
/// let due = Due::Exactly(wire::end());
/// assert_eq!(due.frame(7), wire::end().frame());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// This message, to the byte.
    Exactly(Message),
    /// A Suspension that awaits this completion, or the cancellation, and nothing else.
    Suspension(u32),
}

impl Due {
    /// The message as somebody who knows the answer would send it.
    #[must_use]
    pub fn frame(&self, version: u32) -> Bytes {
        match self {
            Self::Exactly(message) => message.frame(),
            Self::Suspension(completion) => wire::suspension(*completion, version).frame(),
        }
    }
}

/// One exchange: DATA frames are sent, then messages awaited.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The DATA frames that are sent.
    pub send: Vec<Bytes>,
    /// How many messages that is.
    pub messages: u32,
    /// Whether the request ends with them.
    pub close: bool,
    /// What must come thereupon.
    pub due: Vec<Due>,
}

/// One attempt. Unless a step closes it before, the request ends when all that is due has come.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Service and handler.
    pub path: &'static str,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// The attempts of an invocation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// The protocol's version.
    pub version: u32,
    /// One after the other.
    pub attempts: Vec<Attempt>,
}

/// How messages are cut into DATA frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// All in one piece (the transport cuts what is too large for a frame).
    Coalesced,
    /// One frame for each message, as the runtime sends them.
    Single,
}

/// The order in which calls complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were issued.
    Issue,
    /// The last one first.
    Reverse,
    /// In no order, the same each time.
    Shuffled,
}

impl Order {
    /// The numbers below `k` in this order.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably_benches::conversation::Order;
    ///
    /// assert_eq!(Order::Reverse.numbers(3), [2, 1, 0]);
    /// ```
    #[must_use]
    pub fn numbers(self, k: u32) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..k).collect();
        match self {
            Self::Issue => {}
            Self::Reverse => numbers.reverse(),
            Self::Shuffled => {
                // Fisher and Yates, with a small congruential generator.
                let mut random = 1_u64;
                for i in (1..numbers.len()).rev() {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    numbers.swap(i, (random >> 33) as usize % (i + 1));
                }
            }
        }
        numbers
    }
}

fn step(framing: Framing, messages: &[Message], due: Vec<Due>) -> Step {
    Step {
        send: match framing {
            Framing::Coalesced => vec![wire::join(messages)],
            Framing::Single => messages.iter().map(Message::frame).collect(),
        },
        messages: u32::try_from(messages.len()).unwrap_or(u32::MAX),
        close: false,
        due,
    }
}

fn exactly(messages: impl IntoIterator<Item = Message>) -> Vec<Due> {
    messages.into_iter().map(Due::Exactly).collect()
}

fn ending(output: &[u8]) -> Vec<Due> {
    exactly([wire::output(output), wire::end()])
}

fn once(version: u32, path: &'static str, steps: Vec<Step>) -> Conversation {
    Conversation {
        version,
        attempts: vec![Attempt { path, steps }],
    }
}

/// The journal of an attempt with these entries.
fn journal(entries: Vec<Message>, state: &[(String, String)]) -> Vec<Message> {
    let known = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let mut journal = vec![wire::start(known, state)];
    journal.extend(entries);
    journal
}

fn number(value: u32) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// `hello`: the shortest invocation there is.
#[must_use]
pub fn hello(version: u32, framing: Framing) -> Conversation {
    let name = br#""Ada""#;
    let journal = journal(vec![wire::input(name)], &[]);
    once(
        version,
        "Bench/hello",
        vec![step(framing, &journal, ending(name))],
    )
}

/// `runs` with all `k` of them in the journal.
#[must_use]
pub fn replayed_runs(version: u32, framing: Framing, k: u32) -> Conversation {
    let mut entries = vec![wire::input(&number(k))];
    for i in 0..k {
        entries.push(wire::run("step", i + 1));
        entries.push(wire::run_completed(i + 1, &number(i)));
    }
    let sum = (0..u64::from(k)).sum::<u64>().to_string();
    let step = step(framing, &journal(entries, &[]), ending(sum.as_bytes()));
    once(version, "Bench/runs", vec![step])
}

/// `runs` with none of them in the journal: each is executed and acknowledged.
#[must_use]
pub fn live_runs(version: u32, k: u32) -> Conversation {
    let mut steps = Vec::new();
    let mut messages = journal(vec![wire::input(&number(k))], &[]);
    for i in 0..k {
        let (id, value) = (i + 1, number(i));
        let proposal = wire::propose_run(id, &value, version >= 7);
        let due = exactly([wire::run("step", id), proposal]);
        steps.push(step(Framing::Single, &messages, due));
        messages = vec![match version {
            0..=6 => wire::run_completed(id, &value),
            _ => wire::run_ack(id),
        }];
    }
    let sum = (0..u64::from(k)).sum::<u64>().to_string();
    steps.push(step(Framing::Single, &messages, ending(sum.as_bytes())));
    once(version, "Bench/runs", steps)
}

/// `state` over the first `n` of `keys` keys, all of which come with Start.
#[must_use]
pub fn state(version: u32, keys: u32, n: u32) -> Conversation {
    let value = "\"some value\"";
    let state: Vec<_> = (0..keys)
        .map(|i| (format!("k{i}"), value.to_owned()))
        .collect();
    let journal = journal(vec![wire::input(&number(n))], &state);
    let commands = state.iter().take(n as usize).flat_map(|(key, value)| {
        let value = value.as_bytes();
        [
            wire::get_eager_state(key, value),
            wire::set_state(key, value),
        ]
    });
    let length = value.len() as u64 - 2;
    let mut due = exactly(commands);
    due.extend(ending((u64::from(n) * length).to_string().as_bytes()));
    let step = step(Framing::Single, &journal, due);
    once(version, "BenchObject/state", vec![step])
}

/// A fan-out of `k` calls, issued live; their ids, then their results come in this order.
#[must_use]
pub fn calls(
    version: u32,
    path: &'static str,
    framing: Framing,
    k: u32,
    order: Order,
) -> Conversation {
    let id = |i: u32| 2 * i + 1;
    let issued = (0..k).map(|i| wire::call("Target", "work", &number(i), id(i)));
    let start = journal(vec![wire::input(&number(k))], &[]);
    let ids = (0..k).map(|i| wire::call_invocation_id(id(i)));
    let results = order.numbers(k).into_iter();
    let results = results.map(|i| wire::call_completed(id(i) + 1, &number(i)));
    let notifications: Vec<_> = ids.chain(results).collect();
    let sum = (0..u64::from(k)).sum::<u64>().to_string();
    let steps = vec![
        step(Framing::Single, &start, exactly(issued)),
        step(framing, &notifications, ending(sum.as_bytes())),
    ];
    once(version, path, steps)
}

/// `bytes`: so many of them there and back.
#[must_use]
pub fn raw_bytes(version: u32, length: usize) -> Conversation {
    let payload: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let journal = journal(vec![wire::input(&payload)], &[]);
    let step = step(Framing::Single, &journal, ending(&payload));
    once(version, "Bench/bytes", vec![step])
}

/// `awakeable`, resolved once it is seen to wait: open until then.
#[must_use]
pub fn awakeable(version: u32) -> Conversation {
    let journal = journal(vec![wire::input(b"")], &[]);
    let steps = vec![
        step(Framing::Single, &journal, Vec::new()),
        step(
            Framing::Single,
            &[wire::signal(17, br#""done""#)],
            ending(br#""done""#),
        ),
    ];
    once(version, "Bench/awakeable", steps)
}

/// `callOne`, suspended when it has called, and resumed with the result.
#[must_use]
pub fn suspend_and_resume(version: u32) -> Conversation {
    let path = "Bench/callOne";
    let call = wire::call("Target", "work", b"7", 1);
    let first = journal(vec![wire::input(b"7")], &[]);
    let closed = Step {
        close: true,
        due: vec![Due::Suspension(2)],
        ..Step::default()
    };
    let second = journal(
        vec![
            wire::input(b"7"),
            call.clone(),
            wire::call_invocation_id(1),
            wire::call_completed(2, b"49"),
        ],
        &[],
    );
    Conversation {
        version,
        attempts: vec![
            Attempt {
                path,
                steps: vec![step(Framing::Single, &first, exactly([call])), closed],
            },
            Attempt {
                path,
                steps: vec![step(Framing::Single, &second, ending(b"49"))],
            },
        ],
    }
}
