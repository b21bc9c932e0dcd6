//! The client over an ingress in memory: what it sends, what it makes of answers, when it tries again.

mod answers;
mod requests;
mod retries;

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;
use tower_service::Service;

use super::{IngressClient, IngressClientBuilder, IngressRequest};
use crate::Target;

/// What the ingress in memory does with a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Says(Response<Bytes>),
    Breaks(io::ErrorKind),
    Hangs,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) request: Request<Bytes>,
}

impl Seen {
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.request.method(), self.request.uri())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let value = self.request.headers().get(name)?;
        value.to_str().ok()
    }

    pub(super) fn body(&self) -> &str {
        std::str::from_utf8(self.request.body()).unwrap()
    }
}

/// An ingress that answers by a script; when that has ended, with the last answer again.
#[derive(Clone, Debug)]
pub(super) struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// A service may be called only when it has said that it is ready.
    ready: bool,
}

impl Script {
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            seen: Arc::default(),
            ready: false,
        }
    }

    pub(super) fn builder(&self) -> IngressClientBuilder {
        IngressClient::builder("http://ingress:8080").transport(self.clone())
    }

    pub(super) fn client(&self) -> IngressClient {
        self.builder().build().unwrap()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.seen).len()
    }

    /// The time between the requests.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        let seen = lock(&self.seen);
        seen.windows(2).map(|two| two[1].at - two[0].at).collect()
    }
}

impl Service<Request<Full<Bytes>>> for Script {
    type Response = Response<Full<Bytes>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.ready = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(self.ready, "called without being asked whether it is ready");
        let script = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            lock(&script.seen).push(Seen {
                at: Instant::now(),
                request: Request::from_parts(parts, body),
            });
            let answer = {
                let mut answers = lock(&script.answers);
                match answers.len() {
                    0 | 1 => answers.front().cloned(),
                    _ => answers.pop_front(),
                }
            };
            match answer.unwrap() {
                Answer::Says(response) => Ok(response.map(Full::new)),
                Answer::Breaks(kind) => Err(kind.into()),
                Answer::Hangs => std::future::pending().await,
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer with this status, these headers and this body.
pub(super) fn says(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let body = Bytes::copy_from_slice(body.as_bytes());
    Answer::Says(response.body(body).unwrap())
}

/// An output.
pub(super) fn outputs(json: &str) -> Answer {
    says(200, &[("x-restate-id", ID)], json)
}

/// A failure of the ingress' own.
pub(super) fn refuses(status: u16) -> Answer {
    let body = format!(r#"{{"code":{status},"message":"not now","source":"ingress"}}"#);
    says(status, &[("x-restate-error-source", "ingress")], &body)
}

pub(super) const ID: &str = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";

pub(super) fn greet(client: &IngressClient) -> IngressRequest<&'static str, String> {
    client.request(Target::service("Greeter", "greet"), "Ada")
}
