//! A request to a handler: what is said of it, and the ways to make it.

use std::{fmt, future::IntoFuture, marker::PhantomData, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header as names};

use super::{
    CallOptions, IngressClient, IngressError, IngressFuture, IngressInvocation, IngressResponse,
    IngressSent, exchange::Exchange, header, path::Path, response,
};
use crate::{Decode, Encode, RetryPolicy, Target, error::BoxError};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LIMIT_KEY: HeaderName = HeaderName::from_static("x-restate-limit-key");

/// A request to a handler, about to be made: [`call`](Self::call) it (or `.await` it), or
/// [`send`](Self::send) it. Nothing is sent before that.
///
/// Generated clients return it when an [`IngressClient`] made them, and
/// [`IngressClient::request`] makes an untyped one.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use durably::{Target, ingress::{IngressClient, IngressError}};
///
/// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
/// let greet = |name: &str| ingress.request::<_, String>(Target::service("Greeter", "greet"), name.to_owned());
///
/// let greeting = greet("Ada").idempotency_key("greet-ada").header("x-tenant", "7").await?;
/// let quick = greet("Grace").timeout(Duration::from_secs(2)).call().await?;
/// let sent = greet("Barbara").send_after(Duration::from_secs(60)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a request does nothing by itself: call, await or send it"]
pub struct IngressRequest<In, Out> {
    client: IngressClient,
    target: Target,
    input: In,
    headers: Vec<(String, String)>,
    idempotency_key: Option<String>,
    scope: Option<String>,
    limit_key: Option<String>,
    options: CallOptions,
    repeatable: bool,
    marker: PhantomData<fn() -> Out>,
}

impl<In, Out> IngressRequest<In, Out> {
    pub(super) fn new(client: IngressClient, target: Target, input: In) -> Self {
        Self {
            client,
            target,
            input,
            headers: Vec::new(),
            idempotency_key: None,
            scope: None,
            limit_key: None,
            options: CallOptions::default(),
            repeatable: false,
            marker: PhantomData,
        }
    }

    /// Adds a header that the called handler sees. One that the client itself has of that name is not
    /// sent.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Requests with the same idempotency key to the same handler are one invocation, as long as the
    /// server remembers the key (`idempotency_retention`). So the request
    /// [may be repeated](IngressClient#retries). It must not be empty, and is visible ASCII; spaces only within.
    ///
    /// A workflow's own handler takes none: the workflow's key does that, and a second call fails with
    /// 409. `send` it, which may be repeated by hand, and attach to it.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Says that making the request twice does no harm, since its handler only reads, say: then
    /// it [may be repeated](IngressClient#retries) like one with an idempotency key.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{Target, ingress::{IngressClient, IngressError}};
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let get = ingress.request::<_, u64>(Target::object("Counter", "ada", "get"), ());
    /// let count = get.repeatable().call().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// The scope in which the invocation runs; the server must have scopes enabled.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{Target, ingress::{IngressClient, IngressError}};
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let mail = ingress.request::<_, ()>(Target::service("Mail", "deliver"), "ada");
    /// mail.scope("tenant-7").limit_key("mail").send().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// The key, within the scope, whose concurrency limit applies. Needs a scope.
    ///
    /// # Examples
    ///
    /// See [`scope`](Self::scope).
    pub fn limit_key(mut self, key: impl Into<String>) -> Self {
        self.limit_key = Some(key.into());
        self
    }

    /// The time that the request has, all its tries included, instead of the client's.
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// When the request is tried again, instead of the client's policy.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{Target, ingress::{IngressClient, IngressError}, prelude::*};
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let request = ingress.request::<_, String>(Target::service("Greeter", "greet"), "Ada");
    /// let once = RetryPolicy::fixed(Duration::ZERO).max_attempts(1);
    /// let greeting = request.retry(once).call().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Calls the handler and waits for its output. Awaiting the request does the same.
    ///
    /// Dropping the future does not stop the invocation once it has started.
    ///
    /// # Errors
    ///
    /// The terminal error of the handler, or what went wrong on the way: see [`IngressError`].
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn call(self) -> IngressFuture<Out>
    where
        In: Encode,
        Out: Decode + 'static,
    {
        let response = self.call_with_response();
        Box::pin(async move { Ok(response.await?.output) })
    }

