//! The JSON of Lambda's events: HTTP requests and responses as API Gateway writes them.
//!
//! The server invokes a function with `path`, `httpMethod`, `headers`, `body` and `isBase64Encoded`, and reads
//! `statusCode`, `headers`, `body` and `isBase64Encoded`. Function URLs, to which the server speaks HTTP,
//! and HTTP APIs put path and method elsewhere (payload format 2.0); both are read.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::LambdaError;
use crate::endpoint::{SERVER, SERVER_VALUE, TEXT, printable};

/// An event of AWS Lambda that holds an HTTP request.
///
/// # Examples
///
/// ```
/// use durably::lambda::LambdaRequest;
///
/// let event: LambdaRequest = serde_json::from_str(
///     r#"{ "path": "/discover", "httpMethod": "GET", "headers": { "accept": "text/plain" } }"#,
/// )?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LambdaRequest {
    path: Option<String>,
    raw_path: Option<String>,
    http_method: Option<String>,
    request_context: Option<RequestContext>,
    headers: Option<HashMap<String, Option<String>>>,
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct RequestContext {
    http: Option<HttpContext>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct HttpContext {
    method: Option<String>,
}

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestProblem {
    #[error("`{0}` is no HTTP method")]
    Method(String),
    #[error("`{0}` is no path")]
    Path(String),
    #[error("the header `{0}` is none: its name or value has characters that it cannot have")]
    Header(String),
}

/// A body as it stands in an event.
#[derive(Debug)]
pub(super) struct PackedBody {
    text: String,
    base64: bool,
}

impl PackedBody {
    pub(super) fn decode(self) -> Result<Bytes, BodyError> {
        if self.base64 {
            Ok(STANDARD.decode(self.text)?.into())
        } else {
            Ok(self.text.into())
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body is not base64, as it is said to be: {0}")]
pub(super) struct BodyError(#[from] base64::DecodeError);

impl LambdaRequest {
    /// The request, or what is wrong with it.
    pub(super) fn into_http(
        self,
    ) -> Result<Result<(Parts, PackedBody), RequestProblem>, LambdaError> {
        let context = self.request_context.and_then(|context| context.http);
        let method = self.http_method.or(context.and_then(|http| http.method));
        let path = self.path.or(self.raw_path);
        let (Some(method), Some(path)) = (method, path) else {
            return Err(LambdaError::NoRequest);
        };
        let body = PackedBody {
            text: self.body.unwrap_or_default(),
            base64: self.is_base64_encoded,
        };
        let headers = self.headers.unwrap_or_default();
        Ok(head(&method, &path, headers).map(|head| (head, body)))
    }
}

fn head(
    method: &str,
    path: &str,
    headers: HashMap<String, Option<String>>,
) -> Result<Parts, RequestProblem> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::from_bytes(method.as_bytes())
        .map_err(|_| RequestProblem::Method(printable(method)))?;
    // It has no host; a name in front of the first slash would be taken for one.
    head.uri = Some(path)
        .filter(|path| path.starts_with('/'))
        .and_then(|path| Uri::try_from(path).ok())
        .ok_or_else(|| RequestProblem::Path(printable(path)))?;
    for (name, value) in headers {
        let Some(value) = value else { continue };
        let parsed = HeaderName::try_from(&*name)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        let Some((parsed, value)) = parsed else {
            return Err(RequestProblem::Header(printable(&name)));
        };
        head.headers.append(parsed, value);
    }
    Ok(head)
}

/// Without the body, which may be anybody's data.
impl fmt::Debug for LambdaRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LambdaRequest")
            .field("path", &self.path.as_ref().or(self.raw_path.as_ref()))
            .field("body", &self.body.as_ref().map(String::len))
            .finish_non_exhaustive()
    }
}

/// The response to an event of AWS Lambda.
///
/// # Examples
///
/// ```
/// use durably::{Endpoint, lambda::{LambdaEndpoint, LambdaRequest}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let function = LambdaEndpoint::new(Endpoint::builder().build()?);
/// let event: LambdaRequest = serde_json::from_str(r#"{ "path": "/health", "httpMethod": "GET" }"#)?;
/// # let response = futures::executor::block_on(async {
/// let response = function.handle(event).await?;
/// # Ok::<_, Box<dyn std::error::Error>>(response) })?;
/// let json = serde_json::to_value(&response)?;
/// assert_eq!(json["statusCode"], 200);
/// assert_eq!(json["body"], "b2s=");
/// assert_eq!(json["isBase64Encoded"], true);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LambdaResponse {
    status_code: u16,
    headers: BTreeMap<String, String>,
    body: String,
    is_base64_encoded: bool,
}

impl LambdaResponse {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        // All are the endpoint's own, so nothing is left out.
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        Self {
            status_code: status.as_u16(),
            headers: headers.iter().filter_map(text).collect(),
            body: STANDARD.encode(body),
            is_base64_encoded: true,
        }
    }

    /// One line for people.
    pub(super) fn text(status: StatusCode, text: String) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
        headers.insert(SERVER, SERVER_VALUE);
        Self::new(status, &headers, &Bytes::from(text))
    }

    /// The HTTP status.
    ///
    /// # Examples
    ///
    /// See [`LambdaEndpoint::handle`](super::LambdaEndpoint::handle).
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status_code
    }
}

/// Without the body, which may be anybody's data.
impl fmt::Debug for LambdaResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LambdaResponse")
            .field("status_code", &self.status_code)
            .field("headers", &self.headers)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}
