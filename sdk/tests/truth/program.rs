//! The services of the scenarios: their handlers run little programs that come as their input, and
//! give what each step came to.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durably::{Raw, Request, Target, prelude::*};
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::world::Ask;

/// One step of a program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Get(String),
    Set(String, Value),
    Clear(String),
    ClearAll,
    Keys,
    Sleep(u64),
    /// Waits for an awakeable, whose id it notes.
    Awakeable(String),
    /// The same, for so many milliseconds.
    AwakeableWithin(String, u64),
    Resolve(String, Value),
    Reject(String, u16, String),
    /// Waits for a named signal.
    Signal(String),
    SendSignal(String, String, Value),
    RejectSignal(String, String, u16, String),
    Call(Wanted),
    /// Calls without waiting for it.
    CallOnly(Wanted),
    Send(Wanted, u64),
    Attach(String),
    Output(String),
    AttachWorkflow(String, String),
    OutputWorkflow(String, String),
    AttachIdempotent(Wanted),
    Cancel(String),
    Promise(String),
    Peek(String),
    ResolvePromise(String, Value),
    RejectPromise(String, u16, String),
    /// A run that fails so often, of a policy with so many attempts.
    Run {
        name: String,
        failures: usize,
        attempts: Option<u32>,
    },
    /// A run that fails terminally.
    RunTerminal(String, u16, String),
    /// Notes the invocation's id under a name.
    Note(String),
    /// A terminal error.
    Fail(u16, String, Vec<(String, String)>),
    /// Fails the attempt, so often; notes each time under the name.
    Stumble(String, usize),
    /// An error that asks for something, once: `pause`, `fail`, or a delay in milliseconds.
    Ask(String, String),
    /// Panics, so often.
    Panic(String, usize),
    /// Another command than the first time.
    Flip(String),
    /// Gives the failure of a step as a value.
    Try(Box<Step>),
    /// All at once.
    Join(Vec<Step>),
    Key,
    Header(String),
    RetryCount,
}

/// A request that a handler makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    service: String,
    key: Option<String>,
    handler: String,
    body: String,
    headers: Vec<(String, String)>,
    idempotency_key: Option<String>,
}

impl From<Ask> for Wanted {
    fn from(ask: Ask) -> Self {
        Self {
            service: ask.service,
            key: ask.key,
            handler: ask.handler,
            body: String::from_utf8(ask.body).unwrap(),
            headers: ask.headers,
            idempotency_key: ask.idempotency_key,
        }
    }
}

impl Wanted {
    fn target(&self) -> Target {
        match &self.key {
            Some(key) => Target::object(self.service.clone(), key.clone(), self.handler.clone()),
            None => Target::service(self.service.clone(), self.handler.clone()),
        }
    }

    fn request(self, ctx: &Context) -> Request<'_, Raw, Raw> {
        let mut request = ctx.request(self.target(), Raw(self.body.into()));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        match self.idempotency_key {
            Some(key) => request.idempotency_key(key),
            None => request,
        }
    }
}

// ---- notes -----------------------------------------------------------------------------------

type Notes = HashMap<String, Vec<String>>;

fn all_notes() -> MutexGuard<'static, Notes> {
    static NOTES: LazyLock<Mutex<Notes>> = LazyLock::new(Mutex::default);
    NOTES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes something past the journal; says how often that was done under this name.
pub(crate) fn note(name: &str, what: impl Into<String>) -> usize {
    let mut notes = all_notes();
    let list = notes.entry(name.to_owned()).or_default();
    list.push(what.into());
    list.len()
}

pub(crate) fn notes(name: &str) -> Vec<String> {
    all_notes().get(name).cloned().unwrap_or_default()
}

// ---- running a program -----------------------------------------------------------------------

