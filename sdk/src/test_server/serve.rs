//! Handlers in the test's own process: an endpoint served on a free port and registered in one step.
//!
//! In: an endpoint. Out: its handlers, callable through the server's ingress for as long as the
//! [`Served`] value lives. For handlers in a process of their own, which can be killed, see
//! `process.rs`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::admin::Deployment;
use super::error::TestServerError;
use super::port::free_port;
use super::server::RestateServer;
use crate::endpoint::Endpoint;
use crate::server::HttpServer;

/// How often another port is tried when somebody was faster to take one.
const PORT_ATTEMPTS: usize = 8;

/// How long open attempts may take to suspend or end in a drain. No orchestrator waits here, and on a
/// machine that is busy with other tests everything takes a while.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

impl RestateServer {
    /// Serves an endpoint from this process, on a free loopback port, and registers it.
    ///
    /// The handlers run in the tokio runtime of the caller, beside the test. They are served until
    /// the returned value is dropped.
    ///
    /// # Errors
    ///
    /// When no port can be opened, or the server refuses what the endpoint offers.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{Endpoint, prelude::*, test_server::RestateServer};
    ///
    /// struct Greeter;
    ///
    /// #[durably::service]
    /// impl Greeter {
    ///     #[handler]
    ///     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
    ///         Ok(format!("Hello, {name}!"))
    ///     }
    /// }
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = RestateServer::builder().start().await?;
    /// let _served = server.serve(Endpoint::builder().bind(Greeter).build()?).await?;
    /// let greeting: String = server.ingress().call("Greeter", "greet", "Ada").await?;
    /// assert_eq!(greeting, "Hello, Ada!");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve(&self, endpoint: Endpoint) -> Result<Served, TestServerError> {
        let (address, running) = start(&endpoint).await?;
        let deployment = self.register(&uri(address)).await?;
        Ok(Served::new(endpoint, address, deployment, running))
    }

    /// [`serve`](Self::serve) over HTTP/1.1: in each attempt the server sends all that it knows, then
    /// reads all that the handler did, as it does with functions behind a gateway.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{Endpoint, test_server::{RestateServer, TestServerError}};
    /// # async fn example(server: RestateServer, endpoint: Endpoint) -> Result<(), TestServerError> {
    /// let _served = server.serve_http1(endpoint).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_http1(&self, endpoint: Endpoint) -> Result<Served, TestServerError> {
        let (address, running) = start(&endpoint).await?;
        let deployment = self.register_http1(&uri(address)).await?;
        Ok(Served::new(endpoint, address, deployment, running))
    }
}

/// An endpoint that is served from this process; made by [`RestateServer::serve`].
///
/// Dropping it stops the serving at once, with the attempts that are open.
///
/// # Examples
///
/// A redeployment in the middle of an invocation:
///
/// ```no_run
/// # use durably::{Endpoint, test_server::{RestateServer, TestServerError}};
/// # async fn example(
/// #     server: RestateServer,
/// #     endpoint: Endpoint,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let mut served = server.serve(endpoint).await?;
/// let sent = server.ingress().send("Reminder", "remind", &"Ada").await?;
/// served.drain().await; // blocked attempts suspend …
/// served.restart().await?; // … and go on here
/// server.ingress().attach::<()>(&sent.invocation_id).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the endpoint is served until this value is dropped"]
pub struct Served {
    endpoint: Endpoint,
    address: SocketAddr,
    uri: String,
    deployment: Deployment,
    running: Option<Running>,
}

/// The task that serves; dropping it stops the serving.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn uri(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Serves on a free port.
async fn start(endpoint: &Endpoint) -> Result<(SocketAddr, Running), TestServerError> {
    let failed = || TestServerError::io("open a free loopback port for the endpoint");
    let mut attempt = 1;
    let listener = loop {
        // Not an ephemeral port: `restart` wants to find it free.
        let port = free_port().map_err(failed())?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => break listener,
            Err(error) if attempt == PORT_ATTEMPTS => return Err(failed()(error)),
            Err(_) => attempt += 1,
        }
    };
    let address = listener.local_addr().map_err(failed())?;
    Ok((address, run(endpoint, listener)))
}

fn run(endpoint: &Endpoint, listener: TcpListener) -> Running {
    let (stop, stopped) = oneshot::channel();
    let server = HttpServer::new(endpoint.clone())
        .handle_signals(false)
        .drain_deadline(DRAIN_DEADLINE)
        .with_graceful_shutdown(async {
            // Only `drain` says it; a dropped sender means that the task is aborted anyway.
            let _ = stopped.await;
        });
    let task = tokio::spawn(async {
        // Serving has no errors of its own: those of connections are logged.
        let _ = server.serve(listener).await;
    });
    Running {
        stop: Some(stop),
        task,
    }
}

impl Served {
    fn new(
        endpoint: Endpoint,
        address: SocketAddr,
        deployment: Deployment,
        running: Running,
    ) -> Self {
        Self {
            endpoint,
            address,
            uri: uri(address),
            deployment,
            running: Some(running),
        }
    }

    /// The address at which the server calls the handlers.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(served: durably::test_server::Served) {
    /// println!("served at {}", served.uri());
    /// # }
    /// ```
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What the server registered.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(served: durably::test_server::Served) {
    /// assert_eq!(served.deployment().services, ["Greeter"]);
    /// # }
    /// ```
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Stops serving at once, as a crash would: open attempts are cut off, and the server retries
    /// them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(
    /// #     mut served: durably::test_server::Served,
    /// # ) -> Result<(), durably::test_server::TestServerError> {
    /// served.stop().await;
    /// served.restart().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.task.abort();
            let _ = (&mut running.task).await;
        }
    }

    /// Stops serving in an orderly manner, as a process does on SIGTERM: open attempts suspend as
    /// soon as they are blocked (see [`HttpServer`](crate::HttpServer#shutdown)). What is still open after
    /// a minute is cut off.
    ///
    /// # Examples
    ///
    /// See [`Served`].
    pub async fn drain(&mut self) {
        if let Some(mut running) = self.running.take() {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(());
            }
            let _ = (&mut running.task).await;
        }
    }

    /// Serves the endpoint again at the same address; stops before if it is still served.
    ///
    /// # Errors
    ///
    /// When somebody has taken the port meanwhile.
    ///
    /// # Examples
    ///
    /// See [`Served`].
    pub async fn restart(&mut self) -> Result<(), TestServerError> {
        self.stop().await;
        let listener = TcpListener::bind(self.address)
            .await
            .map_err(TestServerError::io(format!(
                "serve again at {}",
                self.address
            )))?;
        self.running = Some(run(&self.endpoint, listener));
        Ok(())
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("uri", &self.uri)
            .field("deployment", &self.deployment)
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