    /// Calls the handler and waits for its output, and gives what came with it too: headers, the
    /// invocation's id.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Examples
    ///
    /// See [`IngressResponse`].
    pub fn call_with_response(self) -> IngressFuture<IngressResponse<Out>>
    where
        In: Encode,
        Out: Decode + 'static,
    {
        let client = self.client.clone();
        let exchange = self.exchange("call", None);
        Box::pin(async move {
            let exchange = exchange?;
            let name = exchange.name();
            response::decode(name, client.exchange(exchange).await?)
        })
    }

    /// Starts the handler without waiting for it. What comes back is the invocation, to be attached to or
    /// not.
    ///
    /// # Errors
    ///
    /// What went wrong on the way; the handler's own errors show when the invocation is attached to.
    ///
    /// # Examples
    ///
    /// See [`IngressSent`].
    pub fn send(self) -> IngressFuture<IngressSent<Out>>
    where
        In: Encode,
        Out: 'static,
    {
        self.send_with(None)
    }

    /// Starts the handler after a while, counted by the server from when it takes the request on.
    /// Resolution: milliseconds.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// See [`IngressRequest`].
    pub fn send_after(self, delay: Duration) -> IngressFuture<IngressSent<Out>>
    where
        In: Encode,
        Out: 'static,
    {
        self.send_with(Some(delay))
    }

    fn send_with(self, delay: Option<Duration>) -> IngressFuture<IngressSent<Out>>
    where
        In: Encode,
        Out: 'static,
    {
        let client = self.client.clone();
        let exchange = self.exchange("send", delay);
        Box::pin(async move {
            let exchange = exchange?;
            let name = exchange.name();
            let response = client.exchange(exchange).await?;
            response::sent(client, name, &response)
        })
    }

