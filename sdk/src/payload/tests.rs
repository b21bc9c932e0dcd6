//! What each kind of payload looks like on the wire, and what errors say.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::*;
use crate::error::TerminalError;

fn input(body: &str) -> Input {
    Input::new(Headers::default(), body.to_owned())
}

#[track_caller]
fn encoded<T: Encode + ?Sized>(value: &T) -> String {
    String::from_utf8(value.encode().unwrap().to_vec()).unwrap()
}

fn decoded<T: Decode>(body: &str) -> Result<T, String> {
    T::decode(body.to_owned().into()).map_err(|error| error.to_string())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<Line>,
    note: Option<String>,
    tags: BTreeMap<String, Tag>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    price: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tag {
    Plain,
    Text(String),
    Pair(i32, i32),
    Named { on: bool },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype<T>(T);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum One {
    A,
}

#[test]
fn units_are_empty_bodies() {
    assert_eq!(encoded(&()), "");
    assert_eq!(encoded(&Nothing), "");
    assert_eq!(encoded(&Newtype(())), "");
    assert_eq!(encoded(&Newtype(Newtype(Nothing))), "");
    assert_eq!(encoded(&PhantomData::<u32>), "");
    for body in [
        "",
        "null",
        "{}",
        "[1, 2]",
        "\"text\"",
        "not json",
        "null null",
    ] {
        assert_eq!(decoded::<()>(body), Ok(()), "{body}");
        assert_eq!(decoded::<Nothing>(body), Ok(Nothing), "{body}");
        assert_eq!(decoded::<Newtype<()>>(body), Ok(Newtype(())), "{body}");
        assert_eq!(decoded::<Box<()>>(body), Ok(Box::new(())), "{body}");
        assert_eq!(decoded::<PhantomData<u8>>(body), Ok(PhantomData), "{body}");
    }
}

#[test]
fn other_nulls_and_other_zero_sized_values_stay() {
    assert_eq!(encoded(&None::<u32>), "null");
    assert_eq!(encoded(&None::<()>), "null");
    assert_eq!(encoded(&Some(())), "null");
    assert_eq!(encoded(&f64::NAN), "null");
    assert_eq!(encoded(&serde_json::Value::Null), "null");
    assert_eq!(encoded(&Box::new(())), "null");
    assert_eq!(encoded(&[(); 0]), "[]");
    assert_eq!(encoded(&One::A), "\"A\"");
    assert_eq!(encoded("null"), "\"null\"");
    assert_eq!(decoded::<Option<u32>>("null"), Ok(None));
    assert_eq!(decoded::<One>("\"A\""), Ok(One::A));
    assert!(decoded::<One>("\"B\"").is_err());
    assert!(decoded::<[u8; 0]>("{}").is_err());
}

#[test]
fn an_empty_body_says_what_is_expected() {
    let expected = |error: Result<(), String>, what: &str| {
        assert_eq!(error, Err(format!("the body is empty; expected {what}")));
    };
    expected(decoded::<Order>("").map(drop), "struct Order");
    expected(decoded::<u32>("").map(drop), "u32");
    expected(decoded::<String>("").map(drop), "a string");
    expected(decoded::<Option<u32>>("").map(drop), "option");
    expected(decoded::<Newtype<bool>>("").map(drop), "a boolean");
    expected(decoded::<Vec<u8>>("").map(drop), "a sequence");
    expected(
        decoded::<serde_json::Value>("").map(drop),
        "any valid JSON value",
    );
    assert!(decoded::<IgnoredAny>("").is_ok());
    assert!(decoded::<IgnoredAny>("{").is_err());
}

#[test]
fn a_lenient_type_does_not_hide_a_malformed_body() {
    #[derive(Debug)]
    struct Lenient(u32);
    impl<'de> Deserialize<'de> for Lenient {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(u32::deserialize(deserializer).unwrap_or(7)))
        }
    }
    assert_eq!(decoded::<Lenient>("1").unwrap().0, 1);
    assert_eq!(decoded::<Lenient>("").unwrap().0, 7);
    assert!(decoded::<Lenient>("1 2").is_err());
}

