//! Frames: an 8 byte header (type, flags, payload length; big endian) and a payload.
//!
//! The decoder takes chunks of any size, cut at any byte, and hands out whole frames. A frame
//! that lies within one chunk is a slice of it; one that spans chunks is copied together as they come,
//! while they are in the processor's cache. A declared length costs nothing until the bytes come, and a
//! message in chunks of one byte no more than another one.

use std::mem;

use bytes::{Buf, Bytes};

use super::MessageType;

/// Bytes of a frame's header.
pub(crate) const HEADER_LEN: usize = 8;

/// The flag by which a proposal asks for an acknowledgement (v7).
const REQUESTED_ACK: u64 = 0x0000_8000_0000_0000;

/// How large messages may be, in bytes of their payloads, and how much of them is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The largest message that is taken from the runtime.
    pub(crate) incoming: usize,
    /// The largest message that is sent to the runtime.
    pub(crate) outgoing: usize,
    /// All messages that an attempt may have to keep, headers included.
    pub(crate) journal: usize,
}

impl Default for Limits {
    /// Unless it is told otherwise, a server takes messages of up to 32 MiB, and gives an invocation
    /// 32 MiB of memory to be sent what it awaits: what does not quite fill that comes back. What it
    /// may send is twice that.
    fn default() -> Self {
        Self {
            incoming: 64 * 1024 * 1024,
            outgoing: 32 * 1024 * 1024 - 64 * 1024,
            journal: 1024 * 1024 * 1024,
        }
    }
}

/// One frame as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) ty: MessageType,
    pub(crate) payload: Bytes,
}

/// Why bytes are not frames.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum FrameError {
    #[error(
        "a message of type {ty} and {length} bytes is larger than the limit of {limit} bytes \
         (see `EndpointBuilder::max_message_size`)"
    )]
    TooLarge {
        ty: MessageType,
        length: usize,
        limit: usize,
    },
    #[error(
        "the journal is larger than the limit of {limit} bytes (see \
         `EndpointBuilder::max_journal_size`): begin a new invocation before it grows so far, or \
         raise the limit"
    )]
    JournalTooLarge { limit: usize },
}

/// The header of a frame with this type and payload length.
pub(crate) fn header(ty: MessageType, requested_ack: bool, length: u32) -> [u8; HEADER_LEN] {
    let flag = if requested_ack { REQUESTED_ACK } else { 0 };
    (u64::from(ty.0) << 48 | flag | u64::from(length)).to_be_bytes()
}

/// Cuts chunks of bytes into frames.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    /// What is left of the last chunk.
    chunk: Bytes,
    /// The part of a header, or of a payload, that has come in earlier chunks.
    begun: Vec<u8>,
    limits: Limits,
    /// The messages so far that count for the journal.
    journal: usize,
    /// The header of the frame whose payload is awaited.
    pending: Option<(MessageType, usize)>,
}

