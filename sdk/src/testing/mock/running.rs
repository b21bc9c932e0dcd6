//! A handler at work, and how a test goes on with it.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, Location},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context as TaskContext, Poll},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt as _;

use super::{
    World,
    drive::{Drive, Make, Stand},
    failure::{FailureKind, MockFailure},
    record::Outcome,
    say::{SignalId, shown_outcome},
    script,
    wait::{Alarm, block_on},
};
use crate::{Encode, TerminalError, context::FromAttempt};

/// A handler at work; made by [`MockContext::start`](super::MockContext::start). It stands still where
/// it waits for something that is not scripted; the test does that by hand, and lets it go on.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::MockContext};
///
/// async fn decide(ctx: &Context) -> HandlerResult<bool> {
///     let approval = ctx.awakeable::<bool>();
///     Ok(approval.or_timeout(Duration::from_secs(60)).await?)
/// }
///
/// let mock = MockContext::service().manual_time();
/// let mut running = mock.start(async |ctx| decide(ctx).await);
/// running.advance(Duration::from_secs(59));
/// running.resolve_awakeable(0, &true);
/// assert!(running.finish_blocking().unwrap());
/// ```
#[must_use = "let it come to its end: `finish`"]
pub struct Running<'t, R> {
    drive: Drive<'t>,
    result: Rc<RefCell<Option<thread::Result<R>>>>,
    location: &'static Location<'static>,
    stand: Option<Stand>,
    /// Since when a run's closure waits, and who wakes us when that is too long.
    waiting: Option<(Instant, Alarm)>,
}

impl<R> fmt::Debug for Running<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("stand", &self.stand)
            .finish_non_exhaustive()
    }
}

