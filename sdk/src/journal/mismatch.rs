//! Comparing a recorded command with the one that the code issued, and reporting a difference.
//!
//! Replay compares encodings first; this module is for what is left: other encoders, tolerated
//! fields, and real mismatches. It walks both encodings with one table of the protocol's fields.

use std::fmt::Write as _;

use bytes::{Buf, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::protocol::MessageType;

#[derive(Clone, Copy)]
enum Kind {
    Uint,
    Text,
    /// User bytes: compared if their serialization is stable, never shown.
    Payload,
    /// Text that is compared and never shown: headers carry tokens.
    Secret,
    /// A point in time; it is new at each issue and not compared.
    Time,
    /// What stands as it was recorded: the result of an eager read, the output.
    Recorded,
    Message(&'static [Field]),
    /// A header of a call. Those of the trace context are new in each attempt and not compared.
    CallHeader(&'static [Field]),
}

type Field = (u32, &'static str, Kind);

const VALUE: Kind = Kind::Message(&[(1, "content", Kind::Payload)]);
const PAIR: &[Field] = &[(1, "key", Kind::Text), (2, "value", Kind::Secret)];
const HEADER: Kind = Kind::Message(PAIR);
const CALL_HEADER: Kind = Kind::CallHeader(PAIR);
/// The headers of the W3C trace context: whom a call belongs to, not what it does.
const TRACE_CONTEXT: [&str; 2] = ["traceparent", "tracestate"];
const FAILURE: Kind = Kind::Message(&[
    (1, "code", Kind::Uint),
    (2, "message", Kind::Text),
    (3, "metadata", HEADER),
]);
const VOID: Kind = Kind::Message(&[]);
const NAME: Field = (12, "name", Kind::Text);
const RESULT_ID: Field = (11, "result_completion_id", Kind::Uint);
const INVOCATION_ID: Field = (10, "invocation_id_notification_idx", Kind::Uint);
const ATTACH: &[Field] = &[
    (1, "invocation_id", Kind::Text),
    (
        3,
        "idempotent_request",
        Kind::Message(&[
            (1, "service_name", Kind::Text),
            (2, "service_key", Kind::Text),
            (3, "handler_name", Kind::Text),
            (4, "idempotency_key", Kind::Text),
            (5, "scope", Kind::Text),
        ]),
    ),
    (
        4,
        "workflow",
        Kind::Message(&[
            (1, "workflow_name", Kind::Text),
            (2, "workflow_key", Kind::Text),
            (3, "scope", Kind::Text),
        ]),
    ),
    RESULT_ID,
    NAME,
];

fn fields(ty: MessageType) -> &'static [Field] {
    match ty {
        // A recorded output stands, whatever the code makes of it now: a handler may return what a
        // replay counts otherwise, or serialize it in another order.
        MessageType::OUTPUT => &[
            NAME,
            (14, "value", Kind::Recorded),
            (15, "failure", Kind::Recorded),
        ],
        MessageType::GET_LAZY_STATE | MessageType::GET_PROMISE | MessageType::PEEK_PROMISE => {
            &[(1, "key", Kind::Text), RESULT_ID, NAME]
        }
        MessageType::SET_STATE => &[(1, "key", Kind::Text), (3, "value", VALUE), NAME],
        MessageType::CLEAR_STATE => &[(1, "key", Kind::Text), NAME],
        MessageType::CLEAR_ALL_STATE => &[NAME],
        MessageType::GET_LAZY_STATE_KEYS | MessageType::RUN => &[RESULT_ID, NAME],
        MessageType::GET_EAGER_STATE => &[
            (1, "key", Kind::Text),
            NAME,
            (13, "void", Kind::Recorded),
            (14, "value", Kind::Recorded),
        ],
        MessageType::GET_EAGER_STATE_KEYS => &[NAME, (14, "value", Kind::Recorded)],
        MessageType::COMPLETE_PROMISE => &[
            (1, "key", Kind::Text),
            (2, "completion_value", VALUE),
            (3, "completion_failure", FAILURE),
            RESULT_ID,
            NAME,
        ],
        MessageType::SLEEP => &[(1, "wake_up_time", Kind::Time), RESULT_ID, NAME],
        MessageType::CALL => &[
            (1, "service", Kind::Text),
            (2, "handler", Kind::Text),
            (3, "parameter", Kind::Payload),
            (4, "headers", CALL_HEADER),
            (5, "key", Kind::Text),
            (6, "idempotency_key", Kind::Text),
            (7, "scope", Kind::Text),
            (8, "limit_key", Kind::Text),
            INVOCATION_ID,
            RESULT_ID,
            NAME,
        ],
        MessageType::ONE_WAY_CALL => &[
            (1, "service", Kind::Text),
            (2, "handler", Kind::Text),
            (3, "parameter", Kind::Payload),
            (4, "invoke_time", Kind::Time),
            (5, "headers", CALL_HEADER),
            (6, "key", Kind::Text),
            (7, "idempotency_key", Kind::Text),
            (8, "scope", Kind::Text),
            (9, "limit_key", Kind::Text),
            INVOCATION_ID,
            NAME,
        ],
        MessageType::SEND_SIGNAL => &[
            (1, "target_invocation_id", Kind::Text),
            (2, "signal_id", Kind::Uint),
            (3, "signal_name", Kind::Text),
            (4, "void", VOID),
            (5, "value", VALUE),
            (6, "failure", FAILURE),
            (12, "entry_name", Kind::Text),
        ],
        MessageType::ATTACH_INVOCATION | MessageType::GET_INVOCATION_OUTPUT => ATTACH,
        MessageType::COMPLETE_AWAKEABLE => &[
            (1, "awakeable_id", Kind::Text),
            (2, "value", VALUE),
            (3, "failure", FAILURE),
            NAME,
        ],
        _ => &[],
    }
}

/// A field's value on the wire.
#[derive(Clone, Debug, PartialEq)]
enum Raw {
    Number(u64),
    Bytes(Bytes),
}

/// The fields of a message in tag order, defaults left out; `None` if the bytes are not protobuf.
fn parse(mut bytes: Bytes, table: &[Field], stable: bool) -> Option<Vec<(u32, Raw)>> {
    let mut parsed = Vec::new();
    while bytes.has_remaining() {
        let (tag, wire_type) = decode_key(&mut bytes).ok()?;
        let kind = table
            .iter()
            .find(|(t, ..)| *t == tag)
            .map(|(.., kind)| *kind);
        let raw = match wire_type {
            WireType::Varint => Raw::Number(decode_varint(&mut bytes).ok()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                if length > bytes.remaining() {
                    return None;
                }
                Raw::Bytes(bytes.split_to(length))
            }
            WireType::SixtyFourBit => Raw::Number(bytes.try_get_u64_le().ok()?),
            WireType::ThirtyTwoBit => Raw::Number(u64::from(bytes.try_get_u32_le().ok()?)),
            _ => return None,
        };
        let default = match (&raw, kind) {
            (_, Some(Kind::Time | Kind::Recorded)) => true,
            (_, Some(Kind::Payload)) if !stable => true,
            (Raw::Number(0), Some(Kind::Uint)) => true,
            (Raw::Bytes(header), Some(Kind::CallHeader(fields))) => {
                is_trace_context(header, fields)
            }
            (Raw::Bytes(bytes), Some(Kind::Text | Kind::Payload | Kind::Secret)) => {
                bytes.is_empty()
            }
            _ => false,
        };
        if !default {
            parsed.push((tag, raw));
        }
    }
    parsed.sort_by_key(|(tag, _)| *tag);
    Some(parsed)
}

fn is_trace_context(header: &Bytes, fields: &[Field]) -> bool {
    let parsed = parse(header.clone(), fields, true).unwrap_or_default();
    parsed.iter().any(|field| match field {
        (1, Raw::Bytes(key)) => TRACE_CONTEXT
            .iter()
            .any(|name| key.eq_ignore_ascii_case(name.as_bytes())),
        _ => false,
    })
}

/// The first field in which two encodings differ: its path, what the journal holds, what the code
/// issued. `None` if they say the same.
fn first_difference(
    recorded: &Bytes,
    issued: &Bytes,
    table: &[Field],
    stable: bool,
) -> Option<(String, String, String)> {
    let (Some(recorded), Some(issued)) = (
        parse(recorded.clone(), table, stable),
        parse(issued.clone(), table, stable),
    ) else {
        return Some((
            "the whole message".into(),
            "not readable as protobuf".into(),
            "as issued".into(),
        ));
    };
    let (mut left, mut right) = (recorded.iter().peekable(), issued.iter().peekable());
    loop {
        let (tag, held, made) = match (left.peek(), right.peek()) {
            (None, None) => return None,
            (Some((l, held)), Some((r, made))) if l == r => {
                left.next();
                right.next();
                (*l, Some(held), Some(made))
            }
            (Some((l, held)), other) if other.is_none_or(|(r, _)| l < r) => {
                left.next();
                (*l, Some(held), None)
            }
            (_, Some((r, made))) => {
                right.next();
                (*r, None, Some(made))
            }
            (Some(_), None) => return None,
        };
        if held == made {
            continue;
        }
        let (name, kind) = table.iter().find(|(t, ..)| *t == tag).map_or_else(
            || (format!("field {tag}"), None),
            |(_, name, kind)| ((*name).to_owned(), Some(*kind)),
        );
        if let (
            Some(Kind::Message(nested) | Kind::CallHeader(nested)),
            Some(Raw::Bytes(held)),
            Some(Raw::Bytes(made)),
        ) = (kind, held, made)
        {
            match first_difference(held, made, nested, stable) {
                None => continue,
                Some((path, held, made)) => return Some((format!("{name}.{path}"), held, made)),
            }
        }
        let position = match (held, made) {
            (Some(Raw::Bytes(held)), Some(Raw::Bytes(made))) => {
                held.iter().zip(made.iter()).position(|(a, b)| a != b)
            }
            _ => None,
        };
        return Some((name, show(held, kind, position), show(made, kind, None)));
    }
}

/// A value for a report. Payload bytes are never shown: reports end in logs.
fn show(raw: Option<&Raw>, kind: Option<Kind>, position: Option<usize>) -> String {
    match (raw, kind) {
        (None, _) => "nothing".into(),
        (Some(Raw::Number(number)), _) => number.to_string(),
        (Some(Raw::Bytes(bytes)), Some(Kind::Text)) => {
            let text = String::from_utf8_lossy(bytes);
            let mut shown: String = text.chars().take(120).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("`{shown}`")
        }
        (Some(Raw::Bytes(bytes)), _) => match position {
            Some(at) => format!("{} bytes that differ from byte {at} on", bytes.len()),
            None => format!("{} bytes", bytes.len()),
        },
    }
}

/// A short description of a command: its type and what tells it from others.
pub(crate) fn describe(ty: MessageType, payload: &Bytes) -> String {
    let mut text = ty.to_string();
    let table = fields(ty);
    let mut separator = " (";
    for (tag, raw) in parse(payload.clone(), table, true).unwrap_or_default() {
        if let Some((_, name, kind @ Kind::Text)) = table.iter().find(|(t, ..)| *t == tag) {
            let _ = write!(
                text,
                "{separator}{name} {}",
                show(Some(&raw), Some(*kind), None)
            );
            separator = ", ";
        }
    }
    if separator == ", " {
        text.push(')');
    }
    text
}

const CAUSES: &str = "\nLikely causes:\
    \n - the handler's code was changed while this invocation was in flight: register the new code \
    as a new deployment, so that old invocations finish on the old one;\
    \n - the handler's path depends on something that is not in the journal: a clock, a random \
    number, an environment variable, the order of a HashMap. Put it into `ctx.run`, or use what the \
    context offers (`ctx.now`, `ctx.random`);\
    \n - the handler awaits something that is not durable (a timer of the async runtime, a socket, \
    a lock, a spawned task) outside of `ctx.run`;\
    \n - one result wakes several branches of a combinator that does not keep their order: use \
    `durably::{join, try_join, select}!`.";

/// Compares a recorded command with the issued one of the same type; `Err` is the report.
pub(crate) fn compare(
    index: u32,
    ty: MessageType,
    recorded: &Bytes,
    issued: &Bytes,
    stable: bool,
) -> Result<(), String> {
    match first_difference(recorded, issued, fields(ty), stable) {
        None => Ok(()),
        Some((field, held, made)) => Err(format!(
            "the code does not match the journal at command {index}: they differ in `{field}`.\
             \n  the journal holds: {}\
             \n  the code issued:   {}\
             \n  `{field}` in the journal: {held}\
             \n  `{field}` in the code:    {made}{CAUSES}",
            describe(ty, recorded),
            describe(ty, issued),
        )),
    }
}

/// The report of a command of another type.
pub(crate) fn other_type(
    index: u32,
    recorded: (MessageType, &Bytes),
    issued: (MessageType, &Bytes),
) -> String {
    let end = if issued.0 == MessageType::OUTPUT {
        " (the handler returned)"
    } else {
        ""
    };
    format!(
        "the code does not match the journal at command {index}: they differ in the type of the command.\
         \n  the journal holds: {}\
         \n  the code issued:   {}{end}{CAUSES}",
        describe(recorded.0, recorded.1),
        describe(issued.0, issued.1),
    )
}

/// The report of a handler that blocks although the journal shows that it went on.
pub(crate) fn blocked(index: u32, recorded: (MessageType, &Bytes), awaited: &str) -> String {
    format!(
        "the code does not match the journal at command {index}: the code waits where the journal goes on.\
         \n  the journal holds: {}\
         \n  the code waits for: {awaited}, which the journal does not hold{CAUSES}",
        describe(recorded.0, recorded.1),
    )
}
