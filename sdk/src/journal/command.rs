//! The commands that a handler issues, and how each is written.
//!
//! One row here is one row of the protocol's command table. Completion ids are not part of a
//! [`Command`]: the journal hands them out when it is issued.

use bytes::Bytes;

use crate::error::TerminalError;
use crate::protocol::{MessageType, ProtocolVersion, encode::Encoder};

/// Where a call goes and what it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallFields<'a> {
    pub(crate) service: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) key: &'a str,
    pub(crate) parameter: &'a Bytes,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) scope: Option<&'a str>,
    pub(crate) limit_key: Option<&'a str>,
    pub(crate) stable: bool,
}

/// Whose result an attach or an output read asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AttachTarget<'a> {
    Invocation(&'a str),
    Idempotent {
        service: &'a str,
        key: Option<&'a str>,
        handler: &'a str,
        idempotency_key: &'a str,
        scope: Option<&'a str>,
    },
    Workflow {
        name: &'a str,
        key: &'a str,
        scope: Option<&'a str>,
    },
}

/// What a signal, an awakeable or a promise is completed with. `stable` is false for payloads whose
/// bytes may differ from one serialization to the next: replay does not compare those.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Completion<'a> {
    Void,
    Value { payload: &'a Bytes, stable: bool },
    Failure(&'a TerminalError),
}

impl Completion<'_> {
    fn is_stable(&self) -> bool {
        !matches!(self, Self::Value { stable: false, .. })
    }
}

/// Which signal is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SignalId<'a> {
    Index(u32),
    Name(&'a str),
}

