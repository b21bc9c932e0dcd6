//! What a handler may ask about its invocation, and its deterministic random numbers.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use futures::{FutureExt as _, channel::oneshot, future::Shared};

use super::{
    Context,
    future::{self, DurableFuture},
};
use crate::{
    executor::Cell,
    journal::{CANCEL, Source},
    payload::Headers,
    random::Uuid,
};

impl Context {
    /// The id of this invocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn who(ctx: &Context) -> HandlerResult<String> {
    ///     Ok(format!("{} handles {}/{}", ctx.invocation_id(), ctx.service_name(), ctx.handler_name()))
    /// }
    /// ```
    #[must_use]
    pub fn invocation_id(&self) -> &str {
        &self.cell().info().id
    }

    /// The name of the service that was invoked.
    ///
    /// # Examples
    ///
    /// See [`invocation_id`](Self::invocation_id).
    #[must_use]
    pub fn service_name(&self) -> &str {
        &self.cell().request.service
    }

    /// The name of the handler that was invoked.
    ///
    /// # Examples
    ///
    /// See [`invocation_id`](Self::invocation_id).
    #[must_use]
    pub fn handler_name(&self) -> &str {
        &self.cell().request.handler
    }

    /// The headers that the invocation was made with, in order, duplicates included. They are the
    /// same in every attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn tenant(ctx: &Context) -> HandlerResult<Option<String>> {
    ///     Ok(ctx.headers().get("x-tenant").map(str::to_owned))
    /// }
    /// ```
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.cell().info().headers
    }

    /// The HTTP headers of this attempt's request, such as `traceparent`. They differ from attempt
    /// to attempt: let nothing durable depend on them.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// fn trace(ctx: &Context) -> Option<&str> {
    ///     ctx.attempt_headers().get("traceparent")?.to_str().ok()
    /// }
    /// ```
    #[must_use]
    pub fn attempt_headers(&self) -> &http::HeaderMap {
        &self.cell().request.attempt_headers
    }

    /// How often the runtime has tried since it last stored something of this invocation; 0 for the
    /// first try. It differs from attempt to attempt: let nothing durable depend on it.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// fn is_retry(ctx: &Context) -> bool {
    ///     ctx.retry_count() > 0
    /// }
    /// ```
    #[must_use]
    pub fn retry_count(&self) -> u32 {
        self.cell().info().retry_count
    }

    /// The idempotency key that the invocation was made with. The runtime tells it from protocol v7
    /// on; server 1.7.12 only where scopes are enabled, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// fn key(ctx: &Context) -> &str {
    ///     ctx.idempotency_key().unwrap_or("none")
    /// }
    /// ```
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.cell().info().idempotency_key.as_deref()
    }

    /// The scope in which the invocation runs (protocol v7).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// fn tenant(ctx: &Context) -> Option<&str> {
    ///     ctx.scope()
    /// }
    /// ```
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.cell().info().scope.as_deref()
    }

    /// The limit key under which the invocation runs (protocol v7).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// fn limit(ctx: &Context) -> Option<&str> {
    ///     ctx.limit_key()
    /// }
    /// ```
    #[must_use]
    pub fn limit_key(&self) -> Option<&str> {
        self.cell().info().limit_key.as_deref()
    }

    /// The deterministic random numbers of this invocation: the same in every attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// fn pick(ctx: &Context) -> (u64, f64, String) {
    ///     let random = ctx.random();
    ///     (random.below(6) + 1, random.f64(), random.uuid().to_string())
    /// }
    /// ```
    #[must_use]
    pub fn random(&self) -> Random<'_> {
        Random { cell: self.cell() }
    }

    /// Resolves when this attempt ends, however it ends: for run closures, and for tasks that they
    /// spawn, to stop work whose result nobody will take. It does not borrow the context.
    ///
    /// Awaited outside of a run it is not durable.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// # async fn long_work() {}
    /// async fn work(ctx: &Context) -> HandlerResult<()> {
    ///     let finished = ctx.attempt_finished();
    ///     ctx.run("work", async || {
    ///         tokio::spawn(async move {
    ///             tokio::select! { _ = long_work() => {}, _ = finished => {} }
    ///         });
    ///         Ok::<_, std::io::Error>(())
    ///     })
    ///     .await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn attempt_finished(&self) -> AttemptFinished {
        AttemptFinished(self.cell().finished())
    }

    /// Resolves when this attempt is about to end, or has ended, without the handler's doing: the server
    /// that carries it [drains](crate::HttpServer::drain_deadline) and will soon cut off what is open, the
    /// request has broken off, or the attempt has suspended or failed. For run closures, and for tasks
    /// that they spawn, to come to an end in good order. It does not borrow the context, and may be
    /// made within a closure.
    ///
    /// The runtime's wish that an attempt suspend, since nothing has happened for a while, is no end: the
    /// closure may finish.
    ///
    /// Awaited outside of a run it is not durable.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// # async fn crunch(_chunk: u64) -> u64 { 0 }
    /// async fn work(ctx: &Context) -> HandlerResult<u64> {
    ///     let ending = ctx.attempt_ending();
    ///     let sum = ctx.run("crunch", async || {
    ///         let mut sum = 0;
    ///         for chunk in 0..1000 {
    ///             if ending.is_ending() {
    ///                 return Err("interrupted: again elsewhere");
    ///             }
    ///             sum += crunch(chunk).await;
    ///         }
    ///         Ok(sum)
    ///     });
    ///     Ok(sum.await?)
    /// }
    /// ```
    pub fn attempt_ending(&self) -> AttemptEnding {
        AttemptEnding(self.cell().ending())
    }

    /// Waits for the cancellation of this invocation. Once it was cancelled, this is there for whoever asks.
    ///
    /// It belongs to handlers with
    /// [`explicit_cancellation`](crate::HandlerDefinition::explicit_cancellation), which decide by themselves
    /// what a cancellation means. In any other handler, whatever is awaited then fails, a moment later
    /// than this is there.
    ///
    /// # Journal
    ///
    /// No command, no completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// struct Export;
    ///
    /// #[durably::service]
    /// impl Export {
    ///     #[handler]
    ///     async fn export(&self, ctx: &Context, pages: u32) -> HandlerResult<u32> {
    ///         let mut cancelled = ctx.cancellation();
    ///         for page in 0..pages {
    ///             let done = ctx.run("page", async || HandlerResult::Ok(page));
    ///             durably::select! {
    ///                 cancelled = &mut cancelled => { cancelled?; return Ok(page) }
    ///                 done = done => { done?; }
    ///             }
    ///         }
    ///         Ok(pages)
    ///     }
    /// }
    ///
    /// use durably::Service as _;
    /// let endpoint = Endpoint::builder().bind(Export.definition().explicit_cancellation(true)).build()?;
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    pub fn cancellation(&self) -> DurableFuture<'_, ()> {
        let cell = self.cell();
        let source = cell.journal(|_| Ok(Source::Signal(CANCEL)));
        DurableFuture::of(cell, source, future::void)
    }
}

