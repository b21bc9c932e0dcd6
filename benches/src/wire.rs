//! Frames of the service protocol, made by hand: what the runtime sends, and what it must get back.
//!
//! Deliberately a second implementation beside the SDK's own, so that an error in one is no error in
//! both. It knows the messages that the benchmark's handlers need and no others.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a frame's header.
const HEADER_LEN: usize = 8;

/// The flag by which a proposal asks for an acknowledgement (protocol v7).
const REQUESTED_ACK: u64 = 0x0000_8000_0000_0000;

const START: u16 = 0x0000;
const END: u16 = 0x0003;
const PROPOSE_RUN_COMPLETION: u16 = 0x0005;
const PROPOSE_RUN_COMPLETION_ACK: u16 = 0x0007;
const INPUT: u16 = 0x0400;
const OUTPUT: u16 = 0x0401;
const SET_STATE: u16 = 0x0403;
const GET_EAGER_STATE: u16 = 0x0407;
const CALL: u16 = 0x040D;
const RUN: u16 = 0x0411;
const CALL_NOTIFICATION: u16 = 0x800D;
const CALL_INVOCATION_ID: u16 = 0x800E;
const RUN_NOTIFICATION: u16 = 0x8011;
const SIGNAL: u16 = 0xFBFF;

/// The type of AwaitingOn messages, which may come anywhere (protocol v7).
pub const AWAITING_ON: u16 = 0x0006;

/// The type of Suspension messages.
pub const SUSPENSION: u16 = 0x0001;

/// A message of the service protocol.
///
/// # Examples
///
/// ```
/// use durably_benches::wire::{self, Message};
///
/// let mut bytes = wire::end().frame();
/// assert_eq!(bytes.len(), 8);
/// assert_eq!(Message::take(&mut bytes), Some(wire::end()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The 16 bits that say what it is.
    pub ty: u16,
    /// Whether the sender wants an acknowledgement.
    pub requested_ack: bool,
    /// The protobuf message.
    pub payload: Bytes,
}

impl Message {
    fn new(ty: u16, fields: Fields) -> Self {
        Self {
            ty,
            requested_ack: false,
            payload: fields.0.into(),
        }
    }

    /// The message with the header in front.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        let flag = if self.requested_ack { REQUESTED_ACK } else { 0 };
        let header = u64::from(self.ty) << 48 | flag | self.payload.len() as u64;
        let mut frame = Vec::with_capacity(HEADER_LEN + self.payload.len());
        frame.extend_from_slice(&header.to_be_bytes());
        frame.extend_from_slice(&self.payload);
        frame.into()
    }

    /// Takes a message off the front, if it is there as a whole.
    pub fn take(bytes: &mut Bytes) -> Option<Self> {
        let header = u64::from_be_bytes(*bytes.first_chunk::<HEADER_LEN>()?);
        let length = (header & 0xffff_ffff) as usize;
        if bytes.len() < HEADER_LEN + length {
            return None;
        }
        bytes.advance(HEADER_LEN);
        Some(Self::of(header, bytes.split_to(length)))
    }

    /// The same from bytes that are still being gathered.
    pub fn take_from(bytes: &mut BytesMut) -> Option<Self> {
        let header = u64::from_be_bytes(*bytes.first_chunk::<HEADER_LEN>()?);
        let length = (header & 0xffff_ffff) as usize;
        if bytes.len() < HEADER_LEN + length {
            return None;
        }
        bytes.advance(HEADER_LEN);
        Some(Self::of(header, bytes.split_to(length).freeze()))
    }

    fn of(header: u64, payload: Bytes) -> Self {
        Self {
            ty: (header >> 48) as u16,
            requested_ack: header & REQUESTED_ACK != 0,
            payload,
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ack = if self.requested_ack { " (ack)" } else { "" };
        let payload = self.payload.escape_ascii();
        write!(f, "{:#06x}{ack} {payload}", self.ty)
    }
}

/// The messages in one piece.
#[must_use]
pub fn join(messages: &[Message]) -> Bytes {
    let frames: Vec<Bytes> = messages.iter().map(Message::frame).collect();
    frames.concat().into()
}

/// Protobuf fields, written in the order of the calls. Defaults are left out, except in a `oneof`.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn uint(mut self, tag: u32, value: u64) -> Self {
        if value != 0 {
            self.varint(u64::from(tag << 3));
            self.varint(value);
        }
        self
    }

    fn bytes(self, tag: u32, value: &[u8]) -> Self {
        if value.is_empty() {
            self
        } else {
            self.one_of(tag, value)
        }
    }

    fn one_of(mut self, tag: u32, value: &[u8]) -> Self {
        self.varint(u64::from(tag << 3 | 2));
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A list of one number.
    fn packed(self, tag: u32, value: u32) -> Self {
        let mut list = Self::default();
        list.varint(value.into());
        self.one_of(tag, &list.0)
    }

    /// A `Value` message with this content.
    fn value(self, tag: u32, content: &[u8]) -> Self {
        self.one_of(tag, &Self::default().bytes(1, content).0)
    }
}

fn fields() -> Fields {
    Fields::default()
}

/// Start of an invocation with so many known entries and the whole state. Its raw id is 24 bytes of 7.
#[must_use]
pub fn start(known_entries: u32, state: &[(String, String)]) -> Message {
    let mut start = fields()
        .bytes(1, &[7; 24])
        .bytes(2, b"inv_1")
        .uint(3, known_entries.into());
    for (key, value) in state {
        let entry = fields().bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
        start = start.one_of(4, &entry.0);
    }
    let key: &[u8] = if state.is_empty() { b"" } else { b"my-key" };
    Message::new(START, start.bytes(6, key).uint(9, 42))
}

