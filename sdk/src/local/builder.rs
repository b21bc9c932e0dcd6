//! [`LocalRuntimeBuilder`]: how a [`LocalRuntime`] is set up and started, with its tasks and its thread.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use futures::FutureExt as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
};

#[cfg(feature = "local-kafka")]
use super::kafka::{Consumers, KafkaSource};
use super::{
    LocalError, LocalRuntime,
    attempt::Host,
    commit::{self, Committer},
    core::{self, Core},
    handle::Handle,
    http::{admin, ingress},
    runtime::restored,
    store::{Fsync, Store},
};
use crate::{Endpoint, protocol::ProtocolVersion};

/// Where the journal lies unless [`LocalRuntimeBuilder::path`] says otherwise.
const DEFAULT_PATH: &str = "durably-data";

/// The real server's ports.
const INGRESS_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9070;

/// Inputs that wait for the engine.
const INPUTS: usize = 4096;

/// How often the store is asked to give space back.
const TIDY: Duration = Duration::from_secs(2);

/// Options of a [`LocalRuntime`].
///
/// # Examples
///
/// ```
/// # use std::time::Duration;
/// # use durably::{Endpoint, local::{Fsync, LocalRuntime}};
/// # async fn example(endpoint: Endpoint) -> Result<(), durably::local::LocalError> {
/// LocalRuntime::builder(endpoint)
///     .path("/var/lib/greeter")
///     .ingress(([0, 0, 0, 0], 8080))
///     .fsync(Fsync::Every(Duration::from_millis(100)))
///     .run()
///     .await
/// # }
/// ```
#[must_use = "a runtime is begun by `start` or `run`"]
pub struct LocalRuntimeBuilder {
    endpoint: Endpoint,
    path: PathBuf,
    ingress: SocketAddr,
    admin: SocketAddr,
    admin_hosts: Vec<String>,
    fsync: Fsync,
    always_suspend: bool,
    #[cfg(feature = "local-kafka")]
    pub(super) sources: Vec<KafkaSource>,
}

impl fmt::Debug for LocalRuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRuntimeBuilder")
            .field("endpoint", &self.endpoint)
            .field("path", &self.path)
            .field("ingress", &self.ingress)
            .field("admin", &self.admin)
            .field("fsync", &self.fsync)
            .finish_non_exhaustive()
    }
}

