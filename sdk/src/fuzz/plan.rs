//! Reading a target's bytes as a script, front to back. Bytes that are missing are zeros, so that a
//! seed can be written by hand and any cut of a script is one.

use arbitrary::Unstructured;
use bytes::Bytes;

use crate::protocol::ProtocolVersion;

/// The script of a target.
pub(super) struct Plan<'a>(Unstructured<'a>);

impl<'a> Plan<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// The next byte as an index of something with `len` items.
    pub(super) fn below(&mut self, len: usize) -> usize {
        usize::from(self.byte()) % len
    }

    pub(super) fn choose<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    pub(super) fn number(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or_default()
    }

    /// A length, and so many bytes, as far as they are there.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        self.0.bytes(length).unwrap_or_default()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }

    pub(super) fn version(&mut self) -> ProtocolVersion {
        *self.choose(&ProtocolVersion::ALL)
    }

    /// Where to cut a stream: lengths of chunks, to be used in turn.
    pub(super) fn cuts(&mut self) -> Cuts {
        let cuts = self.bytes();
        Cuts {
            lengths: cuts.iter().map(|cut| usize::from(*cut).max(1)).collect(),
        }
    }
}

/// How a stream is cut into chunks.
#[derive(Debug)]
pub(super) struct Cuts {
    lengths: Vec<usize>,
}

impl Cuts {
    /// The chunks of a stream: one, if there are no cuts.
    pub(super) fn chunks(&self, stream: &[u8]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(stream);
        let mut chunks = Vec::new();
        let mut lengths = self.lengths.iter().cycle();
        while !rest.is_empty() {
            let length = lengths
                .next()
                .map_or(rest.len(), |cut| rest.len().min(*cut));
            // A chunk of a real transport is a piece of memory of its own.
            chunks.push(Bytes::copy_from_slice(&rest.split_to(length)));
        }
        chunks
    }
}
