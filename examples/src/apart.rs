//! Handlers in a process of their own, so that a demonstration can kill them.
//!
//! In: the same endpoint as for [`run`](crate::run), and the process's environment. Out: a process that runs
//! this very program with the argument `serve`, and is registered with the demonstration's server.

use std::process::ExitCode;
use std::time::Duration;

use durably::Endpoint;
use durably::test_server::{ProcessUnderTest, free_port};

use crate::{Demo, launch};

/// More than a process takes to start on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// As [`run`](crate::run), but the demonstration begins with a server alone, and starts the handlers
/// itself with [`Demo::serve_apart`].
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
    launch(
        endpoint,
        async |_| Demo::start_server("Start a Restate server").await,
        demonstrate,
    )
    .await
}

impl Demo {
    /// Starts this program once more with the argument `serve`, on a free port and with these variables
    /// in its environment, and registers it. Its output goes to its own log.
    ///
    /// # Errors
    ///
    /// The process does not start, or the server does not accept it.
    ///
    /// # Examples
    ///
    /// See [`run_apart`].
    pub async fn serve_apart(
        &self,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<ProcessUnderTest> {
        let port = free_port()?.to_string();
        let mut builder = ProcessUnderTest::builder(std::env::current_exe()?)
            .arg("serve")
            .env("PORT", &port)
            .env("RUST_LOG", "info");
        for (name, value) in environment {
            builder = builder.env(name, value);
        }
        let handlers = builder.spawn()?;
        handlers.wait_for_log("listening", PATIENCE).await?;
        let address = format!("127.0.0.1:{port}");
        let deployment = self.server().register(&format!("http://{address}")).await?;
        self.say(format!(
            "handlers   {address}, in process {}",
            handlers.id().unwrap_or_default()
        ));
        self.say(format!("registered {}", deployment.services.join(", ")));
        Ok(handlers)
    }
}