/// A command as the handler issues it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command<'a> {
    Output(Completion<'a>),
    SetState {
        key: &'a str,
        value: &'a Bytes,
        stable: bool,
    },
    ClearState {
        key: &'a str,
    },
    ClearAllState,
    GetPromise {
        key: &'a str,
    },
    PeekPromise {
        key: &'a str,
    },
    CompletePromise {
        key: &'a str,
        completion: Completion<'a>,
    },
    /// Milliseconds since the Unix epoch.
    Sleep {
        wake_up_time: u64,
    },
    Call(CallFields<'a>),
    /// Milliseconds since the Unix epoch; 0 is now.
    OneWayCall {
        call: CallFields<'a>,
        invoke_time: u64,
    },
    SendSignal {
        target: &'a str,
        signal: SignalId<'a>,
        completion: Completion<'a>,
    },
    Run,
    Attach(AttachTarget<'a>),
    GetOutput(AttachTarget<'a>),
    CompleteAwakeable {
        id: &'a str,
        completion: Completion<'a>,
    },
}

impl Command<'_> {
    pub(crate) fn ty(&self) -> MessageType {
        match self {
            Self::Output(_) => MessageType::OUTPUT,
            Self::SetState { .. } => MessageType::SET_STATE,
            Self::ClearState { .. } => MessageType::CLEAR_STATE,
            Self::ClearAllState => MessageType::CLEAR_ALL_STATE,
            Self::GetPromise { .. } => MessageType::GET_PROMISE,
            Self::PeekPromise { .. } => MessageType::PEEK_PROMISE,
            Self::CompletePromise { .. } => MessageType::COMPLETE_PROMISE,
            Self::Sleep { .. } => MessageType::SLEEP,
            Self::Call(_) => MessageType::CALL,
            Self::OneWayCall { .. } => MessageType::ONE_WAY_CALL,
            Self::SendSignal { .. } => MessageType::SEND_SIGNAL,
            Self::Run => MessageType::RUN,
            Self::Attach(_) => MessageType::ATTACH_INVOCATION,
            Self::GetOutput(_) => MessageType::GET_INVOCATION_OUTPUT,
            Self::CompleteAwakeable { .. } => MessageType::COMPLETE_AWAKEABLE,
        }
    }

    /// Whether replay compares the payload.
    pub(crate) fn is_stable(&self) -> bool {
        match self {
            Self::Output(completion)
            | Self::CompletePromise { completion, .. }
            | Self::SendSignal { completion, .. }
            | Self::CompleteAwakeable { completion, .. } => completion.is_stable(),
            Self::SetState { stable, .. } => *stable,
            Self::Call(call) | Self::OneWayCall { call, .. } => call.stable,
            _ => true,
        }
    }

    /// What this command needs that the negotiated version cannot carry: it is refused, never
    /// dropped on the way.
    pub(crate) fn unsupported(&self, version: ProtocolVersion) -> Option<&'static str> {
        if version.has_v7() {
            return None;
        }
        let scoped = match self {
            Self::Call(call) | Self::OneWayCall { call, .. } => {
                if call.limit_key.is_some() {
                    return Some("a limit key");
                }
                call.scope
            }
            Self::Attach(target) | Self::GetOutput(target) => match target {
                AttachTarget::Invocation(_) => None,
                AttachTarget::Idempotent { scope, .. } | AttachTarget::Workflow { scope, .. } => {
                    *scope
                }
            },
            _ => None,
        };
        if scoped.is_some() {
            return Some("a scope");
        }
        match self {
            Self::Output(Completion::Failure(error))
            | Self::CompletePromise {
                completion: Completion::Failure(error),
                ..
            }
            | Self::SendSignal {
                completion: Completion::Failure(error),
                ..
            }
            | Self::CompleteAwakeable {
                completion: Completion::Failure(error),
                ..
            } if !version.has_failure_metadata() && !error.metadata().is_empty() => {
                Some("metadata of a terminal error")
            }
            _ => None,
        }
    }

    /// Writes the payload of the message. `ids` are the completion ids that it takes.
    pub(crate) fn encode(&self, name: &str, first_id: u32, encoder: &mut Encoder) {
        let id = u64::from(first_id);
        match self {
            Self::Output(completion) => {
                // `name` (12) comes before the value (14) in tag order.
                encoder.bytes(12, name);
                value_or_failure(encoder, 14, completion);
                return;
            }
            Self::SetState { key, value, .. } => {
                encoder.bytes(1, key);
                encoder.value(3, value);
            }
            Self::ClearState { key } => encoder.bytes(1, key),
            Self::ClearAllState => {}
            Self::GetPromise { key } | Self::PeekPromise { key } => {
                encoder.bytes(1, key);
                encoder.uint(11, id);
            }
            Self::CompletePromise { key, completion } => {
                encoder.bytes(1, key);
                value_or_failure(encoder, 2, completion);
                encoder.uint(11, id);
            }
            Self::Sleep { wake_up_time } => {
                encoder.uint(1, *wake_up_time);
                encoder.uint(11, id);
            }
            Self::Call(call) => {
                encoder.bytes(1, call.service);
                encoder.bytes(2, call.handler);
                encoder.payload(3, call.parameter);
                headers(encoder, 4, call.headers);
                encoder.bytes(5, call.key);
                optional(encoder, 6, call.idempotency_key);
                optional(encoder, 7, call.scope);
                optional(encoder, 8, call.limit_key);
                encoder.uint(10, id);
                encoder.uint(11, id + 1);
            }
            Self::OneWayCall { call, invoke_time } => {
                encoder.bytes(1, call.service);
                encoder.bytes(2, call.handler);
                encoder.payload(3, call.parameter);
                encoder.uint(4, *invoke_time);
                headers(encoder, 5, call.headers);
                encoder.bytes(6, call.key);
                optional(encoder, 7, call.idempotency_key);
                optional(encoder, 8, call.scope);
                optional(encoder, 9, call.limit_key);
                encoder.uint(10, id);
            }
            Self::SendSignal {
                target,
                signal,
                completion,
            } => {
                encoder.bytes(1, target);
                match signal {
                    SignalId::Index(index) => encoder.uint_always(2, u64::from(*index)),
                    SignalId::Name(name) => encoder.bytes_always(3, name),
                }
                match completion {
                    Completion::Void => encoder.void(4),
                    completion => value_or_failure(encoder, 5, completion),
                }
            }
            Self::Run => encoder.uint(11, id),
            Self::Attach(target) | Self::GetOutput(target) => {
                attach_target(encoder, target);
                encoder.uint(11, id);
            }
            Self::CompleteAwakeable {
                id: awakeable,
                completion,
            } => {
                encoder.bytes(1, awakeable);
                value_or_failure(encoder, 2, completion);
            }
        }
        encoder.bytes(12, name);
    }
}

/// The value under `tag`, or the failure under the tag behind it.
fn value_or_failure(encoder: &mut Encoder, tag: u32, completion: &Completion<'_>) {
    match completion {
        Completion::Void => encoder.value(tag, &Bytes::new()),
        Completion::Value { payload, .. } => encoder.value(tag, payload),
        Completion::Failure(error) => encoder.failure(tag + 1, error),
    }
}

fn headers(encoder: &mut Encoder, tag: u32, headers: &[(String, String)]) {
    for (key, value) in headers {
        encoder.header(tag, key, value);
    }
}

fn optional(encoder: &mut Encoder, tag: u32, value: Option<&str>) {
    if let Some(value) = value {
        encoder.bytes_always(tag, value);
    }
}

fn attach_target(encoder: &mut Encoder, target: &AttachTarget<'_>) {
    match target {
        AttachTarget::Invocation(id) => encoder.bytes_always(1, id),
        AttachTarget::Idempotent {
            service,
            key,
            handler,
            idempotency_key,
            scope,
        } => {
            encoder.nested(3, |encoder| {
                encoder.bytes(1, service);
                optional(encoder, 2, *key);
                encoder.bytes(3, handler);
                encoder.bytes(4, idempotency_key);
                optional(encoder, 5, *scope);
            });
        }
        AttachTarget::Workflow { name, key, scope } => encoder.nested(4, |encoder| {
            encoder.bytes(1, name);
            encoder.bytes(2, key);
            optional(encoder, 3, *scope);
        }),
    }
}
