//! What surrounds the handlers in the examples, so that the examples themselves show little else.
//!
//! In: an [`Endpoint`] with the example's handlers, and what shall be tried with them. Out: either a
//! [`Demo`], in which a Restate server of its own calls those handlers and everything ends by itself,
//! or (with the argument `serve`) an HTTP server for a Restate server that runs elsewhere.
//!
//! A real service needs none of this: its `main` is the three lines in [`serve`].

mod apart;
mod balancer;
mod kafka;
mod postgres;

use std::env;
use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use durably::ingress::IngressClient;
use durably::test_server::{Ingress, RestateServer, RestateServerBuilder, TestServerError};
use durably::{Endpoint, HttpServer};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

pub use self::apart::run_apart;
pub use self::balancer::Balancer;
pub use self::kafka::record;
pub use self::postgres::Postgres;

/// How often somebody who waits for an installation hears that it goes on.
const STILL_INSTALLING: Duration = Duration::from_secs(5);

/// How long a server takes that need not be installed, with some patience.
const USUAL_START: Duration = Duration::from_secs(3);

/// Pause between two looks at something that shall come.
const LOOK: Duration = Duration::from_millis(20);

/// More than anything in a demonstration takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of the server's log a failure shows.
const LOG_LINES: usize = 20;

/// Runs an example: the demonstration, or with the argument `serve` its endpoint alone.
///
/// # Examples
///
/// ```no_run
/// use durably::{Endpoint, prelude::*};
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
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     let endpoint = Endpoint::builder().bind(Greeter).build();
///     durably_examples::run(endpoint, async |demo| {
///         demo.step("Call the service");
///         let greeter = demo.client().service::<GreeterClient>();
///         demo.say(greeter.greet("Ada".to_owned()).await?);
///         Ok(())
///     })
///     .await
/// }
/// ```
pub async fn run(
    endpoint: Result<Endpoint, durably::BuildError>,
    demonstrate: impl AsyncFnOnce(&Demo) -> anyhow::Result<()>,
) -> ExitCode {
    launch(endpoint, Demo::start, demonstrate).await
}

/// Runs an example whose demonstration begins with what `start` gives.
async fn launch(
    endpoint: Result<Endpoint, durably::BuildError>,
    start: impl AsyncFnOnce(Endpoint) -> anyhow::Result<Demo>,
    demonstrate: impl AsyncFnOnce(&Demo) -> anyhow::Result<()>,
) -> ExitCode {
    exit_code(async {
        let endpoint = endpoint?;
        match env::args().nth(1).as_deref() {
            None => {
                or_ctrl_c(async {
                    let demo = start(endpoint).await?;
                    // Boxed: a long story is a deep type, too deep for the compiler in one piece.
                    demo.end(Box::pin(demonstrate(&demo)).await)
                })
                .await
            }
            Some("serve" | "--serve") => serve(endpoint).await,
            Some(other) => anyhow::bail!(
                "unknown argument `{other}`: give none for the demonstration, or `serve` to only \
                 serve the handlers"
            ),
        }
    })
    .await
}

