//! `or_timeout`: a durable future with a time limit.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{future::DurableFuture, timer};
use crate::{error::TerminalError, executor::Cell};

pin_project! {
    /// A durable future that gives up when a durable sleep is over first; made by `or_timeout`.
    ///
    /// # Errors
    ///
    /// Those of the future, or a [`TerminalError`] with code 408
    /// ([`is_timeout`](TerminalError::is_timeout)).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn wait(ctx: &Context) -> HandlerResult<Option<String>> {
    ///     match ctx.signal::<String>("go").or_timeout(Duration::from_secs(10)).await {
    ///         Ok(go) => Ok(Some(go)),
    ///         Err(error) if error.is_timeout() => Ok(None),
    ///         Err(error) => Err(error.into()),
    ///     }
    /// }
    /// ```
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct OrTimeout<'a, F> {
        #[pin]
        future: F,
        sleep: DurableFuture<'a, ()>,
        after: Duration,
    }
}

impl<'a, F> OrTimeout<'a, F> {
    pub(crate) fn new(cell: &'a Cell, future: F, after: Duration) -> Self {
        Self {
            future,
            sleep: timer::sleep(cell, after, ""),
            after,
        }
    }
}

impl<T, F: Future<Output = Result<T, TerminalError>>> Future for OrTimeout<'_, F> {
    type Output = Result<T, TerminalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(result);
        }
        Pin::new(this.sleep).poll(cx).map(|slept| {
            slept.and_then(|()| {
                Err(TerminalError::new(format!("timed out after {:?}", this.after)).with_code(408))
            })
        })
    }
}
