//! The `Start` message, decoded by hand in one pass.
//!
//! It may carry thousands of state entries of which a handler reads one. So an entry becomes four
//! numbers that say where its key and value lie in the message, and nothing is copied, counted or sorted
//! before it is asked for.

use std::ops::{Deref, Range};

use bytes::Bytes;

use super::reader::{Malformed, Reader, Wire};

/// What `Start`, the first message of every attempt, says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Start {
    pub(crate) id: RawId,
    pub(crate) debug_id: String,
    /// Commands and notifications that follow before the handler may run; at least 1 (Input).
    pub(crate) known_entries: u32,
    pub(crate) state: StateMap,
    pub(crate) partial_state: bool,
    pub(crate) key: String,
    pub(crate) retry_count_since_last_stored_entry: u32,
    /// Milliseconds.
    pub(crate) duration_since_last_stored_entry: u64,
    pub(crate) random_seed: u64,
    pub(crate) scope: Option<String>,
    pub(crate) limit_key: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// The bytes of an invocation's id. They are kept for as long as the attempt lasts, so they are no slice
/// of the message, which would keep all that was read together with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawId {
    /// As a server makes them.
    Usual([u8; 24]),
    Other(Box<[u8]>),
}

impl RawId {
    fn new(id: &[u8]) -> Self {
        id.try_into()
            .map_or_else(|_| Self::Other(id.into()), Self::Usual)
    }
}

impl Default for RawId {
    fn default() -> Self {
        Self::Other(Box::default())
    }
}

impl Deref for RawId {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Usual(id) => id,
            Self::Other(id) => id,
        }
    }
}

/// The eager state as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StateMap {
    message: Bytes,
    entries: Vec<StateEntry>,
}

/// Where the key and the value of an entry lie. A message is shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct StateEntry {
    key: (u32, u32),
    value: (u32, u32),
}

impl Start {
    pub(crate) fn decode(message: Bytes) -> Result<Self, Malformed> {
        let mut start = Self::default();
        let mut entries = Vec::new();
        let mut reader = Reader::new(&message);
        while let Some((tag, wire)) = reader.field()? {
            match (tag, wire) {
                (1, Wire::Bytes(id)) => start.id = RawId::new(message.get(id).unwrap_or_default()),
                (2, Wire::Bytes(text)) => start.debug_id = owned(&message, text)?,
                (3, Wire::Number(known)) => start.known_entries = known as u32,
                (4, Wire::Bytes(entry)) => entries.push(StateEntry::decode(&message, entry)?),
                (5, Wire::Number(partial)) => start.partial_state = partial != 0,
                (6, Wire::Bytes(text)) => start.key = owned(&message, text)?,
                (7, Wire::Number(count)) => {
                    start.retry_count_since_last_stored_entry = count as u32;
                }
                (8, Wire::Number(millis)) => start.duration_since_last_stored_entry = millis,
                (9, Wire::Number(seed)) => start.random_seed = seed,
                (10, Wire::Bytes(text)) => start.scope = Some(owned(&message, text)?),
                (11, Wire::Bytes(text)) => start.limit_key = Some(owned(&message, text)?),
                (12, Wire::Bytes(text)) => start.idempotency_key = Some(owned(&message, text)?),
                (1..=12, _) => return Err(Malformed::wire_type(tag)),
                // A later version may know more.
                _ => {}
            }
        }
        start.state = StateMap { message, entries };
        Ok(start)
    }
}

fn owned(message: &Bytes, text: Range<usize>) -> Result<String, Malformed> {
    let text = message.get(text).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| Malformed::NOT_TEXT)?;
    Ok(text.to_owned())
}

impl StateEntry {
    fn decode(message: &Bytes, entry: Range<usize>) -> Result<Self, Malformed> {
        match Self::short(message, entry.start, entry.end) {
            Some(decoded) => Ok(decoded),
            None => Self::any(message, entry),
        }
    }

    /// The usual: a key and a value, each shorter than 128 bytes. `None` for all else.
    #[inline]
    fn short(message: &[u8], start: usize, end: usize) -> Option<Self> {
        let (key, rest) = short_field(message.get(start..end)?, 1 << 3 | 2)?;
        let (value, rest) = short_field(rest, 2 << 3 | 2)?;
        if !rest.is_empty() {
            return None;
        }
        let (key_at, end) = (start as u32 + 2, end as u32);
        Some(Self {
            key: (key_at, key_at + key.len() as u32),
            value: (end - value.len() as u32, end),
        })
    }

    fn any(message: &Bytes, entry: Range<usize>) -> Result<Self, Malformed> {
        let position = |range: Range<usize>| (range.start as u32, range.end as u32);
        let mut decoded = Self::default();
        let mut reader = Reader::within(message, entry);
        while let Some((tag, wire)) = reader.field()? {
            match (tag, wire) {
                (1, Wire::Bytes(key)) => decoded.key = position(key),
                (2, Wire::Bytes(value)) => decoded.value = position(value),
                (1 | 2, _) => return Err(Malformed::wire_type(tag)),
                _ => {}
            }
        }
        Ok(decoded)
    }
}

/// The bytes of a field with this key byte, and what follows it.
#[inline]
fn short_field(bytes: &[u8], key: u8) -> Option<(&[u8], &[u8])> {
    match bytes {
        [found, length, rest @ ..] if *found == key && *length < 0x80 => {
            rest.split_at_checked(usize::from(*length))
        }
        _ => None,
    }
}

impl StateMap {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The key of an entry; empty beyond the last.
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        self.bytes(at, |entry| entry.key)
    }

    fn bytes(&self, at: usize, part: impl FnOnce(&StateEntry) -> (u32, u32)) -> &[u8] {
        let (start, end) = self.entries.get(at).map(part).unwrap_or_default();
        self.message
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    /// The key of an entry, as a slice of the message.
    pub(crate) fn key_slice(&self, at: usize) -> Bytes {
        slice_ref(&self.message, self.key(at))
    }

    /// The value of an entry, as a slice of the message.
    pub(crate) fn value(&self, at: usize) -> Bytes {
        slice_ref(&self.message, self.bytes(at, |entry| entry.value))
    }

    /// Sorts the entries by key; of equal keys the last one stays, as protobuf maps have it.
    pub(crate) fn sort(&mut self) {
        let Self { message, entries } = self;
        let key = |entry: &StateEntry| {
            message
                .get(entry.key.0 as usize..entry.key.1 as usize)
                .unwrap_or_default()
        };
        if !entries.is_sorted_by(|a, b| key(a) < key(b)) {
            entries.reverse();
            entries.sort_by(|a, b| key(a).cmp(key(b)));
            entries.dedup_by(|a, b| key(a) == key(b));
        }
    }
}

/// A slice of `message`; none of it is kept alive for nothing.
fn slice_ref(message: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() {
        Bytes::new()
    } else {
        message.slice_ref(part)
    }
}
