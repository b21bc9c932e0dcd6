//! Writing messages.
//!
//! Everything goes into one growing buffer; a payload above [`SPLICE_ABOVE`] bytes is not copied
//! into it but remembered as a splice and leaves as a segment of its own. Field order is the tag
//! order, as the usual encoders write it, so that equal messages have equal bytes and replay can
//! compare encodings.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use prost::encoding::{encoded_len_varint, key_len};

use super::{
    MessageType,
    frame::{HEADER_LEN, header},
};
use crate::error::TerminalError;

/// Payloads larger than this many bytes travel as a segment of their own, without a copy.
pub(crate) const SPLICE_ABOVE: usize = 4096;

/// A buffer of up to this many bytes is copied out and used again, instead of given away.
const KEPT: usize = 16 * 1024;

/// How many bytes there is space for when a frame begins and there is none.
const RESERVED: usize = 64;

/// Writes protobuf fields, and frames around them.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
    /// Payloads that belong at an offset of `buffer`, in order.
    splices: Vec<(usize, Bytes)>,
}

/// Where a frame begins, for its length to be filled in.
#[derive(Debug)]
#[must_use]
pub(crate) struct FrameStart {
    offset: usize,
    splices: usize,
    ty: MessageType,
    requested_ack: bool,
}

impl Encoder {
    /// Bytes held, splices included.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
            + self
                .splices
                .iter()
                .map(|(_, payload)| payload.len())
                .sum::<usize>()
    }

    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.splices.clear();
    }

    /// Begins a frame; [`Encoder::end`] fills in its length.
    pub(crate) fn begin(&mut self, ty: MessageType) -> FrameStart {
        self.begin_with(ty, false)
    }

    /// Begins a frame, with or without the flag that asks for an ack.
    pub(crate) fn begin_with(&mut self, ty: MessageType, requested_ack: bool) -> FrameStart {
        let start = FrameStart {
            offset: self.buffer.len(),
            splices: self.splices.len(),
            ty,
            requested_ack,
        };
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(RESERVED);
        }
        self.buffer.extend_from_slice(&[0; HEADER_LEN]);
        start
    }

    /// Ends the frame. If its payload is larger than `limit`, or than the 4 GiB that a frame can
    /// hold, the frame is taken back and the payload's length returned.
    pub(crate) fn end(&mut self, start: FrameStart, limit: usize) -> Result<(), usize> {
        let spliced: usize = self.splices[start.splices..]
            .iter()
            .map(|(_, payload)| payload.len())
            .sum();
        let length = self.buffer.len() - start.offset - HEADER_LEN + spliced;
        match u32::try_from(length) {
            Ok(fits) if length <= limit => {
                let header = header(start.ty, start.requested_ack, fits);
                self.buffer[start.offset..start.offset + HEADER_LEN].copy_from_slice(&header);
                Ok(())
            }
            _ => {
                self.buffer.truncate(start.offset);
                self.splices.truncate(start.splices);
                Err(length)
            }
        }
    }

    /// Ends the frame of a message that is never large.
    pub(crate) fn end_small(&mut self, start: FrameStart) {
        let ended = self.end(start, usize::MAX);
        debug_assert!(ended.is_ok(), "a small message of {ended:?} bytes");
    }

    /// Takes everything written: the first segment, and into `output` those behind it, if payloads
    /// travel as segments of their own.
    ///
    /// If `last`, nothing will be written any more, and the buffer goes as well.
    pub(crate) fn drain(&mut self, output: &mut VecDeque<Bytes>, last: bool) -> Option<Bytes> {
        if self.buffer.is_empty() {
            return None;
        }
        let mut written = if last || self.buffer.len() > KEPT {
            Bytes::from(mem::take(&mut self.buffer).into_boxed_slice())
        } else {
            // In a piece of its own size, and the buffer serves again.
            let written = Bytes::copy_from_slice(&self.buffer);
            self.buffer.clear();
            written
        };
        if self.splices.is_empty() {
            return Some(written);
        }
        let mut taken = 0;
        for (offset, payload) in self.splices.drain(..) {
            if offset > taken {
                output.push_back(written.split_to(offset - taken));
                taken = offset;
            }
            output.push_back(payload);
        }
        if !written.is_empty() {
            output.push_back(written);
        }
        output.pop_front()
    }

    /// Whether what was written is exactly `recorded`.
    pub(crate) fn equals(&self, recorded: &[u8]) -> bool {
        if recorded.len() != self.len() {
            return false;
        }
        let (mut rest, mut taken) = (recorded, 0);
        for (offset, payload) in &self.splices {
            let (inline, after) = rest.split_at(offset - taken);
            let (spliced, after) = after.split_at(payload.len());
            if inline != &self.buffer[taken..*offset] || spliced != payload {
                return false;
            }
            (rest, taken) = (after, *offset);
        }
        rest == &self.buffer[taken..]
    }

    /// A copy of what was written, in one piece.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut joined = Vec::with_capacity(self.len());
        let mut taken = 0;
        for (offset, payload) in &self.splices {
            joined.extend_from_slice(&self.buffer[taken..*offset]);
            joined.extend_from_slice(payload);
            taken = *offset;
        }
        joined.extend_from_slice(&self.buffer[taken..]);
        joined.into()
    }

    /// A number; zero is the default and not written.
    pub(crate) fn uint(&mut self, tag: u32, value: u64) {
        if value != 0 {
            self.uint_always(tag, value);
        }
    }

    /// A number that is written even if it is zero (optional and oneof fields).
    pub(crate) fn uint_always(&mut self, tag: u32, value: u64) {
        self.pair(u64::from(tag) << 3, value);
    }

    /// Numbers, packed.
    pub(crate) fn packed(&mut self, tag: u32, values: &[u32]) {
        if values.is_empty() {
            return;
        }
        let length: usize = values
            .iter()
            .map(|v| encoded_len_varint(u64::from(*v)))
            .sum();
        self.length_prefix(tag, length);
        for value in values {
            let (bytes, length) = varint(u64::from(*value));
            self.buffer.extend_from_slice(&bytes[..length]);
        }
    }

    /// Text or bytes; empty is the default and not written.
    pub(crate) fn bytes(&mut self, tag: u32, value: impl AsRef<[u8]>) {
        if !value.as_ref().is_empty() {
            self.bytes_always(tag, value);
        }
    }

    /// Text or bytes, written even if empty (optional, oneof and repeated fields).
    pub(crate) fn bytes_always(&mut self, tag: u32, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.length_prefix(tag, value.len());
        self.buffer.extend_from_slice(value);
    }

    /// A payload as a bytes field; empty is not written.
    pub(crate) fn payload(&mut self, tag: u32, payload: &Bytes) {
        if !payload.is_empty() {
            self.payload_always(tag, payload);
        }
    }

    /// A payload as a bytes field, written even if empty.
    pub(crate) fn payload_always(&mut self, tag: u32, payload: &Bytes) {
        self.length_prefix(tag, payload.len());
        if payload.len() > SPLICE_ABOVE {
            self.splices.push((self.buffer.len(), payload.clone()));
        } else {
            self.buffer.extend_from_slice(payload);
        }
    }

    /// A `Value` message: `{1 content}`.
    pub(crate) fn value(&mut self, tag: u32, payload: &Bytes) {
        let length = if payload.is_empty() {
            0
        } else {
            bytes_len(1, payload.len())
        };
        self.length_prefix(tag, length);
        self.payload(1, payload);
    }

    /// An empty message.
    pub(crate) fn void(&mut self, tag: u32) {
        self.length_prefix(tag, 0);
    }

    /// A `Header` message: `{1 key, 2 value}`.
    pub(crate) fn header(&mut self, tag: u32, key: &str, value: &str) {
        self.length_prefix(tag, header_len(key, value));
        self.bytes(1, key);
        self.bytes(2, value);
    }

    /// A `Failure` message: `{1 code, 2 message, 3 metadata}`.
    pub(crate) fn failure(&mut self, tag: u32, error: &TerminalError) {
        let code = u64::from(error.code());
        let mut length = 0;
        if code != 0 {
            length += key_len(1) + encoded_len_varint(code);
        }
        if !error.message().is_empty() {
            length += bytes_len(2, error.message().len());
        }
        for (key, value) in error.metadata() {
            length += bytes_len(3, header_len(key, value));
        }
        self.length_prefix(tag, length);
        self.uint(1, code);
        self.bytes(2, error.message());
        for (key, value) in error.metadata() {
            self.header(3, key, value);
        }
    }

    /// A nested message, written by `write`, without payloads. It moves up when its length is known.
    pub(crate) fn nested(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        let (key, key_length) = varint(u64::from(tag) << 3 | LENGTH_DELIMITED);
        self.buffer.extend_from_slice(&key[..key_length]);
        let (at, splices) = (self.buffer.len(), self.splices.len());
        write(self);
        debug_assert_eq!(self.splices.len(), splices, "a payload in a nested message");
        let end = self.buffer.len();
        let (bytes, length) = varint((end - at) as u64);
        self.buffer.extend_from_slice(&bytes[..length]);
        self.buffer.copy_within(at..end, at + length);
        self.buffer[at..at + length].copy_from_slice(&bytes[..length]);
    }

    fn length_prefix(&mut self, tag: u32, length: usize) {
        self.pair(u64::from(tag) << 3 | LENGTH_DELIMITED, length as u64);
    }

    /// A field's key and a number: its value or its length.
    #[inline]
    fn pair(&mut self, key: u64, number: u64) {
        if key < 0x80 && number < 0x80 {
            self.buffer.extend_from_slice(&[key as u8, number as u8]);
        } else if key < 0x80 && number < 0x4000 {
            let (low, high) = (number as u8 | 0x80, (number >> 7) as u8);
            self.buffer.extend_from_slice(&[key as u8, low, high]);
        } else {
            self.long_pair(key, number);
        }
    }

    fn long_pair(&mut self, key: u64, number: u64) {
        for number in [key, number] {
            let (bytes, length) = varint(number);
            self.buffer.extend_from_slice(&bytes[..length]);
        }
    }
}

