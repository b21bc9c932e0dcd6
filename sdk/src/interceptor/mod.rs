//! Interceptors: layers around handlers, runs, calls and sends.
//!
//! In: what [`Interceptor`]s were added to an endpoint, a service or a handler. Out: [`Layers`], which the
//! endpoint hands to each attempt of the handler. Around the handler they are wrapped once, when the
//! endpoint is built (`layers`); around a run's closure when that is started (`run`); requests pass them
//! when they are issued (`outgoing`). A handler without interceptors has no layers at all.

mod info;
mod layers;
mod outgoing;
mod run;

use std::future::Future;

use bytes::Bytes;

pub use self::{
    info::{AttemptEnd, AttemptInfo, AttemptOutcome},
    layers::HandlerNext,
    outgoing::OutgoingRequest,
    run::{RunInfo, RunNext},
};
pub(crate) use self::{
    layers::{Layers, Stack, layers},
    run::RunChain,
};
use crate::{Context, error::HandlerResult};

/// A layer around handlers, runs, calls and sends, like a middleware of `tower`.
///
/// Add it to an endpoint ([`EndpointBuilder::intercept`](crate::EndpointBuilder::intercept)), a service
/// ([`ServiceDefinition::intercept`](crate::ServiceDefinition::intercept)) or a handler
/// ([`HandlerDefinition::intercept`](crate::HandlerDefinition::intercept)). Every method has a default
/// that changes nothing; write those that you need, as `async fn` where they return a future.
///
/// # Order
///
/// An endpoint's interceptors lie around those of its services, and those around the handlers' own. Of
/// the same level, the one that was added first lies outermost. What lies outermost sees a handler, a run
/// or a request first, and what becomes of it last.
///
/// # Determinism
///
/// | method | when |
/// | --- | --- |
/// | [`handle`](Self::handle) | in each attempt, so again on replay, like the handler's own code: what it does through the context must be the same each time, and what is not durable belongs into [`Context::run`] |
/// | [`call`](Self::call), [`send`](Self::send) | whenever the handler makes the request, so again on replay. What they set is compared with the journal: let it depend on the request, the invocation and its headers, never on a clock, a random number or the attempt. Only the headers `traceparent` and `tracestate` are not compared |
/// | [`run`](Self::run) | only when the closure is executed; not for a recorded result. It may await anything |
/// | [`ended`](Self::ended) | once per attempt |
///
/// # Examples
///
/// An idempotency key for every call and send that has none:
///
/// ```
/// use durably::{Interceptor, OutgoingRequest, prelude::*};
///
/// struct OnceOnly;
///
/// impl Interceptor for OnceOnly {
///     fn call(&self, request: &mut OutgoingRequest<'_>) {
///         if request.idempotency_key().is_none() {
///             let key = format!("{}-{}", request.caller().invocation_id(), request.index());
///             request.set_idempotency_key(key);
///         }
///     }
/// }
///
/// let endpoint = Endpoint::builder().intercept(OnceOnly).build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
///
/// A handler only for those who know the word:
///
/// ```
/// use bytes::Bytes;
/// use durably::{HandlerNext, Interceptor, Service, prelude::*};
///
/// struct Password(String);
///
/// impl Interceptor for Password {
///     async fn handle(&self, ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
///         if ctx.headers().get("x-password") != Some(&self.0) {
///             return Err(TerminalError::new("that is not the word").with_code(403).into());
///         }
///         next.run().await
///     }
/// }
///
/// struct Vault;
///
/// #[durably::service]
/// impl Vault {
///     #[handler]
///     async fn open(&self, _ctx: &Context) -> HandlerResult<()> {
///         Ok(())
///     }
/// }
///
/// let vault = Vault.definition().intercept(Password("sesame".to_owned()));
/// let endpoint = Endpoint::builder().bind(vault).build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
///
/// At most four runs at a time, over all invocations, and how long each took:
///
/// ```
/// use std::time::Instant;
///
/// use bytes::Bytes;
/// use durably::{Interceptor, RunInfo, RunNext, prelude::*};
/// use tokio::sync::Semaphore;
///
/// struct Gate(Semaphore);
///
/// impl Interceptor for Gate {
///     async fn run(&self, run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
///         let _permit = self.0.acquire().await?;
///         let begun = Instant::now();
///         let result = next.run().await;
///         println!("{} took {:?}", run.name(), begun.elapsed());
///         result
///     }
/// }
///
/// let endpoint = Endpoint::builder().intercept(Gate(Semaphore::new(4))).build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
pub trait Interceptor: Send + Sync + 'static {
    /// Around the handler, in each attempt. [`next.run()`](HandlerNext::run) goes on; what it gives is
    /// the encoded output. Without it the handler does not run, and what is returned here is its result.
    ///
    /// The future is dropped when the attempt suspends or fails, like the handler's own.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`].
    fn handle(
        &self,
        ctx: &Context,
        next: HandlerNext,
    ) -> impl Future<Output = HandlerResult<Bytes>> + Send {
        let _ = ctx;
        next.run()
    }

    /// Around the closure of a run, when it is executed. [`next.run()`](RunNext::run) goes on; what it
    /// gives is the encoded result. What is returned here is recorded, and a failure is retried as the
    /// run's retry policy says.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`].
    fn run(
        &self,
        run: &RunInfo,
        next: RunNext,
    ) -> impl Future<Output = HandlerResult<Bytes>> + Send {
        let _ = run;
        next.run()
    }

    /// A call is about to be recorded.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`].
    fn call(&self, request: &mut OutgoingRequest<'_>) {
        let _ = request;
    }

    /// A send is about to be recorded. Without a method of its own, what [`call`](Self::call) does.
    ///
    /// # Examples
    ///
    /// See [`OutgoingRequest`].
    fn send(&self, request: &mut OutgoingRequest<'_>) {
        self.call(request);
    }

    /// An attempt has ended; the handler is not yet dropped.
    ///
    /// # Examples
    ///
    /// See [`AttemptEnd`].
    fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        let _ = (attempt, end);
    }
}
