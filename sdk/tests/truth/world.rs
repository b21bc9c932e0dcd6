//! What a scenario sees of a backend: requests from outside, what operators do, looks at what is there.
//!
//! In: a scenario's steps. Out: its observations, made comparable: what is unique to the run (the
//! scenario's tag, invocation ids) is replaced by names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::{Value, json};

use crate::program::{Step, Wanted, notes, tried};

/// A runtime that can play the scenarios. (A third one would be a third implementation.)
pub(crate) trait Backend {
    /// Makes a request and waits for its result.
    fn call(&self, ask: Ask) -> Soon<'_, Result<Vec<u8>, Refusal>>;
    /// Makes a request, and gives the id of its invocation.
    fn send(&self, ask: Ask, delay: Duration) -> Soon<'_, Result<String, Refusal>>;
    fn attach(&self, to: Handle) -> Soon<'_, Result<Vec<u8>, Refusal>>;
    /// The result if it is there; `None` if it is not yet.
    fn output(&self, of: Handle) -> Soon<'_, Result<Option<Vec<u8>>, Refusal>>;
    fn complete_awakeable(
        &self,
        id: String,
        result: Result<Value, String>,
    ) -> Soon<'_, Result<(), Refusal>>;
    fn operate(&self, what: Operation, id: String) -> Soon<'_, Result<(), Refusal>>;
    /// How an invocation stands, in one word of [`STATUSES`]; `None` without a trace of it.
    fn status(&self, id: String) -> Soon<'_, Option<&'static str>>;
    /// Whether it waits, and no attempt runs. That is to be waited for, and not to be observed.
    fn is_suspended(&self, id: String) -> Soon<'_, bool>;
    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>>;
    /// Replaces the state of an object.
    fn set_state(
        &self,
        service: String,
        key: String,
        state: BTreeMap<String, Value>,
    ) -> Soon<'_, ()>;
    /// Kinds and names of the commands and notifications of an invocation.
    fn journal(&self, id: String) -> Soon<'_, Vec<String>>;
    fn subscribe(&self, topic: String, handler: String) -> Soon<'_, ()>;
    fn produce(&self, topic: String, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Soon<'_, ()>;
    /// Lets everything that can happen happen, and a bit of time go by.
    fn pass(&self, time: Duration) -> Soon<'_, ()>;
}

pub(crate) type Soon<'a, T> = LocalBoxFuture<'a, T>;

/// How an invocation stands. Whether an attempt waits or is suspended is no part of the truth.
pub(crate) const STATUSES: [&str; 7] = [
    "scheduled",
    "queued",
    "going on",
    "backing off",
    "paused",
    "succeeded",
    "failed",
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Cancel,
    Kill,
    Pause,
    Resume,
    Purge,
}

/// Which invocation is meant.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    Id(String),
    /// Name and key.
    Workflow(String, String),
    /// By the request's idempotency key.
    Idempotent(Ask),
}

/// A request from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) service: String,
    pub(crate) key: Option<String>,
    pub(crate) handler: String,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) idempotency_key: Option<String>,
}

impl Ask {
    /// `Service/handler`, without an input.
    pub(crate) fn to(service: &str, handler: &str) -> Self {
        Self {
            service: service.to_owned(),
            handler: handler.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(crate) fn json(self, input: impl Serialize) -> Self {
        let body = serde_json::to_vec(&input).unwrap();
        self.raw("application/json", body)
    }

    pub(crate) fn raw(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.content_type = Some(content_type.to_owned());
        self.body(body)
    }

    /// A body that is not said to be anything.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn idempotency_key(mut self, key: &str) -> Self {
        self.idempotency_key = Some(key.to_owned());
        self
    }
}

/// A failure as the one who asked sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) metadata: Vec<(String, String)>,
}

/// A backend, and what is seen of it.
pub(crate) struct World {
    backend: Box<dyn Backend>,
    /// Stands in all keys, so that scenarios do not meet.
    tag: String,
    seen: RefCell<Seen>,
}

