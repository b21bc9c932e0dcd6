//! Reads protobuf fields in place.

use std::{fmt, ops::Range};

use bytes::Bytes;

/// Why bytes are not the protobuf message that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(Fault);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CutOff,
    Number,
    Key,
    NotText,
    WireType(u32),
}

impl Malformed {
    pub(crate) const NOT_TEXT: Self = Self(Fault::NotText);

    /// A known field of another kind.
    pub(crate) fn wire_type(tag: u32) -> Self {
        Self(Fault::WireType(tag))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::CutOff => f.write_str("it ends within a field"),
            Fault::Number => f.write_str("a number is longer than 64 bits"),
            Fault::Key => f.write_str("a field has no valid tag and wire type"),
            Fault::NotText => f.write_str("a text is not UTF-8"),
            Fault::WireType(tag) => write!(f, "field {tag} has another wire type than it should"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wire {
    Number(u64),
    /// Where bytes, text or a message lie.
    Bytes(Range<usize>),
    /// Four or eight bytes; no message of the protocol has such a field.
    Fixed,
}

/// Reads the fields of a message, or of a part of one.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a Bytes) -> Self {
        Self { message, at: 0 }
    }

    /// Reads a nested message. Places are counted from the start of the outer one.
    pub(crate) fn within(message: &'a Bytes, part: Range<usize>) -> Self {
        Self {
            message: message.get(..part.end).unwrap_or(message),
            at: part.start,
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.message.len()
    }

    /// The tag and the value of the next field; `None` at the end.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Wire)>, Malformed> {
        if self.is_at_end() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed(Fault::Key))?;
        let tag = key >> 3;
        if tag == 0 {
            return Err(Malformed(Fault::Key));
        }
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => self.skip(8)?,
            2 => Wire::Bytes(self.bytes()?),
            5 => self.skip(4)?,
            // Groups are not in use any more.
            _ => return Err(Malformed(Fault::Key)),
        };
        Ok(Some((tag, wire)))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        // Nearly all numbers of the protocol are one byte.
        match self.message.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let rest = self.message.get(self.at..).unwrap_or_default();
        let mut value = 0;
        for (count, byte) in rest.iter().enumerate() {
            // The tenth byte has room for one bit.
            if count == 9 && *byte > 1 {
                return Err(Malformed(Fault::Number));
            }
            value |= u64::from(byte & 0x7F) << (7 * count);
            if *byte < 0x80 {
                self.at += count + 1;
                return Ok(value);
            }
        }
        Err(Malformed(Fault::CutOff))
    }

    /// A length, and where that many bytes lie.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<Range<usize>, Malformed> {
        let length = self.varint()?;
        let from = self.at;
        match usize::try_from(length) {
            Ok(length) if length <= self.message.len() - from => {
                self.at = from + length;
                Ok(from..self.at)
            }
            _ => Err(Malformed(Fault::CutOff)),
        }
    }

    fn skip(&mut self, length: usize) -> Result<Wire, Malformed> {
        if length > self.message.len() - self.at {
            return Err(Malformed(Fault::CutOff));
        }
        self.at += length;
        Ok(Wire::Fixed)
    }
}
