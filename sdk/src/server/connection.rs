//! One connection: its settings, its life, its orderly end.
//!
//! # Windows and small frames
//!
//! The runtime sends one DATA frame for each journal entry, often of a dozen bytes. HTTP/2's
//! flow control counts payload bytes only, so h2 keeps a budget for the overhead of frames below 256 bytes
//! that nobody has read yet: half of the *connection's* window; beyond it the connection is closed
//! with ENHANCE_YOUR_CALM, and every attempt on it fails. With a window of 1 MiB a dozen journals of
//! a few thousand entries, replayed at once, do that. Hence a very large connection window, and
//! memory bounded by the windows of the *streams*: the budget for 1 GiB is that of some hundred
//! streams whose windows of 256 KiB are full of the smallest entries.
//!
//! # Going away
//!
//! The runtime (1.7) does not take GOAWAY as it is meant: as soon as it wants to open another stream on
//! a connection that goes away, it drops the connection with all attempts on it, and tries them again.
//! So a connection of a server that drains goes away in a moment in which no stream is open, which comes
//! soon when all that was blocked has suspended, and until then it serves what comes. Under a load that
//! leaves no such moment it goes away all the same when half of the time for draining is over, and takes
//! only what executes just then with it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::endpoint::drain::DrainWatch;
use crate::error::BoxError;

use super::open::{OpenRequests, Watched};
#[cfg(feature = "tls")]
use super::tls::{Handshakes, TlsConfig};

/// The largest window that HTTP/2 knows.
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// hyper panics below this for what HTTP/1.1 reads into.
pub(super) const MIN_HEADER_SIZE: u32 = 8 * 1024;

/// Less than this makes many small frames of everything.
pub(super) const MIN_SEND_BUFFER: usize = 8 * 1024;

/// How many streams of a connection may be reset by us, in its whole life, because of frames that
/// came for streams already closed. They come whenever a request is refused while it is still being
/// sent, and connections live long.
const MAX_LATE_FRAMES: usize = 64 * 1024;

/// What can be set on a server; the setters of `HttpServer` document each.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) drain_deadline: Duration,
    pub(super) max_concurrent_streams: u32,
    pub(super) stream_window: u32,
    pub(super) connection_window: u32,
    pub(super) header_read_timeout: Duration,
    pub(super) keep_alive_interval: Option<Duration>,
    pub(super) keep_alive_timeout: Duration,
    pub(super) request_idle_timeout: Option<Duration>,
    pub(super) max_connections: usize,
    pub(super) max_header_size: u32,
    pub(super) send_buffer: usize,
    pub(super) max_early_resets: usize,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConfig>,
    #[cfg(feature = "tls")]
    pub(super) tls_handshake_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drain_deadline: Duration::from_secs(8),
            max_concurrent_streams: 8192,
            stream_window: 256 * 1024,
            connection_window: 1024 * 1024 * 1024,
            header_read_timeout: Duration::from_secs(120),
            keep_alive_interval: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(20),
            request_idle_timeout: Some(Duration::from_secs(120)),
            max_connections: 8192,
            max_header_size: 256 * 1024,
            send_buffer: 256 * 1024,
            max_early_resets: 4096,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            tls_handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves connections, all with the same settings.
pub(super) struct Connections {
    talk: Talk,
    keep_alive: Option<Duration>,
    #[cfg(feature = "tls")]
    handshakes: Option<Handshakes>,
}

impl Connections {
    pub(super) fn new(settings: Settings) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_read_timeout)
            // The one size of both buffers: what a head may have, and what may wait to be read.
            .max_buf_size(settings.max_header_size as usize);
        http.http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(settings.stream_window.min(MAX_WINDOW))
            .initial_connection_window_size(settings.connection_window.min(MAX_WINDOW))
            .max_concurrent_streams(settings.max_concurrent_streams)
            .max_header_list_size(settings.max_header_size)
            .max_send_buf_size(settings.send_buffer)
            .max_pending_accept_reset_streams(settings.max_early_resets)
            .max_local_error_reset_streams(MAX_LATE_FRAMES)
            .keep_alive_interval(settings.keep_alive_interval)
            .keep_alive_timeout(settings.keep_alive_timeout);
        Self {
            talk: Talk {
                http: Arc::new(http),
                header_read_timeout: settings.header_read_timeout,
                quiet_limit: settings.drain_deadline / 2,
            },
            keep_alive: settings.keep_alive_interval,
            #[cfg(feature = "tls")]
            handshakes: settings
                .tls
                .map(|tls| Handshakes::new(&tls, settings.tls_handshake_timeout)),
        }
    }

    /// Serves one connection until it ends; when the server drains, it is told to end.
    pub(super) fn serve<S, B>(
        &self,
        stream: TcpStream,
        service: S,
        drain: DrainWatch,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (talk, keep_alive) = (self.talk.clone(), self.keep_alive);
        #[cfg(feature = "tls")]
        let handshakes = self.handshakes.clone();
        async move {
            // Without this, small frames wait for acknowledgements: some 40 ms each.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            // HTTP/2 peers are asked by PING. Who waits over HTTP/1.1 for weeks may be gone without a word.
            if let Some(idle) = keep_alive
                && let Err(error) =
                    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))
            {
                tracing::debug!(%error, "cannot set SO_KEEPALIVE");
            }
            #[cfg(feature = "tls")]
            if let Some(handshakes) = handshakes {
                if let Some(stream) = handshakes.shake(stream, drain.clone()).await {
                    // Boxed, so that connections without TLS are not larger for it.
                    Box::pin(talk.run(stream, service, drain)).await;
                }
                return;
            }
            talk.run(stream, service, drain).await;
        }
    }
}

/// What is said on a connection, once its bytes flow.
#[derive(Clone)]
struct Talk {
    http: Arc<auto::Builder<TokioExecutor>>,
    header_read_timeout: Duration,
    /// How long a connection of a server that drains waits for a moment without open streams.
    quiet_limit: Duration,
}

impl Talk {
    /// Serves the requests of a connection until it ends.
    async fn run<I, S, B>(self, io: I, service: S, mut drain: DrainWatch)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let requests = Arc::new(OpenRequests::default());
        let service = Watched {
            service,
            requests: Arc::clone(&requests),
        };
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(io), service));
        // A peer that never says which protocol it speaks is nobody else's to time out.
        let mut unused = Some(Box::pin(tokio::time::sleep(self.header_read_timeout)));
        let mut waiting = None;
        let mut closing = false;
        let result = poll_fn(|cx| {
            loop {
                // Before anything is decided: what has come already counts.
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                if closing {
                    return Poll::Pending;
                }
                if requests.is_used() {
                    unused = None;
                } else if let Some(sleep) = &mut unused
                    && sleep.as_mut().poll(cx).is_ready()
                {
                    closing = true;
                }
                if drain.poll(cx) {
                    let waiting = waiting
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.quiet_limit)));
                    // A connection of HTTP/1 closes after the request that is open.
                    closing |= !requests.is_http2()
                        || requests.poll_none(cx)
                        || waiting.as_mut().poll(cx).is_ready();
                }
                if !closing {
                    return Poll::Pending;
                }
                connection.as_mut().graceful_shutdown();
            }
        })
        .await;
        if let Err(error) = result {
            tracing::debug!(error = %Chain(&*error), "a connection ended with an error");
        }
    }
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a (dyn std::error::Error + Send + Sync));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
