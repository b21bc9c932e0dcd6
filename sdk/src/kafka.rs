//! A Kafka record as a handler's input.
//!
//! In: an invocation's input. The runtime sends a record's value as the body and what else it knows
//! of the record as headers: `kafka.offset`, `kafka.topic`, `kafka.partition`, `kafka.timestamp`
//! (milliseconds, if the record has one), `restate.subscription.id`, and `kafka.key` (base64,
//! URL-safe, padded; absent for a null key). Out: a [`KafkaEvent`], or a terminal error with code
//! 400 that names the header or the field.
//!
//! The record's own headers do not reach a handler: the runtime does not pass them on.

mod builder;
mod dead_letter;
mod policy;

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

pub use self::builder::KafkaEventBuilder;
pub use self::dead_letter::DeadLetter;
pub use self::policy::{KafkaPolicy, RecordFailure};
use crate::error::TerminalError;
use crate::payload::{Decode, FromInput, Headers, Input, bad_input};

const TOPIC: &str = "kafka.topic";
const PARTITION: &str = "kafka.partition";
const OFFSET: &str = "kafka.offset";
const TIMESTAMP: &str = "kafka.timestamp";
const KEY: &str = "kafka.key";
const SUBSCRIPTION_ID: &str = "restate.subscription.id";

/// Padded is what the runtime writes; unpadded is as clear.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A handler's input that comes from a Kafka topic: the record's value, and where it stood.
///
/// The handler may be subscribed to a topic and called like any other; generated clients take a
/// `T`. When it was called, there is a value and no record, so all that concerns the record is an
/// `Option`.
///
/// * The value is decoded as `T` ([`Decode`]: JSON for `serde` types, [`Raw`](crate::Raw) for bytes,
///   [`Proto`](crate::Proto) for protocol buffers). A record whose value cannot be decoded ends its
///   invocation with a terminal error and is not delivered again, unless the handler has a
///   [`KafkaPolicy`](crate::KafkaPolicy): to pause, or to hand the record to a handler of dead letters.
/// * A *tombstone*, a record without a value, has the value `None`. The runtime does not tell a null
///   value from an empty one: both are tombstones here, also where `T` would accept an empty body.
/// * For virtual objects and workflows the record's key is the object's key and must be UTF-8. A null
///   key and an empty one both become the empty object key; [`key`](Self::key) tells them apart. A
///   service may get any bytes for a key.
/// * The headers tell whether there is a record ([`from_kafka`](Self::from_kafka)), and a caller may
///   send such headers too: do not take them for proof of origin.
///
/// What the runtime does with records that are out of the ordinary, and with a backlog, is told in the guide's
/// page on Kafka (`guide::kafka`).
///
/// # Examples
///
/// ```
/// use durably::KafkaEvent;
///
/// #[derive(serde::Deserialize)]
/// struct Price { cents: u64 }
///
/// /// What a handler would do with it.
/// fn on_price(event: &KafkaEvent<Price>) -> String {
///     let sku = event.key_str().unwrap_or("?");
///     match event.value() {
///         Some(price) => format!("{sku} costs {}", price.cents),
///         None => format!("{sku} is gone"), // a tombstone
///     }
/// }
///
/// let event = KafkaEvent::builder(Price { cents: 499 }).topic("prices").key("A-17").build();
/// assert_eq!(on_price(&event), "A-17 costs 499");
///
/// let event = KafkaEvent::tombstone().topic("prices").key("A-17").build();
/// assert_eq!(on_price(&event), "A-17 is gone");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaEvent<T> {
    value: Option<T>,
    record: Option<KafkaRecord>,
    headers: Headers,
}

/// Where a record stood in Kafka, and its key.
///
/// # Examples
///
/// ```
/// use durably::KafkaEvent;
///
/// let event = KafkaEvent::builder(7).topic("numbers").partition(3).offset(42).build();
/// if let Some(record) = event.record() {
///     assert_eq!((&*record.topic, record.partition, record.offset), ("numbers", 3, 42));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KafkaRecord {
    /// The topic.
    pub topic: String,
    /// The partition of the topic.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The timestamp in milliseconds since the epoch, if the record has one.
    pub timestamp_millis: Option<i64>,
    /// The key; `None` for a null key.
    pub key: Option<Bytes>,
    /// The id of the subscription that brought the record here.
    pub subscription_id: Option<String>,
}

