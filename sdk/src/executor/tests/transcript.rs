//! The frames that come out of an attempt, checked against the protocol and shown one a line.

use bytes::Bytes;
use prost::Message;

use super::wire::{
    Attach, AwaitingOn, Call, CompleteAwakeable, CompletePromise, EagerState, EagerStateKeys,
    EphemeralRead, Error, Ids, KeyedRead, OneWayCall, Output, Proposal, SendSignal, Sleep,
    StateWrite, Suspension, Tree,
};
use crate::protocol::{
    MessageType, ProtocolVersion,
    message::{Failure, Value},
};

/// A frame that came out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Out {
    pub(super) ty: MessageType,
    pub(super) payload: Bytes,
    requested_ack: bool,
}

impl Out {
    pub(super) fn decode<M: Message + Default>(&self) -> M {
        M::decode(self.payload.clone()).unwrap()
    }

    pub(super) fn is_terminator(&self) -> bool {
        let terminators = [
            MessageType::END,
            MessageType::ERROR,
            MessageType::SUSPENSION,
        ];
        terminators.contains(&self.ty)
    }
}

/// Cuts whole frames off the front of `bytes`.
pub(super) fn frames(bytes: &mut Vec<u8>) -> Vec<Out> {
    let mut out = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let Some(payload) = rest.get(..length) else {
            break;
        };
        let flags = u16::from_be_bytes([header[2], header[3]]);
        assert!(flags & !0x8000 == 0, "reserved bits are set: {flags:#x}");
        let ty = MessageType(u16::from_be_bytes([header[0], header[1]]));
        assert!(
            flags == 0 || ty == MessageType::PROPOSE_RUN_COMPLETION,
            "an ack is asked for {ty}"
        );
        out.push(Out {
            ty,
            payload: Bytes::copy_from_slice(payload),
            requested_ack: flags != 0,
        });
        bytes.drain(..8 + length);
    }
    out
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn result(void: bool, value: Option<Value>, failure: Option<Failure>) -> String {
    match (void, value, failure) {
        (true, None, None) => "void".into(),
        (false, Some(value), None) => text(&value.content),
        (false, None, Some(failure)) => {
            let metadata: String = failure
                .metadata
                .iter()
                .map(|header| format!(" {}={}", header.key, header.value))
                .collect();
            format!("!{} {}{metadata}", failure.code, failure.message)
        }
        other => panic!("not one result: {other:?}"),
    }
}

fn named(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" `{name}`")
    }
}

fn awaited(completions: &[u32], signals: &[u32], names: &[String]) -> String {
    let mut text = String::new();
    completions.iter().for_each(|id| text += &format!(" c{id}"));
    signals.iter().for_each(|id| text += &format!(" s{id}"));
    names.iter().for_each(|name| text += &format!(" `{name}`"));
    text
}

/// The root is CANCEL or what is awaited; what is awaited is one nested future. Where a CANCEL is held off,
/// the root is what is awaited.
fn tree(root: &Tree) -> String {
    if root.nested.is_empty() {
        assert_eq!(root.combinator, 1);
        let awaited = awaited(&root.completions, &root.signals, &root.named);
        return format!("{awaited} and no CANCEL");
    }
    assert_eq!(
        (root.signals.as_slice(), root.combinator),
        ([1].as_slice(), 1)
    );
    assert!(root.completions.is_empty() && root.named.is_empty());
    let [inner] = root.nested.as_slice() else {
        panic!("{root:?}");
    };
    assert!(inner.nested.is_empty());
    assert_eq!(inner.combinator, 1);
    awaited(&inner.completions, &inner.signals, &inner.named)
}

fn error(version: ProtocolVersion, error: &Error) -> String {
    assert_eq!(
        error.index.is_some(),
        error.ty.is_some(),
        "index and type come together"
    );
    let mut text = format!("Error {}", error.code);
    if let (Some(index), Some(ty)) = (error.index, error.ty) {
        let ty = MessageType(ty.try_into().unwrap());
        text += &format!(
            " @{index} {ty}{}",
            named(error.name.as_deref().unwrap_or_default())
        );
    }
    if let Some(delay) = error.delay {
        text += &format!(" after {delay}");
    }
    assert!(version.has_v7() || error.behavior == 0);
    text += ["", " PAUSE", " FAIL"][error.behavior as usize];
    format!("{text}: {}", error.message)
}

