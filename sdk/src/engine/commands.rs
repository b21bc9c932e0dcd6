//! What each command of a handler brings about.

use bytes::Bytes;

use super::{
    Effect, Engine, VOID,
    catalog::{HandlerType, ServiceType},
    changes::Change,
    failure,
    ids::{is_invocation_id, parse_awakeable},
    invocation::{AttemptId, Index, Outcome, Status, Waiter},
    keyed::{KeyedId, Promise},
    of_outcome,
    submit::{Origin, Submission, Submitted, add_waiter},
    timers::Timer,
};
use crate::{
    protocol::{
        MessageType,
        message::{
            EphemeralState, Failure, NotificationId, NotificationResult, StateKeys, Value, Void,
        },
    },
    wire::{Attach, CANCEL, Call, CommandMessage, EphemeralRead, Msg, OneWayCall, SendSignal},
};

/// Where an invocation is looked for, and whom a failure to find it is told.
enum Found {
    Index(Index),
    Nobody(Failure),
}

impl Engine {
    /// Carries out a command that was just stored. An error is what the runtime refuses: the attempt fails
    /// with it.
    pub(super) fn react(&mut self, index: Index, command: CommandMessage) -> Result<(), String> {
        use CommandMessage as C;
        match command {
            C::Output(output) => {
                self.invocations[index].output = Some(output.outcome());
            }
            C::GetLazyState(read) => {
                let place = self.state_place(index)?;
                let result = match self.keyed(place).state.get(read.key.as_bytes()) {
                    Some(content) => value(content.clone()),
                    None => VOID,
                };
                self.complete_with(index, MessageType::GET_LAZY_STATE, read.result, result);
            }
            C::GetLazyStateKeys(read) => {
                let place = self.state_place(index)?;
                let keys = self.keyed(place).state.keys().cloned().collect();
                let result = NotificationResult::StateKeys(StateKeys { keys });
                self.complete_with(index, MessageType::GET_LAZY_STATE_KEYS, read.result, result);
            }
            C::GetEagerState(_) | C::GetEagerStateKeys(_) => {
                self.state_place(index)?;
            }
            C::SetState(write) => {
                let place = self.writable_place(index)?;
                let content = write.value.unwrap_or_default().content;
                let name = Bytes::from(write.key);
                let state = &mut self.keyed_mut(place).state;
                state.insert(name.clone(), content.clone());
                self.state_changed(index, name, Some(content));
            }
            C::ClearState(write) => {
                let place = self.writable_place(index)?;
                self.keyed_mut(place).state.remove(write.key.as_bytes());
                self.state_changed(index, Bytes::from(write.key), None);
            }
            C::ClearAllState(_) => {
                let place = self.writable_place(index)?;
                self.keyed_mut(place).state.clear();
                self.changed_at_key(index, Change::StateCleared);
            }
            C::GetPromise(read) => {
                let promise = self.promise(index, &read.key)?;
                match promise.result.clone() {
                    Some(outcome) => {
                        let result = of_outcome(&outcome);
                        self.complete_with(index, MessageType::GET_PROMISE, read.result, result);
                    }
                    None => {
                        let mut waiters = std::mem::take(&mut promise.waiters);
                        add_waiter(&mut waiters, (index, read.result), |(index, _)| {
                            self.is_live(*index)
                        });
                        self.promise(index, &read.key)?.waiters = waiters;
                    }
                }
            }
            C::PeekPromise(read) => {
                let outcome = self.promise(index, &read.key)?.result.clone();
                let result = outcome.as_ref().map_or(VOID, of_outcome);
                self.complete_with(index, MessageType::PEEK_PROMISE, read.result, result);
            }
            C::CompletePromise(message) => {
                let outcome = outcome(message.value, message.failure);
                let promise = self.promise(index, &message.key)?;
                let result = if promise.result.is_some() {
                    let failure = failure(409, "promise was already completed");
                    NotificationResult::Failure(Box::new(failure))
                } else {
                    let told = of_outcome(&outcome);
                    promise.result = Some(outcome.clone());
                    let waiters = std::mem::take(&mut promise.waiters);
                    let name = message.key;
                    self.changed_at_key(index, |of| Change::Promise { of, name, outcome });
                    for (waiter, id) in waiters {
                        self.complete_with(waiter, MessageType::GET_PROMISE, id, told.clone());
                    }
                    VOID
                };
                let ty = MessageType::COMPLETE_PROMISE;
                self.complete_with(index, ty, message.result, result);
            }
            C::Sleep(sleep) => {
                let timer = Timer::Sleep(index, sleep.result);
                self.timers.add(sleep.wake_up_time, timer);
                // What is due already happens now.
                self.advance_to(self.now());
            }
            C::Call(call) => {
                let (invocation, result) = (call.invocation, call.result);
                let submitted = self.submit_for(index, without_result(call))?;
                self.tell_invocation_id(index, invocation, submitted);
                let child = &self.invocations[submitted.index];
                if submitted.already && child.info.ty == HandlerType::Workflow {
                    let failure = NotificationResult::Failure(Box::new(already_invoked()));
                    self.complete_with(index, MessageType::CALL, result, failure);
                } else {
                    let waiter = Waiter::Invocation {
                        index,
                        completion: result,
                        is_call: true,
                    };
                    self.wait_for(submitted.index, waiter);
                }
            }
            C::OneWayCall(call) => {
                let invocation = call.invocation;
                let submitted = self.submit_for(index, call)?;
                self.tell_invocation_id(index, invocation, submitted);
            }
            C::SendSignal(signal) => self.send_signal(signal)?,
            C::Run(_) => {}
            C::Attach(attach) => {
                let (completion, ty) = (attach.result, MessageType::ATTACH_INVOCATION);
                match self.attach_target(attach)? {
                    Found::Index(target) => {
                        let is_call = false;
                        let waiter = Waiter::Invocation {
                            index,
                            completion,
                            is_call,
                        };
                        self.wait_for(target, waiter);
                    }
                    Found::Nobody(failure) => {
                        let result = NotificationResult::Failure(Box::new(failure));
                        self.complete_with(index, ty, completion, result);
                    }
                }
            }
            C::GetOutput(attach) => {
                let completion = attach.result;
                let result = match self.attach_target(attach)? {
                    Found::Index(target) => match &self.invocations[target].status {
                        Status::Completed(outcome) => of_outcome(outcome),
                        _ => VOID,
                    },
                    Found::Nobody(failure) => NotificationResult::Failure(Box::new(failure)),
                };
                let ty = MessageType::GET_INVOCATION_OUTPUT;
                self.complete_with(index, ty, completion, result);
            }
            C::CompleteAwakeable(message) => {
                let outcome = outcome(message.value, message.failure);
                self.complete_awakeable(&message.id, &outcome)
                    .map_err(|failure| failure.message)?;
            }
        }
        Ok(())
    }

