//! The wire as a runtime sees it: every message as a `prost` struct with the protocol's field
//! numbers, written down independently of the code under test.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use crate::protocol::{
    MessageType,
    message::{
        EphemeralState, Failure, Header, InputCommand, Notification, NotificationId,
        NotificationResult, Start, StateKeys, Value, Void,
    },
};

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($rest:tt)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, PartialEq, prost::Message)]
            pub(crate) struct $name { $($rest)* }
        )*
    };
}

messages! {
    Output {
        #[prost(string, tag = "12")] pub(crate) name: String,
        #[prost(message, optional, tag = "14")] pub(crate) value: Option<Value>,
        #[prost(message, optional, tag = "15")] pub(crate) failure: Option<Failure>,
    }
    /// GetLazyState, GetPromise, PeekPromise.
    KeyedRead {
        #[prost(string, tag = "1")] pub(crate) key: String,
        #[prost(uint32, tag = "11")] pub(crate) result: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    /// SetState, ClearState, ClearAllState.
    StateWrite {
        #[prost(string, tag = "1")] pub(crate) key: String,
        #[prost(message, optional, tag = "3")] pub(crate) value: Option<Value>,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    EphemeralRead {
        #[prost(uint32, tag = "1")] pub(crate) id: u32,
        #[prost(string, tag = "2")] pub(crate) key: String,
    }
    EagerState {
        #[prost(string, tag = "1")] pub(crate) key: String,
        #[prost(string, tag = "12")] pub(crate) name: String,
        #[prost(message, optional, tag = "13")] pub(crate) void: Option<Void>,
        #[prost(message, optional, tag = "14")] pub(crate) value: Option<Value>,
    }
    EagerStateKeys {
        #[prost(string, tag = "12")] pub(crate) name: String,
        #[prost(message, optional, tag = "14")] pub(crate) keys: Option<StateKeys>,
    }
    /// Run, GetLazyStateKeys; and the ids of any other command.
    Ids {
        #[prost(uint32, tag = "10")] pub(crate) invocation: u32,
        #[prost(uint32, tag = "11")] pub(crate) result: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    CompletePromise {
        #[prost(string, tag = "1")] pub(crate) key: String,
        #[prost(message, optional, tag = "2")] pub(crate) value: Option<Value>,
        #[prost(message, optional, tag = "3")] pub(crate) failure: Option<Failure>,
        #[prost(uint32, tag = "11")] pub(crate) result: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    Sleep {
        #[prost(uint64, tag = "1")] pub(crate) wake_up_time: u64,
        #[prost(uint32, tag = "11")] pub(crate) result: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    Call {
        #[prost(string, tag = "1")] pub(crate) service: String,
        #[prost(string, tag = "2")] pub(crate) handler: String,
        #[prost(bytes = "bytes", tag = "3")] pub(crate) parameter: Bytes,
        #[prost(message, repeated, tag = "4")] pub(crate) headers: Vec<Header>,
        #[prost(string, tag = "5")] pub(crate) key: String,
        #[prost(string, optional, tag = "6")] pub(crate) idempotency_key: Option<String>,
        #[prost(string, optional, tag = "7")] pub(crate) scope: Option<String>,
        #[prost(string, optional, tag = "8")] pub(crate) limit_key: Option<String>,
        #[prost(uint32, tag = "10")] pub(crate) invocation: u32,
        #[prost(uint32, tag = "11")] pub(crate) result: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    OneWayCall {
        #[prost(string, tag = "1")] pub(crate) service: String,
        #[prost(string, tag = "2")] pub(crate) handler: String,
        #[prost(bytes = "bytes", tag = "3")] pub(crate) parameter: Bytes,
        #[prost(uint64, tag = "4")] pub(crate) invoke_time: u64,
        #[prost(message, repeated, tag = "5")] pub(crate) headers: Vec<Header>,
        #[prost(string, tag = "6")] pub(crate) key: String,
        #[prost(string, optional, tag = "7")] pub(crate) idempotency_key: Option<String>,
        #[prost(string, optional, tag = "8")] pub(crate) scope: Option<String>,
        #[prost(string, optional, tag = "9")] pub(crate) limit_key: Option<String>,
        #[prost(uint32, tag = "10")] pub(crate) invocation: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    SendSignal {
        #[prost(string, tag = "1")] pub(crate) target: String,
        #[prost(uint32, optional, tag = "2")] pub(crate) idx: Option<u32>,
        #[prost(string, optional, tag = "3")] pub(crate) signal: Option<String>,
        #[prost(message, optional, tag = "4")] pub(crate) void: Option<Void>,
        #[prost(message, optional, tag = "5")] pub(crate) value: Option<Value>,
        #[prost(message, optional, tag = "6")] pub(crate) failure: Option<Failure>,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    IdempotentTarget {
        #[prost(string, tag = "1")] pub(crate) service: String,
        #[prost(string, optional, tag = "2")] pub(crate) key: Option<String>,
        #[prost(string, tag = "3")] pub(crate) handler: String,
        #[prost(string, tag = "4")] pub(crate) idempotency_key: String,
        #[prost(string, optional, tag = "5")] pub(crate) scope: Option<String>,
    }
    WorkflowTarget {
        #[prost(string, tag = "1")] pub(crate) workflow: String,
        #[prost(string, tag = "2")] pub(crate) key: String,
        #[prost(string, optional, tag = "3")] pub(crate) scope: Option<String>,
    }
    /// AttachInvocation, GetInvocationOutput.
    Attach {
        #[prost(string, optional, tag = "1")] pub(crate) invocation: Option<String>,
        #[prost(message, optional, tag = "3")] pub(crate) idempotent: Option<IdempotentTarget>,
        #[prost(message, optional, tag = "4")] pub(crate) workflow: Option<WorkflowTarget>,
        #[prost(uint32, tag = "11")] pub(crate) result: u32,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    CompleteAwakeable {
        #[prost(string, tag = "1")] pub(crate) id: String,
        #[prost(message, optional, tag = "2")] pub(crate) value: Option<Value>,
        #[prost(message, optional, tag = "3")] pub(crate) failure: Option<Failure>,
        #[prost(string, tag = "12")] pub(crate) name: String,
    }
    Proposal {
        #[prost(uint32, tag = "1")] pub(crate) id: u32,
        #[prost(bytes = "bytes", optional, tag = "14")] pub(crate) value: Option<Bytes>,
        #[prost(message, optional, tag = "15")] pub(crate) failure: Option<Failure>,
    }
    /// `Future` of v7.
    Tree {
        #[prost(uint32, repeated, tag = "1")] pub(crate) completions: Vec<u32>,
        #[prost(uint32, repeated, tag = "2")] pub(crate) signals: Vec<u32>,
        #[prost(string, repeated, tag = "3")] pub(crate) named: Vec<String>,
        #[prost(message, repeated, tag = "4")] pub(crate) nested: Vec<Tree>,
        #[prost(uint32, tag = "5")] pub(crate) combinator: u32,
    }
    /// The lists are those of v5 and v6, the tree that of v7.
    Suspension {
        #[prost(uint32, repeated, tag = "1")] pub(crate) completions: Vec<u32>,
        #[prost(uint32, repeated, tag = "2")] pub(crate) signals: Vec<u32>,
        #[prost(string, repeated, tag = "3")] pub(crate) named: Vec<String>,
        #[prost(message, optional, tag = "4")] pub(crate) tree: Option<Tree>,
    }
    AwaitingOn {
        #[prost(message, optional, tag = "1")] pub(crate) tree: Option<Tree>,
        #[prost(bool, tag = "2")] pub(crate) executing_side_effects: bool,
    }
    Error {
        #[prost(uint32, tag = "1")] pub(crate) code: u32,
        #[prost(string, tag = "2")] pub(crate) message: String,
        #[prost(string, tag = "3")] pub(crate) stacktrace: String,
        #[prost(uint32, optional, tag = "4")] pub(crate) index: Option<u32>,
        #[prost(string, optional, tag = "5")] pub(crate) name: Option<String>,
        #[prost(uint32, optional, tag = "6")] pub(crate) ty: Option<u32>,
        #[prost(uint64, optional, tag = "8")] pub(crate) delay: Option<u64>,
        #[prost(uint32, tag = "9")] pub(crate) behavior: u32,
    }
    Ack {
        #[prost(uint32, tag = "1")] pub(crate) id: u32,
    }
}

/// A message on its way to the SDK.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Msg {
    pub(crate) ty: MessageType,
    pub(crate) payload: Bytes,
}

impl Msg {
    pub(crate) fn new(ty: MessageType, message: &impl Message) -> Self {
        Self::raw(ty, message.encode_to_vec())
    }

    pub(crate) fn raw(ty: MessageType, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self { ty, payload }
    }

    pub(crate) fn frame(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u16(self.ty.0);
        bytes.put_u16(0);
        bytes.put_u32(self.payload.len() as u32);
        bytes.put_slice(&self.payload);
        bytes.freeze()
    }
}

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
    let message = Notification {
        id: Some(id),
        result: Some(result),
    };
    Msg::new(ty, &message)
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
    Msg::new(MessageType::RUN_ACK, &Ack { id })
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