/// What the kind of handler allows.
#[derive(Clone, Copy)]
enum Place<'a> {
    Free,
    Object(&'a ObjectContext),
    SharedObject(&'a SharedObjectContext),
    Workflow(&'a WorkflowContext),
    SharedWorkflow(&'a SharedWorkflowContext),
}

impl<'a> Place<'a> {
    fn promises(self) -> &'a SharedWorkflowContext {
        match self {
            Self::Workflow(ctx) => ctx,
            Self::SharedWorkflow(ctx) => ctx,
            _ => unreachable!("no promises here"),
        }
    }
}

/// How a step fails.
enum Failed {
    Terminal(TerminalError),
    Attempt(HandlerError),
}

impl From<TerminalError> for Failed {
    fn from(error: TerminalError) -> Self {
        Self::Terminal(error)
    }
}

async fn run(ctx: &Context, place: Place<'_>, steps: Vec<Step>) -> HandlerResult<Value> {
    let mut results = Vec::new();
    for one in steps {
        match step(ctx, place, one).await {
            Ok(result) => results.push(result),
            Err(Failed::Terminal(error)) => return Err(error.into()),
            Err(Failed::Attempt(error)) => return Err(error),
        }
    }
    Ok(Value::Array(results))
}

macro_rules! in_state {
    ($place:expr, $ctx:ident => $read:expr) => {
        match $place {
            Place::Object($ctx) => $read,
            Place::SharedObject($ctx) => $read,
            Place::Workflow($ctx) => $read,
            Place::SharedWorkflow($ctx) => $read,
            Place::Free => unreachable!("no state here"),
        }
    };
}

macro_rules! in_writable {
    ($place:expr, $ctx:ident => $write:expr) => {
        match $place {
            Place::Object($ctx) => $write,
            Place::Workflow($ctx) => $write,
            _ => unreachable!("no state to write here"),
        }
    };
}

fn step<'a>(
    ctx: &'a Context,
    place: Place<'a>,
    step: Step,
) -> BoxFuture<'a, Result<Value, Failed>> {
    Box::pin(async move {
        Ok(match step {
            Step::Get(name) => json!(in_state!(place, ctx => ctx.get::<Value>(name).await?)),
            Step::Keys => json!(in_state!(place, ctx => ctx.get_keys().await?)),
            Step::Set(name, value) => in_writable!(place, ctx => {
                ctx.set(name, &value);
                Value::Null
            }),
            Step::Clear(name) => in_writable!(place, ctx => {
                ctx.clear(name);
                Value::Null
            }),
            Step::ClearAll => in_writable!(place, ctx => {
                ctx.clear_all();
                Value::Null
            }),
            Step::Key => match place {
                Place::Free => Value::Null,
                Place::Object(ctx) => json!(ctx.key()),
                Place::SharedObject(ctx) => json!(ctx.key()),
                Place::Workflow(_) | Place::SharedWorkflow(_) => json!(place.promises().key()),
            },
            Step::Promise(name) => place.promises().promise::<Value>(name).get().await?,
            Step::Peek(name) => json!(place.promises().promise::<Value>(name).peek().await?),
            Step::ResolvePromise(name, value) => {
                place.promises().promise(name).resolve(&value).await?;
                Value::Null
            }
            Step::RejectPromise(name, code, text) => {
                let error = TerminalError::new(text).with_code(code);
                let promise = place.promises().promise::<Value>(name);
                promise.reject(error).await?;
                Value::Null
            }
            Step::Try(tried) => match self::step(ctx, place, *tried).await {
                Ok(value) => json!({ "ok": value }),
                Err(Failed::Terminal(error)) => {
                    json!({ "err": [error.code(), error.message(), error.metadata()] })
                }
                Err(failed) => return Err(failed),
            },
            Step::Join(steps) => {
                let steps = steps.into_iter().map(|one| self::step(ctx, place, one));
                let results: Result<Vec<_>, _> = join_all(steps).await.into_iter().collect();
                json!(results?)
            }
            other => return anywhere(ctx, other).await,
        })
    })
}

