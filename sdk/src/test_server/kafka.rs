//! A Kafka broker of one's own, light enough for automated tests.
//!
//! In: topics and records. Out: an address that the Restate server consumes from. The program
//! speaks the Kafka protocol from one small process and needs no Java; it is a test tool and not a
//! broker to keep data in. This module consumes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rskafka::BackoffConfig;
use rskafka::chrono::{DateTime, Utc};
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::error::TestServerError;
use super::guard::{GuardedChild, Launch};
use super::install::KAFKA_BROKER;
use super::log::Log;
use super::port::free_port;

/// A broker is ready within a second; a machine that is busy compiling takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long [`KafkaBroker::terminate`] waits before it kills.
const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(10);

/// How often other ports are tried when somebody was faster to take one.
const PORT_ATTEMPTS: usize = 8;

/// How long a restart waits for its port, should somebody else have taken it.
const PORT_LIMIT: Duration = Duration::from_secs(10);

/// How long the first look at a starting broker may take that lets us connect. Each further one may take twice as
/// long, up to the limit of a request: what is too short on a machine that is busy must not be all that is tried.
const FIRST_LOOK_LIMIT: Duration = Duration::from_millis(200);

/// How long a request to the broker is repeated while it fails.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// A Kafka broker on loopback, with its data in a directory of its own.
///
/// It is killed when the value is dropped, and also when the test process itself is killed. The
/// program is `noida-db`: from the variable `NOIDA_DB_BIN`, else from the `PATH`, else installed
/// once with Python's pip into the same cache directory as the
/// [Restate server](super::RestateServer).
///
/// # Examples
///
/// ```no_run
/// use durably::test_server::{KafkaBroker, KafkaRecord};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = KafkaBroker::start().await?;
/// broker.create_topic("orders", 2).await?;
/// broker.produce("orders", None, Some(b"o-17"), Some(br#"{"item":"book"}"#)).await?;
/// let records = (0..1000).map(|n| KafkaRecord::new().key(format!("k{}", n % 10)).value(n.to_string()));
/// broker.produce_all("orders", records).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KafkaBroker {
    address: String,
    log: Log,
    launch: Launch,
    /// What is left of it if we are killed.
    data: PathBuf,
    /// None while it is down.
    child: Option<GuardedChild>,
    _directory: TempDir,
}

/// How one start of the program went.
enum Start {
    Ready,
    PortTaken(TestServerError),
}

/// A record to produce. Without settings it has neither key nor value.
///
/// # Examples
///
/// ```
/// # use durably::test_server::KafkaRecord;
/// let record = KafkaRecord::new().key("o-17").value(r#"{"item":"book"}"#).partition(1);
/// let tombstone = KafkaRecord::new().key("o-17");
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KafkaRecord {
    partition: Option<i32>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: BTreeMap<String, Vec<u8>>,
    timestamp: Option<SystemTime>,
}

