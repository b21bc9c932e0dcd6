//! What the mock makes of each message of the attempt: it is recorded, told, and answered.

use std::time::Duration;

use bytes::Bytes;

use super::{
    drive::Drive,
    failure::{FailureKind, MockFailure, call_line, request_line, shown},
    record::{Recorded, RecordedRun},
    say::{SignalId, own_awakeable, recorded, shown_outcome},
    script::Subject,
};
use crate::{
    Headers, Raw, Target, TerminalError,
    protocol::{
        MessageType,
        message::{EphemeralState, Header, NotificationResult, StateKeys, Value, Void},
    },
    wire::{
        Attach, Call, CommandMessage, CompletePromise, Error, Ids, KeyedRead, Msg, OneWayCall,
        Outgoing, SendSignal,
    },
};

const VOID: NotificationResult = NotificationResult::Void(Void {});

fn target(service: String, key: String, handler: String) -> Target {
    if key.is_empty() {
        Target::service(service, handler)
    } else {
        Target::object(service, key, handler)
    }
}

fn headers(headers: Vec<Header>) -> Headers {
    let pair = |header: Header| (header.key, header.value);
    headers.into_iter().map(pair).collect()
}

impl Drive<'_> {
    pub(super) fn handle(&mut self, message: Outgoing) -> Result<(), MockFailure> {
        match message {
            Outgoing::Command(ty, _, command) => {
                self.commands += 1;
                let limit = self.world.setup.max_commands;
                self.command(ty, command)?;
                if self.commands > limit {
                    let what = format!(
                        "the handler does not end: it has issued more than {limit} commands (see \
                         `max_commands`)"
                    );
                    return Err(self.failure(FailureKind::Endless, what));
                }
                Ok(())
            }
            Outgoing::Proposal(id, result) => {
                self.run_ended(id, result);
                Ok(())
            }
            Outgoing::EphemeralRead(read) => {
                let value = self.world.record.borrow().state.get(&read.key).cloned();
                let answer = EphemeralState {
                    id: read.id,
                    void: value.is_none().then_some(Void {}),
                    value: value.map(|content| Value { content }),
                };
                self.send(Msg::new(MessageType::STATE_EPHEMERAL, &answer));
                Ok(())
            }
            Outgoing::Error(error) => Err(self.attempt_failed(error)),
            // A suspension cannot be: the input stays open.
            Outgoing::AwaitingOn(_) | Outgoing::Suspension(_) | Outgoing::End => Ok(()),
        }
    }

    fn attempt_failed(&self, error: Error) -> MockFailure {
        let next = match (error.behavior, error.delay) {
            (1, _) => "pauses the invocation",
            (2, _) => "ends the invocation with this failure",
            _ => "tries again",
        };
        let after = match error.delay {
            Some(delay) if error.behavior == 0 => {
                format!(" in {:?}", Duration::from_millis(delay))
            }
            _ => String::new(),
        };
        let what = format!(
            "the attempt failed, and a runtime {next}{after}: {}",
            error.message
        );
        self.failure(FailureKind::AttemptFailed, what)
    }

    fn command(&mut self, ty: MessageType, command: CommandMessage) -> Result<(), MockFailure> {
        match command {
            // The story of the end is told by whoever takes the result.
            CommandMessage::Output(_) => {}
            CommandMessage::Call(call) => return self.call(call),
            CommandMessage::OneWayCall(send) => self.one_way_call(send),
            CommandMessage::Run(run) => return self.run(run),
            CommandMessage::Sleep(sleep) => {
                let left = sleep.wake_up_time.saturating_sub(self.now());
                let left = Duration::from_millis(left);
                let what = format!("sleep for {left:?}");
                self.tell(format!("→ {what}"));
                self.world.record.borrow_mut().sleeps.push(left);
                self.complete_at(
                    sleep.wake_up_time,
                    MessageType::SLEEP_COMPLETION,
                    sleep.result,
                    VOID,
                    &what,
                );
            }
            CommandMessage::GetPromise(read) => self.get_promise(read),
            CommandMessage::PeekPromise(read) => self.peek_promise(&read),
            CommandMessage::CompletePromise(completion) => self.complete_promise(completion),
            CommandMessage::Attach(attach) | CommandMessage::GetOutput(attach) => {
                return self.attach(ty, attach);
            }
            CommandMessage::SendSignal(signal) => self.send_signal(signal),
            CommandMessage::CompleteAwakeable(completion) => {
                let value = completion.value.map(|value| value.content);
                let result = recorded(value, completion.failure);
                let id = completion.id;
                self.tell(format!(
                    "→ complete awakeable {id}: {}",
                    shown_outcome(&result)
                ));
                if let Some(index) = own_awakeable(&id) {
                    let signal = SignalId::Awakeable(index);
                    self.signal(Duration::ZERO, signal, result.clone());
                }
                self.world.record.borrow_mut().awakeables.push((id, result));
            }
            state => self.state(state),
        }
        Ok(())
    }

    // ---- state -----------------------------------------------------------------------------------

    fn state(&mut self, command: CommandMessage) {
        let world = self.world;
        match command {
            CommandMessage::SetState(set) => {
                let value = set.value.unwrap_or_default().content;
                self.tell(format!("→ set state `{}` to {}", set.key, shown(&value)));
                world.record.borrow_mut().state.insert(set.key, value);
            }
            CommandMessage::ClearState(clear) => {
                self.tell(format!("→ clear state `{}`", clear.key));
                world.record.borrow_mut().state.remove(&clear.key);
            }
            CommandMessage::ClearAllState(_) => {
                self.tell("→ clear all state");
                world.record.borrow_mut().state.clear();
            }
            CommandMessage::GetEagerState(get) => {
                let value = get.value.map(|value| value.content);
                let value = value.map_or("not set".to_owned(), |value| shown(&value));
                self.tell(format!("→ get state `{}`: {value}", get.key));
            }
            CommandMessage::GetEagerStateKeys(_) => self.tell("→ get state keys"),
            CommandMessage::GetLazyState(get) => {
                let value = world.record.borrow().state.get(&get.key).cloned();
                let shown = value
                    .as_ref()
                    .map_or("not set".to_owned(), |value| shown(value));
                self.tell(format!("→ get state `{}`: {shown}", get.key));
                let result =
                    value.map_or(VOID, |content| NotificationResult::Value(Value { content }));
                self.complete(MessageType::LAZY_STATE_COMPLETION, get.result, result);
            }
            CommandMessage::GetLazyStateKeys(get) => {
                self.tell("→ get state keys");
                let record = world.record.borrow();
                let keys = record.state.keys().cloned().map(Into::into).collect();
                drop(record);
                self.complete(
                    MessageType::LAZY_STATE_KEYS_COMPLETION,
                    get.result,
                    NotificationResult::StateKeys(StateKeys { keys }),
                );
            }
            _ => {}
        }
    }

    // ---- calls -----------------------------------------------------------------------------------

    /// The id of an invocation that the handler has made.
    fn next_invocation(&mut self, ty: MessageType, id: u32) -> String {
        let number = self.world.invocations.get() + 1;
        self.world.invocations.set(number);
        let invocation = format!("inv_1{number:033}");
        let result = NotificationResult::InvocationId(invocation.clone().into());
        self.complete(ty, id, result);
        invocation
    }

    fn call(&mut self, call: Call) -> Result<(), MockFailure> {
        let invocation_id = self.next_invocation(MessageType::CALL_INVOCATION_ID, call.invocation);
        let call_record = Recorded {
            input: Raw(call.parameter),
            target: target(call.service, call.key, call.handler),
            headers: headers(call.headers),
            idempotency_key: call.idempotency_key,
            delay: None,
            name: call.name,
            scope: call.scope,
            limit_key: call.limit_key,
            invocation_id,
        };
        let target = call_record.target.clone();
        let input = shown(&call_record.input.0);
        let world = self.world;
        let subject = Subject::Call(target.clone());
        let due = world.script.borrow_mut().take(&subject, Some(&call_record));
        world.record.borrow_mut().calls.push(call_record.clone());
        let Some(due) = due else {
            let else_scripted = match world.script.borrow().is_mentioned(&target) {
                true => {
                    ". What is scripted for this handler is for another key or input, or used up"
                }
                false => "",
            };
            let what = format!(
                "the handler calls {} with {input}, and nothing is scripted for that{else_scripted}",
                shown_target(&target)
            );
            let failure = self.failure(FailureKind::Unscripted, what);
            return Err(failure.write([
                call_line(&call_record),
                format!(
                    "// or, without the generated client: {}",
                    request_line(&target)
                ),
            ]));
        };
        let what = format!("call {}", shown_target(&target));
        self.tell(format!("→ {what} with {input}"));
        self.answer(due, MessageType::CALL_COMPLETION, call.result, &what);
        Ok(())
    }

    fn one_way_call(&mut self, send: OneWayCall) {
        let invocation_id = self.next_invocation(MessageType::CALL_INVOCATION_ID, send.invocation);
        let delay = send.invoke_time.checked_sub(self.now());
        let delay = delay.map(Duration::from_millis);
        let record = Recorded {
            input: Raw(send.parameter),
            target: target(send.service, send.key, send.handler),
            headers: headers(send.headers),
            idempotency_key: send.idempotency_key,
            delay: delay.filter(|_| send.invoke_time > 0),
            name: send.name,
            scope: send.scope,
            limit_key: send.limit_key,
            invocation_id,
        };
        let when = record
            .delay
            .map_or(String::new(), |delay| format!(" in {delay:?}"));
        let input = shown(&record.input.0);
        self.tell(format!(
            "→ send {}{when} with {input}",
            shown_target(&record.target)
        ));
        self.world.record.borrow_mut().sends.push(record);
    }

    fn attach(&mut self, ty: MessageType, attach: Attach) -> Result<(), MockFailure> {
        let which = match (attach.invocation, attach.workflow, attach.idempotent) {
            (Some(id), ..) => id,
            (_, Some(workflow), _) => format!("{}/{}", workflow.workflow, workflow.key),
            (.., Some(of)) => {
                let target = target(of.service, of.key.unwrap_or_default(), of.handler);
                format!("{target}#{}", of.idempotency_key)
            }
            _ => String::new(),
        };
        let world = self.world;
        let due = world
            .script
            .borrow_mut()
            .take(&Subject::Attach(which.clone()), None);
        let (ty, what) = if ty == MessageType::ATTACH_INVOCATION {
            (MessageType::ATTACH_COMPLETION, format!("attach to {which}"))
        } else {
            (MessageType::OUTPUT_COMPLETION, format!("output of {which}"))
        };
        self.tell(format!("→ {what}"));
        match due {
            // Not ended, or unknown: asking for an output does not wait.
            None | Some(None) if ty == MessageType::OUTPUT_COMPLETION => {
                self.complete(ty, attach.result, VOID);
            }
            Some(due) => self.answer(due, ty, attach.result, &what),
            None => {
                let line = format!("mock.invocation({which:?}).returns(&…);");
                self.open(
                    attach.result,
                    format!("the result of invocation {which}"),
                    Some(line),
                );
            }
        }
        Ok(())
    }

    fn send_signal(&mut self, signal: SendSignal) {
        let world = self.world;
        let to_itself = signal.target == world.setup.invocation_id;
        if signal.idx == Some(crate::wire::CANCEL) {
            self.tell(format!("→ cancel {}", signal.target));
            if to_itself {
                self.signal(Duration::ZERO, SignalId::Cancel, Ok(Bytes::new()));
            }
            world.record.borrow_mut().cancelled.push(signal.target);
            return;
        }
        let name = signal.signal.unwrap_or_default();
        let result = recorded(signal.value.map(|value| value.content), signal.failure);
        let shown = shown_outcome(&result);
        self.tell(format!("→ signal `{name}` to {}: {shown}", signal.target));
        if to_itself {
            let signal = SignalId::Named(name.clone());
            self.signal(Duration::ZERO, signal, result.clone());
        }
        let mut record = world.record.borrow_mut();
        record.signals.push((signal.target, name, result));
    }

    // ---- runs ------------------------------------------------------------------------------------

    fn run(&mut self, run: Ids) -> Result<(), MockFailure> {
        let Ids {
            result: id, name, ..
        } = run;
        let world = self.world;
        let due = world
            .script
            .borrow_mut()
            .take(&Subject::Run(name.clone()), None);
        let what = format!("run `{name}`");
        if due.is_none() && world.setup.forbid_runs && name != "now" {
            let failure = self.failure(
                FailureKind::Unscripted,
                format!("the handler makes {what}, and the test forbids runs"),
            );
            return Err(failure.write([format!("mock.run({name:?}).returns(&…);")]));
        }
        self.tell(format!("→ {what}"));
        let mut record = world.record.borrow_mut();
        let at = record.runs.len();
        let result = due.clone().flatten().map(|(_, result)| result);
        record.runs.push(RecordedRun { name, result });
        drop(record);
        match due {
            Some(due) => self.answer(due, MessageType::RUN_COMPLETION, id, &what),
            None => {
                self.runs.insert(id, at);
                self.open(id, what, None);
            }
        }
        Ok(())
    }

    fn run_ended(&mut self, id: u32, result: NotificationResult) {
        let result = match result {
            NotificationResult::Value(value) => recorded(Some(value.content), None),
            NotificationResult::Failure(failure) => recorded(None, Some(*failure)),
            _ => recorded(None, None),
        };
        if let Some(at) = self.runs.remove(&id)
            && let Some(run) = self.world.record.borrow_mut().runs.get_mut(at)
        {
            run.result = Some(result.clone());
        }
        let name = self
            .open
            .remove(&id)
            .map(|open| open.what)
            .unwrap_or_default();
        self.tell(format!("← {name}: {}", shown_outcome(&result)));
        self.send(Msg::run_ack(id));
    }

    // ---- promises --------------------------------------------------------------------------------

    fn get_promise(&mut self, read: KeyedRead) {
        let KeyedRead {
            key, result: id, ..
        } = read;
        let what = format!("promise `{key}`");
        self.tell(format!("→ get {what}"));
        let world = self.world;
        let known = world.record.borrow().promises.get(&key).cloned();
        if let Some(result) = known {
            let due = Some((Duration::ZERO, result));
            return self.answer(due, MessageType::GET_PROMISE_COMPLETION, id, &what);
        }
        let subject = Subject::Promise(key.clone());
        let due = world.script.borrow_mut().take(&subject, None);
        self.promise_waiters
            .entry(key.clone())
            .or_default()
            .push(id);
        match due {
            Some(Some((after, result))) => {
                self.open(id, what, None);
                self.promise(after, key, result);
            }
            Some(None) => self.open(id, format!("{what}, which is scripted never to end"), None),
            None => {
                let line = format!("mock.promise({key:?}).returns(&…);");
                self.open(id, what, Some(line));
            }
        }
    }

    /// How a promise is completed now, by somebody or by the script.
    fn completed_promise(&self, key: &str) -> Option<super::record::Outcome> {
        let known = self.world.record.borrow().promises.get(key).cloned();
        let known = known.or_else(|| self.promise_due(key));
        if known.is_some() || self.promised.contains(key) {
            return known;
        }
        let subject = Subject::Promise(key.to_owned());
        match self.world.script.borrow_mut().peek(&subject)?? {
            (Duration::ZERO, result) => Some(result),
            _ => None,
        }
    }

    fn peek_promise(&mut self, read: &KeyedRead) {
        self.expect_promise(&read.key);
        let result = self.completed_promise(&read.key);
        let shown = result
            .as_ref()
            .map_or("not completed".to_owned(), shown_outcome);
        self.tell(format!("→ peek promise `{}`: {shown}", read.key));
        let result = result.map_or(VOID, Into::into);
        self.complete(MessageType::PEEK_PROMISE_COMPLETION, read.result, result);
    }

    /// A promise that is scripted for later is completed then, also where the handler only looks again
    /// and again.
    fn expect_promise(&mut self, key: &str) {
        let known = self.world.record.borrow().promises.contains_key(key);
        if known || self.promised.contains(key) {
            return;
        }
        let subject = Subject::Promise(key.to_owned());
        let script = &self.world.script;
        let scripted = script.borrow_mut().peek(&subject).flatten();
        if scripted.is_none_or(|(after, _)| after.is_zero()) {
            return;
        }
        let due = script.borrow_mut().take(&subject, None).flatten();
        if let Some((after, result)) = due {
            self.promise(after, key.to_owned(), result);
        }
    }

    fn complete_promise(&mut self, completion: CompletePromise) {
        let CompletePromise {
            key,
            value,
            failure,
            result: id,
            ..
        } = completion;
        let result = recorded(value.map(|value| value.content), failure);
        self.tell(format!(
            "→ complete promise `{key}`: {}",
            shown_outcome(&result)
        ));
        let answer = if self.completed_promise(&key).is_some() {
            let error = TerminalError::new("promise was already completed");
            Err(error.with_code(409)).into()
        } else {
            self.world
                .record
                .borrow_mut()
                .resolved
                .insert(key.clone(), result.clone());
            self.settle_promise(key, result);
            VOID
        };
        self.complete(MessageType::COMPLETE_PROMISE_COMPLETION, id, answer);
    }

    /// A promise is completed: whoever waits for it gets to know. What comes second changes nothing.
    pub(super) fn settle_promise(&mut self, key: String, result: super::record::Outcome) {
        if self.world.record.borrow().promises.contains_key(&key) {
            return;
        }
        for id in self.promise_waiters.remove(&key).unwrap_or_default() {
            self.open.remove(&id);
            let due = Some((Duration::ZERO, result.clone()));
            self.answer(
                due,
                MessageType::GET_PROMISE_COMPLETION,
                id,
                &format!("promise `{key}`"),
            );
        }
        self.world.record.borrow_mut().promises.insert(key, result);
    }
}

/// A target for people: `Inventory/teapot/reserve`.
fn shown_target(target: &Target) -> String {
    target.to_string()
}
