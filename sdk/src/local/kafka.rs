//! Kafka: what a user says of a subscription, and how the runtime sets it up.
//!
//! In: [`KafkaSource`]s. Out: tasks that consume their topics (`consume`, over `broker`), whose records become
//! invocations on the task that owns the engine (`take`), and how far each is (`position`); `pace` says how much is
//! asked for, and when. `consumers` sets it all up. The offsets are in the journal: there is no consumer group.

mod broker;
mod consume;
mod consumers;
mod fetch;
mod offsets;
mod pace;
mod position;
mod take;

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{collections::BTreeMap, fmt, time::Duration};

use rskafka::client::{Credentials, SaslConfig};

use super::{LocalRuntime, LocalRuntimeBuilder};
use crate::Target;

pub(super) use self::consumers::Consumers;
pub use self::position::SubscriptionState;

/// Records whose invocation has not ended, at most, unless it is said otherwise.
const MAX_IN_FLIGHT: usize = 256;

/// What is fetched at once.
const FETCH_BYTES: u32 = 1024 * 1024;

/// How long a broker waits for records before it answers that there are none.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// How often it is looked for new partitions.
const REFRESH: Duration = Duration::from_secs(30);

/// A topic of Kafka whose records become invocations of a handler: a subscription of a
/// [`LocalRuntime`](crate::local::LocalRuntime), given to [`LocalRuntimeBuilder::subscribe`].
///
/// The handler sees what it would see on the Restate server: see [`KafkaEvent`](crate::KafkaEvent). Its
/// `#[handler(kafka(…))]`, a [`KafkaPolicy`](crate::KafkaPolicy), works unchanged.
///
/// * **Exactly once.** The offset up to which a partition has been consumed is written in the same commit as the
///   invocations of the records before it. After a crash at any moment it goes on from there: no record is lost, none
///   makes two invocations. Kafka's own groups play no part; its tools show no lag. [`LocalRuntime::subscriptions`] does.
/// * **Order.** A partition's records are submitted in its order, so the records of a key reach an object one
///   after the other in that order. A service gets its records all at once and in no order.
/// * **Back-pressure.** [`max_in_flight`](Self::max_in_flight) bounds the records whose invocation has not ended. At the
///   bound nothing more is submitted, and at most one fetch of each partition waits in memory: a backlog of a million
///   records stays in Kafka.
/// * **No head of the line, up to that bound.** A slow key, or one whose invocation is retried or paused, holds up nobody else
///   as long as fewer than `max_in_flight` records are behind it. What waits behind it counts as in flight, so enough
///   of it holds up the whole subscription; the log says so after a minute. Then resume or cancel what is paused, or
///   allow more.
/// * **Failures of the broker** are retried for ever, with growing pauses and a warning each. The runtime starts also while
///   the broker is down, or the topic does not exist yet. A partition without a leader holds up no other.
///
/// # Records that are out of the ordinary
///
/// | what | what happens |
/// | --- | --- |
/// | no value, an empty value | a tombstone, as on the server |
/// | no key, an empty key | the object with the key `""`, as on the server |
/// | a key that is not UTF-8, for an object or workflow | as [`on_unreadable_key`](Self::on_unreadable_key) says: skipped and logged as an error, unless told otherwise. (On the server the partition stops for good.) A service takes any key |
/// | the second record for the run of a workflow | makes no invocation, as on the server; logged and counted |
/// | record headers | not passed on, as on the server. They are read all the same: see the next row |
/// | **a record that cannot be decoded**: a header whose value is null (not the same as empty) or whose name is not UTF-8, a timestamp beyond the year 262,000 | the partition stands still before the batch with it, tried again every minute; [`SubscriptionState::halted`] says where, as does the log, once. [`skip`](Self::skip) passes over the batch |
/// | **a topic that producers write to in transactions** | do not subscribe to it: the mark at the end of a transaction cannot be decoded either, so the partition stands still there, as before such a record |
/// | records gone before they were consumed (retention) | the partition goes on where [`offset_reset`](Self::offset_reset) says; logged as an error |
/// | a topic made anew | the same, if a partition is shorter now than what was consumed of the old one. **If it is longer by the time it is looked at, nobody notices**: it goes on at the old offset, and what is before that in the new topic is never consumed. Give a subscription to a topic that is made anew a new [`name`](Self::name) |
/// | a partition that has lost its last records (a leader was elected that did not have them all) | the same as a topic made anew: nobody can tell them apart. So with [`OffsetReset::Earliest`] **the records that it still has make invocations a second time** |
/// | a topic deleted | is waited for; what has been submitted goes on |
/// | a topic that the broker does not list: not there yet, or hidden from the user | is waited for. The two cannot be told apart, so [`OffsetReset::Latest`] does not mean the beginning of a topic that appears later: it goes on with the first record whose timestamp is not from before the wait (less a minute, as clocks differ) |
/// | a new partition | is consumed from its beginning, within [`partition_refresh`](Self::partition_refresh) |
/// | batches compressed with gzip, snappy, lz4, zstd | are read |
/// | a batch above 256 MiB | cannot be read: the partition stands still, with a warning at each try |
/// | a timestamp that the broker has set (`LogAppendTime`) | the handler sees the producer's |
///
/// # Examples
///
/// ```no_run
/// use durably::{local::{KafkaSource, LocalRuntime, OffsetReset}, prelude::*};
///
/// struct Orders;
///
/// #[durably::object]
/// impl Orders {
///     #[handler]
///     async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
///         let sum = ctx.get::<u64>("sum").await?.unwrap_or_default();
///         ctx.set("sum", &(sum + event.value().unwrap_or(&0)));
///         Ok(())
///     }
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let orders = KafkaSource::new("localhost:9092", "orders", "Orders/on_event")
///     .offset_reset(OffsetReset::Earliest)
///     .max_in_flight(64);
/// let endpoint = Endpoint::builder().bind(Orders).build()?;
/// LocalRuntime::builder(endpoint).subscribe(orders).run().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "give it to `LocalRuntimeBuilder::subscribe`"]
pub struct KafkaSource {
    brokers: String,
    topic: String,
    handler: String,
    name: String,
    offset_reset: OffsetReset,
    max_in_flight: usize,
    fetch_bytes: u32,
    fetch_wait: Duration,
    refresh: Duration,
    on_unreadable_key: UnreadableKey,
    /// Up to which offset, by partition.
    skips: BTreeMap<i32, i64>,
    sasl: Option<SaslConfig>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<crate::rustls::ClientConfig>>,
}

