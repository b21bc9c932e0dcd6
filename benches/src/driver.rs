//! Plays the runtime: one HTTP/2 connection over loopback, on which conversations are held and every
//! answer is checked.
//!
//! The windows are those of the runtime's client (hyper's defaults).

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use h2::{
    RecvStream, SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::{
    Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderName},
};
use tokio::net::TcpStream;

use crate::{
    conversation::{Attempt, Conversation, Due},
    script::Script,
    wire::{self, AWAITING_ON, Message},
};

const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;

const INVOCATION_ID: HeaderName = HeaderName::from_static("x-restate-invocation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How long an endpoint may be silent. A fan-out of thousands under valgrind takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// A connection to an endpoint.
#[derive(Clone)]
pub struct Driver {
    requests: SendRequest<Bytes>,
    authority: String,
    /// How many invocations there were on this connection.
    invocations: Arc<AtomicU64>,
}

impl Driver {
    /// Connects to a port of this machine. To be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Nobody listens there, or it does not speak HTTP/2.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false);
        let (requests, connection) = builder.handshake(stream).await?;
        // Its errors are those of the requests.
        tokio::spawn(connection);
        Ok(Self {
            requests,
            authority: format!("127.0.0.1:{port}"),
            invocations: Arc::default(),
        })
    }

    /// Lays down at the echo what it must answer in this conversation.
    ///
    /// # Errors
    ///
    /// The endpoint is not the echo.
    pub async fn teach(&self, conversation: &Conversation) -> anyhow::Result<()> {
        for (at, attempt) in conversation.attempts.iter().enumerate() {
            let script = Script::of(attempt, conversation.version).encode();
            let (response, mut send) = self
                .request(Method::PUT, &echo_path(attempt, at), [])
                .await?;
            send.send_data(script, true)?;
            let status = response.await?.status();
            ensure!(
                status == StatusCode::OK,
                "the echo learns nothing: {status}"
            );
        }
        Ok(())
    }

    /// Holds a conversation `times` times, so many of them at once.
    ///
    /// # Errors
    ///
    /// The first wrong answer, with what was expected.
    pub async fn hold(
        &self,
        talk: &Conversation,
        to: Endpoint,
        times: u32,
        at_once: usize,
    ) -> anyhow::Result<()> {
        stream::iter(0..times)
            .map(|_| self.hold_once(talk, to))
            .buffer_unordered(at_once.max(1))
            .try_collect()
            .await
    }

    async fn hold_once(&self, talk: &Conversation, to: Endpoint) -> anyhow::Result<()> {
        for (at, attempt) in talk.attempts.iter().enumerate() {
            let open = self.open(talk, at, to).await?;
            open.play(attempt).await?;
        }
        Ok(())
    }

    /// Begins an attempt of a conversation.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub async fn open(&self, talk: &Conversation, at: usize, to: Endpoint) -> anyhow::Result<Open> {
        let attempt = talk
            .attempts
            .get(at)
            .context("a conversation has not so many attempts")?;
        let path = match to {
            Endpoint::Sdk => format!("/invoke/{}", attempt.path),
            Endpoint::Echo => echo_path(attempt, at),
        };
        let content_type = format!("application/vnd.restate.invocation.v{}", talk.version);
        let number = self.invocations.fetch_add(1, Ordering::Relaxed);
        // What the runtime says with each request; the last two differ each time.
        let headers = [
            (CONTENT_TYPE, content_type.clone()),
            (ACCEPT, content_type.clone()),
            (INVOCATION_ID, format!("inv_1{number:033}")),
            (TRACEPARENT, format!("00-{number:032x}-{number:016x}-01")),
        ];
        let (response, send) = self.request(Method::POST, &path, headers).await?;
        Ok(Open {
            version: talk.version,
            content_type,
            path,
            send,
            response: Some(response),
            body: None,
            received: BytesMut::new(),
        })
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: impl IntoIterator<Item = (HeaderName, String)>,
    ) -> anyhow::Result<(ResponseFuture, SendStream<Bytes>)> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut requests = self.requests.clone().ready().await?;
        Ok(requests.send_request(request.body(())?, false)?)
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Whom the driver speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An SDK: the paths are those of handlers.
    Sdk,
    /// The echo: the paths are those of scripts.
    Echo,
}