/// What a scenario has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) lines: Vec<String>,
    /// What was not as it should be.
    pub(crate) wrong: Vec<String>,
    ids: Vec<String>,
}

impl World {
    pub(crate) fn new(backend: Box<dyn Backend>, tag: String) -> Self {
        let seen = RefCell::default();
        Self { backend, tag, seen }
    }

    pub(crate) fn into_seen(self) -> Seen {
        self.seen.into_inner()
    }

    /// A name that belongs to this run of this scenario.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    // ---- observing ---------------------------------------------------------------------------

    /// Observes a value that must be the same on every backend.
    pub(crate) fn see(&self, what: &str, value: impl Serialize) {
        let text = serde_json::to_value(value).unwrap().to_string();
        let mut seen = self.seen.borrow_mut();
        let line = seen.normalized(&text, &self.tag);
        seen.lines.push(format!("{what}: {line}"));
    }

    /// Observes a value that must be this one on every backend.
    #[track_caller]
    pub(crate) fn is(&self, what: &str, value: impl Serialize, expected: Value) {
        let value = serde_json::to_value(value).unwrap();
        self.see(what, &value);
        let mut seen = self.seen.borrow_mut();
        let text = seen.normalized(&value.to_string(), &self.tag);
        let wanted = seen.normalized(&expected.to_string(), &self.tag);
        if text != wanted {
            let at = std::panic::Location::caller();
            let mut wrong = String::new();
            // Writing to a string cannot fail.
            let _ = write!(wrong, "{at}: {what}\n       is {text}\n  and not {wanted}");
            seen.wrong.push(wrong);
        }
    }

    // ---- requests ----------------------------------------------------------------------------

    /// Calls a handler: its output as JSON, or why there is none.
    pub(crate) async fn call(&self, ask: Ask) -> Result<Value, Refusal> {
        self.backend.call(ask).await.map(|body| decoded(&body))
    }

    /// Calls a handler, for the bytes that it gives.
    pub(crate) async fn call_raw(&self, ask: Ask) -> Result<String, Refusal> {
        let body = self.backend.call(ask).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) async fn send(&self, ask: Ask) -> Result<String, Refusal> {
        self.send_after(ask, Duration::ZERO).await
    }

    pub(crate) async fn send_after(&self, ask: Ask, delay: Duration) -> Result<String, Refusal> {
        self.backend.send(ask, delay).await
    }

