//! The engine on a real store, its batches written when a test says so: what is read before, and what is
//! found after a crash.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::{Core, clock, clock_of};
use crate::{
    engine::{
        Engine, Origin, Submission,
        invocation::{Index, Status},
        keyed::KeyedId,
    },
    local::{
        commit::Batch,
        rows::keyed_key,
        runtime::restored,
        store::{Fsync, Store, Table, Write},
    },
};

const MANIFEST: &str = r#"{"services": [
    {"name": "S", "ty": "SERVICE", "handlers": [{"name": "h", "idempotencyRetention": 1000}]},
    {"name": "O", "ty": "VIRTUAL_OBJECT", "handlers": [{"name": "x", "ty": "EXCLUSIVE"}]}
]}"#;

/// A time long ago: a test's own clock starts there.
const BEGIN: u64 = 1_000_000;

struct Rig {
    store: Store,
    core: Core,
    unwritten: VecDeque<Batch>,
    now: u64,
}

impl Rig {
    fn new(folder: &TempDir) -> Self {
        Self::with(folder, MANIFEST)
    }

    fn with(folder: &TempDir, manifest: &str) -> Self {
        let store = Store::open(folder.path(), Fsync::Never).unwrap();
        let (engine, reader) = restored(&store, manifest.as_bytes(), false, BEGIN).unwrap();
        Self {
            store,
            core: Core::new(engine, reader, clock()),
            unwritten: VecDeque::new(),
            now: BEGIN,
        }
    }

    /// One turn of the engine; its batch is not written yet.
    fn turn<T>(&mut self, act: impl FnOnce(&mut Core) -> T) -> T {
        self.core.engine.advance_to(self.now);
        let result = act(&mut self.core);
        let fault = self.core.reader.take_fault();
        assert!(fault.is_none(), "{fault:?}");
        self.unwritten.extend(self.core.batch());
        result
    }

    /// Writes the oldest batch, and lets go of what may leave memory then.
    fn write_one(&mut self) -> bool {
        let Some(batch) = self.unwritten.pop_front() else {
            return false;
        };
        self.store.commit(&batch.writes).unwrap();
        let leaving = batch.leaving;
        self.turn(|core| core.engine.evict(leaving));
        true
    }

    fn write(&mut self) {
        while self.write_one() {}
    }

    /// An invocation of `S/h` by its idempotency key; and whether it was there.
    fn submit(&mut self, key: &str) -> (Index, bool) {
        let submission = Submission {
            service: "S".into(),
            handler: "h".into(),
            idempotency_key: Some(key.into()),
            ..Submission::default()
        };
        let submitted = self.turn(|core| core.engine.submit(submission, Origin::Outside));
        let submitted = submitted.unwrap();
        (submitted.index, submitted.already)
    }

    fn kill(&mut self, index: Index) {
        self.turn(|core| core.engine.kill(index)).unwrap();
    }

    /// One that another makes: of `S/h`.
    fn submit_from(&mut self, parent: Index) -> Index {
        let submission = Submission {
            service: "S".into(),
            handler: "h".into(),
            ..Submission::default()
        };
        let origin = Origin::Handler(parent);
        let submitted = self.turn(|core| core.engine.submit(submission, origin));
        submitted.unwrap().index
    }

    /// How many objects are in memory.
    fn objects(&self) -> usize {
        self.core.engine.all_keyed().count()
    }
}

/// An invocation of `O/x` at `k`.
fn submit_to_object(core: &mut Core) -> Index {
    let submission = Submission {
        service: "O".into(),
        handler: "x".into(),
        key: Some("k".into()),
        ..Submission::default()
    };
    let submitted = core.engine.submit(submission, Origin::Outside).unwrap();
    submitted.index
}

fn object() -> KeyedId {
    KeyedId::new("O", "k", None)
}

fn some_state() -> [(Bytes, Bytes); 1] {
    [(Bytes::from_static(b"a"), Bytes::from_static(b"1"))]
}

/// The state of the object, wherever it is.
fn state_of(engine: &mut Engine) -> Vec<(Bytes, Bytes)> {
    let place = engine.find_place(&object()).unwrap();
    engine.keyed(place).state.clone().into_iter().collect()
}

