//! What the store promises, against a model, against kill -9, and against damage.

mod crash;
mod damage;
mod growth;
mod model;
mod sharing;

use bytes::Bytes;

use super::{Store, Table, Write};

/// Writes of which any part is told from the whole: those of batch `number`.
///
/// Each table has its number, and the entries of the last few batches.
fn batch(number: u64) -> Vec<Write> {
    let mut writes = Vec::new();
    for (place, table) in Table::ALL.into_iter().enumerate() {
        writes.push(Write::Put {
            table,
            key: b"number".to_vec(),
            value: number.to_be_bytes().to_vec().into(),
        });
        writes.extend(
            entries(number, place)
                .into_iter()
                .map(|(key, value)| Write::Put { table, key, value }),
        );
        if let Some(old) = number.checked_sub(KEPT) {
            writes.push(Write::DeletePrefix {
                table,
                prefix: prefix(old),
            });
        }
    }
    writes
}

/// How many batches have entries at a time.
const KEPT: u64 = 12;

fn prefix(number: u64) -> Vec<u8> {
    format!("entry/{number:016x}/").into_bytes()
}

/// The entries of batch `number` in the table at `place`: a few small ones, now and then a large one.
fn entries(number: u64, place: usize) -> Vec<(Vec<u8>, Bytes)> {
    let mixed = number
        .wrapping_add(place as u64)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..mixed % 7)
        .map(|at| {
            let length = if at == 0 && mixed.is_multiple_of(5) {
                150_000
            } else {
                50 + (mixed >> 20) % 300
            };
            let mut key = prefix(number);
            key.extend(at.to_be_bytes());
            let value: Vec<u8> = (0..length)
                .map(|byte| (mixed >> (byte % 57)) as u8)
                .collect();
            (key, value.into())
        })
        .collect()
}

/// The number of the last batch that is there; panics if any table holds anything but whole batches up to it.
fn last_batch(store: &Store) -> Option<u64> {
    let read = |table| {
        let value = store.get(table, b"number").unwrap()?;
        Some(u64::from_be_bytes(value[..].try_into().unwrap()))
    };
    let last = read(Table::Invocations);
    for (place, table) in Table::ALL.into_iter().enumerate() {
        assert_eq!(read(table), last, "{table:?} is of another batch");
        let expected: Vec<_> = last
            .into_iter()
            .flat_map(|last| (last + 1).saturating_sub(KEPT)..=last)
            .flat_map(|number| entries(number, place))
            .collect();
        let found = store.scan(table, super::Scan::prefix("entry/")).unwrap();
        let keys = |entries: &[(Vec<u8>, Bytes)]| -> Vec<String> {
            entries
                .iter()
                .map(|(key, _)| key.escape_ascii().to_string())
                .collect()
        };
        assert_eq!(keys(&found), keys(&expected), "{table:?}");
        assert!(found == expected, "a value in {table:?} is another");
    }
    last
}