/// A frame in one line.
pub(super) fn show(version: ProtocolVersion, out: &Out) -> String {
    let ty = out.ty;
    match ty {
        MessageType::END => "End".into(),
        MessageType::ERROR => error(version, &out.decode()),
        MessageType::SUSPENSION => {
            let suspension: Suspension = out.decode();
            let awaited = match &suspension.tree {
                Some(root) => {
                    assert!(version.has_v7());
                    assert_eq!(
                        suspension,
                        Suspension {
                            tree: Some(root.clone()),
                            ..Suspension::default()
                        }
                    );
                    tree(root)
                }
                None => {
                    assert!(!version.has_v7());
                    let all = &suspension.signals;
                    let signals = all.strip_prefix(&[1]).unwrap_or(all);
                    let awaited = awaited(&suspension.completions, signals, &suspension.named);
                    let held_off = if signals.len() == all.len() {
                        " and no CANCEL"
                    } else {
                        ""
                    };
                    format!("{awaited}{held_off}")
                }
            };
            format!("Suspension{awaited}")
        }
        MessageType::AWAITING_ON => {
            assert!(version.has_v7());
            let awaiting: AwaitingOn = out.decode();
            assert!(!awaiting.executing_side_effects);
            format!("AwaitingOn{}", tree(&awaiting.tree.unwrap()))
        }
        MessageType::PROPOSE_RUN_COMPLETION => {
            assert_eq!(out.requested_ack, version.has_v7());
            let Proposal { id, value, failure } = out.decode();
            let value = value.map(|content| Value { content });
            format!("Propose #{id}={}", result(false, value, failure))
        }
        _ => command(ty, out),
    }
}

fn command(ty: MessageType, out: &Out) -> String {
    match ty {
        MessageType::OUTPUT => {
            let Output { value, failure, .. } = out.decode();
            format!("{ty} {}", result(false, value, failure))
        }
        MessageType::SET_STATE => {
            let StateWrite { key, value, .. } = out.decode();
            format!("{ty} {key}={}", text(&value.unwrap().content))
        }
        MessageType::CLEAR_STATE => format!("{ty} {}", out.decode::<StateWrite>().key),
        MessageType::CLEAR_ALL_STATE => ty.to_string(),
        MessageType::GET_LAZY_STATE | MessageType::GET_PROMISE | MessageType::PEEK_PROMISE => {
            let KeyedRead { key, result, .. } = out.decode();
            format!("{ty} {key} #{result}")
        }
        MessageType::GET_EAGER_STATE => {
            let read: EagerState = out.decode();
            let value = result(read.void.is_some(), read.value, None);
            format!("{ty} {}={value}", read.key)
        }
        MessageType::GET_EAGER_STATE_KEYS => {
            let keys = out.decode::<EagerStateKeys>().keys.unwrap().keys;
            let keys: Vec<_> = keys.iter().map(|key| text(key)).collect();
            format!("{ty} {}", keys.join(","))
        }
        MessageType::COMPLETE_PROMISE => {
            let complete: CompletePromise = out.decode();
            let result = result(false, complete.value, complete.failure);
            format!("{ty} {}={result} #{}", complete.key, complete.result)
        }
        MessageType::SLEEP => {
            let sleep: Sleep = out.decode();
            format!("{ty} #{}{}", sleep.result, named(&sleep.name))
        }
        MessageType::RUN | MessageType::GET_LAZY_STATE_KEYS => {
            let ids: Ids = out.decode();
            format!("{ty} #{}{}", ids.result, named(&ids.name))
        }
        MessageType::CALL => {
            let call: Call = out.decode();
            let (service, handler) = (&call.service, &call.handler);
            format!(
                "{ty} {service}/{handler} #{} #{}",
                call.invocation, call.result
            )
        }
        MessageType::ONE_WAY_CALL => {
            let call: OneWayCall = out.decode();
            format!(
                "{ty} {}/{} #{}",
                call.service, call.handler, call.invocation
            )
        }
        MessageType::SEND_SIGNAL => {
            let send: SendSignal = out.decode();
            let signal = match (send.idx, send.signal) {
                (Some(idx), None) => idx.to_string(),
                (None, Some(name)) => format!("`{name}`"),
                other => panic!("{other:?}"),
            };
            let result = result(send.void.is_some(), send.value, send.failure);
            format!("{ty} {} {signal}={result}", send.target)
        }
        MessageType::ATTACH_INVOCATION | MessageType::GET_INVOCATION_OUTPUT => {
            format!("{ty} #{}", out.decode::<Attach>().result)
        }
        MessageType::COMPLETE_AWAKEABLE => {
            let CompleteAwakeable { value, failure, .. } = out.decode();
            format!("{ty} {}", result(false, value, failure))
        }
        MessageType::GET_STATE_EPHEMERAL => {
            let read: EphemeralRead = out.decode();
            format!("{ty} {} #{}", read.key, read.id)
        }
        _ => panic!("{ty} came out of the SDK"),
    }
}
