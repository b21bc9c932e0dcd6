//! State that is to take the place of all that an object or workflow has.
//!
//! In: a request's body. Out: a key, and its new state.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use super::{
    Refusal, bad, fault,
    filter::{pairs, unknown},
};
use crate::engine::keyed::KeyedId;

/// How long a body may take.
const MAX_TIME: Duration = Duration::from_secs(120);

/// The most that one request may have: bytes are written as lists of numbers.
const MOST: usize = 32 << 20;

/// The new state of an object or workflow.
#[derive(Debug)]
pub(super) struct New {
    pub(super) of: KeyedId,
    pub(super) state: BTreeMap<Bytes, Bytes>,
}

/// Whose state a path and its query name.
pub(super) fn read_id(service: &str, key: &str, query: &str) -> Result<KeyedId, String> {
    let mut id = KeyedId::new(service, key, None);
    for (name, value) in pairs(query)? {
        match &*name {
            "scope" => id.scope = Some(value),
            _ => return Err(unknown(&name)),
        }
    }
    Ok(id)
}

/// As the server reads it.
#[derive(Deserialize)]
struct ModifyStateRequest {
    object_key: String,
    scope: Option<String>,
    new_state: BTreeMap<String, Vec<u8>>,
    version: Option<String>,
}

pub(super) async fn read(
    service: &str,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<New, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
    let content_type = content_type.split(|byte| *byte == b';').next();
    let content_type = content_type.unwrap_or_default().trim_ascii();
    if !content_type.eq_ignore_ascii_case(b"application/json") {
        // What a browser sends without asking for leave has another type.
        return Err(fault(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body is to be application/json",
        ));
    }
    let body = Limited::new(body, MOST).collect();
    let body = match tokio::time::timeout(MAX_TIME, body).await {
        Err(_) => return Err(bad("the body is too slow in coming")),
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(fault(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too large",
            ));
        }
        Ok(Err(error)) => return Err(bad(format!("the body cannot be read: {error}"))),
    };
    parse(service, &body).map_err(bad)
}

fn parse(service: &str, body: &[u8]) -> Result<New, String> {
    let request: ModifyStateRequest =
        serde_json::from_slice(body).map_err(|error| format!("the body is not right: {error}"))?;
    if request.version.is_some() {
        return Err("version: there are no versions of state here".to_owned());
    }
    let state = request.new_state.into_iter();
    Ok(New {
        of: KeyedId {
            service: service.to_owned(),
            key: request.object_key,
            scope: request.scope,
        },
        state: state
            .map(|(name, value)| (Bytes::from(name), Bytes::from(value)))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_state_is_read() {
        let body = br#"{"object_key": "k", "new_state": {"a": [49, 50], "b": []}}"#;
        let new = parse("O", body).unwrap();
        assert_eq!(new.of, KeyedId::new("O", "k", None));
        let due = [
            (Bytes::from_static(b"a"), Bytes::from_static(b"12")),
            (Bytes::from_static(b"b"), Bytes::new()),
        ];
        assert_eq!(new.state, due.into());
        let new = parse(
            "O",
            br#"{"object_key": "k", "scope": "s", "new_state": {}}"#,
        )
        .unwrap();
        assert_eq!(new.of, KeyedId::new("O", "k", Some("s")));
    }

    #[test]
    fn whose_state_is_wanted() {
        let id = |scope| Ok(KeyedId::new("O", "k", scope));
        assert_eq!(read_id("O", "k", ""), id(None));
        assert_eq!(read_id("O", "k", "scope=a%2Fb"), id(Some("a/b")));
        assert!(read_id("O", "k", "scop=a").is_err());
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for body in [
            &b""[..],
            b"[]",
            br#"{"object_key": "k"}"#,
            br#"{"object_key": "k", "new_state": {"a": [256]}}"#,
            br#"{"object_key": "k", "new_state": {}, "version": "1"}"#,
        ] {
            assert!(parse("O", body).is_err(), "{body:?}");
        }
    }
}
