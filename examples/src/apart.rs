//! Handlers in a process of their own, so that a demonstration can kill them.
//!
//! In: the process's environment. Out: a process that runs this very program once more: with the argument `local`, so
//! that the local runtime is in that process as well; or with `serve`, and registered with the demonstration's server.

use durably::test_server::{ProcessUnderTest, free_port};

use crate::demo::{Demo, Place};
use crate::{PATIENCE, PORTS};

impl Demo {
    /// Starts this program once more, to run its handlers with these variables in its environment. Its output goes
    /// to its own log.
    ///
    /// On the local runtime there is one such process at a time: for a demonstration that begins with
    /// [`run_apart`](crate::run_apart).
    ///
    /// # Errors
    ///
    /// The process does not start, or the server does not accept it.
    ///
    /// # Examples
    ///
    /// See [`run_apart`](crate::run_apart).
    pub async fn serve_apart(
        &self,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<ProcessUnderTest> {
        let builder = ProcessUnderTest::builder(std::env::current_exe()?);
        let builder = builder.env("RUST_LOG", "info");
        let port = free_port()?;
        let (mut builder, ready) = match self.place() {
            Place::Local(local) => {
                let builder = builder.arg("local").arg(local.path());
                let ports = [local.ingress_port, local.admin_port];
                let named = PORTS.map(|(name, _)| name).into_iter().zip(ports);
                let builder = named.fold(builder, |builder, (name, port)| {
                    builder.env(name, port.to_string())
                });
                (builder, "the local runtime runs")
            }
            Place::Server(_) => {
                let builder = builder.arg("serve").env("PORT", port.to_string());
                (builder, "listening")
            }
        };
        for (name, value) in environment {
            builder = builder.env(name, value);
        }
        let handlers = builder.spawn()?;
        handlers.wait_for_log(ready, PATIENCE).await?;
        let process = handlers.id().unwrap_or_default();
        match self.place() {
            Place::Local(_) => {
                self.say(format!(
                    "process    {process}, with the local runtime in it"
                ));
                self.say_where();
            }
            Place::Server(server) => {
                let address = format!("127.0.0.1:{port}");
                let deployment = server.register(&format!("http://{address}")).await?;
                self.say(format!("handlers   {address}, in process {process}"));
                self.say(format!("registered {}", deployment.services.join(", ")));
            }
        }
        Ok(handlers)
    }
}
