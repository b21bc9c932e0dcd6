//! An HTTP server for an [`Endpoint`]: HTTP/2 with prior knowledge and HTTP/1.1 on one port.
//!
//! Connections flow in, each served by hyper in a task of its own; what a request means is the
//! endpoint's business. This module owns what surrounds that: listening and accepting, the settings of
//! the connections, and going away in an orderly manner ([`HttpServer::serve`]). It speaks cleartext,
//! or TLS with the feature of that name.

mod connection;
mod open;
mod patience;
mod shutdown;
#[cfg(feature = "local")]
pub(crate) use shutdown::signalled;
#[cfg(feature = "tls")]
mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;

use crate::endpoint::drain::{Drain, DrainWatch};
use crate::endpoint::{Endpoint, EndpointFuture};
use crate::error::BoxError;
use connection::{Connections, Settings};
use patience::{Patience, Patient, PatientFuture};
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsError};

/// The port that [`HttpServer::run`] listens on unless `PORT` names another.
const DEFAULT_PORT: u16 = 9080;

/// Serves an [`Endpoint`] over HTTP/2 (prior knowledge) and HTTP/1.1, both on one port.
///
/// # Shutdown
///
/// On SIGTERM, on ctrl-c and when the future given to
/// [`with_graceful_shutdown`](Self::with_graceful_shutdown) ends, the server *drains*: it accepts no
/// more connections, and tells open attempts to suspend as soon as they are blocked, so that the runtime
/// continues them elsewhere; steps (`run`) that execute are finished first. A connection tells its peer to
/// open no more streams once none is open, or half of the time is over. What is still open at the [deadline](Self::drain_deadline), or at a
/// second signal, is cut off. Nothing is lost by that: the runtime tries again.
///
/// # Examples
///
/// ```no_run
/// use durably::{Endpoint, HttpServer};
/// # use durably::{ServiceDefinition, ServiceKind};
/// # fn greeter() -> ServiceDefinition { ServiceDefinition::new(ServiceKind::Service, "Greeter") }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let endpoint = Endpoint::builder().bind(greeter()).build()?;
///     HttpServer::new(endpoint).listen("0.0.0.0:9080").await?;
///     Ok(())
/// }
/// ```
///
/// What can be set, with values for a small machine:
///
/// ```
/// use std::time::Duration;
///
/// use durably::{Endpoint, HttpServer};
///
/// let server = HttpServer::new(Endpoint::builder().build()?)
///     .drain_deadline(Duration::from_secs(5))
///     .handle_signals(true)
///     .max_concurrent_streams(2_000)
///     .stream_window(64 * 1024)
///     .connection_window(256 * 1024 * 1024)
///     .header_read_timeout(Duration::from_secs(100))
///     .keep_alive_interval(Duration::from_secs(60))
///     .keep_alive_timeout(Duration::from_secs(10))
///     .request_idle_timeout(Duration::from_secs(30))
///     .max_connections(256)
///     .max_header_size(64 * 1024)
///     .send_buffer(64 * 1024)
///     .max_early_resets(1_000);
/// # drop(server);
/// # Ok::<(), durably::BuildError>(())
/// ```
#[must_use = "a server serves when `listen`, `serve` or `run` is awaited"]
pub struct HttpServer {
    endpoint: Endpoint,
    settings: Settings,
    signals: bool,
    shutdown: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    #[cfg(feature = "admin")]
    registration: Option<crate::admin::Registration>,
}

