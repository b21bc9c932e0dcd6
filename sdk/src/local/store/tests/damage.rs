//! Damaged, foreign and later files end in errors that say so.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{
    super::{Fsync, Scan, Store, StoreError, Table},
    batch, last_batch,
};

/// A closed store with a few batches in it.
fn closed(path: &Path) {
    let store = Store::open(path, Fsync::Never).unwrap();
    for number in 0..15 {
        store.commit(&batch(number)).unwrap();
    }
}

/// Different each time it is called, the same in every run.
fn next(state: &mut u64) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) as usize
}

#[test]
fn no_damage_hands_on_what_was_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    closed(&path);
    let whole = {
        let store = Store::open(&path, Fsync::Never).unwrap();
        Table::ALL.map(|table| store.scan(table, Scan::all()).unwrap())
    };
    let file = path.join("store.db");
    let bytes = fs::read(&file).unwrap();
    let mut seed = 7;
    let (mut refused, mut noticed) = (0, 0);
    for round in 0..150 {
        let mut bytes = bytes.clone();
        match round % 3 {
            // The first page says what the others are.
            0 => {
                let at = next(&mut seed) % 4096;
                bytes[at] ^= 1 << (next(&mut seed) % 8);
            }
            1 => {
                for _ in 0..20 {
                    let at = next(&mut seed) % bytes.len();
                    bytes[at] = bytes[at].wrapping_add(1 + (next(&mut seed) % 255) as u8);
                }
            }
            _ => bytes.truncate(1 + next(&mut seed) % bytes.len()),
        }
        fs::write(&file, &bytes).unwrap();
        let store = match Store::open(&path, Fsync::Never) {
            Ok(store) => store,
            Err(error) => {
                assert!(error.to_string().contains("store.db"), "{error}");
                refused += 1;
                continue;
            }
        };
        for (table, whole) in Table::ALL.into_iter().zip(&whole) {
            match store.scan(table, Scan::all()) {
                Ok(found) => {
                    for entry in found {
                        assert!(whole.contains(&entry), "round {round}: another value");
                    }
                }
                Err(error) => {
                    assert!(error.to_string().contains("store.db"), "{error}");
                    noticed += 1;
                }
            }
        }
        // Whether these work depends on what was hit.
        let _ = store.commit(&batch(15));
        let _ = store.tidy();
        drop(store);
        let _ = fs::remove_file(path.join("store.db-wal"));
        let _ = fs::remove_file(path.join("store.db-shm"));
    }
    assert!(
        refused > 20 && noticed > 20,
        "{refused} refused, {noticed} noticed"
    );
}

#[test]
fn a_log_cut_anywhere_leaves_whole_commits() {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let store = Store::open(&original, Fsync::Never).unwrap();
    for number in 0..30 {
        store.commit(&batch(number)).unwrap();
    }
    // What a crash of the machine leaves: the files as they are, a part of the log missing or wrong.
    let (database, log) = (
        fs::read(original.join("store.db")).unwrap(),
        fs::read(original.join("store.db-wal")).unwrap(),
    );
    let (mut seed, mut lasts) = (1, Vec::new());
    for round in 0..60 {
        let path = folder.path().join(round.to_string());
        fs::create_dir(&path).unwrap();
        let mut log = log.clone();
        let at = next(&mut seed) % log.len();
        if round % 2 == 0 {
            log.truncate(at);
        } else {
            let end = log.len().min(at + 8192);
            log[at..end].fill(0);
        }
        fs::write(path.join("store.db"), &database).unwrap();
        fs::write(path.join("store.db-wal"), log).unwrap();
        // The tables themselves may be in the log yet.
        let store = Store::open(&path, Fsync::Always).unwrap();
        let last = last_batch(&store);
        store
            .commit(&batch(last.map_or(0, |last| last + 1)))
            .unwrap();
        assert!(last_batch(&store) > last);
        lasts.push(last);
    }
    lasts.sort_unstable();
    lasts.dedup();
    assert!(lasts.len() > 10, "cut at {lasts:?} only");
}

#[test]
fn a_database_that_has_vanished_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    closed(folder.path());
    let file = folder.path().join("store.db");
    for empty in [true, false] {
        if empty {
            fs::write(&file, []).unwrap();
        } else {
            fs::remove_file(&file).unwrap();
        }
        let error = Store::open(folder.path(), Fsync::Always).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn an_opening_that_was_cut_short_is_made_up_for() {
    for said in ["", "a store o"] {
        // What the database has done until then: nothing, its file, its first page.
        for done in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("lock"), said).unwrap();
            let file = folder.path().join("store.db");
            match done {
                0 => {}
                1 => fs::write(&file, []).unwrap(),
                _ => Connection::open(&file)
                    .unwrap()
                    .pragma_update(None, "journal_mode", "WAL")
                    .unwrap(),
            }
            for number in 0..3 {
                let store = Store::open(folder.path(), Fsync::Always).unwrap();
                assert_eq!(last_batch(&store), u64::checked_sub(number, 1));
                store.commit(&batch(number)).unwrap();
            }
            fs::remove_file(&file).unwrap();
            let error = Store::open(folder.path(), Fsync::Always).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
    }
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let other = Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE theirs (a)").unwrap();
    drop(other);
    let error = Store::open(folder.path(), Fsync::Always).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    fs::write(&file, "a diary, which is no database at all").unwrap();
    let error = Store::open(folder.path(), Fsync::Always).unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "a diary, which is no database at all"
    );
}

#[test]
fn a_later_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    closed(folder.path());
    let connection = Connection::open(folder.path().join("store.db")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let error = Store::open(folder.path(), Fsync::Always).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("use a later version"), "{error}");
}

#[test]
fn a_path_that_is_a_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "here").unwrap();
    let error = Store::open(&path, Fsync::Always).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file"), "{error}");
}
