//! Attempts in this process: each is a task that polls the endpoint's response and passes on what it says.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::{sync::mpsc, task::AbortHandle};

use super::core::Input;
use crate::{
    Endpoint,
    engine::invocation::{AttemptId, Invocation},
    executor::Clock,
    protocol::ProtocolVersion,
    wire::{Outgoing, OutgoingDecoder},
};

/// The bytes of an attempt's request, as they come.
#[derive(Debug)]
pub(super) struct RequestBody(mpsc::UnboundedReceiver<Bytes>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(cx)
            .map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Whom the request of an attempt is for.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) path: String,
    pub(super) id: String,
}

impl Head {
    pub(super) fn of(invocation: &Invocation) -> Self {
        Self {
            // Names of services and handlers hold nothing that a path cannot.
            path: format!("/invoke/{}/{}", invocation.service, invocation.handler),
            id: invocation.id.clone(),
        }
    }
}

/// Where attempts run.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    pub(super) version: ProtocolVersion,
    pub(super) clock: Clock,
    pub(super) inputs: mpsc::WeakSender<Input>,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Host {
    /// Begins an attempt, in a task of its own.
    pub(super) fn begin(
        &self,
        attempt: AttemptId,
        head: &Head,
        body: mpsc::UnboundedReceiver<Bytes>,
    ) -> AbortHandle {
        let mut request = Request::new(RequestBody(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(&*head.path).unwrap_or_default();
        let headers = request.headers_mut();
        let content_type = HeaderValue::from_static(self.version.content_type());
        headers.insert(header::ACCEPT, content_type.clone());
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Ok(id) = HeaderValue::try_from(&*head.id) {
            headers.insert("x-restate-invocation-id", id);
        }
        let (endpoint, clock) = (self.endpoint.clone(), self.clock.clone());
        let inputs = self.inputs.clone();
        let task = self.runtime.spawn(async move {
            let response = endpoint.handle_in_process(request, &clock);
            let end = follow(attempt, response, &inputs).await;
            if let (Err(reason), Some(inputs)) = (end, inputs.upgrade()) {
                // Nobody to tell: the runtime has stopped.
                drop(inputs.send(Input::Broken(attempt, reason)).await);
            }
        });
        task.abort_handle()
    }
}

/// Passes on what an attempt says, until it has said its last.
async fn follow<B>(
    attempt: AttemptId,
    response: http::Response<B>,
    inputs: &mpsc::WeakSender<Input>,
) -> Result<(), String>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("the endpoint refused the request: {status}"));
    }
    let last = last_said(attempt, response.into_body(), inputs).await?;
    // Now the attempt is over altogether: what is told may abort this task.
    tell(inputs, attempt, last).await;
    Ok(())
}

/// Passes on what an attempt says, but for what it says last. The response stays open for as long as the request
/// does, so its end is not waited for.
async fn last_said<B>(
    attempt: AttemptId,
    body: B,
    inputs: &mpsc::WeakSender<Input>,
) -> Result<Vec<Outgoing>, String>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    let mut body = std::pin::pin!(body);
    let mut decoder = OutgoingDecoder::default();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(never) => match never {},
        };
        decoder.push(frame.into_data().unwrap_or_default());
        let mut said = Vec::new();
        while let Some(message) = decoder.next().map_err(|error| error.to_string())? {
            said.push(message);
        }
        let ends = |message: &Outgoing| {
            matches!(
                message,
                Outgoing::End | Outgoing::Error(_) | Outgoing::Suspension(_)
            )
        };
        if said.iter().any(ends) {
            return Ok(said);
        }
        if !said.is_empty() {
            tell(inputs, attempt, said).await;
        }
    }
    Err("the response ended without End, Error or Suspension".to_owned())
}

async fn tell(inputs: &mpsc::WeakSender<Input>, attempt: AttemptId, said: Vec<Outgoing>) {
    if let Some(inputs) = inputs.upgrade() {
        // When the runtime has stopped, the journal is as it is: the next attempt goes on from there.
        drop(inputs.send(Input::Said(attempt, said)).await);
    }
}