impl HttpServer {
    /// A server with the default settings.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            settings: Settings::default(),
            signals: true,
            shutdown: None,
            #[cfg(feature = "admin")]
            registration: None,
        }
    }

    /// Registers itself with a Restate server once it listens, and ensures Kafka clusters and subscriptions there;
    /// with the feature `admin`. The address at which that server reaches this one must be
    /// [advertised](crate::admin::Registration::advertise): without it only clusters and subscriptions are ensured, and a
    /// line of the log says so.
    ///
    /// It waits until that server is up, while it serves. What is registered already stays as it is, so this may happen
    /// at every start. If the server refuses, serving ends with that error, and cuts off what is open. A server that
    /// drains stops registering.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{Endpoint, HttpServer, admin::Registration};
    ///
    /// # async fn example(endpoint: Endpoint) -> std::io::Result<()> {
    /// let registration = Registration::at("http://127.0.0.1:9070").advertise("http://127.0.0.1:9080");
    /// HttpServer::new(endpoint).register(registration).listen("127.0.0.1:9080").await
    /// # }
    /// ```
    #[cfg(feature = "admin")]
    pub fn register(mut self, registration: crate::admin::Registration) -> Self {
        self.registration = Some(registration);
        self
    }

    /// Drains and ends when this future ends, too (see [Shutdown](Self#shutdown)).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Endpoint, HttpServer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let server = HttpServer::new(Endpoint::builder().build()?)
    ///     .with_graceful_shutdown(async { drop(stopped.await) });
    /// let serving = tokio::spawn(server.listen("127.0.0.1:0"));
    /// drop(stop);
    /// serving.await??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_graceful_shutdown(
        mut self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.shutdown = Some(Box::pin(shutdown));
        self
    }

    /// Whether SIGTERM and ctrl-c make the server drain. The default is `true`.
    ///
    /// Once a process has listened for a signal, that signal does not end it by itself any more. Say
    /// `false` where something else in the process deals with signals.
    pub fn handle_signals(mut self, handle: bool) -> Self {
        self.signals = handle;
        self
    }

    /// How long open attempts may take to suspend or end once the server drains.
    ///
    /// The default is 8 seconds, below the 10 that orchestrators commonly wait before they kill.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.settings.drain_deadline = deadline;
        self
    }

    /// How many streams, and so attempts, one HTTP/2 connection may have open. The default is 8192.
    ///
    /// Invocations beyond it wait on the server's side, also for those that only sleep, so be generous.
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.settings.max_concurrent_streams = streams;
        self
    }

    /// How many bytes one HTTP/2 stream may send that the attempt has not taken yet. The default is
    /// 256 KiB.
    ///
    /// This is what bounds the memory for requests in flight; it also bounds the speed of one stream
    /// to this much per round trip.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.settings.stream_window = bytes;
        self
    }

    /// How many bytes one HTTP/2 connection may send that its attempts have not taken yet. The
    /// default is 1 GiB.
    ///
    /// It is large on purpose. The runtime sends one small frame for each journal entry, and the
    /// connection is closed, with all its attempts, when the overhead of small unread frames
    /// is above half of this window. With the defaults that is more than two million of the
    /// smallest entries.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.settings.connection_window = bytes;
        self
    }

    /// How long a new connection may take to bring its first request, and an HTTP/1.1 connection to
    /// bring the head of each further one. The default is 2 minutes.
    ///
    /// HTTP/1.1 clients keep idle connections for up to 90 seconds; with less than that they would
    /// sometimes send into a connection that is being closed.
    pub fn header_read_timeout(mut self, timeout: Duration) -> Self {
        self.settings.header_read_timeout = timeout;
        self
    }

    /// How often HTTP/2 peers are asked whether they are still there, and after how long a silence those of
    /// any other connection (TCP keep-alive); `None`: never. The default is 30 seconds.
    ///
    /// Without it, attempts of a runtime that vanished without a word are kept.
    pub fn keep_alive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.keep_alive_interval = interval.into();
        self
    }

    /// How long an HTTP/2 peer may take to answer that it is still there, before its connection is
    /// closed. The default is 20 seconds.
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.settings.keep_alive_timeout = timeout;
        self
    }

    /// How long a request may pause while nothing can go on without more of it; `None`: for ever. The
    /// default is 2 minutes.
    ///
    /// That is while the recorded journal comes in, and once the attempt has ended and only the end of
    /// its request is missing; then the stream is reset, or over HTTP/1.1 the connection closed. A
    /// large journal over a slow link takes as long as it takes: only a pause counts, and one of less
    /// than this is never too long, one of twice this always. An attempt whose journal is in may wait
    /// for ever.
    pub fn request_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.request_idle_timeout = timeout.into();
        self
    }

    /// How many connections may be open. The default is 8192.
    ///
    /// Further ones wait in the system's queue until one ends. Over HTTP/2 a server needs a handful;
    /// over HTTP/1.1 one for each attempt at a time. At least 1 is allowed.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections.max(1);
        self
    }

    /// How much header data one request may have, in bytes: over HTTP/2 as its SETTINGS count it (32
    /// bytes more for each header), over HTTP/1.1 the whole head, with at most 100 headers. The default
    /// is 256 KiB; less than 8 KiB counts as 8 KiB.
    ///
    /// A virtual object's key stands in a header, and its signature (request identity) in another
    /// repeats it, so longer keys need more. Over HTTP/1.1 this is also what
    /// [`send_buffer`](Self::send_buffer) is over HTTP/2.
    pub fn max_header_size(mut self, bytes: u32) -> Self {
        self.settings.max_header_size = bytes.max(connection::MIN_HEADER_SIZE);
        self
    }

    /// How many bytes of output of each HTTP/2 stream wait for a peer that does not read. The default
    /// is 256 KiB; less than 8 KiB counts as 8 KiB.
    ///
    /// When it is full, the handler is not polled any more until the peer reads. What the handler has
    /// written by then comes on top: the commands of one poll, about 128 KiB unless it issues more
    /// without awaiting anything.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.settings.send_buffer = bytes.max(connection::MIN_SEND_BUFFER);
        self
    }

    /// How many streams of one HTTP/2 connection may have been reset by the peer before anybody has
    /// looked at them; beyond, the connection is closed. The default is 4096.
    ///
    /// It stops peers that open and reset streams as fast as they can. A runtime that gives up many
    /// invocations at once may send hundreds of resets in a row, so do not be too strict.
    pub fn max_early_resets(mut self, streams: usize) -> Self {
        self.settings.max_early_resets = streams;
        self
    }

    /// Speaks HTTPS with these certificates, and no cleartext any more.
    ///
    /// The protocol within, HTTP/2 or HTTP/1.1, is agreed on in the handshake (ALPN).
    ///
    /// # Examples
    ///
    /// See [`TlsConfig`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.settings.tls = Some(tls);
        self
    }

    /// How long a TLS handshake may take. The default is 10 seconds.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use durably::{Endpoint, HttpServer};
    /// let server = HttpServer::new(Endpoint::builder().build()?)
    ///     .tls_handshake_timeout(Duration::from_secs(3));
    /// # drop(server);
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.tls_handshake_timeout = timeout;
        self
    }

    /// Listens on port `PORT` of all IPv4 interfaces, or 9080 if that variable is unset or empty, and
    /// serves until told to stop.
    ///
    /// # Errors
    ///
    /// `PORT` is no port number, or the port cannot be opened.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{Endpoint, HttpServer};
    /// # async fn example(endpoint: Endpoint) -> std::io::Result<()> {
    /// HttpServer::new(endpoint).run().await
    /// # }
    /// ```
    pub async fn run(self) -> io::Result<()> {
        let port = std::env::var_os("PORT");
        let port = port.as_ref().map(|port| port.to_string_lossy());
        let address = default_address(port.as_deref())?;
        self.listen(address).await
    }

    /// Listens on an address and serves until told to stop.
    ///
    /// Of several addresses (a name that resolves to them) the first that can be opened is taken. The
    /// port may still have connections of an earlier process in TIME_WAIT (on Unix).
    ///
    /// # Errors
    ///
    /// The address cannot be opened.
    pub async fn listen(self, address: impl ToSocketAddrs) -> io::Result<()> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
        let listener = TcpListener::bind(&*addresses).await.map_err(|error| {
            // The system's own message does not say which port is in use.
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            let message = format!("cannot listen on {}: {error}", addresses.join(", "));
            io::Error::new(error.kind(), message)
        })?;
        self.serve(listener).await
    }

    /// Serves the connections of a listener until told to stop.
    ///
    /// # Errors
    ///
    /// When a [registration](Self::register) is refused. A connection that fails, or cannot be accepted, is logged and
    /// ends no others.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{Endpoint, HttpServer};
    /// # async fn example(endpoint: Endpoint) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// println!("listening on {}", listener.local_addr()?);
    /// HttpServer::new(endpoint).serve(listener).await
    /// # }
    /// ```
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let Self {
            endpoint,
            settings,
            signals,
            shutdown,
            #[cfg(feature = "admin")]
            registration,
        } = self;
        let drain = Drain::default();
        let patience = Patience::new(settings.request_idle_timeout);
        let service = EndpointService {
            endpoint,
            drain: drain.watch(),
            patience: patience.clone(),
        };
        let triggers = shutdown::Triggers { signals, shutdown };
        #[cfg(feature = "admin")]
        let mut draining = drain.watch();
        let refused = async {
            #[cfg(feature = "admin")]
            if let Some(registration) = registration {
                tokio::select! {
                    biased;
                    // A server that goes away sends for no more work, and what is open may end.
                    () = draining.drained() => {}
                    outcome = registration.ensure() => match outcome {
                        Ok(registered) => report(&registered),
                        Err(error) => return io::Error::other(error),
                    },
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = serve(listener, service, drain, settings, triggers) => Ok(()),
            () = patience.tick() => Ok(()),
            error = refused => Err(error),
        }
    }
}