impl FrameDecoder {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            chunk: Bytes::new(),
            begun: Vec::new(),
            limits,
            journal: 0,
            pending: None,
        }
    }

    /// Adds the next chunk of the stream. Take all frames of the one before first.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.chunk = [&*self.chunk, &*chunk].concat().into();
        }
    }

    /// The next whole frame, if its bytes are there.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let (ty, length) = match self.pending {
            Some(pending) => pending,
            None => {
                let Some(header) = self.take_header() else {
                    return Ok(None);
                };
                let pending = self.check(header)?;
                self.pending = Some(pending);
                pending
            }
        };
        let Some(payload) = self.take(length) else {
            return Ok(None);
        };
        self.pending = None;
        Ok(Some(Frame { ty, payload }))
    }

    /// Whether a part of a message has come, and not all of it.
    pub(crate) fn is_within_message(&self) -> bool {
        self.pending.is_some() || !self.begun.is_empty() || !self.chunk.is_empty()
    }

    /// The type and the length that a header announces.
    fn check(&mut self, header: u64) -> Result<(MessageType, usize), FrameError> {
        let ty = MessageType((header >> 48) as u16);
        let length = (header & 0xFFFF_FFFF) as usize;
        if length > self.limits.incoming {
            return Err(FrameError::TooLarge {
                ty,
                length,
                limit: self.limits.incoming,
            });
        }
        if ty.is_kept() {
            self.journal = self.journal.saturating_add(HEADER_LEN + length);
            if self.journal > self.limits.journal {
                return Err(FrameError::JournalTooLarge {
                    limit: self.limits.journal,
                });
            }
        }
        Ok((ty, length))
    }

    #[inline]
    fn take_header(&mut self) -> Option<u64> {
        if self.begun.is_empty()
            && let Some(header) = self.chunk.first_chunk::<HEADER_LEN>()
        {
            let header = u64::from_be_bytes(*header);
            self.chunk.advance(HEADER_LEN);
            return Some(header);
        }
        self.take(HEADER_LEN).map(|mut header| header.get_u64())
    }

    /// The next `length` bytes; `None` if some are missing, and those that are there are kept.
    #[inline]
    fn take(&mut self, length: usize) -> Option<Bytes> {
        if self.begun.is_empty() && self.chunk.len() >= length {
            return Some(self.chunk.split_to(length));
        }
        self.go_on(length)
    }

    /// Copies what has come of `length` bytes together. Memory is taken as bytes come, twice as much as
    /// before each time; a large buffer is moved by the system without a copy.
    fn go_on(&mut self, length: usize) -> Option<Bytes> {
        let part = self.chunk.len().min(length - self.begun.len());
        let wanted = self.begun.len() + part;
        if wanted > self.begun.capacity() {
            let capacity = wanted.max(2 * self.begun.capacity()).min(length);
            self.begun.reserve_exact(capacity - self.begun.len());
        }
        self.begun.extend_from_slice(&self.chunk.split_to(part));
        (wanted == length).then(|| mem::take(&mut self.begun).into())
    }

    /// The bytes that the decoder holds, and those that it has taken memory for.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> (usize, usize) {
        let chunk = self.chunk.len();
        (chunk + self.begun.len(), chunk + self.begun.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: usize = 1024;

    fn decoder(message: usize) -> FrameDecoder {
        FrameDecoder::new(Limits {
            incoming: message,
            ..Limits::default()
        })
    }

    fn encode(frames: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (ty, payload) in frames {
            bytes.extend_from_slice(&header(MessageType(*ty), false, payload.len() as u32));
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
            cuts in prop::collection::vec(1usize..20, 1..30),
        ) {
            let bytes = Bytes::from(encode(&frames));
            let mut decoder = decoder(64);
            let mut decoded = Vec::new();
            let (mut at, mut cut) = (0, 0);
            while at < bytes.len() {
                let end = bytes.len().min(at + cuts[cut % cuts.len()]);
                decoder.push(bytes.slice(at..end));
                (at, cut) = (end, cut + 1);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    decoded.push((frame.ty.0, frame.payload.to_vec()));
                }
            }
            while let Some(frame) = decoder.next_frame().unwrap() {
                decoded.push((frame.ty.0, frame.payload.to_vec()));
            }
            prop_assert_eq!(decoded, frames);
            prop_assert_eq!(decoder.held().0, 0);
        }

        #[test]
        fn garbage_never_panics(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10)) {
            let mut decoder = decoder(1 << 20);
            for chunk in chunks {
                decoder.push(Bytes::from(chunk));
                while let Ok(Some(_)) = decoder.next_frame() {}
            }
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_come() {
        let mut decoder = decoder(10);
        decoder.push(Bytes::copy_from_slice(&header(
            MessageType::START,
            false,
            11,
        )));
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooLarge {
                ty: MessageType::START,
                length: 11,
                limit: 10
            })
        );
    }

    #[test]
    fn messages_that_are_kept_count_for_the_journal() {
        let mut decoder = FrameDecoder::new(Limits {
            incoming: 100,
            journal: 100,
            ..Limits::default()
        });
        // Acks and answers of ephemeral reads are not kept; a header counts what it announces.
        let kept = [
            MessageType::START,
            MessageType::SET_STATE,
            MessageType::SIGNAL,
        ];
        for (ty, length) in [
            (kept[0], 12),
            (MessageType::RUN_ACK, 100),
            (kept[1], 32),
            (MessageType::STATE_EPHEMERAL, 100),
            (kept[2], 32),
        ] {
            decoder.push(encode(&[(ty.0, vec![0; length])]).into());
            assert!(decoder.next_frame().unwrap().is_some(), "{ty}");
        }
        decoder.push(header(MessageType::SIGNAL, false, 0).to_vec().into());
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::JournalTooLarge { limit: 100 })
        );
    }

    #[test]
    fn a_frame_within_one_chunk_is_not_copied() {
        let bytes = Bytes::from(encode(&[(0x0400, vec![7; CHUNK])]));
        let mut decoder = decoder(CHUNK);
        decoder.push(bytes.clone());
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(frame.payload.as_ptr(), bytes[HEADER_LEN..].as_ptr());
    }

    #[test]
    fn small_chunks_cost_what_they_hold() {
        let length = 100_000;
        let bytes = Bytes::from(encode(&[(0x0400, vec![7; length])]));
        let mut decoder = decoder(length);
        for at in 0..bytes.len() - 1 {
            decoder.push(bytes.slice(at..=at));
            assert_eq!(decoder.next_frame(), Ok(None));
            let (bytes, taken) = decoder.held();
            assert!(taken <= 2 * bytes, "{taken} for {bytes}");
        }
        assert_eq!(decoder.held(), (length - 1, length));
        decoder.push(Bytes::from_static(&[7]));
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(frame.payload, vec![7; length]);
    }

    #[test]
    fn the_header_is_what_the_protocol_says() {
        assert_eq!(
            header(MessageType::RUN, false, 5),
            [0x04, 0x11, 0, 0, 0, 0, 0, 5]
        );
        assert_eq!(
            header(MessageType::PROPOSE_RUN_COMPLETION, true, 1),
            [0x00, 0x05, 0x80, 0, 0, 0, 0, 1]
        );
    }
}
