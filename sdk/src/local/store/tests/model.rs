//! The store does what a map would do.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::super::{Fsync, Scan, Store, Table, Write};

type Model = BTreeMap<(&'static str, Vec<u8>), Bytes>;

/// Short keys of few bytes, so that they meet: the smallest, the largest, and some between.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![Just(0), Just(1), Just(b'a'), Just(254), Just(255)],
        0..4,
    )
}

fn table() -> impl Strategy<Value = Table> {
    proptest::sample::select(&Table::ALL[..])
}

fn write() -> impl Strategy<Value = Write> {
    let value = prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        1 => (0_usize..30_000).prop_map(|length| vec![7; length]),
    ];
    prop_oneof![
        6 => (table(), key(), value).prop_map(|(table, key, value)| Write::Put {
            table,
            key,
            value: value.into(),
        }),
        2 => (table(), key()).prop_map(|(table, key)| Write::Delete { table, key }),
        1 => (table(), key()).prop_map(|(table, prefix)| Write::DeletePrefix { table, prefix }),
    ]
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn scan() -> impl Strategy<Value = Scan> {
    let limit = prop_oneof![Just(usize::MAX), 0_usize..4];
    let bytes = prop_oneof![Just(usize::MAX), 0_usize..100];
    (
        bound(),
        bound(),
        limit,
        bytes,
        any::<bool>(),
        key(),
        any::<bool>(),
    )
        .prop_map(|(from, to, limit, bytes, reverse, prefix, by_prefix)| {
            if by_prefix {
                let scan = Scan::prefix(prefix).limit(limit).bytes(bytes);
                if reverse { scan.reverse() } else { scan }
            } else {
                Scan {
                    from,
                    to,
                    limit,
                    bytes,
                    reverse,
                }
            }
        })
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Write>),
    Get(Table, Vec<u8>),
    Scan(Table, Scan),
    Tidy,
    Reopen(Fsync),
}

fn step() -> impl Strategy<Value = Step> {
    let fsync = prop_oneof![
        Just(Fsync::Always),
        Just(Fsync::Never),
        Just(Fsync::Every(std::time::Duration::from_millis(1))),
    ];
    prop_oneof![
        5 => vec(write(), 0..12).prop_map(Step::Commit),
        3 => (table(), key()).prop_map(|(table, key)| Step::Get(table, key)),
        4 => (table(), scan()).prop_map(|(table, scan)| Step::Scan(table, scan)),
        1 => Just(Step::Tidy),
        1 => fsync.prop_map(Step::Reopen),
    ]
}

fn apply(model: &mut Model, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Put { table, key, value } => {
                model.insert((table.name(), key.clone()), value.clone());
            }
            Write::Delete { table, key } => {
                model.remove(&(table.name(), key.clone()));
            }
            Write::DeletePrefix { table, prefix } => {
                model.retain(|(name, key), _| *name != table.name() || !key.starts_with(prefix));
            }
        }
    }
}

fn scanned(model: &Model, table: Table, scan: &Scan) -> Vec<(Vec<u8>, Bytes)> {
    let mut found: Vec<_> = model
        .iter()
        .filter(|((name, key), _)| {
            *name == table.name()
                && match &scan.from {
                    Bound::Included(from) => key >= from,
                    Bound::Excluded(from) => key > from,
                    Bound::Unbounded => true,
                }
                && match &scan.to {
                    Bound::Included(to) => key <= to,
                    Bound::Excluded(to) => key < to,
                    Bound::Unbounded => true,
                }
        })
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    if scan.reverse {
        found.reverse();
    }
    found.truncate(scan.limit);
    let mut bytes = 0_usize;
    let enough = found.iter().position(|(key, value)| {
        bytes += key.len() + value.len();
        bytes >= scan.bytes
    });
    found.truncate(enough.map_or(found.len(), |last| last + 1));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_is_a_map(steps in vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("the").join("store");
        let mut store = Store::open(&path, Fsync::Never).unwrap();
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    store.commit(&writes).unwrap();
                    apply(&mut model, &writes);
                }
                Step::Get(table, key) => {
                    let expected = model.get(&(table.name(), key.clone())).cloned();
                    prop_assert_eq!(store.get(table, &key).unwrap(), expected);
                }
                Step::Scan(table, scan) => {
                    let expected = scanned(&model, table, &scan);
                    prop_assert_eq!(store.scan(table, scan).unwrap(), expected);
                }
                Step::Tidy => store.tidy().unwrap(),
                Step::Reopen(fsync) => {
                    drop(store);
                    store = Store::open(&path, fsync).unwrap();
                }
            }
        }
        for table in Table::ALL {
            let expected = scanned(&model, table, &Scan::all());
            prop_assert_eq!(store.scan(table, Scan::all()).unwrap(), expected);
        }
    }
}
