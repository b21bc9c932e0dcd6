//! Interceptors without their types, in order, and what wraps a handler in them.

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;

use super::{AttemptEnd, AttemptInfo, Interceptor, OutgoingRequest, RunInfo, RunNext};
use crate::{
    Context,
    context::FromAttempt as _,
    error::HandlerResult,
    executor::AttemptHandle,
    payload::Input,
    service::{HandlerFn, HandlerFuture},
};

/// An [`Interceptor`] that can stand in a list.
pub(crate) trait Layer: Send + Sync {
    fn handle(self: Arc<Self>, attempt: AttemptHandle, next: HandlerNext) -> HandlerFuture;
    fn run(self: Arc<Self>, run: RunInfo, next: RunNext) -> HandlerFuture;
    fn call(&self, request: &mut OutgoingRequest<'_>);
    fn send(&self, request: &mut OutgoingRequest<'_>);
    fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>);
}

impl<I: Interceptor> Layer for I {
    fn handle(self: Arc<Self>, attempt: AttemptHandle, next: HandlerNext) -> HandlerFuture {
        Box::pin(async move {
            let ctx = Context::from_attempt(attempt);
            Interceptor::handle(&*self, &ctx, next).await
        })
    }

    fn run(self: Arc<Self>, run: RunInfo, next: RunNext) -> HandlerFuture {
        Box::pin(async move { Interceptor::run(&*self, &run, next).await })
    }

    fn call(&self, request: &mut OutgoingRequest<'_>) {
        Interceptor::call(self, request);
    }

    fn send(&self, request: &mut OutgoingRequest<'_>) {
        Interceptor::send(self, request);
    }

    fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        Interceptor::ended(self, attempt, end);
    }
}

/// The interceptors of one level, in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct Stack(Vec<Arc<dyn Layer>>);

impl Stack {
    pub(crate) fn push(&mut self, interceptor: impl Interceptor) {
        self.0.push(Arc::new(interceptor));
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.0.len())
    }
}

/// All interceptors of a handler, outermost first; at least one.
#[derive(Clone)]
pub(crate) struct Layers(pub(super) Arc<[Arc<dyn Layer>]>);

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.0.len())
    }
}

/// The layers of a handler from those of its endpoint, its service and itself.
pub(crate) fn layers(stacks: [&Stack; 3]) -> Option<Layers> {
    let layers: Arc<[_]> = stacks
        .iter()
        .flat_map(|stack| stack.0.iter().cloned())
        .collect();
    (!layers.is_empty()).then_some(Layers(layers))
}

impl Layers {
    /// The handler within its interceptors.
    pub(crate) fn around(&self, handler: HandlerFn) -> HandlerFn {
        self.0.iter().rev().fold(handler, |inner, layer| {
            let layer = Arc::clone(layer);
            Arc::new(move |attempt: AttemptHandle, input| {
                let next = HandlerNext {
                    attempt: AttemptInfo::new(&attempt.0),
                    input,
                    inner: Arc::clone(&inner),
                };
                Arc::clone(&layer).handle(attempt, next)
            })
        })
    }

    pub(crate) fn call(&self, request: &mut OutgoingRequest<'_>) {
        for layer in &*self.0 {
            layer.call(request);
        }
    }

    pub(crate) fn send(&self, request: &mut OutgoingRequest<'_>) {
        for layer in &*self.0 {
            layer.send(request);
        }
    }

    /// The innermost is told first.
    pub(crate) fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        for layer in self.0.iter().rev() {
            layer.ended(attempt, end);
        }
    }
}

/// What lies within an interceptor around a handler: further interceptors, then the handler.
///
/// # Examples
///
/// See [`Interceptor`].
pub struct HandlerNext {
    attempt: AttemptInfo,
    input: Input,
    inner: HandlerFn,
}

impl HandlerNext {
    /// The attempt that the handler runs in.
    ///
    /// # Examples
    ///
    /// See [`AttemptInfo::insert`].
    #[must_use]
    pub fn attempt(&self) -> &AttemptInfo {
        &self.attempt
    }

    /// The input of the invocation: its headers, and its body as it came.
    ///
    /// # Examples
    ///
    /// ```
    /// use bytes::Bytes;
    /// use durably::{HandlerNext, Interceptor, prelude::*};
    ///
    /// struct Small;
    ///
    /// impl Interceptor for Small {
    ///     async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
    ///         if next.input().body().len() > 1024 {
    ///             return Err(TerminalError::new("too large").with_code(413).into());
    ///         }
    ///         next.run().await
    ///     }
    /// }
    /// # let _ = Small;
    /// ```
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Goes on: runs the handler. What it gives is the encoded output.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`].
    pub fn run(self) -> impl Future<Output = HandlerResult<Bytes>> + Send + 'static {
        (self.inner)(AttemptHandle(Arc::clone(self.attempt.cell())), self.input)
    }
}

impl fmt::Debug for HandlerNext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerNext")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
