//! [`LocalRuntime`]: how it is set up, started and stopped.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

#[cfg(feature = "local-kafka")]
use super::kafka::{Consumers, KafkaSource};
use super::{
    archive::{ReadError, Reader},
    attempt::Host,
    commit::{self, Committer},
    core::{self, Core},
    handle::Handle,
    http::{admin, ingress},
    store::{Fsync, Store, StoreError, Table, Write},
};
use crate::{
    Endpoint,
    engine::{Engine, catalog::Catalog},
    protocol::ProtocolVersion,
};

/// Where the journal lies unless [`LocalRuntimeBuilder::path`] says otherwise.
const DEFAULT_PATH: &str = "durably-data";

/// The real server's ports.
const INGRESS_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9070;

/// Inputs that wait for the engine.
const INPUTS: usize = 4096;

/// How often the store is asked to give space back.
const TIDY: Duration = Duration::from_secs(2);

/// What the seed of all ids is kept under.
const SEED: &[u8] = b"seed";

/// Handlers at work in this process, their journal on disk; see the [module](crate::local).
///
/// It runs until [`shutdown`](Self::shutdown), or until it is dropped: either may come at any moment, as may
/// the end of the process, and the next one on the same path goes on.
///
/// # Examples
///
/// ```
/// use durably::{local::LocalRuntime, prelude::*};
///
/// struct Counter;
///
/// #[durably::object]
/// impl Counter {
///     #[handler]
///     async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
///         let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
///         ctx.set("sum", &sum);
///         Ok(sum)
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// for sum in [1, 2] {
///     let endpoint = Endpoint::builder().bind(Counter).build()?;
///     let builder = LocalRuntime::builder(endpoint).path(folder.path());
///     let builder = builder.ingress(([127, 0, 0, 1], 0)).admin(([127, 0, 0, 1], 0)); // free ports
///     let runtime = builder.start().await?;
/// #   #[cfg(feature = "client")]
/// #   {
///     let ingress = durably::ingress::IngressClient::new(runtime.ingress_url())?;
///     assert_eq!(ingress.object::<CounterClient>("apples").add(1).await?, sum);
/// #   }
///     runtime.shutdown().await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LocalRuntime {
    ingress: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    /// Why it has failed, once it has.
    failure: watch::Receiver<Option<Arc<str>>>,
    tasks: Vec<JoinHandle<()>>,
    /// Drops when the thread that writes has ended.
    thread_ended: oneshot::Receiver<()>,
    handle: Handle,
    store: Store,
    #[cfg(feature = "local-kafka")]
    pub(super) consumers: Consumers,
}

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

/// Why a [`LocalRuntime`] cannot start, or cannot go on.
///
/// # Examples
///
/// ```
/// use durably::local::{LocalError, StoreError};
///
/// fn advice(error: &LocalError) -> &'static str {
///     match error {
///         LocalError::Store(StoreError::InUse { .. }) => "it runs already",
///         LocalError::Listen { .. } => "choose another port",
///         _ => "look at the log",
///     }
/// }
/// # let stopped = LocalError::Stopped("no space".to_owned());
/// # assert_eq!(advice(&stopped), "look at the log");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The endpoint's manifest cannot be made.
    #[error("the endpoint cannot be served: {0}")]
    Endpoint(String),
    /// The journal cannot be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal holds something that this version cannot read.
    #[error("the journal cannot be read: {0}")]
    Journal(String),
    /// A port cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// A topic cannot be subscribed to.
    #[cfg(feature = "local-kafka")]
    #[error("the subscription `{name}` cannot be made: {reason}")]
    Subscription {
        /// The subscription.
        name: String,
        /// Why not.
        reason: String,
    },
    /// It ran, and had to stop: what was acknowledged is on disk.
    #[error("the runtime has stopped: {0}")]
    Stopped(String),
}

