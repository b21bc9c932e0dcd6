//! Threads, processes, large values, and what happens when a commit fails.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    super::{
        Fsync, Scan, Store, StoreError, Table, Write,
        database::{Database, lock},
        folder::Folder,
    },
    batch, last_batch,
};

fn put(table: Table, key: &[u8], value: Vec<u8>) -> Write {
    Write::Put {
        table,
        key: key.to_vec(),
        value: value.into(),
    }
}

#[test]
fn a_second_opener_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Always).unwrap();
    let again = store.clone();
    let error = Store::open(folder.path(), Fsync::Always).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("in use") && text.contains(folder.path().to_str().unwrap()),
        "{text}"
    );
    drop(store);
    assert!(Store::open(folder.path(), Fsync::Always).is_err());
    drop(again);
    Store::open(folder.path(), Fsync::Always).unwrap();
}

#[test]
fn what_was_committed_is_seen_by_every_thread() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Always).unwrap();
    let (returned, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let number = |value: &[u8]| u64::from_be_bytes(value.try_into().unwrap());
    let reads = thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0_u64;
                    while !done.load(Ordering::SeqCst) {
                        let least = returned.load(Ordering::SeqCst);
                        let one = store.get(Table::State, b"a").unwrap();
                        assert!(one.map_or(0, |one| number(&one)) >= least);
                        let both = store.scan(Table::State, Scan::all()).unwrap();
                        assert!(both.iter().all(|(_, value)| *value == both[0].1));
                        assert!(both.first().map_or(0, |(_, value)| number(value)) >= least);
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for next in 1..400_u64 {
            let value = next.to_be_bytes().to_vec();
            let writes = [b"a", b"b", b"c"].map(|key| put(Table::State, key, value.clone()));
            store.commit(&writes).unwrap();
            returned.store(next, Ordering::SeqCst);
            if next % 100 == 0 {
                store.tidy().unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum::<u64>()
    });
    assert!(reads > 0);
}

#[test]
fn reading_waits_for_no_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Always).unwrap();
    store.commit(&batch(0)).unwrap();
    // A commit in its middle: it has the lock, and has written without having come to its end.
    let writer = lock(&store.inner.database.writer);
    writer
        .connection
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM state")
        .unwrap();
    assert_eq!(last_batch(&store), Some(0));
    writer.connection.execute_batch("ROLLBACK").unwrap();
    drop(writer);
    store.commit(&batch(1)).unwrap();
    assert_eq!(last_batch(&store), Some(1));
}

#[test]
fn a_value_of_64_mib_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let value: Vec<u8> = (0..64_u32 << 20)
        .map(|at| (at ^ (at >> 11)) as u8)
        .collect();
    store
        .commit(&[
            put(Table::State, b"large", value.clone()),
            put(Table::State, b"small", vec![1]),
        ])
        .unwrap();
    drop(store);
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    assert!(store.get(Table::State, b"large").unwrap().unwrap() == value);
    assert_eq!(
        store.scan(Table::State, Scan::prefix("s")).unwrap().len(),
        1
    );
}

#[test]
fn a_full_disk_takes_the_commit_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    store.commit(&batch(0)).unwrap();
    let pages = |most: i32| {
        let writer = lock(&store.inner.database.writer);
        writer
            .connection
            .pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
            .unwrap();
    };
    pages(1);
    let mut large = batch(1);
    large.push(put(Table::State, b"large", vec![0; 1 << 20]));
    let error = store.commit(&large).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(last_batch(&store), Some(0));
    pages(i32::MAX);
    store.commit(&batch(1)).unwrap();
    assert_eq!(last_batch(&store), Some(1));
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let lock = Folder::open(folder.path()).unwrap();
    let mut database = Database::open(&lock, Fsync::Never).unwrap();
    database.commit(&batch(0)).unwrap();
    database.sync_log();
    database.commit(&batch(1)).unwrap();
    // A folder cannot be written to, like a file on a broken disk.
    database.log = folder.path().to_owned();
    database.sync_log();
    for _ in 0..2 {
        let error = database.commit(&batch(2)).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("takes no commits any more"), "{text}");
    }
    drop((database, lock));
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    assert_eq!(last_batch(&store), Some(1));
}

/// A store whose disk refuses every fsync that is not a commit's own.
fn refused_by_its_disk(folder: &Path, delay: Duration) -> (Store, Arc<Database>) {
    let fsync = Fsync::Every(delay);
    let lock = Folder::open(folder).unwrap();
    let mut database = Database::open(&lock, fsync).unwrap();
    database.log = folder.to_owned();
    let database = Arc::new(database);
    let store = Store::with(Arc::clone(&database), lock, fsync).unwrap();
    (store, database)
}

#[test]
fn the_disk_is_asked_within_the_delay() {
    let folder = tempfile::tempdir().unwrap();
    let (store, database) = refused_by_its_disk(folder.path(), Duration::from_millis(1));
    store.commit(&batch(0)).unwrap();
    let asked = (0..5000).any(|_| {
        thread::sleep(Duration::from_millis(1));
        lock(&database.writer).failed.is_some()
    });
    assert!(asked);
}

#[test]
fn the_disk_is_asked_before_closing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, database) = refused_by_its_disk(folder.path(), Duration::from_secs(3600));
    store.commit(&batch(0)).unwrap();
    assert!(lock(&database.writer).failed.is_none());
    drop(store);
    assert!(lock(&database.writer).failed.is_some());
}
