//! A server on loopback against hyper's client, over HTTP/2 with prior knowledge and HTTP/1.1.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::channel::mpsc;
use http::{StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::client::conn::{http1, http2, http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::endpoint::testutil::{END, SUSPENSION, echo, journal, sleeper, stuck, terminator};
use crate::service::{HandlerDefinition, HandlerKind, ServiceDefinition, ServiceKind};

mod drain;
#[cfg(target_os = "linux")]
mod silent;
mod small_frames;
#[cfg(feature = "tls")]
mod tls;

const V7: &str = "application/vnd.restate.invocation.v7";

/// A request body that the test feeds.
type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;
type Fed = StreamBody<mpsc::UnboundedReceiver<Result<Frame<Bytes>, Infallible>>>;

fn fed() -> (Feed, Fed) {
    let (feed, chunks) = mpsc::unbounded();
    (feed, StreamBody::new(chunks))
}

fn feed(to: &Feed, bytes: impl Into<Bytes>) {
    to.unbounded_send(Ok(Frame::data(bytes.into()))).unwrap();
}

/// A server under test.
struct Rig {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

impl Rig {
    async fn start(configure: impl FnOnce(HttpServer) -> HttpServer) -> Self {
        let endpoint = Endpoint::builder()
            .bind(echo("Echo"))
            .bind(stuck("Stuck"))
            .bind(sleeper("Sleeper"))
            .build();
        let (stop, stopped) = oneshot::channel();
        let server = HttpServer::new(endpoint.unwrap())
            .handle_signals(false)
            .with_graceful_shutdown(async { drop(stopped.await) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(configure(server).serve(listener));
        Self {
            address,
            stop,
            serving,
        }
    }

    /// Stops the server; how long that took.
    async fn stop(self) -> Duration {
        let start = Instant::now();
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
        start.elapsed()
    }
}

async fn connect(address: SocketAddr) -> TokioIo<TcpStream> {
    TokioIo::new(TcpStream::connect(address).await.unwrap())
}

async fn h2<B>(address: SocketAddr) -> (SendRequest<B>, JoinHandle<hyper::Result<()>>)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let io = connect(address).await;
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (client, tokio::spawn(connection))
}

/// Nothing more comes but the end of the stream, which hyper writes as an empty DATA frame.
async fn assert_ends(body: Incoming) {
    assert_eq!(body.collect().await.unwrap().to_bytes(), "");
}

fn invoke<B>(path: &str, body: B) -> Request<B> {
    Request::post(format!("http://localhost{path}"))
        .header(header::CONTENT_TYPE, V7)
        .body(body)
        .unwrap()
}

fn discover() -> Request<Full<Bytes>> {
    Request::get("http://localhost/discover")
        .body(Full::default())
        .unwrap()
}

async fn protocol_mode(response: Response<Incoming>) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let manifest: serde_json::Value = serde_json::from_slice(&body).unwrap();
    manifest["protocolMode"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn http2_runs_both_directions_at_once() {
    let rig = Rig::start(|server| server).await;
    let (mut client, _connection) = h2(rig.address).await;
    let (sender, body) = fed();
    // The journal in two halves, with a wait between.
    let mut first = journal("\"hi\"");
    let second = first.split_off(20);
    feed(&sender, first);
    let response = client
        .send_request(invoke("/invoke/Echo/echo", body))
        .await
        .unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.headers()[header::CONTENT_TYPE], V7);
    feed(&sender, second);

    // The end comes while the request is open; the response ends with the request.
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while terminator(&bytes) != Some(END) {
        let frame = body.frame().await.unwrap().unwrap();
        bytes.extend_from_slice(&frame.into_data().unwrap());
    }
    let open = tokio::time::timeout(Duration::from_millis(50), body.frame()).await;
    assert!(open.is_err(), "the response ended before the request");
    drop(sender);
    assert_ends(body).await;
    rig.stop().await;
}

#[tokio::test]
async fn http1_runs_request_and_response_in_turn() {
    let rig = Rig::start(|server| server).await;
    let (mut client, connection) = http1::handshake::<_, Full<Bytes>>(connect(rig.address).await)
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = client.send_request(discover()).await.unwrap();
    assert_eq!(protocol_mode(response).await, "REQUEST_RESPONSE");
    for _ in 0..2 {
        client.ready().await.unwrap();
        let request = invoke("/invoke/Echo/echo", Full::new(journal("\"hi\"")));
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(terminator(&body), Some(END));
    }
    rig.stop().await;
}

#[tokio::test]
async fn one_port_speaks_both_and_outlives_nonsense() {
    let rig = Rig::start(|server| server).await;
    for nonsense in [
        &b"\x00\xff\x16\x03\x01"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX",
        b"GET /\r\n\r\n",
        b"",
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let (mut client, _connection) = h2(rig.address).await;
    let response = client.send_request(discover()).await.unwrap();
    assert_eq!(protocol_mode(response).await, "BIDI_STREAM");
    rig.stop().await;
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_request() {
    let rig = Rig::start(|server| server).await;
    let (mut client, _connection) = h2(rig.address).await;
    for _ in 0..3 {
        let (sender, body) = fed();
        feed(&sender, journal("1"));
        let response = client
            .send_request(invoke("/invoke/Nobody/h", body))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert!(text.starts_with(b"no service named `Nobody`"));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_tower_service_runs_in_a_server_of_hyper() {
    let endpoint = Endpoint::builder().bind(echo("Echo")).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(endpoint);
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await
    });
    let (mut client, _connection) = h2(address).await;
    let request = invoke("/pre/fix/invoke/Echo/echo", Full::new(journal("1")));
    let response = client.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(terminator(&body), Some(END));
}

#[tokio::test]
async fn an_idle_server_stops_at_once_and_its_port_is_free() {
    let rig = Rig::start(|server| server.drain_deadline(Duration::from_secs(60))).await;
    let address = rig.address;
    let (mut client, connection) = h2(address).await;
    client.send_request(discover()).await.unwrap();
    // This one has not said yet which protocol it speaks.
    let silent = TcpStream::connect(address).await.unwrap();
    assert!(rig.stop().await < Duration::from_secs(20));
    connection.await.unwrap().unwrap();
    drop(silent);
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn a_sleeping_handler_suspends_when_the_server_drains() {
    let rig = Rig::start(|server| server.drain_deadline(Duration::from_secs(60))).await;
    let (mut client, _connection) = h2(rig.address).await;
    let (sender, body) = fed();
    feed(&sender, journal("1"));
    let response = client
        .send_request(invoke("/invoke/Sleeper/sleep", body))
        .await
        .unwrap();
    let mut body = response.into_body();
    // The Sleep command is out: the handler has run and waits.
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_ne!(terminator(&first), Some(SUSPENSION));
    drop(rig.stop);
    let mut rest = Vec::new();
    while terminator(&rest) != Some(SUSPENSION) {
        rest.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    drop(sender);
    assert_ends(body).await;
    rig.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn at_the_deadline_what_is_open_is_cut_off() {
    let deadline = Duration::from_millis(100);
    let rig = Rig::start(|server| server.drain_deadline(deadline)).await;
    let (mut client, _connection) = h2(rig.address).await;
    let (sender, body) = fed();
    feed(&sender, journal("1"));
    let response = client
        .send_request(invoke("/invoke/Stuck/wait", body))
        .await
        .unwrap();
    let took = rig.stop().await;
    assert!(
        took >= deadline && took < Duration::from_secs(30),
        "{took:?}"
    );
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn an_attempt_is_dropped_when_its_stream_or_connection_breaks_off() {
    // Each attempt of the handler holds a clone of this.
    let held = Arc::new(());
    let handler = {
        let held = Arc::clone(&held);
        HandlerDefinition::new(
            HandlerKind::Service,
            "hold",
            Arc::new(move |_, _| {
                let held = Arc::clone(&held);
                Box::pin(async move {
                    std::future::pending::<()>().await;
                    drop(held);
                    Ok(Bytes::new())
                })
            }),
        )
    };
    let service = ServiceDefinition::new(ServiceKind::Service, "Holder").handler(handler);
    let endpoint = Endpoint::builder().bind(service).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(
        HttpServer::new(endpoint)
            .handle_signals(false)
            .serve(listener),
    );
    let idle = Arc::strong_count(&held);
    let reaches = |count| {
        let held = Arc::clone(&held);
        let reached = async move {
            while Arc::strong_count(&held) != count + 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached)
    };

    let socket = std::net::TcpStream::connect(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    let io = TokioIo::new(TcpStream::from_std(socket.try_clone().unwrap()).unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut open = Vec::new();
    for _ in 0..2 {
        let (sender, body) = fed();
        feed(&sender, journal("1"));
        let response = client
            .send_request(invoke("/invoke/Holder/hold", body))
            .await
            .unwrap();
        open.push((sender, response));
    }
    reaches(idle + 2).await.unwrap();
    // Whoever drops a response that has not ended resets its stream.
    open.pop();
    reaches(idle + 1).await.unwrap();
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    reaches(idle).await.unwrap();
    server.abort();
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let timeout = Duration::from_millis(100);
    let rig = Rig::start(|server| server.header_read_timeout(timeout)).await;
    for start in [&b""[..], b"PRI * HT", b"GET /discover HTTP/1.1\r\nhost:"] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let end = tokio::time::timeout(Duration::from_secs(30), end).await;
        assert!(end.is_ok(), "still open after {start:?}");
    }
    // One that brings a request in time stays. (On a busy machine not each does.)
    let begin = Instant::now();
    let mut client = loop {
        let (mut client, _connection) = h2(rig.address).await;
        match client.send_request(discover()).await {
            Ok(_) => break client,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(30), "{error}"),
        }
    };
    tokio::time::sleep(timeout * 3).await;
    let response = client.send_request(discover()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    rig.stop().await;
}

#[tokio::test]
async fn a_thousand_attempts_at_once_in_one_connection() {
    let rig = Rig::start(|server| server).await;
    let (client, _connection) = h2(rig.address).await;
    let mut open = Vec::new();
    for _ in 0..1000 {
        let (sender, body) = fed();
        let mut client = client.clone();
        let response = client
            .send_request(invoke("/invoke/Echo/echo", body))
            .await
            .unwrap();
        open.push((sender, response));
    }
    for (sender, response) in open {
        feed(&sender, journal("1"));
        drop(sender);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(terminator(&body), Some(END));
    }
    rig.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn sigterm_drains() {
    let rig = Rig::start(|server| {
        server
            .handle_signals(true)
            .drain_deadline(Duration::from_secs(60))
    })
    .await;
    let (mut client, _connection) = h2(rig.address).await;
    // Once it answers, it also listens for signals.
    client.send_request(discover()).await.unwrap();
    let pid = std::process::id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let stopped = tokio::time::timeout(Duration::from_secs(20), rig.serving).await;
    stopped.unwrap().unwrap().unwrap();
}

#[test]
fn the_port_comes_from_the_environment() {
    let address = |port| default_address(port).map(|address| address.to_string());
    assert_eq!(address(None).unwrap(), "0.0.0.0:9080");
    assert_eq!(address(Some("")).unwrap(), "0.0.0.0:9080");
    assert_eq!(address(Some("8123")).unwrap(), "0.0.0.0:8123");
    for bad in ["http", "-1", "65536", "80 "] {
        let error = address(Some(bad)).unwrap_err();
        assert!(error.to_string().contains(bad), "{error}");
    }
}

#[test]
fn which_errors_of_accepting_need_a_pause() {
    let emfile = io::Error::from_raw_os_error(24);
    assert!(!concerns_one_connection(&emfile));
    assert!(concerns_one_connection(
        &io::ErrorKind::ConnectionAborted.into()
    ));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let server = HttpServer::new(Endpoint::builder().build().unwrap()).handle_signals(false);
    let error = server.listen(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot listen on {address}: ")),
        "{error}"
    );
}
