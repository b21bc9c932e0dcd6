//! How long attempts take, through the public API: an endpoint is handed a request whose body is a
//! journal, and its response is read to the end. The groups follow the layers:
//!
//! * `frames`: thousands of tiny messages that nobody waits for, in pieces of several sizes; what is not
//!   framing is one small entry in a map for each;
//! * `replay`: journals, entry by entry;
//! * `step`: commands that are written, and answered one after the other;
//! * `state`: reads and writes, and a large state of which little is read;
//! * `request`: a whole request over HTTP/2, its client included, without a network.
//!
//! `cargo bench -p durably-benches`, with a part of a name to choose. These are for finding out what a
//! change does; for comparisons with others there is `compare`. `cargo test` runs each once.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(
    missing_docs,
    reason = "criterion's macros make an undocumented function"
)]

use std::{convert::Infallible, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use durably::Endpoint;
use durably_benches::{
    services,
    wire::{self, AWAITING_ON, Message},
};
use futures::{channel::mpsc, stream};
use http::{Request, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{client::conn::http2 as client, server::conn::http2 as server};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::runtime::{Builder, Runtime};

fn request<B>(path: &str, body: B) -> Request<B> {
    Request::post(format!("http://localhost/invoke/{path}"))
        .header(CONTENT_TYPE, "application/vnd.restate.invocation.v7")
        .body(body)
        .unwrap()
}

/// Runs an attempt to its end and gives the response.
async fn attempt<B>(endpoint: &Endpoint, path: &str, body: B) -> Bytes
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let response = endpoint.handle(request(path, body));
    response.into_body().collect().await.unwrap().to_bytes()
}

/// A body of one DATA frame for each message, as the runtime sends it.
fn frames(journal: &[Message]) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
    let frames: Vec<_> = journal
        .iter()
        .map(|message| Ok(Frame::data(message.frame())))
        .collect();
    StreamBody::new(stream::iter(frames))
}

/// A body of DATA frames of this length, whatever they cut in two.
fn pieces(journal: &Bytes, length: usize) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
    let pieces: Vec<_> = (0..journal.len())
        .step_by(length)
        .map(|at| {
            Ok(Frame::data(
                journal.slice(at..journal.len().min(at + length)),
            ))
        })
        .collect();
    StreamBody::new(stream::iter(pieces))
}

/// What a benchmark replays: a handler, a journal, and the output that must come of it.
struct Replay {
    path: &'static str,
    journal: Vec<Message>,
    output: String,
}

impl Replay {
    fn due(&self) -> Bytes {
        wire::join(&[wire::output(self.output.as_bytes()), wire::end()])
    }
}

fn known_entries(entries: &[Message]) -> u32 {
    u32::try_from(entries.len()).unwrap()
}

fn replay(path: &'static str, entries: Vec<Message>, output: String) -> Replay {
    let mut journal = vec![wire::start(known_entries(&entries), &[])];
    journal.extend(entries);
    Replay {
        path,
        journal,
        output,
    }
}