/// The Input command.
#[must_use]
pub fn input(body: &[u8]) -> Message {
    Message::new(INPUT, fields().value(14, body))
}

/// The Output command with a value.
#[must_use]
pub fn output(body: &[u8]) -> Message {
    Message::new(OUTPUT, fields().value(14, body))
}

/// The End message.
#[must_use]
pub fn end() -> Message {
    Message::new(END, fields())
}

/// A Run command.
#[must_use]
pub fn run(name: &str, id: u32) -> Message {
    Message::new(RUN, fields().uint(11, id.into()).bytes(12, name.as_bytes()))
}

/// The proposal of a run's value; on v7 it asks for an acknowledgement.
#[must_use]
pub fn propose_run(id: u32, value: &[u8], requested_ack: bool) -> Message {
    let fields = fields().uint(1, id.into()).one_of(14, value);
    Message {
        requested_ack,
        ..Message::new(PROPOSE_RUN_COMPLETION, fields)
    }
}

/// The acknowledgement of a proposal.
#[must_use]
pub fn run_ack(id: u32) -> Message {
    Message::new(PROPOSE_RUN_COMPLETION_ACK, fields().uint(1, id.into()))
}

/// A run's completion.
#[must_use]
pub fn run_completed(id: u32, value: &[u8]) -> Message {
    let fields = fields().uint(1, id.into()).value(5, value);
    Message::new(RUN_NOTIFICATION, fields)
}

/// A Call command; the ids are that of the invocation id, and the next one for the result.
#[must_use]
pub fn call(service: &str, handler: &str, parameter: &[u8], id: u32) -> Message {
    let fields = fields()
        .bytes(1, service.as_bytes())
        .bytes(2, handler.as_bytes())
        .bytes(3, parameter)
        .uint(10, id.into())
        .uint(11, u64::from(id) + 1);
    Message::new(CALL, fields)
}

/// The notification of a called invocation's id.
#[must_use]
pub fn call_invocation_id(id: u32) -> Message {
    let fields = fields().uint(1, id.into()).one_of(16, b"inv_1callee");
    Message::new(CALL_INVOCATION_ID, fields)
}

/// A call's result.
#[must_use]
pub fn call_completed(id: u32, value: &[u8]) -> Message {
    let fields = fields().uint(1, id.into()).value(5, value);
    Message::new(CALL_NOTIFICATION, fields)
}

/// A signal with a value.
#[must_use]
pub fn signal(index: u32, value: &[u8]) -> Message {
    let fields = fields().uint(2, index.into()).value(5, value);
    Message::new(SIGNAL, fields)
}

/// A GetEagerState command with the value that was found.
#[must_use]
pub fn get_eager_state(key: &str, value: &[u8]) -> Message {
    let fields = fields().bytes(1, key.as_bytes()).value(14, value);
    Message::new(GET_EAGER_STATE, fields)
}

/// The Suspension of somebody who waits for one completion, or the cancellation.
#[must_use]
pub fn suspension(completion: u32, version: u32) -> Message {
    let cancel = fields().one_of(2, &[1]);
    if version < 7 {
        let waiting = fields().packed(1, completion).one_of(2, &[1]);
        return Message::new(SUSPENSION, waiting);
    }
    let awaited = fields().packed(1, completion).uint(5, 1);
    let awaiting_on = cancel.one_of(4, &awaited.0).uint(5, 1);
    Message::new(SUSPENSION, fields().one_of(4, &awaiting_on.0))
}

/// The completions and signals that a Suspension waits for, however they are nested, if it is one.
///
/// # Examples
///
/// ```
/// use durably_benches::wire;
///
/// for version in [6, 7] {
///     let suspension = wire::suspension(300, version);
///     assert_eq!(wire::awaited(&suspension), Some((vec![300], vec![1])));
/// }
/// ```
#[must_use]
pub fn awaited(message: &Message) -> Option<(Vec<u32>, Vec<u32>)> {
    let mut awaited = (Vec::new(), Vec::new());
    if message.ty != SUSPENSION {
        return None;
    }
    // The lists have the same numbers in the Suspension of old and in the tree of today, which
    // stands in the Suspension's field 4; nested trees have that number, too.
    let mut trees = vec![&*message.payload];
    while let Some(mut tree) = trees.pop() {
        while !tree.is_empty() {
            let key = varint(&mut tree)?;
            let number = varint(&mut tree)?;
            let mut several = match (key >> 3, key & 7) {
                (1, 0) => {
                    awaited.0.push(u32::try_from(number).ok()?);
                    continue;
                }
                (2, 0) => {
                    awaited.1.push(u32::try_from(number).ok()?);
                    continue;
                }
                (5, 0) => continue,
                (1..=4, 2) => tree.split_off(..usize::try_from(number).ok()?)?,
                _ => return None,
            };
            match key >> 3 {
                3 => return None,
                4 => trees.push(several),
                list => {
                    while !several.is_empty() {
                        let id = u32::try_from(varint(&mut several)?).ok()?;
                        if list == 1 {
                            awaited.0.push(id);
                        } else {
                            awaited.1.push(id);
                        }
                    }
                }
            }
        }
    }
    Some(awaited)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A SetState command.
#[must_use]
pub fn set_state(key: &str, value: &[u8]) -> Message {
    let fields = fields().bytes(1, key.as_bytes()).value(3, value);
    Message::new(SET_STATE, fields)
}
