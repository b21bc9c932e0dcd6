//! Drives every handler of the benchmark endpoint with hand-made frames, on protocols v6 and v7, in
//! this process and over loopback, and compares every answer byte for byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::ExitStatus, time::Duration};

use bytes::Bytes;
use durably::Endpoint;
use durably_benches::{
    services,
    wire::{self, AWAITING_ON, Message, SUSPENSION},
};
use futures::channel::mpsc;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

type Frames = StreamBody<mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::io::Error>>>;

/// Where requests go.
enum Runtime {
    InProcess(Endpoint),
    Loopback(SendRequest<Frames>),
}

impl Runtime {
    async fn invoke(&self, version: u32, path: &str) -> Attempt {
        let (sender, frames) = mpsc::unbounded();
        let content_type = format!("application/vnd.restate.invocation.v{version}");
        let request = Request::post(format!("http://localhost/invoke/{path}"))
            .header(CONTENT_TYPE, &content_type)
            .body(StreamBody::new(frames))
            .unwrap();
        let response = match self {
            Self::InProcess(endpoint) => erase(endpoint.handle(request)),
            Self::Loopback(client) => erase(client.clone().send_request(request).await.unwrap()),
        };
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], content_type);
        Attempt {
            version,
            sender: Some(sender),
            body: response.into_body(),
            received: Bytes::new(),
        }
    }
}

fn erase<B>(response: Response<B>) -> Response<UnsyncBoxBody<Bytes, String>>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Send + 'static,
{
    response.map(|body| body.map_err(|error| error.to_string()).boxed_unsync())
}

/// The runtime's side of one attempt.
struct Attempt {
    version: u32,
    sender: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>>,
    body: UnsyncBoxBody<Bytes, String>,
    received: Bytes,
}

impl Attempt {
    fn send_bytes(&self, bytes: Bytes) {
        let sender = self.sender.as_ref().unwrap();
        sender.unbounded_send(Ok(Frame::data(bytes))).unwrap();
    }

    /// Sends messages, one DATA frame each.
    fn send(&self, messages: &[Message]) {
        for message in messages {
            self.send_bytes(message.frame());
        }
    }

    /// The next message, if the response has not ended; a report of what is awaited does not count.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match Message::take(&mut self.received) {
                Some(message) if message.ty == AWAITING_ON && self.version >= 7 => {}
                Some(message) => return Some(message),
                None => {
                    let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame());
                    let data = frame.await.unwrap()?.unwrap().into_data().unwrap();
                    // HTTP/2 may say with an empty frame that the stream has ended.
                    assert!(!data.is_empty() || self.body.is_end_stream());
                    self.received = [&*self.received, &*data].concat().into();
                }
            }
        }
    }

    async fn expect(&mut self, messages: &[Message]) {
        for message in messages {
            assert_eq!(self.next().await.as_ref(), Some(message));
        }
    }

    /// Expects the result, and the end of the response after that of the request.
    async fn expect_end(mut self, output: &[u8]) {
        self.expect(&[wire::output(output), wire::end()]).await;
        self.sender = None;
        assert_eq!(self.next().await, None);
    }
}

async fn drive_all(runtime: &Runtime) {
    for version in [6, 7] {
        hello(runtime, version).await;
        bytes(runtime, version).await;
        runs(runtime, version).await;
        replayed_runs(runtime, version).await;
        calls(runtime, version).await;
        awakeable(runtime, version).await;
        state(runtime, version).await;
        suspension(runtime, version).await;
    }
}

