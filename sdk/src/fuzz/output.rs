//! What the library writes, read by the protocol: whole frames, each of a kind that an SDK may send,
//! one terminator, and nothing behind it.

use bytes::{Buf as _, Bytes};
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::protocol::MessageType;

/// A frame that was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) ty: MessageType,
    pub(super) payload: Bytes,
}

impl Written {
    pub(super) fn is_terminator(&self) -> bool {
        [
            MessageType::END,
            MessageType::ERROR,
            MessageType::SUSPENSION,
        ]
        .contains(&self.ty)
    }

    /// The number in a field, zero if it is not there.
    pub(super) fn number(&self, tag: u32) -> u64 {
        let mut found = 0;
        fields(&self.payload, |at, wire_type, mut value| {
            if at == tag && wire_type == prost::encoding::WireType::Varint {
                found = prost::encoding::decode_varint(&mut value).unwrap_or_default();
            }
        });
        found
    }

    /// The text in a field, empty if it is not there.
    pub(super) fn text(&self, tag: u32) -> String {
        let mut found = String::new();
        fields(&self.payload, |at, wire_type, mut value| {
            if at == tag && wire_type == prost::encoding::WireType::LengthDelimited {
                let _ = prost::encoding::decode_varint(&mut value);
                found = String::from_utf8_lossy(value).into_owned();
            }
        });
        found
    }
}

/// Goes over the fields of a message, which must be well formed.
fn fields(payload: &Bytes, mut visit: impl FnMut(u32, prost::encoding::WireType, &[u8])) {
    let mut rest: &[u8] = payload;
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).expect("a key");
        let value = rest;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).expect("a field");
        visit(tag, wire_type, &value[..value.len() - rest.len()]);
    }
}

/// Everything that was written so far.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) frames: Vec<Written>,
    /// How many frames there were at each mark.
    marks: Vec<usize>,
}

impl Output {
    pub(super) fn is_ended(&self) -> bool {
        self.end().is_some()
    }

    /// The terminator; none while the handler waits for something foreign, whatever it says then
    /// (a replay has nothing to say about what it waited for before).
    pub(super) fn end(&self) -> Option<&Written> {
        self.frames.last().filter(|last| last.is_terminator())
    }

    /// Takes all that is there, and returns the new frames; there are only whole ones.
    pub(super) fn take(&mut self, mut segment: impl FnMut() -> Option<Bytes>) -> &[Written] {
        let before = self.frames.len();
        let mut bytes = Vec::new();
        while let Some(segment) = segment() {
            assert!(!segment.is_empty(), "an empty segment");
            bytes.extend_from_slice(&segment);
        }
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            assert!(
                !self.is_ended(),
                "{} bytes behind the terminator",
                rest.len()
            );
            rest = self.read(rest);
        }
        &self.frames[before..]
    }

    fn read<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (head, rest) = bytes.split_first_chunk::<8>().expect("a whole header");
        let [high, low, f1, f2, l1, l2, l3, l4] = *head;
        let ty = MessageType(u16::from_be_bytes([high, low]));
        let length = u32::from_be_bytes([l1, l2, l3, l4]) as usize;
        let (payload, rest) = rest.split_at_checked(length).expect("a whole frame");
        let from_sdk = [
            MessageType::SUSPENSION,
            MessageType::ERROR,
            MessageType::END,
            MessageType::PROPOSE_RUN_COMPLETION,
            MessageType::AWAITING_ON,
            MessageType::GET_STATE_EPHEMERAL,
        ];
        let is_command = ty.is_command() && ty != MessageType::INPUT && ty.name().is_some();
        assert!(is_command || from_sdk.contains(&ty), "{ty} was written");
        let proposal = ty == MessageType::PROPOSE_RUN_COMPLETION;
        assert!(f1 == 0 || (f1 == 0x80 && proposal), "flags {f1:#x} of {ty}");
        assert_eq!(f2, 0, "flags of {ty}");
        let payload = Bytes::copy_from_slice(payload);
        fields(&payload, |tag, _, _| {
            assert!(tag < 20, "field {tag} of {ty}")
        });
        self.frames.push(Written { ty, payload });
        rest
    }

    /// A chunk of the input is done with.
    pub(super) fn mark(&mut self) {
        self.marks.push(self.frames.len());
    }

    /// What was written up to each mark, and after the last one.
    pub(super) fn by_mark(&self) -> impl Iterator<Item = &[Written]> {
        let starts = [0].into_iter().chain(self.marks.iter().copied());
        let ends = self.marks.iter().copied().chain([self.frames.len()]);
        starts
            .zip(ends)
            .map(|(start, end)| &self.frames[start..end])
    }

    /// The commands among the frames.
    pub(super) fn commands(&self) -> Vec<&Written> {
        self.frames
            .iter()
            .filter(|frame| frame.ty.is_command())
            .collect()
    }
}
