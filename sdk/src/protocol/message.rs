//! The messages that come in, decoded.
//!
//! Recorded commands stay bytes: replay compares encodings, and only a difference is looked at
//! field by field (`journal::mismatch`). All notifications share one shape.

use bytes::Bytes;
use prost::Message as _;

use super::{MessageType, frame::Frame, reader::Reader};
use crate::error::TerminalError;

/// `Start` as a runtime writes it: for tests, since an SDK reads it with [`super::start`].
#[cfg(any(test, fuzzing, feature = "testing", feature = "local"))]
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Start {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) debug_id: String,
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
#[cfg(any(test, fuzzing, feature = "testing", feature = "local"))]
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

impl From<&TerminalError> for Failure {
    fn from(error: &TerminalError) -> Self {
        let metadata = error.metadata().iter().map(|(key, value)| Header {
            key: key.clone(),
            value: value.clone(),
        });
        Self {
            code: error.code().into(),
            message: error.message().to_owned(),
            metadata: metadata.collect(),
        }
    }
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

impl Notification {
    /// Decodes what nearly every notification is: a completion with nothing, a value or an invocation
    /// id, in tag order and with nothing else. `None` says that it is something else, not what is
    /// wrong with it.
    fn plain(payload: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(payload);
        if reader.varint().ok()? != ID {
            return None;
        }
        let id = NotificationId::Completion(u32::try_from(reader.varint().ok()?).ok()?);
        let key = reader.varint().ok()?;
        let result = reader.bytes().ok()?;
        if !reader.is_at_end() {
            return None;
        }
        let result = match key {
            VOID if result.is_empty() => NotificationResult::Void(Void {}),
            VALUE if result.is_empty() => NotificationResult::Value(Value::default()),
            VALUE => {
                let mut reader = Reader::within(payload, result);
                if reader.varint().ok()? != CONTENT {
                    return None;
                }
                let content = reader.bytes().ok()?;
                if !reader.is_at_end() {
                    return None;
                }
                let content = payload.slice(content);
                NotificationResult::Value(Value { content })
            }
            INVOCATION_ID => NotificationResult::InvocationId(payload.slice(result)),
            _ => return None,
        };
        let notification = Self {
            id: Some(id),
            result: Some(result),
        };
        notification.checked()
    }

    /// `None` if what should be text is not.
    fn checked(self) -> Option<Self> {
        match &self.result {
            Some(NotificationResult::InvocationId(id)) => {
                std::str::from_utf8(id).is_ok().then_some(self)
            }
            _ => Some(self),
        }
    }
}

/// The keys of the fields of a notification and of its value: tag and wire type.
const ID: u64 = 1 << 3;
const VOID: u64 = 4 << 3 | 2;
const VALUE: u64 = 5 << 3 | 2;
const INVOCATION_ID: u64 = 16 << 3 | 2;
const CONTENT: u64 = 1 << 3 | 2;

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
    /// Rare, and larger than everything else.
    #[prost(message, boxed, tag = "6")]
    Failure(Box<Failure>),
    /// Text; it was checked to be UTF-8.
    #[prost(bytes = "bytes", tag = "16")]
    InvocationId(Bytes),
    #[prost(message, tag = "17")]
    StateKeys(StateKeys),
}

impl From<Result<Bytes, TerminalError>> for NotificationResult {
    fn from(result: Result<Bytes, TerminalError>) -> Self {
        match result {
            Ok(content) => Self::Value(Value { content }),
            Err(error) => Self::Failure(Box::new(Failure::from(&error))),
        }
    }
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
    /// A `Start`, not decoded yet: there is one for each attempt, and it is large.
    Start(Bytes),
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
    #[error("a {0} message cannot be decoded: its invocation id is not UTF-8")]
    NotText(MessageType),
    #[error("a message of type {0} has no business on the way to an SDK")]
    Unexpected(MessageType),
}

