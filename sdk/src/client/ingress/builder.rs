//! The options of a client.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header as names};
use http_body_util::Full;
use tower_service::Service;

use super::{
    CallOptions, IngressClient, IngressError, Inner, header,
    path::Base,
    transport::{self, Transport},
};
use crate::{
    RetryPolicy,
    client::http::{describe, without_userinfo},
    error::BoxError,
};

/// Makes an [`IngressClient`] with options.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use durably::{RetryPolicy, ingress::IngressClient};
///
/// let ingress = IngressClient::builder("http://localhost:8080")
///     .bearer_token("s3cr3t")
///     .header("x-tenant", "acme")
///     .timeout(Duration::from_secs(30))
///     .retry(RetryPolicy::exponential(Duration::from_millis(50), 2.0).max_attempts(5))
///     .build()?;
/// # let _ = ingress;
/// # Ok::<(), durably::ingress::IngressError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct IngressClientBuilder {
    url: String,
    headers: Vec<(String, String)>,
    token: Option<String>,
    options: CallOptions,
    transport: Option<Box<dyn Transport>>,
}

impl IngressClientBuilder {
    pub(super) fn new(url: String) -> Self {
        // About 20 s in all: a server that restarts is back by then.
        let retry = RetryPolicy::exponential(Duration::from_millis(100), 2.0)
            .max_delay(Duration::from_secs(5))
            .max_attempts(10);
        Self {
            url,
            headers: Vec::new(),
            token: None,
            options: CallOptions {
                timeout: None,
                retry: Some(retry),
            },
            transport: None,
        }
    }

    /// Sends `Authorization: Bearer …` with each request. Handlers see it among their headers.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder`].
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Adds a header to each request, which the called handlers see. A header of the same name on a
    /// request takes its place.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The time that each request has, all its tries included. None by default: a durable call may wait
    /// for a month. What was started goes on.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// When a request is tried again, as far as that is [safe](IngressClient#retries), and when it is
    /// given up. Each pause is shortened at random, by up to half. Without retries:
    /// `RetryPolicy::fixed(Duration::ZERO).max_attempts(1)`.
    ///
    /// By default ten tries with pauses from 100 ms to 5 s, so about 20 seconds.
    /// [`pause_on_exhaustion`](RetryPolicy::pause_on_exhaustion) means nothing here.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Sends requests through a `tower` service instead of reqwest. It is cloned for each request.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::convert::Infallible;
    /// use bytes::Bytes;
    /// use durably::{Target, ingress::IngressClient};
    /// use http_body_util::Full;
    ///
    /// /// An ingress where every handler says hello.
    /// #[derive(Clone)]
    /// struct Hello;
    ///
    /// impl tower_service::Service<http::Request<Full<Bytes>>> for Hello {
    ///     type Response = http::Response<Full<Bytes>>;
    ///     type Error = Infallible;
    ///     type Future = std::future::Ready<Result<Self::Response, Infallible>>;
    ///
    ///     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
    ///         std::task::Poll::Ready(Ok(()))
    ///     }
    ///
    ///     fn call(&mut self, _request: http::Request<Full<Bytes>>) -> Self::Future {
    ///         std::future::ready(Ok(http::Response::new(Full::new(Bytes::from("\"hello\"")))))
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), durably::ingress::IngressError> {
    /// let ingress = IngressClient::builder("http://in.memory").transport(Hello).build()?;
    /// let answer = ingress.request::<_, String>(Target::service("Greeter", "greet"), "Ada");
    /// assert_eq!(answer.call().await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn transport<S, B>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Full<Bytes>>, Response = http::Response<B>>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        self.transport = Some(Box::new(transport::Tower::new(service)));
        self
    }

    /// Sends requests through a configured reqwest client.
    #[cfg(feature = "test-server")]
    pub(crate) fn reqwest(mut self, client: reqwest::Client) -> Self {
        self.transport = Some(Box::new(client));
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`IngressError::Invalid`] if the address is none of a web server, or a header cannot be
    /// written.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder`].
    pub fn build(self) -> Result<IngressClient, IngressError> {
        let request = without_userinfo(&self.url);
        self.try_build()
            .map_err(|source| IngressError::Invalid { request, source })
    }

    fn try_build(self) -> Result<IngressClient, BoxError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let (name, value) = header(name, value)?;
            headers.append(name, value);
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| "the bearer token holds more than visible ASCII")?;
            value.set_sensitive(true);
            headers.insert(names::AUTHORIZATION, value);
        }
        let inner = Inner {
            base: Base::parse(&self.url)?,
            headers,
            options: self.options,
            transport: match self.transport {
                Some(transport) => transport,
                None => Box::new(transport::default().map_err(describe)?),
            },
        };
        Ok(IngressClient {
            inner: inner.into(),
        })
    }
}

impl fmt::Debug for IngressClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngressClientBuilder")
            .field("url", &without_userinfo(&self.url))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