#[test]
fn errors_name_the_field() {
    #[track_caller]
    fn message(body: &str) -> String {
        decoded::<Order>(body).unwrap_err()
    }
    assert_eq!(
        message(r#"{"id":1,"lines":[{"sku":"a","price":1},{"sku":"b","price":"x"}],"tags":{}}"#),
        "`lines[1].price`: invalid type: string \"x\", expected f64 at line 1 column 61",
    );
    assert_eq!(
        message(r#"{"id":-1,"lines":[],"tags":{}}"#),
        "`id`: invalid value: integer `-1`, expected u64 at line 1 column 8",
    );
    assert_eq!(
        message(r#"{"id":1,"lines":[{"sku":"a"}],"tags":{}}"#),
        "`lines[0]`: missing field `price` at line 1 column 28",
    );
    assert_eq!(
        message(r#"{"lines":[]}"#),
        "missing field `id` at line 1 column 12"
    );
    assert!(
        message(r#"{"id":1,"lines":[],"tags":{"t":{"Named":{"on":1}}}}"#)
            .starts_with("`tags.t.Named.on`: invalid type: integer `1`, expected a boolean")
    );
    assert!(message("[").contains("EOF while parsing"));
    assert!(message("\u{0}").contains("expected value"));
    assert_eq!(
        decoded::<u32>("1 2").unwrap_err(),
        "trailing characters at line 1 column 3"
    );
}

/// The message is the outcome of the invocation: as long as the input, it could not be sent, and the
/// invocation would never end.
#[test]
fn bad_input_is_quoted_in_part() {
    let body = format!("\"{}\"", "é".repeat(100_000));
    let error = u32::from_input(Input::new(Headers::default(), body)).unwrap_err();
    let message = error.message();
    assert_eq!(error.code(), 400);
    assert!(message.starts_with("the input cannot be decoded: invalid type: string \"ééé"));
    assert!(
        message.ends_with("expected u32 at line 1 column 200002"),
        "{message}"
    );
    assert!(message.chars().count() < 600, "{message}");
}

#[test]
fn bad_input_is_a_400_that_names_the_field() {
    let error = Order::from_input(input(r#"{"id":1,"lines":[{"sku":7}]}"#)).unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(
        error
            .message()
            .contains("`lines[0].sku`: invalid type: integer `7`"),
        "{error}"
    );
    let error = Order::from_input(input("")).unwrap_err();
    assert_eq!(error.code(), 400);
    assert_eq!(
        error.message(),
        "the input cannot be decoded: the body is empty; expected struct Order"
    );
}

#[test]
fn deep_nesting_is_an_error() {
    assert!(decoded::<serde_json::Value>(&"[".repeat(100_000)).is_err());
    #[derive(Debug, Deserialize)]
    struct Nested(#[expect(dead_code, reason = "only its depth matters")] Vec<Nested>);
    assert!(decoded::<Nested>(&"[".repeat(100_000)).is_err());
}

#[test]
fn json_cannot_write_everything() {
    let map = BTreeMap::from([((1, 2), 3)]);
    assert!(
        map.encode()
            .unwrap_err()
            .to_string()
            .contains("key must be a string")
    );
}

#[test]
fn unsized_values_encode() {
    assert_eq!(encoded("text"), "\"text\"");
    assert_eq!(encoded(&[1, 2][..]), "[1,2]");
}

#[test]
fn vec_of_bytes_is_a_json_array() {
    assert_eq!(encoded(&vec![0_u8, 255]), "[0,255]");
    assert_eq!(encoded(&Bytes::from_static(&[0, 255]).to_vec()), "[0,255]");
}

#[test]
fn raw_is_untouched_and_not_copied() {
    let bytes = Bytes::from(vec![0, 255, 1]);
    assert_eq!(
        Raw(bytes.clone()).encode().unwrap().as_ptr(),
        bytes.as_ptr()
    );
    assert_eq!(Raw::decode(bytes.clone()).unwrap().as_ptr(), bytes.as_ptr());
    assert_eq!(
        Raw::from_input(Input::new(Headers::default(), "")).unwrap(),
        Raw::default()
    );
    assert_eq!(Raw::from("text").as_ref(), b"text");
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(sint64, tag = "1")]
    x: i64,
    #[prost(string, tag = "2")]
    name: String,
}

#[test]
fn proto_empty_and_broken() {
    assert_eq!(
        Proto::<Point>::decode(Bytes::new()).unwrap().0,
        Point::default()
    );
    assert_eq!(encoded(&Proto(Point::default())), "");
    let error = Proto::<Point>::from_input(input("\u{12}\u{1}")).unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(error.message().contains("Point.name"), "{error}");
}

#[test]
fn announcements() {
    fn of<T: FromInput + Encode>() -> (&'static str, bool, &'static str, bool) {
        (
            <T as FromInput>::CONTENT_TYPE,
            <T as FromInput>::REQUIRED,
            <T as Encode>::CONTENT_TYPE,
            T::STABLE,
        )
    }
    let json = "application/json";
    let protobuf = "application/protobuf";
    assert_eq!(of::<Order>(), (json, true, json, true));
    assert_eq!(of::<Option<u8>>(), (json, true, json, true));
    assert_eq!(of::<()>(), (json, false, json, true));
    assert_eq!(
        of::<Raw>(),
        ("*/*", false, "application/octet-stream", true)
    );
    assert_eq!(of::<Proto<Point>>(), (protobuf, false, protobuf, true));
    assert_eq!(
        of::<Unstable<HashMap<String, u8>>>(),
        (json, true, json, false)
    );
    assert_eq!(
        of::<Unstable<Proto<Point>>>(),
        (protobuf, false, protobuf, false)
    );
}

/// A format of a user's own, whose type does not implement `serde`.
#[derive(Debug, PartialEq)]
struct Hex(u32);

impl Encode for Hex {
    const CONTENT_TYPE: &'static str = "text/plain";
    const STABLE: bool = true;

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(format!("{:x}", self.0).into())
    }
}

impl Decode for Hex {
    const CONTENT_TYPE: &'static str = "text/plain";

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        if bytes.len() > 8 {
            return Err(TerminalError::new("too long").with_code(413).into());
        }
        Ok(Self(u32::from_str_radix(std::str::from_utf8(&bytes)?, 16)?))
    }
}

#[test]
fn formats_of_ones_own() {
    assert_eq!(encoded(&Hex(255)), "ff");
    assert_eq!(Hex::from_input(input("ff")), Ok(Hex(255)));
    let error = Hex::from_input(input("xyz")).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (
            400,
            "the input cannot be decoded: invalid digit found in string",
        )
    );
    let error = Hex::from_input(input("123456789")).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (413, "too long"),
        "the decoder's own answer"
    );
}

#[test]
fn header_lookup() {
    let mut headers = Headers::from_iter([("A", "1"), ("b", "2"), ("a", "3")]);
    headers.extend([("c".to_owned(), "4".to_owned())]);
    assert_eq!(headers.get("a"), Some("1"));
    assert_eq!(headers.get("B"), Some("2"));
    assert_eq!(headers.get("d"), None);
    assert_eq!(headers.get_all("A").collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(headers.len(), 4);
    assert_eq!(headers.iter().len(), 4);
    assert_eq!(
        headers.into_iter().last(),
        Some(("c".to_owned(), "4".to_owned()))
    );
}

fn order() -> impl Strategy<Value = Order> {
    let line = ("\\PC*", any::<i32>().prop_map(|n| f64::from(n) / 8.0))
        .prop_map(|(sku, price)| Line { sku, price });
    let tag = prop_oneof![
        Just(Tag::Plain),
        any::<String>().prop_map(Tag::Text),
        any::<(i32, i32)>().prop_map(|(a, b)| Tag::Pair(a, b)),
        any::<bool>().prop_map(|on| Tag::Named { on }),
    ];
    let lines = proptest::collection::vec(line, 0..4);
    let tags = proptest::collection::btree_map(any::<String>(), tag, 0..4);
    (any::<u64>(), lines, any::<Option<String>>(), tags).prop_map(|(id, lines, note, tags)| Order {
        id,
        lines,
        note,
        tags,
    })
}

proptest! {
    #[test]
    fn json_round_trips_and_is_stable(order in order()) {
        let bytes = order.encode().unwrap();
        prop_assert_eq!(&bytes, &order.clone().encode().unwrap());
        prop_assert_eq!(bytes.to_vec(), serde_json::to_vec(&order).unwrap());
        let read = Order::decode(bytes).unwrap();
        prop_assert_eq!(read, order);
    }

    #[test]
    fn any_body_is_a_value_or_a_400(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        for error in [
            Order::from_input(Input::new(Headers::default(), body.clone())).err(),
            Proto::<Point>::from_input(Input::new(Headers::default(), body.clone())).err(),
            Hex::from_input(Input::new(Headers::default(), body.clone())).err().filter(|e| e.code() != 413),
        ].into_iter().flatten() {
            prop_assert_eq!(error.code(), 400);
        }
        prop_assert_eq!(<()>::decode(body.clone().into()).unwrap(), ());
        prop_assert_eq!(Raw::decode(body.clone().into()).unwrap().0, body);
    }

    /// A valid body cut short anywhere is refused, with an explanation.
    #[test]
    fn a_truncated_body_is_refused(order in order(), at: prop::sample::Index) {
        let bytes = order.encode().unwrap();
        let cut = bytes.slice(..at.index(bytes.len()));
        let error = Order::from_input(Input::new(Headers::default(), cut)).unwrap_err();
        prop_assert_eq!(error.code(), 400);
    }

    #[test]
    fn proto_round_trips(x: i64, name: String) {
        let message = Proto(Point { x, name });
        let bytes = message.encode().unwrap();
        prop_assert_eq!(Proto::<Point>::decode(bytes).unwrap(), message);
    }

    #[test]
    fn options_round_trip(value: Option<u32>) {
        prop_assert_eq!(Option::<u32>::decode(value.encode().unwrap()).unwrap(), value);
    }
}
