//! What a handler sees of a record, of a call, and of headers that make no sense.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::payload::{Encode, Proto, Raw};

/// As restate-server 1.7 sends them.
const RECORD: [(&str, &str); 6] = [
    ("kafka.offset", "1041"),
    ("kafka.topic", "orders"),
    ("kafka.partition", "2"),
    ("kafka.timestamp", "1793620800123"),
    ("restate.subscription.id", "sub_15Vqdb2x9KaVcXWOgd1Yrtz"),
    ("kafka.key", "_-4tYQ=="),
];

fn event<T: Decode>(headers: &[(&str, &str)], body: &str) -> Result<KafkaEvent<T>, TerminalError> {
    let headers = headers.iter().copied().collect();
    KafkaEvent::from_input(Input::new(headers, body.to_owned()))
}

/// The headers above with one of them changed, or left out.
fn with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let others = RECORD.into_iter().filter(|(n, _)| *n != name);
    others.chain(value.map(|value| (name, value))).collect()
}

#[test]
fn a_record() {
    let event = event::<u32>(&RECORD, "7").unwrap();
    assert!(event.from_kafka());
    assert!(!event.is_tombstone());
    assert_eq!(event.value(), Some(&7));
    assert_eq!(event.offset(), Some(1041));
    assert_eq!(event.topic(), Some("orders"));
    assert_eq!(event.partition(), Some(2));
    assert_eq!(event.timestamp_millis(), Some(1_793_620_800_123));
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_793_620_800_123);
    assert_eq!(event.timestamp(), Some(time));
    assert_eq!(event.subscription_id(), Some("sub_15Vqdb2x9KaVcXWOgd1Yrtz"));
    assert_eq!(event.key().unwrap(), &[0xff, 0xee, 0x2d, 0x61][..]);
    assert_eq!(event.key_str(), None, "not UTF-8");
    assert_eq!(event.headers().iter().collect::<Vec<_>>(), RECORD);
    assert_eq!(event.record().unwrap().offset, 1041);
    assert_eq!(event.into_value(), Some(7));
}

#[test]
fn what_may_be_missing() {
    let event = event::<u32>(&RECORD[..3], "7").unwrap();
    assert!(event.from_kafka());
    assert_eq!(event.key(), None);
    assert_eq!(event.key_str(), None);
    assert_eq!(event.timestamp(), None);
    assert_eq!(event.subscription_id(), None);
}

#[test]
fn keys() {
    let key = |value| event::<u32>(&with("kafka.key", Some(value)), "7").unwrap();
    assert_eq!(
        key("_-4tYQ").key(),
        key("_-4tYQ==").key(),
        "with or without padding"
    );
    assert_eq!(key("").key().unwrap().len(), 0, "empty is not null");
    assert_eq!(key("").key_str(), Some(""));
    assert_eq!(key("YWJj").key_str(), Some("abc"));
}

/// The message becomes the outcome of an invocation: a caller must not make it huge.
#[test]
fn a_header_that_cannot_be_read_is_quoted_in_part() {
    let long = "é".repeat(5000);
    for name in ["kafka.offset", "kafka.timestamp", "kafka.key"] {
        let error = event::<u32>(&with(name, Some(&long)), "7").unwrap_err();
        assert!(error.message().contains(name), "{error}");
        assert!(error.message().contains("\"ééé"), "{error}");
        assert!(error.message().chars().count() < 400, "{name}");
    }
}

#[test]
fn a_call() {
    let event = event::<u32>(&[("x-request-id", "1"), ("kafka.key", "not base64!")], "7").unwrap();
    assert!(!event.from_kafka());
    assert!(!event.is_tombstone());
    assert_eq!(event.record(), None);
    assert_eq!(event.key(), None);
    assert_eq!(event.topic(), None);
    assert_eq!(event.partition(), None);
    assert_eq!(event.offset(), None);
    assert_eq!(event.timestamp_millis(), None);
    assert_eq!(event.subscription_id(), None);
    assert_eq!(event.headers().len(), 2);
    assert_eq!(event.into_value(), Some(7));
}

#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

#[test]
fn tombstones() {
    fn check<T: Decode>() {
        let event = event::<T>(&RECORD, "").unwrap();
        assert!(event.is_tombstone());
        assert!(event.value().is_none());
        assert!(event.from_kafka());
    }
    check::<u32>();
    check::<Option<u32>>();
    check::<()>();
    check::<Raw>();
    check::<Proto<Empty>>();
}

#[test]
fn an_empty_call_is_no_tombstone() {
    assert_eq!(event::<()>(&[], "").unwrap().into_value(), Some(()));
    assert_eq!(
        event::<Raw>(&[], "").unwrap().into_value(),
        Some(Raw::default())
    );
    assert_eq!(
        event::<Proto<Empty>>(&[], "").unwrap().into_value(),
        Some(Proto(Empty {}))
    );
    let error = event::<u32>(&[], "").unwrap_err();
    assert_eq!(error.code(), 400);
    assert_eq!(
        error.message(),
        "the input cannot be decoded: the body is empty; expected u32"
    );
}

