//! The typed client of a server's ingress: calls handlers over HTTP.
//!
//! In: a generated client's request, or one by name. Out: the handler's output, or an
//! [`IngressError`]. `request` and `invocation` put requests together, `exchange` makes them and tries
//! again where that is safe, `transport` carries them.

mod builder;
mod delay;
mod error;
mod exchange;
mod invocation;
mod path;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod transport;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::Full;
use tower_service::Service;

pub use self::{
    builder::IngressClientBuilder,
    error::IngressError,
    invocation::IngressInvocation,
    request::IngressRequest,
    response::{IngressResponse, IngressSent, SendStatus},
};
use self::{exchange::Exchange, path::Base, path::Path, transport::Transport};
use crate::{
    Caller, Encode, InvocationId, ObjectClient, RetryPolicy, ServiceClient, Target, WorkflowClient,
    error::BoxError,
};

/// What the client's operations return: a future that sends its request when it is polled first.
///
/// # Examples
///
/// ```
/// use durably::ingress::{IngressClient, IngressFuture};
///
/// fn approve(ingress: &IngressClient, awakeable: &str) -> IngressFuture<()> {
///     ingress.resolve_awakeable(awakeable, &true)
/// }
/// ```
pub type IngressFuture<T> = Pin<Box<dyn Future<Output = Result<T, IngressError>> + Send>>;