fn hello() -> Replay {
    let entries = vec![wire::input(br#""Ada""#)];
    replay("Bench/hello", entries, r#""Ada""#.to_owned())
}

/// Many entries that nobody waits for: little but decoding.
fn notifications(k: u32) -> Replay {
    let mut replay = hello();
    let signals = (0..k).map(|i| wire::signal(17 + i, br#""ignored""#));
    replay.journal.extend(signals);
    replay.journal[0] = wire::start(1 + k, &[]);
    replay
}

fn runs(k: u32) -> Replay {
    let mut entries = vec![wire::input(k.to_string().as_bytes())];
    for i in 0..k {
        entries.push(wire::run("step", i + 1));
        entries.push(wire::run_completed(i + 1, i.to_string().as_bytes()));
    }
    replay("Bench/runs", entries, (0..k).sum::<u32>().to_string())
}

fn calls(path: &'static str, k: u32, reverse: bool) -> Replay {
    let id = |i: u32| 2 * i + 1;
    let mut entries = vec![wire::input(k.to_string().as_bytes())];
    for i in 0..k {
        let parameter = i.to_string();
        entries.push(wire::call("Target", "work", parameter.as_bytes(), id(i)));
    }
    entries.extend((0..k).map(|i| wire::call_invocation_id(id(i))));
    for i in 0..k {
        let i = if reverse { k - 1 - i } else { i };
        entries.push(wire::call_completed(id(i) + 1, i.to_string().as_bytes()));
    }
    replay(path, entries, (0..k).sum::<u32>().to_string())
}

fn state(k: u32) -> Vec<(String, String)> {
    (0..k)
        .map(|i| (format!("k{i}"), r#""some value""#.to_owned()))
        .collect()
}

fn replayed_state(k: u32) -> Replay {
    let state = state(k);
    let mut entries = vec![wire::input(k.to_string().as_bytes())];
    for (key, value) in &state {
        entries.push(wire::get_eager_state(key, value.as_bytes()));
        entries.push(wire::set_state(key, value.as_bytes()));
    }
    let mut replay = replay("BenchObject/state", entries, (10 * k).to_string());
    replay.journal[0] = wire::start(known_entries(&replay.journal) - 1, &state);
    replay
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn framing(c: &mut Criterion) {
    const K: u32 = 10_000;
    let runtime = runtime();
    let endpoint = services::endpoint().unwrap();
    let replay = notifications(K);
    let (due, whole) = (replay.due(), wire::join(&replay.journal));
    let mut group = c.benchmark_group("frames");
    group.throughput(Throughput::Elements(K.into()));
    for length in [16, 1_024, 16 * 1_024] {
        group.bench_function(format!("in pieces of {length} bytes"), |b| {
            b.iter_with_setup(
                || pieces(&whole, length),
                |body| {
                    let response = runtime.block_on(attempt(&endpoint, replay.path, body));
                    assert_eq!(response, due);
                },
            );
        });
    }
    group.bench_function("a frame a message", |b| {
        b.iter_with_setup(
            || frames(&replay.journal),
            |body| {
                let response = runtime.block_on(attempt(&endpoint, replay.path, body));
                assert_eq!(response, due);
            },
        );
    });
    group.finish();
}

fn replays(c: &mut Criterion) {
    const K: u32 = 1_000;
    let runtime = runtime();
    let endpoint = services::endpoint().unwrap();
    for (name, elements, replay) in [
        ("hello", 1, hello()),
        ("runs", K, runs(K)),
        ("callsUnordered", K, calls("Bench/callsUnordered", K, false)),
        (
            "callsUnordered reverse",
            K,
            calls("Bench/callsUnordered", K, true),
        ),
        (
            "callsSequential",
            K,
            calls("Bench/callsSequential", K, false),
        ),
        (
            "callsSequential reverse",
            K,
            calls("Bench/callsSequential", K, true),
        ),
        ("state", K, replayed_state(K)),
    ] {
        let due = replay.due();
        let whole = wire::join(&replay.journal);
        let mut group = c.benchmark_group(format!("replay {name}"));
        group.throughput(Throughput::Elements(elements.into()));
        group.bench_function("coalesced", |b| {
            b.iter(|| {
                let body = Full::new(whole.clone());
                let response = runtime.block_on(attempt(&endpoint, replay.path, body));
                assert_eq!(response, due);
            });
        });
        group.bench_function("a frame a message", |b| {
            b.iter_with_setup(
                || frames(&replay.journal),
                |body| {
                    let response = runtime.block_on(attempt(&endpoint, replay.path, body));
                    assert_eq!(response, due);
                },
            );
        });
        group.finish();
    }
}

/// Commands that are written, not replayed.
fn live(c: &mut Criterion) {
    let runtime = runtime();
    let endpoint = services::endpoint().unwrap();

    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 runs", |b| {
        b.iter(|| runtime.block_on(steps(&endpoint, 1_000)));
    });
    group.finish();

    let mut group = c.benchmark_group("state");
    for (keys, n) in [(100, 100), (1_000, 1_u32)] {
        let journal = wire::join(&[
            wire::start(1, &state(keys)),
            wire::input(n.to_string().as_bytes()),
        ]);
        let output = wire::output((10 * n).to_string().as_bytes());
        let due = wire::join(&[output, wire::end()]);
        group.throughput(Throughput::Elements(n.into()));
        group.bench_function(format!("{n} of {keys} keys"), |b| {
            b.iter(|| {
                let body = Full::new(journal.clone());
                let response = runtime.block_on(attempt(&endpoint, "BenchObject/state", body));
                assert!(response.ends_with(&due));
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("payload");
    let payload = vec![b'x'; 8 * 1024 * 1024];
    let journal = wire::join(&[wire::start(1, &[]), wire::input(&payload)]);
    group.throughput(Throughput::Bytes(payload.len() as u64));
    for (name, length) in [
        ("in one piece", journal.len()),
        ("in pieces of 16 KiB", 16_384),
    ] {
        group.bench_function(format!("8 MiB {name}"), |b| {
            b.iter_with_setup(
                || pieces(&journal, length),
                |body| {
                    let response = endpoint.handle(request("Bench/bytes", body));
                    let mut received = 0;
                    runtime.block_on(async {
                        let mut body = response.into_body();
                        while let Some(frame) = body.frame().await {
                            let data = frame.unwrap().into_data().unwrap();
                            received += black_box(data).len();
                        }
                    });
                    assert!(received > payload.len());
                },
            );
        });
    }
    group.finish();
}

/// An attempt of `k` runs, each acknowledged when it was proposed.
async fn steps(endpoint: &Endpoint, k: u32) {
    let (sender, frames) = mpsc::unbounded();
    let send = |message: Message| {
        let frame = Ok::<_, Infallible>(Frame::data(message.frame()));
        sender.unbounded_send(frame).unwrap();
    };
    let response = endpoint.handle(request("Bench/runs", StreamBody::new(frames)));
    let mut body = response.into_body();
    send(wire::start(1, &[]));
    send(wire::input(k.to_string().as_bytes()));
    for i in 0..k {
        // Run and its proposal, then on v7 perhaps what is awaited.
        loop {
            let frame = body.frame().await.unwrap().unwrap();
            let mut data = frame.into_data().unwrap();
            if Message::take(&mut data).unwrap().ty != AWAITING_ON {
                break;
            }
        }
        send(wire::run_ack(i + 1));
    }
    drop(sender);
    let rest = body.collect().await.unwrap().to_bytes();
    assert!(rest.ends_with(&wire::end().frame()));
}

/// A whole request over HTTP/2, client included, without a network.
fn requests(c: &mut Criterion) {
    let runtime = runtime();
    let endpoint = services::endpoint().unwrap();
    let replay = hello();
    let (due, journal) = (replay.due(), wire::join(&replay.journal));
    let client = runtime.block_on(async {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let service = TowerToHyperService::new(endpoint);
        let serving = server::Builder::new(TokioExecutor::new());
        tokio::spawn(serving.serve_connection(TokioIo::new(far), service));
        let handshake = client::handshake(TokioExecutor::new(), TokioIo::new(near));
        let (client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        client
    });
    c.bench_function("request: hello over HTTP/2", |b| {
        b.iter(|| {
            let mut client = client.clone();
            let request = request(replay.path, Full::new(journal.clone()));
            let response = runtime.block_on(async {
                let response = client.send_request(request).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            });
            assert_eq!(response, due);
        });
    });
}

criterion_group! {
    name = attempts;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = framing, replays, live, requests
}
criterion_main!(attempts);
