//! The durable future: what every awaited operation of a context is.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use bytes::Bytes;

use super::timeout::OrTimeout;
use crate::{
    error::{BoxError, TerminalError},
    executor::{Cell, Delivery, LeafHandle, RunRef},
    journal::{AttemptError, Source},
    payload::Decode,
    protocol::message::{Failure, NotificationResult},
};

/// Turns what was delivered into the value of the future. An error is our own fault or the
/// runtime's, never the handler's to see: it ends the attempt.
pub(crate) type DecodeFn<'a, T> =
    fn(&'a Cell, NotificationResult) -> Result<Result<T, TerminalError>, BoxError>;

/// A durable result that is awaited: of a sleep, a state read, a promise, a signal and so on.
///
/// Its command is recorded when it is created, before it is awaited. It is a small value that
/// borrows the context, so it cannot leave the handler; it composes with every ordinary
/// combinator, best with [`join!`](crate::join), [`try_join!`](crate::try_join) and
/// [`select!`](crate::select).
///
/// # Errors
///
/// A [`TerminalError`]: the failure that the runtime recorded, or code 409 if the invocation was
/// cancelled while this was awaited.
///
/// # Cancel safety
///
/// Dropping it loses the result for this handler and changes nothing else: the command stays in
/// the journal.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn remind(ctx: &Context) -> HandlerResult<()> {
///     let timer = ctx.sleep(Duration::from_secs(60)); // recorded here
///     timer.await?;                                    // awaited here
///     Ok(())
/// }
/// ```
#[must_use = "the command is recorded, but nobody waits for its result: await it or drop it explicitly"]
pub struct DurableFuture<'a, T> {
    cell: &'a Cell,
    /// None if the attempt is over for the handler, or the result was handed out.
    leaf: Option<LeafHandle>,
    decode: DecodeFn<'a, T>,
    marker: PhantomData<fn() -> T>,
}

impl<'a, T> DurableFuture<'a, T> {
    /// The future of a leaf; without one it stays pending until the executor ends the attempt.
    pub(crate) fn new(cell: &'a Cell, leaf: Option<LeafHandle>, decode: DecodeFn<'a, T>) -> Self {
        Self {
            cell,
            leaf,
            decode,
            marker: PhantomData,
        }
    }

    /// The future of `source`, for which no command was issued just now.
    pub(crate) fn of(cell: &'a Cell, source: Option<Source>, decode: DecodeFn<'a, T>) -> Self {
        let leaf = source.map(|source| cell.create_leaf(source));
        Self::new(cell, leaf, decode)
    }

    /// The run whose result this is, until that is there.
    pub(crate) fn run(&self) -> Option<RunRef> {
        self.leaf.as_ref()?.run
    }

    /// Waits at most `duration`: a durable sleep, recorded now, races with this future. Whichever ends
    /// first, in the order of the journal, counts, also if both have ended when they are awaited.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] with code 408 ([`is_timeout`](TerminalError::is_timeout)) if the time is
    /// up first.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn decide(ctx: &SharedWorkflowContext) -> HandlerResult<String> {
    ///     Ok(ctx.promise::<String>("decision").get().or_timeout(Duration::from_secs(3600)).await?)
    /// }
    /// ```
    pub fn or_timeout(self, duration: Duration) -> OrTimeout<'a, Self> {
        OrTimeout::new(self.cell, self, duration)
    }
}

impl<T> Future for DurableFuture<'_, T> {
    type Output = Result<T, TerminalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(leaf) = &mut this.leaf else {
            return Poll::Pending;
        };
        let delivery = ready!(this.cell.poll_leaf(leaf, cx.waker()));
        let source = this.leaf.take().map(|leaf| leaf.source);
        match delivery {
            Delivery::Cancelled => Poll::Ready(Err(TerminalError::new("cancelled").with_code(409))),
            Delivery::Result(result) => match (this.decode)(this.cell, result) {
                Ok(result) => Poll::Ready(result),
                Err(error) => {
                    if let Some(source) = source {
                        let fault = AttemptError::internal(format!(
                            "the result of {} cannot be decoded",
                            describe(&source)
                        ));
                        this.cell.fault_of(&source, fault.quoting(&error));
                    }
                    Poll::Pending
                }
            },
        }
    }
}

impl<T> Drop for DurableFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(leaf) = &mut self.leaf {
            self.cell.remove_leaf(leaf);
        }
    }
}

impl<T> fmt::Debug for DurableFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits_for = self.leaf.as_ref().map(|leaf| &leaf.source);
        f.debug_struct("DurableFuture")
            .field("waits_for", &waits_for)
            .finish_non_exhaustive()
    }
}

fn describe(source: &Source) -> String {
    match source {
        Source::Completion(id) => format!("completion {id}"),
        Source::Signal(id) => format!("signal {id}"),
        Source::NamedSignal(name) => format!("signal `{name}`"),
    }
}

/// The error of a result of a kind that the operation cannot have.
pub(crate) fn unexpected(result: &NotificationResult) -> BoxError {
    let kind = match result {
        NotificationResult::Void(_) => "nothing",
        NotificationResult::Value(_) => "a value",
        NotificationResult::Failure(_) => "a failure",
        NotificationResult::InvocationId(_) => "an invocation id",
        NotificationResult::StateKeys(_) => "state keys",
    };
    format!("the runtime sent {kind}, which this operation cannot result in").into()
}

/// The terminal error that a failure on the wire stands for.
pub(crate) fn terminal(failure: Failure) -> TerminalError {
    let code = u16::try_from(failure.code).unwrap_or(500);
    let error = TerminalError::new(failure.message).with_code(code);
    failure.metadata.into_iter().fold(error, |error, header| {
        error.with_metadata(header.key, header.value)
    })
}

/// A value or a failure. Nothing counts as an empty value.
pub(crate) fn value<T: Decode>(
    _: &Cell,
    result: NotificationResult,
) -> Result<Result<T, TerminalError>, BoxError> {
    match result {
        NotificationResult::Value(value) => T::decode(value.content).map(Ok),
        NotificationResult::Void(_) => T::decode(Bytes::new()).map(Ok),
        NotificationResult::Failure(failure) => Ok(Err(terminal(*failure))),
        other => Err(unexpected(&other)),
    }
}

/// A value, nothing, or a failure.
pub(crate) fn optional<T: Decode>(
    _: &Cell,
    result: NotificationResult,
) -> Result<Result<Option<T>, TerminalError>, BoxError> {
    match result {
        NotificationResult::Void(_) => Ok(Ok(None)),
        NotificationResult::Value(value) => T::decode(value.content).map(|value| Ok(Some(value))),
        NotificationResult::Failure(failure) => Ok(Err(terminal(*failure))),
        other => Err(unexpected(&other)),
    }
}

/// Nothing, or a failure.
pub(crate) fn void(
    _: &Cell,
    result: NotificationResult,
) -> Result<Result<(), TerminalError>, BoxError> {
    match result {
        NotificationResult::Void(_) => Ok(Ok(())),
        NotificationResult::Failure(failure) => Ok(Err(terminal(*failure))),
        other => Err(unexpected(&other)),
    }
}