impl Incoming {
    /// The message in a frame.
    pub(crate) fn decode(frame: Frame) -> Result<Self, MessageError> {
        let Frame { ty, payload } = frame;
        let undecodable = |source| MessageError::Undecodable { ty, source };
        Ok(match ty {
            MessageType::START => Self::Start(payload),
            MessageType::RUN_ACK => {
                Self::RunAck(RunAck::decode(payload).map_err(undecodable)?.completion_id)
            }
            MessageType::COMMAND_ACK => Self::CommandAck,
            MessageType::STATE_EPHEMERAL => {
                Self::EphemeralState(EphemeralState::decode(payload).map_err(undecodable)?)
            }
            _ if ty.is_command() => Self::Command(ty, payload),
            _ if ty.is_notification() => Self::Notification(match Notification::plain(&payload) {
                Some(notification) => notification,
                None => Notification::decode(payload)
                    .map_err(undecodable)?
                    .checked()
                    .ok_or(MessageError::NotText(ty))?,
            }),
            _ => return Err(MessageError::Unexpected(ty)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::start;
    use proptest::prelude::*;

    fn starts() -> impl Strategy<Value = Start> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from);
        let state = prop::collection::vec((bytes(), bytes()), 0..5);
        let text = || "\\PC{0,9}";
        let optional = || prop::option::of("\\PC{0,9}");
        (
            (bytes(), text(), any::<u32>(), state, any::<bool>(), text()),
            (
                any::<u32>(),
                any::<u64>(),
                any::<u64>(),
                optional(),
                optional(),
                optional(),
            ),
        )
            .prop_map(|(known, more)| Start {
                id: known.0,
                debug_id: known.1,
                known_entries: known.2,
                state_map: known
                    .3
                    .into_iter()
                    .map(|(key, value)| StateEntry { key, value })
                    .collect(),
                partial_state: known.4,
                key: known.5,
                retry_count_since_last_stored_entry: more.0,
                duration_since_last_stored_entry: more.1,
                random_seed: more.2,
                scope: more.3,
                limit_key: more.4,
                idempotency_key: more.5,
            })
    }

    fn assert_same(decoded: &start::Start, due: &Start) {
        assert_eq!(*decoded.id, due.id);
        assert_eq!(decoded.debug_id, due.debug_id);
        assert_eq!(decoded.known_entries, due.known_entries);
        assert_eq!(decoded.partial_state, due.partial_state);
        assert_eq!(decoded.key, due.key);
        assert_eq!(
            (
                decoded.retry_count_since_last_stored_entry,
                decoded.duration_since_last_stored_entry,
                decoded.random_seed,
            ),
            (
                due.retry_count_since_last_stored_entry,
                due.duration_since_last_stored_entry,
                due.random_seed,
            )
        );
        assert_eq!(decoded.scope, due.scope);
        assert_eq!(decoded.limit_key, due.limit_key);
        assert_eq!(decoded.idempotency_key, due.idempotency_key);
        assert_eq!(decoded.state.len(), due.state_map.len());
        for (at, entry) in due.state_map.iter().enumerate() {
            assert_eq!(decoded.state.key_slice(at), entry.key);
            assert_eq!(decoded.state.value(at), entry.value);
        }
    }

    fn results() -> impl Strategy<Value = Option<NotificationResult>> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        prop::option::of(prop_oneof![
            Just(NotificationResult::Void(Void {})),
            bytes().prop_map(|content| NotificationResult::Value(Value { content })),
            "\\PC{0,20}".prop_map(|id| NotificationResult::InvocationId(id.into())),
            bytes().prop_map(NotificationResult::InvocationId),
            any::<u32>().prop_map(|code| NotificationResult::Failure(Box::new(Failure {
                code,
                ..Failure::default()
            }))),
        ])
    }

    fn ids() -> impl Strategy<Value = Option<NotificationId>> {
        prop::option::of(prop_oneof![
            any::<u32>().prop_map(NotificationId::Completion),
            (0..200u32).prop_map(NotificationId::Completion),
            any::<u32>().prop_map(NotificationId::Signal),
        ])
    }

    /// What the general decoder says.
    fn slow(payload: &Bytes) -> Option<Notification> {
        Notification::decode(payload.clone()).ok()?.checked()
    }

    proptest! {
        #[test]
        fn the_quick_decoder_says_what_the_general_one_says(
            id in ids(),
            result in results(),
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = Notification { id, result }.encode_to_vec();
            if let Some((at, byte)) = change && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(at) = cut {
                bytes.truncate(at.index(bytes.len() + 1));
            }
            let bytes = Bytes::from(bytes);
            if let Some(quick) = Notification::plain(&bytes) {
                prop_assert_eq!(Some(quick), slow(&bytes));
            }
        }
    }

    proptest! {
        /// Any Start, with a byte changed or cut off anywhere, is read as the protobuf library reads it.
        #[test]
        fn start_says_what_the_general_decoder_says(
            start in starts(),
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = start.encode_to_vec();
            if let Some((at, byte)) = change && !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(at) = cut {
                bytes.truncate(at.index(bytes.len() + 1));
            }
            match (start::Start::decode(bytes.clone().into()), Start::decode(&*bytes)) {
                (Ok(decoded), Ok(due)) => assert_same(&decoded, &due),
                (Err(_), Err(_)) => {}
                // Groups are skipped there and refused here.
                (Err(_), Ok(_)) => {}
                (Ok(decoded), Err(error)) => panic!("{decoded:?}, but {error}"),
            }
        }
    }

    #[test]
    fn what_is_usual_is_decoded_quickly() {
        for result in [
            NotificationResult::Void(Void {}),
            NotificationResult::Value(Value {
                content: Bytes::new(),
            }),
            NotificationResult::Value(Value {
                content: Bytes::from(vec![7; 100_000]),
            }),
            NotificationResult::InvocationId("inv_1".into()),
        ] {
            for id in [1, 127, 128, 2_000_000] {
                let notification = Notification {
                    id: Some(NotificationId::Completion(id)),
                    result: Some(result.clone()),
                };
                let bytes = notification.encode_to_vec().into();
                assert_eq!(Notification::plain(&bytes), Some(notification));
            }
        }
    }
}