impl<T> KafkaEvent<T> {
    /// Starts an event as a record brings it, for tests.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::builder("hi").key("greeting").offset(3).build();
    /// assert_eq!(event.value(), Some(&"hi"));
    /// assert_eq!(event.offset(), Some(3));
    /// ```
    pub fn builder(value: T) -> KafkaEventBuilder<T> {
        KafkaEventBuilder::new(Some(value))
    }

    /// Starts a record without a value, for tests.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event: KafkaEvent<String> = KafkaEvent::tombstone().key("greeting").build();
    /// assert!(event.is_tombstone());
    /// ```
    pub fn tombstone() -> KafkaEventBuilder<T> {
        KafkaEventBuilder::new(None)
    }

    /// An event as a call brings it, without a record, for tests.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::from_call("hi");
    /// assert_eq!(event.value(), Some(&"hi"));
    /// assert!(!event.from_kafka());
    /// ```
    pub fn from_call(value: T) -> Self {
        Self {
            value: Some(value),
            record: None,
            headers: Headers::default(),
        }
    }

    /// The value; `None` if this is a tombstone.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert_eq!(KafkaEvent::builder(7).build().value(), Some(&7));
    /// ```
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// The value, taken out of the event; `None` if this is a tombstone.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let Some(number) = KafkaEvent::builder(7).build().into_value() else { return };
    /// assert_eq!(number, 7);
    /// ```
    #[must_use]
    pub fn into_value(self) -> Option<T> {
        self.value
    }

