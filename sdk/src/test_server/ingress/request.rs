//! One request to the ingress: its target, headers and body, put together step by step and exchanged
//! for a reply.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::reply::{Reply, Sent};
use crate::ingress::{self, IngressClient, IngressError};
use crate::{Raw, Target};

/// A request to a handler, made by [`Ingress::service`](super::Ingress::service) or [`Ingress::object`](super::Ingress::object).
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
    client: IngressClient,
    target: Target,
    scope: Option<String>,
    limit_key: Option<String>,
    idempotency_key: Option<String>,
    headers: Vec<(String, String)>,
    /// Shared, because such errors cannot be cloned.
    body: Result<Bytes, Arc<serde_json::Error>>,
}

impl IngressRequest {
    pub(super) fn new(client: IngressClient, target: Target) -> Self {
        Self {
            client,
            target,
            scope: None,
            limit_key: None,
            idempotency_key: None,
            headers: Vec::new(),
            body: Ok(Bytes::new()),
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
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
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
    pub fn limit_key(mut self, key: &str) -> Self {
        self.limit_key = Some(key.to_owned());
        self
    }

    /// Calls the handler and decodes its output.
    ///
    /// # Errors
    ///
    /// As [`Ingress::call`](super::Ingress::call).
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
    /// As [`Ingress::call`](super::Ingress::call).
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub async fn call_raw(self) -> Result<Reply, IngressError> {
        let response = self.request()?.call_with_response().await?;
        Ok(Reply::new(response))
    }

    /// Starts the handler without waiting for it.
    ///
    /// # Errors
    ///
    /// As [`Ingress::send`](super::Ingress::send).
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
        Ok(Sent::new(&self.request()?.send().await?))
    }

    /// Starts the handler after a while, counted in whole milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Ingress::send`](super::Ingress::send).
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub async fn send_after(self, delay: Duration) -> Result<Sent, IngressError> {
        Ok(Sent::new(&self.request()?.send_after(delay).await?))
    }

    fn request(self) -> Result<ingress::IngressRequest<Raw, Raw>, IngressError> {
        let body = self.body.map_err(|error| IngressError::Invalid {
            request: self.target.to_string(),
            source: error.into(),
        })?;
        let mut request = self.client.request(self.target, Raw(body));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(key) = self.idempotency_key {
            request = request.idempotency_key(key);
        }
        if let Some(scope) = self.scope {
            request = request.scope(scope);
        }
        if let Some(key) = self.limit_key {
            request = request.limit_key(key);
        }
        Ok(request)
    }
}

impl fmt::Debug for IngressRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngressRequest")
            .field("target", &self.target)
            .field("scope", &self.scope)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
