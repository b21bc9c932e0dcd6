//! Runs: steps of ordinary code whose result is recorded.

use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use pin_project_lite::pin_project;

use super::{
    Context,
    future::{self, DurableFuture},
    timeout::OrTimeout,
};
use crate::{
    error::{HandlerError, TerminalError},
    executor::{Alarm, Cell, RunRef, Timer},
    interceptor::RunChain,
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
    pub struct Run<'a, Fut, T> {
        cell: &'a Arc<Cell>,
        // None once the closure has ended, or if the attempt is over.
        run: Option<RunRef>,
        name: Cow<'a, str>,
        policy: Option<RetryPolicy>,
        // Calls the closure when it is first polled.
        #[pin]
        executing: Option<Fut>,
        waker: Option<Waker>,
        // Most runs have none.
        around: Option<Box<Around>>,
        result: DurableFuture<'a, T>,
    }
}

impl<'a, Fut, T> Run<'a, Fut, T>
where
    Fut: Future<Output = Result<T, HandlerError>>,
    T: Encode + Decode,
{
    pub(crate) fn new(cell: &'a Arc<Cell>, name: impl Into<Cow<'a, str>>, executing: Fut) -> Self {
        let name = name.into();
        let result = DurableFuture::new(cell, cell.issue_run(&name), future::value::<T>);
        Self {
            cell,
            run: result.run(),
            name,
            policy: None,
            executing: Some(executing),
            waker: None,
            around: None,
            result,
        }
    }

    /// Drops the closure if it takes longer than `limit` in one attempt, at its next `.await`; what it
    /// has done stays done. That is a failure like any other: the run's [retry policy](Self::retry) says
    /// whether the closure is tried again, with the same limit, and without one the attempt fails.
    ///
    /// The time is real time, from when the closure is started, in this process: nothing of it is
    /// recorded. In tests, too: a closure's real work takes real time there. A limit over all attempts is
    /// [`RetryPolicy::max_duration`], one on the whole wait [`or_timeout`](Self::or_timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// # async fn fetch_page() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// async fn fetch(ctx: &Context) -> HandlerResult<String> {
    ///     Ok(ctx
    ///         .run("fetch", fetch_page)
    ///         .attempt_timeout(Duration::from_secs(5))
    ///         .retry(RetryPolicy::fixed(Duration::from_secs(1)).max_attempts(3))
    ///         .await?)
    /// }
    /// ```
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.around.get_or_insert_default().limit = Some(limit);
        self
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

impl<Fut, T> Future for Run<'_, Fut, T>
where
    Fut: Future<Output = Result<T, HandlerError>>,
    T: Encode + Decode,
{
    type Output = Result<T, TerminalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(run) = *this.run
            && this.cell.take_run_grant(run)
        {
            let fresh = this.waker.is_none();
            let waker = this.waker.get_or_insert_with(|| this.cell.run_waker(run));
            // Also what the closure has left behind is dropped in there.
            let polled = this.cell.in_run(run, this.name, || {
                if fresh && let Some(chain) = RunChain::new(this.cell, this.name) {
                    this.around.get_or_insert_default().chain = Some(chain);
                }
                let mut cx = TaskContext::from_waker(waker);
                let closure = this.executing.as_mut();
                match this.around {
                    None => poll_closure(closure, &mut cx),
                    Some(around) => around.poll(closure, &mut cx, this.cell.request.setting.timer),
                }
            });
            if let Poll::Ready(result) = polled {
                *this.run = None;
                *this.around = None;
                this.cell
                    .finish_run(run, this.name, this.policy.as_ref(), result);
            }
        }
        let result = ready!(Pin::new(this.result).poll(cx));
        // The closure has not ended if the run was cancelled, and was not called if the result was
        // recorded: it goes now, though the run may be held for longer.
        if this.run.take().is_some() {
            this.executing.set(None);
            *this.around = None;
        }
        Poll::Ready(result)
    }
}

/// Polls the closure; what it has left behind goes when it has ended.
fn poll_closure<Fut, T>(
    mut closure: Pin<&mut Option<Fut>>,
    cx: &mut TaskContext<'_>,
) -> Poll<Result<Bytes, HandlerError>>
where
    Fut: Future<Output = Result<T, HandlerError>>,
    T: Encode,
{
    let Some(executing) = closure.as_mut().as_pin_mut() else {
        return Poll::Pending;
    };
    let result = ready!(executing.poll(cx));
    closure.set(None);
    Poll::Ready(result.and_then(|value| {
        value
            .encode()
            .map_err(|error| HandlerError::from(format!("the result cannot be encoded: {error}")))
    }))
}

/// What lies around a closure: its interceptors, and within them its time limit.
#[derive(Default)]
struct Around {
    limit: Option<Duration>,
    alarm: Option<Alarm>,
    chain: Option<RunChain>,
}

impl Around {
    fn poll<Fut, T>(
        &mut self,
        mut closure: Pin<&mut Option<Fut>>,
        cx: &mut TaskContext<'_>,
        timer: Timer,
    ) -> Poll<Result<Bytes, HandlerError>>
    where
        Fut: Future<Output = Result<T, HandlerError>>,
        T: Encode,
    {
        let Self {
            limit,
            alarm,
            chain,
        } = self;
        let mut limited = |cx: Option<&mut TaskContext<'_>>| {
            let Some(cx) = cx else {
                closure.set(None);
                return Poll::Pending;
            };
            if let Some(limit) = *limit {
                alarm.get_or_insert_with(|| timer.after(limit));
            }
            let polled = poll_closure(closure.as_mut(), cx);
            if polled.is_pending()
                && closure.is_some()
                && let (Some(limit), Some(alarm)) = (*limit, alarm.as_mut())
                && alarm.as_mut().poll(cx).is_ready()
            {
                closure.set(None);
                let error = format!("it did not end within {limit:?}, its limit for an attempt");
                return Poll::Ready(Err(error.into()));
            }
            polled
        };
        match chain {
            None => limited(Some(cx)),
            Some(chain) => chain.poll(cx, limited),
        }
    }
}

impl<Fut, T> fmt::Debug for Run<'_, Fut, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("name", &self.name)
            .field("result", &self.result)
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
    /// The result is decoded from what was recorded, also the first time: its type owns its data
    /// (`String`, not `&str`). A closure that cannot fail says so with a type:
    /// `async || HandlerResult::Ok(42)`.
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
    ) -> Run<'a, impl Future<Output = Result<T, HandlerError>>, T>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Into<HandlerError>,
        T: Encode + Decode,
    {
        // One future, not the closure and its future side by side. With both as parameters of `Run`
        // the compiler cannot prove that a handler is `Send` which holds a run of borrowing code
        // across an await, as `join!` does: it forgets there that the two borrow for the same time.
        let executing = async move { closure().await.map_err(Into::into) };
        Run::new(self.cell(), name, executing)
    }
}
