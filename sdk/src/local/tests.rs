//! What lies in the store is what the engine was: after each of many random events, an engine that is restored
//! stands as the one that goes on.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use bytes::Bytes;

use super::{
    archive::Reader,
    rows,
    store::{Fsync, Store},
};
use crate::{
    engine::{
        Engine, Origin, Submission, Timer,
        catalog::Catalog,
        invocation::{AttemptId, Index, Status, Waiter, What},
        keyed::KeyedId,
        paging::Lookup,
    },
    protocol::{
        MessageType, ProtocolVersion,
        message::{Failure, Value},
    },
    random::Rng,
    wire::{
        Attach, Awaited, CANCEL, Call, CommandMessage, CompletePromise, Error, Ids, KeyedRead, Msg,
        OneWayCall, Outgoing, OutgoingDecoder, Output, Proposal, SendSignal, Sleep, StateWrite,
    },
};

const MANIFEST: &str = r#"{"services": [
    {"name": "S", "ty": "SERVICE", "idempotencyRetention": 5000,
     "handlers": [{"name": "h", "retryPolicyMaxAttempts": 3}]},
    {"name": "O", "ty": "VIRTUAL_OBJECT", "idempotencyRetention": 3000, "handlers": [
        {"name": "x", "ty": "EXCLUSIVE", "retryPolicyMaxAttempts": 2, "retryPolicyOnMaxAttempts": "KILL"},
        {"name": "s", "ty": "SHARED"}
    ]},
    {"name": "W", "ty": "WORKFLOW", "workflowCompletionRetention": 4000, "idempotencyRetention": 2000,
      "handlers": [
        {"name": "run", "ty": "WORKFLOW"}, {"name": "ask", "ty": "SHARED"}
    ]}
]}"#;

const SECOND: u64 = 1000;

fn catalog() -> Catalog {
    Catalog::read(MANIFEST.as_bytes(), false).unwrap()
}

/// An engine on a store, as the runtime has it.
fn engine_on(store: &Store, now: u64) -> (Engine, Reader) {
    let reader = Reader::new(store.clone(), Arc::new(catalog()));
    let mut engine = Engine::new(catalog(), ProtocolVersion::V7, 7, now);
    engine.collect_changes();
    engine.attach_archive(Box::new(reader.clone()), reader.next_index().unwrap());
    engine.restore(reader.live().unwrap());
    assert!(reader.take_fault().is_none());
    (engine, reader)
}

/// Those of requests.
const SCOPES: [Option<&str>; 2] = [None, Some("s")];

/// Random events, and what is written of them.
struct World {
    store: Store,
    engine: Engine,
    reader: Reader,
    rng: Rng,
    now: u64,
    /// All ids that there ever were.
    ids: Vec<String>,
    /// The next completion id of each attempt's invocation.
    next_id: u32,
}