#[test]
fn a_key_that_is_used_again_is_not_forgotten_with_its_first_invocation() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    let (first, _) = rig.submit("k");
    rig.kill(first);
    rig.write();
    rig.now += 2000;
    let (second, already) = rig.submit("k");
    assert!(!already);
    assert_ne!(first, second);
    // The disk is slow: the store still has the first one, and its time is up.
    rig.turn(Core::purge);
    assert_eq!(rig.submit("k"), (second, true));
    rig.write();
    assert_eq!(rig.submit("k"), (second, true));
    rig.kill(second);
    rig.write();
    assert_eq!(rig.submit("k"), (second, true), "it is on disk");
}

#[test]
fn what_is_forgotten_is_not_read_back_before_that_is_written() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    let (first, _) = rig.submit("k");
    rig.kill(first);
    // Its end is written, but not that it is forgotten.
    rig.turn(|core| core.engine.purge(first)).unwrap();
    assert!(rig.write_one() && rig.write_one());
    let (second, already) = rig.submit("k");
    assert!(!already, "{second} is not {first}");
    rig.write();
    rig.kill(second);
    rig.write();
    assert_eq!(rig.submit("k"), (second, true));
}

#[test]
fn who_waits_at_a_key_goes_on_although_its_handler_was_gone_for_a_while() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    let (first, second) = rig.turn(|core| (submit_to_object(core), submit_to_object(core)));
    rig.write();
    drop(rig);
    let mut rig = Rig::with(&folder, r#"{"services": []}"#);
    rig.kill(first);
    rig.write();
    let status = rig.core.engine.invocations[second].status.clone();
    assert!(matches!(status, Status::Running(_)), "{status:?}");
    drop(rig);
    let mut rig = Rig::new(&folder);
    let third = rig.turn(submit_to_object);
    let status = rig.core.engine.invocations[third].status.clone();
    assert!(matches!(status, Status::Queued), "{status:?}");
    rig.kill(second);
    let status = rig.core.engine.invocations[third].status.clone();
    assert!(matches!(status, Status::Running(_)), "{status:?}");
}

#[test]
fn replaced_state_stays_in_memory_until_it_is_written() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    let (ending, _) = rig.submit("k");
    rig.kill(ending);
    rig.turn(|core| assert!(state_of(&mut core.engine).is_empty()));
    let replace = |core: &mut Core| core.engine.replace_state(&object(), some_state().into());
    rig.turn(replace).unwrap();
    // What ended and was looked at before is written, and leaves; the new state waits for the disk.
    assert!(rig.write_one() && rig.write_one() && rig.write_one());
    assert_eq!(rig.turn(|core| state_of(&mut core.engine)), some_state());
    rig.write();
    assert_eq!(rig.objects(), 0);
    assert_eq!(rig.turn(|core| state_of(&mut core.engine)), some_state());
}

#[test]
fn what_is_looked_for_leaves_again_though_nothing_ends() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    for n in 0..10 {
        let id = KeyedId::new("O", &n.to_string(), None);
        rig.turn(|core| core.engine.find_run(&id));
    }
    rig.write();
    assert_eq!(rig.objects(), 0);
}

#[test]
fn an_object_is_not_read_for_an_invocation_that_has_ended() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    let index = rig.turn(submit_to_object);
    let id = rig.core.engine.invocations[index].id.clone();
    rig.kill(index);
    rig.write();
    assert_eq!(rig.objects(), 0);
    assert_eq!(rig.turn(|core| core.engine.find(&id)), Some(index));
    assert_eq!(rig.objects(), 0);
    rig.write();
    rig.now += 48 * 60 * 60 * 1000;
    rig.turn(Core::purge);
    assert_eq!(rig.objects(), 0);
    rig.write();
    assert_eq!(rig.turn(|core| core.engine.find(&id)), None);
}