impl KafkaRecord {
    /// A record with neither key nor value.
    ///
    /// # Examples
    ///
    /// See [`KafkaRecord`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the key. An empty key is not the same as none.
    ///
    /// # Examples
    ///
    /// See [`KafkaRecord`].
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value. An empty value is not the same as none.
    ///
    /// # Examples
    ///
    /// See [`KafkaRecord`].
    #[must_use]
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Chooses the partition. Otherwise equal keys go to the same one, and records without a key
    /// take turns.
    ///
    /// # Examples
    ///
    /// See [`KafkaRecord`].
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Adds a header.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::test_server::KafkaRecord;
    /// let record = KafkaRecord::new().value("hello").header("origin", "test");
    /// ```
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the record's timestamp; otherwise it is the time of producing.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::test_server::KafkaRecord;
    /// let record = KafkaRecord::new().value("old").timestamp(std::time::SystemTime::UNIX_EPOCH);
    /// ```
    #[must_use]
    pub fn timestamp(mut self, timestamp: SystemTime) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where the broker put a record.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::{KafkaBroker, TestServerError};
/// # async fn example(broker: KafkaBroker) -> Result<(), TestServerError> {
/// let position = broker.produce("orders", Some(1), None, Some(b"hello")).await?;
/// assert_eq!((position.partition, position.offset), (1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KafkaPosition {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

impl KafkaBroker {
    /// Starts a broker on a free loopback port and waits until it takes requests.
    ///
    /// # Errors
    ///
    /// When the program is missing and cannot be installed, or does not come up.
    ///
    /// # Examples
    ///
    /// See [`KafkaBroker`].
    pub async fn start() -> Result<Self, TestServerError> {
        let program = KAFKA_BROKER.locate(None).await?;
        let mut attempt = 1;
        loop {
            let directory = tempfile::Builder::new()
                .prefix("durably-kafka-")
                .tempdir()
                .map_err(TestServerError::io("create a directory for the broker"))?;
            let port = free_port().map_err(TestServerError::io("find a free loopback port"))?;
            let data = directory.path().join("data");
            let log = Log::new(directory.path().join("broker.log"));
            let mut launch = Launch {
                program: program.clone(),
                directory: Some(directory.path().to_owned()),
                ..Launch::default()
            };
            launch
                .args
                .extend(["start", "--only", "kafka", "--host", "127.0.0.1"].map(Into::into));
            launch
                .args
                .extend(["--kafka-port".into(), port.to_string().into()]);
            launch
                .args
                .extend(["--data-dir".into(), data.clone().into()]);
            let mut broker = Self {
                address: format!("127.0.0.1:{port}"),
                log,
                launch,
                data,
                child: None,
                _directory: directory,
            };
            match broker.launch_once().await? {
                Start::Ready => return Ok(broker),
                Start::PortTaken(error) if attempt == PORT_ATTEMPTS => return Err(error),
                Start::PortTaken(_) => attempt += 1,
            }
        }
    }

    /// Asks the broker to end (SIGTERM), which keeps its data, and waits until it has; kills it after 20 seconds.
    ///
    /// # Errors
    ///
    /// When the operating system cannot deliver the signal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(broker: &mut durably::test_server::KafkaBroker)
    /// # -> Result<(), durably::test_server::TestServerError> {
    /// broker.terminate().await?;
    /// broker.restart().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn terminate(&mut self) -> Result<(), TestServerError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let ended = child.terminate(PATIENCE).await;
        ended
            .map(|_| ())
            .map_err(TestServerError::io("terminate the broker"))
    }