#[test]
fn null_is_a_value() {
    let event = event::<Option<u32>>(&RECORD, "null").unwrap();
    assert!(!event.is_tombstone());
    assert_eq!(event.into_value(), Some(None));
}

#[test]
fn undecodable_values_are_a_400_that_names_the_field() {
    let error = event::<BTreeMap<String, u32>>(&RECORD, r#"{"a":1,"b":"x"}"#).unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(
        error
            .message()
            .contains("`b`: invalid type: string \"x\", expected u32"),
        "{error}"
    );
}

#[test]
fn malformed_headers_are_a_400_that_names_the_header() {
    for (name, value, problem) in [
        (
            "kafka.offset",
            Some("x"),
            "kafka.offset is not a number in range: \"x\"",
        ),
        (
            "kafka.offset",
            Some(""),
            "kafka.offset is not a number in range: \"\"",
        ),
        (
            "kafka.offset",
            Some("9223372036854775808"),
            "kafka.offset is not a number in range",
        ),
        (
            "kafka.partition",
            Some("1.5"),
            "kafka.partition is not a number in range: \"1.5\"",
        ),
        (
            "kafka.partition",
            Some("2147483648"),
            "kafka.partition is not a number in range",
        ),
        (
            "kafka.timestamp",
            Some("noon"),
            "kafka.timestamp is not a number in range: \"noon\"",
        ),
        (
            "kafka.key",
            Some("a"),
            "kafka.key is not URL-safe base64: \"a\"",
        ),
        (
            "kafka.key",
            Some("++//"),
            "kafka.key is not URL-safe base64: \"++//\"",
        ),
        (
            "kafka.offset",
            None,
            "kafka.offset is missing, although kafka.topic is there",
        ),
        (
            "kafka.partition",
            None,
            "kafka.partition is missing, although kafka.topic is there",
        ),
    ] {
        let error = event::<u32>(&with(name, value), "7").unwrap_err();
        assert_eq!(error.code(), 400);
        assert!(error.message().contains(problem), "{error}");
    }
}

#[test]
fn extreme_timestamps() {
    for millis in [i64::MIN, -1, 0, i64::MAX] {
        let event = KafkaEvent::builder(7).timestamp_millis(millis).build();
        assert_eq!(event.timestamp_millis(), Some(millis));
        if let Some(time) = event.timestamp() {
            let again = KafkaEvent::builder(7)
                .timestamp(time)
                .build()
                .timestamp_millis();
            assert!(
                again == Some(millis) || millis == i64::MIN,
                "{millis}: {again:?}"
            );
        }
    }
}

#[test]
fn announcements() {
    fn of<T: FromInput>() -> (&'static str, bool) {
        (T::CONTENT_TYPE, T::REQUIRED)
    }
    assert_eq!(of::<KafkaEvent<String>>(), ("application/json", false));
    assert_eq!(of::<KafkaEvent<Raw>>(), ("*/*", false));
    fn body<T: FromInput<Body = String>>() {}
    body::<KafkaEvent<String>>();
}

proptest! {
    /// What the builder makes is what the same record would have brought over the wire.
    #[test]
    fn built_events_are_like_received_ones(
        value: Option<String>,
        topic in "[a-z._-]{1,20}",
        partition: i32,
        offset: i64,
        timestamp: Option<i64>,
        key: Option<Vec<u8>>,
        id: Option<String>,
    ) {
        let body = value.as_ref().map(|value| value.encode().unwrap()).unwrap_or_default();
        let mut builder = match value {
            Some(value) => KafkaEvent::builder(value),
            None => KafkaEvent::tombstone(),
        };
        builder = builder.topic(topic).partition(partition).offset(offset);
        if let Some(millis) = timestamp {
            builder = builder.timestamp_millis(millis);
        }
        if let Some(key) = &key {
            builder = builder.key(key);
        }
        if let Some(id) = id {
            builder = builder.subscription_id(id);
        }
        let built = builder.build();
        let received = KafkaEvent::from_input(Input::new(built.headers().clone(), body)).unwrap();
        prop_assert_eq!(received.key().map(|key| key.to_vec()), key);
        prop_assert_eq!(received, built);
    }

    #[test]
    fn any_headers_are_an_event_or_a_400(
        headers in proptest::collection::vec(
            (
                prop::sample::select(vec![TOPIC, PARTITION, OFFSET, TIMESTAMP, KEY, SUBSCRIPTION_ID]),
                prop_oneof!["[0-9]{1,20}", "-?[0-9]{1,3}", "[a-zA-Z0-9_=-]{0,8}", any::<String>()],
            ),
            0..8,
        ),
    ) {
        let input = Input::new(headers.into_iter().collect(), "7");
        match KafkaEvent::<u32>::from_input(input) {
            Ok(event) => {
                let _ = event.timestamp();
                prop_assert_eq!(event.value(), Some(&7));
            }
            Err(error) => prop_assert_eq!(error.code(), 400),
        }
    }
}
