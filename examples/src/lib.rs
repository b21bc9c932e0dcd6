//! What surrounds the handlers in the examples, so that the examples themselves show little else.
//!
//! In: an [`Endpoint`] with the example's handlers, and what shall be tried with them. Out: a [`Demo`], in which
//! something calls those handlers and everything ends by itself. What calls them is the local runtime, in this very
//! process; or a real Restate server, with the argument `--server`, and for examples that need one in any case
//! ([`ServerDemo`]). With the argument `local` an example serves its handlers with the local runtime until ctrl-c, and
//! with `serve` it serves them for a Restate server that runs elsewhere.
//!
//! A real service needs none of this: its `main` is the three lines in [`local`] or in [`serve`].

mod apart;
mod arguments;
mod balancer;
mod demo;
mod kafka;
mod postgres;
mod server_demo;

use std::env;
use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use durably::local::LocalRuntime;
use durably::test_server::TestServerError;
use durably::{Endpoint, HttpServer};
use tracing_subscriber::EnvFilter;

use self::arguments::{Arguments, Demonstration};
pub use self::balancer::Balancer;
pub use self::demo::Demo;
pub use self::kafka::record;
pub use self::postgres::Postgres;
pub use self::server_demo::ServerDemo;

/// How often somebody who waits for an installation hears that it goes on.
const STILL_INSTALLING: Duration = Duration::from_secs(5);

/// How long a server takes that need not be installed, with some patience.
const USUAL_START: Duration = Duration::from_secs(3);

/// Pause between two looks at something that shall come.
const LOOK: Duration = Duration::from_millis(20);

/// More than anything in a demonstration takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ports of the local runtime, unless the environment names others: those of the Restate server.
const PORTS: [(&str, u16); 2] = [("INGRESS_PORT", 8080), ("ADMIN_PORT", 9070)];

/// Loopback, and a port that is free.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs an example that needs nothing but its handlers: on the local runtime, or with `--server` on a real server.
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
    launch(endpoint, serve, async |endpoint, demonstration| {
        if demonstration.on_server {
            let demo = ServerDemo::start(endpoint).await?;
            demo.tell(async |demo| demonstrate(demo).await).await
        } else {
            let demo = Demo::start(endpoint, &demonstration).await?;
            demo.tell(demonstrate).await
        }
    })
    .await
}

/// As [`run`], but nothing serves the handlers yet: the demonstration starts them itself, in a process of their own,
/// with [`Demo::serve_apart`], and may kill that.
///
/// # Examples
///
/// ```no_run
/// # use durably::{Endpoint, prelude::*};
/// # struct Greeter;
/// # #[durably::service]
/// # impl Greeter {
/// #     #[handler]
/// #     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> { Ok(name) }
/// # }
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     let endpoint = Endpoint::builder().bind(Greeter).build();
///     durably_examples::run_apart(endpoint, async |demo| {
///         let handlers = demo.serve_apart(&[("GREETING", "Hello")]).await?;
///         handlers.kill9();
///         handlers.restart()?;
///         let greeter = demo.client().service::<GreeterClient>();
///         demo.say(greeter.greet("Ada".to_owned()).await?);
///         Ok(())
///     })
///     .await
/// }
/// ```
pub async fn run_apart(
    endpoint: Result<Endpoint, durably::BuildError>,
    demonstrate: impl AsyncFnOnce(&Demo) -> anyhow::Result<()>,
) -> ExitCode {
    launch(endpoint, serve, async |_, demonstration| {
        demonstrate_apart(&demonstration, demonstrate).await
    })
    .await
}

/// As [`run_apart`], for a program that serves its handlers in its own way.
///
/// # Examples
///
/// ```no_run
/// # async fn example(endpoint: Result<durably::Endpoint, durably::BuildError>) -> std::process::ExitCode {
/// let serve = async || anyhow::Ok(println!("at your service"));
/// durably_examples::run_program(endpoint, serve, async |demo| {
///     demo.say("Start the program here");
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub async fn run_program(
    endpoint: Result<Endpoint, durably::BuildError>,
    serve: impl AsyncFnOnce() -> anyhow::Result<()>,
    demonstrate: impl AsyncFnOnce(&Demo) -> anyhow::Result<()>,
) -> ExitCode {
    launch(
        endpoint,
        async |_| serve().await,
        async |_, demonstration| demonstrate_apart(&demonstration, demonstrate).await,
    )
    .await
}

