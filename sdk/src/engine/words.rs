//! Invocations in words: how one stands, what happened to it, what a command asks for.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;

use super::invocation::{Invocation, Next, Outcome, Record, Status, What};
use crate::{
    protocol::message::{Failure, Notification, NotificationId, NotificationResult, Value},
    wire::{Attach, Awaited, CANCEL, CommandMessage, FIRST_AWAKEABLE},
};

/// The most of a payload that is shown, in characters.
const SHOWN: usize = 120;

/// Something that happened to an invocation.
pub(crate) fn describe_record(invocation: &Invocation, record: &Record) -> String {
    match &record.what {
        What::Began => "the attempt begins".to_owned(),
        What::Command(_, command) => describe_issued(command, record.at),
        What::Notification(_, notification) => {
            describe_notification(commands(invocation), notification)
        }
        What::Closed => "the request ends, to let it suspend".to_owned(),
        What::Suspended(awaited) => format!(
            "suspended on {}",
            describe_awaited(commands(invocation), awaited)
        ),
        What::Failed(error, next) => format!(
            "failed: [{}] {}; {}",
            error.code,
            error.message,
            match next {
                Next::Retry(delay) => format!(
                    "the next attempt begins in {:?}",
                    Duration::from_millis(*delay)
                ),
                Next::Pause => "paused".to_owned(),
                Next::End => "that ends it".to_owned(),
            }
        ),
        What::Paused => "paused".to_owned(),
        What::Resumed => "resumed".to_owned(),
        What::Cut(how) => format!("CUT: {how}"),
        What::Ended(outcome) => format!("ended with {}", describe_outcome(outcome)),
    }
}

/// How an invocation stands, in words.
pub(crate) fn describe_status(invocation: &Invocation) -> String {
    match &invocation.status {
        Status::Scheduled(at) => format!(
            "scheduled, begins {:?} after it was sent",
            Duration::from_millis(at.saturating_sub(invocation.created_at))
        ),
        Status::Queued => "queued behind others of its key".to_owned(),
        Status::Running(running) => match &running.awaiting {
            Some(awaited) => format!(
                "waits for {}",
                describe_awaited(commands(invocation), awaited)
            ),
            None => "running".to_owned(),
        },
        Status::Suspended(awaited) => {
            format!(
                "suspended on {}",
                describe_awaited(commands(invocation), awaited)
            )
        }
        Status::BackingOff(until) => format!(
            "tries again {:?} after it was made{}",
            Duration::from_millis(until.saturating_sub(invocation.created_at)),
            last_error(invocation)
        ),
        Status::Paused => format!("paused{}", last_error(invocation)),
        Status::Completed(outcome) => format!("ended with {}", describe_outcome(outcome)),
    }
}

fn last_error(invocation: &Invocation) -> String {
    invocation
        .last_error
        .as_ref()
        .map_or_else(String::new, |error| {
            format!(
                " after {} attempts, the last failed: [{}] {}",
                invocation.attempts, error.code, error.message
            )
        })
}

fn describe_outcome(outcome: &Outcome) -> String {
    match outcome {
        Ok(payload) if payload.is_empty() => "nothing".to_owned(),
        Ok(payload) => show(payload),
        Err(failure) => describe_failure(failure),
    }
}

pub(crate) fn describe_failure(failure: &Failure) -> String {
    let mut text = format!("failure [{}] {}", failure.code, failure.message);
    for header in &failure.metadata {
        let _ = write!(text, " ({} = {})", header.key, header.value);
    }
    text
}

/// A payload as text, as far as it is text.
pub(crate) fn show(payload: &Bytes) -> String {
    let Ok(text) = std::str::from_utf8(payload) else {
        return format!("{} bytes", payload.len());
    };
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < text.len() {
        let _ = write!(shown, "… ({} bytes)", payload.len());
    }
    shown
}

fn show_value(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| show(&value.content))
}

fn completes(value: Option<&Value>, failure: Option<&Failure>) -> String {
    match failure {
        Some(failure) => describe_failure(failure),
        None => show_value(value),
    }
}

