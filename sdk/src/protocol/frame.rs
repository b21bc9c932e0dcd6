//! Frames: an 8 byte header (type, flags, payload length; big endian) and a payload.
//!
//! The decoder takes chunks of any size, cut at any byte, and hands out whole frames. A frame
//! that lies within one large chunk is a slice of it; one that spans chunks is copied together once,
//! when its last byte is there, so that a declared length costs nothing until the bytes come.
//!
//! Small chunks are copied at once. A chunk is a slice of what the server has read from its
//! connection, so a few bytes that are kept, say of a recorded command, would keep many kilobytes of
//! others; and a large message in chunks of one byte would cost a hundred times what it holds.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

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

/// Chunks below this many bytes are copied together.
const SMALL_CHUNK: usize = 1024;

/// They go into blocks of up to this many bytes.
const SMALL_BLOCK: usize = 4096;

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
    chunks: VecDeque<Bytes>,
    /// Small chunks, which follow the others.
    small: BytesMut,
    buffered: usize,
    limits: Limits,
    /// The messages so far that count for the journal.
    journal: usize,
    /// The header of the frame whose payload is awaited.
    pending: Option<(MessageType, usize)>,
}

impl FrameDecoder {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            chunks: VecDeque::new(),
            small: BytesMut::new(),
            buffered: 0,
            limits,
            journal: 0,
            pending: None,
        }
    }

    /// Adds the next chunk of the stream.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.buffered += chunk.len();
        if chunk.len() < SMALL_CHUNK {
            if self.small.capacity() - self.small.len() < chunk.len() {
                // Of a long journal many fit into one allocation; a short one takes no more than
                // it needs.
                self.small
                    .reserve(chunk.len().max(self.journal.min(SMALL_BLOCK)));
            }
            self.small.extend_from_slice(&chunk);
        } else {
            self.flush_small();
            self.chunks.push_back(chunk);
        }
    }

    fn flush_small(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
    }

    /// What the decoder holds: bytes that came, and bytes of memory allocated for copies of them.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn held(&self) -> (usize, usize) {
        let chunks: usize = self.chunks.iter().map(Bytes::len).sum();
        (chunks + self.small.len(), chunks + self.small.capacity())
    }

    /// The next whole frame, if its bytes are there.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let (ty, length) = match self.pending {
            Some(pending) => pending,
            None => {
                if self.buffered < HEADER_LEN {
                    return Ok(None);
                }
                let header = self.take(HEADER_LEN).get_u64();
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
                self.pending = Some((ty, length));
                (ty, length)
            }
        };
        if self.buffered < length {
            return Ok(None);
        }
        self.pending = None;
        Ok(Some(Frame {
            ty,
            payload: self.take(length),
        }))
    }

    /// Takes `length` bytes, which the caller has checked to be there.
    fn take(&mut self, length: usize) -> Bytes {
        if length == 0 {
            return Bytes::new();
        }
        self.buffered -= length;
        self.flush_small();
        if let Some(front) = self.chunks.front_mut()
            && front.len() >= length
        {
            let taken = front.split_to(length);
            if front.is_empty() {
                self.chunks.pop_front();
            }
            return taken;
        }
        let mut joined = BytesMut::with_capacity(length);
        while joined.len() < length {
            let Some(front) = self.chunks.front_mut() else {
                break;
            };
            let part = front.split_to(front.len().min(length - joined.len()));
            joined.extend_from_slice(&part);
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            prop_assert_eq!(decoder.buffered, 0);
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
    fn a_frame_within_one_large_chunk_is_not_copied() {
        let bytes = Bytes::from(encode(&[(0x0400, vec![7; SMALL_CHUNK])]));
        let mut decoder = decoder(SMALL_CHUNK);
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
        }
        assert!(decoder.chunks.len() <= 1 && decoder.small.capacity() <= 2 * length);
        assert!(bytes.try_into_mut().is_ok(), "somebody holds the chunks");
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
