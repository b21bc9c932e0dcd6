//! Durable promises: results within a workflow, by name.

use std::{fmt, future::IntoFuture, marker::PhantomData};

use super::{
    SharedWorkflowContext,
    awakeable::encode,
    future::{self, DurableFuture},
};
use crate::{
    error::TerminalError,
    executor::Cell,
    journal::{Command, Completion},
    payload::{Decode, Encode},
};

/// A durable promise of a workflow: one result under a name, which handlers of the same workflow
/// and key complete and await; made by [`SharedWorkflowContext::promise`]. Awaiting it is
/// [`get`](Self::get).
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn run(ctx: &WorkflowContext) -> HandlerResult<bool> {
///     Ok(ctx.promise::<bool>("approval").await?)
/// }
///
/// async fn approve(ctx: &SharedWorkflowContext) -> HandlerResult<()> {
///     Ok(ctx.promise::<bool>("approval").resolve(&true).await?)
/// }
/// ```
#[must_use = "a promise does nothing by itself: get, peek, resolve or reject it"]
pub struct Promise<'a, T> {
    cell: &'a Cell,
    key: String,
    marker: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Promise<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<'a, T> Promise<'a, T> {
    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// The failure that the promise was rejected with.
    ///
    /// # Journal
    ///
    /// A GetPromise command, one completion id.
    ///
    /// # Examples
    ///
    /// See [`Promise`].
    pub fn get(&self) -> DurableFuture<'a, T>
    where
        T: Decode,
    {
        let leaf = self
            .cell
            .issue_awaited(Command::GetPromise { key: &self.key }, "");
        DurableFuture::new(self.cell, leaf, future::value)
    }

    /// The result if it is there, `None` if not; does not wait.
    ///
    /// # Errors
    ///
    /// The failure that the promise was rejected with.
    ///
    /// # Journal
    ///
    /// A PeekPromise command, one completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn is_approved(ctx: &SharedWorkflowContext) -> HandlerResult<bool> {
    ///     Ok(ctx.promise::<bool>("approval").peek().await?.is_some())
    /// }
    /// ```
    pub fn peek(&self) -> DurableFuture<'a, Option<T>>
    where
        T: Decode,
    {
        let leaf = self
            .cell
            .issue_awaited(Command::PeekPromise { key: &self.key }, "");
        DurableFuture::new(self.cell, leaf, future::optional)
    }

    /// Completes the promise with a value. Await it to learn whether that worked.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] from the runtime if the promise is completed already.
    ///
    /// # Journal
    ///
    /// A CompletePromise command, one completion id.
    ///
    /// # Examples
    ///
    /// See [`Promise`].
    pub fn resolve(&self, value: &T) -> DurableFuture<'a, ()>
    where
        T: Encode,
    {
        match encode(self.cell, value, || {
            format!("the value for promise `{}`", self.key)
        }) {
            Some(payload) => self.complete(Completion::Value {
                payload: &payload,
                stable: T::STABLE,
            }),
            None => DurableFuture::new(self.cell, None, future::void),
        }
    }

    /// Completes the promise with a failure: whoever awaits it gets `error`. Await it to learn
    /// whether that worked.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] from the runtime if the promise is completed already.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn refuse(ctx: &SharedWorkflowContext) -> HandlerResult<()> {
    ///     let refused = TerminalError::new("refused").with_code(403);
    ///     Ok(ctx.promise::<bool>("approval").reject(refused).await?)
    /// }
    /// ```
    pub fn reject(&self, error: TerminalError) -> DurableFuture<'a, ()> {
        self.complete(Completion::Failure(&error))
    }

    fn complete(&self, completion: Completion<'_>) -> DurableFuture<'a, ()> {
        let leaf = self.cell.issue_awaited(
            Command::CompletePromise {
                key: &self.key,
                completion,
            },
            "",
        );
        DurableFuture::new(self.cell, leaf, future::void)
    }
}

impl<'a, T: Decode> IntoFuture for Promise<'a, T> {
    type Output = Result<T, TerminalError>;
    type IntoFuture = DurableFuture<'a, T>;

    fn into_future(self) -> Self::IntoFuture {
        self.get()
    }
}

impl SharedWorkflowContext {
    /// The durable promise of this workflow with this name.
    ///
    /// # Examples
    ///
    /// See [`Promise`].
    pub fn promise<T>(&self, key: impl Into<String>) -> Promise<'_, T> {
        Promise {
            cell: self.cell(),
            key: key.into(),
            marker: PhantomData,
        }
    }
}