    /// Starts what must be accepted.
    #[track_caller]
    pub(crate) fn start(&self, ask: Ask) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            match self.send(ask).await {
                Ok(id) => id,
                Err(refusal) => panic!("{at}: {refusal:?}"),
            }
        }
    }

    /// Runs a program in the service `Free`.
    pub(crate) fn free(&self, steps: impl Into<Vec<Step>>) -> Ask {
        Ask::to("Free", "run").json(steps.into())
    }

    /// Runs a program in an object, alone for its key.
    pub(crate) fn object(&self, key: &str, steps: impl Into<Vec<Step>>) -> Ask {
        let ask = Ask::to("Obj", "run").key(self.key(key));
        ask.json(steps.into())
    }

    /// Runs a program in a shared handler of an object.
    pub(crate) fn shared(&self, key: &str, steps: impl Into<Vec<Step>>) -> Ask {
        let ask = Ask::to("Obj", "shared").key(self.key(key));
        ask.json(steps.into())
    }

    /// Runs a program as a workflow.
    pub(crate) fn workflow(&self, key: &str, steps: impl Into<Vec<Step>>) -> Ask {
        let ask = Ask::to("Flow", "run").key(self.key(key));
        ask.json(steps.into())
    }

    /// Runs a program in another handler of a workflow.
    pub(crate) fn beside(&self, key: &str, steps: impl Into<Vec<Step>>) -> Ask {
        let ask = Ask::to("Flow", "shared").key(self.key(key));
        ask.json(steps.into())
    }

    /// What a handler of this scenario is to call.
    pub(crate) fn wanted(&self, ask: Ask) -> Wanted {
        Wanted::from(ask)
    }

    /// Runs a step that tells another invocation something. What a handler asks of others goes out in this
    /// order, so the other one has been told when the call behind it is answered.
    pub(crate) fn telling(&self, step: Step) -> Ask {
        self.free([step, self.answered()])
    }

    /// A call that is answered at once.
    fn answered(&self) -> Step {
        Step::Call(self.wanted(Ask::to("Free", "double").json(4)))
    }

    // ---- what became of it -------------------------------------------------------------------

    pub(crate) async fn attach(&self, id: &str) -> Result<Value, Refusal> {
        self.attach_to(Handle::Id(id.to_owned())).await
    }

    pub(crate) async fn attach_to(&self, to: Handle) -> Result<Value, Refusal> {
        self.backend.attach(to).await.map(|body| decoded(&body))
    }

    pub(crate) async fn output(&self, id: &str) -> Result<Option<Value>, Refusal> {
        self.output_of(Handle::Id(id.to_owned())).await
    }

    pub(crate) async fn output_of(&self, of: Handle) -> Result<Option<Value>, Refusal> {
        let output = self.backend.output(of).await?;
        Ok(output.map(|body| decoded(&body)))
    }

    pub(crate) async fn status(&self, id: &str) -> Option<&'static str> {
        self.backend.status(id.to_owned()).await
    }

    /// The state of an object of this scenario.
    pub(crate) async fn state(&self, service: &str, key: &str) -> BTreeMap<String, Value> {
        self.backend.state(service.to_owned(), self.key(key)).await
    }

    pub(crate) async fn set_state<const N: usize>(
        &self,
        service: &str,
        key: &str,
        state: [(&str, Value); N],
    ) {
        let state = state.map(|(name, value)| (name.to_owned(), value));
        let key = self.key(key);
        self.backend
            .set_state(service.to_owned(), key, state.into())
            .await;
    }

    pub(crate) async fn journal(&self, id: &str) -> Vec<String> {
        self.backend.journal(id.to_owned()).await
    }

    /// What a handler has noted under a name.
    pub(crate) fn notes(&self, name: &str) -> Vec<String> {
        notes(&self.key(name))
    }

    // ---- from outside ------------------------------------------------------------------------

    pub(crate) async fn resolve(&self, awakeable: &str, value: Value) -> Result<(), Refusal> {
        self.backend
            .complete_awakeable(awakeable.to_owned(), Ok(value))
            .await
    }

    pub(crate) async fn reject(&self, awakeable: &str, reason: &str) -> Result<(), Refusal> {
        self.backend
            .complete_awakeable(awakeable.to_owned(), Err(reason.to_owned()))
            .await
    }

    pub(crate) async fn operate(&self, what: Operation, id: &str) -> Result<(), Refusal> {
        self.backend.operate(what, id.to_owned()).await
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<(), Refusal> {
        self.operate(Operation::Cancel, id).await
    }

    pub(crate) async fn kill(&self, id: &str) -> Result<(), Refusal> {
        self.operate(Operation::Kill, id).await
    }

    pub(crate) async fn pause(&self, id: &str) -> Result<(), Refusal> {
        self.operate(Operation::Pause, id).await
    }

    pub(crate) async fn resume(&self, id: &str) -> Result<(), Refusal> {
        self.operate(Operation::Resume, id).await
    }

    pub(crate) async fn subscribe(&self, topic: &str, handler: &str) {
        self.backend
            .subscribe(self.key(topic), handler.to_owned())
            .await;
    }

    pub(crate) async fn produce(&self, topic: &str, key: Option<&str>, value: Option<&str>) {
        let bytes = |text: &str| text.as_bytes().to_vec();
        self.backend
            .produce(self.key(topic), key.map(bytes), value.map(bytes))
            .await;
    }

    // ---- waiting -----------------------------------------------------------------------------

    /// An invocation that waits, and has noted so; a failure of what it waits for is its result.
    pub(crate) async fn waiting(&self, name: &str, step: Step) -> String {
        let command = match &step {
            Step::Sleep(_) => Some("Sleep"),
            Step::Call(_) => Some("Call"),
            Step::Attach(_) => Some("AttachInvocation"),
            _ => None,
        };
        let id = self
            .start(self.free([Step::Note(self.key(name)), tried(step)]))
            .await;
        self.noted(name).await;
        // What needs no command is waited for as soon as the note is there.
        if let Some(command) = command {
            self.until_journal(&id, command).await;
        }
        self.rest().await;
        id
    }

    /// An invocation that is attached to another one, as that one knows; a failure of it is its result.
    pub(crate) async fn attached(&self, to: &str) -> String {
        // As for `telling`: when the call is answered, the other one has been reached.
        let attach = tried(Step::Attach(to.to_owned()));
        let steps = [Step::Join(vec![attach, self.answered()])];
        let id = self.start(self.free(steps)).await;
        self.until_journal(&id, "← Call").await;
        id
    }

    /// Lets some time go by: whatever does not take long has happened then, unless the machine is busy. So
    /// this is for what must not happen; what must is waited for.
    pub(crate) async fn rest(&self) {
        self.backend.pass(Duration::from_millis(300)).await;
    }

    /// Lets so many milliseconds go by.
    pub(crate) async fn pass(&self, millis: u64) {
        self.backend.pass(Duration::from_millis(millis)).await;
    }

    /// Waits until a handler has noted something, and gives it.
    pub(crate) async fn noted(&self, name: &str) -> String {
        self.until(&format!("`{name}` is noted"), async || {
            self.notes(name).first().cloned()
        })
        .await
    }

    /// Waits until an invocation stands so.
    pub(crate) async fn until_status(&self, id: &str, status: &str) {
        assert!(STATUSES.contains(&status), "there is no status `{status}`");
        let mut last = None;
        self.until(&format!("{id} is {status}"), async || {
            last = self.status(id).await;
            (last == Some(status)).then_some(())
        })
        .await;
    }

    /// Waits until an invocation waits and no attempt runs.
    pub(crate) async fn until_suspended(&self, id: &str) {
        self.until(&format!("{id} is suspended"), async || {
            let suspended = self.backend.is_suspended(id.to_owned()).await;
            suspended.then_some(())
        })
        .await;
    }

    /// Waits until an invocation's journal has an entry of this kind. A handler's notes are there before its
    /// commands are stored.
    pub(crate) async fn until_journal(&self, id: &str, kind: &str) {
        self.until(&format!("`{kind}` is in the journal of {id}"), async || {
            let journal = self.journal(id).await;
            journal.iter().any(|entry| entry == kind).then_some(())
        })
        .await;
    }

    /// Waits until there is an answer. Virtual time moves on in small steps meanwhile.
    pub(crate) async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        self.backend.pass(Duration::ZERO).await;
        let mut steps = 0;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            steps += 1;
            assert!(
                begun.elapsed() < Duration::from_secs(60) && steps < 3000,
                "{what}: that does not come true"
            );
            self.backend.pass(Duration::from_millis(20)).await;
        }
    }
}

impl Seen {
    /// Without what is unique to this run.
    fn normalized(&mut self, text: &str, tag: &str) -> String {
        let mut text = text.replace(tag, "@");
        // 33 digits behind the prefix.
        while let Some(at) = text.find("inv_1") {
            let end = text[at..]
                .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                .map_or(text.len(), |length| at + length);
            let id = text[at..end].to_owned();
            let known = self.ids.iter().position(|known| *known == id);
            let number = known.unwrap_or_else(|| {
                self.ids.push(id);
                self.ids.len() - 1
            });
            text.replace_range(at..end, &format!("invocation {}", number + 1));
        }
        text
    }
}

/// What an output says. What is no JSON is shown as text.
fn decoded(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| json!(format!("not JSON: {}", String::from_utf8_lossy(body))))
}