/// Turns an outcome into the program's exit code, and says what went wrong.
///
/// # Examples
///
/// ```
/// # async fn example() -> std::process::ExitCode {
/// durably_examples::exit_code(async { anyhow::bail!("the cake is a lie") }).await
/// # }
/// ```
pub async fn exit_code(outcome: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace: it would show the insides of this file.
            eprintln!("\nFAILED: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Gives a demonstration up at ctrl-c, so that what it has started is stopped and removed.
///
/// # Errors
///
/// Those of the demonstration, or that it was interrupted.
///
/// # Examples
///
/// ```
/// # async fn example() -> anyhow::Result<()> {
/// durably_examples::or_ctrl_c(async { Ok(()) }).await
/// # }
/// ```
pub async fn or_ctrl_c(
    demonstration: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::select! {
        outcome = demonstration => outcome,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

/// Serves handlers at `PORT`, or 9080, until ctrl-c or SIGTERM.
///
/// # Errors
///
/// `PORT` is no port number, or the port is in use.
///
/// # Examples
///
/// ```no_run
/// # async fn example(endpoint: durably::Endpoint) -> anyhow::Result<()> {
/// durably_examples::serve(endpoint).await
/// # }
/// ```
pub async fn serve(endpoint: Endpoint) -> anyhow::Result<()> {
    log("info");
    HttpServer::new(endpoint).run().await?;
    Ok(())
}

/// Shows log events from this level on; `RUST_LOG` says otherwise.
fn log(level: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error would only say that somebody else shows them already.
    let _ = subscriber.try_init();
}

/// A Restate server on loopback, handlers for it to call, and a narrator.
///
/// Everything ends with this value.
///
/// # Examples
///
/// See [`run`].
#[derive(Debug)]
pub struct Demo {
    server: RestateServer,
    steps: AtomicU32,
    start: Instant,
}

impl Demo {
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
    /// let demo = durably_examples::Demo::start(endpoint).await?;
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
    /// let demo = durably_examples::Demo::start_server("Start a Restate server").await?;
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
    /// let demo = durably_examples::Demo::start_server_with("Start a server", settings).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_server_with(
        heading: &str,
        settings: RestateServerBuilder,
    ) -> anyhow::Result<Self> {
        log("warn");
        step_line(1, heading);
        let server =
            or_say_why_it_takes_long("the Restate server (npm, 80 MB)", settings.start()).await?;
        let demo = Self {
            server,
            steps: AtomicU32::new(1),
            start: Instant::now(),
        };
        demo.say(format!("ingress    {}", demo.server.ingress_url()));
        Ok(demo)
    }

    /// The server.
    ///
    /// # Examples
    ///
    /// See [`Demo::start_server`].
    #[must_use]
    pub fn server(&self) -> &RestateServer {
        &self.server
    }

    /// The client that calls the handlers through the server, typed.
    ///
    /// # Examples
    ///
    /// See [`run`].
    #[must_use]
    pub fn client(&self) -> IngressClient {
        self.server.ingress().client().clone()
    }

    /// A client that calls the handlers through the server, by name.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(demo: durably_examples::Demo) -> anyhow::Result<()> {
    /// let greeting: String = demo.ingress().call("Greeter", "greet", &"Ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ingress(&self) -> Ingress {
        self.server.ingress()
    }

    /// Passes the outcome of a demonstration on; shows what the server said to a failed one.
    ///
    /// # Errors
    ///
    /// The outcome's.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn tell_a_story(demo: &durably_examples::Demo) -> anyhow::Result<()> { Ok(()) }
    /// # async fn example(demo: durably_examples::Demo) -> anyhow::Result<()> {
    /// demo.end(tell_a_story(&demo).await)
    /// # }
    /// ```
    pub fn end(&self, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        if outcome.is_err() {
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
        outcome
    }

    /// Prints the heading of the next step.
    ///
    /// # Examples
    ///
    /// See [`run`].
    pub fn step(&self, heading: impl Display) {
        step_line(self.steps.fetch_add(1, Ordering::Relaxed) + 1, heading);
    }

    /// Prints a line that belongs to the present step.
    ///
    /// # Examples
    ///
    /// See [`run`].
    pub fn say(&self, line: impl Display) {
        say(line);
    }

    /// Prints a line with the time that has passed since the server was ready.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(demo: durably_examples::Demo) {
    /// demo.say_when("the promise is resolved");
    /// # }
    /// ```
    pub fn say_when(&self, line: impl Display) {
        say(format!(
            "{:5.1}s  {line}",
            self.start.elapsed().as_secs_f64()
        ));
    }
}

/// Awaits the start of a server, and tells whoever waits that the first one has to be installed.
///
/// # Errors
///
/// Those of the start.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::KafkaBroker;
/// # async fn example() -> anyhow::Result<()> {
/// let start = KafkaBroker::start();
/// let broker = durably_examples::or_say_why_it_takes_long("a Kafka broker", start).await?;
/// # Ok(())
/// # }
/// ```
pub async fn or_say_why_it_takes_long<T>(
    what: &str,
    start: impl Future<Output = Result<T, TestServerError>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    let mut start = std::pin::pin!(start);
    let mut patience = USUAL_START;
    loop {
        tokio::select! {
            started = &mut start => return Ok(started?),
            () = tokio::time::sleep(patience) => {}
        }
        let seconds = begin.elapsed().as_secs();
        if patience == USUAL_START {
            say(format!(
                "this takes a while the first time: {what} is being installed …"
            ));
            patience = STILL_INSTALLING;
        } else {
            say(format!("… {seconds} s"));
        }
    }
}

/// Looks again and again until there is something to see, and gives it; not for ever.
///
/// # Errors
///
/// Those of the look, or that `what` has not happened within a minute.
///
/// # Examples
///
/// ```
/// # async fn example(inbox: &std::sync::Mutex<Vec<String>>) -> anyhow::Result<()> {
/// let mail = durably_examples::eventually("mail comes", async || {
///     Ok(inbox.lock().unwrap().pop())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
pub async fn eventually<T>(
    what: impl Display,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if begin.elapsed() > PATIENCE {
            anyhow::bail!("waited for this in vain: {what}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn step_line(number: u32, heading: impl Display) {
    print(format_args!("\n{number}. {heading}"));
}

fn say(line: impl Display) {
    print(format_args!("   {line}"));
}

/// Prints a line. Nobody reading any more (`… | head`) is no reason to fail.
///
/// # Examples
///
/// ```
/// durably_examples::print("Once upon a time");
/// ```
pub fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