impl From<ReadError> for LocalError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::Row(error) => Self::Journal(error.to_string()),
        }
    }
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
    /// The endpoint's manifest cannot be made, the journal cannot be opened (another process may use it), or a port
    /// cannot.
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
        let store = Store::open(&self.path, self.fsync)?;
        let clock = core::clock();
        let (engine, reader) = restored(&store, &manifest, self.always_suspend, clock.now())?;
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
        let (batches, waiting) = mpsc::channel(commit::GROUP);
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
            if let Err(error) = committer.run(waiting, &written) {
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

impl LocalRuntime {
    /// A runtime for these handlers, to be set up and started.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, local::{LocalRuntime, LocalRuntimeBuilder}};
    /// # fn example(endpoint: Endpoint) -> LocalRuntimeBuilder {
    /// LocalRuntime::builder(endpoint)
    /// # }
    /// ```
    pub fn builder(endpoint: Endpoint) -> LocalRuntimeBuilder {
        LocalRuntimeBuilder {
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

    /// Where requests for handlers go.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(runtime: durably::local::LocalRuntime) {
    /// let url = format!("{}/Greeter/greet", runtime.ingress_url());
    /// # }
    /// ```
    #[must_use]
    pub fn ingress_url(&self) -> String {
        format!("http://{}", self.ingress)
    }

    /// Where operators ask, and the page is.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(runtime: durably::local::LocalRuntime) {
    /// println!("see what runs: {}", runtime.admin_url());
    /// # }
    /// ```
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// What the journal takes on disk, in bytes.
    ///
    /// # Errors
    ///
    /// [`LocalError::Store`] if its folder cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(runtime: durably::local::LocalRuntime) -> Result<(), durably::local::LocalError> {
    /// println!("{} KB", runtime.size_on_disk()? / 1024);
    /// # Ok(())
    /// # }
    /// ```
    pub fn size_on_disk(&self) -> Result<u64, LocalError> {
        Ok(self.store.size()?)
    }

    /// Ready once the runtime cannot go on: the journal cannot be written or read. What was acknowledged is on disk.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn serve_something_else() {}
    /// # async fn example(runtime: durably::local::LocalRuntime) -> Result<(), Box<dyn std::error::Error>> {
    /// tokio::select! {
    ///     () = serve_something_else() => runtime.shutdown().await?,
    ///     failed = runtime.failed() => return Err(failed.into()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn failed(&self) -> LocalError {
        let mut failure = self.failure.clone();
        let reason = match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.as_deref().unwrap_or_default().to_owned(),
            Err(_) => "it was shut down".to_owned(),
        };
        LocalError::Stopped(reason)
    }

    /// Stops: requests are taken no more, attempts end where they are, and go on with the next start.
    ///
    /// # Errors
    ///
    /// [`LocalError::Stopped`] if it had failed before.
    ///
    /// # Examples
    ///
    /// See [`start`](LocalRuntimeBuilder::start).
    pub async fn shutdown(self) -> Result<(), LocalError> {
        let Self {
            stop,
            failure,
            tasks,
            thread_ended,
            handle,
            store,
            ..
        } = self;
        stop.send_replace(true);
        drop((handle, store));
        for task in tasks {
            // One that panicked has said so.
            drop(task.await);
        }
        // Nothing is ever sent: the journal is closed when the sender goes.
        drop(thread_ended.await);
        let failed = failure.borrow().clone();
        match failed {
            Some(reason) => Err(LocalError::Stopped(reason.to_string())),
            None => Ok(()),
        }
    }
}

/// The engine as the store left it, ready to go on.
pub(super) fn restored(
    store: &Store,
    manifest: &[u8],
    always_suspend: bool,
    now: u64,
) -> Result<(Engine, Reader), LocalError> {
    let catalog = Catalog::read(manifest, always_suspend);
    let catalog = catalog.map_err(|error| LocalError::Endpoint(error.to_string()))?;
    let seed = seed_of(store, now)?;
    let reader = Reader::new(store.clone(), Arc::new(catalog.clone()));
    let mut engine = Engine::new(catalog, ProtocolVersion::MAX, seed, now);
    engine.collect_changes();
    // No earlier run can have made as many: ids do not come twice.
    let made = now << 20;
    engine.attach_archive(Box::new(reader.clone()), reader.next_index()?, made);
    engine.restore(reader.live()?);
    Ok((engine, reader))
}

/// The seed of this journal's ids, made when it is new.
fn seed_of(store: &Store, now: u64) -> Result<u64, LocalError> {
    let known = store.get(Table::Settings, SEED)?;
    let known = known.as_deref().and_then(|seed| seed.try_into().ok());
    if let Some(seed) = known.map(u64::from_be_bytes) {
        return Ok(seed);
    }
    // Two journals made in one millisecond by one process may share it: ids are unique within one.
    let seed = now ^ (u64::from(std::process::id()) << 44);
    let value = Bytes::copy_from_slice(&seed.to_be_bytes());
    store.commit(&[Write::Put {
        table: Table::Settings,
        key: SEED.to_vec(),
        value,
    }])?;
    Ok(seed)
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
