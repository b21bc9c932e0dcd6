//! Reading the state within a run (protocol v8).

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use super::{Key, SharedObjectContext, SharedWorkflowContext};
use crate::{
    error::BoxError,
    executor::{Cell, EphemeralRead},
    payload::Decode,
};

/// A read of the state within a run's closure; made by `get_ephemeral`.
///
/// # Errors
///
/// The value cannot be decoded.
///
/// # Examples
///
/// See [`SharedObjectContext::get_ephemeral`].
#[must_use = "futures do nothing unless polled"]
pub struct EphemeralGet<'a, T> {
    cell: &'a Cell,
    read: EphemeralRead,
    marker: PhantomData<fn() -> T>,
}

impl<T: Decode> Future for EphemeralGet<'_, T> {
    type Output = Result<Option<T>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.cell
            .poll_ephemeral(&mut this.read, cx.waker())
            .map(|value| value.map(T::decode).transpose())
    }
}

impl<T> Drop for EphemeralGet<'_, T> {
    fn drop(&mut self) {
        self.cell.remove_ephemeral(&mut self.read);
    }
}

impl<T> fmt::Debug for EphemeralGet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EphemeralGet").finish_non_exhaustive()
    }
}

macro_rules! ephemeral_get {
    ($context:ident) => {
        impl $context {
            /// Reads a value of the state *within a run's closure*, where
            /// [`get`](Self::get) cannot be used. Nothing is recorded: the run's result is. Needs
            /// protocol v8 unless the key is known locally; outside of a run, or on an earlier version,
            /// the attempt fails with an error that says so.
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("async fn price(ctx: &", stringify!($context), ") -> HandlerResult<u64> {")]
            ///     let price = ctx
            ///         .run("ask", async || {
            ///             let tariff = ctx.get_ephemeral::<u64>("tariff").await?.unwrap_or(1);
            ///             Ok::<u64, HandlerError>(tariff * 42)
            ///         })
            ///         .await?;
            ///     Ok(price)
            /// }
            /// ```
            pub fn get_ephemeral<T: Decode>(&self, key: impl Key<T>) -> EphemeralGet<'_, T> {
                let cell = self.cell();
                EphemeralGet { cell, read: cell.open_ephemeral(key.name()), marker: PhantomData }
            }
        }
    };
}

ephemeral_get!(SharedObjectContext);
ephemeral_get!(SharedWorkflowContext);