/// Where a new subscription begins, and one whose place in a partition is not there any more: what Kafka calls
/// `auto.offset.reset`.
///
/// # Examples
///
/// See [`KafkaSource`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetReset {
    /// With the first record that the broker still has.
    Earliest,
    /// Behind the last record: those from before are skipped. What comes once the subscription has begun is not,
    /// also while the runtime is down, and in a topic or partition that comes only later.
    #[default]
    Latest,
}

/// What becomes of a record for an object or a workflow whose key is not UTF-8.
///
/// # Examples
///
/// ```
/// use durably::{Target, local::{KafkaSource, UnreadableKey}};
///
/// let letters = Target::object("DeadLetters", "readings", "record");
/// let readings = KafkaSource::new("localhost:9092", "readings", "Sensor/measured")
///     .on_unreadable_key(UnreadableKey::DeadLetter(letters));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnreadableKey {
    /// It is skipped; that is logged as an error, and counted in [`SubscriptionState::dropped`].
    #[default]
    Skip,
    /// The partition stops before it until the runtime is started anew, and
    /// [`SubscriptionState::halted`] says why. The other partitions go on.
    Halt,
    /// It is sent to this handler, as a [`DeadLetter`](crate::DeadLetter) whose invocation id is empty.
    DeadLetter(Target),
}

