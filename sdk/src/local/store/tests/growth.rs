//! What was deleted takes no space for long.

use super::super::{Fsync, Store, Table, Write};

const MIB: u64 = 1 << 20;

/// 2,000 entries, about a megabyte.
fn round(number: u32) -> impl Iterator<Item = Write> {
    (0..2000_u32).map(move |at| Write::Put {
        table: Table::ALL[at as usize % Table::ALL.len()],
        key: [
            number.to_be_bytes(),
            at.wrapping_mul(0x9E37_79B9).to_be_bytes(),
        ]
        .concat(),
        value: vec![number as u8; 500].into(),
    })
}

fn end(number: u32) -> impl Iterator<Item = Write> {
    Table::ALL
        .into_iter()
        .map(move |table| Write::DeletePrefix {
            table,
            prefix: number.to_be_bytes().to_vec(),
        })
}

#[test]
fn what_comes_and_goes_takes_bounded_space() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let mut largest = 0;
    // 120 MiB written, of which 5 are there at a time.
    for number in 0..120 {
        let mut writes: Vec<Write> = round(number).collect();
        writes.extend(number.checked_sub(5).into_iter().flat_map(end));
        for part in writes.chunks(500) {
            store.commit(part).unwrap();
        }
        largest = largest.max(store.size().unwrap());
    }
    // The log may become long while its pages are moved, but not endlessly.
    assert!(largest < 150 * MIB, "{} MiB", largest / MIB);

    for number in 0..120 {
        store.commit(&end(number).collect::<Vec<_>>()).unwrap();
    }
    // Tidying alone, as when nothing else happens, leaves what is kept for what comes next.
    for _ in 0..10 {
        store.tidy().unwrap();
    }
    drop(store);
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let size = store.size().unwrap();
    assert!(size < 9 * MIB, "{} MiB", size / MIB);
}

#[test]
fn tidying_gives_back_what_one_large_load_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let large = |key: u8| Write::Put {
        table: Table::State,
        key: vec![key],
        value: vec![key; 8 << 20].into(),
    };
    for key in 0..10 {
        store.commit(&[large(key)]).unwrap();
    }
    store.tidy().unwrap();
    let full = store.size().unwrap();
    assert!(full > 80 * MIB, "{} MiB", full / MIB);
    let gone = Write::DeletePrefix {
        table: Table::State,
        prefix: Vec::new(),
    };
    store.commit(&[gone]).unwrap();
    let mut sizes = vec![full];
    for _ in 0..12 {
        store.tidy().unwrap();
        sizes.push(store.size().unwrap());
    }
    let last = *sizes.last().unwrap();
    assert!(last < 45 * MIB, "{sizes:?}");
    // A bounded piece each time, so that no call takes long.
    assert!(
        sizes.windows(2).all(|pair| pair[1] + 20 * MIB > pair[0]),
        "{sizes:?}"
    );
}
