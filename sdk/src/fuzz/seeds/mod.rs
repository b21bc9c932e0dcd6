//! The seeds: scripts that reach far, from which a fuzzer starts. They are also the files in
//! `sdk/fuzz/corpus`, which `DURABLY_WRITE_CORPUS=1 cargo test -p durably --lib fuzz` writes.

mod attempts;

use super::identity::{PATH, token};
use crate::{
    executor::tests::wire::{self, Msg},
    protocol::MessageType,
};

/// A script for a target.
#[derive(Debug)]
pub(super) struct Seed {
    pub(super) target: &'static str,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut of = |target: &'static str, scripts: Vec<(String, Vec<u8>)>| {
        seeds.extend(scripts.into_iter().map(|(name, bytes)| Seed {
            target,
            name,
            bytes,
        }));
    };
    of("attempt", attempts::attempts());
    of("frames", frames());
    of("identity", identities());
    of("journal", journals());
    of("kafka", kafka());
    of("negotiate", negotiations());
    of("route", routes());
    seeds
}

/// Length and bytes, as scripts have them.
fn sized(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u8::try_from(bytes.len()).expect("a short text");
    [&[length], bytes].concat()
}

fn named(name: &str, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.into())
}

fn frames() -> Vec<(String, Vec<u8>)> {
    let stream = |messages: &[Msg]| -> Vec<u8> { messages.iter().flat_map(Msg::frame).collect() };
    let hello = stream(&[
        Msg::new(MessageType::START, &wire::start(1)),
        wire::input("hello"),
    ]);
    let huge = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1];
    let script = |limit: u8, cuts: &[u8], stream: &[u8]| {
        [vec![limit], sized(cuts), stream.to_vec()].concat()
    };
    vec![
        named("empty", script(2, &[], &[])),
        named("hello", script(2, &[], &hello)),
        named("hello-in-bytes", script(2, &[1], &hello)),
        named("hello-in-pieces", script(2, &[3, 9, 1], &hello)),
        named("hello-cut-off", script(2, &[50], &hello[..hello.len() - 2])),
        named("too-large", script(1, &[], &hello)),
        named("huge", script(3, &[], &huge)),
        named("long-journal", script(5, &[], &hello.repeat(3))),
        named("huge-but-allowed", script(4, &[1], &huge)),
        named(
            "large-in-bytes",
            script(
                3,
                &[1, 1, 90],
                &stream(&[Msg::raw(MessageType::RUN, vec![7; 900])]),
            ),
        ),
        named("ack", script(2, &[], &[0, 5, 0x80, 0, 0, 0, 0, 1, 8])),
        named(
            "nothing-in-frames",
            script(0, &[], &[4, 17, 0, 0, 0, 0, 0, 0].repeat(3)),
        ),
    ]
}

fn identities() -> Vec<(String, Vec<u8>)> {
    let good = token();
    let raw =
        |scheme: &str, token: &str| [vec![0], sized(scheme), token.as_bytes().to_vec()].concat();
    let made = |claims: [u8; 6], changes: &[u8]| [&[1], &claims[..], changes].concat();
    let parts: Vec<&str> = good.split('.').collect();
    vec![
        named("good", raw("v1", &good)),
        named("unsigned", raw("unsigned", "")),
        named("other-scheme", raw("v2", &good)),
        named(
            "no-signature",
            raw("v1", &format!("{}.{}.", parts[0], parts[1])),
        ),
        named("padded", raw("v1", &format!("{good}="))),
        named("four-parts", raw("v1", &format!("{good}.{}", parts[2]))),
        named("parts", raw("v1", "..")),
        named("path", raw("v1", PATH)),
        named(
            "key",
            raw(
                "",
                "publickeyv1_ChjENKeMvCtRnqG2mrBK1HmPKufgFUc98K8B3ononQvp",
            ),
        ),
        named("made", made([0, 5, 6, 0, 0, 9], &[])),
        named("made-several", made([1, 0, 0, 1, 0, 9], &[])),
        named("made-expired", made([0, 6, 6, 0, 0, 9], &[])),
        named("made-early", made([0, 5, 5, 0, 0, 9], &[])),
        named("made-elsewhere", made([2, 5, 6, 0, 0, 9], &[])),
        named("made-without-claim", made([0, 5, 6, 0, 0, 1], &[])),
        named("made-none", made([0, 5, 6, 2, 0, 9], &[])),
        named("made-by-another", made([0, 5, 6, 0, 1, 9], &[])),
        named(
            "changed",
            made([0, 5, 6, 0, 0, 9], &[40, 0, 0, 0, 200, b'A']),
        ),
        named("shortened", made([0, 5, 6, 0, 0, 9], &[40, 0, 0, 0, 0, 0])),
        named("longer", made([0, 5, 6, 0, 0, 9], &[40, 0, 0, 0, 64, b'.'])),
    ]
}