/// What every handler can do.
async fn anywhere(ctx: &Context, step: Step) -> Result<Value, Failed> {
    match step {
        Step::Sleep(millis) => ctx.sleep(Duration::from_millis(millis)).await?,
        Step::Awakeable(name) => {
            let awakeable = ctx.awakeable::<Value>();
            note(&name, awakeable.id());
            return Ok(awakeable.await?);
        }
        Step::AwakeableWithin(name, millis) => {
            let awakeable = ctx.awakeable::<Value>();
            note(&name, awakeable.id());
            return Ok(awakeable.or_timeout(Duration::from_millis(millis)).await?);
        }
        Step::Resolve(id, value) => ctx.resolve_awakeable(&id, &value)?,
        Step::Reject(id, code, text) => {
            ctx.reject_awakeable(&id, TerminalError::new(text).with_code(code))?;
        }
        Step::Signal(name) => return Ok(ctx.signal::<Value>(&name).await?),
        Step::SendSignal(id, name, value) => ctx.invocation(id)?.resolve_signal(&name, &value),
        Step::RejectSignal(id, name, code, text) => {
            let error = TerminalError::new(text).with_code(code);
            ctx.invocation(id)?.reject_signal(&name, error);
        }
        Step::Call(wanted) => return Ok(decoded(&wanted.request(ctx).await?)),
        Step::CallOnly(wanted) => drop(wanted.request(ctx).call()),
        Step::Send(wanted, delay) => {
            let sent = wanted.request(ctx).send_after(Duration::from_millis(delay));
            return Ok(json!(sent.invocation_id().await?.as_str()));
        }
        Step::Attach(id) => return Ok(ctx.invocation(id)?.attach::<Value>().await?),
        Step::Output(id) => return Ok(json!(ctx.invocation(id)?.output::<Value>().await?)),
        Step::AttachWorkflow(name, key) => {
            return Ok(ctx.workflow_invocation(name, key).attach::<Value>().await?);
        }
        Step::OutputWorkflow(name, key) => {
            let output = ctx.workflow_invocation(name, key).output::<Value>();
            return Ok(json!(output.await?));
        }
        Step::AttachIdempotent(wanted) => {
            let key = wanted.idempotency_key.clone().unwrap_or_default();
            let handle = ctx.idempotent_invocation(wanted.target(), key);
            return Ok(handle.attach::<Value>().await?);
        }
        Step::Cancel(id) => ctx.invocation(id)?.cancel(),
        Step::Run {
            name,
            failures,
            attempts,
        } => {
            let of_run = format!("{} {name}", ctx.invocation_id());
            let run = ctx.run(name, async move || {
                let executions = note(&of_run, "");
                if executions <= failures {
                    return Err(format!("execution {executions} fails on purpose"));
                }
                Ok(executions)
            });
            let mut policy = RetryPolicy::fixed(Duration::from_millis(10));
            if let Some(attempts) = attempts {
                policy = policy.max_attempts(attempts);
            }
            return Ok(json!(run.retry(policy).await?));
        }
        Step::RunTerminal(name, code, text) => {
            let error = TerminalError::new(text).with_code(code);
            ctx.run::<_, _, (), _>(name, async || Err::<(), _>(error))
                .await?;
        }
        Step::Note(name) => {
            note(&name, ctx.invocation_id());
        }
        Step::Fail(code, text, metadata) => {
            let error = TerminalError::new(text).with_code(code);
            let error = metadata
                .into_iter()
                .fold(error, |error, (key, value)| error.with_metadata(key, value));
            return Err(error.into());
        }
        Step::Stumble(name, times) => {
            let time = note(&name, ctx.invocation_id());
            if time <= times {
                let text = format!("attempt {time} fails on purpose");
                return Err(Failed::Attempt(text.into()));
            }
        }
        Step::Ask(name, how) => {
            if note(&name, ctx.invocation_id()) == 1 {
                let error = RetryableError::new(format!("{how}, on purpose"));
                let error = match how.as_str() {
                    "pause" => error.pause(),
                    "fail" => error.fail(),
                    millis => error.after(Duration::from_millis(millis.parse().unwrap())),
                };
                return Err(Failed::Attempt(error.into()));
            }
        }
        Step::Panic(name, times) => {
            if note(&name, ctx.invocation_id()) <= times {
                panic!("this panics on purpose");
            }
        }
        Step::Flip(name) => {
            if note(&name, ctx.invocation_id()) == 1 {
                ctx.sleep(Duration::from_millis(1)).await?;
            } else {
                ctx.run("another", async || Ok::<_, TerminalError>(()))
                    .await?;
            }
        }
        Step::Header(name) => return Ok(json!(ctx.headers().get(&name))),
        Step::RetryCount => return Ok(json!(ctx.retry_count())),
        other => unreachable!("{other:?} is done elsewhere"),
    }
    Ok(Value::Null)
}

fn decoded(body: &Raw) -> Value {
    if body.0.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(&body.0).unwrap_or_else(|_| json!("not JSON"))
}

// ---- services --------------------------------------------------------------------------------

/// All of them.
pub(crate) fn services() -> Endpoint {
    let builder = Endpoint::builder().bind(Free).bind(Obj).bind(Flow);
    let builder = builder.bind(Events).bind(EventFlow).bind(Listener);
    let builder = builder.bind(Hidden).bind(Brief);
    builder.build().unwrap()
}

pub(crate) struct Free;

