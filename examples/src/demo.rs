//! [`Demo`]: something that calls the handlers, a client of it, and a narrator.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use durably::Endpoint;
use durably::ingress::IngressClient;
use durably::local::{LocalRuntime, LocalRuntimeBuilder};
use durably::test_server::{Ingress, RestateServer, free_port};
use tempfile::TempDir;

use crate::arguments::Demonstration;
use crate::{LOOPBACK, log, print};

/// What calls the handlers, on loopback: the local runtime, or a Restate server; with a client, and a narrator.
///
/// Everything ends with this value.
///
/// # Examples
///
/// See [`run`](crate::run).
#[derive(Debug)]
pub struct Demo {
    ingress: Ingress,
    steps: AtomicU32,
    start: Instant,
    place: Place,
}

/// Where the handlers are called.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the local runtime of this process, or of others on the same journal.
    Local(Box<Local>),
    Server(Arc<RestateServer>),
}

/// A local runtime, or what is needed to run one.
#[derive(Debug)]
pub(crate) struct Local {
    /// None: processes run it, one after the other.
    runtime: Option<LocalRuntime>,
    pub(crate) ingress_port: u16,
    pub(crate) admin_port: u16,
    /// After the runtime, so that it is removed last.
    folder: Folder,
}

/// Where its journal lies.
#[derive(Debug)]
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(demonstration: &Demonstration) -> anyhow::Result<Self> {
        let Some(kept) = &demonstration.keep else {
            let folder = tempfile::Builder::new().prefix("durably-").tempdir()?;
            return Ok(Self::Temporary(folder));
        };
        // The story is told from its beginning.
        let is_used = kept.exists() && fs::read_dir(kept)?.next().is_some();
        anyhow::ensure!(!is_used, "there is something in {} already", kept.display());
        Ok(Self::Kept(kept.clone()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Local {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The runtime, set up and not started.
    fn builder(&self, endpoint: Endpoint) -> LocalRuntimeBuilder {
        let [mut ingress, mut admin] = [LOOPBACK; 2];
        ingress.set_port(self.ingress_port);
        admin.set_port(self.admin_port);
        let runtime = LocalRuntime::builder(endpoint).path(self.path());
        runtime.ingress(ingress).admin(admin)
    }
}

impl Demo {
    /// Starts the local runtime in this process.
    pub(crate) async fn start(
        endpoint: Endpoint,
        demonstration: &Demonstration,
    ) -> anyhow::Result<Self> {
        let mut demo = Self::without_handlers(demonstration)?;
        demo.step("Start the local runtime, with the handlers in it");
        if let Place::Local(local) = &mut demo.place {
            let runtime = local.builder(endpoint).start().await?;
            local.runtime = Some(runtime);
        }
        demo.say_where();
        Ok(demo)
    }

    /// Prepares a folder and ports for the local runtime, which processes of the demonstration will run.
    pub(crate) fn without_handlers(demonstration: &Demonstration) -> anyhow::Result<Self> {
        log("warn");
        let folder = Folder::new(demonstration)?;
        let ingress_port = free_port()?;
        let place = Place::Local(Box::new(Local {
            runtime: None,
            ingress_port,
            admin_port: free_port()?,
            folder,
        }));
        let ingress = Ingress::new(format!("http://127.0.0.1:{ingress_port}"))?;
        Ok(Self::new(0, ingress, place))
    }

    /// In a place where so many steps have been made.
    pub(crate) fn new(steps: u32, ingress: Ingress, place: Place) -> Self {
        Self {
            ingress,
            steps: AtomicU32::new(steps),
            start: Instant::now(),
            place,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Prints where the handlers can be called, and where one sees what they do.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(demo: durably_examples::Demo, endpoint: durably::Endpoint) -> anyhow::Result<()> {
    /// if let Some(builder) = demo.local_runtime(endpoint) {
    ///     let _runtime = builder.start().await?;
    ///     demo.say_where();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn say_where(&self) {
        match &self.place {
            Place::Local(local) => {
                self.say(format!("ingress    {}", self.ingress_url()));
                self.say(format!("page       http://127.0.0.1:{}", local.admin_port));
                self.say(format!("journal    {}", local.path().display()));
            }
            Place::Server(server) => {
                self.say(format!("ingress    {}", server.ingress_url()));
                self.say(format!("page       {}/ui", server.admin_url()));
            }
        }
    }

    /// The local runtime for these handlers, set up and not started; none with a Restate server.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(demo: durably_examples::Demo, endpoint: durably::Endpoint) -> anyhow::Result<()> {
    /// if let Some(builder) = demo.local_runtime(endpoint) {
    ///     let runtime = builder.start().await?;
    ///     runtime.shutdown().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn local_runtime(&self, endpoint: Endpoint) -> Option<LocalRuntimeBuilder> {
        match &self.place {
            Place::Local(local) => Some(local.builder(endpoint)),
            Place::Server(_) => None,
        }
    }

    /// The Restate server, if the demonstration runs on one.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(demo: durably_examples::Demo) -> anyhow::Result<()> {
    /// if let Some(server) = demo.server() {
    ///     server.register("http://127.0.0.1:9080").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn server(&self) -> Option<&RestateServer> {
        match &self.place {
            Place::Local(_) => None,
            Place::Server(server) => Some(server),
        }
    }

    /// Where the handlers are called, over HTTP.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(demo: durably_examples::Demo) {
    /// let url = format!("{}/Greeter/greet", demo.ingress_url());
    /// # }
    /// ```
    #[must_use]
    pub fn ingress_url(&self) -> String {
        match &self.place {
            Place::Local(local) => format!("http://127.0.0.1:{}", local.ingress_port),
            Place::Server(server) => server.ingress_url().to_owned(),
        }
    }

    /// The client that calls the handlers, typed.
    ///
    /// # Examples
    ///
    /// See [`run`](crate::run).
    #[must_use]
    pub fn client(&self) -> IngressClient {
        self.ingress.client().clone()
    }

    /// A client that calls the handlers, by name.
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
        self.ingress.clone()
    }

    /// Runs a demonstration to its end, and ends everything.
    ///
    /// # Errors
    ///
    /// Those of the demonstration, or that the local runtime has failed.
    pub(crate) async fn tell(
        mut self,
        story: impl AsyncFnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        // Boxed: a long story is a deep type, too deep for the compiler in one piece.
        let runtime = match &self.place {
            Place::Local(local) => local.runtime.as_ref(),
            Place::Server(_) => None,
        };
        let story = Box::pin(story(&self));
        let outcome = match runtime {
            Some(runtime) => tokio::select! {
                outcome = story => outcome,
                failed = runtime.failed() => Err(failed.into()),
            },
            None => story.await,
        };
        if let Place::Local(local) = &mut self.place {
            if let Some(runtime) = local.runtime.take()
                && let Err(error) = runtime.shutdown().await
            {
                outcome?;
                return Err(error.into());
            }
            if let Folder::Kept(folder) = &local.folder {
                say_how_to_look(folder);
            }
        }
        outcome
    }

    /// Prints the heading of the next step.
    ///
    /// # Examples
    ///
    /// See [`run`](crate::run).
    pub fn step(&self, heading: impl Display) {
        let number = self.steps.fetch_add(1, Ordering::Relaxed) + 1;
        print(format_args!("\n{number}. {heading}"));
    }

    /// Prints a line that belongs to the present step.
    ///
    /// # Examples
    ///
    /// See [`run`](crate::run).
    pub fn say(&self, line: impl Display) {
        crate::say(line);
    }

    /// Prints a line with the time that has passed since the beginning.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(demo: durably_examples::Demo) {
    /// demo.say_when("the promise is resolved");
    /// # }
    /// ```
    pub fn say_when(&self, line: impl Display) {
        let seconds = self.start.elapsed().as_secs_f64();
        crate::say(format!("{seconds:5.1}s  {line}"));
    }
}

/// Says what one can do with a journal that has been kept.
fn say_how_to_look(folder: &Path) {
    let program = std::env::args_os().next().map(PathBuf::from);
    let program = program.as_deref().and_then(Path::file_name);
    let program = program.unwrap_or_default().to_string_lossy();
    print(format_args!(
        "\nThe journal is kept. To look at it, at http://127.0.0.1:9070, and to go on with it:\n   \
         cargo run -p durably-examples --bin {program} local {}",
        folder.display()
    ));
}