fn journals() -> Vec<(String, Vec<u8>)> {
    // Operations: kind, text, other text, payload, name, flags.
    let every: Vec<[u8; 6]> = (0..17).map(|kind| [kind, 1, 2, 2, 3, 1]).collect();
    let issue = |operations: &[[u8; 6]]| -> Vec<u8> {
        operations
            .iter()
            .flat_map(|operation| [&[4], &operation[..]].concat())
            .collect()
    };
    let script =
        |version: u8, mode: u8, steps: &[Vec<u8>]| [vec![version, mode], steps.concat()].concat();
    let (call, run, sleep) = ([8, 1, 2, 2, 3, 1], [11, 0, 0, 0, 2, 0], [7, 0, 0, 0, 0, 9]);
    let (get, keys, set) = ([15, 1, 0, 0, 0, 0], [16, 0, 0, 0, 0, 0], [1, 1, 0, 2, 0, 0]);
    let again = |times: usize| vec![0; times];
    let value = |id: u8| vec![8, id, 4, 1, b'v'];
    let void = |id: u8| vec![8, id, 0];
    let ack = |id: u8| vec![11, id];
    let (cancel, go) = (vec![10, 1, 0, 0], vec![10, 4, 0, 0, 4, 1, b'g']);
    let propose = |flags: u8| vec![7, 11, 1, 1, 1, 0, flags];
    let close = |kind: u8| vec![15, 0, kind];
    let recorded = [get, set, run].concat();
    vec![
        named("empty", script(2, 0, &[])),
        named("every-operation", script(2, 0, &[issue(&every), close(1)])),
        named(
            "every-operation-v5",
            script(0, 0, &[issue(&every[..8]), close(0)]),
        ),
        named(
            "large",
            script(
                1,
                0,
                &[issue(&[
                    [1, 1, 0, 4, 0, 0],
                    [8, 1, 1, 3, 0, 2],
                    [0, 0, 0, 9, 0, 1],
                ])],
            ),
        ),
        named(
            "too-large",
            script(2, 0x40, &[issue(&[[1, 1, 0, 1, 0, 0], [1, 1, 0, 4, 0, 0]])]),
        ),
        named(
            "proposed-too-large",
            script(2, 0x40, &[issue(&[run]), vec![7, 11, 1, 1, 4, 0, 0]]),
        ),
        named(
            "scoped",
            script(
                3,
                0,
                &[issue(&[
                    [8, 1, 2, 2, 3, 0x7d],
                    [9, 1, 2, 2, 3, 0x7d],
                    [12, 1, 2, 0, 0, 0x0f],
                ])],
            ),
        ),
        named(
            "scoped-too-early",
            script(1, 0, &[issue(&[[8, 1, 2, 2, 3, 0x7d]])]),
        ),
        named(
            "metadata-too-early",
            script(0, 0, &[issue(&[[0, 1, 2, 2, 3, 0x43]])]),
        ),
        named(
            "state",
            script(
                1,
                4,
                &[issue(&[
                    get,
                    keys,
                    set,
                    get,
                    [2, 2, 0, 0, 0, 0],
                    keys,
                    [3, 0, 0, 0, 0, 0],
                    keys,
                ])],
            ),
        ),
        named(
            "partial-state",
            script(1, 6, &[issue(&[get, keys, set, get]), value(1), value(2)]),
        ),
        named(
            "completions",
            script(
                2,
                0,
                &[
                    issue(&[call, sleep]),
                    value(2),
                    void(3),
                    value(1),
                    cancel.clone(),
                    go.clone(),
                    go,
                ],
            ),
        ),
        named("twice", script(2, 0, &[issue(&[sleep]), void(1), void(1)])),
        named("beyond", script(2, 0, &[issue(&[sleep]), void(2)])),
        named(
            "acked",
            script(
                2,
                0,
                &[
                    issue(&[run, run]),
                    propose(0),
                    propose(1),
                    ack(2),
                    ack(1),
                    issue(&[sleep]),
                ],
            ),
        ),
        named(
            "proposed",
            script(1, 0, &[issue(&[run]), propose(1), value(1)]),
        ),
        named(
            "acked-twice",
            script(2, 0, &[issue(&[run]), propose(0), ack(1), ack(1)]),
        ),
        named(
            "replayed",
            script(
                2,
                3 << 3,
                &[recorded.clone(), again(3), issue(&[sleep]), close(1)],
            ),
        ),
        named(
            "replayed-eagerly",
            script(
                2,
                2 << 3,
                &[
                    [15, 1, 0, 2, 0, 3].to_vec(),
                    [16, 1, 0, 0, 0, 1].to_vec(),
                    again(2),
                ],
            ),
        ),
        named(
            "mismatch",
            script(2, 3 << 3, &[recorded, vec![0], issue(&[sleep])]),
        ),
        named(
            "raw",
            script(
                2,
                1,
                &[
                    vec![14, 2, 0, 0, 0, 4],
                    void(1),
                    vec![14, 3],
                    [&[12], &sleep[..]].concat(),
                    cancel,
                    again(1),
                    close(0),
                ],
            ),
        ),
        named(
            "raw-frame",
            script(
                2,
                1,
                &[
                    vec![14, 2, 0, 0, 0, 2],
                    vec![14, 3],
                    vec![13, 0, 0, 0xfb, 0xff, 4, 0x10, 17, 0x22, 0],
                ],
            ),
        ),
        named("no-start", script(2, 1, &[void(1)])),
        named(
            "closed-early",
            script(2, 1, &[vec![14, 2, 0, 0, 0, 4], vec![15, 1]]),
        ),
        named(
            "aside",
            script(
                3,
                0,
                &[vec![
                    14, 0, 14, 1, 0, 0, 0, 1, 14, 4, 14, 5, 0, 0, 0, 1, 14, 6, 14, 7,
                ]],
            ),
        ),
        named(
            "failed",
            script(2, 0, &[issue(&[call]), vec![15, 0, 2, 0, 1, 2, 0, 0, 2]]),
        ),
    ]
}

