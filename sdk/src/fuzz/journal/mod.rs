//! The journal machine: any sequence of operations and messages.

mod replay;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message as _;

use super::{
    operations::{Kind, MARK, Operation},
    output::Output,
    plan::Plan,
};
use crate::{
    journal::{AttemptError, AwaitSet, Change, Issued, Journal, Source},
    protocol::{
        MessageType, ProtocolVersion,
        frame::Frame,
        message::{
            EphemeralState, Failure, Header, Incoming, Notification, NotificationId,
            NotificationResult, Start, StateEntry, StateKeys, Value, Void,
        },
    },
};

const STEPS: usize = 96;

/// An entry of a journal, as the runtime would store it.
#[derive(Clone, Debug)]
enum Entry {
    Command(MessageType, Bytes),
    Notification(NotificationId, NotificationResult),
}

impl Entry {
    fn message(&self) -> Incoming {
        match self.clone() {
            Self::Command(ty, payload) => Incoming::Command(ty, payload),
            Self::Notification(id, result) => Incoming::Notification(Notification {
                id: Some(id),
                result: Some(result),
            }),
        }
    }
}

/// `version, mode, recorded operations, steps…`, where the mode says whether a Start message and the
/// recorded operations are sent first, how many of them there are, what Start says of the state, and
/// whether large messages are refused.
///
/// - A message is taken or is a violation, after which the attempt fails as the executor makes it.
/// - Ids are dense and in issue order, on replay as live; a completion is taken once, and only for a
///   command that is there; what is held for completions is bounded by the commands.
/// - A command that is replayed writes nothing, any other writes its own frame.
/// - One terminator is written, and nothing behind it, whatever comes.
/// - Replayed with what this attempt has written, the same operations are accepted, with the same ids
///   and the same results in the same order, and write nothing; replayed with a part of it, they write
///   the rest, to the byte; one that is another is refused, in a report without payloads.
///
/// # Panics
///
/// If one of these does not hold.
pub fn journal(data: &[u8]) {
    let mut plan = Plan::new(data);
    let version = plan.version();
    let mode = plan.byte();
    let mut world = World::new(version, mode);
    if mode & 1 == 0 {
        world.begin(&mut plan, usize::from(mode >> 3) & 7);
    }
    for _ in 0..STEPS {
        if plan.is_empty() || world.journal.is_closed() {
            break;
        }
        world.step(&mut plan);
        world.check();
    }
    if !world.journal.is_closed() {
        world.close(&mut plan);
    }
    world.check_closed();
    world.check_replay();
    if mode & 1 == 0 && mode >> 3 & 7 == 0 {
        world.check_partial_replay(data.len());
    }
}

/// A journal, and what it must be like.
struct World {
    version: ProtocolVersion,
    /// The largest message that may be written, in bytes.
    limit: usize,
    start: Start,
    journal: Journal,
    output: Output,
    /// All known entries are in.
    ready: bool,
    /// What the runtime has stored, in order.
    history: Vec<Entry>,
    /// The commands that came as known entries, without Input.
    recorded: u32,
    /// Operations that stand in the record and were not issued again.
    ahead: VecDeque<Operation>,
    issued: Vec<(Operation, Issued)>,
    next_id: u32,
    next_index: u32,
    completed: BTreeSet<u32>,
    /// Runs whose results were not proposed.
    runs: Vec<u32>,
    /// v7: what an ack stands for.
    proposed: BTreeMap<u32, NotificationResult>,
}