    /// Whether this is a record without a value (or with an empty one).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert!(KafkaEvent::<u32>::tombstone().build().is_tombstone());
    /// assert!(!KafkaEvent::from_call(()).is_tombstone());
    /// ```
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.value.is_none()
    }

    /// Whether a record brought the event, rather than a call.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert!(KafkaEvent::builder(7).build().from_kafka());
    /// ```
    #[must_use]
    pub fn from_kafka(&self) -> bool {
        self.record.is_some()
    }

    /// The record; `None` if the handler was called.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::builder(7).topic("numbers").build();
    /// assert_eq!(event.record().map(|record| &*record.topic), Some("numbers"));
    /// ```
    #[must_use]
    pub fn record(&self) -> Option<&KafkaRecord> {
        self.record.as_ref()
    }

    /// The record's key; `None` for a null key and without a record.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::builder(7).key([0xff, 0x00]).build();
    /// assert_eq!(event.key().unwrap(), &[0xff, 0x00][..]);
    /// ```
    #[must_use]
    pub fn key(&self) -> Option<&Bytes> {
        self.record()?.key.as_ref()
    }

    /// The record's key as text; `None` also if it is not UTF-8.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert_eq!(KafkaEvent::builder(7).key("seven").build().key_str(), Some("seven"));
    /// assert_eq!(KafkaEvent::builder(7).key([0xff]).build().key_str(), None);
    /// ```
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(self.key()?).ok()
    }

    /// The record's topic.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert_eq!(KafkaEvent::builder(7).topic("numbers").build().topic(), Some("numbers"));
    /// ```
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        Some(&self.record()?.topic)
    }

    /// The record's partition.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert_eq!(KafkaEvent::builder(7).partition(3).build().partition(), Some(3));
    /// ```
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        Some(self.record()?.partition)
    }

    /// The record's offset in its partition.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// assert_eq!(KafkaEvent::builder(7).offset(42).build().offset(), Some(42));
    /// ```
    #[must_use]
    pub fn offset(&self) -> Option<i64> {
        Some(self.record()?.offset)
    }

    /// The record's timestamp.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use durably::KafkaEvent;
    ///
    /// let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_620_800);
    /// assert_eq!(KafkaEvent::builder(7).timestamp(noon).build().timestamp(), Some(noon));
    /// ```
    #[must_use]
    pub fn timestamp(&self) -> Option<SystemTime> {
        let millis = self.timestamp_millis()?;
        let distance = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    /// The record's timestamp in milliseconds since the epoch.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::builder(7).timestamp_millis(1_793_620_800_000).build();
    /// assert_eq!(event.timestamp_millis(), Some(1_793_620_800_000));
    /// ```
    #[must_use]
    pub fn timestamp_millis(&self) -> Option<i64> {
        self.record()?.timestamp_millis
    }

    /// The id of the subscription that brought the record here.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::builder(7).subscription_id("sub_1").build();
    /// assert_eq!(event.subscription_id(), Some("sub_1"));
    /// ```
    #[must_use]
    pub fn subscription_id(&self) -> Option<&str> {
        self.record()?.subscription_id.as_deref()
    }

    /// The invocation's headers as they arrived; for a record those that describe it.
    ///
    /// The record's own headers are not among them: the runtime does not pass them on.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::KafkaEvent;
    ///
    /// let event = KafkaEvent::builder(7).topic("numbers").build();
    /// assert_eq!(event.headers().get("kafka.topic"), Some("numbers"));
    /// ```
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl<T: Decode> FromInput for KafkaEvent<T> {
    type Body = T;
    const CONTENT_TYPE: &'static str = <T as Decode>::CONTENT_TYPE;
    // A tombstone's body is empty.
    const REQUIRED: bool = false;

    fn from_input(input: Input) -> Result<Self, TerminalError> {
        let (headers, body) = input.into_parts();
        let record = KafkaRecord::from_headers(&headers)?;
        let value = if record.is_some() && body.is_empty() {
            None
        } else {
            Some(T::decode(body).map_err(|error| bad_input(&error))?)
        };
        Ok(Self {
            value,
            record,
            headers,
        })
    }
}

impl KafkaRecord {
    /// The record that the headers describe; `None` if they name no topic.
    fn from_headers(headers: &Headers) -> Result<Option<Self>, TerminalError> {
        let Some(topic) = headers.get(TOPIC) else {
            return Ok(None);
        };
        Ok(Some(Self {
            topic: topic.to_owned(),
            partition: required(PARTITION, number(headers, PARTITION)?)?,
            offset: required(OFFSET, number(headers, OFFSET)?)?,
            timestamp_millis: number(headers, TIMESTAMP)?,
            key: key(headers)?,
            subscription_id: headers.get(SUBSCRIPTION_ID).map(str::to_owned),
        }))
    }

    /// The header that tells the partition.
    #[cfg(feature = "local-kafka")]
    pub(crate) const PARTITION_HEADER: &'static str = PARTITION;

    /// The headers that the runtime would send, in its order.
    pub(crate) fn to_headers(&self) -> Headers {
        let entries = [
            (OFFSET, Some(self.offset.to_string())),
            (TOPIC, Some(self.topic.clone())),
            (PARTITION, Some(self.partition.to_string())),
            (
                TIMESTAMP,
                self.timestamp_millis.map(|millis| millis.to_string()),
            ),
            (SUBSCRIPTION_ID, self.subscription_id.clone()),
            (KEY, self.key.as_ref().map(|key| BASE64.encode(key))),
        ];
        entries
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

fn number<N: std::str::FromStr>(headers: &Headers, name: &str) -> Result<Option<N>, TerminalError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(bad_header(format_args!(
            "{name} is not a number in range: {}",
            quoted(value)
        ))),
    }
}

fn key(headers: &Headers) -> Result<Option<Bytes>, TerminalError> {
    let Some(value) = headers.get(KEY) else {
        return Ok(None);
    };
    match BASE64.decode(value) {
        Ok(key) => Ok(Some(key.into())),
        Err(error) => Err(bad_header(format_args!(
            "{KEY} is not URL-safe base64: {}: {error}",
            quoted(value)
        ))),
    }
}

/// At most so many characters of a header are repeated in an error.
const QUOTED: usize = 100;

fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

fn required<V>(name: &str, value: Option<V>) -> Result<V, TerminalError> {
    value.ok_or_else(|| bad_header(format_args!("{name} is missing, although {TOPIC} is there")))
}

fn bad_header(problem: std::fmt::Arguments<'_>) -> TerminalError {
    TerminalError::new(format_args!(
        "the Kafka record cannot be read: header {problem}"
    ))
    .with_code(400)
}

#[cfg(test)]
mod tests;