async fn hello(runtime: &Runtime, version: u32) {
    let attempt = runtime.invoke(version, "Bench/hello").await;
    attempt.send(&[wire::start(1, &[]), wire::input(br#""Ada""#)]);
    attempt.expect_end(br#""Ada""#).await;
    // The same in one piece, cut at every byte.
    let request = wire::join(&[wire::start(1, &[]), wire::input(br#""Ada""#)]);
    for cut in 1..request.len() {
        let attempt = runtime.invoke(version, "Bench/hello").await;
        attempt.send_bytes(request.slice(..cut));
        attempt.send_bytes(request.slice(cut..));
        attempt.expect_end(br#""Ada""#).await;
    }
}

async fn bytes(runtime: &Runtime, version: u32) {
    let attempt = runtime.invoke(version, "Bench/bytes").await;
    let payload: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    attempt.send(&[wire::start(1, &[]), wire::input(&payload)]);
    attempt.expect_end(&payload).await;
    let attempt = runtime.invoke(version, "Bench/bytes").await;
    attempt.send(&[wire::start(1, &[]), wire::input(b"")]);
    attempt.expect_end(b"").await;
}

async fn runs(runtime: &Runtime, version: u32) {
    let mut attempt = runtime.invoke(version, "Bench/runs").await;
    attempt.send(&[wire::start(1, &[]), wire::input(b"5")]);
    for i in 0..5 {
        let value = i.to_string();
        let proposal = wire::propose_run(i + 1, value.as_bytes(), version >= 7);
        attempt.expect(&[wire::run("step", i + 1), proposal]).await;
        attempt.send(&[match version {
            6 => wire::run_completed(i + 1, value.as_bytes()),
            _ => wire::run_ack(i + 1),
        }]);
    }
    attempt.expect_end(b"10").await;
}

async fn replayed_runs(runtime: &Runtime, version: u32) {
    let runs = |k: u32| {
        let mut journal = vec![
            wire::start(1 + 2 * k, &[]),
            wire::input(k.to_string().as_bytes()),
        ];
        for i in 0..k {
            let value = i.to_string();
            journal.push(wire::run("step", i + 1));
            journal.push(wire::run_completed(i + 1, value.as_bytes()));
        }
        journal
    };
    let attempt = runtime.invoke(version, "Bench/runs").await;
    attempt.send(&runs(1_000));
    attempt.expect_end(b"499500").await;
    let attempt = runtime.invoke(version, "Bench/runs").await;
    attempt.send_bytes(wire::join(&runs(1_000)));
    attempt.expect_end(b"499500").await;
}

async fn calls(runtime: &Runtime, version: u32) {
    for (handler, k) in [
        ("callsUnordered", 20),
        ("callsSequential", 20),
        ("callsUnordered", 0),
        ("callsSequential", 0),
    ] {
        for reverse in [false, true] {
            let mut attempt = runtime.invoke(version, &format!("Bench/{handler}")).await;
            let body = k.to_string();
            attempt.send(&[wire::start(1, &[]), wire::input(body.as_bytes())]);
            let id = |i: u32| 2 * i + 1;
            for i in 0..k {
                let parameter = i.to_string();
                let call = wire::call("Target", "work", parameter.as_bytes(), id(i));
                attempt.expect(&[call]).await;
            }
            for i in 0..k {
                attempt.send(&[wire::call_invocation_id(id(i))]);
            }
            for i in 0..k {
                let i = if reverse { k - 1 - i } else { i };
                let result = (10 * i).to_string();
                attempt.send(&[wire::call_completed(id(i) + 1, result.as_bytes())]);
            }
            let sum = (0..k).map(|i| 10 * i).sum::<u32>().to_string();
            attempt.expect_end(sum.as_bytes()).await;
        }
    }
    let mut attempt = runtime.invoke(version, "Bench/callOne").await;
    attempt.send(&[wire::start(1, &[]), wire::input(b"7")]);
    attempt
        .expect(&[wire::call("Target", "work", b"7", 1)])
        .await;
    attempt.send(&[wire::call_invocation_id(1), wire::call_completed(2, b"49")]);
    attempt.expect_end(b"49").await;
}

async fn awakeable(runtime: &Runtime, version: u32) {
    for ignored in ["", "\"ignored\""] {
        let attempt = runtime.invoke(version, "Bench/awakeable").await;
        attempt.send(&[wire::start(1, &[]), wire::input(ignored.as_bytes())]);
        attempt.send(&[wire::signal(17, br#""done""#)]);
        attempt.expect_end(br#""done""#).await;
    }
}

async fn state(runtime: &Runtime, version: u32) {
    let state: Vec<_> = (0..20)
        .map(|i| (format!("k{i}"), format!("\"value {i}\"")))
        .collect();
    let mut attempt = runtime.invoke(version, "BenchObject/state").await;
    attempt.send(&[wire::start(1, &state), wire::input(b"20")]);
    for (key, value) in &state {
        let get = wire::get_eager_state(key, value.as_bytes());
        let set = wire::set_state(key, value.as_bytes());
        attempt.expect(&[get, set]).await;
    }
    // 10 of 7 characters and 10 of 8.
    attempt.expect_end(b"150").await;
}

async fn suspension(runtime: &Runtime, version: u32) {
    let mut attempt = runtime.invoke(version, "Bench/callOne").await;
    attempt.send(&[wire::start(1, &[]), wire::input(b"7")]);
    attempt
        .expect(&[wire::call("Target", "work", b"7", 1)])
        .await;
    attempt.sender = None;
    assert_eq!(
        attempt.next().await.map(|message| message.ty),
        Some(SUSPENSION)
    );
    assert_eq!(attempt.next().await, None);

    let attempt = runtime.invoke(version, "Bench/callOne").await;
    attempt.send(&[
        wire::start(4, &[]),
        wire::input(b"7"),
        wire::call("Target", "work", b"7", 1),
        wire::call_invocation_id(1),
        wire::call_completed(2, b"49"),
    ]);
    attempt.expect_end(b"49").await;
}

#[tokio::test]
async fn the_handlers_answer_in_process() {
    drive_all(&Runtime::InProcess(services::endpoint().unwrap())).await;
}

async fn spawn(threads: Option<&str>) -> (Child, Runtime) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-endpoint"));
    command.env("PORT", port.to_string()).kill_on_drop(true);
    if let Some(threads) = threads {
        command.env("THREADS", threads);
    }
    let child = command.spawn().unwrap();
    let stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    (child, Runtime::Loopback(client))
}

async fn terminate(mut child: Child) -> ExitStatus {
    let id = child.id().unwrap().to_string();
    let told = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(told.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(10), child.wait());
    ended.await.unwrap().unwrap()
}

#[tokio::test]
async fn the_process_answers_and_ends_when_told_to() {
    for threads in [None, Some("1"), Some("2")] {
        let (child, runtime) = spawn(threads).await;
        drive_all(&runtime).await;
        assert!(terminate(child).await.success());
    }
}
