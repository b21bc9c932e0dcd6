//! A load balancer for a demonstration, as stands before the processes of a service in production.
//!
//! In: HTTP/2 requests at one address, the one that is registered. Out: the same requests, each to the next
//! of its backends. It has to balance requests and not connections: a Restate server keeps few
//! connections, and a process that joins would get nothing through those that are there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, uri::PathAndQuery};
use axum::response::{IntoResponse, Response};
use futures::{TryStream, TryStreamExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// A load balancer. It ends with this value.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// let balancer = durably_examples::Balancer::start().await?;
/// balancer.add("127.0.0.1:9081");
/// balancer.add("127.0.0.1:9082");
/// println!("register http://{}", balancer.address());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Balancer {
    address: String,
    backends: Backends,
    serving: AbortHandle,
}

#[derive(Clone, Debug)]
struct Backends {
    http: reqwest::Client,
    addresses: Arc<Mutex<VecDeque<String>>>,
}

impl Balancer {
    /// Starts on a free port, without backends.
    ///
    /// # Errors
    ///
    /// There is no free port.
    ///
    /// # Examples
    ///
    /// See [`Balancer`].
    pub async fn start() -> anyhow::Result<Self> {
        let backends = Backends {
            http: reqwest::Client::builder().http2_prior_knowledge().build()?,
            addresses: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let router = Router::new().fallback(forward).with_state(backends.clone());
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self {
            address,
            backends,
            serving: serving.abort_handle(),
        })
    }

    /// Where it listens: host and port.
    ///
    /// # Examples
    ///
    /// See [`Balancer`].
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Adds a backend: host and port.
    ///
    /// # Examples
    ///
    /// See [`Balancer`].
    pub fn add(&self, backend: impl Into<String>) {
        self.backends.lock().push_back(backend.into());
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Backends {
    /// The one whose turn it is.
    fn next(&self) -> Option<String> {
        let mut addresses = self.lock();
        let next = addresses.pop_front()?;
        addresses.push_back(next.clone());
        Some(next)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes a request on, and its answer back, both while they come in. A backend that cannot be reached
/// gets no more; whoever asked is told so, and asks again.
async fn forward(State(backends): State<Backends>, request: Request) -> Response {
    let Some(backend) = backends.next() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri: Result<Uri, _> = format!("http://{backend}{path}").parse();
    let Ok(uri) = uri else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    parts.uri = uri;
    let request = Request::from_parts(
        parts,
        reqwest::Body::wrap_stream(chunks(body.into_data_stream())),
    );
    let answer = match reqwest::Request::try_from(request) {
        Ok(request) => backends.http.execute(request).await,
        Err(error) => Err(error),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            if error.is_connect() {
                backends.lock().retain(|address| *address != backend);
            }
            return StatusCode::BAD_GATEWAY.into_response();
        }
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = Body::from_stream(chunks(answer.bytes_stream()));
    (status, headers, body).into_response()
}

/// What has content. The end of a stream may come as an empty chunk; passed on it would be an empty frame,
/// and peers hang up on those who send many of them.
fn chunks<S>(stream: S) -> impl TryStream<Ok = Bytes, Error = S::Error>
where
    S: TryStream<Ok = Bytes>,
{
    stream.try_filter(|chunk| std::future::ready(!chunk.is_empty()))
}