/// Ends the test.
#[track_caller]
fn raise(failure: &MockFailure, location: &Location<'_>) -> ! {
    panic!("{failure}\n\nThe handler was started at {location}.");
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

impl<'t, R: 't> Running<'t, R> {
    pub(super) fn new<C: FromAttempt>(
        world: &'t World,
        handler: impl AsyncFnOnce(&C) -> R + 't,
        location: &'static Location<'static>,
    ) -> Self {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        let make: Make<'t> = Box::new(move |attempt| {
            Box::pin(async move {
                let ctx = C::from_attempt(attempt);
                let handled = AssertUnwindSafe(handler(&ctx)).catch_unwind().await;
                *slot.borrow_mut() = Some(handled);
                Ok(Bytes::new())
            })
        });
        Self {
            drive: Drive::new(world, make),
            result,
            location,
            stand: None,
            waiting: None,
        }
    }

    fn try_go_on(&mut self, skip: bool) -> Result<(), MockFailure> {
        if self.stand != Some(Stand::Ended) {
            let stand = self.drive.go_on(skip);
            let panicked = match &*self.result.borrow() {
                Some(Err(panic)) => Some(panic_text(&**panic).to_owned()),
                _ => None,
            };
            if let Some(message) = panicked {
                let what = format!("the handler panicked: {message}");
                let failure = self.drive.failure(FailureKind::Panicked, what);
                self.drive.failed = Some(failure.clone());
                return Err(failure);
            }
            let stand = stand?;
            if stand == Stand::Ended {
                self.drive.tell("→ return");
            }
            self.stand = Some(stand);
        }
        Ok(())
    }

    #[track_caller]
    pub(super) fn go_on(&mut self) {
        let skip = !self.drive.world.setup.manual_time;
        self.step(skip);
    }

    #[track_caller]
    fn step(&mut self, skip: bool) {
        if let Err(failure) = self.try_go_on(skip) {
            raise(&failure, self.location);
        }
    }

    fn poll_end(&mut self, cx: &TaskContext<'_>) -> Poll<Result<R, MockFailure>> {
        self.drive.wakes.set_outer(cx.waker());
        let skip = !self.drive.world.setup.manual_time;
        self.try_go_on(skip)?;
        let result = self.result.borrow_mut().take();
        match (&self.stand, result) {
            (Some(Stand::Ended), Some(Ok(result))) => Poll::Ready(Ok(result)),
            (Some(Stand::Executing), _) => self.wait_for_run(),
            _ => Poll::Ready(Err(self.drive.stuck())),
        }
    }

    fn wait_for_run<T>(&mut self) -> Poll<Result<T, MockFailure>> {
        let limit = self.drive.world.setup.run_limit;
        if std::mem::take(&mut self.drive.progress) {
            self.waiting = None;
        }
        let (since, _) = self.waiting.get_or_insert_with(|| {
            // The time first: with an alarm that counts from earlier, its wake would find the limit not
            // reached, and there is no second one.
            let since = Instant::now();
            (since, Alarm::set(limit, Arc::clone(&self.drive.wakes)))
        });
        if since.elapsed() < limit {
            return Poll::Pending;
        }
        Poll::Ready(Err(self.drive.too_slow()))
    }

    /// Lets the handler come to its end, and gives what it returns.
    ///
    /// # Panics
    ///
    /// As [`MockContext::call`](super::MockContext::call).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// # futures::executor::block_on(async {
    /// let mock = MockContext::service();
    /// let mut running = mock.start(async |ctx| ctx.signal::<u64>("go").await);
    /// running.signal("go", &42);
    /// assert_eq!(running.finish().await, Ok(42));
    /// # });
    /// ```
    pub fn finish(self) -> impl Future<Output = R> + 't {
        let location = self.location;
        async move {
            match self.try_finish().await {
                Ok(result) => result,
                Err(failure) => raise(&failure, location),
            }
        }
    }

    /// [`finish`](Self::finish), for a test that is not async. Run closures find no async runtime.
    ///
    /// # Panics
    ///
    /// As [`MockContext::call`](super::MockContext::call).
    ///
    /// # Examples
    ///
    /// See [`Running`].
    #[track_caller]
    pub fn finish_blocking(self) -> R {
        let location = self.location;
        match block_on(self.try_finish()) {
            Ok(result) => result,
            Err(failure) => raise(&failure, location),
        }
    }

    /// [`finish`](Self::finish) that gives the failure instead of a panic.
    ///
    /// # Errors
    ///
    /// What `finish` would panic with.
    ///
    /// # Examples
    ///
    /// See [`MockContext::try_call`](super::MockContext::try_call).
    pub fn try_finish(mut self) -> impl Future<Output = Result<R, MockFailure>> + 't {
        poll_fn(move |cx| self.poll_end(cx))
    }

    /// Whether the handler has returned.
    ///
    /// # Examples
    ///
    /// See [`MockContext::manual_time`](super::MockContext::manual_time).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.stand == Some(Stand::Ended)
    }

    /// Waits until no run closure executes: for those that truly wait for the world outside.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::MockContext};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mock = MockContext::workflow("ada");
    /// let mut running = mock.start(async |ctx| {
    ///     let ask = async || HandlerResult::Ok(tokio::task::yield_now().await);
    ///     ctx.run("ask", ask).await?;
    ///     ctx.promise::<bool>("approval").await
    /// });
    /// running.settle().await;
    /// running.resolve_promise("approval", &true);
    /// assert_eq!(running.finish().await, Ok(true));
    /// # }
    /// ```
    pub async fn settle(&mut self) {
        let settled = poll_fn(|cx| {
            self.drive.wakes.set_outer(cx.waker());
            let skip = !self.drive.world.setup.manual_time;
            self.try_go_on(skip)?;
            match self.stand {
                Some(Stand::Executing) => self.wait_for_run(),
                _ => Poll::Ready(Ok(())),
            }
        });
        if let Err(failure) = settled.await {
            raise(&failure, self.location);
        }
    }

    /// Lets time pass: what is due meanwhile comes at its time, and the handler goes on.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// See [`Running`].
    #[track_caller]
    pub fn advance(&mut self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let until = self.drive.now().saturating_add(millis);
        self.drive.tell(format!("← {time:?} pass"));
        while !self.is_finished() && self.drive.move_time(until) {
            self.step(false);
        }
        self.drive.world.clock.fetch_max(until, Ordering::SeqCst);
        self.go_on();
    }

    #[track_caller]
    fn send(&mut self, id: SignalId, result: Outcome) {
        self.drive.signal(Duration::ZERO, id, result);
        self.go_on();
    }

    /// Completes the awakeable that the handler creates as its first (0), second (1) and so on.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// See [`Running`].
    #[track_caller]
    pub fn resolve_awakeable<T: Encode + ?Sized>(&mut self, index: u32, value: &T) {
        self.send(SignalId::Awakeable(index), Ok(script::encode(value)));
    }

    /// Completes an awakeable with a failure.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{TerminalError, testing::MockContext};
    ///
    /// let mock = MockContext::service();
    /// let mut running = mock.start(async |ctx| ctx.awakeable::<u64>().await);
    /// running.reject_awakeable(0, TerminalError::new("not today"));
    /// assert_eq!(running.finish_blocking().unwrap_err().message(), "not today");
    /// ```
    #[track_caller]
    pub fn reject_awakeable(&mut self, index: u32, error: TerminalError) {
        self.send(SignalId::Awakeable(index), Err(error));
    }

    /// Sends a named signal with a value.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// See [`finish`](Self::finish).
    #[track_caller]
    pub fn signal<T: Encode + ?Sized>(&mut self, name: &str, value: &T) {
        self.send(SignalId::Named(name.to_owned()), Ok(script::encode(value)));
    }

    /// Sends a named signal with a failure.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{TerminalError, testing::MockContext};
    ///
    /// let mock = MockContext::service();
    /// let mut running = mock.start(async |ctx| ctx.signal::<u64>("go").await);
    /// running.reject_signal("go", TerminalError::new("stay"));
    /// assert_eq!(running.finish_blocking().unwrap_err().message(), "stay");
    /// ```
    #[track_caller]
    pub fn reject_signal(&mut self, name: &str, error: TerminalError) {
        self.send(SignalId::Named(name.to_owned()), Err(error));
    }

    /// Completes a promise of the workflow, as another handler would. One that is completed stays as it is.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::workflow("ada");
    /// let mut running = mock.start(async |ctx| ctx.promise::<bool>("approval").await);
    /// running.resolve_promise("approval", &true);
    /// assert_eq!(running.finish_blocking(), Ok(true));
    /// ```
    #[track_caller]
    pub fn resolve_promise<T: Encode + ?Sized>(&mut self, key: &str, value: &T) {
        self.complete_promise(key, Ok(script::encode(value)));
    }

    /// Completes a promise of the workflow with a failure. One that is completed stays as it is.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{TerminalError, testing::MockContext};
    ///
    /// let mock = MockContext::workflow("ada");
    /// let mut running = mock.start(async |ctx| ctx.promise::<bool>("approval").await);
    /// running.reject_promise("approval", TerminalError::new("refused"));
    /// assert_eq!(running.finish_blocking().unwrap_err().message(), "refused");
    /// ```
    #[track_caller]
    pub fn reject_promise(&mut self, key: &str, error: TerminalError) {
        self.complete_promise(key, Err(error));
    }

    #[track_caller]
    fn complete_promise(&mut self, key: &str, result: Outcome) {
        let record = &self.drive.world.record;
        let already = record.borrow().promises.contains_key(key);
        let how = match already {
            true => "was completed before, and stays so".to_owned(),
            false => format!("is completed: {}", shown_outcome(&result)),
        };
        self.drive.tell(format!("← promise `{key}` {how}"));
        self.drive.settle_promise(key.to_owned(), result);
        self.go_on();
    }

    /// Cancels the invocation: what it awaits fails with code 409, and it may clean up.
    ///
    /// # Panics
    ///
    /// As [`MockContext::start`](super::MockContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// let mut running = mock.start(async |ctx| ctx.signal::<u64>("go").await);
    /// running.cancel();
    /// assert!(running.finish_blocking().unwrap_err().is_cancelled());
    /// ```
    #[track_caller]
    pub fn cancel(&mut self) {
        self.send(SignalId::Cancel, Ok(Bytes::new()));
    }
}
