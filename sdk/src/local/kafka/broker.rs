//! What is asked of brokers: each question has its time, and what went wrong a name. Nothing is retried here.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use rskafka::{
    BackoffConfig, BackoffError, ConnectionError,
    chrono::DateTime,
    client::{
        Client, ClientBuilder,
        error::{Error, ProtocolError, RequestError},
        partition::{OffsetAt, PartitionClient, UnknownTopicHandling},
    },
    record::RecordAndOffset,
};
use tokio::sync::Mutex;

use super::KafkaSource;

/// How long a broker may take for an answer, beyond what it was told to wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read.
const MAX_ANSWER: u32 = 256 * 1024 * 1024;

/// Why a broker does not give what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{}", cause(.0))]
    Client(Error),
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// There may be one all the same: see [`partitions`].
    #[error("there is no such topic, or it is hidden from this user")]
    NoTopic,
    /// The partition is there, its records at this offset are not.
    #[error("the offset is out of range")]
    OutOfRange,
    /// The broker has answered, and the client cannot make records of it.
    #[error("the records cannot be decoded: {0}")]
    Undecodable(String),
}

/// The connection to a cluster, as long as it works.
#[derive(Debug)]
pub(super) struct Cluster {
    source: KafkaSource,
    client: Mutex<Option<Arc<Client>>>,
}

impl Cluster {
    pub(super) fn new(source: KafkaSource) -> Self {
        Self {
            source,
            client: Mutex::new(None),
        }
    }

    pub(super) async fn client(&self) -> Result<Arc<Client>, Trouble> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let built = Arc::new(within(PATIENCE, self.builder().build()).await?);
        *client = Some(Arc::clone(&built));
        Ok(built)
    }

    /// This one does not work any more: the next is made from the addresses that were given at first.
    pub(super) async fn forget(&self, failed: &Arc<Client>) {
        let mut client = self.client.lock().await;
        if client
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, failed))
        {
            *client = None;
        }
    }

    fn builder(&self) -> ClientBuilder {
        let brokers = self.source.brokers.split(',').map(str::trim);
        let brokers = brokers.filter(|one| !one.is_empty()).map(str::to_owned);
        let builder = ClientBuilder::new(brokers.collect())
            .client_id("durably")
            .max_message_size(MAX_ANSWER as usize)
            .backoff_config(BackoffConfig {
                // It gives up at once: who asks pauses, and says so in the log.
                deadline: Some(Duration::ZERO),
                ..BackoffConfig::default()
            });
        let builder = match &self.source.sasl {
            Some(sasl) => builder.sasl_config(sasl.clone()),
            None => builder,
        };
        #[cfg(feature = "tls")]
        let builder = match &self.source.tls {
            Some(tls) => builder.tls_config(Arc::clone(tls)),
            None => builder,
        };
        builder
    }
}

/// The numbers of a topic's partitions.
///
/// All topics are asked for, and the one is looked for among them. A broker leaves out those that the user may not
/// describe, so that one that is hidden looks like one that is not there. To ask for the one by its name would tell
/// them apart; but the client lets brokers make a topic then that is not there, and has no way to forbid it.
pub(super) async fn partitions(client: &Client, topic: &str) -> Result<BTreeSet<i32>, Trouble> {
    let mut topics = within(PATIENCE, client.list_topics()).await?.into_iter();
    let topic = topics.find(|known| known.name == topic);
    match topic {
        Some(topic) if !topic.partitions.is_empty() => Ok(topic.partitions),
        _ => Err(Trouble::NoTopic),
    }
}

pub(super) async fn partition(
    client: &Client,
    topic: &str,
    partition: i32,
) -> Result<PartitionClient, Trouble> {
    let opened = client.partition_client(topic, partition, UnknownTopicHandling::Error);
    within(PATIENCE, opened).await
}

/// Where the records of a partition begin, or end.
pub(super) async fn offset(partition: &PartitionClient, at: OffsetAt) -> Result<i64, Trouble> {
    within(PATIENCE, partition.get_offset(at)).await
}

/// Where the records of a partition begin that are not from before a moment, in milliseconds since 1970.
pub(super) async fn offset_since(partition: &PartitionClient, moment: i64) -> Result<i64, Trouble> {
    // Asked first: what comes between the two questions is behind it.
    let end = offset(partition, OffsetAt::Latest).await?;
    let Some(moment) = DateTime::from_timestamp_millis(moment) else {
        return Ok(end);
    };
    let found = offset(partition, OffsetAt::Timestamp(moment)).await?;
    // It is -1 if there is none.
    Ok(if found < 0 { end } else { found })
}

/// The records from an offset on, about so many bytes, and the partition's high watermark.
pub(super) async fn fetch(
    partition: &PartitionClient,
    offset: i64,
    bytes: u32,
    wait: Duration,
) -> Result<(Vec<RecordAndOffset>, i64), Trouble> {
    // The end is exclusive.
    let end = i32::try_from(bytes.saturating_add(1)).unwrap_or(i32::MAX);
    let max_wait = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let fetched = partition.fetch_records(offset, 1..end, max_wait);
    match within(wait.saturating_add(PATIENCE), fetched).await {
        Err(Trouble::Client(error)) if is_undecodable(&error) => {
            Err(Trouble::Undecodable(cause(&error)))
        }
        fetched => fetched,
    }
}

/// Whether an answer has come and cannot be read. A connection that fails is another error, also in its middle.
fn is_undecodable(error: &Error) -> bool {
    matches!(
        error,
        // A timestamp, for one.
        Error::InvalidResponse(_)
            | Error::Request(
                RequestError::ReadError(_)
                    | RequestError::ReadVersionedError(_)
                    | RequestError::TooMuchData { .. }
            )
    )
}

/// What the client has to say, without that it gave up at once.
fn cause(error: &Error) -> String {
    let failed = match error {
        Error::RetryFailed(failed) | Error::Connection(ConnectionError::RetryFailed(failed)) => {
            failed
        }
        other => return other.to_string(),
    };
    let BackoffError::DeadlineExceded { source, .. } = failed;
    source.to_string()
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Trouble> {
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::ServerError {
            protocol_error: ProtocolError::OffsetOutOfRange,
            ..
        })) => Err(Trouble::OutOfRange),
        Ok(Err(error)) => Err(Trouble::Client(error)),
        Err(_) => Err(Trouble::Slow(limit)),
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::{Error, RequestError, is_undecodable};

    #[test]
    fn what_cannot_be_decoded_is_told_from_what_has_not_come() {
        let timestamp = "Not a valid timestamp (9223372036854775807)".to_owned();
        assert!(is_undecodable(&Error::InvalidResponse(timestamp)));
        let broken = || RequestError::IO(io::Error::other("reset by peer"));
        for other in [
            Error::Request(broken()),
            Error::Request(RequestError::Poisoned(Arc::new(broken()))),
            Error::Timeout,
        ] {
            assert!(!is_undecodable(&other), "{other}");
        }
    }
}
