//! The messages that come in, decoded.
//!
//! Recorded commands stay bytes: replay compares encodings, and only a difference is looked at
//! field by field (`journal::mismatch`). All notifications share one shape.

use bytes::Bytes;
use prost::Message as _;

use super::{MessageType, frame::Frame};

/// `Start`, the first message of every attempt.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Start {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) debug_id: String,
    /// Commands and notifications that follow before the handler may run; at least 1 (Input).
    #[prost(uint32, tag = "3")]
    pub(crate) known_entries: u32,
    #[prost(message, repeated, tag = "4")]
    pub(crate) state_map: Vec<StateEntry>,
    #[prost(bool, tag = "5")]
    pub(crate) partial_state: bool,
    #[prost(string, tag = "6")]
    pub(crate) key: String,
    #[prost(uint32, tag = "7")]
    pub(crate) retry_count_since_last_stored_entry: u32,
    /// Milliseconds.
    #[prost(uint64, tag = "8")]
    pub(crate) duration_since_last_stored_entry: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) random_seed: u64,
    #[prost(string, optional, tag = "10")]
    pub(crate) scope: Option<String>,
    #[prost(string, optional, tag = "11")]
    pub(crate) limit_key: Option<String>,
    #[prost(string, optional, tag = "12")]
    pub(crate) idempotency_key: Option<String>,
}

/// One entry of the eager state.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StateEntry {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// A header of an input or of a call.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Header {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// A payload.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Value {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) content: Bytes,
}

/// A terminal failure.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Failure {
    #[prost(uint32, tag = "1")]
    pub(crate) code: u32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<Header>,
}

/// Keys of the state.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StateKeys {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) keys: Vec<Bytes>,
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Void {}

/// The `Input` command, always the first of the journal.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct InputCommand {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<Header>,
    #[prost(message, optional, tag = "14")]
    pub(crate) value: Option<Value>,
}

/// The fields of a recorded eager state read that replay needs.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetEagerState {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(message, optional, tag = "13")]
    pub(crate) void: Option<Void>,
    #[prost(message, optional, tag = "14")]
    pub(crate) value: Option<Value>,
}

/// The fields of a recorded eager read of the state keys that replay needs.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetEagerStateKeys {
    #[prost(message, optional, tag = "14")]
    pub(crate) keys: Option<StateKeys>,
}

/// Every notification: whom it is for, and what it says.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Notification {
    #[prost(oneof = "NotificationId", tags = "1, 2, 3")]
    pub(crate) id: Option<NotificationId>,
    #[prost(oneof = "NotificationResult", tags = "4, 5, 6, 16, 17")]
    pub(crate) result: Option<NotificationResult>,
}

/// Whom a notification is for.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum NotificationId {
    #[prost(uint32, tag = "1")]
    Completion(u32),
    #[prost(uint32, tag = "2")]
    Signal(u32),
    #[prost(string, tag = "3")]
    NamedSignal(String),
}

/// What a notification says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum NotificationResult {
    #[prost(message, tag = "4")]
    Void(Void),
    #[prost(message, tag = "5")]
    Value(Value),
    #[prost(message, tag = "6")]
    Failure(Failure),
    #[prost(string, tag = "16")]
    InvocationId(String),
    #[prost(message, tag = "17")]
    StateKeys(StateKeys),
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunAck {
    #[prost(uint32, tag = "1")]
    completion_id: u32,
}

/// The answer to an ephemeral state read (v8): not in the journal.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EphemeralState {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) void: Option<Void>,
    #[prost(message, optional, tag = "5")]
    pub(crate) value: Option<Value>,
}

/// A message from the runtime.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Incoming {
    Start(Box<Start>),
    /// A recorded command, kept as bytes.
    Command(MessageType, Bytes),
    Notification(Notification),
    /// The ack of a run's proposal (v7): it stands for the run's completion.
    RunAck(u32),
    /// The answer to an ephemeral state read (v8).
    EphemeralState(EphemeralState),
    /// Tolerated and ignored.
    CommandAck,
}

/// Why a frame is not a message that a runtime may send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("a {ty} message cannot be decoded: {source}")]
    Undecodable {
        ty: MessageType,
        source: prost::DecodeError,
    },
    #[error("a message of type {0} has no business on the way to an SDK")]
    Unexpected(MessageType),
}

impl Incoming {
    /// The message in a frame.
    pub(crate) fn decode(frame: Frame) -> Result<Self, MessageError> {
        let Frame { ty, payload } = frame;
        let undecodable = |source| MessageError::Undecodable { ty, source };
        Ok(match ty {
            MessageType::START => {
                Self::Start(Box::new(Start::decode(payload).map_err(undecodable)?))
            }
            MessageType::RUN_ACK => {
                Self::RunAck(RunAck::decode(payload).map_err(undecodable)?.completion_id)
            }
            MessageType::COMMAND_ACK => Self::CommandAck,
            MessageType::STATE_EPHEMERAL => {
                Self::EphemeralState(EphemeralState::decode(payload).map_err(undecodable)?)
            }
            _ if ty.is_command() => Self::Command(ty, payload),
            _ if ty.is_notification() => {
                Self::Notification(Notification::decode(payload).map_err(undecodable)?)
            }
            _ => return Err(MessageError::Unexpected(ty)),
        })
    }
}