impl KafkaSource {
    /// A topic, and the handler for its records as `"Service/handler"`. `brokers` is what Kafka calls
    /// `bootstrap.servers`: `host:port`, several with commas between.
    ///
    /// # Examples
    ///
    /// See [`KafkaSource`].
    pub fn new(
        brokers: impl Into<String>,
        topic: impl Into<String>,
        handler: impl Into<String>,
    ) -> Self {
        let (topic, handler) = (topic.into(), handler.into());
        Self {
            brokers: brokers.into(),
            name: format!("{topic}:{handler}"),
            topic,
            handler,
            offset_reset: OffsetReset::default(),
            max_in_flight: MAX_IN_FLIGHT,
            fetch_bytes: FETCH_BYTES,
            fetch_wait: FETCH_WAIT,
            refresh: REFRESH,
            on_unreadable_key: UnreadableKey::default(),
            skips: BTreeMap::new(),
            sasl: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// What the journal knows the subscription by: its offsets belong to its name, its topic and a partition. A handler
    /// sees it as [`KafkaEvent::subscription_id`](crate::KafkaEvent::subscription_id). Default: topic and handler,
    /// `orders:Orders/on_event`.
    ///
    /// A new name is a new subscription. Name one that shall go on when its handler gets another name.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("localhost:9092", "orders", "Orders/on_event").name("orders-2");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where it begins if it is new, and where it goes on when its place in a partition is not there any
    /// more. Default: [`OffsetReset::Latest`], as on the server.
    ///
    /// # Examples
    ///
    /// See [`KafkaSource`].
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.offset_reset = reset;
        self
    }

    /// How many records may have an invocation that has not ended: running, waiting for its turn, suspended,
    /// retried or paused, also from before a restart. It counts over all partitions. Default: 256; at least 1.
    ///
    /// # Examples
    ///
    /// See [`KafkaSource`].
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.max_in_flight = records;
        self
    }

    /// How many bytes of a partition are fetched at once, about. A batch is never split: a larger one comes whole.
    /// Default: 1 MiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("localhost:9092", "scans", "Scans/on_scan").fetch_bytes(16 * 1024 * 1024);
    /// ```
    pub fn fetch_bytes(mut self, bytes: u32) -> Self {
        self.fetch_bytes = bytes;
        self
    }

    /// How long the broker waits for a record before it answers that there is none. Records are delivered at
    /// once whatever it is. Default: 500 ms; at least 50 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("localhost:9092", "audits", "Audits/on_audit").fetch_wait(Duration::from_secs(5));
    /// ```
    pub fn fetch_wait(mut self, wait: Duration) -> Self {
        self.fetch_wait = wait;
        self
    }

    /// How often it is looked for new partitions of the topic. Default: 30 s; at least 100 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("localhost:9092", "orders", "Orders/on_event")
    ///     .partition_refresh(Duration::from_secs(5));
    /// ```
    pub fn partition_refresh(mut self, every: Duration) -> Self {
        self.refresh = every;
        self
    }

    /// What becomes of a record for an object or a workflow whose key is not UTF-8. Default:
    /// [`UnreadableKey::Skip`].
    ///
    /// # Examples
    ///
    /// See [`UnreadableKey`].
    pub fn on_unreadable_key(mut self, then: UnreadableKey) -> Self {
        self.on_unreadable_key = then;
        self
    }

    /// Passes over the records of a partition up to an offset, that one included: the way past a batch that cannot be
    /// decoded. [`SubscriptionState::halted`] names the offset to give.
    ///
    /// At each start, the partition goes on behind the offset, unless it is there already; so it does no harm to leave
    /// it in, as long as the topic is not made anew. The step is written like any other, and logged as a warning. An
    /// offset that the partition does not have yet is not gone to, which is logged as an error. Of several offsets for
    /// a partition the largest counts.
    ///
    /// Records come in batches, which are decoded wholly or not at all. So the other records of the batch are lost to the
    /// handler along with the one at fault. Another consumer can read them, and the ingress takes them.
    ///
    /// # Examples
    ///
    /// After "the batch at offset 4711 of partition 3 of the topic `orders` cannot be decoded: …;
    /// `KafkaSource::skip(3, 4719)` passes over it":
    ///
    /// ```
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("localhost:9092", "orders", "Orders/on_event").skip(3, 4719);
    /// ```
    pub fn skip(mut self, partition: i32, offset: i64) -> Self {
        let last = self.skips.entry(partition).or_insert(offset);
        *last = offset.max(*last);
        self
    }