impl World {
    fn new(version: ProtocolVersion, mode: u8) -> Self {
        let entry = |key: &'static str| StateEntry {
            key: key.into(),
            value: Bytes::from_static(MARK.as_bytes()),
        };
        let start = Start {
            debug_id: "inv_1".to_owned(),
            partial_state: mode & 2 != 0,
            state_map: match mode & 4 {
                0 => vec![],
                _ => vec![entry("l"), entry("k")],
            },
            ..Start::default()
        };
        let limit = if mode & 0x40 != 0 { 2000 } else { 1 << 20 };
        Self {
            version,
            limit,
            start,
            journal: Journal::new(version, limit),
            output: Output::default(),
            ready: false,
            history: Vec::new(),
            recorded: 0,
            ahead: VecDeque::new(),
            issued: Vec::new(),
            next_id: 1,
            next_index: 1,
            completed: BTreeSet::new(),
            runs: Vec::new(),
            proposed: BTreeMap::new(),
        }
    }

    /// Start, Input and so many recorded operations.
    fn begin(&mut self, plan: &mut Plan<'_>, operations: usize) {
        let start = Start {
            known_entries: 1 + operations as u32,
            ..self.start.clone()
        };
        self.message(Incoming::Start(start.encode_to_vec().into()));
        self.message(Incoming::Command(MessageType::INPUT, Bytes::new()));
        let mut first = 1;
        for _ in 0..operations {
            let operation = Operation::read(plan);
            let (ty, payload) = operation.record(first);
            first += ty.completion_ids();
            self.ahead.push_back(operation);
            self.message(Incoming::Command(ty, payload));
        }
        assert!(self.ready);
    }

    fn step(&mut self, plan: &mut Plan<'_>) {
        match plan.below(16) {
            0..=3 => {
                let operation = self.ahead.pop_front();
                let operation = operation.unwrap_or_else(|| Operation::read(plan));
                self.issue(operation);
            }
            4..=6 => {
                let operation = Operation::read(plan);
                self.issue(operation);
            }
            7 => self.propose(plan),
            8 | 9 => {
                let id = NotificationId::Completion(self.id(plan));
                let result = result(plan);
                self.notify(Some(id), Some(result));
            }
            10 => {
                let id = match plan.below(6) {
                    0 => None,
                    1 => Some(NotificationId::Signal(1)),
                    2 => Some(NotificationId::Signal(17)),
                    3 => Some(NotificationId::Signal(plan.number())),
                    _ => Some(NotificationId::NamedSignal(format!("{}", plan.below(2)))),
                };
                let result = (plan.below(16) != 15).then(|| result(plan));
                self.notify(id, result);
            }
            11 => {
                let id = self.id(plan);
                self.message(Incoming::RunAck(id));
            }
            12 => {
                let operation = Operation::read(plan);
                let (ty, payload) = operation.record(self.recorded_ids() + 1);
                self.message(Incoming::Command(ty, payload));
                self.ahead.push_back(operation);
            }
            13 => {
                let ty = MessageType(plan.number() as u16);
                let payload = Bytes::copy_from_slice(plan.bytes());
                match Incoming::decode(Frame { ty, payload }) {
                    Ok(message) => self.message(message),
                    Err(error) => self.fail(&AttemptError::violation(error)),
                }
            }
            14 => self.aside(plan),
            _ => match plan.below(4) {
                0 => self.close(plan),
                _ => {
                    let closed = self.journal.handle_input_closed();
                    assert_eq!(closed.is_ok(), self.ready);
                    if let Err(error) = closed {
                        assert_eq!(error.code, 571);
                        self.fail(&error);
                    }
                }
            },
        }
    }

    /// What is neither a command nor a notification.
    fn aside(&mut self, plan: &mut Plan<'_>) {
        match plan.below(8) {
            0 => self.message(Incoming::CommandAck),
            1 => self.message(Incoming::EphemeralState(EphemeralState {
                id: plan.number(),
                void: None,
                value: None,
            })),
            2 => {
                let start = Start {
                    known_entries: plan.number() % 24,
                    ..self.start.clone()
                };
                self.message(Incoming::Start(start.encode_to_vec().into()));
            }
            3 => self.message(Incoming::Command(MessageType::INPUT, Bytes::new())),
            4 if self.ready => {
                let awaited = self.awaited();
                self.journal.write_awaiting_on(&awaited);
            }
            5 if self.ready => {
                let written = self.journal.write_ephemeral_read(plan.number(), "k");
                assert_eq!(written.is_ok(), self.version.has_v8());
            }
            6 => {
                let first = self.journal.next_awakeable();
                assert!(first >= 17);
                assert_eq!(self.journal.next_awakeable(), first + 1);
            }
            _ => {
                let _ = self.journal.last_command().map(|last| last.to_string());
                let _ = self.journal.take_input();
                let _ = self.journal.previous_tries(true);
                if self.journal.is_replaying() && self.ready {
                    let report = self.journal.blocked_mismatch(&self.awaited());
                    assert_eq!(report.code, 570);
                    assert!(!report.message.contains(MARK), "{report}");
                }
            }
        }
    }

    /// A completion id: a small one, or any.
    fn id(&self, plan: &mut Plan<'_>) -> u32 {
        match plan.byte() {
            255 => plan.number(),
            254 => self.next_id.saturating_sub(1),
            small => u32::from(small & 0x1f),
        }
    }

    fn recorded_ids(&self) -> u32 {
        self.history
            .iter()
            .map(|entry| match entry {
                Entry::Command(ty, _) => ty.completion_ids(),
                Entry::Notification(..) => 0,
            })
            .sum()
    }

    fn notify(&mut self, id: Option<NotificationId>, result: Option<NotificationResult>) {
        self.message(Incoming::Notification(Notification { id, result }));
    }

    fn message(&mut self, message: Incoming) {
        if let Incoming::Start(start) = &message
            && self.history.is_empty()
        {
            self.start = Start::decode(start.clone()).unwrap_or_default();
        }
        let entry = match &message {
            Incoming::Command(ty, payload) => Some(Entry::Command(*ty, payload.clone())),
            Incoming::Notification(Notification {
                id: Some(id),
                result: Some(result),
            }) => Some(Entry::Notification(id.clone(), result.clone())),
            Incoming::RunAck(id) => self
                .proposed
                .get(id)
                .map(|result| Entry::Notification(NotificationId::Completion(*id), result.clone())),
            _ => None,
        };
        let changed = match self.journal.handle_message(message) {
            Ok(changed) => changed,
            Err(error) => {
                assert_eq!(error.code, 571, "{error}");
                return self.fail(&error);
            }
        };
        assert!(self.ready || !matches!(changed, Change::Arrived(_)));
        if let Some(entry) = entry {
            match &entry {
                Entry::Notification(NotificationId::Completion(id), _) if self.ready => {
                    assert!(self.completed.insert(*id), "completion {id} came twice");
                    self.proposed.remove(id);
                }
                Entry::Notification(..) => {}
                Entry::Command(..) => {
                    assert!(!self.ready, "a command came behind the known entries");
                    self.recorded += 1;
                }
            }
            self.history.push(entry);
        }
        match changed {
            Change::Ready => {
                assert!(!self.ready);
                self.ready = true;
                self.recorded -= 1;
                let known = self.start.known_entries as usize;
                assert_eq!(self.history.len(), known);
                for entry in &self.history {
                    if let Entry::Notification(NotificationId::Completion(id), _) = entry {
                        assert!(self.completed.insert(*id), "completion {id} came twice");
                    }
                }
            }
            Change::Arrived(source) if source != Source::Signal(1) => {
                let awakeable = matches!(source, Source::Signal(_));
                let order = self.journal.notifications.order(&source);
                assert!(order.is_some() || awakeable, "{source:?} has arrived");
            }
            _ => {}
        }
        if self.ready {
            let allowed = self.recorded_ids();
            assert!(self.completed.iter().all(|id| (1..=allowed).contains(id)));
            let slots = self.journal.notifications.completion_slots();
            assert!(
                slots <= allowed as usize + 1,
                "{slots} slots for {allowed} ids"
            );
        }
    }

    fn issue(&mut self, operation: Operation) {
        if !self.ready {
            return;
        }
        let replayed = self.next_index <= self.recorded;
        assert_eq!(self.journal.is_replaying(), replayed);
        let issued = match operation.issue(&mut self.journal) {
            Ok(issued) => issued,
            Err(error) => {
                assert!(!error.message.contains(MARK), "{error}");
                match error.code {
                    500 => assert!(!self.version.has_v7() || self.limit < 5000, "{error}"),
                    570 | 571 => assert!(replayed, "{error}"),
                    code => panic!("{code}"),
                }
                return self.fail(&error);
            }
        };
        let expected = Issued {
            first: self.next_id,
            index: self.next_index,
            replayed,
        };
        assert_eq!(issued, expected);
        let journal = &mut self.journal;
        let written = self.output.take(|| journal.take_output());
        let ty = if replayed {
            assert_eq!(written, []);
            let mut commands = self.history.iter().filter_map(|entry| match entry {
                Entry::Command(ty, _) => Some(*ty),
                Entry::Notification(..) => None,
            });
            commands.nth(self.next_index as usize).expect("a record")
        } else {
            let [frame] = written else {
                panic!("not one frame: {written:?}")
            };
            assert!(frame.ty.is_command());
            let eager = [
                MessageType::GET_EAGER_STATE,
                MessageType::GET_EAGER_STATE_KEYS,
            ];
            match frame.ty.completion_ids() {
                2 => {
                    let ids = (frame.number(10), frame.number(11));
                    assert_eq!(ids, (self.next_id.into(), u64::from(self.next_id) + 1));
                }
                1 if frame.ty == MessageType::ONE_WAY_CALL => {
                    assert_eq!(frame.number(10), u64::from(self.next_id));
                }
                1 if eager.contains(&frame.ty) => {
                    let source = Source::Completion(self.next_id);
                    let order = self.journal.notifications.order(&source);
                    assert_eq!(order, Some(self.next_index.into()));
                }
                1 => assert_eq!(frame.number(11), u64::from(self.next_id)),
                _ => assert_eq!((frame.number(10), frame.number(11)), (0, 0)),
            }
            let entry = Entry::Command(frame.ty, frame.payload.clone());
            self.history.push(entry);
            frame.ty
        };
        if operation.kind == Kind::Run {
            self.runs.push(self.next_id);
        }
        self.next_id += ty.completion_ids();
        self.next_index += 1;
        self.issued.push((operation, issued));
    }

    fn propose(&mut self, plan: &mut Plan<'_>) {
        let operation = Operation::read(plan);
        let Some(id) = self.runs.pop() else {
            return;
        };
        if self.completed.contains(&id) {
            return;
        }
        let result = operation.result();
        match self.journal.propose_run(id, result.clone()) {
            Ok(()) if self.version.has_v7() => {
                let kept = match result {
                    Ok(content) => NotificationResult::Value(Value { content }),
                    Err(error) => failure(error.code().into(), error.message(), error.metadata()),
                };
                self.proposed.insert(id, kept);
            }
            Ok(()) => {}
            Err(error) => {
                let is_early = self.version == ProtocolVersion::V5;
                assert!(is_early || self.limit < 5000, "{error}");
                self.fail(&error);
            }
        }
    }

    fn awaited(&self) -> AwaitSet {
        let mut sources: Vec<_> = (1..self.next_id).map(Source::Completion).collect();
        sources.push(Source::NamedSignal("0".into()));
        AwaitSet::new(&sources)
    }

    fn fail(&mut self, error: &AttemptError) {
        self.journal.close_failed(error);
        assert!(self.journal.is_closed());
    }

    fn close(&mut self, plan: &mut Plan<'_>) {
        match plan.below(3) {
            0 => self.journal.close_ended(),
            1 => self.journal.close_suspended(&self.awaited()),
            _ => {
                let error = Operation::read(plan).attempt_error();
                self.journal
                    .close_failed(&error.about(self.journal.last_command()));
            }
        }
    }

    fn check(&mut self) {
        let journal = &mut self.journal;
        self.output.take(|| journal.take_output());
        assert_eq!(journal.buffered_output(), 0);
        assert_eq!(self.output.is_ended(), journal.is_closed());
    }

    /// One terminator, and whatever comes now writes nothing.
    fn check_closed(&mut self) {
        self.check();
        let awaited = self.awaited();
        let late = &mut self.journal;
        for kind in 0..Kind::ALL.len() as u8 {
            let operation = Operation::read(&mut Plan::new(&[kind, 1, 1, 1, 1, 1]));
            let _ = operation.issue(late);
        }
        let _ = late.propose_run(1, Ok(Bytes::new()));
        let _ = late.write_ephemeral_read(1, "k");
        late.write_awaiting_on(&awaited);
        late.close_ended();
        late.close_suspended(&awaited);
        late.close_failed(&AttemptError::internal("late"));
        let message = Incoming::Command(MessageType::INPUT, Bytes::new());
        assert_eq!(late.handle_message(message), Ok(Change::Nothing));
        assert_eq!(late.handle_input_closed(), Ok(()));
        assert_eq!(late.take_output(), None, "written after the terminator");
    }
}

fn result(plan: &mut Plan<'_>) -> NotificationResult {
    match plan.below(6) {
        0 => NotificationResult::Void(Void {}),
        1 => NotificationResult::InvocationId("inv_2".into()),
        2 => NotificationResult::StateKeys(StateKeys {
            keys: vec![Bytes::from_static(b"k")],
        }),
        3 => failure(plan.number(), "no", &[]),
        _ => NotificationResult::Value(Value {
            content: Bytes::copy_from_slice(plan.bytes()),
        }),
    }
}

fn failure<'m>(
    code: u32,
    message: &str,
    metadata: impl IntoIterator<Item = &'m (String, String)>,
) -> NotificationResult {
    NotificationResult::Failure(Box::new(Failure {
        code,
        message: message.to_owned(),
        metadata: metadata
            .into_iter()
            .map(|(key, value)| Header {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
    }))
}
