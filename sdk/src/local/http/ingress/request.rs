//! Requests for handlers: what their headers and query say, checked in the order in which the real server
//! complains.
//!
//! In: the head of a request and its body. Out: a [`Submission`] and its delay.

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderName,
    header::{CONNECTION, CONTENT_TYPE, HOST},
    request::Parts,
};

use super::{
    answer::Refusal,
    route::{Target, Way, unescape},
    time,
};
use crate::engine::{
    Submission,
    catalog::{HandlerInfo, HandlerType},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LIMIT_KEY: HeaderName = HeaderName::from_static("x-restate-limit-key");

/// Handlers see by which path they were called.
const INGRESS_PATH: &str = "x-restate-ingress-path";

/// The longest scope, and part of a limit key.
const MAX_NAME: usize = 36;

/// The head of a request for a handler that there is.
pub(super) struct Invoking<'r> {
    pub(super) parts: &'r Parts,
    /// Trimmed.
    pub(super) path: &'r str,
    pub(super) scope: Option<String>,
    pub(super) target: &'r Target<'r>,
    pub(super) info: &'r HandlerInfo,
    pub(super) way: Way,
}

impl Invoking<'_> {
    pub(super) fn idempotency_key(&self) -> Result<Option<String>, Refusal> {
        let key = self.header(&IDEMPOTENCY_KEY)?;
        if key.is_some() && self.info.ty == HandlerType::Workflow {
            return Err(Refusal::new(
                400,
                "cannot use the idempotency key with workflow handlers. The handler invocation will \
                 already be idempotent by the workflow key itself.",
            ));
        }
        Ok(key.map(str::to_owned))
    }

    /// The request for the engine, and how many milliseconds later it begins.
    pub(super) fn submission(
        self,
        idempotency_key: Option<String>,
        input: Bytes,
    ) -> Result<(Submission, Option<u64>), Refusal> {
        self.check_input(&input)?;
        let delay = delay(self.parts.uri.query().unwrap_or_default())?;
        let limit_key = self.limit_key()?;
        let headers = self.headers()?;
        if delay.is_some() && self.way == Way::Call {
            return Err(Refusal::new(
                400,
                "cannot use the delay query parameter with calls. The delay is supported only with sends",
            ));
        }
        let Target {
            service,
            key,
            handler,
        } = self.target;
        let submission = Submission {
            service: (*service).to_owned(),
            handler: (*handler).to_owned(),
            key: key.clone(),
            input,
            headers,
            idempotency_key,
            scope: self.scope,
            limit_key,
            ..Submission::default()
        };
        Ok((submission, delay))
    }

    fn header(&self, name: &HeaderName) -> Result<Option<&str>, Refusal> {
        let value = self.parts.headers.get(name);
        let text = value.map(|value| value.to_str());
        text.transpose()
            .map_err(|error| Refusal::header(name, &error))
    }

    /// What the engine does not check: a request of its own callers without a content type has the right one.
    fn check_input(&self, input: &Bytes) -> Result<(), Refusal> {
        let given = self.header(&CONTENT_TYPE)?;
        let refused = |why: &str| {
            let message = format!("input validation error: {why}");
            Err(Refusal::new(400, message))
        };
        let Some(given) = given else {
            let needed = self.info.input_required || !input.is_empty();
            return if needed {
                refused("Empty content-type")
            } else {
                Ok(())
            };
        };
        let checked = self.info.check_type(given);
        checked.or_else(|why| refused(&why))
    }

    fn limit_key(&self) -> Result<Option<String>, Refusal> {
        let Some(given) = self.header(&LIMIT_KEY)?.filter(|key| !key.is_empty()) else {
            return Ok(None);
        };
        let refused = |why: String| Refusal::new(400, format!("invalid limit-key: {why}"));
        let key = given.strip_suffix('/').unwrap_or(given);
        for (count, part) in key.split('/').enumerate() {
            if count == 2 {
                let why = "too many path components in the given limit-key (max 2)";
                return Err(refused(why.to_owned()));
            }
            check_name(part)
                .map_err(|why| refused(format!("invalid limit-key component: {why}")))?;
        }
        if self.scope.is_none() {
            return Err(Refusal::new(400, "limit-key requires a scope to be set"));
        }
        Ok(Some(key.to_owned()))
    }

    /// The headers that reach the handler; of several with a name the first one.
    fn headers(&self) -> Result<Vec<(String, String)>, Refusal> {
        let mut path = self.path.to_owned();
        if let Some(query) = self.parts.uri.query() {
            path = format!("{path}?{query}");
        }
        let mut headers = vec![(INGRESS_PATH.to_owned(), path)];
        for name in self.parts.headers.keys() {
            // Those of the connection, and what the invocation knows anyway.
            if [HOST, CONNECTION, IDEMPOTENCY_KEY].contains(name) {
                continue;
            }
            if let Some(value) = self.header(name)? {
                headers.push((name.as_str().to_owned(), value.to_owned()));
            }
        }
        Ok(headers)
    }
}

/// A scope that a request names.
pub(super) fn check_scope(scope: &str) -> Result<(), Refusal> {
    check_name(scope).map_err(|why| Refusal::new(400, format!("bad scope value: {why}")))
}

fn check_name(name: &str) -> Result<(), Cow<'static, str>> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() {
        return Err("value cannot be empty".into());
    }
    if name.len() > MAX_NAME {
        let length = name.len();
        return Err(format!("value too long: {length} bytes (max {MAX_NAME})").into());
    }
    if !name.bytes().all(is_allowed) {
        return Err("value contains characters outside the allowed set [a-zA-Z0-9_.-]".into());
    }
    Ok(())
}

/// The first delay in a query, in milliseconds.
fn delay(query: &str) -> Result<Option<u64>, Refusal> {
    let decoded = |text: &str| {
        let bytes = unescape(text.replace('+', " ").as_bytes());
        String::from_utf8_lossy(&bytes).into_owned()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(name).eq_ignore_ascii_case("delay") {
            let delay = time::delay(&decoded(value))?;
            return Ok(Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)));
        }
    }
    Ok(None)
}