pub(crate) fn address(service: &str, key: &str, handler: &str) -> String {
    if key.is_empty() {
        format!("{service}/{handler}")
    } else {
        format!("{service}/{key}/{handler}")
    }
}

fn attached(attach: &Attach) -> String {
    if let Some(id) = &attach.invocation {
        id.clone()
    } else if let Some(workflow) = &attach.workflow {
        format!("workflow {}/{}", workflow.workflow, workflow.key)
    } else if let Some(target) = &attach.idempotent {
        let key = target.key.as_deref().unwrap_or_default();
        format!(
            "{} with idempotency key `{}`",
            address(&target.service, key, &target.handler),
            target.idempotency_key
        )
    } else {
        "nobody".to_owned()
    }
}

/// A command as it was issued at this time.
pub(crate) fn describe_issued(command: &CommandMessage, at: u64) -> String {
    let pause = |until: u64| Duration::from_millis(until.saturating_sub(at));
    let text = describe_command(command);
    match command {
        CommandMessage::Sleep(sleep) => format!("{text} {:?}", pause(sleep.wake_up_time)),
        CommandMessage::OneWayCall(call) if call.invoke_time > 0 => {
            format!("{text} in {:?}", pause(call.invoke_time))
        }
        _ => text,
    }
}

pub(crate) fn describe_command(command: &CommandMessage) -> String {
    use CommandMessage as C;
    match command {
        C::Output(output) => format!(
            "output {}",
            completes(output.value.as_ref(), output.failure.as_ref())
        ),
        C::GetLazyState(read) => format!("get state `{}`", read.key),
        C::GetLazyStateKeys(_) => "get state keys".to_owned(),
        C::GetEagerState(read) => {
            format!(
                "get state `{}`: {}",
                read.key,
                show_value(read.value.as_ref())
            )
        }
        C::GetEagerStateKeys(read) => {
            let keys = read.keys.iter().flat_map(|keys| &keys.keys);
            let keys: Vec<_> = keys.map(show).collect();
            format!("get state keys: {}", keys.join(", "))
        }
        C::SetState(write) => {
            format!(
                "set state `{}` = {}",
                write.key,
                show_value(write.value.as_ref())
            )
        }
        C::ClearState(write) => format!("clear state `{}`", write.key),
        C::ClearAllState(_) => "clear all state".to_owned(),
        C::GetPromise(read) => format!("get promise `{}`", read.key),
        C::PeekPromise(read) => format!("peek promise `{}`", read.key),
        C::CompletePromise(message) => format!(
            "complete promise `{}` with {}",
            message.key,
            completes(message.value.as_ref(), message.failure.as_ref())
        ),
        C::Sleep(_) => "sleep".to_owned(),
        C::Call(call) => format!(
            "call {}({})",
            address(&call.service, &call.key, &call.handler),
            show(&call.parameter)
        ),
        C::OneWayCall(call) => format!(
            "send {}({})",
            address(&call.service, &call.key, &call.handler),
            show(&call.parameter)
        ),
        C::SendSignal(signal) => match (signal.idx, &signal.signal) {
            (Some(CANCEL), _) => format!("cancel {}", signal.target),
            (_, Some(name)) => format!(
                "signal `{name}` to {} with {}",
                signal.target,
                completes(signal.value.as_ref(), signal.failure.as_ref())
            ),
            (id, None) => format!("signal {} to {}", id.unwrap_or_default(), signal.target),
        },
        C::Run(run) => format!("run `{}`", run.name),
        C::Attach(attach) => format!("attach to {}", attached(attach)),
        C::GetOutput(attach) => format!("get the output of {}", attached(attach)),
        C::CompleteAwakeable(message) => format!(
            "complete awakeable {} with {}",
            message.id,
            completes(message.value.as_ref(), message.failure.as_ref())
        ),
    }
}

