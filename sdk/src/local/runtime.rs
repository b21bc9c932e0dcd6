//! [`LocalRuntime`]: one that runs, until it is stopped; and the engine as it is found on disk.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

#[cfg(feature = "local-kafka")]
use super::kafka::Consumers;
use super::{
    LocalRuntimeBuilder,
    archive::{ReadError, Reader},
    handle::Handle,
    store::{Store, StoreError, Table, Write},
};
use crate::{
    Endpoint,
    engine::{Engine, catalog::Catalog},
    protocol::ProtocolVersion,
};

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
    pub(super) ingress: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) stop: watch::Sender<bool>,
    /// Why it has failed, once it has.
    pub(super) failure: watch::Receiver<Option<Arc<str>>>,
    pub(super) tasks: Vec<JoinHandle<()>>,
    /// Drops when the thread that writes has ended.
    pub(super) thread_ended: oneshot::Receiver<()>,
    pub(super) handle: Handle,
    pub(super) store: Store,
    #[cfg(feature = "local-kafka")]
    pub(super) consumers: Consumers,
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
        LocalRuntimeBuilder::new(endpoint)
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
    engine.attach_archive(Box::new(reader.clone()), reader.next_index()?);
    engine.restore(reader.live()?);
    // What the engine looked for meanwhile.
    match reader.take_fault() {
        Some(fault) => Err(fault.into()),
        None => Ok((engine, reader)),
    }
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