/// A client of a server's ingress: it calls handlers from outside, with the same generated clients as
/// handlers do among each other. Cheap to clone.
///
/// ```no_run
/// use durably::{ingress::IngressClient, prelude::*};
///
/// struct Counter;
///
/// #[durably::object]
/// impl Counter {
///     #[handler]
///     async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
///         let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
///         ctx.set("sum", &sum);
///         Ok(sum)
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), durably::ingress::IngressError> {
/// let ingress = IngressClient::new("http://localhost:8080")?;
///
/// // Wait for the result; `.call()` is the same as awaiting the request.
/// let sum = ingress.object::<CounterClient>("ada").add(1).idempotency_key("click-17").await?;
///
/// // Or leave it to the server, and come back for it.
/// let sent = ingress.object::<CounterClient>("ada").add(2).send().await?;
/// println!("{sum}, started {}", sent.id());
/// assert_eq!(sent.attach().await?, sum + 2);
/// # Ok(())
/// # }
/// ```
///
/// Where the handlers are another program's, the client comes from their *contract*, a trait with
/// [`#[durably::service]`](macro@crate::service) on it.
///
/// # Retries
///
/// A request is tried again, with growing pauses ([`RetryPolicy`]), where that cannot make a second
/// invocation of it:
///
/// | what happened | requests that may be repeated | others |
/// | --- | --- | --- |
/// | no connection came about | again | again |
/// | the ingress was overloaded (429) | again | again |
/// | the connection broke before the answer | again | error |
/// | the ingress failed (5xx), or a proxy before it (429, 502, 503, 504) | again | error |
/// | the ingress refused the request (other 4xx) | error | error |
/// | the handler failed terminally, whatever its code | error | error |
/// | the [timeout](IngressClientBuilder::timeout) was over | error | error |
///
/// May be repeated: what has an [idempotency key](IngressRequest::idempotency_key), what was
/// [said to](IngressRequest::repeatable), attaching to invocations and asking for outputs, and completing
/// awakeables (the first completion counts). The server says by a header
/// (`x-restate-error-source`) whether it or the handler failed. A `Retry-After` of up to one minute is
/// waited for.
///
/// # Payloads
///
/// Inputs and outputs go through [`Encode`] and [`Decode`](crate::Decode), as in handlers: serde types
/// are JSON, [`Raw`](crate::Raw) is bytes. The content type is the input's, unless a header says another.
///
/// # Tracing
///
/// With the feature `opentelemetry` each request carries the trace context that is current when it is sent (unless a
/// header of the request says another), and the attempts of the invocation join that trace.
///
/// # TLS
///
/// reqwest comes without TLS. For an address that begins with `https`, enable a TLS feature of `reqwest` in
/// your own `Cargo.toml` (`reqwest = { version = "0.12", features = ["rustls-tls"] }`), or bring a transport.
///
/// # Not there
///
/// The ingress (server 1.7) completes awakeables, but neither named signals nor workflow promises: let a
/// shared handler of the workflow do that. It cannot cancel either; the admin API can.
#[derive(Clone)]
pub struct IngressClient {
    inner: Arc<Inner>,
}

struct Inner {
    base: Base,
    transport: Box<dyn Transport>,
    headers: HeaderMap,
    options: CallOptions,
}

/// What can be said for a client and for each request.
#[derive(Clone, Debug, Default)]
struct CallOptions {
    timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
}

impl IngressClient {
    /// A client of the ingress at this address, with the builder's defaults.
    ///
    /// # Errors
    ///
    /// If it is no address of a web server.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::ingress::IngressClient;
    ///
    /// let ingress = IngressClient::new("http://localhost:8080")?;
    /// assert!(IngressClient::new("localhost").is_err());
    /// # let _ = ingress;
    /// # Ok::<(), durably::ingress::IngressError>(())
    /// ```
    pub fn new(url: impl Into<String>) -> Result<Self, IngressError> {
        Self::builder(url).build()
    }

    /// A client with options.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder`].
    pub fn builder(url: impl Into<String>) -> IngressClientBuilder {
        IngressClientBuilder::new(url.into())
    }

    /// A client whose requests are carried by this `tower` service instead of reqwest: hyper's own client,
    /// one with middleware, or the ingress of a test. See [`IngressClientBuilder::transport`].
    ///
    /// # Errors
    ///
    /// If the address is no address of a web server.
    ///
    /// # Examples
    ///
    /// See [`IngressClientBuilder::transport`].
    pub fn with_transport<S, B>(url: impl Into<String>, service: S) -> Result<Self, IngressError>
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
        Self::builder(url).transport(service).build()
    }

    /// The generated client of a service.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{ingress::{IngressClient, IngressError}, prelude::*};
    /// # struct Greeter;
    /// # #[durably::service]
    /// # impl Greeter {
    /// #     #[handler]
    /// #     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> { Ok(name) }
    /// # }
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let greeting = ingress.service::<GreeterClient>().greet("Ada".to_owned()).call().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn service<C: ServiceClient>(&self) -> C::With<Self> {
        C::with(self.clone())
    }

    /// The generated client of the virtual object with this key.
    ///
    /// # Examples
    ///
    /// See [`IngressClient`].
    pub fn object<C: ObjectClient>(&self, key: impl Into<String>) -> C::With<Self> {
        C::with(self.clone(), key.into())
    }

    /// The generated client of the workflow with this key.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{ingress::{IngressClient, IngressError}, prelude::*};
    /// # struct Signup;
    /// # #[durably::workflow]
    /// # impl Signup {
    /// #     #[handler]
    /// #     async fn run(&self, _ctx: &WorkflowContext, email: String) -> HandlerResult<bool> { Ok(email.len() > 3) }
    /// # }
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let signup = ingress.workflow::<SignupClient>("ada");
    /// let sent = signup.run("ada@example.com".to_owned()).send().await?; // starts it, if it is not there yet
    /// let confirmed: bool = sent.attach().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn workflow<C: WorkflowClient>(&self, key: impl Into<String>) -> C::With<Self> {
        C::with(self.clone(), key.into())
    }

    /// A request to a handler known only by name. [`Raw`](crate::Raw) as input and output passes bytes
    /// through untouched.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use durably::{Raw, Target, ingress::{IngressClient, IngressError}};
    ///
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let image = Raw::from(vec![0x89, b'P', b'N', b'G']);
    /// let request = ingress.request::<_, Raw>(Target::service("Images", "shrink"), image);
    /// let smaller = request.header("content-type", "image/png").call().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn request<In, Out>(&self, target: Target, input: In) -> IngressRequest<In, Out> {
        IngressRequest::new(self.clone(), target, input)
    }

    /// An invocation by its id. Whether there is one shows when it is attached to.
    ///
    /// # Examples
    ///
    /// See [`IngressInvocation`].
    pub fn invocation(&self, id: impl AsRef<str>) -> IngressInvocation {
        IngressInvocation::by_id(self.clone(), id.as_ref())
    }

    /// The invocation of a workflow's own handler, by its key.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::ingress::{IngressClient, IngressError};
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let confirmed: Option<bool> = ingress.workflow_invocation("Signup", "ada").output().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn workflow_invocation(&self, name: &str, key: &str) -> IngressInvocation {
        IngressInvocation::of_workflow(self.clone(), name, key)
    }

    /// The invocation that a request to `target` with this idempotency key has started.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::{Target, ingress::{IngressClient, IngressError}};
    /// # async fn example(ingress: IngressClient) -> Result<(), IngressError> {
    /// let add = Target::object("Counter", "ada", "add");
    /// let sum: u64 = ingress.idempotent_invocation(add, "click-17").attach().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotent_invocation(
        &self,
        target: Target,
        idempotency_key: &str,
    ) -> IngressInvocation {
        IngressInvocation::by_idempotency_key(self.clone(), target, idempotency_key)
    }

    /// Completes an awakeable with a value. Completing it a second time has no effect, nor has it when
    /// the invocation that made it has ended.
    ///
    /// # Errors
    ///
    /// Status 400 if `id` is not the id of an awakeable.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::ingress::{IngressClient, IngressError};
    /// # async fn example(ingress: IngressClient, id: String) -> Result<(), IngressError> {
    /// ingress.resolve_awakeable(&id, "approved").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resolve_awakeable<T: Encode + ?Sized>(&self, id: &str, value: &T) -> IngressFuture<()> {
        let body = value.encode();
        self.complete_awakeable(id, "resolve", T::CONTENT_TYPE, body)
    }

    /// Completes an awakeable with a failure: whoever awaits it gets a terminal error with this message
    /// and the code 500, which is all that the ingress can say.
    ///
    /// # Errors
    ///
    /// Status 400 if `id` is not the id of an awakeable.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::ingress::{IngressClient, IngressError};
    /// # async fn example(ingress: IngressClient, id: String) -> Result<(), IngressError> {
    /// ingress.reject_awakeable(&id, "nobody answered").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reject_awakeable(&self, id: &str, message: &str) -> IngressFuture<()> {
        let body = Bytes::copy_from_slice(message.as_bytes());
        self.complete_awakeable(id, "reject", "text/plain", Ok(body))
    }

    fn complete_awakeable(
        &self,
        id: &str,
        verb: &str,
        content_type: &'static str,
        body: Result<Bytes, BoxError>,
    ) -> IngressFuture<()> {
        let client = self.clone();
        let mut exchange = Exchange {
            method: Method::POST,
            path: Path::new(["restate", "awakeables", id, verb]),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            options: CallOptions::default(),
            repeatable: true,
        };
        Box::pin(async move {
            exchange.body = body.map_err(|source| invalid(&exchange, source))?;
            let content_type = HeaderValue::from_static(content_type);
            exchange.headers.insert(header::CONTENT_TYPE, content_type);
            client.exchange(exchange.checked()?).await?;
            Ok(())
        })
    }
}

impl Caller for IngressClient {
    type Request<In, Out> = IngressRequest<In, Out>;

    fn request<In, Out>(&self, target: Target, input: In) -> IngressRequest<In, Out> {
        Self::request(self, target, input)
    }
}

impl fmt::Debug for IngressClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngressClient")
            .field("url", &format_args!("{}", self.inner.base))
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

/// A header as the ingress takes it: it refuses anything but visible ASCII.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), BoxError> {
    let parsed =
        HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
    let visible = (value.bytes()).all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    match HeaderValue::try_from(value) {
        Ok(value) if visible => Ok((parsed, value)),
        _ => Err(format!(
            "the value of the header `{name}` holds more than visible ASCII; encode it"
        )
        .into()),
    }
}

fn invalid(exchange: &Exchange, source: BoxError) -> IngressError {
    IngressError::Invalid {
        request: exchange.name(),
        source,
    }
}

/// The id that the server gave an invocation.
fn invocation_id(id: &str) -> InvocationId {
    InvocationId::known(id.to_owned())
}