    // ---- runs, and reads within them ---------------------------------------------------------

    /// A run's closure has ended with this.
    pub(super) fn complete_run(&mut self, index: Index, id: u32, result: NotificationResult) {
        if self.invocations[index].is_completed(id) {
            return self.fail(
                index,
                super::attempts::violation("a run was proposed twice"),
            );
        }
        let ty = MessageType::RUN_COMPLETION;
        let id_of = NotificationId::Completion(id);
        if !self.version.has_v7() {
            return self.notify(index, ty, id_of, result);
        }
        // The attempt knows the result: the ack takes the notification's place.
        let message = Msg::notification(ty, id_of.clone(), result.clone());
        let notification = crate::protocol::message::Notification {
            id: Some(id_of),
            result: Some(result),
        };
        self.record(
            index,
            super::invocation::What::Notification(message, notification),
        );
        self.tell(index, Msg::run_ack(id));
    }

    pub(super) fn answer_ephemeral(
        &mut self,
        index: Index,
        attempt: AttemptId,
        read: &EphemeralRead,
    ) {
        let content = self.invocations[index]
            .place
            .and_then(|place| self.keyed(place).state.get(read.key.as_bytes()))
            .cloned();
        let message = Msg::new(
            MessageType::STATE_EPHEMERAL,
            &EphemeralState {
                id: read.id,
                void: content.is_none().then_some(Void {}),
                value: content.map(|content| Value { content }),
            },
        );
        self.effects.push_back(Effect::Tell { attempt, message });
    }

