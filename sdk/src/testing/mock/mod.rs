//! `MockContext`: one handler, tested alone.
//!
//! In: what the handler meets (state, key, headers, time) and how what it asks for turns out
//! (`script`). The handler runs in a real attempt, and `drive` plays the runtime over the real frames.
//! Out: the handler's result, and what it did (`record`); or a failure that tells the story
//! (`failure`). Nothing waits, except for what run closures truly wait for (`wait`).

mod answer;
mod drive;
mod failure;
mod options;
mod record;
mod running;
mod say;
mod script;
mod wait;

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    marker::PhantomData,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

pub use self::{
    failure::{FailureKind, MockFailure},
    record::Recorded,
    running::Running,
    script::{ANY_KEY, CallScript, ResultScript},
};
use self::{
    options::Setup,
    record::Record,
    script::{Script, Subject},
};
use crate::{
    Context, Encode, Key, ObjectContext, Raw, Request, SharedObjectContext, SharedWorkflowContext,
    WorkflowContext, context::FromAttempt,
};

/// What does not depend on the kind of context.
#[derive(Debug)]
struct World {
    setup: Setup,
    script: RefCell<Script>,
    record: RefCell<Record>,
    clock: Arc<AtomicU64>,
    /// Invocations that were made so far.
    invocations: std::cell::Cell<u64>,
}

/// Tests one handler alone: it gives the handler a real context of kind `C`, without a server, and
/// answers what the handler asks for as the test has scripted it.
///
/// The handler runs in the executor that production uses, on this thread, and every run of the test
/// goes the same way. Sleeps take no time. Run closures are executed, unless [`run`](Self::run)
/// or [`forbid_runs`](Self::forbid_runs) say otherwise. A call must be scripted with
/// [`on`](Self::on), or the test fails and says how; sends need no script.
///
/// One mock may [`call`](Self::call) several handlers, one after the other: the state stays, and what
/// they did is recorded together. Nothing is replayed: a handler runs once. A handler that loops
/// without ever awaiting cannot be interrupted; any other that does not end fails the test.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::MockContext};
///
/// struct Counter;
///
/// #[durably::object]
/// impl Counter {
///     #[handler]
///     async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
///         let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
///         ctx.set("sum", &sum);
///         Ok(sum)
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let mock = MockContext::object("apples").state("sum", &3);
/// let sum = mock.call(async |ctx| Counter.add(ctx, 4).await).await;
/// assert_eq!((sum.unwrap(), mock.get::<u64>("sum")), (7, Some(7)));
/// # });
/// ```
pub struct MockContext<C = Context> {
    world: World,
    marker: PhantomData<fn() -> C>,
}

impl<C> fmt::Debug for MockContext<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockContext")
            .field("world", &self.world)
            .finish()
    }
}

impl MockContext<Context> {
    /// For a handler of a service.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// assert_eq!(mock.call_blocking(async |ctx| ctx.service_name().to_owned()), "Mock");
    /// ```
    #[must_use]
    pub fn service() -> Self {
        Self::new(String::new())
    }
}

impl MockContext<ObjectContext> {
    /// For an exclusive handler of the virtual object with this key.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::object("order-7");
    /// assert_eq!(mock.call_blocking(async |ctx| ctx.key().to_owned()), "order-7");
    /// ```
    #[must_use]
    pub fn object(key: impl Into<String>) -> Self {
        Self::new(key.into())
    }
}

impl MockContext<SharedObjectContext> {
    /// For a shared handler of the virtual object with this key.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::shared_object("order-7").state("seen", &3);
    /// let seen = mock.call_blocking(async |ctx| ctx.get::<u64>("seen").await);
    /// assert_eq!(seen, Ok(Some(3)));
    /// ```
    #[must_use]
    pub fn shared_object(key: impl Into<String>) -> Self {
        Self::new(key.into())
    }
}

impl MockContext<WorkflowContext> {
    /// For the workflow handler of the workflow with this key.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::workflow("ada");
    /// mock.promise("approval").returns(&true);
    /// let approved = mock.call_blocking(async |ctx| ctx.promise::<bool>("approval").await);
    /// assert_eq!(approved, Ok(true));
    /// ```
    #[must_use]
    pub fn workflow(key: impl Into<String>) -> Self {
        Self::new(key.into())
    }
}