    /// Starts the broker again at the same address and with the same data, and waits until it takes requests.
    /// Ends it before if it still runs.
    ///
    /// # Errors
    ///
    /// When it does not come up, or when somebody has taken its port meanwhile and does not give it back
    /// within ten seconds.
    ///
    /// # Examples
    ///
    /// See [`terminate`](Self::terminate).
    pub async fn restart(&mut self) -> Result<(), TestServerError> {
        self.terminate().await?;
        let start = Instant::now();
        loop {
            match self.launch_once().await? {
                Start::Ready => return Ok(()),
                Start::PortTaken(error) if start.elapsed() > PORT_LIMIT => return Err(error),
                Start::PortTaken(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Starts the program and waits until it takes requests, has ended, or takes too long.
    async fn launch_once(&mut self) -> Result<Start, TestServerError> {
        let doing = || TestServerError::io("start the broker");
        let log_start = self.log.len();
        let output = self.log.open().map_err(doing())?;
        let child = GuardedChild::spawn(&self.launch, Some(output), Some(&self.data));
        self.child = Some(child.map_err(doing())?);

        let start = Instant::now();
        let mut limit = FIRST_LOOK_LIMIT;
        loop {
            // A plain look first: the client would log each refusal as a warning.
            let answer = match TcpStream::connect(&self.address).await {
                Ok(_) => {
                    let asked = self.ask(limit).await;
                    limit = (limit * 2).min(REQUEST_LIMIT);
                    asked
                }
                Err(error) => Err(error.to_string()),
            };
            // After the request, so that an answer counts only if our own broker is still there.
            let ended = match self.child.as_mut().map(GuardedChild::try_wait) {
                None | Some(Ok(None)) => None,
                Some(Ok(Some(status))) => Some(format!("it ended with {status}")),
                Some(Err(error)) => Some(error.to_string()),
            };
            let reason = match (ended, answer) {
                (Some(ended), _) => ended,
                (None, Ok(())) => return Ok(Start::Ready),
                (None, Err(_)) if start.elapsed() < START_LIMIT => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                (None, Err(reason)) => reason,
            };
            let error = TestServerError::NotStarted {
                program: KAFKA_BROKER.name.to_owned(),
                reason,
                log: self.log.tail(),
            };
            return if self.log.text_from(log_start).contains("in use") {
                Ok(Start::PortTaken(error))
            } else {
                Err(error)
            };
        }
    }

    /// Whether the broker answers a request in time, and if not, why.
    async fn ask(&self, limit: Duration) -> Result<(), String> {
        // The client's own limit is one of its pauses only.
        match tokio::time::timeout(limit, self.client(limit)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }

    /// The broker's address, in the form of Kafka's setting `bootstrap.servers`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(broker: durably::test_server::KafkaBroker) {
    /// println!("kcat -b {} -t orders", broker.bootstrap_servers());
    /// # }
    /// ```
    pub fn bootstrap_servers(&self) -> &str {
        &self.address
    }

    /// The broker's process id; `None` after [`terminate`](Self::terminate).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(broker: durably::test_server::KafkaBroker) {
    /// println!("broker runs as {:?}", broker.id());
    /// # }
    /// ```
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(GuardedChild::id)
    }

    /// All that the broker has written so far.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(broker: durably::test_server::KafkaBroker) {
    /// println!("{}", broker.log());
    /// # }
    /// ```
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Creates a topic.
    ///
    /// Take a new name for each test: a subscription that saw a topic of that name before
    /// continues at its old offsets.
    ///
    /// # Errors
    ///
    /// When the broker refuses, for example because there is a topic of that name.
    ///
    /// # Examples
    ///
    /// See [`KafkaBroker`].
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), TestServerError> {
        let doing = format!("create the topic {name}");
        let controller = self
            .client(REQUEST_LIMIT)
            .await
            .map_err(TestServerError::kafka(&doing))?;
        let controller = controller
            .controller_client()
            .map_err(TestServerError::kafka(&doing))?;
        let limit_ms = i32::try_from(REQUEST_LIMIT.as_millis()).unwrap_or(i32::MAX);
        controller
            .create_topic(name, partitions, 1, limit_ms)
            .await
            .map_err(TestServerError::kafka(&doing))
    }

    /// Produces one record and waits until the broker has it.
    ///
    /// Without a partition, equal keys go to the same one.
    ///
    /// # Errors
    ///
    /// When the broker has no such topic or partition, or refuses the record.
    ///
    /// # Examples
    ///
    /// See [`KafkaBroker`].
    pub async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<KafkaPosition, TestServerError> {
        let record = KafkaRecord {
            partition,
            key: key.map(Into::into),
            value: value.map(Into::into),
            ..KafkaRecord::default()
        };
        let positions = self.produce_all(topic, [record]).await?;
        positions.first().copied().ok_or_else(|| {
            TestServerError::kafka(&format!("produce to {topic}"))("it gave no offset")
        })
    }

    /// Produces many records, in order within each partition, and gives their positions in the
    /// order of the records.
    ///
    /// # Errors
    ///
    /// As [`KafkaBroker::produce`]; records for other partitions may have been produced then.
    ///
    /// # Examples
    ///
    /// See [`KafkaBroker`].
    pub async fn produce_all(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = KafkaRecord>,
    ) -> Result<Vec<KafkaPosition>, TestServerError> {
        let doing = format!("produce to {topic}");
        let client = self
            .client(REQUEST_LIMIT)
            .await
            .map_err(TestServerError::kafka(&doing))?;
        let topics = client
            .list_topics()
            .await
            .map_err(TestServerError::kafka(&doing))?;
        let known = topics.into_iter().find(|known| known.name == topic);
        let partitions: Vec<i32> = known
            .map(|known| known.partitions.into_iter().collect())
            .ok_or("there is no such topic")
            .map_err(TestServerError::kafka(&doing))?;

        // Batches by partition, each record with its place among all.
        let mut batches: BTreeMap<i32, (Vec<usize>, Vec<Record>)> = BTreeMap::new();
        let mut count = 0;
        for record in records {
            let partition = match record.partition {
                Some(partition) => partition,
                None => choose_partition(&partitions, record.key.as_deref(), count)
                    .ok_or("the topic has no partitions")
                    .map_err(TestServerError::kafka(&doing))?,
            };
            let (places, batch) = batches.entry(partition).or_default();
            places.push(count);
            batch.push(Record {
                key: record.key,
                value: record.value,
                headers: record.headers,
                timestamp: milliseconds(record.timestamp.unwrap_or_else(SystemTime::now))
                    .ok_or("the timestamp is out of range")
                    .map_err(TestServerError::kafka(&doing))?,
            });
            count += 1;
        }

        let mut positions: Vec<(usize, KafkaPosition)> = Vec::with_capacity(count);
        for (partition, (places, batch)) in batches {
            if !partitions.contains(&partition) {
                let reason = format!("it has no partition {partition}");
                return Err(TestServerError::kafka(&doing)(reason));
            }
            let target = client
                .partition_client(topic, partition, UnknownTopicHandling::Error)
                .await
                .map_err(TestServerError::kafka(&doing))?;
            let offsets = target
                .produce(batch, Compression::NoCompression)
                .await
                .map_err(TestServerError::kafka(&doing))?;
            let placed = places.into_iter().zip(offsets);
            positions.extend(placed.map(|(at, offset)| (at, KafkaPosition { partition, offset })));
        }
        positions.sort_unstable_by_key(|(place, _)| *place);
        Ok(positions
            .into_iter()
            .map(|(_, position)| position)
            .collect())
    }

    /// A client for one request: kept ones would belong to the async runtime of one test.
    async fn client(&self, limit: Duration) -> Result<Client, rskafka::client::error::Error> {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(20),
            max_backoff: Duration::from_millis(500),
            deadline: Some(limit),
            ..BackoffConfig::default()
        };
        ClientBuilder::new(vec![self.address.clone()])
            .backoff_config(backoff)
            .build()
            .await
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        // Killed before its log is shown.
        self.child = None;
        self.log.show_if_panicking(KAFKA_BROKER.name);
    }
}

impl TestServerError {
    /// Names what the broker was asked when it did not do it.
    fn kafka<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        doing: &str,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let doing = doing.to_owned();
        move |source| Self::Kafka {
            doing,
            source: source.into(),
        }
    }
}

/// A record's timestamp: whole milliseconds, of times since 1970 only.
fn milliseconds(time: SystemTime) -> Option<DateTime<Utc>> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    DateTime::from_timestamp_millis(i64::try_from(since.as_millis()).ok()?)
}

