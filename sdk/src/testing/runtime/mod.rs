//! [`TestRuntime`]: what a test holds. Requests and looks from the test flow in; the driver runs the
//! engine and the attempts.

mod body;
mod builder;
mod driver;
mod kafka;
mod look;
mod printed;
mod scope;
pub(in crate::testing) mod story;
mod time;
mod waiting;

use std::{fmt, time::Duration};

use bytes::Bytes;

pub use self::{
    builder::TestRuntimeBuilder,
    look::{InvocationStatus, InvocationSummary},
    scope::InScope,
    story::{Journal, JournalEvent, JournalEventKind},
};
use self::{driver::Driver, kafka::Subscriptions, waiting::Time};
use crate::{
    Decode, Encode, Endpoint, InvocationId, Request, Target, TerminalError,
    context::{RequestParts, terminal},
    engine::{
        Engine, Origin, Submission, already_invoked,
        catalog::{Catalog, HandlerType},
        invocation::{CallerId, Index, Outcome, Waiter},
        keyed::KeyedId,
        not_found,
    },
    protocol::message::Failure,
    testing::BEGINNING,
    testing::explore::Course,
};

/// A runtime in memory, that drives an endpoint; see the [module](crate::testing).
///
/// # Panics
///
/// Its methods panic where the test cannot go on: see "What fails a test by itself" in the
/// [module](crate::testing).
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{TestRuntime, object}};
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
/// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Counter).build()?);
/// runtime.set_state("Counter", "ada", "sum", &40);
/// assert_eq!(runtime.call(object::<CounterClient>("ada").add(2))?, 42);
/// assert_eq!(runtime.state::<u64>("Counter", "ada", "sum"), Some(42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TestRuntime {
    driver: Driver,
    seed: u64,
    manual_time: bool,
    next_caller: CallerId,
    subscriptions: Subscriptions,
}

impl fmt::Debug for TestRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestRuntime")
            .field("seed", &self.seed)
            .field("invocations", &self.driver.engine.invocations.len())
            .finish_non_exhaustive()
    }
}

impl Drop for TestRuntime {
    fn drop(&mut self) {
        if std::thread::panicking() && self.driver.course.is_none() {
            eprintln!("the test runtime's seed was {}", self.seed);
        }
    }
}

/// Where a request has led.
enum Accepted {
    Invocation(Index),
    /// It gets no invocation: the call fails with this.
    Refused(Failure),
}

