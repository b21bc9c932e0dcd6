//! Whole attempts: streams of requests, most of which lead a handler to its end.

use super::{named, sized};
use crate::{
    executor::tests::wire::{self, Msg},
    fuzz::attempt::{FRAMED, ONE_BY_ONE, TYPES},
    protocol::{MessageType, message::StateEntry},
};

/// Streams of an invocation, each with the number of the handler that they are for.
fn streams() -> Vec<(&'static str, u8, Vec<Msg>)> {
    let begin = |known: usize| {
        let start = wire::start(known);
        vec![Msg::new(MessageType::START, &start), wire::input("7")]
    };
    let and = |mut messages: Vec<Msg>, more: Vec<Msg>| {
        messages.extend(more);
        messages
    };
    let state = || {
        let mut start = wire::start(1);
        start.state_map = vec![StateEntry {
            key: "a".into(),
            value: "41".into(),
        }];
        vec![Msg::new(MessageType::START, &start), wire::input("")]
    };
    let partial = |known: usize| {
        let mut start = wire::start(known);
        start.partial_state = true;
        vec![Msg::new(MessageType::START, &start), wire::input("")]
    };
    let lazy_keys = |result| {
        let ids = wire::Ids {
            result,
            ..wire::Ids::default()
        };
        Msg::new(MessageType::GET_LAZY_STATE_KEYS, &ids)
    };
    let lazy = |key: &str, result| {
        let read = wire::KeyedRead {
            key: key.to_owned(),
            result,
            name: String::new(),
        };
        Msg::new(MessageType::GET_LAZY_STATE, &read)
    };
    let peek = wire::KeyedRead {
        key: "p".to_owned(),
        result: 1,
        name: String::new(),
    };
    vec![
        ("hello", 0, begin(1)),
        (
            "replay",
            0,
            and(
                partial(13),
                vec![
                    wire::set("k", "1"),
                    wire::call(1),
                    wire::invoked(1, "inv_1a"),
                    wire::sleep(3),
                    wire::void(3),
                    wire::value(2, "called"),
                    wire::signal(17, "awoken"),
                    wire::run(4, "r"),
                    wire::value(4, "ran"),
                    wire::named("go", "went"),
                    lazy_keys(5),
                    wire::keys(5, &["k"]),
                ],
            ),
        ),
        (
            "live",
            0,
            and(
                begin(1),
                vec![
                    wire::invoked(1, "inv_1a"),
                    wire::void(3),
                    wire::signal(17, "awoken"),
                    wire::value(2, "called"),
                    wire::value(4, "ran"),
                    wire::named("go", "went"),
                ],
            ),
        ),
        (
            "acked",
            0,
            and(
                begin(1),
                vec![
                    wire::invoked(1, "inv_1a"),
                    wire::void(3),
                    wire::signal(17, "awoken"),
                    wire::value(2, "called"),
                    wire::ack(4),
                    wire::named("go", "went"),
                ],
            ),
        ),
        ("state", 1, state()),
        (
            "lazy-state",
            1,
            and(
                partial(3),
                vec![
                    lazy("a", 1),
                    wire::bytes(1, "41"),
                    wire::keys(2, &["a"]),
                    wire::value(3, "b"),
                    wire::failed(4, 500, "no"),
                ],
            ),
        ),
        (
            "race",
            2,
            and(
                begin(1),
                vec![
                    wire::value(4, "two"),
                    wire::value(2, "one"),
                    wire::void(9),
                    wire::failed(6, 500, "three"),
                    wire::void(10),
                    wire::named("stop", ""),
                    wire::void(11),
                ],
            ),
        ),
        (
            "runs",
            3,
            and(
                begin(1),
                vec![
                    wire::bytes(2, "7"),
                    wire::failed(1, 418, "no"),
                    wire::bytes(4, "x"),
                    wire::failed(3, 500, "busy"),
                ],
            ),
        ),
        (
            "runs-again",
            3,
            and(
                begin(10),
                vec![
                    wire::run(1, "terminal"),
                    wire::run(2, "fine"),
                    wire::failed(1, 418, "no"),
                    wire::bytes(2, "7"),
                    wire::run(3, "retried"),
                    wire::run(4, "guarded"),
                    wire::sleep(5),
                    wire::void(5),
                    wire::bytes(3, "9"),
                ],
            ),
        ),
        (
            "typed",
            4,
            and(
                begin(3),
                vec![
                    Msg::new(MessageType::PEEK_PROMISE, &peek),
                    wire::void(1),
                    wire::void(2),
                    wire::bytes(3, "[1,2]"),
                    wire::void(4),
                    wire::value(5, "attached"),
                    wire::invoked(6, "inv_2"),
                    wire::bytes(7, "1000"),
                ],
            ),
        ),
        (
            "cancelled",
            5,
            and(
                begin(1),
                vec![
                    wire::bytes(2, "1"),
                    wire::bytes(3, "1"),
                    wire::cancel(),
                    wire::invoked(4, "inv_2"),
                    wire::bytes(8, "2"),
                ],
            ),
        ),
        (
            "cancelled-twice",
            5,
            and(
                begin(1),
                vec![wire::cancel(), wire::invoked(1, "inv_1"), wire::cancel()],
            ),
        ),
        (
            "ephemeral",
            6,
            and(
                partial(1),
                vec![
                    wire::ephemeral(2, Some("b")),
                    wire::ephemeral(1, None),
                    wire::bytes(1, "[null,\"b\"]"),
                ],
            ),
        ),
        ("foreign", 7, and(begin(1), vec![wire::named("go", "")])),
        ("mismatch", 0, and(begin(2), vec![wire::sleep(1)])),
        ("too-few", 0, begin(3)),
        (
            "twice",
            2,
            and(begin(1), vec![wire::void(2), wire::void(2)]),
        ),
        ("late-command", 2, and(begin(1), vec![wire::sleep(1)])),
    ]
}

pub(super) fn attempts() -> Vec<(String, Vec<u8>)> {
    let mut scripts = Vec::new();
    for (at, (name, handler, messages)) in streams().into_iter().enumerate() {
        // Each on a version of its own, and reads within runs where they are known.
        let version = if name == "ephemeral" {
            3
        } else {
            [2, 0, 1][at % 3]
        };
        let stream: Vec<u8> = messages.iter().flat_map(Msg::frame).collect();
        let raw = [&[version, handler, ONE_BY_ONE, 0], &stream[..]].concat();
        scripts.push(named(name, raw));
        let cut = [&[version, handler, 0, 3, 90, 1, 7], &stream[..]].concat();
        scripts.push(named(&format!("{name}-cut"), cut));
        let mut framed = vec![version, handler, FRAMED | ONE_BY_ONE, 0];
        for message in &messages {
            let ty = TYPES.iter().position(|ty| *ty == message.ty);
            framed.push(ty.expect("a type of the table") as u8);
            framed.extend(sized(&message.payload));
        }
        scripts.push(named(&format!("{name}-framed"), framed));
    }
    scripts
}