/// A demonstration that begins without handlers.
async fn demonstrate_apart(
    demonstration: &Demonstration,
    demonstrate: impl AsyncFnOnce(&Demo) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if demonstration.on_server {
        let demo = ServerDemo::start_server("Start a Restate server").await?;
        demo.tell(async |demo| demonstrate(demo).await).await
    } else {
        let demo = Demo::without_handlers(demonstration)?;
        demo.tell(demonstrate).await
    }
}

/// Runs an example that needs a real server, such as one with Kafka.
///
/// # Examples
///
/// ```no_run
/// # async fn example(endpoint: Result<durably::Endpoint, durably::BuildError>) -> std::process::ExitCode {
/// durably_examples::run_with_server(endpoint, async |demo| {
///     demo.start_kafka().await?;
///     demo.server().kill9();
///     demo.server().restart().await?;
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub async fn run_with_server(
    endpoint: Result<Endpoint, durably::BuildError>,
    demonstrate: impl AsyncFnOnce(&ServerDemo) -> anyhow::Result<()>,
) -> ExitCode {
    launch(endpoint, serve, async |endpoint, demonstration| {
        demonstration.is_on_server()?;
        let demo = ServerDemo::start(endpoint).await?;
        demo.tell(demonstrate).await
    })
    .await
}

/// As [`run_with_server`], but the demonstration starts the handlers itself, with [`Demo::serve_apart`].
///
/// # Examples
///
/// ```no_run
/// # async fn example(endpoint: Result<durably::Endpoint, durably::BuildError>) -> std::process::ExitCode {
/// durably_examples::run_apart_with_server(endpoint, async |demo| {
///     let handlers = demo.serve_apart(&[]).await?;
///     handlers.kill9();
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub async fn run_apart_with_server(
    endpoint: Result<Endpoint, durably::BuildError>,
    demonstrate: impl AsyncFnOnce(&ServerDemo) -> anyhow::Result<()>,
) -> ExitCode {
    launch(endpoint, serve, async |_, demonstration| {
        demonstration.is_on_server()?;
        let demo = ServerDemo::start_server("Start a Restate server").await?;
        demo.tell(demonstrate).await
    })
    .await
}

/// Does what the program's arguments say; `demonstrate` is what it does by default.
async fn launch(
    endpoint: Result<Endpoint, durably::BuildError>,
    serve: impl AsyncFnOnce(Endpoint) -> anyhow::Result<()>,
    demonstrate: impl AsyncFnOnce(Endpoint, Demonstration) -> anyhow::Result<()>,
) -> ExitCode {
    exit_code(async {
        let endpoint = endpoint?;
        match Arguments::read(env::args_os().skip(1))? {
            Arguments::Demonstrate(demonstration) => {
                or_ctrl_c(demonstrate(endpoint, demonstration)).await
            }
            Arguments::Serve => serve(endpoint).await,
            Arguments::Local(folder) => local(endpoint, folder).await,
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

/// Runs handlers with the local runtime until ctrl-c or SIGTERM: the journal lies in `folder`, and what was
/// interrupted the last time goes on. `INGRESS_PORT` and `ADMIN_PORT` name other ports than 8080 and 9070.
///
/// # Errors
///
/// The folder or a port is in use, or one of the variables is no port number.
///
/// # Examples
///
/// ```no_run
/// # async fn example(endpoint: durably::Endpoint) -> anyhow::Result<()> {
/// durably_examples::local(endpoint, "durably-data".into()).await
/// # }
/// ```
pub async fn local(endpoint: Endpoint, folder: PathBuf) -> anyhow::Result<()> {
    log("info");
    let mut addresses = [LOOPBACK; PORTS.len()];
    for (address, (name, port)) in addresses.iter_mut().zip(PORTS) {
        let port = match env::var(name) {
            Ok(port) => port
                .parse()
                .with_context(|| format!("{name} is {port:?}"))?,
            Err(_) => port,
        };
        address.set_port(port);
    }
    let [ingress, admin] = addresses;
    let runtime = LocalRuntime::builder(endpoint).path(folder);
    runtime.ingress(ingress).admin(admin).run().await?;
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

/// A time of a story that races with the clock; so many times longer as the variable `EXAMPLES_SLOWNESS` says, for a
/// machine that is slow or busy.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let patience = durably_examples::unhurried(Duration::from_secs(5));
/// assert!(patience >= Duration::from_secs(5));
/// ```
#[must_use]
pub fn unhurried(time: Duration) -> Duration {
    let slowness = env::var("EXAMPLES_SLOWNESS").ok();
    let slowness = slowness.and_then(|times| times.parse::<u32>().ok());
    time * slowness.unwrap_or(1)
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