impl LocalRuntimeBuilder {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            path: DEFAULT_PATH.into(),
            ingress: (Ipv4Addr::LOCALHOST, INGRESS_PORT).into(),
            admin: (Ipv4Addr::LOCALHOST, ADMIN_PORT).into(),
            admin_hosts: Vec::new(),
            fsync: Fsync::default(),
            always_suspend: false,
            #[cfg(feature = "local-kafka")]
            sources: Vec::new(),
        }
    }

    /// The folder that the journal lies in, made if it is not there. Default: `durably-data` in the present folder.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::{LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint).path("/var/lib/greeter")
    /// # }
    /// ```
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self
    }

    /// Where requests for handlers are taken. Port 0 takes a free one. Default: `127.0.0.1:8080`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::{LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint).ingress(([0, 0, 0, 0], 8080)) // for everybody
    /// # }
    /// ```
    pub fn ingress(mut self, address: impl Into<SocketAddr>) -> Self {
        self.ingress = address.into();
        self
    }

    /// Where operators and the page are served. Port 0 takes a free one. Default: `127.0.0.1:9070`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::{LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint).admin(([127, 0, 0, 1], 0))
    /// # }
    /// ```
    pub fn admin(mut self, address: impl Into<SocketAddr>) -> Self {
        self.admin = address.into();
        self
    }

    /// A name under which browsers may open the page and the admin API, as of a proxy before it. Without any, they
    /// are served under addresses and `localhost` only, and never to pages of another origin: so no web page that
    /// somebody happens to visit can reach them (by cross-site requests, or by a name of its own that points here).
    /// Who can reach the port can do everything: there is no login.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::{LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint).admin_host("durably.example.com")
    /// # }
    /// ```
    pub fn admin_host(mut self, name: impl Into<String>) -> Self {
        self.admin_hosts.push(name.into());
        self
    }

    /// When a commit counts as written. Default: [`Fsync::Always`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use durably::{Endpoint, local::{Fsync, LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint).fsync(Fsync::Every(Duration::from_millis(100)))
    /// # }
    /// ```
    pub fn fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// Handlers suspend whenever they wait, as with an inactivity timeout of zero: so each wait is followed by a
    /// replay. For tests.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::{LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint).always_suspend()
    /// # }
    /// ```
    pub fn always_suspend(mut self) -> Self {
        self.always_suspend = true;
        self
    }

    /// Starts it: what was interrupted goes on at once.
    ///
    /// # Errors
    ///
    /// The endpoint's manifest cannot be made, the journal cannot be opened (another process may use it) or read, or a
    /// port cannot be opened.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::LocalRuntime};
    /// # async fn example(endpoint: Endpoint, folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = LocalRuntime::builder(endpoint).path(folder);
    /// let runtime = builder.ingress(([127, 0, 0, 1], 0)).admin(([127, 0, 0, 1], 0)).start().await?;
    /// println!("call handlers at {}", runtime.ingress_url());
    /// runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(self) -> Result<LocalRuntime, LocalError> {
        let manifest = self.endpoint.manifest().clone();
        let manifest = manifest.map_err(LocalError::Endpoint)?;
        let clock = core::clock();
        let (path, begun) = (self.path.clone(), clock.clone());
        let (fsync, always_suspend) = (self.fsync, self.always_suspend);
        // This waits for the folder, and reads a lot. Whoever lets go of the folder may need the present thread.
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&path, fsync)?;
            let (engine, reader) = restored(&store, &manifest, always_suspend, begun.now())?;
            Ok::<_, LocalError>((store, engine, reader))
        });
        let opened = opened.await;
        let opened = opened.map_err(|error| LocalError::Stopped(error.to_string()))?;
        let (store, engine, reader) = opened?;
        #[cfg(feature = "local-kafka")]
        let consumers = Consumers::open(self.sources, &engine.catalog, &store)?;

        let listen = async |address| match TcpListener::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr();
                bound.map(|bound| (listener, bound))
            }
            Err(source) => Err(source),
        };
        let failed = |address| move |source| LocalError::Listen { address, source };
        let (ingress_listener, ingress) =
            listen(self.ingress).await.map_err(failed(self.ingress))?;
        let (admin_listener, admin) = listen(self.admin).await.map_err(failed(self.admin))?;

        let (inputs, taken) = mpsc::channel(INPUTS);
        let (batches, mut waiting) = mpsc::channel(commit::GROUP);
        let (written, gone) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let (fail, failure) = watch::channel(None);
        let host = Host {
            endpoint: self.endpoint,
            version: ProtocolVersion::MAX,
            clock: clock.clone(),
            inputs: inputs.downgrade(),
            runtime: tokio::runtime::Handle::current(),
        };
        let committer = Committer::new(store.clone(), Arc::new(host));
        let failing = fail.clone();
        let (ended, thread_ended) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("durably-journal".to_owned());
        let spawned = thread.spawn(move || {
            if let Err(error) = committer.run(&mut waiting, &written) {
                tracing::error!(%error, "the journal cannot be written");
                failing.send_replace(Some(error.to_string().into()));
            }
            drop(ended);
        });
        spawned.map_err(|error| LocalError::Stopped(error.to_string()))?;
        let handle = Handle::new(inputs);
        #[cfg_attr(not(feature = "local-kafka"), allow(unused_mut, reason = "records"))]
        let mut core = Core::new(engine, reader, clock);
        #[cfg(feature = "local-kafka")]
        consumers.count_live(&mut core);
        let stopped = stopping.clone();
        let mut tasks = vec![tokio::spawn(async move {
            let ran = AssertUnwindSafe(core.run(taken, batches, gone, stopped));
            let ran = ran.catch_unwind().await;
            let ran = ran.unwrap_or_else(|_| Err("its engine panicked".to_owned()));
            if let Err(reason) = ran {
                tracing::error!(%reason, "the local runtime stops");
                fail.send_if_modified(|failure| {
                    let first = failure.is_none();
                    failure.get_or_insert_with(|| reason.into());
                    first
                });
            }
        })];
        tasks.push(tokio::spawn(tidy(store.clone(), stopping.clone())));
        #[cfg(feature = "local-kafka")]
        tasks.extend(consumers.spawn(&handle, &stopping));
        tasks.push(tokio::spawn(ingress::serve(
            ingress_listener,
            handle.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(admin::serve(
            admin_listener,
            handle.clone(),
            self.admin_hosts,
            stopping,
        )));
        tracing::info!(%ingress, %admin, path = %self.path.display(), "the local runtime runs");
        Ok(LocalRuntime {
            ingress,
            admin,
            stop,
            failure,
            tasks,
            thread_ended,
            handle,
            store,
            #[cfg(feature = "local-kafka")]
            consumers,
        })
    }

    /// Starts it and runs until Ctrl-C (or SIGTERM, on Unix).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); and [`LocalError::Stopped`] if the journal cannot be written any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::LocalRuntime};
    /// # async fn example(endpoint: Endpoint, folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    /// LocalRuntime::builder(endpoint).run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(self) -> Result<(), LocalError> {
        let runtime = self.start().await?;
        tokio::select! {
            failed = runtime.failed() => Err(failed),
            () = crate::server::signalled() => runtime.shutdown().await,
        }
    }
}

/// Lets the store give space back, now and then.
async fn tidy(store: Store, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TIDY) => {}
        }
        let store = store.clone();
        let tidied = tokio::task::spawn_blocking(move || store.tidy()).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "the journal cannot be tidied up");
        }
    }
}