#[cfg(feature = "admin")]
fn report(registered: &crate::admin::Registered) {
    if let Some(deployment) = &registered.deployment {
        let (id, change) = (&deployment.value.id, deployment.change);
        tracing::info!(deployment.id = id, ?change, "registered");
    } else {
        tracing::info!(
            "this endpoint was not registered, since no address of it is advertised: only Kafka clusters and \
             subscriptions were ensured"
        );
    }
    for subscription in &registered.subscriptions {
        let (found, change) = (&subscription.value, subscription.change);
        tracing::info!(
            subscription.id = found.id,
            source = found.source,
            ?change,
            "subscribed"
        );
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("endpoint", &self.endpoint)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The address for a value of `PORT`.
fn default_address(port: Option<&str>) -> io::Result<SocketAddr> {
    let port = match port {
        None | Some("") => DEFAULT_PORT,
        Some(port) => port.parse().map_err(|_| {
            let message = format!("PORT is `{port}`, which is no port number (0 to 65535)");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?,
    };
    Ok((Ipv4Addr::UNSPECIFIED, port).into())
}

/// The endpoint as hyper calls it, with the server's drain signal for the attempts.
#[derive(Clone)]
struct EndpointService {
    endpoint: Endpoint,
    drain: DrainWatch,
    patience: Patience,
}

impl Service<Request<Incoming>> for EndpointService {
    type Response = Response<Patient<Incoming>>;
    type Error = std::convert::Infallible;
    type Future = PatientFuture<Incoming>;

    fn call(&self, request: Request<Incoming>) -> PatientFuture<Incoming> {
        let drain = Some(self.drain.clone());
        let expects = request.headers().contains_key(http::header::EXPECT);
        let answer = EndpointFuture::new(self.endpoint.clone(), request, drain);
        PatientFuture::new(answer, self.patience.clone(), expects)
    }
}

/// Serves something other than an endpoint with what an [`HttpServer`] surrounds one with, until `stop` ends.
/// What is open then has a moment to end.
#[cfg(feature = "local")]
pub(crate) async fn serve_other<S, B>(
    listener: TcpListener,
    service: S,
    stop: impl Future<Output = ()> + Send + 'static,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let settings = Settings {
        drain_deadline: Duration::from_secs(2),
        // Its clients send few and large frames.
        stream_window: 1024 * 1024,
        connection_window: 64 * 1024 * 1024,
        max_header_size: 512 * 1024,
        ..Settings::default()
    };
    let triggers = shutdown::Triggers {
        signals: false,
        shutdown: Some(Box::pin(stop)),
    };
    serve(listener, service, Drain::default(), settings, triggers).await;
}

/// Accepts until told to stop, then drains.
async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    drain: Drain,
    settings: Settings,
    mut triggers: shutdown::Triggers,
) where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match listener.local_addr() {
        Ok(address) => tracing::info!(%address, "listening"),
        Err(_) => tracing::info!("listening"),
    }
    let deadline = settings.drain_deadline;
    let most = settings.max_connections;
    let connections = Connections::new(settings);
    let mut tasks = JoinSet::new();
    {
        let mut stop = std::pin::pin!(triggers.first());
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                stream = accept(&listener), if tasks.len() < most => {
                    tasks.spawn(connections.serve(stream, service.clone(), drain.watch()));
                    if tasks.len() == most {
                        tracing::warn!(
                            connections = most,
                            "as many connections are open as may be: further ones wait (see \
                             `HttpServer::max_connections`)"
                        );
                    }
                }
            }
        }
    }
    drop(listener);
    tracing::info!(connections = tasks.len(), "draining");
    drain.start();
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = tokio::time::sleep(deadline) => {
            tracing::warn!("the drain deadline has passed: cutting off what is still open");
        }
        () = triggers.second() => tracing::warn!("a second signal: cutting off what is still open"),
    }
    // Dropping a connection ends its streams, and with them their attempts.
    tasks.shutdown().await;
    tracing::info!("stopped");
}

/// The next connection. Errors of accepting never end a server: they belong to one connection, or
/// pass once files are closed or memory is free.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut pause = Duration::from_millis(20);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept connections at present: trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
