//! Sagas: steps, and what undoes them if a later one fails for good.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Context;
use crate::{
    error::{HandlerError, HandlerResult, TerminalError},
    executor::Cell,
};

type UndoFuture<'a> = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;
type Undo<'a> = Box<dyn FnOnce() -> UndoFuture<'a> + Send + 'a>;

/// Steps that are undone if a later one fails for good; made by [`Context::saga`].
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// # async fn book_flight(_to: &str) -> Result<u64, TerminalError> { Ok(1) }
/// # async fn cancel_flight(_id: u64) -> Result<(), TerminalError> { Ok(()) }
/// # async fn book_hotel(_in: &str) -> Result<u64, TerminalError> { Ok(1) }
/// # async fn cancel_hotel(_id: u64) -> Result<(), TerminalError> { Ok(()) }
/// # async fn charge() -> Result<(), TerminalError> { Ok(()) }
/// struct Trips;
///
/// #[durably::service]
/// impl Trips {
///     #[handler]
///     async fn book(&self, ctx: &Context, city: String) -> HandlerResult<(u64, u64)> {
///         let saga = ctx.saga();
///         saga.scope(async {
///             let flight = ctx.run("book flight", || book_flight(&city)).await?;
///             saga.undo(move || ctx.run("cancel flight", move || cancel_flight(flight)));
///
///             let hotel = ctx.run("book hotel", || book_hotel(&city)).await?;
///             saga.undo(move || ctx.run("cancel hotel", move || cancel_hotel(hotel)));
///
///             ctx.run("charge", charge).await?; // refused: hotel and flight are cancelled
///             Ok((flight, hotel))
///         })
///         .await
///     }
/// }
/// ```
pub struct Saga<'a> {
    cell: &'a Cell,
    undos: Mutex<Vec<Undo<'a>>>,
}

impl<'a> Saga<'a> {
    /// Says how to undo a step. `step` is called if the saga fails, and what it makes is awaited then: a
    /// run, a call, a send, or an `async` block. Only there are its commands recorded.
    ///
    /// Say it behind the step if a step that fails has done nothing; before it if it may have had its
    /// effect and fail nevertheless (a request whose answer was lost, a cancellation meanwhile). What the
    /// closure needs is moved into it.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn reserve(ctx: &Context, sku: String) -> HandlerResult<()> {
    ///     let saga = ctx.saga();
    ///     saga.scope(async {
    ///         let inventory = move |handler| Target::object("Inventory", &sku, handler);
    ///         ctx.request::<_, ()>(inventory("reserve"), ()).await?;
    ///         // A request is made when it is awaited: later, if at all.
    ///         saga.undo(move || ctx.request::<_, ()>(inventory("release"), ()));
    ///         Ok(())
    ///     })
    ///     .await
    /// }
    /// ```
    pub fn undo<F, Fut, T, E>(&self, step: F)
    where
        F: FnOnce() -> Fut + Send + 'a,
        Fut: IntoFuture<Output = Result<T, E>>,
        Fut::IntoFuture: Send + 'a,
        E: Into<HandlerError>,
    {
        let undo: Undo<'a> = Box::new(move || {
            // The command is recorded here, in the order of the steps.
            let undoing = step().into_future();
            Box::pin(async move { undoing.await.map(drop).map_err(Into::into) })
        });
        self.lock().push(undo);
    }

    /// Does `steps`. As they go, they say how each is undone ([`undo`](Self::undo)); if they return a
    /// [`TerminalError`], of their own, of a step, or because the invocation was cancelled (409), the undo
    /// steps are done in reverse order, one after the other, and then the saga fails with that error.
    ///
    /// Each undo step is an ordinary durable step: recorded once done, retried until then, through crashes
    /// and suspensions.
    ///
    /// | what happens | what the saga does |
    /// | --- | --- |
    /// | `steps` return a value | nothing is undone |
    /// | `steps` return a terminal error | all is undone, last first |
    /// | the invocation is cancelled | what `steps` awaits fails with 409; if they return that, all is undone |
    /// | it is cancelled again while it undoes | undoing goes on; what is awaited *afterwards* fails |
    /// | `steps` return any other error, or panics | nothing is undone: the attempt fails, and the next one goes on where this one was |
    /// | an undo step fails terminally | the others are done nevertheless; the saga's error names the failure in its message, and keeps its code |
    /// | an undo step fails otherwise | it is tried again, like any step |
    /// | the invocation is killed, or ends by a [`RetryableError`](crate::RetryableError) that asks for that | nothing is undone: no code of it runs any more |
    ///
    /// # Cancel safety
    ///
    /// None: dropped before its end, by the losing branch of a `select!` say, it does not undo what is left.
    ///
    /// # Errors
    ///
    /// Those of `steps`.
    ///
    /// # Examples
    ///
    /// See [`Saga`].
    pub async fn scope<T>(
        &self,
        steps: impl Future<Output = HandlerResult<T>>,
    ) -> HandlerResult<T> {
        match steps.await {
            Err(error) if error.is_terminal() => Err(self.compensate(error).await),
            done => done,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Undo<'a>>> {
        self.undos.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Undoes all steps, last first, and gives what the saga fails with.
    async fn compensate(&self, error: HandlerError) -> HandlerError {
        let _shield = Shield::new(self.cell);
        let mut failures = Vec::new();
        loop {
            let Some(undo) = self.lock().pop() else { break };
            if let Err(failure) = undo().await {
                if !failure.is_terminal() {
                    // The attempt ends with it. The next one comes here again.
                    return failure;
                }
                failures.push(failure.to_string());
            }
        }
        match error.as_terminal() {
            Some(terminal) if !failures.is_empty() => {
                let message = format!(
                    "{terminal} (and not everything could be undone: {})",
                    failures.join("; ")
                );
                let combined = TerminalError::new(message).with_code(terminal.code());
                let metadata = terminal.metadata();
                metadata
                    .iter()
                    .fold(combined, |combined, (key, value)| {
                        combined.with_metadata(key, value)
                    })
                    .into()
            }
            _ => error,
        }
    }
}

impl fmt::Debug for Saga<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga")
            .field("undos", &self.lock().len())
            .finish()
    }
}

/// While it lives, a cancellation waits.
pub(crate) struct Shield<'a>(&'a Cell);

impl<'a> Shield<'a> {
    pub(crate) fn new(cell: &'a Cell) -> Self {
        cell.shield();
        Self(cell)
    }
}

impl Drop for Shield<'_> {
    fn drop(&mut self) {
        self.0.unshield();
    }
}

impl Context {
    /// A saga: steps that are undone, durably and in reverse order, if a later one fails for good.
    ///
    /// # Examples
    ///
    /// See [`Saga`], and [`Saga::scope`] for what exactly happens.
    pub fn saga(&self) -> Saga<'_> {
        Saga {
            cell: self.cell(),
            undos: Mutex::default(),
        }
    }
}