impl MockContext<SharedWorkflowContext> {
    /// For another handler of the workflow with this key.
    ///
    /// # Examples
    ///
    /// See [`promise_result`](Self::promise_result).
    #[must_use]
    pub fn shared_workflow(key: impl Into<String>) -> Self {
        Self::new(key.into())
    }
}

impl<C> MockContext<C> {
    fn new(key: String) -> Self {
        Self {
            world: World {
                setup: Setup::new(key),
                script: RefCell::default(),
                record: RefCell::default(),
                clock: Arc::new(AtomicU64::new(crate::testing::BEGINNING)),
                invocations: std::cell::Cell::new(0),
            },
            marker: PhantomData,
        }
    }

    /// Sets a value of the state.
    ///
    /// # Examples
    ///
    /// See [`MockContext`].
    #[must_use]
    #[track_caller]
    pub fn state<T: Encode + ?Sized>(self, key: impl Key<T>, value: &T) -> Self {
        let value = script::encode(value);
        let name = key.name().to_owned();
        self.world.record.borrow_mut().state.insert(name, value);
        self
    }

    /// The time at which the handler begins; the first of January 2026, UTC, without this.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    /// let mock = MockContext::service().time(yesterday);
    /// let now = mock.call_blocking(async |ctx| ctx.now().await).unwrap();
    /// assert!(now <= yesterday); // resolution: milliseconds
    /// ```
    #[must_use]
    pub fn time(self, now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let millis = since.unwrap_or_default().as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.world.clock.store(millis, Ordering::SeqCst);
        self
    }

    /// Scripts the calls of a handler, which a request names: what is scripted counts for all requests to
    /// that service, key and handler. Its input does not matter; for any key, write [`ANY_KEY`].
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{MockContext, object}};
    ///
    /// struct Inventory;
    ///
    /// #[durably::object]
    /// impl Inventory {
    ///     #[handler]
    ///     async fn reserve(&self, _ctx: &ObjectContext, quantity: u32) -> HandlerResult<bool> {
    ///         Ok(quantity < 10)
    ///     }
    /// }
    ///
    /// async fn order(ctx: &Context) -> HandlerResult<bool> {
    ///     Ok(ctx.object_client::<InventoryClient>("teapot").reserve(2).await?)
    /// }
    ///
    /// let mock = MockContext::service();
    /// mock.on(object::<InventoryClient>("teapot").reserve(0)).returns(&true);
    /// assert!(mock.call_blocking(async |ctx| order(ctx).await).unwrap());
    ///
    /// let calls = mock.calls(object::<InventoryClient>("teapot").reserve(0));
    /// assert_eq!(calls[0].input, 2);
    /// ```
    pub fn on<In, Out>(&self, request: Request<'_, In, Out>) -> CallScript<'_, In, Out> {
        CallScript::new(self, Subject::Call(request.target().clone()))
    }

    /// Scripts the calls that fulfil a predicate, whatever their target.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*, testing::MockContext};
    ///
    /// let mock = MockContext::service();
    /// mock.on_where(|call| call.target.service_name() == "Prices").returns(&3);
    /// let price = mock.call_blocking(async |ctx| {
    ///     ctx.request::<_, u64>(Target::service("Prices", "of"), "teapot").await
    /// });
    /// assert_eq!(price, Ok(3));
    /// ```
    pub fn on_where<Out>(
        &self,
        accepts: impl Fn(&Recorded<Raw>) -> bool + 'static,
    ) -> CallScript<'_, Raw, Out> {
        CallScript::new(self, Subject::AnyCall).accepting(Box::new(accepts))
    }

    /// Replaces the runs of this name: their closures are not executed.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// mock.run("charge the card").returns(&42);
    /// let charge = async || -> std::io::Result<u64> { unreachable!("not in a test") };
    /// let receipt = mock.call_blocking(async |ctx| ctx.run("charge the card", charge).await);
    /// assert_eq!(receipt, Ok(42));
    /// ```
    pub fn run(&self, name: impl Into<String>) -> ResultScript<'_> {
        ResultScript::new(self, Subject::Run(name.into()))
    }

    /// Completes a promise of the workflow. A time [`after`](ResultScript::after) which that happens counts
    /// from when the handler first gets it or looks at it.
    ///
    /// # Examples
    ///
    /// See [`workflow`](MockContext::workflow).
    pub fn promise(&self, key: impl Into<String>) -> ResultScript<'_> {
        ResultScript::new(self, Subject::Promise(key.into()))
    }

    /// Completes the awakeable that the handler creates as its first (0), second (1) and so on, when
    /// the handler awaits it.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// mock.awakeable(0).returns("paid");
    /// let paid = mock.call_blocking(async |ctx| ctx.awakeable::<String>().await);
    /// assert_eq!(paid.unwrap(), "paid");
    /// ```
    pub fn awakeable(&self, index: u32) -> ResultScript<'_> {
        ResultScript::new(self, Subject::Awakeable(index))
    }

    /// Sends a named signal, each time when the handler waits for one.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// mock.signal("go").returns(&42);
    /// let go = mock.call_blocking(async |ctx| ctx.signal::<u64>("go").await);
    /// assert_eq!(go, Ok(42));
    /// ```
    pub fn signal(&self, name: impl Into<String>) -> ResultScript<'_> {
        ResultScript::new(self, Subject::Signal(name.into()))
    }

    /// The result of another invocation, to which the handler attaches or whose output it asks for. It
    /// is named by its id, by workflow and key (`Signup/ada`), or by target and idempotency key
    /// (`Greeter/greet#click-1`). One that [never](ResultScript::never) ends has no output so far.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// mock.invocation("Signup/ada").returns("done");
    /// let end = mock.call_blocking(async |ctx| {
    ///     ctx.workflow_invocation("Signup", "ada").attach::<String>().await
    /// });
    /// assert_eq!(end.unwrap(), "done");
    /// ```
    pub fn invocation(&self, which: impl Into<String>) -> ResultScript<'_> {
        ResultScript::new(self, Subject::Attach(which.into()))
    }
}

