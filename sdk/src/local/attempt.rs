//! Attempts in this process: each is a task that polls the endpoint's response and passes on what it says.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::{sync::mpsc, task::AbortHandle};

use super::core::Input;
use crate::{
    Endpoint,
    engine::invocation::{AttemptId, Invocation},
    executor::{Clock, ForeignHook},
    protocol::ProtocolVersion,
    wire::{self, Outgoing, OutgoingDecoder},
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
    service: String,
    handler: String,
    id: String,
}

impl Head {
    pub(super) fn of(invocation: &Invocation) -> Self {
        Self {
            service: invocation.service.clone(),
            handler: invocation.handler.clone(),
            id: invocation.id.clone(),
        }
    }
}

/// The task of an attempt.
#[derive(Debug)]
pub(super) struct Task {
    /// It has said its last, and does what is left to do once its request has ended.
    ended: Arc<AtomicBool>,
    abort: AbortHandle,
}

impl Task {
    /// Stops it where it is, unless it has ended by itself.
    pub(super) fn stop(&self) {
        if !self.ended.load(Ordering::Acquire) {
            self.abort.abort();
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
    ) -> Task {
        let Head {
            service,
            handler,
            id,
        } = head;
        let request = wire::invoke(self.version, service, handler, id, RequestBody(body));
        let (endpoint, clock) = (self.endpoint.clone(), self.clock.clone());
        let inputs = self.inputs.clone();
        let ended = Arc::new(AtomicBool::new(false));
        let has_ended = Arc::clone(&ended);
        let task = self.runtime.spawn(async move {
            let response = endpoint.handle_in_process(request, &clock, ForeignHook::default());
            let end = follow(attempt, response, &inputs, &has_ended).await;
            if let (Err(reason), Some(inputs)) = (end, inputs.upgrade()) {
                // Nobody to tell: the runtime has stopped.
                drop(inputs.send(Input::Broken(attempt, reason)).await);
            }
        });
        Task {
            ended,
            abort: task.abort_handle(),
        }
    }
}

/// Passes on what an attempt says. `ended` becomes true before its last message is passed on; the response
/// ends when the request does.
async fn follow<B>(
    attempt: AttemptId,
    response: http::Response<B>,
    inputs: &mpsc::WeakSender<Input>,
    ended: &AtomicBool,
) -> Result<(), String>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("the endpoint refused the request: {status}"));
    }
    let mut body = std::pin::pin!(response.into_body());
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
            ended.store(true, Ordering::Release);
        }
        if !said.is_empty() {
            tell(inputs, attempt, said).await;
        }
    }
    if ended.load(Ordering::Acquire) {
        return Ok(());
    }
    Err("the response ended without End, Error or Suspension".to_owned())
}

async fn tell(inputs: &mpsc::WeakSender<Input>, attempt: AttemptId, said: Vec<Outgoing>) {
    if let Some(inputs) = inputs.upgrade() {
        // When the runtime has stopped, the journal is as it is: the next attempt goes on from there.
        drop(inputs.send(Input::Said(attempt, said)).await);
    }
}
