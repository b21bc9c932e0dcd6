//! [`ServerDemo`]: a [`Demo`] on a real Restate server.

use std::ops::Deref;
use std::sync::Arc;

use durably::test_server::{RestateServer, RestateServerBuilder};
use durably::{Endpoint, HttpServer};
use tokio::net::TcpListener;

use crate::demo::{Demo, Place};
use crate::{log, or_say_why_it_takes_long};

/// How much of the server's log a failure shows.
const LOG_LINES: usize = 20;

/// A Restate server on loopback, handlers for it to call, and a narrator.
///
/// Everything ends with this value.
///
/// # Examples
///
/// See [`run_with_server`](crate::run_with_server).
#[derive(Debug)]
pub struct ServerDemo {
    demo: Demo,
    server: Arc<RestateServer>,
}

impl Deref for ServerDemo {
    type Target = Demo;

    fn deref(&self) -> &Demo {
        &self.demo
    }
}

impl ServerDemo {
    /// Starts a server, and serves an endpoint from this process on a free port.
    ///
    /// # Errors
    ///
    /// The server cannot be installed or started, or does not accept the endpoint.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(endpoint: durably::Endpoint) -> anyhow::Result<()> {
    /// let demo = durably_examples::ServerDemo::start(endpoint).await?;
    /// let greeting: String = demo.ingress().call("Greeter", "greet", &"Ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(endpoint: Endpoint) -> anyhow::Result<Self> {
        let demo = Self::start_server("Start a Restate server, and serve the handlers").await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        // Ctrl-c shall end the demonstration, and it is this process that serves.
        let http = HttpServer::new(endpoint).handle_signals(false);
        tokio::spawn(http.serve(listener));
        let deployment = demo.server.register(&format!("http://{address}")).await?;
        demo.say(format!("handlers   {address}"));
        demo.say(format!("registered {}", deployment.services.join(", ")));
        Ok(demo)
    }

    /// Starts a server and nothing else, under this heading.
    ///
    /// # Errors
    ///
    /// The server cannot be installed or started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> anyhow::Result<()> {
    /// let demo = durably_examples::ServerDemo::start_server("Start a Restate server").await?;
    /// demo.server().register("http://127.0.0.1:9080").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_server(heading: &str) -> anyhow::Result<Self> {
        Self::start_server_with(heading, RestateServer::builder()).await
    }

    /// Starts a server with these settings and nothing else, under this heading.
    ///
    /// # Errors
    ///
    /// The server cannot be installed or started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// # async fn example() -> anyhow::Result<()> {
    /// let settings = RestateServer::builder().always_suspend();
    /// let heading = "Start a server";
    /// let demo = durably_examples::ServerDemo::start_server_with(heading, settings).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_server_with(
        heading: &str,
        settings: RestateServerBuilder,
    ) -> anyhow::Result<Self> {
        log("warn");
        crate::print(format_args!("\n1. {heading}"));
        let server =
            or_say_why_it_takes_long("the Restate server (npm, 80 MB)", settings.start()).await?;
        let server = Arc::new(server);
        let demo = Demo::new(1, server.ingress(), Place::Server(server.clone()));
        demo.say_where();
        Ok(Self { demo, server })
    }

    /// The server.
    ///
    /// # Examples
    ///
    /// See [`ServerDemo::start_server`].
    #[must_use]
    pub fn server(&self) -> &RestateServer {
        &self.server
    }

    /// Runs a demonstration to its end; shows what the server said to one that failed.
    ///
    /// # Errors
    ///
    /// Those of the demonstration.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably_examples::ServerDemo;
    /// # async fn example() -> anyhow::Result<()> {
    /// let demo = ServerDemo::start_server("Start a Restate server").await?;
    /// demo.tell(async |demo| Ok(demo.say("Once upon a time"))).await
    /// # }
    /// ```
    pub async fn tell(
        self,
        story: impl AsyncFnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        // Boxed: a long story is a deep type, too deep for the compiler in one piece.
        let outcome = Box::pin(story(&self)).await;
        if outcome.is_err() {
            self.show_warnings();
        }
        outcome
    }

    fn show_warnings(&self) {
        let log = self.server.log();
        // What it says before its partitions have leaders is of no interest.
        let telling = |line: &&str| {
            (line.contains("WARN") || line.contains("ERROR"))
                && !line.contains("node lookup")
                && !line.contains("doesn't exist on this node")
                && !line.contains("octocrab")
                // The broker may have ended before the server.
                && !line.contains("librdkafka")
                && !line.contains("BrokerTransportFailure")
        };
        let lines: Vec<&str> = log.lines().filter(telling).collect();
        if !lines.is_empty() {
            eprintln!("\nthe server's last warnings:");
        }
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
            eprintln!("   {line}");
        }
    }
}
