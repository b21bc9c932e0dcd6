//! Commands and control messages as the protocol lays them out: `prost` structs with its field
//! numbers, written down independently of what the library encodes.
//!
//! A name covers several messages where their fields agree. Notifications, Start and Input are those of
//! [`crate::protocol::message`].

use bytes::Bytes;

use crate::protocol::message::{Failure, Header, StateKeys, Value, Void};

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

impl Output {
    /// The result that the handler gives.
    pub(crate) fn outcome(&self) -> Result<Bytes, Failure> {
        match (&self.failure, &self.value) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(value)) => Ok(value.content.clone()),
            (None, None) => Ok(Bytes::new()),
        }
    }
}
