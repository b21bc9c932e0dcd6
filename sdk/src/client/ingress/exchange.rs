//! One request and its tries: what is sent, what an answer means, when another try is safe.
//!
//! In: a request as data. Out: the successful response, or an [`IngressError`].

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    IngressClient, IngressError, delay,
    path::Path,
    transport::{Sent, TransportError},
};
use crate::{client::http::said, error::TerminalError, retry::Decision};

/// Says who made an error response: the ingress, or the invocation that failed.
const ERROR_SOURCE: HeaderName = HeaderName::from_static("x-restate-error-source");
/// The id of the invocation whose result a response is.
pub(super) const INVOCATION_ID: HeaderName = HeaderName::from_static("x-restate-id");
/// How much of an answer that is no JSON is repeated in a message.
const MAX_TEXT: usize = 200;

/// A request, ready to be sent any number of times.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) path: Path,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) options: super::CallOptions,
    /// Whether making it twice is the same as making it once.
    pub(super) repeatable: bool,
}

impl Exchange {
    /// How messages name it.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Refuses one that cannot be sent.
    pub(super) fn checked(self) -> Result<Self, IngressError> {
        match self.path.check() {
            Ok(()) => Ok(self),
            Err(source) => Err(super::invalid(&self, source)),
        }
    }
}

/// A try that failed.
struct Failure {
    error: IngressError,
    again: Again,
    retry_after: Option<Duration>,
}

/// Whether another try is safe.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Again {
    /// The request was not taken on.
    Safe,
    /// It may have been.
    IfRepeatable,
    /// It would end the same.
    Never,
}

impl IngressClient {
    /// Sends the request, again where that is safe and the policy allows it.
    pub(super) async fn exchange(
        &self,
        exchange: Exchange,
    ) -> Result<http::Response<Bytes>, IngressError> {
        let inner = &*self.inner;
        let started = Instant::now();
        let timeout = exchange.options.timeout.or(inner.options.timeout);
        // A time beyond what the clock can say is no limit.
        let deadline = timeout.and_then(|timeout| started.checked_add(timeout));
        let policy = (exchange.options.retry.as_ref()).or(inner.options.retry.as_ref());
        let mut count = 0;
        loop {
            count += 1;
            let tried = inner.transport.exchange(self.message(&exchange)?);
            let outcome = match (deadline, timeout) {
                (Some(deadline), Some(timeout)) => match timeout_at(deadline, tried).await {
                    Ok(outcome) => outcome,
                    Err(_) => {
                        let request = exchange.name();
                        return Err(IngressError::Timeout { request, timeout });
                    }
                },
                _ => tried.await,
            };
            let failure = match judge(&exchange, outcome) {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let safe = match failure.again {
                Again::Safe => true,
                Again::IfRepeatable => exchange.repeatable,
                Again::Never => false,
            };
            let decision = policy.map(|policy| policy.decide(count, started.elapsed()));
            let (true, Some(Decision::Retry(pause))) = (safe, decision) else {
                return Err(failure.error);
            };
            let Some(pause) = delay::before_retry(pause, failure.retry_after) else {
                return Err(failure.error);
            };
            // What is known now says more than that the time is over.
            let end = Instant::now().checked_add(pause);
            if deadline.is_some_and(|deadline| end.is_none_or(|end| end >= deadline)) {
                return Err(failure.error);
            }
            tracing::debug!(error = %failure.error, ?pause, "trying again");
            sleep(pause).await;
        }
    }

    fn message(&self, exchange: &Exchange) -> Result<http::Request<Bytes>, IngressError> {
        let uri = self.inner.base.join(&exchange.path);
        let message = http::Request::builder()
            .method(exchange.method.clone())
            .uri(uri)
            .body(exchange.body.clone());
        let mut message = message.map_err(|error| IngressError::Invalid {
            request: exchange.name(),
            source: error.into(),
        })?;
        *message.headers_mut() = self.inner.headers.clone();
        #[cfg(feature = "opentelemetry")]
        crate::inject_trace_context(message.headers_mut());
        // Repeated names of one request stay; together they take the place of the client's own.
        for name in exchange.headers.keys() {
            message.headers_mut().remove(name);
        }
        for (name, value) in &exchange.headers {
            message.headers_mut().append(name, value.clone());
        }
        Ok(message)
    }
}

fn judge(
    exchange: &Exchange,
    outcome: Result<http::Response<Bytes>, TransportError>,
) -> Result<http::Response<Bytes>, Failure> {
    match outcome {
        Ok(response) if response.status().is_success() => Ok(response),
        Ok(response) => Err(answered(exchange, &response)),
        Err(TransportError { source, sent }) => {
            let request = exchange.name();
            let (error, again) = match sent {
                Sent::Perhaps => (
                    IngressError::Transport { request, source },
                    Again::IfRepeatable,
                ),
                Sent::No => (IngressError::Transport { request, source }, Again::Safe),
                Sent::Impossible => (IngressError::Invalid { request, source }, Again::Never),
            };
            Err(Failure {
                error,
                again,
                retry_after: None,
            })
        }
    }
}

/// What an answer that is a failure says.
fn answered(exchange: &Exchange, response: &http::Response<Bytes>) -> Failure {
    let (status, headers) = (response.status(), response.headers());
    let told = Told::read(status, response.body());
    let source = headers.get(ERROR_SOURCE).map(HeaderValue::as_bytes);
    let invocation_id = headers.get(INVOCATION_ID).and_then(|id| id.to_str().ok());
    // Servers that do not say who failed still name the invocation whose result it is.
    let terminal = source.map_or(invocation_id.is_some(), |source| source == b"invocation");
    let request = exchange.name();
    if terminal {
        let code = told.code.unwrap_or(status.as_u16());
        let error = TerminalError::new(told.message).with_code(code);
        let error = (told.metadata.into_iter())
            .fold(error, |error, (key, value)| error.with_metadata(key, value));
        return Failure {
            error: IngressError::Terminal {
                request,
                error,
                invocation_id: invocation_id.map(str::to_owned),
            },
            again: Again::Never,
            retry_after: None,
        };
    }
    let retry_after = delay::retry_after(headers);
    Failure {
        error: IngressError::Refused {
            request,
            status: status.as_u16(),
            message: told.message,
            retry_after,
        },
        again: match (status, source) {
            // The ingress sheds load before it looks at the request.
            (StatusCode::TOO_MANY_REQUESTS, Some(_)) => Again::Safe,
            (_, Some(_)) if status.is_server_error() => Again::IfRepeatable,
            // A proxy, which may have passed the request on.
            (
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
                None,
            ) => Again::IfRepeatable,
            _ => Again::Never,
        },
        retry_after,
    }
}

/// What the body of a failure tells.
struct Told {
    code: Option<u16>,
    message: String,
    metadata: std::collections::BTreeMap<String, String>,
}

impl Told {
    /// The ingress answers with JSON; what stands before it, with anything.
    fn read(status: StatusCode, body: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Json {
            code: Option<u16>,
            message: String,
            #[serde(default)]
            metadata: std::collections::BTreeMap<String, String>,
        }
        match serde_json::from_slice::<Json>(body) {
            Ok(json) => Self {
                code: json.code,
                message: json.message,
                metadata: json.metadata,
            },
            Err(_) => Self {
                code: None,
                message: said(status.as_u16(), body, MAX_TEXT),
                metadata: std::collections::BTreeMap::new(),
            },
        }
    }
}
