//! Runs: steps of ordinary code whose result is recorded.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    Context,
    future::{self, DurableFuture},
    timeout::OrTimeout,
};
use crate::{
    error::{HandlerError, TerminalError},
    executor::Cell,
    payload::{Decode, Encode},
    retry::RetryPolicy,
};

pin_project! {
    /// A step of ordinary code whose result is recorded; made by [`Context::run`].
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn charge(ctx: &Context) -> HandlerResult<u64> {
    ///     let receipt = ctx
    ///         .run("charge the card", async || Ok::<_, std::io::Error>(42))
    ///         .retry(RetryPolicy::fixed(Duration::from_millis(200)).max_attempts(3))
    ///         .await?;
    ///     Ok(receipt)
    /// }
    /// ```
    #[must_use = "a run is executed when it is awaited"]
    pub struct Run<'a, F, Fut, T> {
        cell: &'a Cell,
        // None once the closure has ended, or if the attempt is over.
        id: Option<u32>,
        name: Cow<'a, str>,
        policy: Option<RetryPolicy>,
        closure: Option<F>,
        // Calls the closure. So the future itself needs no bound on `F`: rustc cannot prove a bound
        // that ties two types with lifetimes (`F: FnOnce() -> Fut`) when it asks whether a handler
        // is `Send` that holds the run's output in a combinator.
        call: fn(F) -> Fut,
        #[pin]
        executing: Option<Fut>,
        polled: Option<(Arc<str>, Waker)>,
        result: DurableFuture<'a, T>,
    }

    impl<F, Fut, T> PinnedDrop for Run<'_, F, Fut, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(id) = *this.id {
                this.cell.remove_run(id);
            }
        }
    }
}

impl<'a, F, Fut, T, E> Run<'a, F, Fut, T>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Into<HandlerError>,
    T: Encode + Decode,
{
    pub(crate) fn new(cell: &'a Cell, name: impl Into<Cow<'a, str>>, closure: F) -> Self {
        let name = name.into();
        let id = cell.issue_run(&name).map(|issued| issued.first);
        let result = DurableFuture::completion(cell, id, future::value::<T>);
        Self {
            cell,
            id,
            name,
            policy: None,
            closure: Some(closure),
            call: |closure| closure(),
            executing: None,
            polled: None,
            result,
        }
    }

    /// How the closure is tried again when it fails retryably. Without a policy, the attempt fails
    /// and the server's retry policy for the invocation decides.
    ///
    /// # Examples
    ///
    /// See [`Run`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Waits at most `duration` for the result, like [`DurableFuture::or_timeout`]. When the time
    /// is up the closure is dropped, at its next `.await`; what it has done stays done.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn fetch(ctx: &Context) -> HandlerResult<String> {
    ///     Ok(ctx
    ///         .run("fetch", async || Ok::<_, std::io::Error>("page".to_owned()))
    ///         .or_timeout(Duration::from_secs(5))
    ///         .await?)
    /// }
    /// ```
    pub fn or_timeout(self, duration: Duration) -> OrTimeout<'a, Self> {
        OrTimeout::new(self.cell, self, duration)
    }
}

impl<F, Fut, T, E> Future for Run<'_, F, Fut, T>
where
    Fut: Future<Output = Result<T, E>>,
    E: Into<HandlerError>,
    T: Encode + Decode,
{
    type Output = Result<T, TerminalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(id) = *this.id
            && this.cell.take_run_grant(id)
        {
            let (name, waker) = this
                .polled
                .get_or_insert_with(|| (Arc::from(&**this.name), this.cell.run_waker(id)));
            let polled = this.cell.in_run(name, || {
                if let Some(closure) = this.closure.take() {
                    this.executing.set(Some((this.call)(closure)));
                }
                let mut cx = TaskContext::from_waker(waker);
                match this.executing.as_mut().as_pin_mut() {
                    Some(executing) => executing.poll(&mut cx).map(Some),
                    None => Poll::Ready(None),
                }
            });
            if let Poll::Ready(Some(result)) = polled {
                this.executing.set(None);
                *this.id = None;
                let result = match result {
                    Ok(value) => value.encode().map_err(|error| {
                        HandlerError::from(format!("the result cannot be encoded: {error}"))
                    }),
                    Err(error) => Err(error.into()),
                };
                this.cell
                    .finish_run(id, this.name, this.policy.as_ref(), result);
            }
        }
        Pin::new(this.result).poll(cx)
    }
}

impl<F, Fut, T> fmt::Debug for Run<'_, F, Fut, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("name", &self.name)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Runs ordinary code once and records its result: a request to another system, a random
    /// number, anything that would be different a second time. When the handler is replayed, the
    /// recorded result is used and the closure is not called.
    ///
    /// The closure is called at most once per attempt, when the run is awaited and nothing recorded
    /// is left to replay. It may borrow from the handler, and may be called again in a later attempt
    /// if this one ends before the result is recorded: make it idempotent. Within it the context
    /// cannot be used.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] if the closure fails with one, if its retry policy is used up, or if the
    /// invocation is cancelled meanwhile (409). Any other failure of the closure ends the attempt
    /// and is retried: see [`Run::retry`].
    ///
    /// # Journal
    ///
    /// A Run command with the name, one completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// # async fn send_mail(to: &str) -> Result<u32, std::io::Error> { Ok(to.len() as u32) }
    /// async fn welcome(ctx: &Context, address: String) -> HandlerResult<u32> {
    ///     let id = ctx.run("send mail", || send_mail(&address)).await?;
    ///     Ok(id)
    /// }
    /// ```
    pub fn run<'a, F, Fut, T, E>(
        &'a self,
        name: impl Into<Cow<'a, str>>,
        closure: F,
    ) -> Run<'a, F, Fut, T>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Into<HandlerError>,
        T: Encode + Decode,
    {
        Run::new(self.cell(), name, closure)
    }
}
