//! Messages for scripted attempts, over the runtime's side of the wire in [`crate::wire`].

use bytes::Bytes;

use crate::protocol::{
    MessageType,
    message::{
        EphemeralState, Failure, Header, InputCommand, NotificationId, NotificationResult, Start,
        StateKeys, Value, Void,
    },
};
pub(crate) use crate::wire::*;

pub(crate) const RAW_ID: [u8; 24] = [7; 24];

/// A Start message for `known` entries of an invocation with complete, empty state.
pub(crate) fn start(known: usize) -> Start {
    Start {
        id: Bytes::from_static(&RAW_ID),
        debug_id: "inv_test".into(),
        known_entries: known as u32,
        key: "key".into(),
        random_seed: 1,
        ..Start::default()
    }
}

pub(crate) fn content(content: impl Into<Bytes>) -> Option<Value> {
    let content = content.into();
    Some(Value { content })
}

pub(crate) fn fail(code: u32, message: &str) -> Option<Failure> {
    let message = message.into();
    Some(Failure {
        code,
        message,
        metadata: vec![],
    })
}

pub(crate) fn header(key: &str, value: &str) -> Header {
    let (key, value) = (key.into(), value.into());
    Header { key, value }
}

// ---- recorded commands, with the fields that matter ----------------------------------------------

pub(crate) fn input(body: &'static str) -> Msg {
    let value = content(body);
    let headers = vec![header("x-a", "1"), header("x-a", "2")];
    Msg::new(MessageType::INPUT, &InputCommand { headers, value })
}

pub(crate) fn sleep(result: u32) -> Msg {
    let message = Sleep {
        wake_up_time: 77,
        result,
        name: String::new(),
    };
    Msg::new(MessageType::SLEEP, &message)
}

pub(crate) fn run(result: u32, name: &str) -> Msg {
    let name = name.into();
    let message = Ids {
        invocation: 0,
        result,
        name,
    };
    Msg::new(MessageType::RUN, &message)
}

/// `S/h` called with `1`.
pub(crate) fn call(first: u32) -> Msg {
    let message = Call {
        service: "S".into(),
        handler: "h".into(),
        parameter: "1".into(),
        invocation: first,
        result: first + 1,
        ..Call::default()
    };
    Msg::new(MessageType::CALL, &message)
}

pub(crate) fn set(key: &str, value: &'static str) -> Msg {
    let message = StateWrite {
        key: key.into(),
        value: content(value),
        name: String::new(),
    };
    Msg::new(MessageType::SET_STATE, &message)
}

/// A CANCEL that this invocation has sent.
pub(crate) fn send_cancel(target: &str) -> Msg {
    let message = SendSignal {
        target: target.into(),
        idx: Some(1),
        void: Some(Void {}),
        ..SendSignal::default()
    };
    Msg::new(MessageType::SEND_SIGNAL, &message)
}

// ---- notifications -------------------------------------------------------------------------------

fn notify(ty: MessageType, id: NotificationId, result: NotificationResult) -> Msg {
    Msg::notification(ty, id, result)
}

fn completion(id: u32, result: NotificationResult) -> Msg {
    // The SDK tells completions apart by their ids.
    notify(
        MessageType::CALL_COMPLETION,
        NotificationId::Completion(id),
        result,
    )
}

fn json(text: &str) -> NotificationResult {
    NotificationResult::Value(Value {
        content: format!("{text:?}").into(),
    })
}

pub(crate) fn void(id: u32) -> Msg {
    completion(id, NotificationResult::Void(Void {}))
}

/// A JSON string.
pub(crate) fn value(id: u32, text: &str) -> Msg {
    completion(id, json(text))
}

pub(crate) fn bytes(id: u32, content: &'static str) -> Msg {
    let content = content.into();
    completion(id, NotificationResult::Value(Value { content }))
}

pub(crate) fn failed(id: u32, code: u32, message: &str) -> Msg {
    let failure = fail(code, message).unwrap_or_default();
    completion(id, NotificationResult::Failure(failure.into()))
}

pub(crate) fn invoked(id: u32, invocation: &str) -> Msg {
    completion(
        id,
        NotificationResult::InvocationId(invocation.to_owned().into()),
    )
}

pub(crate) fn keys(id: u32, keys: &[&'static str]) -> Msg {
    let keys = keys.iter().map(|key| Bytes::from(*key)).collect();
    completion(id, NotificationResult::StateKeys(StateKeys { keys }))
}

/// An awakeable's signal, with a JSON string.
pub(crate) fn signal(id: u32, text: &str) -> Msg {
    notify(MessageType::SIGNAL, NotificationId::Signal(id), json(text))
}

pub(crate) fn named(name: &str, text: &str) -> Msg {
    let id = NotificationId::NamedSignal(name.into());
    notify(MessageType::SIGNAL, id, json(text))
}

pub(crate) fn cancel() -> Msg {
    let id = NotificationId::Signal(1);
    notify(MessageType::SIGNAL, id, NotificationResult::Void(Void {}))
}

pub(crate) fn ack(id: u32) -> Msg {
    Msg::run_ack(id)
}

/// The answer to an ephemeral read: the JSON string, or that the key is not set.
pub(crate) fn ephemeral(id: u32, text: Option<&str>) -> Msg {
    let value = text.map(|text| Value {
        content: format!("{text:?}").into(),
    });
    let void = value.is_none().then_some(Void {});
    Msg::new(
        MessageType::STATE_EPHEMERAL,
        &EphemeralState { id, void, value },
    )
}