    /// Signs in with a name and a password: SASL, mechanism `PLAIN`. Use it with TLS only.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("kafka.example:9093", "orders", "Orders/on_event")
    ///     .sasl_plain("orders-app", "secret");
    /// assert!(!format!("{source:?}").contains("secret"));
    /// ```
    pub fn sasl_plain(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let credentials = Credentials::new(user.into(), password.into());
        self.sasl = Some(SaslConfig::Plain(credentials));
        self
    }

    /// As [`sasl_plain`](Self::sasl_plain), with the mechanism `SCRAM-SHA-256`.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("kafka.example:9093", "orders", "Orders/on_event")
    ///     .sasl_scram_sha_256("orders-app", "secret");
    /// ```
    pub fn sasl_scram_sha_256(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        let credentials = Credentials::new(user.into(), password.into());
        self.sasl = Some(SaslConfig::ScramSha256(credentials));
        self
    }

    /// As [`sasl_plain`](Self::sasl_plain), with the mechanism `SCRAM-SHA-512`.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::local::KafkaSource;
    ///
    /// let source = KafkaSource::new("kafka.example:9093", "orders", "Orders/on_event")
    ///     .sasl_scram_sha_512("orders-app", "secret");
    /// ```
    pub fn sasl_scram_sha_512(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        let credentials = Credentials::new(user.into(), password.into());
        self.sasl = Some(SaslConfig::ScramSha512(credentials));
        self
    }

    /// Speaks TLS with the brokers (features `local-kafka` and `tls`).
    ///
    /// # Examples
    ///
    /// Brokers with certificates of our own authority:
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use durably::{local::KafkaSource, rustls};
    /// use rustls::pki_types::{CertificateDer, pem::PemObject};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut roots = rustls::RootCertStore::empty();
    /// roots.add(CertificateDer::from_pem_file("authority.pem")?)?;
    /// let provider = Arc::new(rustls::crypto::ring::default_provider());
    /// let config = rustls::ClientConfig::builder_with_provider(provider)
    ///     .with_safe_default_protocol_versions()?
    ///     .with_root_certificates(roots)
    ///     .with_no_client_auth();
    /// let source = KafkaSource::new("kafka.example:9093", "orders", "Orders/on_event").tls(config);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: crate::rustls::ClientConfig) -> Self {
        self.tls = Some(Arc::new(config));
        self
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without credentials.
        f.debug_struct("KafkaSource")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("handler", &self.handler)
            .field("name", &self.name)
            .field("offset_reset", &self.offset_reset)
            .field("max_in_flight", &self.max_in_flight)
            .field("skips", &self.skips)
            .finish_non_exhaustive()
    }
}

impl LocalRuntimeBuilder {
    /// Makes records of a Kafka topic into invocations. Several may be given, also of one topic; their names must differ.
    ///
    /// # Examples
    ///
    /// See [`KafkaSource`].
    pub fn subscribe(mut self, source: KafkaSource) -> Self {
        self.sources.push(source);
        self
    }
}

impl LocalRuntime {
    /// How far the subscriptions are: one entry for each partition that is known.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(runtime: &durably::local::LocalRuntime) {
    /// for state in runtime.subscriptions() {
    ///     println!("{} {}/{}: {:?} behind, {} in flight", state.name, state.topic, state.partition,
    ///         state.lag(), state.in_flight);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionState> {
        self.consumers.states()
    }
}