    /// Waits for the output of the invocation that such a request has started before, without starting
    /// it: the one with the same idempotency key, or for a workflow without one, that of its own handler.
    /// The input does not matter.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); status 404 if there is no such invocation.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{ingress::{IngressClient, IngressError}, prelude::*};
    /// # struct Reports;
    /// # #[durably::service]
    /// # impl Reports {
    /// #     #[handler]
    /// #     async fn write(&self, _ctx: &Context, year: u32) -> HandlerResult<String> { Ok(year.to_string()) }
    /// # }
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let report = || ingress.service::<ReportsClient>().write(1815).idempotency_key("report-1815");
    /// report().send().await?;
    /// // … perhaps another process, later:
    /// match report().output().await? {
    ///     Some(text) => println!("{text}"),
    ///     None => println!("not yet; waiting: {}", report().attach().await?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(self) -> IngressFuture<Out>
    where
        Out: Decode + 'static,
    {
        match self.existing() {
            Ok(invocation) => invocation.attach(),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    /// The output of the invocation that such a request has started before, if it has ended, `None` if
    /// not; does not wait. See [`attach`](Self::attach) for which one that is.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    ///
    /// # Examples
    ///
    /// See [`attach`](Self::attach).
    pub fn output(self) -> IngressFuture<Option<Out>>
    where
        Out: Decode + 'static,
    {
        match self.existing() {
            Ok(invocation) => invocation.output(),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn existing(self) -> Result<IngressInvocation, IngressError> {
        // A header is a key too, as for a call.
        let named = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("idempotency-key");
        let header = self.headers.iter().find(named);
        let header = header.map(|(_, value)| value.clone());
        let invocation = match (self.idempotency_key.or(header), self.target.key()) {
            (Some(key), _) => IngressInvocation::by_idempotency_key(self.client, self.target, &key),
            (None, Some(key)) => {
                IngressInvocation::of_workflow(self.client, self.target.service_name(), key)
            }
            (None, None) => {
                return Err(IngressError::Invalid {
                    request: self.target.to_string(),
                    source: "without an idempotency key nobody knows which invocation it is".into(),
                });
            }
        };
        Ok(invocation.with(self.scope, self.headers, self.options))
    }

    fn exchange(self, verb: &str, delay: Option<Duration>) -> Result<Exchange, IngressError>
    where
        In: Encode,
    {
        let mut path = Path::new(["restate"]);
        if let Some(scope) = &self.scope {
            path.push("scope");
            path.push(scope);
        }
        path.push(verb);
        path.push(self.target.service_name());
        if let Some(key) = self.target.key() {
            path.push(key);
        }
        path.push(self.target.handler_name());
        if let Some(delay) = delay {
            path.query(&format!("delay={}ms", delay.as_millis()));
        }
        let mut exchange = Exchange {
            method: Method::POST,
            path,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            options: self.options,
            repeatable: self.repeatable,
        };
        let filled = fill(
            &mut exchange,
            &self.headers,
            self.idempotency_key.as_deref(),
            self.limit_key.as_deref(),
            &self.input,
        );
        match filled {
            Ok(()) => exchange.checked(),
            Err(source) => Err(super::invalid(&exchange, source)),
        }
    }
}

fn fill<In: Encode>(
    exchange: &mut Exchange,
    headers: &[(String, String)],
    idempotency_key: Option<&str>,
    limit_key: Option<&str>,
    input: &In,
) -> Result<(), BoxError> {
    exchange.body = input.encode()?;
    append(&mut exchange.headers, headers)?;
    if !exchange.body.is_empty() && !exchange.headers.contains_key(names::CONTENT_TYPE) {
        let content_type = HeaderValue::from_static(In::CONTENT_TYPE);
        exchange.headers.insert(names::CONTENT_TYPE, content_type);
    }
    for (name, value) in [(IDEMPOTENCY_KEY, idempotency_key), (LIMIT_KEY, limit_key)] {
        if let Some(value) = value {
            let (name, value) = header(name.as_str(), value)?;
            exchange.headers.insert(name, value);
        }
    }
    if let Some(key) = exchange.headers.get(IDEMPOTENCY_KEY) {
        if key.is_empty() {
            return Err("the idempotency key is empty: leave it out, or make it a real one".into());
        }
        // Two keys that differ in that would be one invocation.
        if key.as_bytes().trim_ascii() != key.as_bytes() {
            return Err(
                "the idempotency key begins or ends with white space, which HTTP drops".into(),
            );
        }
        exchange.repeatable = true;
    }
    Ok(())
}

/// Adds headers as the user wrote them.
pub(super) fn append(to: &mut HeaderMap, headers: &[(String, String)]) -> Result<(), BoxError> {
    for (name, value) in headers {
        let (name, value) = header(name, value)?;
        to.append(name, value);
    }
    Ok(())
}

impl<In: Encode, Out: Decode + 'static> IntoFuture for IngressRequest<In, Out> {
    type Output = Result<Out, IngressError>;
    type IntoFuture = IngressFuture<Out>;

    fn into_future(self) -> Self::IntoFuture {
        self.call()
    }
}

impl<In: Clone, Out> Clone for IngressRequest<In, Out> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            target: self.target.clone(),
            input: self.input.clone(),
            headers: self.headers.clone(),
            idempotency_key: self.idempotency_key.clone(),
            scope: self.scope.clone(),
            limit_key: self.limit_key.clone(),
            options: self.options.clone(),
            repeatable: self.repeatable,
            marker: PhantomData,
        }
    }
}

impl<In, Out> fmt::Debug for IngressRequest<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngressRequest")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