impl TestRuntime {
    /// A runtime with default options.
    ///
    /// # Panics
    ///
    /// If a real server would refuse the endpoint's manifest.
    ///
    /// # Examples
    ///
    /// See [`TestRuntime`].
    #[track_caller]
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self::builder(endpoint).build()
    }

    /// Options: the seed, the protocol's version, suspension, time.
    ///
    /// # Examples
    ///
    /// See [`TestRuntimeBuilder`].
    pub fn builder(endpoint: Endpoint) -> TestRuntimeBuilder {
        TestRuntimeBuilder::new(endpoint)
    }

    fn made_by(builder: TestRuntimeBuilder) -> Result<Self, String> {
        let manifest = builder.endpoint.manifest().clone()?;
        let catalog =
            Catalog::read(&manifest, builder.always_suspend).map_err(|error| error.to_string())?;
        let engine = Engine::new(catalog, builder.version, builder.seed, BEGINNING);
        Ok(Self {
            driver: Driver::new(builder.endpoint, builder.version, engine),
            seed: builder.seed,
            manual_time: builder.manual_time,
            next_caller: 1,
            subscriptions: Subscriptions::default(),
        })
    }

    // ---- requests ----------------------------------------------------------------------------

    /// Makes a request and waits for its result, while the virtual world runs.
    ///
    /// # Errors
    ///
    /// The terminal failure of the handler; 404 for a service or handler that is not served, 400 for a
    /// request that the server refuses (a key too many or too few, a private handler, no input where one is
    /// needed, a `content-type` header that the handler does not take, an idempotency key for the run of a
    /// workflow), 409 for a workflow that was run with this key already.
    ///
    /// # Examples
    ///
    /// See [`TestRuntime`].
    #[track_caller]
    pub fn call<In: Encode, Out: Decode>(
        &mut self,
        request: Request<'_, In, Out>,
    ) -> Result<Out, TerminalError> {
        let parts = request.into_parts();
        let target = parts.target.to_string();
        let outcome = match self.accept(parts, Duration::ZERO, true)? {
            Accepted::Refused(failure) => Err(failure),
            Accepted::Invocation(index) => self.outcome_of(index),
        };
        self.decode(outcome, &target)
    }

    /// As [`call`](Self::call), for async tests: while a run's closure waits, so does this.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{TestRuntime, service}};
    ///
    /// struct Slow;
    ///
    /// #[durably::service]
    /// impl Slow {
    ///     #[handler]
    ///     async fn fetch(&self, ctx: &Context) -> HandlerResult<u64> {
    ///         Ok(ctx.run("fetch", async || {
    ///             tokio::time::sleep(Duration::from_millis(5)).await;
    ///             Ok::<_, std::io::Error>(7)
    ///         }).await?)
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // In a `#[tokio::test]`:
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Slow).build()?);
    /// assert_eq!(runtime.call_async(service::<SlowClient>().fetch()).await?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_async<In: Encode, Out: Decode>(
        &mut self,
        request: Request<'_, In, Out>,
    ) -> Result<Out, TerminalError> {
        let parts = request.into_parts();
        let target = parts.target.to_string();
        let outcome = match self.accept(parts, Duration::ZERO, true)? {
            Accepted::Refused(failure) => Err(failure),
            Accepted::Invocation(index) => {
                let caller = self.wait_for(index);
                let came = self
                    .run_until_async(Time::Free, |runtime| runtime.driver.take_answer(caller))
                    .await;
                came.unwrap_or_else(|| self.fail_waiting(index))
            }
        };
        self.decode(outcome, &target)
    }

    /// Makes a request without waiting for its result. Nothing runs before the test waits for something:
    /// see [`run_until_idle`](Self::run_until_idle) and [`settle`](Self::settle).
    ///
    /// A request with an idempotency key that is known, or to a workflow that was run already, gives the id of
    /// the invocation that is there.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), if the request is refused.
    ///
    /// # Examples
    ///
    /// See [`workflow`](crate::testing::workflow).
    pub fn send<In: Encode, Out>(
        &mut self,
        request: Request<'_, In, Out>,
    ) -> Result<InvocationId, TerminalError> {
        self.send_after(request, Duration::ZERO)
    }

    /// Makes a request for later.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{InvocationStatus, TestRuntime, object}};
    ///
    /// struct Alarm;
    ///
    /// #[durably::object]
    /// impl Alarm {
    ///     #[handler]
    ///     async fn ring(&self, ctx: &ObjectContext) -> HandlerResult<()> {
    ///         ctx.set("rang", &true);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let hour = Duration::from_secs(3600);
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Alarm).build()?);
    /// let id = runtime.send_after(object::<AlarmClient>("a").ring(), hour)?;
    /// runtime.advance(hour / 2);
    /// assert_eq!(runtime.status(&id), InvocationStatus::Scheduled);
    /// runtime.advance(hour / 2);
    /// assert_eq!(runtime.state::<bool>("Alarm", "a", "rang"), Some(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_after<In: Encode, Out>(
        &mut self,
        request: Request<'_, In, Out>,
        delay: Duration,
    ) -> Result<InvocationId, TerminalError> {
        match self.accept(request.into_parts(), delay, false)? {
            Accepted::Invocation(index) => Ok(self.id_of(index)),
            Accepted::Refused(failure) => Err(terminal(failure)),
        }
    }

    fn accept(
        &mut self,
        parts: RequestParts,
        delay: Duration,
        is_call: bool,
    ) -> Result<Accepted, TerminalError> {
        let input = parts.input.map_err(|error| {
            TerminalError::new(format!(
                "the input of {} cannot be encoded: {error}",
                parts.target
            ))
            .with_code(400)
        })?;
        let engine = &mut self.driver.engine;
        let delay = millis(delay);
        let submission = Submission {
            service: parts.target.service_name().to_owned(),
            handler: parts.target.handler_name().to_owned(),
            key: parts.target.key().map(str::to_owned),
            input,
            headers: parts.headers,
            idempotency_key: parts.idempotency_key,
            scope: parts.scope,
            limit_key: parts.limit_key,
            invoke_time: if delay == 0 {
                0
            } else {
                engine.now().saturating_add(delay)
            },
            source: None,
        };
        let submitted = engine
            .submit(submission, Origin::Outside)
            .map_err(terminal)?;
        let runs_workflow = engine.invocations[submitted.index].info.ty == HandlerType::Workflow;
        Ok(if submitted.already && runs_workflow && is_call {
            Accepted::Refused(already_invoked())
        } else {
            Accepted::Invocation(submitted.index)
        })
    }

    /// Waits for the outcome of an invocation.
    ///
    /// # Errors
    ///
    /// Its terminal failure; 404 if there is no such invocation, or not any more.
    ///
    /// # Examples
    ///
    /// See [`workflow`](crate::testing::workflow).
    #[track_caller]
    pub fn attach<T: Decode>(&mut self, id: &InvocationId) -> Result<T, TerminalError> {
        let index = self.find(id)?;
        let outcome = self.outcome_of(index);
        self.decode(outcome, id.as_str())
    }

    /// The outcome of an invocation, `None` as long as it has none. Nothing runs meanwhile.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach).
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Raw, Target, prelude::*, testing::{TestRuntime, request}};
    /// # struct Echo;
    /// # #[durably::service]
    /// # impl Echo {
    /// #     #[handler]
    /// #     async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> { Ok(n) }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Echo).build()?);
    /// let id = runtime.send(request::<_, u64>(Target::service("Echo", "echo"), 7))?;
    /// assert_eq!(runtime.output::<u64>(&id)?, None);
    /// runtime.run_until_idle();
    /// assert_eq!(runtime.output::<u64>(&id)?, Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn output<T: Decode>(&mut self, id: &InvocationId) -> Result<Option<T>, TerminalError> {
        let index = self.driver.engine.find(id.as_str());
        // The words differ from those to who attaches.
        let unknown = || TerminalError::new("invocation not found").with_code(404);
        let index = index.ok_or_else(unknown)?;
        match &self.driver.engine.invocations[index].status {
            crate::engine::invocation::Status::Completed(outcome) => {
                let outcome = outcome.clone();
                self.decode(outcome, id.as_str()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The id of a workflow's run.
    ///
    /// # Errors
    ///
    /// 404 if it was not run, or is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{prelude::*, testing::{TestRuntime, workflow}};
    /// # struct Signup;
    /// # #[durably::workflow]
    /// # impl Signup {
    /// #     #[handler]
    /// #     async fn run(&self, _ctx: &WorkflowContext) -> HandlerResult<u64> { Ok(7) }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Signup).build()?);
    /// runtime.send(workflow::<SignupClient>("ada").run())?;
    /// let id = runtime.workflow_invocation("Signup", "ada")?;
    /// assert_eq!(runtime.attach::<u64>(&id)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn workflow_invocation(
        &mut self,
        workflow: &str,
        key: &str,
    ) -> Result<InvocationId, TerminalError> {
        self.run_of(&KeyedId::new(workflow, key, None))
    }

    fn run_of(&mut self, workflow: &KeyedId) -> Result<InvocationId, TerminalError> {
        match self.driver.engine.find_run(workflow) {
            Some(index) => Ok(self.id_of(index)),
            None => Err(terminal(not_found())),
        }
    }

    /// The id of the invocation that was requested with an idempotency key.
    ///
    /// # Errors
    ///
    /// 404 if there was none, or it is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Target, prelude::*, testing::{TestRuntime, service}};
    /// # struct Echo;
    /// # #[durably::service]
    /// # impl Echo {
    /// #     #[handler]
    /// #     async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> { Ok(n) }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Echo).build()?);
    /// runtime.send(service::<EchoClient>().echo(7).idempotency_key("click-1"))?;
    /// let id = runtime.idempotent_invocation(&Target::service("Echo", "echo"), "click-1")?;
    /// assert_eq!(runtime.attach::<u64>(&id)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idempotent_invocation(
        &mut self,
        target: &Target,
        idempotency_key: &str,
    ) -> Result<InvocationId, TerminalError> {
        self.idempotent_in(target, idempotency_key, None)
    }

    fn idempotent_in(
        &mut self,
        target: &Target,
        idempotency_key: &str,
        scope: Option<&str>,
    ) -> Result<InvocationId, TerminalError> {
        let key = (
            target.service_name().to_owned(),
            target.key().map(str::to_owned),
            target.handler_name().to_owned(),
            idempotency_key.to_owned(),
            scope.map(str::to_owned),
        );
        match self.driver.engine.find_idempotent(&key) {
            Some(index) => Ok(self.id_of(index)),
            None => Err(terminal(not_found())),
        }
    }

    // ---- exploration -------------------------------------------------------------------------

    /// From now on the course decides what happens when, and failures are left to who explores.
    pub(super) fn explore(&mut self, course: Course) {
        self.driver.explore(course);
    }

    /// The course of a run that is over.
    pub(super) fn take_course(&mut self) -> Option<Box<Course>> {
        self.driver.course.take()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.driver.engine
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn wait_for(&mut self, index: Index) -> CallerId {
        let caller = self.next_caller;
        self.next_caller += 1;
        self.driver.engine.wait_for(index, Waiter::Outside(caller));
        caller
    }

    #[track_caller]
    fn outcome_of(&mut self, index: Index) -> Outcome {
        let caller = self.wait_for(index);
        let came = self.run_until(Time::Free, |runtime| runtime.driver.take_answer(caller));
        came.unwrap_or_else(|| self.fail_waiting(index))
    }

    #[track_caller]
    fn fail_waiting(&self, index: Index) -> ! {
        let target = self.driver.engine.invocations[index].target();
        let time = if self.manual_time {
            "the time is moved by hand"
        } else {
            "no timer is left"
        };
        self.fail(&format!(
            "the answer of `{target}` cannot come: everything waits, and {time}"
        ))
    }

    #[track_caller]
    fn decode<T: Decode>(&self, outcome: Outcome, what: &str) -> Result<T, TerminalError> {
        match outcome {
            Ok(payload) => match T::decode(payload) {
                Ok(value) => Ok(value),
                Err(error) => self.fail(&format!(
                    "the output of `{what}` cannot be decoded: {error}"
                )),
            },
            Err(failure) => Err(terminal(failure)),
        }
    }

    fn find(&mut self, id: &InvocationId) -> Result<Index, TerminalError> {
        let found = self.driver.engine.find(id.as_str());
        found.ok_or_else(|| terminal(not_found()))
    }

    fn id_of(&self, index: Index) -> InvocationId {
        InvocationId::known(self.driver.engine.invocations[index].id.clone())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A value of the test's, encoded.
#[track_caller]
fn encoded<T: Encode + ?Sized>(value: &T) -> Bytes {
    match value.encode() {
        Ok(payload) => payload,
        Err(error) => panic!("the value cannot be encoded: {error}"),
    }
}

/// `Service/handler`.
fn parse_target(target: &str) -> Option<Target> {
    let (service, handler) = target.split_once('/')?;
    Some(Target::service(service.to_owned(), handler.to_owned()))
}