/// The wire type of text, bytes and messages.
const LENGTH_DELIMITED: u64 = 2;

/// A number in base 128, lowest digits first: its bytes, and how many of them count.
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut length = 0;
    for byte in &mut bytes {
        length += 1;
        *byte = value as u8 & 0x7F;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, length)
}

fn bytes_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn header_len(key: &str, value: &str) -> usize {
    let mut length = 0;
    for (tag, text) in [(1, key), (2, value)] {
        if !text.is_empty() {
            length += bytes_len(tag, text.len());
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message;
    use prost::Message as _;

    #[test]
    fn large_payloads_are_spliced_and_compared_in_place() {
        let large = Bytes::from(vec![7u8; SPLICE_ABOVE + 1]);
        let mut encoder = Encoder::default();
        let frame = encoder.begin(MessageType::SET_STATE);
        encoder.bytes(1, "key");
        encoder.value(3, &large);
        encoder.bytes(12, "name");
        assert_eq!(encoder.end(frame, 1 << 20), Ok(()));
        let whole = encoder.to_bytes();
        assert!(encoder.equals(&whole));
        let mut other = whole.to_vec();
        other[100] ^= 1;
        assert!(!encoder.equals(&other));
        assert!(!encoder.equals(&whole[1..]));
        let mut output = VecDeque::new();
        let first = encoder.drain(&mut output, false).unwrap();
        output.push_front(first);
        assert_eq!(output.len(), 3);
        assert_eq!(output[1].as_ptr(), large.as_ptr());
        assert_eq!(
            output
                .iter()
                .flat_map(|part| part.to_vec())
                .collect::<Vec<_>>(),
            whole
        );
        assert_eq!(encoder.len(), 0);
    }

    #[test]
    fn a_frame_above_the_limit_is_taken_back_whole() {
        let mut encoder = Encoder::default();
        let before = encoder.begin(MessageType::END);
        encoder.end_small(before);
        let written = encoder.to_bytes();
        let payload = Bytes::from(vec![7u8; SPLICE_ABOVE + 1]);
        // Tag and length take three bytes.
        let length = payload.len() + 3;
        for (limit, result) in [(length - 1, Err(length)), (length, Ok(()))] {
            let frame = encoder.begin(MessageType::SET_STATE);
            encoder.payload(3, &payload);
            assert_eq!(encoder.end(frame, limit), result);
            let expected = written.len()
                + if result.is_ok() {
                    HEADER_LEN + length
                } else {
                    0
                };
            assert_eq!(encoder.len(), expected);
        }
    }

    #[test]
    fn failures_are_written_as_the_protobuf_library_writes_them() {
        for error in [
            TerminalError::new(""),
            TerminalError::new("no").with_code(0),
            TerminalError::new("cancelled")
                .with_code(409)
                .with_metadata("a", "b")
                .with_metadata("c", ""),
        ] {
            let mut encoder = Encoder::default();
            encoder.failure(6, &error);
            let expected = message::Notification {
                id: None,
                result: Some(message::NotificationResult::Failure(Box::new(
                    message::Failure {
                        code: error.code().into(),
                        message: error.message().to_owned(),
                        metadata: error
                            .metadata()
                            .iter()
                            .map(|(key, value)| message::Header {
                                key: key.clone(),
                                value: value.clone(),
                            })
                            .collect(),
                    },
                ))),
            };
            assert_eq!(encoder.to_bytes(), expected.encode_to_vec());
        }
    }
}