/// Spreads keys evenly (FNV-1a), and records without a key in turns.
fn choose_partition(partitions: &[i32], key: Option<&[u8]>, count: usize) -> Option<i32> {
    let number = match key {
        Some(key) => {
            let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            // Both halves, since keys that differ in their last letters differ in few bits of each.
            usize::try_from((hash ^ (hash >> 32)) & 0x7fff_ffff).unwrap_or_default()
        }
        None => count,
    };
    partitions
        .get(number.checked_rem(partitions.len())?)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::choose_partition;

    #[test]
    fn equal_keys_meet_and_others_spread() {
        for partitions in [&[0, 1, 2][..], &[0, 1, 2, 3], &[0, 1, 2, 3, 4, 5, 6, 7]] {
            let of = |key: &str| choose_partition(partitions, Some(key.as_bytes()), 0).unwrap();
            let mut counts = vec![0; partitions.len()];
            for n in 0..100 * partitions.len() {
                let key = format!("key-{n:03}");
                assert_eq!(of(&key), of(&key));
                counts[usize::try_from(of(&key)).unwrap()] += 1;
            }
            assert!(
                counts.iter().all(|count| (50..150).contains(count)),
                "{counts:?}"
            );
        }
        assert_eq!(choose_partition(&[0, 1, 2], None, 4), Some(1));
        assert_eq!(choose_partition(&[], None, 4), None);
    }
}