    // ---- state and promises ------------------------------------------------------------------

    fn state_place(&self, index: Index) -> Result<usize, String> {
        let invocation = &self.invocations[index];
        invocation
            .place
            .ok_or_else(|| format!("`{}` has no state: it has no keys", invocation.service))
    }

    fn writable_place(&self, index: Index) -> Result<usize, String> {
        let place = self.state_place(index)?;
        let invocation = &self.invocations[index];
        match invocation.info.ty {
            HandlerType::Exclusive | HandlerType::Workflow => Ok(place),
            _ => Err(format!(
                "`{}` is a shared handler: it must not write state",
                invocation.target()
            )),
        }
    }

    fn promise(&mut self, index: Index, name: &str) -> Result<&mut Promise, String> {
        let invocation = &self.invocations[index];
        let of = self.catalog.service(&invocation.service);
        match (of.map(|service| service.ty), invocation.place) {
            (Some(ServiceType::Workflow), Some(place)) => {
                let promises = &mut self.keyed[place].promises;
                Ok(promises.entry(name.to_owned()).or_default())
            }
            _ => Err(format!(
                "`{}` has no promises: it is no workflow",
                invocation.service
            )),
        }
    }

    fn state_changed(&mut self, index: Index, name: Bytes, value: Option<Bytes>) {
        self.changed_at_key(index, |of| Change::State { of, name, value });
    }

    // ---- calls -------------------------------------------------------------------------------

    /// The empty key is none, except for services that have keys.
    fn key_of(&self, service: &str, key: String) -> Option<String> {
        let keyed = self
            .catalog
            .service(service)
            .is_some_and(|service| service.ty != ServiceType::Service);
        (keyed || !key.is_empty()).then_some(key)
    }

    fn submit_for(&mut self, index: Index, call: OneWayCall) -> Result<Submitted, String> {
        let headers = call.headers.into_iter();
        let submission = Submission {
            key: self.key_of(&call.service, call.key),
            service: call.service,
            handler: call.handler,
            input: call.parameter,
            headers: headers.map(|header| (header.key, header.value)).collect(),
            idempotency_key: call.idempotency_key,
            scope: call.scope,
            limit_key: call.limit_key,
            invoke_time: call.invoke_time,
            source: None,
        };
        let submitted = self
            .submit(submission, Origin::Handler(index))
            .map_err(|failure| failure.message)?;
        self.invocations[index].children.push(submitted.index);
        Ok(submitted)
    }

    fn tell_invocation_id(&mut self, index: Index, completion: u32, submitted: Submitted) {
        let id = self.invocations[submitted.index].id.clone();
        self.notify(
            index,
            MessageType::CALL_INVOCATION_ID,
            NotificationId::Completion(completion),
            NotificationResult::InvocationId(id.into()),
        );
    }

    /// The invocation that an attach is about; `Err` if it is no id that a server could read.
    fn attach_target(&mut self, attach: Attach) -> Result<Found, String> {
        if let Some(id) = &attach.invocation
            && !is_invocation_id(id)
        {
            return Err(format!("`{id}` is not an invocation id"));
        }
        if attach.invocation.is_none() && attach.idempotent.is_none() && attach.workflow.is_none() {
            return Err("an attach without a target".to_owned());
        }
        let found = self.found(attach);
        Ok(found.map_or_else(|| Found::Nobody(not_found()), Found::Index))
    }

    /// The invocation that an attach is about, if there is one.
    pub(super) fn found(&mut self, attach: Attach) -> Option<Index> {
        if let Some(id) = attach.invocation {
            self.find(&id)
        } else if let Some(target) = attach.idempotent {
            let key = self.key_of(&target.service, target.key.unwrap_or_default());
            self.find_idempotent(&(
                target.service,
                key,
                target.handler,
                target.idempotency_key,
                target.scope,
            ))
        } else if let Some(target) = attach.workflow {
            self.find_run(&KeyedId {
                service: target.workflow,
                key: target.key,
                scope: target.scope,
            })
        } else {
            None
        }
    }

