//! One request to the ingress: its path, headers and body, put together step by step and exchanged
//! for a reply.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::client;
use super::Ingress;
use super::reply::{IngressError, Reply, Sent, failure, invocation_id};

/// A request to a handler, made by [`Ingress::service`] or [`Ingress::object`].
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::Ingress;
/// # use std::time::Duration;
/// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
/// let order = ingress.object("Orders", "o-17", "place").idempotency_key("click-1");
/// let receipt: String = order.clone().json(&["book"]).call().await?;
/// let again: String = order.json(&["book"]).call().await?; // the same invocation
///
/// let reply = ingress.service("Images", "shrink").raw("image/png", vec![0u8; 4]).call_raw().await?;
/// println!("{} gave {} bytes", reply.invocation_id().unwrap_or_default(), reply.body.len());
///
/// ingress.service("Mailer", "remind").json(&"ada").send_after(Duration::from_secs(60)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a request does nothing until it is called or sent"]
pub struct IngressRequest {
    client: reqwest::Client,
    base: String,
    method: Method,
    path: Vec<String>,
    scope: Option<String>,
    headers: Vec<(String, String)>,
    /// Shared, because such errors cannot be cloned.
    body: Result<Bytes, Arc<serde_json::Error>>,
    delay: Option<Duration>,
}

impl IngressRequest {
    /// A request with a path that is either complete or that of a handler.
    pub(super) fn new(ingress: &Ingress, method: Method, path: &[&str]) -> Self {
        Self {
            client: ingress.client.clone(),
            base: ingress.base.clone(),
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            scope: None,
            headers: Vec::new(),
            body: Ok(Bytes::new()),
            delay: None,
        }
    }

    /// Sets the input to a value, sent as JSON. `&()` is no body at all.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn json<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        self.body = serde_json::to_vec(input).map(Bytes::from).map_err(Arc::new);
        if size_of_val(input) == 0 && self.body.as_ref().is_ok_and(|body| body == "null") {
            self.body = Ok(Bytes::new());
            return self;
        }
        self.header("content-type", "application/json")
    }

    /// Sets the input to bytes of some content type.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn raw(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Ok(body.into());
        self.header("content-type", content_type)
    }

    /// Adds a header, which the handler sees among its request's headers.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = ingress.service("Greeter", "greet").header("x-tenant", "blue");
    /// let greeting: String = request.json(&"Ada").call().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes all requests with this key to this handler one invocation.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Runs the invocation in a scope. The server must run with [scopes] enabled.
    ///
    /// [scopes]: crate::test_server::RestateServerBuilder::scopes
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = ingress.service("Greeter", "greet").scope("tenant-1").limit_key("emails");
    /// let greeting: String = request.json(&"Ada").call().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn scope(mut self, scope: &str) -> Self {
        self.scope = Some(scope.to_owned());
        self
    }

    /// Counts the invocation against a limit of its scope.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest::scope`].
    pub fn limit_key(self, key: &str) -> Self {
        self.header("x-restate-limit-key", key)
    }

    /// Calls the handler and decodes its output.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`].
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub async fn call<T: DeserializeOwned>(self) -> Result<T, IngressError> {
        self.call_raw().await?.decode()
    }

    /// Calls the handler and gives its output as it came.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`].
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub async fn call_raw(self) -> Result<Reply, IngressError> {
        self.addressed("call").exchange().await
    }

    /// Starts the handler without waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Ingress::send`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::Ingress;
    /// # async fn example(ingress: Ingress) -> Result<(), Box<dyn std::error::Error>> {
    /// let sent = ingress.service("Mailer", "remind").json(&"ada").send().await?;
    /// println!("{}", sent.invocation_id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(self) -> Result<Sent, IngressError> {
        self.addressed("send").exchange().await?.sent()
    }

    /// Starts the handler after a while, counted in whole milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Ingress::send`].
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub async fn send_after(mut self, delay: Duration) -> Result<Sent, IngressError> {
        self.delay = Some(delay);
        self.send().await
    }

    /// Completes the path to `/restate/[scope/{scope}/]{verb}/{service}/[{key}/]{handler}`.
    fn addressed(mut self, verb: &str) -> Self {
        let mut path = vec!["restate".to_owned()];
        if let Some(scope) = self.scope.take() {
            path.extend(["scope".to_owned(), scope]);
        }
        path.push(verb.to_owned());
        path.append(&mut self.path);
        self.path = path;
        self
    }

    /// Sends the request to its path as it is.
    pub(super) async fn exchange(self) -> Result<Reply, IngressError> {
        let mut path = String::new();
        for segment in &self.path {
            path.push('/');
            path.push_str(&client::encode_segment(segment));
        }
        if let Some(delay) = self.delay {
            path.push_str(&format!("?delay={}ms", delay.as_millis()));
        }
        let request = format!("{} {path}", self.method);
        // URLs have no way to write these two segments: they always mean directories.
        if self
            .path
            .iter()
            .any(|segment| segment == "." || segment == "..")
        {
            let source = "a key of one or two dots cannot be written in a URL".into();
            return Err(IngressError::Unsendable { request, source });
        }
        let body = match self.body {
            Ok(body) => body,
            Err(error) => {
                return Err(IngressError::Unsendable {
                    request,
                    source: error.into(),
                });
            }
        };
        let mut builder = self
            .client
            .request(self.method, format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        let answer = async {
            let response = builder.body(body).send().await?;
            let status = response.status();
            let headers = response.headers().clone();
            Ok((status, headers, response.bytes().await?))
        };
        match answer.await {
            Ok((status, headers, body)) if status.is_success() => {
                Ok(Reply::new(request, headers, body))
            }
            Ok((status, headers, body)) => {
                let (message, metadata) = failure(&body);
                Err(IngressError::Failed {
                    request,
                    status: status.as_u16(),
                    message,
                    metadata,
                    invocation_id: invocation_id(&headers).map(str::to_owned),
                })
            }
            Err(error) => {
                let unsendable = reqwest::Error::is_builder(&error);
                let source = client::describe(error);
                Err(if unsendable {
                    IngressError::Unsendable { request, source }
                } else {
                    IngressError::Unanswered { request, source }
                })
            }
        }
    }
}

impl fmt::Debug for IngressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngressRequest")
            .field("method", &self.method)
            .field("path", &self.path.join("/"))
            .field("scope", &self.scope)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}