#[test]
fn what_is_made_again_makes_others_than_before() {
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::new(&folder);
    let mut children = Vec::new();
    for _ in 0..3 {
        let (parent, already) = rig.submit("k");
        assert!(!already);
        let child = rig.submit_from(parent);
        let one = &rig.core.engine.invocations[child];
        children.push((child, one.id.clone(), one.seed));
        rig.kill(parent);
        rig.kill(child);
        rig.now += 48 * 60 * 60 * 1000;
        rig.write();
        rig.turn(Core::purge);
        rig.write();
        assert_eq!(rig.core.engine.invocations.len(), 0);
        if children.len() == 2 {
            // No row is left that would say which numbers were given.
            drop(rig);
            rig = Rig::new(&folder);
        }
    }
    for (n, (index, id, seed)) in children.iter().enumerate() {
        for other in &children[..n] {
            assert!(*index > other.0 && *id != other.1 && *seed != other.2);
        }
    }
}

#[test]
fn random_seeds_do_not_come_twice_though_the_clock_begins_anew() {
    let folder = TempDir::new().unwrap();
    let mut seeds = BTreeSet::new();
    for _ in 0..3 {
        // It is the same time at each start, as on a machine whose clock stands still while it is off.
        let mut rig = Rig::new(&folder);
        for _ in 0..2 {
            let index = rig.turn(submit_to_object);
            assert!(seeds.insert(rig.core.engine.invocations[index].seed));
        }
        rig.write();
    }
}

#[test]
fn a_row_that_cannot_be_read_is_told_at_the_start() {
    const WORKFLOW: &str = r#"{"services": [
        {"name": "W", "ty": "WORKFLOW", "handlers": [{"name": "run", "ty": "WORKFLOW"}]}
    ]}"#;
    let folder = TempDir::new().unwrap();
    let mut rig = Rig::with(&folder, WORKFLOW);
    let submission = Submission {
        service: "W".into(),
        handler: "run".into(),
        key: Some("k".into()),
        ..Submission::default()
    };
    let submitted = rig.turn(|core| core.engine.submit(submission, Origin::Outside));
    submitted.unwrap();
    rig.write();
    let mut key = keyed_key(&KeyedId::new("W", "k", None));
    key.extend(b"\0\0\0\x01p");
    let (table, value) = (Table::Promises, Bytes::from_static(b"\xff"));
    let odd = Write::Put { table, key, value };
    rig.store.commit(&[odd]).unwrap();
    drop(rig);
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let error = restored(&store, WORKFLOW.as_bytes(), false, BEGIN).unwrap_err();
    assert!(error.to_string().contains("`promises`"), "{error}");
}

#[tokio::test]
async fn the_engine_ends_when_nothing_is_written_any_more_though_nothing_happens() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let (engine, reader) = restored(&store, MANIFEST.as_bytes(), false, BEGIN).unwrap();
    let core = Core::new(engine, reader, clock());
    let (_inputs, taken) = mpsc::channel(1);
    let (batches, waiting) = mpsc::channel(1);
    let (_written, gone) = mpsc::unbounded_channel();
    let (_stop, stopping) = watch::channel(false);
    let run = core.run(taken, batches, gone, stopping);
    let ended = tokio::time::timeout(Duration::from_secs(20), run);
    drop(waiting);
    assert!(ended.await.unwrap().is_err());
}

#[test]
fn the_clock_goes_on_alone_and_follows_the_system_only_forwards() {
    let (system, passed) = (Arc::new(AtomicU64::new(1000)), Arc::new(AtomicU64::new(0)));
    let clock = clock_of(
        {
            let system = system.clone();
            move || system.load(Ordering::Relaxed)
        },
        {
            let passed = passed.clone();
            move || Duration::from_millis(passed.load(Ordering::Relaxed))
        },
    );
    let at = |is: u64, after: u64| {
        system.store(is, Ordering::Relaxed);
        passed.store(after, Ordering::Relaxed);
        clock.now()
    };
    assert_eq!(at(1000, 0), 1000);
    assert_eq!(at(1010, 10), 1010);
    // The machine slept; then somebody sets the clock back; then it catches up.
    assert_eq!(at(9000, 20), 9000);
    assert_eq!(at(500, 30), 9010);
    assert_eq!(at(9015, 40), 9020);
    assert_eq!(at(9100, 50), 9100);
}