fn echo_path(attempt: &Attempt, at: usize) -> String {
    match at {
        0 => format!("/invoke/{}", attempt.path),
        _ => format!("/invoke/{}{at}", attempt.path),
    }
}

/// An attempt that has begun.
pub struct Open {
    version: u32,
    content_type: String,
    path: String,
    send: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    received: BytesMut,
}

impl Open {
    /// Plays all steps, and ends the attempt.
    ///
    /// # Errors
    ///
    /// A wrong answer.
    pub async fn play(mut self, attempt: &Attempt) -> anyhow::Result<()> {
        let mut closed = false;
        for step in &attempt.steps {
            self.send(&step.send, step.close)?;
            closed |= step.close;
            self.expect(&step.due).await?;
        }
        self.end(closed).await
    }

    /// Awaits the head of the response.
    ///
    /// # Errors
    ///
    /// The response is none of this protocol.
    pub async fn begin(&mut self) -> anyhow::Result<()> {
        let Some(response) = self.response.take() else {
            return Ok(());
        };
        let response = response.await?;
        let content_type = response.headers().get(CONTENT_TYPE);
        ensure!(
            response.status() == StatusCode::OK
                && content_type.is_some_and(|ty| *ty == self.content_type),
            "the response is {response:?}"
        );
        self.body = Some(response.into_body());
        Ok(())
    }

    /// Sends DATA frames.
    ///
    /// # Errors
    ///
    /// The endpoint has given up on the request.
    pub fn send(&mut self, frames: &[Bytes], close: bool) -> anyhow::Result<()> {
        for (at, frame) in frames.iter().enumerate() {
            let last = close && at + 1 == frames.len();
            self.send.send_data(frame.clone(), last)?;
        }
        if close && frames.is_empty() {
            self.send.send_data(Bytes::new(), true)?;
        }
        Ok(())
    }

    /// Awaits messages.
    ///
    /// # Errors
    ///
    /// Another message came, or none.
    pub async fn expect(&mut self, due: &[Due]) -> anyhow::Result<()> {
        for (at, due) in due.iter().enumerate() {
            let message = self.message().await?;
            let right = match (due, &message) {
                (Due::Exactly(due), Some(message)) => due == message,
                (Due::Suspension(completion), Some(message)) => {
                    wire::awaited(message) == Some((vec![*completion], vec![1]))
                }
                (_, None) => false,
            };
            if !right {
                let mut got = format!("{message:?}");
                got.truncate(500);
                let mut wanted = format!("{due:?}");
                wanted.truncate(500);
                bail!("{}: message {at} is {got}, not {wanted}", self.path);
            }
        }
        Ok(())
    }

    /// Ends the request, if it has not ended, and awaits the end of the response.
    ///
    /// # Errors
    ///
    /// Something more came.
    pub async fn end(mut self, closed: bool) -> anyhow::Result<()> {
        if !closed {
            // An endpoint may have ended its response, and with it the stream, after End.
            let _ = self.send.send_data(Bytes::new(), true);
        }
        let more = self.message().await?;
        ensure!(
            more.is_none() && self.received.is_empty(),
            "{}: after the end came {more:?}",
            self.path
        );
        Ok(())
    }

    /// The next message but reports of what is awaited, which may come anywhere.
    async fn message(&mut self) -> anyhow::Result<Option<Message>> {
        loop {
            match Message::take_from(&mut self.received) {
                Some(message) if message.ty == AWAITING_ON && self.version >= 7 => {}
                Some(message) => return Ok(Some(message)),
                None => match self.chunk().await? {
                    Some(chunk) => self.received.extend_from_slice(&chunk),
                    None => return Ok(None),
                },
            }
        }
    }

    async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        let chunk = async {
            self.begin().await?;
            let body = self.body.as_mut().context("there is no body")?;
            match body.data().await {
                Some(Ok(chunk)) => {
                    body.flow_control().release_capacity(chunk.len())?;
                    anyhow::Ok(Some(chunk))
                }
                Some(Err(error)) if error.reason() == Some(h2::Reason::NO_ERROR) => Ok(None),
                Some(Err(error)) => Err(error.into()),
                None => Ok(None),
            }
        };
        match tokio::time::timeout(PATIENCE, chunk).await {
            Ok(chunk) => chunk.with_context(|| format!("{} failed", self.path)),
            Err(_) => bail!("{}: no answer for {PATIENCE:?}", self.path),
        }
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
