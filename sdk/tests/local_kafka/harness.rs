//! What the tests share: handlers that tell what they have seen, runtimes on a folder of their own, and waiting.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use durably::{
    local::{
        Fsync, KafkaSource, LocalError, LocalRuntime, OffsetReset, StoreError, SubscriptionState,
    },
    prelude::*,
    test_server::{KafkaBroker, KafkaRecord},
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The machine may be busy.
const LIMIT: Duration = Duration::from_secs(180);

/// A record as a handler saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) value: Option<u64>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    pub(crate) by: Option<String>,
}

/// What handlers tell by key: the last word of each, which is made of the object's state. So an attempt that is made
/// twice says the same again, and an invocation that is there twice shows.
#[derive(Clone, Debug)]
pub(crate) struct Ledger<T>(Arc<Mutex<BTreeMap<String, T>>>);

impl<T> Default for Ledger<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Ledger<T> {
    pub(crate) fn tell(&self, key: &str, word: T) {
        self.0.lock().unwrap().insert(key.to_owned(), word);
    }

    pub(crate) fn all(&self) -> BTreeMap<String, T> {
        self.0.lock().unwrap().clone()
    }
}

/// Keeps every record of its key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(pub(crate) Ledger<Vec<Seen>>);

#[durably::object]
impl Events {
    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        assert_eq!(event.key_str().unwrap_or(""), ctx.key());
        assert!(event.timestamp().is_some());
        let mut seen = ctx.get::<Vec<Seen>>("seen").await?.unwrap_or_default();
        seen.push(Seen {
            value: event.value().copied(),
            partition: event.partition(),
            offset: event.offset(),
            by: event.subscription_id().map(str::to_owned),
        });
        ctx.set("seen", &seen);
        self.0.tell(ctx.key(), seen);
        Ok(())
    }
}

/// How many records of a key there were, and the sum of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    /// Of the values, which grow: none came late.
    pub(crate) last: u64,
}

impl Total {
    pub(crate) fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum += value;
        self.last = value;
    }
}

/// Sums up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals(pub(crate) Ledger<Total>);

impl Totals {
    pub(crate) async fn sum_up(&self, ctx: &ObjectContext, value: u64) -> HandlerResult<()> {
        let mut total = ctx.get::<Total>("total").await?.unwrap_or_default();
        if total.count > 0 && value <= total.last {
            return Err(TerminalError::new("a record came late, or twice").into());
        }
        total.add(value);
        ctx.set("total", &total);
        self.0.tell(ctx.key(), total);
        Ok(())
    }
}

#[durably::object]
impl Totals {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        self.sum_up(ctx, *event.value().unwrap_or(&0)).await
    }
}

/// As many records for `keys` keys, with the values 1, 2, 3 …
pub(crate) fn numbered(from: u64, to: u64, keys: u64) -> impl Iterator<Item = KafkaRecord> {
    (from..to).map(move |n| {
        KafkaRecord::new()
            .key(format!("key {}", n % keys))
            .value(n.to_string())
    })
}

/// The totals of such records.
pub(crate) fn totals(from: u64, to: u64, keys: u64) -> BTreeMap<String, Total> {
    let mut totals = BTreeMap::<String, Total>::new();
    for n in from..to {
        totals
            .entry(format!("key {}", n % keys))
            .or_default()
            .add(n);
    }
    totals
}

pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("durably-local-kafka-")
        .tempdir()
        .unwrap()
}

pub(crate) fn source(broker: &KafkaBroker, topic: &str, handler: &str) -> KafkaSource {
    KafkaSource::new(broker.bootstrap_servers(), topic, handler).offset_reset(OffsetReset::Earliest)
}

/// What the subscriptions have warned of, of all tests: topics have names of their own.
static WARNINGS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Writes to [`WARNINGS`].
struct Warnings;

impl io::Write for Warnings {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WARNINGS.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record_log() {
    // `RUST_LOG=durably=trace,rskafka=info` tells what happens.
    let shown = EnvFilter::from_default_env();
    let kept = Targets::new().with_target("durably::local::kafka", LevelFilter::WARN);
    let log = tracing_subscriber::registry()
        .with(
            tracing_subscriber::fmt::layer()
                .with_test_writer()
                .with_filter(shown),
        )
        .with(
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(|| Warnings)
                .with_filter(kept),
        );
    // Another test may have come first.
    drop(log.try_init());
}

/// Waits until a subscription has warned of something.
pub(crate) async fn warned(of: &str) {
    let is_said = || String::from_utf8_lossy(&WARNINGS.lock().unwrap()).contains(of);
    eventually(&format!("a warning of {of}"), is_said).await;
}

/// Starts a runtime; who used the folder before may still be leaving it.
pub(crate) async fn start(
    folder: &Path,
    endpoint: &Endpoint,
    sources: impl IntoIterator<Item = KafkaSource>,
) -> LocalRuntime {
    record_log();
    let sources: Vec<_> = sources.into_iter().collect();
    let begun = Instant::now();
    loop {
        match try_start(folder, endpoint, sources.clone()).await {
            Ok(runtime) => return runtime,
            Err(LocalError::Store(StoreError::InUse { .. })) if begun.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) async fn try_start(
    folder: &Path,
    endpoint: &Endpoint,
    sources: impl IntoIterator<Item = KafkaSource>,
) -> std::result::Result<LocalRuntime, LocalError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let builder = LocalRuntime::builder(endpoint.clone())
        .path(folder.join("data"))
        .fsync(Fsync::Never)
        .ingress(any)
        .admin(any);
    let sources = sources.into_iter();
    sources
        .fold(builder, |builder, source| builder.subscribe(source))
        .start()
        .await
}

/// Waits until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn in_flight(runtime: &LocalRuntime) -> usize {
    let states = runtime.subscriptions();
    states.iter().map(|state| state.in_flight).sum()
}

/// How many records were made into invocations by now.
pub(crate) fn so_far(runtime: &LocalRuntime) -> i64 {
    let states = runtime.subscriptions();
    states.iter().map(|state| state.next_offset).sum()
}

/// Waits until so many records were consumed, and their invocations have ended.
pub(crate) async fn consumed(runtime: &LocalRuntime, records: i64) {
    // In this order: what those offsets stand for is in flight, or has been.
    let is_done = || so_far(runtime) >= records && in_flight(runtime) == 0;
    eventually(&format!("{records} records are consumed"), is_done).await;
    assert_eq!(so_far(runtime), records, "{:?}", runtime.subscriptions());
}

pub(crate) fn state(runtime: &LocalRuntime, partition: i32) -> SubscriptionState {
    let states = runtime.subscriptions().into_iter();
    let mut states = states.filter(|state| state.partition == partition);
    states.next().unwrap()
}
