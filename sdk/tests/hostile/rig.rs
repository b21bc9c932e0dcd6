//! A server on loopback with services that count what they do, and clients for it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use durably::prelude::*;
use durably::{Raw, Target};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wire;

pub(crate) use crate::wire::V7;

/// How long a test may take; on a busy machine it is far from that.
const LIMIT: Duration = Duration::from_secs(300);

/// How much a command of `Keyed/spam` holds.
pub(crate) const SPAM: usize = 10 * 1024;

/// Runs a test, with a deadline.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let test = async { tokio::time::timeout(LIMIT, test).await };
    assert!(runtime.block_on(test).is_ok(), "not within {LIMIT:?}");
}

/// Waits until this is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What handlers have done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) started: AtomicUsize,
    pub(crate) dropped: AtomicUsize,
    /// Commands of `Keyed/spam`.
    pub(crate) issued: AtomicUsize,
}

impl Counts {
    /// Attempts of `hold`, `sleep` and `spam` that are open.
    pub(crate) fn open(&self) -> usize {
        self.started.load(Ordering::SeqCst) - self.dropped.load(Ordering::SeqCst)
    }

    fn begin(self: &Arc<Self>) -> Guard {
        self.started.fetch_add(1, Ordering::SeqCst);
        Guard(Arc::clone(self))
    }
}