impl<C: FromAttempt> MockContext<C> {
    /// Runs the handler to its end, and gives what it returns.
    ///
    /// # Panics
    ///
    /// If the handler panics, makes a call that is not scripted, waits for what never comes or for what
    /// is not durable, or does what would end its attempt in production. The message says what the
    /// handler had done so far, and what to write.
    ///
    /// # Examples
    ///
    /// See [`MockContext`].
    #[track_caller]
    pub fn call<'t, R: 't>(
        &'t self,
        handler: impl AsyncFnOnce(&C) -> R + 't,
    ) -> impl Future<Output = R> + 't {
        Running::new(&self.world, handler, Location::caller()).finish()
    }

    /// [`call`](Self::call), for a test that is not async. Run closures find no async runtime.
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// assert_eq!(mock.call_blocking(async |_| 1 + 1), 2);
    /// ```
    #[track_caller]
    pub fn call_blocking<'t, R: 't>(&'t self, handler: impl AsyncFnOnce(&C) -> R + 't) -> R {
        Running::new(&self.world, handler, Location::caller()).finish_blocking()
    }

    /// [`call`](Self::call) that gives the failure instead of a panic: for tests of how an attempt fails.
    ///
    /// # Errors
    ///
    /// What `call` would panic with.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::{FailureKind, MockContext};
    ///
    /// # futures::executor::block_on(async {
    /// let mock = MockContext::service();
    /// let failure = mock.try_call(async |ctx| ctx.signal::<u64>("go").await).await.unwrap_err();
    /// assert_eq!(failure.kind(), FailureKind::Stuck);
    /// # });
    /// ```
    pub fn try_call<'t, R: 't>(
        &'t self,
        handler: impl AsyncFnOnce(&C) -> R + 't,
    ) -> impl Future<Output = Result<R, MockFailure>> + 't {
        Running::new(&self.world, handler, Location::caller()).try_finish()
    }

    /// Starts the handler and lets it go on until it waits for something that is not scripted, or for time
    /// to pass if that is [by hand](Self::manual_time).
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call), except that the handler may wait.
    ///
    /// # Examples
    ///
    /// See [`Running`].
    #[track_caller]
    pub fn start<'t, R: 't>(&'t self, handler: impl AsyncFnOnce(&C) -> R + 't) -> Running<'t, R> {
        let mut running = Running::new(&self.world, handler, Location::caller());
        running.go_on();
        running
    }
}