fn kafka() -> Vec<(String, Vec<u8>)> {
    let script = |headers: &[(u8, &str)], body: &str| {
        let mut script = vec![headers.len() as u8];
        for (name, value) in headers {
            script.push(*name);
            script.extend(sized(value));
        }
        script.extend(body.as_bytes());
        script
    };
    let record = [
        (2, "1041"),
        (0, "orders"),
        (1, "2"),
        (3, "1793620800123"),
        (5, "sub_1"),
        (4, "_-4tYQ=="),
    ];
    let with = |name: u8, value: &'static str| {
        let others = record.into_iter().filter(|(n, _)| *n != name);
        others.chain([(name, value)]).collect::<Vec<_>>()
    };
    vec![
        named("record", script(&record, "7")),
        named("tombstone", script(&record, "")),
        named("call", script(&[(7, "1")], "\"text\"")),
        named("few-headers", script(&record[..3], "{\"a\":[1,2]}")),
        named("no-offset", script(&record[1..], "7")),
        named("long-ago", script(&with(3, "-9223372036854775808"), "7")),
        named("far-ahead", script(&with(3, "9223372036854775807"), "7")),
        named("other-number", script(&with(1, "2147483648"), "7")),
        named("no-number", script(&with(2, "+1e3"), "7")),
        named("empty-key", script(&with(4, ""), "7")),
        named("text-key", script(&with(4, "YWJj"), "7")),
        named("bad-key", script(&with(4, "a+/="), "7")),
        named("bad-body", script(&record, "{\"a\":")),
    ]
}

fn negotiations() -> Vec<(String, Vec<u8>)> {
    let manifest = |n: u8| format!("application/vnd.restate.endpointmanifest.v{n}+json");
    let protocol = |n: u8| format!("application/vnd.restate.invocation.v{n}");
    let script = |max: u8, headers: &[(u8, String)]| {
        let mut script = vec![max];
        for (kind, value) in headers {
            script.push(*kind);
            script.extend(sized(value));
        }
        script
    };
    let all = format!("{}, {}", manifest(2), manifest(4));
    vec![
        named("nothing", script(2, &[])),
        named("v7", script(2, &[(1, protocol(7))])),
        named("v8", script(3, &[(1, protocol(8))])),
        named("v8-not-offered", script(2, &[(1, protocol(8))])),
        named("v4", script(2, &[(1, protocol(4))])),
        named(
            "several-types",
            script(2, &[(1, protocol(5)), (1, protocol(6))]),
        ),
        named("manifests", script(2, &[(0, all)])),
        named("manifest-v3", script(2, &[(0, manifest(3))])),
        named("manifest-v9", script(2, &[(0, manifest(9))])),
        named(
            "weights",
            script(
                2,
                &[(0, format!("{};q=0.1 , */*", manifest(3).to_uppercase()))],
            ),
        ),
        named(
            "two-headers",
            script(2, &[(0, "text/html".to_owned()), (0, manifest(2))]),
        ),
        named("commas", script(2, &[(0, ", ,;,".to_owned())])),
    ]
}

fn routes() -> Vec<(String, Vec<u8>)> {
    let script = |method: u8, prefix: &str, path: &str| {
        [vec![method], sized(prefix), path.as_bytes().to_vec()].concat()
    };
    vec![
        named("discover", script(0, "", "/discover")),
        named("health", script(0, "a/b", "/health")),
        named("invoke", script(1, "a", "/invoke/Greeter/greet")),
        named(
            "invoke-invoke",
            script(1, "invoke/x", "/invoke/invoke/invoke"),
        ),
        named("invoke-discover", script(1, "", "/invoke/S/discover")),
        named(
            "discover-behind-invoke",
            script(0, "", "/invoke/S/discover"),
        ),
        named("wrong-method", script(2, "", "/invoke/S/h")),
        named("empty-names", script(1, "", "/invoke//")),
        named("empty-service", script(1, "", "/invoke//h")),
        named("empty-handler", script(1, "", "/invoke/S/")),
        named("escaped", script(1, "%2f", "/invoke/S%2Fh/é")),
        named("star", script(4, "", "*")),
        named("slashes", script(0, "//", "///")),
        named("query", script(0, "", "/discover?a=/health")),
    ]
}
