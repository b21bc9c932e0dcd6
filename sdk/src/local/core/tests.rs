//! The engine on a real store, its batches written when a test says so: what is read before, and what is
//! found after a crash.

use std::collections::VecDeque;

use tempfile::TempDir;

use super::{Core, clock};
use crate::{
    engine::{
        Origin, Submission,
        invocation::{Index, Status},
    },
    local::{
        commit::Batch,
        runtime::restored,
        store::{Fsync, Store},
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
        self.turn(|core| core.engine.evict(&leaving));
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
    let submit = |core: &mut Core| {
        let submission = Submission {
            service: "O".into(),
            handler: "x".into(),
            key: Some("k".into()),
            ..Submission::default()
        };
        let submitted = core.engine.submit(submission, Origin::Outside).unwrap();
        submitted.index
    };
    let (first, second) = rig.turn(|core| (submit(core), submit(core)));
    rig.write();
    drop(rig);
    let mut rig = Rig::with(&folder, r#"{"services": []}"#);
    rig.kill(first);
    rig.write();
    let status = rig.core.engine.invocations[second].status.clone();
    assert!(matches!(status, Status::Running(_)), "{status:?}");
    drop(rig);
    let mut rig = Rig::new(&folder);
    let third = rig.turn(submit);
    let status = rig.core.engine.invocations[third].status.clone();
    assert!(matches!(status, Status::Queued), "{status:?}");
    rig.kill(second);
    let status = rig.core.engine.invocations[third].status.clone();
    assert!(matches!(status, Status::Running(_)), "{status:?}");
}