impl World {
    fn new(store: Store, seed: u64) -> Self {
        let now = 1_000_000;
        let (engine, reader) = engine_on(&store, now);
        Self {
            store,
            engine,
            reader,
            rng: Rng::new(seed),
            now,
            ids: Vec::new(),
            next_id: 1,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn key(&mut self) -> String {
        ["a", "b"][self.below(2) as usize].to_owned()
    }

    fn target(&mut self) -> (&'static str, Option<String>, &'static str) {
        match self.below(5) {
            0 => ("S", None, "h"),
            1 | 2 => ("O", Some(self.key()), "x"),
            3 => ("O", Some(self.key()), "s"),
            _ => (
                "W",
                Some(self.key()),
                ["run", "ask"][self.below(2) as usize],
            ),
        }
    }

    fn ids(&mut self, count: u32) -> u32 {
        self.next_id += count;
        self.next_id - count
    }

    fn known_id(&mut self) -> Option<String> {
        let n = self.below(self.ids.len().max(1) as u64) as usize;
        self.ids.get(n).cloned()
    }

    /// What is written and forgotten after each turn.
    fn settle(&mut self) {
        let changes = self.engine.take_changes();
        let writes = rows::writes(&self.engine, changes);
        self.store.commit(&writes).unwrap();
        while self.engine.next_effect().is_some() {}
        let leaving = self.engine.take_leaving();
        self.engine.evict(leaving);
        assert!(self.reader.take_fault().is_none());
    }

    fn submit(&mut self) {
        let (service, key, handler) = self.target();
        let scope = SCOPES[self.below(2) as usize];
        let idempotency_key = self
            .one_in(3)
            .then(|| ["p", "q"][self.below(2) as usize].to_owned());
        let invoke_time = match self.one_in(4) {
            true => self.now + self.below(3 * SECOND),
            false => 0,
        };
        let submission = Submission {
            service: service.into(),
            handler: handler.into(),
            key,
            input: Bytes::from_static(b"1"),
            headers: vec![("a".into(), "b".into())],
            idempotency_key: idempotency_key.filter(|_| handler != "run"),
            scope: scope.map(str::to_owned),
            invoke_time,
            source: self.one_in(5).then(|| "topic".to_owned()),
            ..Submission::default()
        };
        let submitted = self.engine.submit(submission, Origin::Kafka).unwrap();
        let id = self.engine.invocations[submitted.index].id.clone();
        if !submitted.already && !self.ids.contains(&id) {
            self.ids.push(id);
        }
    }

    /// The invocations that run, with their attempts.
    fn running(&self) -> Vec<(AttemptId, Index)> {
        let all = self.engine.invocations.iter();
        all.filter_map(|(index, one)| match &one.status {
            Status::Running(running) => Some((running.attempt, index)),
            _ => None,
        })
        .collect()
    }

    fn say(&mut self, attempt: AttemptId, ty: MessageType, message: &impl prost::Message) {
        let mut decoder = OutgoingDecoder::default();
        decoder.push(Msg::new(ty, message).frame());
        while let Some(message) = decoder.next().unwrap() {
            self.engine.handle_message(attempt, message);
        }
    }

    fn end(&mut self, attempt: AttemptId) {
        let mut output = Output::default();
        match self.one_in(4) {
            true => {
                output.failure = Some(Failure {
                    code: 500,
                    message: "no".into(),
                    metadata: vec![],
                })
            }
            false => {
                output.value = Some(Value {
                    content: Bytes::from_static(b"2"),
                })
            }
        }
        self.say(attempt, MessageType::OUTPUT, &output);
        // Else the attempt breaks off between the two.
        if !self.one_in(8) {
            self.engine.handle_message(attempt, Outgoing::End);
        }
    }

    /// Completion ids of the commands of an invocation that are still open.
    fn open(&self, index: Index) -> Vec<u32> {
        let invocation = &self.engine.invocations[index];
        let commands = invocation.records.iter();
        let ids = commands.filter_map(|record| match &record.what {
            What::Command(_, command) => match &**command {
                CommandMessage::Sleep(sleep) => Some(sleep.result),
                CommandMessage::Call(call) => Some(call.result),
                CommandMessage::GetPromise(read) => Some(read.result),
                CommandMessage::Attach(attach) => Some(attach.result),
                CommandMessage::Run(run) => Some(run.result),
                _ => None,
            },
            _ => None,
        });
        ids.filter(|id| !invocation.is_completed(*id)).collect()
    }

    fn speak(&mut self, attempt: AttemptId, index: Index) {
        let name = self.key();
        let value = || {
            Some(Value {
                content: Bytes::from_static(b"3"),
            })
        };
        match self.below(15) {
            0 | 1 => self.end(attempt),
            2 => {
                let completions = self.open(index);
                if !completions.is_empty() {
                    let awaited = Awaited {
                        completions,
                        signals: vec![CANCEL],
                        named: vec!["n".into()],
                    };
                    self.engine
                        .handle_message(attempt, Outgoing::Suspension(awaited));
                }
            }
            3 => {
                let behavior = self.below(3) as u32;
                let delay = self.one_in(2).then(|| self.rng.below(SECOND));
                let error = Error {
                    code: 500,
                    message: "oh".into(),
                    behavior,
                    delay,
                    ..Error::default()
                };
                self.engine.handle_message(attempt, Outgoing::Error(error));
            }
            4 | 5 => {
                let (service, key, handler) = self.target();
                let ids = self.ids(2);
                let call = Call {
                    service: service.into(),
                    handler: handler.into(),
                    key: key.unwrap_or_default(),
                    invocation: ids,
                    result: ids + 1,
                    ..Call::default()
                };
                self.say(attempt, MessageType::CALL, &call);
            }
            6 => {
                let (service, key, handler) = self.target();
                let invoke_time = self
                    .one_in(2)
                    .then(|| self.now + self.rng.below(2 * SECOND));
                let call = OneWayCall {
                    service: service.into(),
                    handler: handler.into(),
                    key: key.unwrap_or_default(),
                    invocation: self.ids(1),
                    invoke_time: invoke_time.unwrap_or_default(),
                    ..OneWayCall::default()
                };
                self.say(attempt, MessageType::ONE_WAY_CALL, &call);
            }
            7 => {
                let sleep = Sleep {
                    wake_up_time: self.now + self.below(2 * SECOND),
                    result: self.ids(1),
                    ..Sleep::default()
                };
                self.say(attempt, MessageType::SLEEP, &sleep);
            }
            8 | 9 => {
                let ty = match self.below(4) {
                    0 => MessageType::CLEAR_STATE,
                    1 => MessageType::CLEAR_ALL_STATE,
                    _ => MessageType::SET_STATE,
                };
                // Where it must not be written, the attempt fails with that.
                let write = StateWrite {
                    key: name,
                    value: value(),
                    name: String::new(),
                };
                self.say(attempt, ty, &write);
            }
            10 => {
                let read = KeyedRead {
                    key: name,
                    result: self.ids(1),
                    name: String::new(),
                };
                self.say(attempt, MessageType::GET_PROMISE, &read);
            }
            11 => {
                let promise = CompletePromise {
                    key: name,
                    value: value(),
                    result: self.ids(1),
                    ..CompletePromise::default()
                };
                self.say(attempt, MessageType::COMPLETE_PROMISE, &promise);
            }
            12 => {
                let Some(target) = self.known_id() else {
                    return;
                };
                let signal = SendSignal {
                    target,
                    signal: Some("n".into()),
                    value: value(),
                    ..SendSignal::default()
                };
                self.say(attempt, MessageType::SEND_SIGNAL, &signal);
            }
            13 => {
                let attach = Attach {
                    invocation: self.known_id(),
                    result: self.ids(1),
                    ..Attach::default()
                };
                if attach.invocation.is_some() {
                    self.say(attempt, MessageType::ATTACH_INVOCATION, &attach);
                }
            }
            _ => {
                let run = Ids {
                    result: self.ids(1),
                    ..Ids::default()
                };
                self.say(attempt, MessageType::RUN, &run);
                if !self.one_in(3) {
                    let proposal = Proposal {
                        id: run.result,
                        value: Some(Bytes::from_static(b"4")),
                        failure: None,
                    };
                    self.say(attempt, MessageType::PROPOSE_RUN_COMPLETION, &proposal);
                }
            }
        }
    }

    fn operate(&mut self) {
        let Some(id) = self.known_id() else { return };
        let Some(index) = self.engine.find(&id) else {
            return;
        };
        // What is refused changes nothing.
        let _ = match self.below(6) {
            0 => self.engine.cancel(index),
            1 => self.engine.kill(index),
            2 => self.engine.pause(index),
            3 | 4 => self.engine.resume(index),
            _ => self.engine.purge(index),
        };
    }

    fn purge_expired(&mut self) {
        let (expired, _) = self.reader.expired(None, self.now, 100);
        for index in expired {
            if self.engine.fetch(Lookup::Index(index)).is_some() {
                self.engine.forget(index);
            }
        }
    }

    fn step(&mut self) {
        let running = self.running();
        match self.below(10) {
            0 | 1 => self.submit(),
            2 => self.operate(),
            3 => {
                self.now += self.below(SECOND);
                self.engine.advance_to(self.now);
            }
            4 if self.one_in(3) => self.purge_expired(),
            _ if running.is_empty() => self.submit(),
            _ => {
                let (attempt, index) = running[self.below(running.len() as u64) as usize];
                self.speak(attempt, index);
            }
        }
        self.settle();
    }
}

/// How an engine stands, in words. `restored`: running attempts have begun once more.
fn picture(engine: &mut Engine, places: &BTreeSet<KeyedId>, restored: bool) -> String {
    let mut text = String::new();
    let id_of = |engine: &Engine, index: Index| engine.invocations[index].id.clone();
    let live: Vec<_> = engine
        .invocations
        .iter()
        .filter(|(_, one)| !one.is_over())
        .map(|(index, _)| index)
        .collect();
    for index in &live {
        let one = &engine.invocations[*index];
        let mut records: Vec<_> = one
            .records
            .iter()
            .map(|record| format!("{record:?}"))
            .collect();
        let mut attempts = one.attempts;
        let status = match &one.status {
            // With the process, its attempt is over.
            Status::Running(running) if running.pausing => format!("{:?}", Status::Paused),
            Status::Running(_) => {
                if restored {
                    records.pop();
                    attempts -= 1;
                }
                "running".to_owned()
            }
            other => format!("{other:?}"),
        };
        let mut waiters: Vec<_> = one
            .waiters
            .iter()
            .filter(|waiter| match waiter {
                Waiter::Outside(_) => false,
                // Who has ended waits for nothing.
                Waiter::Invocation { index, .. } => live.contains(index),
            })
            .map(|waiter| format!("{waiter:?}"))
            .collect();
        waiters.sort();
        let children = one.children.iter();
        let children: BTreeSet<_> = children
            .filter(|child| {
                let child = engine.invocations.get(**child);
                // What is made again by its key has the id of the one before: after a restart it
                // counts as the child.
                child.is_some_and(|child| {
                    !child.is_over() && child.idempotent().is_none() && child.run_of().is_none()
                })
            })
            .collect();
        let _ = writeln!(
            text,
            "{index} {} {} seed {} {status} attempts {attempts} failures {} retries {} at {} made {} turn {} source {:?} {:?} {:?} {:?} {:?} output {:?} error {:?}\n  children {children:?}\n  waiters {waiters:?}\n  records {records:#?}",
            one.id,
            one.target(),
            one.seed,
            one.failures,
            one.retries,
            one.stored_at,
            one.made,
            one.turn,
            one.source,
            one.input,
            one.headers,
            one.idempotency_key,
            one.created_at,
            one.output,
            one.last_error,
        );
    }
    for of in places {
        let Some(place) = engine.find_place(of) else {
            continue;
        };
        let keyed = engine.keyed(place);
        let promises: Vec<_> = keyed
            .promises
            .iter()
            .map(|(name, promise)| {
                // Who has ended waits for nothing.
                let waiters = promise.waiters.iter();
                let waiters: BTreeSet<_> =
                    waiters.filter(|(index, _)| live.contains(index)).collect();
                (name, &promise.result, waiters)
            })
            .filter(|(_, result, waiters)| result.is_some() || !waiters.is_empty())
            .collect();
        let run = keyed.run.map(|run| id_of(engine, run));
        let _ = writeln!(
            text,
            "{of} running {:?} queue {:?} run {run:?} state {:?} promises {promises:?}",
            keyed.running, keyed.queue, keyed.state
        );
    }
    let mut timers: Vec<_> = engine
        .pending()
        .into_iter()
        .filter(|(_, timer)| !matches!(timer, Timer::Inactivity(_) | Timer::Abort(_)))
        .map(|timer| format!("{timer:?}"))
        .collect();
    timers.sort();
    let _ = writeln!(text, "{timers:#?}");
    text
}

#[test]
fn what_is_restored_stands_as_what_goes_on() {
    let places: BTreeSet<_> = ["O", "W"]
        .iter()
        .flat_map(|service| ["a", "b"].map(|key| (service, key)))
        .flat_map(|(service, key)| SCOPES.map(|scope| KeyedId::new(service, key, scope)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..30 {
        let path = folder.path().join(seed.to_string());
        let store = Store::open(&path, Fsync::Never).unwrap();
        let mut world = World::new(store.clone(), seed);
        for step in 0..150 {
            world.step();
            if step % 3 != 0 {
                continue;
            }
            let (mut restored, reader) = engine_on(&store, world.now);
            let goes_on = picture(&mut world.engine, &places, false);
            let restored = picture(&mut restored, &places, true);
            similar(&goes_on, &restored, &format!("seed {seed}, step {step}"));
            assert!(reader.take_fault().is_none());
            world.settle();
            if world.one_in(10) {
                // The process ends, and begins again.
                let (engine, reader) = engine_on(&store, world.now);
                (world.engine, world.reader) = (engine, reader);
                world.settle();
            }
        }
    }
}

fn similar(left: &str, right: &str, when: &str) {
    let mut parts = left
        .lines()
        .zip(right.lines())
        .filter(|(left, right)| left != right);
    if left != right {
        let (left, right) = parts.next().unwrap_or(("one is longer", ""));
        panic!("{when}\n goes on: {left}\nrestored: {right}");
    }
}

#[test]
fn what_is_forgotten_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Fsync::Never).unwrap();
    let mut world = World::new(store.clone(), 3);
    for _ in 0..2000 {
        world.step();
    }
    let live: Vec<_> = world
        .engine
        .invocations
        .iter()
        .map(|(index, _)| index)
        .collect();
    for index in live {
        if world.engine.invocations.get(index).is_some() {
            let _ = world.engine.kill(index);
        }
        world.settle();
    }
    world.now += 100 * SECOND;
    world.engine.advance_to(world.now);
    for _ in 0..100 {
        world.purge_expired();
        world.settle();
    }
    assert_eq!(world.engine.invocations.len(), 0);
    assert_eq!(world.engine.all_keyed().count(), 0);
    assert_eq!(world.engine.pending(), []);
    use super::store::{Scan, Table};
    for table in [
        Table::Invocations,
        Table::Status,
        Table::Records,
        Table::Promises,
        Table::Ids,
        Table::Idempotency,
        Table::Runs,
        Table::Expiry,
    ] {
        assert_eq!(
            store.scan(table, Scan::all()).unwrap(),
            [],
            "{}",
            table.name()
        );
    }
}
