//! The scenarios' backend in memory: the test kit's `TestRuntime`, one for each scenario.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use durably::testing::{InvocationStatus, JournalEventKind, TestRuntime, request};
use durably::{InvocationId, Raw, Request, Target, TerminalError};
use serde_json::Value;

use crate::services::services;
use crate::world::{Ask, Backend, Handle, Operation, Refusal, Soon};

pub(crate) struct Memory(RefCell<TestRuntime>);

impl Memory {
    /// In the protocol's version 6, which a server speaks out of the box, or in the one after it, and so
    /// that each wait suspends. The tag makes the ids of each scenario its own.
    pub(crate) fn new(tag: &str, otherwise: bool) -> Self {
        let seed = tag.bytes().fold(1, |seed: u64, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let builder = TestRuntime::builder(services()).seed(seed);
        let builder = if otherwise {
            builder.protocol(7).always_suspend()
        } else {
            builder.protocol(6)
        };
        Self(RefCell::new(builder.build()))
    }

    fn runtime(&self) -> RefMut<'_, TestRuntime> {
        self.0.borrow_mut()
    }

    fn id_of(&self, handle: Handle) -> Result<InvocationId, TerminalError> {
        match handle {
            Handle::Id(id) => id.parse(),
            Handle::Workflow(name, key) => self.runtime().workflow_invocation(&name, &key),
            Handle::Idempotent(ask) => {
                let key = ask.idempotency_key.clone().unwrap_or_default();
                self.runtime().idempotent_invocation(&target(&ask), &key)
            }
        }
    }

    /// Waits for a result, while the time goes by in small steps: what happens meanwhile is what would
    /// happen on a server.
    fn result_of(&self, id: &InvocationId) -> Result<Vec<u8>, TerminalError> {
        for _ in 0..3000 {
            let mut runtime = self.runtime();
            runtime.settle();
            // What has not ended has an output: none yet.
            if !matches!(runtime.output::<Raw>(id), Ok(None)) {
                return runtime.attach::<Raw>(id).map(|Raw(output)| output.to_vec());
            }
            runtime.advance(Duration::from_millis(20));
        }
        panic!("it has not ended:\n{}", self.runtime().journal(id));
    }
}

fn target(ask: &Ask) -> Target {
    match &ask.key {
        Some(key) => Target::object(ask.service.clone(), key.clone(), ask.handler.clone()),
        None => Target::service(ask.service.clone(), ask.handler.clone()),
    }
}

fn requested(ask: Ask) -> Request<'static, Raw, Raw> {
    let mut request = request(target(&ask), Raw(ask.body.into()));
    if let Some(content_type) = ask.content_type {
        request = request.header("content-type", content_type);
    }
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    match ask.idempotency_key {
        Some(key) => request.idempotency_key(key),
        None => request,
    }
}

fn refusal(error: TerminalError) -> Refusal {
    Refusal {
        code: error.code(),
        message: error.message().to_owned(),
        metadata: error.metadata().to_vec(),
    }
}

fn soon<'a, T: 'a>(result: Result<T, TerminalError>) -> Soon<'a, Result<T, Refusal>> {
    Box::pin(ready(result.map_err(refusal)))
}