    /// The run of a workflow.
    pub(crate) fn find_run(&mut self, workflow: &KeyedId) -> Option<Index> {
        let place = self.find_place(workflow)?;
        self.keyed(place).run
    }

    /// Whose awakeable this is, and which.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn awakeable_of(&self, id: &str) -> Option<(Index, u32)> {
        let (raw, signal) = parse_awakeable(id).ok()??;
        Some((*self.by_raw.get(&raw)?, signal))
    }

    // ---- signals -----------------------------------------------------------------------------

    fn send_signal(&mut self, signal: SendSignal) -> Result<(), String> {
        if !is_invocation_id(&signal.target) {
            return Err(format!("`{}` is not an invocation id", signal.target));
        }
        let Some(target) = self.find(&signal.target) else {
            return Ok(());
        };
        let result = match (signal.value, signal.failure) {
            (Some(value), _) => NotificationResult::Value(value),
            (None, Some(failure)) => NotificationResult::Failure(Box::new(failure)),
            (None, None) => VOID,
        };
        match (signal.idx, signal.signal) {
            (Some(CANCEL), _) => {
                // For one that has ended there is nothing to do.
                let _ = self.cancel(target);
            }
            (Some(id), _) => self.notify_signal(target, NotificationId::Signal(id), result),
            (None, Some(name)) => {
                self.notify_signal(target, NotificationId::NamedSignal(name), result);
            }
            (None, None) => return Err("a signal without a name".to_owned()),
        }
        Ok(())
    }

    /// What has not begun has no journal yet, and the server drops the signal.
    fn notify_signal(&mut self, target: Index, id: NotificationId, result: NotificationResult) {
        if !self.invocations[target].is_unbegun() {
            self.notify(target, MessageType::SIGNAL, id, result);
        }
    }

    /// Delivers a named signal.
    pub(crate) fn signal(&mut self, target: Index, name: &str, outcome: &Outcome) {
        let id = NotificationId::NamedSignal(name.to_owned());
        self.notify_signal(target, id, of_outcome(outcome));
    }

    /// Delivers the result of an awakeable; only the first one counts.
    pub(crate) fn complete_awakeable(
        &mut self,
        id: &str,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        let (raw, signal) = match parse_awakeable(id) {
            Ok(Some(parsed)) => parsed,
            // The server takes it for an entry of an old journal.
            Ok(None) => return Ok(()),
            Err(why) => return Err(failure(400, format!("bad awakeable id '{id}': {why}"))),
        };
        let Some(&target) = self.by_raw.get(&raw) else {
            return Ok(());
        };
        let known = self.invocations[target].entries().any(|entry| {
            entry.ty == MessageType::SIGNAL
                && entry.as_notification().and_then(|known| known.id)
                    == Some(NotificationId::Signal(signal))
        });
        if !known {
            let id = NotificationId::Signal(signal);
            self.notify_signal(target, id, of_outcome(outcome));
        }
        Ok(())
    }
}

/// What a second call to the run of a workflow gets.
pub(crate) fn already_invoked() -> Failure {
    failure(409, "the workflow method was already invoked")
}

pub(crate) fn not_found() -> Failure {
    failure(404, "not found")
}

fn value(content: Bytes) -> NotificationResult {
    NotificationResult::Value(Value { content })
}

fn outcome(value: Option<Value>, failure: Option<Failure>) -> Outcome {
    match failure {
        Some(failure) => Err(failure),
        None => Ok(value.unwrap_or_default().content),
    }
}

/// The request of a call, which is one of a send for now.
fn without_result(call: Call) -> OneWayCall {
    OneWayCall {
        service: call.service,
        handler: call.handler,
        parameter: call.parameter,
        invoke_time: 0,
        headers: call.headers,
        key: call.key,
        idempotency_key: call.idempotency_key,
        scope: call.scope,
        limit_key: call.limit_key,
        invocation: call.invocation,
        name: call.name,
    }
}