#[durably::service]
impl Free {
    #[handler]
    async fn run(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler]
    async fn double(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n * 2)
    }

    #[handler]
    async fn nothing(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    /// The bytes as they came.
    #[handler]
    async fn bytes(&self, _ctx: &Context, bytes: Raw) -> HandlerResult<Raw> {
        Ok(bytes)
    }

    #[handler]
    async fn maybe(&self, _ctx: &Context, n: Option<u64>) -> HandlerResult<Option<u64>> {
        Ok(n)
    }

    #[handler(ingress_private)]
    async fn private(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }

    #[handler(retry(initial_interval = "20ms", max_attempts = 3, on_max_attempts = "pause"))]
    async fn pausing(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(retry(initial_interval = "20ms", max_attempts = 3, on_max_attempts = "kill"))]
    async fn killed(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// The same, and suspends when it has waited for a moment.
    #[handler(
        inactivity_timeout = "100ms",
        retry(initial_interval = "20ms", max_attempts = 3, on_max_attempts = "kill")
    )]
    async fn killed_soon(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(idempotency_retention = "1s")]
    async fn brief(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(journal_retention = "1s")]
    async fn brief_journal(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(journal_retention = "0s")]
    async fn no_journal(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// A long back-off.
    #[handler(retry(initial_interval = "1h"))]
    async fn patient(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// Suspends whenever it waits.
    #[handler(inactivity_timeout = "0s")]
    async fn suspending(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// Suspends when it has waited for a moment.
    #[handler(inactivity_timeout = "100ms")]
    async fn soon(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }
}

/// Reachable only for handlers.
pub(crate) struct Hidden;

#[durably::service(ingress_private)]
impl Hidden {
    #[handler]
    async fn double(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n * 2)
    }
}

pub(crate) struct Obj;

#[durably::object]
impl Obj {
    #[handler]
    async fn run(&self, ctx: &ObjectContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Object(ctx), steps).await
    }

    #[handler(lazy_state)]
    async fn lazily(&self, ctx: &ObjectContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Object(ctx), steps).await
    }

    #[handler]
    async fn shared(&self, ctx: &SharedObjectContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::SharedObject(ctx), steps).await
    }

    #[handler]
    async fn double(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        Ok(n * 2)
    }
}

pub(crate) struct Flow;

#[durably::workflow]
impl Flow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Workflow(ctx), steps).await
    }

    #[handler]
    async fn shared(&self, ctx: &SharedWorkflowContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::SharedWorkflow(ctx), steps).await
    }
}

/// Keeps what comes, by key.
pub(crate) struct Events;

#[durably::object]
impl Events {
    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<Value>) -> HandlerResult<()> {
        let mut seen = ctx.get::<Vec<Value>>("seen").await?.unwrap_or_default();
        seen.push(json!({
            "value": event.value(),
            "tombstone": event.is_tombstone(),
            "key": event.key_str(),
            "topic": event.topic(),
            "partition": event.partition(),
            "offset": event.offset(),
            "timestamp": event.timestamp().is_some(),
            "subscription": event.subscription_id().map(|id| id.starts_with("sub_1")),
        }));
        ctx.set("seen", &seen);
        Ok(())
    }

    #[handler]
    async fn seen(&self, ctx: &SharedObjectContext) -> HandlerResult<Value> {
        Ok(json!(ctx.get::<Value>("seen").await?))
    }

    /// Fails once for each record.
    #[handler(retry(initial_interval = "20ms"))]
    async fn stumbling(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        if note(ctx.invocation_id(), "") == 1 {
            return Err("this fails on purpose".into());
        }
        let mut values = ctx.get::<Vec<u64>>("values").await?.unwrap_or_default();
        values.extend(event.value());
        ctx.set("values", &values);
        Ok(())
    }

    /// The names of the headers that come with a record, in order.
    #[handler]
    async fn headers(&self, ctx: &ObjectContext, _event: KafkaEvent<Value>) -> HandlerResult<()> {
        let names: Vec<_> = ctx.headers().iter().map(|(name, _)| name).collect();
        ctx.set("names", &names);
        Ok(())
    }
}

/// Is run by records.
pub(crate) struct EventFlow;

#[durably::workflow]
impl EventFlow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, event: KafkaEvent<Value>) -> HandlerResult<()> {
        ctx.set("value", &event.value());
        Ok(())
    }
}

/// Notes what comes, under the topic.
pub(crate) struct Listener;

#[durably::service]
impl Listener {
    #[handler]
    async fn on_event(&self, _ctx: &Context, event: KafkaEvent<Value>) -> HandlerResult<()> {
        let line = format!("{:?} {:?}", event.key_str(), event.value());
        note(event.topic().unwrap_or_default(), line);
        Ok(())
    }

    #[handler(ingress_private)]
    async fn unseen(&self, _ctx: &Context, event: KafkaEvent<Value>) -> HandlerResult<()> {
        let line = format!("unseen {:?}", event.value());
        note(event.topic().unwrap_or_default(), line);
        Ok(())
    }

    /// Takes no record as such.
    #[handler]
    async fn number(&self, ctx: &Context, n: u64) -> HandlerResult<()> {
        let topic = ctx.headers().get("kafka.topic").unwrap_or_default();
        note(topic, format!("number {n}"));
        Ok(())
    }
}

/// Is forgotten soon.
pub(crate) struct Brief;

#[durably::workflow]
impl Brief {
    #[handler(workflow_retention = "1s")]
    async fn run(&self, _ctx: &WorkflowContext, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }
}
