//! Little programs that handlers run: what each step came to is their output. And notes, which handlers
//! take past the journal.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durably::{Raw, Request, Target, prelude::*};
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::world::Ask;

/// Longer than any scenario takes, in milliseconds.
pub(crate) const HOUR: u64 = 3_600_000;

/// A step whose failure is a result.
pub(crate) fn tried(step: Step) -> Step {
    Step::Try(Box::new(step))
}

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
pub(crate) enum Place<'a> {
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

pub(crate) async fn run(ctx: &Context, place: Place<'_>, steps: Vec<Step>) -> HandlerResult<Value> {
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