/// Deterministic random numbers, from xoshiro256++ seeded by the runtime; made by
/// [`Context::random`]. Not for secrets.
///
/// Each draw moves the one sequence of the invocation on. Within a run the numbers cannot be drawn,
/// since the closure does not run again on replay: draw before it.
///
/// # Examples
///
/// See [`Context::random`].
#[derive(Clone, Copy, Debug)]
pub struct Random<'a> {
    cell: &'a Cell,
}

impl Random<'_> {
    /// Any 64 bit number.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(ctx: &durably::Context) -> u64 {
    /// ctx.random().u64()
    /// # }
    /// ```
    #[must_use]
    pub fn u64(&self) -> u64 {
        self.cell.random(|rng| rng.next_u64())
    }

    /// A number below `n`, each as likely as the other; 0 if `n` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(ctx: &durably::Context) -> u64 {
    /// ctx.random().below(6) + 1
    /// # }
    /// ```
    #[must_use]
    pub fn below(&self, n: u64) -> u64 {
        self.cell.random(|rng| rng.below(n))
    }

    /// A number from 0 (inclusive) to 1 (exclusive).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(ctx: &durably::Context) -> bool {
    /// ctx.random().f64() < 0.1
    /// # }
    /// ```
    #[must_use]
    pub fn f64(&self) -> f64 {
        self.cell.random(|rng| rng.f64())
    }

    /// Fills `bytes`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(ctx: &durably::Context) -> [u8; 16] {
    /// let mut bytes = [0; 16];
    /// ctx.random().fill(&mut bytes);
    /// bytes
    /// # }
    /// ```
    pub fn fill(&self, bytes: &mut [u8]) {
        self.cell.random(|rng| rng.fill_bytes(bytes));
    }

    /// A version 4 UUID.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(ctx: &durably::Context) -> String {
    /// ctx.random().uuid().to_string()
    /// # }
    /// ```
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.cell
            .random(|rng| Some(rng.uuid()))
            .unwrap_or_else(|| Uuid::from_bytes([0; 16]))
    }
}

/// Resolves when the attempt ends; made by [`Context::attempt_finished`].
///
/// # Examples
///
/// See [`Context::attempt_finished`].
#[derive(Clone, Debug)]
pub struct AttemptFinished(Shared<oneshot::Receiver<()>>);

impl Future for AttemptFinished {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

/// Resolves when the attempt is about to end; made by [`Context::attempt_ending`].
///
/// # Examples
///
/// See [`Context::attempt_ending`].
#[derive(Clone, Debug)]
pub struct AttemptEnding(Shared<oneshot::Receiver<()>>);

impl AttemptEnding {
    /// Whether it has resolved.
    ///
    /// # Examples
    ///
    /// See [`Context::attempt_ending`].
    #[must_use]
    pub fn is_ending(&self) -> bool {
        // A shared future knows its end only once it was polled.
        self.0.clone().now_or_never().is_some()
    }
}

impl Future for AttemptEnding {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
