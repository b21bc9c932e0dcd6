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

/// Puts something around a handler that lies within its interceptors already.
type Around = Arc<dyn Fn(HandlerFn) -> HandlerFn + Send + Sync>;

/// The interceptors of one level, in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct Stack {
    list: Vec<Arc<dyn Layer>>,
    outermost: Option<Around>,
}

impl Stack {
    pub(crate) fn push(&mut self, interceptor: impl Interceptor) {
        self.list.push(Arc::new(interceptor));
    }

    /// What lies around the interceptors of all levels, in place of what was set before.
    pub(crate) fn set_outermost(
        &mut self,
        around: impl Fn(HandlerFn) -> HandlerFn + Send + Sync + 'static,
    ) {
        self.outermost = Some(Arc::new(around));
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.list.len())
    }
}

/// All interceptors of a handler, outermost first, and what lies around them.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(super) list: Arc<[Arc<dyn Layer>]>,
    outermost: Option<Around>,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} interceptors", self.list.len())
    }
}

/// The layers of a handler from those of its endpoint, its service and itself; none, if nothing lies
/// around it.
pub(crate) fn layers(stacks: [&Stack; 3]) -> Option<Layers> {
    let list: Arc<[_]> = stacks
        .iter()
        .flat_map(|stack| stack.list.iter().cloned())
        .collect();
    let outermost = stacks.iter().find_map(|stack| stack.outermost.clone());
    let any = !list.is_empty() || outermost.is_some();
    any.then_some(Layers { list, outermost })
}

impl Layers {
    /// The handler within its interceptors.
    pub(crate) fn around(&self, handler: HandlerFn) -> HandlerFn {
        let intercepted = self
            .list
            .iter()
            .rev()
            .fold(handler, |inner, layer| -> HandlerFn {
                let layer = Arc::clone(layer);
                Arc::new(move |attempt: AttemptHandle, input| {
                    let next = HandlerNext {
                        attempt: AttemptInfo::new(&attempt.0),
                        input,
                        inner: Arc::clone(&inner),
                    };
                    Arc::clone(&layer).handle(attempt, next)
                })
            });
        match &self.outermost {
            Some(around) => around(intercepted),
            None => intercepted,
        }
    }

    pub(crate) fn call(&self, request: &mut OutgoingRequest<'_>) {
        for layer in &*self.list {
            layer.call(request);
        }
    }

    pub(crate) fn send(&self, request: &mut OutgoingRequest<'_>) {
        for layer in &*self.list {
            layer.send(request);
        }
    }

    /// The innermost is told first.
    pub(crate) fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        for layer in self.list.iter().rev() {
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
