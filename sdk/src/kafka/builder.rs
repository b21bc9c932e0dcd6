//! Kafka events for tests.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{KafkaEvent, KafkaRecord};

/// Makes a [`KafkaEvent`] as a record brings it, for tests.
///
/// What is not set is the first record (offset 0) of partition 0 of `topic`, without a key,
/// timestamp or subscription.
///
/// # Examples
///
/// ```
/// use durably::KafkaEvent;
///
/// let event = KafkaEvent::builder(7)
///     .topic("numbers")
///     .partition(3)
///     .offset(42)
///     .key("seven")
///     .timestamp_millis(1_793_620_800_000)
///     .subscription_id("sub_1")
///     .build();
/// assert_eq!(event.key_str(), Some("seven"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "call `.build()`"]
pub struct KafkaEventBuilder<T> {
    pub(super) value: Option<T>,
    pub(super) record: KafkaRecord,
}

impl<T> KafkaEventBuilder<T> {
    pub(super) fn new(value: Option<T>) -> Self {
        let record = KafkaRecord {
            topic: "topic".to_owned(),
            partition: 0,
            offset: 0,
            timestamp_millis: None,
            key: None,
            subscription_id: None,
        };
        Self { value, record }
    }

    /// Sets the topic.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).topic("numbers").build();
    /// assert_eq!(event.topic(), Some("numbers"));
    /// ```
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.record.topic = topic.into();
        self
    }

    /// Sets the partition.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).partition(3).build();
    /// assert_eq!(event.partition(), Some(3));
    /// ```
    pub fn partition(mut self, partition: i32) -> Self {
        self.record.partition = partition;
        self
    }

    /// Sets the offset.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).offset(42).build();
    /// assert_eq!(event.offset(), Some(42));
    /// ```
    pub fn offset(mut self, offset: i64) -> Self {
        self.record.offset = offset;
        self
    }

    /// Sets the key, text or bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).key("seven").build();
    /// assert_eq!(event.key_str(), Some("seven"));
    /// ```
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.record.key = Some(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// Sets the timestamp, which Kafka keeps in whole milliseconds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// let epoch = SystemTime::UNIX_EPOCH;
    /// let event = durably::KafkaEvent::builder(7).timestamp(epoch).build();
    /// assert_eq!(event.timestamp_millis(), Some(0));
    /// ```
    pub fn timestamp(self, timestamp: SystemTime) -> Self {
        let saturating = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let millis = match timestamp.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => saturating(after),
            Err(before) => -saturating(before.duration()),
        };
        self.timestamp_millis(millis)
    }

    /// Sets the timestamp in milliseconds since the epoch.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).timestamp_millis(1_000).build();
    /// assert_eq!(event.timestamp_millis(), Some(1_000));
    /// ```
    pub fn timestamp_millis(mut self, millis: i64) -> Self {
        self.record.timestamp_millis = Some(millis);
        self
    }

    /// Sets the id of the subscription.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).subscription_id("sub_1").build();
    /// assert_eq!(event.subscription_id(), Some("sub_1"));
    /// ```
    pub fn subscription_id(mut self, id: impl Into<String>) -> Self {
        self.record.subscription_id = Some(id.into());
        self
    }

    /// Makes the event, with the headers that the runtime would send.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = durably::KafkaEvent::builder(7).build();
    /// assert_eq!(event.headers().get("kafka.offset"), Some("0"));
    /// ```
    #[must_use]
    pub fn build(self) -> KafkaEvent<T> {
        let headers = self.record.to_headers();
        KafkaEvent {
            value: self.value,
            record: Some(self.record),
            headers,
        }
    }

    /// The record, and its value; for the test kit.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn into_parts(self) -> (KafkaRecord, Option<T>) {
        (self.record, self.value)
    }
}