impl Backend for Memory {
    fn call(&self, ask: Ask) -> Soon<'_, Result<Vec<u8>, Refusal>> {
        soon(
            self.runtime()
                .call(requested(ask))
                .map(|Raw(output)| output.to_vec()),
        )
    }

    fn send(&self, ask: Ask, delay: Duration) -> Soon<'_, Result<String, Refusal>> {
        let sent = self.runtime().send_after(requested(ask), delay);
        soon(sent.map(|id| id.to_string()))
    }

    fn attach(&self, to: Handle) -> Soon<'_, Result<Vec<u8>, Refusal>> {
        soon(self.id_of(to).and_then(|id| self.result_of(&id)))
    }

    fn output(&self, of: Handle) -> Soon<'_, Result<Option<Vec<u8>>, Refusal>> {
        let output = self
            .id_of(of)
            .and_then(|id| self.runtime().output::<Raw>(&id));
        soon(output.map(|output| output.map(|Raw(bytes)| bytes.to_vec())))
    }

    fn complete_awakeable(
        &self,
        id: String,
        result: Result<Value, String>,
    ) -> Soon<'_, Result<(), Refusal>> {
        let mut runtime = self.runtime();
        soon(match result {
            Ok(value) => runtime.resolve_awakeable(&id, &value),
            Err(reason) => runtime.reject_awakeable(&id, &TerminalError::new(reason)),
        })
    }

    fn operate(&self, what: Operation, id: String) -> Soon<'_, Result<(), Refusal>> {
        soon(id.parse().and_then(|id: InvocationId| {
            let mut runtime = self.runtime();
            match what {
                Operation::Cancel => runtime.cancel(&id),
                Operation::Kill => runtime.kill(&id),
                Operation::Pause => runtime.pause(&id),
                Operation::Resume => runtime.resume(&id),
                Operation::Purge => runtime.purge(&id),
            }
        }))
    }

    fn status(&self, id: String) -> Soon<'_, Option<&'static str>> {
        let id = id.parse().unwrap();
        let mut runtime = self.runtime();
        let unknown = matches!(runtime.output::<Raw>(&id), Err(error) if error.message() == "invocation not found");
        Box::pin(ready((!unknown).then(|| match runtime.status(&id) {
            InvocationStatus::Scheduled => "scheduled",
            InvocationStatus::Queued => "queued",
            InvocationStatus::Running | InvocationStatus::Suspended => "going on",
            InvocationStatus::BackingOff => "backing off",
            InvocationStatus::Paused => "paused",
            InvocationStatus::Succeeded => "succeeded",
            InvocationStatus::Failed => "failed",
            other => panic!("there is no word for {other:?}"),
        })))
    }

    fn is_suspended(&self, id: String) -> Soon<'_, bool> {
        let status = self.runtime().status(&id.parse().unwrap());
        Box::pin(ready(status == InvocationStatus::Suspended))
    }

    fn state(&self, service: String, key: String) -> Soon<'_, BTreeMap<String, Value>> {
        let mut runtime = self.runtime();
        let names = runtime.state_keys(&service, &key);
        let state = names.into_iter().map(|name| {
            let value = runtime.state::<Value>(&service, &key, &name);
            (name, value.unwrap_or_default())
        });
        Box::pin(ready(state.collect()))
    }

    fn set_state(
        &self,
        service: String,
        key: String,
        state: BTreeMap<String, Value>,
    ) -> Soon<'_, ()> {
        let mut runtime = self.runtime();
        runtime.clear_state(&service, &key);
        for (name, value) in state {
            runtime.set_state(&service, &key, &name, &value);
        }
        Box::pin(ready(()))
    }

    fn journal(&self, id: String) -> Soon<'_, Vec<String>> {
        let journal = self.runtime().journal(&id.parse().unwrap());
        let entries = journal.events().iter().filter_map(|event| {
            Some(match event.kind {
                JournalEventKind::Issued => issued(&event.text),
                JournalEventKind::Came => came(&event.text),
                _ => return None,
            })
        });
        Box::pin(ready(entries.collect()))
    }

    fn subscribe(&self, topic: String, handler: String) -> Soon<'_, ()> {
        self.runtime().subscribe(&topic, &handler);
        Box::pin(ready(()))
    }

    fn produce(&self, topic: String, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> Soon<'_, ()> {
        let value = value.unwrap_or_default();
        self.runtime().produce_raw(&topic, key.as_deref(), value);
        Box::pin(ready(()))
    }

    fn pass(&self, time: Duration) -> Soon<'_, ()> {
        self.runtime().advance(time);
        Box::pin(ready(()))
    }
}

/// The first words of an entry's text, and the kind that the server has for it.
const KINDS: &[(&str, &str)] = &[
    ("output", "Output"),
    ("get state keys", "GetLazyStateKeys"),
    ("get state", "GetLazyState"),
    ("set state", "SetState"),
    ("clear state", "ClearState"),
    ("clear all state", "ClearAllState"),
    ("get promise", "GetPromise"),
    ("peek promise", "PeekPromise"),
    ("complete promise", "CompletePromise"),
    ("sleep", "Sleep"),
    ("call", "Call"),
    ("send", "OneWayCall"),
    ("cancel ", "SendSignal"),
    ("signal `", "SendSignal"),
    ("run", "Run"),
    ("attach to", "AttachInvocation"),
    ("get the output", "GetInvocationOutput"),
    ("complete awakeable", "CompleteAwakeable"),
];

fn kind(text: &str) -> &'static str {
    let known = KINDS.iter().find(|(words, _)| text.starts_with(words));
    known.unwrap_or_else(|| panic!("what is `{text}`?")).1
}

/// The kind of a command that is told in words, and a run's name.
fn issued(text: &str) -> String {
    match kind(text) {
        "Run" => format!("Run {}", text.trim_start_matches("run ").trim_matches('`')),
        // What is known at once is told at once.
        "GetLazyState" if text.contains("`:") => "GetEagerState".to_owned(),
        "GetLazyStateKeys" if text.contains(':') => "GetEagerStateKeys".to_owned(),
        kind => kind.to_owned(),
    }
}

/// The kind of a notification.
fn came(text: &str) -> String {
    let signals = ["cancellation", "awakeable", "signal"];
    let kind = if text.starts_with("the invocation id of") {
        "CallInvocationId"
    } else if signals.iter().any(|words| text.starts_with(words)) {
        "Signal"
    } else {
        kind(text)
    };
    format!("← {kind}")
}
