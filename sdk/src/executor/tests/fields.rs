//! Changes to protobuf messages, field by field and without knowing them.

use bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Bytes(Bytes),
}

/// What was done to a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Changed,
    Removed,
}

fn parse(payload: &Bytes) -> Option<Vec<(u32, Field)>> {
    let (mut rest, mut fields) = (payload.clone(), Vec::new());
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        let field = match wire_type {
            WireType::Varint => Field::Number(decode_varint(&mut rest).ok()?),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                if length > rest.len() {
                    return None;
                }
                Field::Bytes(rest.split_to(length))
            }
            _ => return None,
        };
        fields.push((tag, field));
    }
    Some(fields)
}

fn write(fields: &[(u32, Field)]) -> Bytes {
    let mut bytes = BytesMut::new();
    for (tag, field) in fields {
        match field {
            Field::Number(number) => {
                encode_key(*tag, WireType::Varint, &mut bytes);
                encode_varint(*number, &mut bytes);
            }
            Field::Bytes(content) => {
                encode_key(*tag, WireType::LengthDelimited, &mut bytes);
                encode_varint(content.len() as u64, &mut bytes);
                bytes.extend_from_slice(content);
            }
        }
    }
    bytes.freeze()
}

/// The same message with its fields in the other order; fields of the same tag keep theirs.
pub(super) fn reversed(payload: &Bytes) -> Bytes {
    let mut fields = parse(payload).unwrap();
    fields.sort_by_key(|(tag, _)| std::cmp::Reverse(*tag));
    write(&fields)
}

/// The message with empty fields of these tags behind it, where they are absent.
pub(super) fn with_defaults(payload: &Bytes, tags: &[u32]) -> Bytes {
    let mut fields = parse(payload).unwrap();
    for tag in tags {
        if fields.iter().all(|(t, _)| t != tag) {
            fields.push((*tag, Field::Bytes(Bytes::new())));
        }
    }
    write(&fields)
}

/// The message without its `Value`s.
pub(super) fn without_values(payload: &Bytes) -> Bytes {
    let mut fields = parse(payload).unwrap();
    fields.retain(|(_, field)| match field {
        Field::Bytes(bytes) => bytes.first() != Some(&0x0A),
        Field::Number(_) => true,
    });
    write(&fields)
}

/// The message in all variants in which one field, nested ones included, is changed or removed; with
/// the field's outermost tag.
pub(super) fn changes(payload: &Bytes) -> Vec<(u32, Change, Bytes)> {
    let fields = parse(payload).unwrap();
    let mut variants = Vec::new();
    for (at, (tag, field)) in fields.iter().enumerate() {
        let mut push =
            |change, fields: &[(u32, Field)]| variants.push((*tag, change, write(fields)));
        let mut removed = fields.clone();
        removed.remove(at);
        push(Change::Removed, &removed);
        let mut changed = fields.clone();
        match field {
            Field::Number(number) => {
                changed[at].1 = Field::Number(number + 1);
                push(Change::Changed, &changed);
            }
            Field::Bytes(bytes) => {
                // A message if it reads as one, else text.
                let nested = parse(bytes).filter(|nested| {
                    !nested.is_empty() && nested.iter().all(|(tag, _)| (1..=5).contains(tag))
                });
                match nested {
                    Some(_) => {
                        for (_, _, nested) in changes(bytes) {
                            changed[at].1 = Field::Bytes(nested);
                            push(Change::Changed, &changed);
                        }
                    }
                    None if !bytes.is_empty() => {
                        changed[at].1 = Field::Bytes([bytes, b"!".as_slice()].concat().into());
                        push(Change::Changed, &changed);
                    }
                    None => {}
                }
            }
        }
    }
    variants
}
