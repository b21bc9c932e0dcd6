//! Kafka events: any headers and body of an invocation.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::plan::Plan;
use crate::{
    error::TerminalError,
    kafka::{DeadLetter, KafkaEvent},
    payload::{Decode, FromInput as _, Headers, Input, Raw},
};

const NAMES: [&str; 8] = [
    "kafka.topic",
    "kafka.partition",
    "kafka.offset",
    "kafka.timestamp",
    "kafka.key",
    "restate.subscription.id",
    "Kafka.Topic",
    "x",
];

/// `headers (how many; name, length, value), body…`
///
/// - An event comes of it or a terminal error of code 400 in one line of bounded length.
/// - An event is a record exactly if the headers name a topic; then its numbers and its key are
///   those of the headers. A time is the timestamp, or none if the platform has no such time.
/// - The builder gives the same event back.
/// - With the headers of a dead letter it is one exactly if it is a record, with the same bytes.
///
/// # Panics
///
/// If one of these does not hold.
pub fn kafka(data: &[u8]) {
    let mut plan = Plan::new(data);
    let mut headers = Vec::new();
    for _ in 0..plan.below(12) {
        let name = *plan.choose(&NAMES);
        headers.push((name, String::from_utf8_lossy(plan.bytes()).into_owned()));
    }
    let headers: Headers = headers.into_iter().collect();
    let body = Bytes::copy_from_slice(plan.rest());

    let raw = event::<Raw>(&headers, &body);
    event::<serde_json::Value>(&headers, &body);
    event::<String>(&headers, &body);
    event::<u8>(&headers, &body);
    event::<()>(&headers, &body);

    letter(&headers, &body, raw.as_ref());
    if let Some(event) = raw
        && let Some(again) = rebuilt(&event)
    {
        assert_eq!(again.record(), event.record());
        assert_eq!(again.value(), event.value());
    }
}

fn letter(headers: &Headers, body: &Bytes, event: Option<&KafkaEvent<Raw>>) {
    let read = |headers| DeadLetter::from_input(Input::new(headers, body.clone()));
    match read(headers.clone()) {
        Ok(letter) => panic!("no header says that it is one: {letter:?}"),
        Err(error) => refused(&error),
    }
    let mut dead = headers.clone();
    dead.extend([
        ("durably.dead-letter.service", "Orders"),
        ("durably.dead-letter.handler", "on_event"),
        ("durably.dead-letter.invocation", "inv_1"),
        ("durably.dead-letter.error", "no"),
    ]);
    let record = event.and_then(KafkaEvent::record);
    match read(dead) {
        Ok(letter) => {
            assert_eq!(Some(&letter.record), record);
            assert_eq!(letter.value, body);
        }
        Err(error) => {
            assert_eq!(record, None);
            refused(&error);
        }
    }
}

fn event<T: Decode>(headers: &Headers, body: &Bytes) -> Option<KafkaEvent<T>> {
    let input = Input::new(headers.clone(), body.clone());
    let event = match KafkaEvent::<T>::from_input(input) {
        Ok(event) => event,
        Err(error) => {
            refused(&error);
            return None;
        }
    };
    assert_eq!(event.headers(), headers);
    assert_eq!(event.topic(), headers.get("kafka.topic"));
    assert_eq!(event.from_kafka(), event.topic().is_some());
    assert_eq!(event.is_tombstone(), event.value().is_none());
    assert!(!event.is_tombstone() || (event.from_kafka() && body.is_empty()));
    let Some(record) = event.record() else {
        assert_eq!((event.partition(), event.offset()), (None, None));
        assert_eq!((event.key(), event.timestamp()), (None, None));
        assert_eq!(event.subscription_id(), None);
        return Some(event);
    };
    let number = |name| headers.get(name).map(str::parse::<i128>);
    assert_eq!(number("kafka.partition"), Some(Ok(record.partition.into())));
    assert_eq!(number("kafka.offset"), Some(Ok(record.offset.into())));
    let timestamp = record.timestamp_millis.map(|millis| Ok(millis.into()));
    assert_eq!(number("kafka.timestamp"), timestamp);
    if let (Some(time), Some(millis)) = (event.timestamp(), event.timestamp_millis()) {
        let distance = Duration::from_millis(millis.unsigned_abs());
        let (later, earlier) = match millis {
            0.. => (time, SystemTime::UNIX_EPOCH),
            _ => (SystemTime::UNIX_EPOCH, time),
        };
        assert_eq!(later.duration_since(earlier).ok(), Some(distance));
    }
    assert_eq!(event.key().is_some(), headers.get("kafka.key").is_some());
    if let Some(text) = event.key_str() {
        assert_eq!(Some(text.as_bytes()), event.key().map(|key| &key[..]));
    }
    Some(event)
}

fn refused(error: &TerminalError) {
    assert_eq!(error.code(), 400);
    let message = error.message();
    assert!(message.chars().count() < 1000, "{message:?}");
    assert!(!message.contains('\n'), "{message:?}");
}

/// The event as the builder makes it of what the accessors say, through its headers.
fn rebuilt(event: &KafkaEvent<Raw>) -> Option<KafkaEvent<Raw>> {
    let record = event.record()?;
    let builder = match event.value() {
        Some(value) => KafkaEvent::builder(value.clone()),
        None => KafkaEvent::tombstone(),
    };
    let mut builder = builder
        .topic(&*record.topic)
        .partition(record.partition)
        .offset(record.offset);
    if let Some(millis) = record.timestamp_millis {
        builder = builder.timestamp_millis(millis);
    }
    if let Some(key) = &record.key {
        builder = builder.key(key);
    }
    if let Some(id) = &record.subscription_id {
        builder = builder.subscription_id(id);
    }
    let built = builder.build();
    let body = event
        .value()
        .map_or_else(Bytes::new, |value| value.0.clone());
    let input = Input::new(built.headers().clone(), body);
    KafkaEvent::from_input(input).ok()
}
