//! By what rows are found, and in which order they lie.

use bytes::Bytes;

use crate::engine::{invocation::Index, keyed::KeyedId, submit::IdempotencyKey};

/// What the number of the next invocation is kept under, in the settings.
pub(in crate::local) const NEXT: &[u8] = b"next";

pub(super) fn number(index: Index) -> [u8; 8] {
    (index as u64).to_be_bytes()
}

pub(in crate::local) fn index_of(key: &[u8]) -> Option<Index> {
    let number = key.last_chunk::<8>()?;
    usize::try_from(u64::from_be_bytes(*number)).ok()
}

pub(in crate::local) fn invocation_key(index: Index) -> Vec<u8> {
    number(index).to_vec()
}

/// Live invocations stand before those that have ended.
pub(in crate::local) fn status_key(is_over: bool, index: Index) -> Vec<u8> {
    let mut key = vec![u8::from(is_over)];
    key.extend(number(index));
    key
}

pub(super) fn record_key(index: Index, number_of: usize) -> Vec<u8> {
    let mut key = number(index).to_vec();
    key.extend(u32::try_from(number_of).unwrap_or(u32::MAX).to_be_bytes());
    key
}

pub(in crate::local) fn expiry_key(at: u64, index: Index) -> Vec<u8> {
    let mut key = at.to_be_bytes().to_vec();
    key.extend(number(index));
    key
}

/// Pieces one after another, each with its length, so that no two lists give the same key.
pub(in crate::local) fn composed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut key = Vec::new();
    for piece in pieces {
        key.extend(u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes());
        key.extend(piece);
    }
    key
}

/// The last piece of a key that was [`composed`] of so many bytes before it.
pub(in crate::local) fn last_piece(key: &[u8], before: usize) -> Bytes {
    Bytes::copy_from_slice(key.get(before + 4..).unwrap_or_default())
}

/// What is nobody's is another piece than an empty one.
fn optional(piece: Option<&String>) -> Vec<u8> {
    piece.map_or_else(Vec::new, |piece| [b"+", piece.as_bytes()].concat())
}

pub(in crate::local) fn keyed_key(id: &KeyedId) -> Vec<u8> {
    let scope = optional(id.scope.as_ref());
    composed([&scope, id.service.as_bytes(), id.key.as_bytes()])
}

/// A row of an object or workflow, which lies behind the key of that.
pub(super) fn named_key(of: &KeyedId, name: &[u8]) -> Vec<u8> {
    [keyed_key(of), composed([name])].concat()
}

pub(in crate::local) fn idempotency_key(key: &IdempotencyKey) -> Vec<u8> {
    let (service, object, handler, idempotency_key, scope) = key;
    composed([
        service.as_bytes(),
        &optional(object.as_ref()),
        handler.as_bytes(),
        idempotency_key.as_bytes(),
        &optional(scope.as_ref()),
    ])
}
