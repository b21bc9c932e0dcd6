//! Requests from outside of handlers: generated clients over a context that belongs to no invocation, so
//! that what they make is data.

use std::sync::{Arc, LazyLock};

use crate::{
    Context, ObjectClient, Request, ServiceClient, Target, WorkflowClient,
    context::FromAttempt as _,
    executor::{AttemptHandle, AttemptRequest, Cell, Clock, ForeignHook},
    protocol::{ProtocolVersion, frame::Limits},
};

/// A context whose attempt is over: nothing can be recorded through it.
static DETACHED: LazyLock<Context> = LazyLock::new(|| {
    let cell = Cell::new(AttemptRequest {
        version: ProtocolVersion::MAX,
        service: "".into(),
        handler: "".into(),
        attempt_headers: http::HeaderMap::new(),
        clock: Clock::new(|| 0),
        limits: Limits::default(),
        foreign: ForeignHook::default(),
    });
    drop(cell.close());
    Context::from_attempt(AttemptHandle(Arc::new(cell)))
});

/// The generated client of a service, for requests that a test hands to
/// [`TestRuntime::call`](super::TestRuntime::call) or [`send`](super::TestRuntime::send).
///
/// Such requests are data: called, sent or awaited themselves they panic.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{TestRuntime, service}};
///
/// struct Greeter;
///
/// #[durably::service]
/// impl Greeter {
///     #[handler]
///     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
///         Ok(format!("Hello, {name}!"))
///     }
/// }
///
/// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Greeter).build()?);
/// let request = service::<GreeterClient>().greet("Ada".to_owned()).header("x-tenant", "7");
/// assert_eq!(runtime.call(request)?, "Hello, Ada!");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn service<C: ServiceClient>() -> C::With<&'static Context> {
    C::with(&*DETACHED)
}

/// The generated client of a virtual object; see [`service`].
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
/// assert_eq!(runtime.call(object::<CounterClient>("ada").add(3))?, 3);
/// assert_eq!(runtime.call(object::<CounterClient>("ada").add(4))?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn object<C: ObjectClient>(key: impl Into<String>) -> C::With<&'static Context> {
    C::with(&*DETACHED, key.into())
}

/// The generated client of a workflow; see [`service`].
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{TestRuntime, workflow}};
///
/// struct Signup;
///
/// #[durably::workflow]
/// impl Signup {
///     #[handler]
///     async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<String> {
///         Ok(ctx.promise::<String>("name").await?)
///     }
///
///     #[handler]
///     async fn name(&self, ctx: &SharedWorkflowContext, name: String) -> HandlerResult<()> {
///         Ok(ctx.promise("name").resolve(&name).await?)
///     }
/// }
///
/// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Signup).build()?);
/// let run = runtime.send(workflow::<SignupClient>("7").run())?;
/// runtime.call(workflow::<SignupClient>("7").name("Ada".to_owned()))?;
/// assert_eq!(runtime.attach::<String>(&run)?, "Ada");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn workflow<C: WorkflowClient>(key: impl Into<String>) -> C::With<&'static Context> {
    C::with(&*DETACHED, key.into())
}

/// A request without a generated client: any target, any input, any output. For bytes as they are, use
/// [`Raw`](crate::Raw).
///
/// # Examples
///
/// ```
/// use durably::{Raw, Target, prelude::*, testing::{TestRuntime, request}};
///
/// struct Greeter;
///
/// #[durably::service]
/// impl Greeter {
///     #[handler]
///     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
///         Ok(format!("Hello, {name}!"))
///     }
/// }
///
/// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Greeter).build()?);
/// let bad = request::<_, Raw>(Target::service("Greeter", "greet"), Raw("no JSON".into()));
/// assert_eq!(runtime.call(bad).unwrap_err().code(), 400);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn request<In, Out>(target: Target, input: In) -> Request<'static, In, Out> {
    Request::new(&DETACHED, target, input)
}
