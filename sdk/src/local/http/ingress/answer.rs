//! Answers as the real server writes them: results, refusals, and what browsers of other origins need.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ORIGIN, VARY,
    },
};
use http_body_util::Full;
use serde::Serialize;

use super::time;
use crate::{engine::invocation::Outcome, local::handle::Stopped, protocol::message::Failure};

pub(super) type Answer = Response<Full<Bytes>>;

const INVOCATION_ID: HeaderName = HeaderName::from_static("x-restate-id");
/// Who made an error: the ingress, or the invocation.
const ERROR_SOURCE: HeaderName = HeaderName::from_static("x-restate-error-source");
const IDEMPOTENCY_EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The request is not taken on.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    code: u16,
    message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not found")
    }

    pub(super) fn method() -> Self {
        Self::new(405, "method not allowed")
    }

    /// A header whose value is no text.
    pub(super) fn header(name: &HeaderName, error: &http::header::ToStrError) -> Self {
        Self::new(400, format!("bad header {name}: {error:?}"))
    }

    pub(super) fn into_answer(self) -> Answer {
        let text = json(&ErrorBody {
            code: self.code.into(),
            message: &self.message,
            metadata: BTreeMap::new(),
            source: "ingress",
        });
        let mut answer = with_status(self.code.into(), text);
        let headers = answer.headers_mut();
        headers.insert(ERROR_SOURCE, HeaderValue::from_static("ingress"));
        headers.insert(CONTENT_TYPE, JSON);
        answer
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::new(
            u16::try_from(failure.code).unwrap_or(500),
            failure.message.clone(),
        )
    }
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        Self::new(503, stopped.to_string())
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    source: &'a str,
}

/// How an invocation has ended, and what is said with it.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: String,
    /// When its result is forgotten; told to who did not wait for it.
    pub(super) expires: Option<u64>,
    pub(super) content_type: Option<String>,
    pub(super) outcome: Outcome,
}

impl Ended {
    /// There is no such invocation, but this would be its id.
    pub(super) fn nobody(id: String) -> Self {
        Self {
            id,
            expires: None,
            content_type: None,
            outcome: Err(crate::engine::not_found()),
        }
    }

    pub(super) fn into_answer(self) -> Answer {
        let mut answer = match self.outcome {
            Ok(body) => Response::new(Full::new(body)),
            Err(failure) => {
                let metadata = failure.metadata.iter();
                let metadata = metadata.map(|header| (&*header.key, &*header.value));
                let text = json(&ErrorBody {
                    code: failure.code,
                    message: &failure.message,
                    metadata: metadata.collect(),
                    source: "invocation",
                });
                let mut answer = with_status(failure.code, text);
                let headers = answer.headers_mut();
                headers.insert(ERROR_SOURCE, HeaderValue::from_static("invocation"));
                headers.insert(CONTENT_TYPE, JSON);
                answer
            }
        };
        let headers = answer.headers_mut();
        set(headers, INVOCATION_ID, &self.id);
        if let Some(expires) = self.expires.and_then(time::with_offset) {
            set(headers, IDEMPOTENCY_EXPIRES, &expires);
        }
        if let Some(content_type) = &self.content_type {
            set(headers, CONTENT_TYPE, content_type);
        }
        answer
    }
}

/// What is said of an invocation that was sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SentBody<'a> {
    invocation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_time: Option<String>,
    status: &'static str,
}

/// `begins`: when it does, if not at once.
pub(super) fn sent(id: &str, begins: Option<u64>, already: bool) -> Answer {
    let text = json(&SentBody {
        invocation_id: id,
        execution_time: begins.and_then(time::in_nanoseconds),
        status: if already {
            "PreviouslyAccepted"
        } else {
            "Accepted"
        },
    });
    let mut answer = with_status(202, text);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    set(headers, INVOCATION_ID, id);
    answer
}

/// JSON of our own.
pub(super) fn found(value: &impl Serialize) -> Answer {
    let mut answer = with_status(200, json(value));
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

/// It is taken on, and there is nothing to say.
pub(super) fn accepted() -> Answer {
    with_status(202, Bytes::new())
}

/// A body whose length, said beforehand, is above the limit.
pub(super) fn too_long() -> Answer {
    let mut answer = with_status(413, Bytes::from_static(b"length limit exceeded"));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

/// What any OPTIONS is answered: what was asked for is allowed.
pub(super) fn preflight(asked: &HeaderMap) -> Answer {
    let mut answer = with_status(200, Bytes::new());
    for (wanted, allowed) in [
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = asked.get(wanted) {
            answer.headers_mut().insert(allowed, value.clone());
        }
    }
    answer
}

/// Lets pages of all origins read the answer.
pub(super) fn share(answer: &mut Answer, asking: Option<HeaderValue>) {
    let headers = answer.headers_mut();
    headers.insert(
        VARY,
        HeaderValue::from_static(
            "origin, access-control-request-method, access-control-request-headers",
        ),
    );
    let yes = HeaderValue::from_static("true");
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
    if let Some(origin) = asking {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
}

pub(super) fn origin(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ORIGIN).cloned()
}

/// An answer with this status; what is none becomes 500, as with a failure's odd code.
fn with_status(code: u32, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let code = u16::try_from(code).ok();
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    *answer.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// What is put into headers here is visible ASCII, except a content type that handlers chose.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings and numbers always become JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}