pub(crate) fn commands(invocation: &Invocation) -> impl Iterator<Item = &CommandMessage> + Clone {
    invocation
        .records
        .iter()
        .filter_map(|record| match &record.what {
            What::Command(_, command) => Some(&**command),
            _ => None,
        })
}

/// The completion ids of a command: of the invocation id, and of the result.
pub(crate) fn completions(command: &CommandMessage) -> (Option<u32>, Option<u32>) {
    use CommandMessage as C;
    match command {
        C::GetLazyState(read) | C::GetPromise(read) | C::PeekPromise(read) => {
            (None, Some(read.result))
        }
        C::GetLazyStateKeys(ids) | C::Run(ids) => (None, Some(ids.result)),
        C::CompletePromise(message) => (None, Some(message.result)),
        C::Sleep(sleep) => (None, Some(sleep.result)),
        C::Call(call) => (Some(call.invocation), Some(call.result)),
        C::OneWayCall(call) => (Some(call.invocation), None),
        C::Attach(attach) | C::GetOutput(attach) => (None, Some(attach.result)),
        _ => (None, None),
    }
}

/// What a completion is of: the command's first words, without payloads that were told already.
fn describe_completion<'a>(commands: impl Iterator<Item = &'a CommandMessage>, id: u32) -> String {
    for command in commands {
        let (of_invocation, of_result) = completions(command);
        if ![of_invocation, of_result].contains(&Some(id)) {
            continue;
        }
        let what = match command {
            CommandMessage::Call(call) => {
                format!("call {}", address(&call.service, &call.key, &call.handler))
            }
            CommandMessage::OneWayCall(call) => {
                format!("send {}", address(&call.service, &call.key, &call.handler))
            }
            CommandMessage::CompletePromise(message) => {
                format!("complete promise `{}`", message.key)
            }
            other => describe_command(other),
        };
        if of_result == Some(id) {
            return what;
        }
        return format!("the invocation id of {what}");
    }
    format!("completion {id}")
}

fn describe_signal(id: u32) -> String {
    match id {
        CANCEL => "cancellation".to_owned(),
        // The first awakeable is number 1.
        id if id >= FIRST_AWAKEABLE => format!("awakeable {}", id - FIRST_AWAKEABLE + 1),
        id => format!("signal {id}"),
    }
}

/// A notification; `commands` are those of the invocation.
pub(crate) fn describe_notification<'a>(
    commands: impl Iterator<Item = &'a CommandMessage>,
    notification: &Notification,
) -> String {
    let what = match &notification.id {
        Some(NotificationId::Completion(id)) => describe_completion(commands, *id),
        Some(NotificationId::Signal(id)) => describe_signal(*id),
        Some(NotificationId::NamedSignal(name)) => format!("signal `{name}`"),
        None => "a notification".to_owned(),
    };
    match &notification.result {
        Some(NotificationResult::Value(value)) if value.content.is_empty() => what,
        Some(NotificationResult::Value(value)) => format!("{what}: {}", show(&value.content)),
        Some(NotificationResult::Failure(failure)) => {
            format!("{what}: {}", describe_failure(failure))
        }
        Some(NotificationResult::InvocationId(id)) => format!("{what}: {}", show(id)),
        Some(NotificationResult::StateKeys(keys)) => {
            let keys: Vec<_> = keys.keys.iter().map(show).collect();
            format!("{what}: {}", keys.join(", "))
        }
        Some(NotificationResult::Void(_)) | None => what,
    }
}

/// What is awaited, without the cancellation that always is.
pub(crate) fn describe_awaited<'a>(
    commands: impl Iterator<Item = &'a CommandMessage> + Clone,
    awaited: &Awaited,
) -> String {
    let completions = awaited.completions.iter();
    let completions = completions.map(|id| describe_completion(commands.clone(), *id));
    let signals = awaited.signals.iter().filter(|id| **id != CANCEL);
    let signals = signals.map(|id| describe_signal(*id));
    let named = awaited.named.iter().map(|name| format!("signal `{name}`"));
    let parts: Vec<String> = completions.chain(signals).chain(named).collect();
    parts.join(", or ")
}