/// An open attempt.
struct Guard(Arc<Counts>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

struct Plain(Arc<Counts>);

#[durably::service]
impl Plain {
    #[handler]
    async fn echo(&self, _ctx: &Context, input: Raw) -> HandlerResult<Raw> {
        Ok(input)
    }

    #[handler]
    async fn sleep(&self, ctx: &Context) -> HandlerResult<()> {
        let _guard = self.0.begin();
        Ok(ctx.sleep(Duration::from_secs(86_400)).await?)
    }

    /// Waits for what never comes, outside of any journal.
    #[handler]
    async fn hold(&self, _ctx: &Context) -> HandlerResult<()> {
        let _guard = self.0.begin();
        std::future::pending().await
    }

    /// A bit of everything that a journal can hold.
    #[handler]
    async fn steps(&self, ctx: &Context) -> HandlerResult<String> {
        let _guard = self.0.begin();
        let target = Target::service("Plain", "echo");
        let called: String = ctx.request(target, "in").call().await?;
        ctx.sleep(Duration::ZERO).await?;
        let ran = ctx
            .run("run", async || Ok::<_, io::Error>("ran".to_owned()))
            .await?;
        let awakeable = ctx.awakeable::<String>().await?;
        let signal = ctx.signal::<String>("go").await?;
        Ok(format!("{called} {ran} {awakeable} {signal}"))
    }

    /// What was counted: started, dropped, issued.
    #[handler]
    async fn counts(&self, _ctx: &Context) -> HandlerResult<(usize, usize, usize)> {
        let Counts {
            started,
            dropped,
            issued,
        } = &*self.0;
        let [started, dropped, issued] =
            [started, dropped, issued].map(|count| count.load(Ordering::SeqCst));
        Ok((started, dropped, issued))
    }
}

struct Keyed(Arc<Counts>);

#[durably::object]
impl Keyed {
    /// Issues so many commands of [`SPAM`] bytes.
    #[handler]
    async fn spam(&self, ctx: &ObjectContext, commands: usize) -> HandlerResult<usize> {
        let _guard = self.0.begin();
        let value = "x".repeat(SPAM);
        for n in 0..commands {
            ctx.set("value", &value);
            self.0.issued.fetch_add(1, Ordering::SeqCst);
            // An answer that is known at once, so that the handler is polled again at once.
            ctx.get::<String>(&format!("none {n}")).await?;
        }
        Ok(commands)
    }
}

pub(crate) fn endpoint(counts: &Arc<Counts>) -> durably::EndpointBuilder {
    Endpoint::builder()
        .bind(Plain(Arc::clone(counts)))
        .bind(Keyed(Arc::clone(counts)))
}

/// A server in this process; it ends with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    serving: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|server| server).await
    }

    pub(crate) async fn with(configure: impl FnOnce(HttpServer) -> HttpServer) -> Self {
        Self::serving(|endpoint| endpoint, configure).await
    }

    pub(crate) async fn serving(
        build: impl FnOnce(durably::EndpointBuilder) -> durably::EndpointBuilder,
        configure: impl FnOnce(HttpServer) -> HttpServer,
    ) -> Self {
        let counts = Arc::default();
        let endpoint = build(endpoint(&counts)).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = configure(HttpServer::new(endpoint).handle_signals(false));
        Self {
            address,
            counts,
            serving: tokio::spawn(server.serve(listener)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The server answers somebody else.
pub(crate) async fn assert_serves(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    let body = client
        .exchange("/invoke/Plain/echo", wire::journal("hi"))
        .await;
    assert_eq!(wire::output(&body), "hi");
}

/// An HTTP/2 client that does what it should.
pub(crate) struct Client {
    pub(crate) sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &h2::client::Builder::new()).await
    }

    pub(crate) async fn connect_with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = builder.handshake(stream).await.unwrap();
        Self {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request whose body the test writes.
    pub(crate) async fn open(
        &mut self,
        request: Request<()>,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        std::future::poll_fn(|cx| self.sender.poll_ready(cx))
            .await
            .unwrap();
        self.sender.send_request(request, false).unwrap()
    }

    /// Sends an invocation whose request stays open.
    pub(crate) async fn invoke(
        &mut self,
        path: &str,
        body: impl Into<Bytes>,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let (response, mut request) = self.open(invocation(path)).await;
        request.send_data(body.into(), false).unwrap();
        (response, request)
    }

    /// An invocation whose request ends; the body of the answer, which is 200.
    pub(crate) async fn exchange(&mut self, path: &str, body: impl Into<Bytes>) -> Vec<u8> {
        let (response, mut request) = self.open(invocation(path)).await;
        request.send_data(body.into(), true).unwrap();
        let (status, body) = read(response.await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        body
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

pub(crate) fn invocation(path: &str) -> Request<()> {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", V7)
        .body(())
        .unwrap()
}

/// The status and the whole body.
pub(crate) async fn read(response: Response<RecvStream>) -> (StatusCode, Vec<u8>) {
    let status = response.status();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(chunk) = next(&mut stream).await {
        body.extend_from_slice(&chunk);
    }
    (status, body)
}

/// The next piece of a body.
pub(crate) async fn next(stream: &mut RecvStream) -> Option<Bytes> {
    let chunk = stream.data().await?.unwrap();
    stream.flow_control().release_capacity(chunk.len()).unwrap();
    Some(chunk)
}

/// Nothing more comes but the end, which hyper writes as an empty DATA frame.
pub(crate) async fn assert_ends(stream: &mut RecvStream) {
    while let Some(chunk) = next(stream).await {
        assert!(chunk.is_empty(), "{chunk:?}");
    }
}

/// The body up to what ends the attempt, while the request may still be open.
pub(crate) async fn read_ended(stream: &mut RecvStream) -> Vec<u8> {
    let mut body = Vec::new();
    while !wire::has_ended(&body) {
        let chunk = next(stream).await;
        body.extend_from_slice(&chunk.expect("the body ends with what ends the attempt"));
    }
    body
}

/// A connection on which a test writes what it likes.
pub(crate) struct Wild {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wild {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::from(stream)
    }

    pub(crate) fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// More bytes into the buffer; `false` at the end.
    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0)
    }

    /// Everything up to the end, however it comes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// An answer over HTTP/1.1: status, head and the body as far as `enough` wants it.
    pub(crate) async fn answer_until(
        &mut self,
        enough: impl Fn(&[u8]) -> bool,
    ) -> (u16, String, Vec<u8>) {
        let end = loop {
            let end = self.buffer.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            let got = String::from_utf8_lossy(&self.buffer).into_owned();
            assert!(self.more().await, "the connection ended within `{got}`");
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = Vec::new();
        if let Some(length) = length {
            let length = length.parse().unwrap();
            while self.buffer.len() < length {
                assert!(self.more().await, "{head}");
            }
            body.extend(self.buffer.drain(..length));
        } else if head.contains("transfer-encoding: chunked") {
            while !enough(&body) {
                let Some(chunk) = self.chunk().await else {
                    break;
                };
                body.extend(chunk);
            }
        }
        (status, head, body)
    }

    pub(crate) async fn answer(&mut self) -> (u16, String, Vec<u8>) {
        self.answer_until(|_| false).await
    }

    /// What is left of a chunked body.
    pub(crate) async fn rest_of_body(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(chunk) = self.chunk().await {
            rest.extend(chunk);
        }
        rest
    }

    /// A chunk of a chunked body; `None` for the last.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            match self.buffer.windows(2).position(|part| part == b"\r\n") {
                Some(line) => break line,
                None => assert!(self.more().await, "the connection ended within a body"),
            }
        };
        let length = std::str::from_utf8(&self.buffer[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        while self.buffer.len() < line + 2 + length + 2 {
            assert!(self.more().await, "the connection ended within a chunk");
        }
        let chunk: Vec<u8> = self.buffer.drain(..line + 2 + length + 2).collect();
        (length > 0).then(|| chunk[line + 2..line + 2 + length].to_vec())
    }
}

/// An HTTP/1.1 request for an invocation, without the empty line that ends the head.
pub(crate) fn head(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {V7}\r\n")
}

/// The same with a body.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{}content-length: {}\r\n\r\n", head(path), body.len());
    [head.as_bytes(), body].concat()
}
