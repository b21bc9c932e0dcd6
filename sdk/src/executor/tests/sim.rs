//! An in-memory runtime that stores journals, delivers notifications in random order and at random
//! moments, cuts chunks anywhere, suspends, crashes and cancels.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Wake, Waker},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use prost::Message as _;

use super::{
    program::{self, Stmt, World},
    wire::{self, AwaitingOn, Ids, KeyedRead, Msg, Proposal, RAW_ID, StateWrite, Suspension, Tree},
};
use crate::{
    WorkflowContext,
    context::FromAttempt as _,
    engine::is_awaited,
    executor::{Attempt, AttemptRequest, Clock, ForeignHook},
    protocol::{
        MessageType, ProtocolVersion,
        frame::{FrameDecoder, Limits},
        message::{
            Failure, InputCommand, Notification, NotificationId, NotificationResult, Start,
            StateEntry, StateKeys, Value, Void,
        },
    },
    random::Rng,
    service::HandlerFn,
    wire::Awaited,
};

/// An entry of the stored journal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Command(MessageType, Bytes),
    Notification(Notification),
}

impl Entry {
    fn frame(&self) -> Bytes {
        match self {
            Self::Command(ty, payload) => Msg::raw(*ty, payload.clone()),
            Self::Notification(notification) => Msg::new(
                match notification.id {
                    Some(NotificationId::Completion(_)) => MessageType::CALL_COMPLETION,
                    _ => MessageType::SIGNAL,
                },
                notification,
            ),
        }
        .frame()
    }
}

fn completion(id: u32, result: NotificationResult) -> Notification {
    Notification {
        id: Some(NotificationId::Completion(id)),
        result: Some(result),
    }
}

fn json(text: &str) -> NotificationResult {
    NotificationResult::Value(Value {
        content: crate::Encode::encode(text).unwrap(),
    })
}

/// How an attempt ended.
#[derive(Debug, PartialEq)]
pub(super) enum Ended {
    End,
    Suspended(Awaited),
    Crashed,
    /// A run failed retryably.
    Failed,
}

/// A tree of awaited things has leaves, and any of them lets the handler go on.
fn check_tree(tree: &Tree) {
    assert!(
        !(tree.completions.is_empty()
            && tree.signals.is_empty()
            && tree.named.is_empty()
            && tree.nested.is_empty()),
        "an await tree without a leaf"
    );
    assert_eq!(tree.combinator, 1);
    tree.nested.iter().for_each(check_tree);
}

/// How the state comes: with Start, on request, or one or the other in each attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Eager,
    Lazy,
    Varying,
}

/// How mean the runtime is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mood {
    pub(super) crashes: bool,
    pub(super) always_suspend: bool,
    pub(super) cancels: u32,
    /// The handler decides about cancellation by itself.
    pub(super) explicit: bool,
    pub(super) state: State,
    /// Poll without any reason now and then; else only when woken, so that a lost wake shows.
    pub(super) extra_polls: bool,
}

/// The runtime, for one invocation.
pub(super) struct Sim {
    rng: Rng,
    version: ProtocolVersion,
    program: Arc<Stmt>,
    world: Arc<World>,
    mood: Mood,
    pub(super) journal: Vec<Entry>,
    /// Results that exist outside and are not stored yet.
    pending: Vec<Notification>,
    seen_awakeables: BTreeSet<u32>,
    /// Named signals that were delivered.
    delivered: BTreeMap<String, usize>,
    cancels: u32,
    /// Results come from a script, not from what the commands ask for.
    pub(super) scripted: bool,
    pub(super) attempts: u32,
}

/// One attempt at work.
struct Run {
    attempt: Attempt,
    decoder: FrameDecoder,
    to_sdk: VecDeque<u8>,
    input_open: bool,
    proposed: BTreeSet<u32>,
    ended: Option<Ended>,
    told_closed: bool,
    /// A CANCEL is there: it may be held off, and must not be awaited then.
    told_cancel: bool,
    /// Input came since the last poll.
    news: bool,
    wakes: Arc<Wakes>,
}

fn is_cancel(notification: &Notification) -> bool {
    notification.id == Some(NotificationId::Signal(1))
}

impl Sim {
    pub(super) fn new(seed: u64, version: ProtocolVersion, program: Arc<Stmt>, mood: Mood) -> Self {
        let input = InputCommand {
            headers: vec![],
            value: Some(Value {
                content: Bytes::new(),
            }),
        };
        Self {
            rng: Rng::new(seed),
            version,
            program,
            world: Arc::default(),
            mood,
            journal: vec![Entry::Command(
                MessageType::INPUT,
                input.encode_to_vec().into(),
            )],
            pending: Vec::new(),
            seen_awakeables: BTreeSet::new(),
            delivered: BTreeMap::new(),
            cancels: mood.cancels,
            scripted: false,
            attempts: 0,
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }

    fn begin(&mut self, known: &[Entry]) -> Run {
        self.attempts += 1;
        assert!(self.attempts < 2000, "the invocation does not end");
        self.world.reset();
        self.world.flaky.store(!self.scripted, Ordering::SeqCst);
        let request = AttemptRequest {
            version: self.version,
            service: "Program".into(),
            handler: "run".into(),
            attempt_headers: http::HeaderMap::new(),
            clock: Clock::new({
                // Time goes on between attempts, so wake-up times differ.
                let attempts = u64::from(self.attempts);
                move || 1_000_000 * attempts
            }),
            limits: Limits::default(),
            foreign: ForeignHook::default(),
            setting: crate::executor::Setting {
                explicit_cancellation: self.mood.explicit,
                ..Default::default()
            },
        };
        let (program, world) = (Arc::clone(&self.program), Arc::clone(&self.world));
        let invoke: HandlerFn = Arc::new(move |attempt, _| {
            let (program, world) = (Arc::clone(&program), Arc::clone(&world));
            Box::pin(async move {
                let ctx = WorkflowContext::from_attempt(attempt);
                let trace = program::run(&ctx, &world, &program).await?;
                Ok(crate::Encode::encode(&trace)?)
            })
        });
        let state = state_of(known);
        let (state_map, partial_state) = match self.mood.state {
            State::Eager => (state, false),
            State::Lazy => (BTreeMap::new(), true),
            State::Varying => {
                let partial = self.rng.below(3) > 0;
                let sent = state
                    .into_iter()
                    .filter(|_| !partial || self.rng.below(2) == 0)
                    .collect();
                (sent, partial)
            }
        };
        let start = Start {
            id: Bytes::copy_from_slice(&RAW_ID),
            debug_id: "inv_test".into(),
            known_entries: known.len() as u32,
            state_map: state_map
                .into_iter()
                .map(|(key, value)| StateEntry {
                    key: key.into(),
                    value,
                })
                .collect(),
            partial_state,
            key: "key".into(),
            random_seed: 1,
            ..Start::default()
        };
        let mut to_sdk: VecDeque<u8> = Msg::new(MessageType::START, &start).frame().to_vec().into();
        for entry in known {
            to_sdk.extend(entry.frame());
        }
        Run {
            attempt: Attempt::new(request, invoke),
            decoder: FrameDecoder::new(Limits::default()),
            to_sdk,
            input_open: true,
            proposed: BTreeSet::new(),
            ended: None,
            told_closed: false,
            told_cancel: known
                .iter()
                .any(|entry| matches!(entry, Entry::Notification(told) if is_cancel(told))),
            news: false,
            wakes: Arc::default(),
        }
    }

    /// Runs attempts until the invocation ends; the output.
    pub(super) fn run(&mut self) -> Bytes {
        loop {
            let (ended, told) = self.attempt();
            match ended {
                Ended::End => break,
                Ended::Crashed | Ended::Failed => {}
                Ended::Suspended(awaited) => {
                    while !self.is_awake(&awaited, told) {
                        let stored = self.store_result();
                        assert!(
                            stored.is_some(),
                            "suspended on {awaited:?}, which never comes: {:?}",
                            self.journal
                        );
                    }
                }
            }
        }
        let output = self.journal.iter().rev().find_map(|entry| match entry {
            Entry::Command(MessageType::OUTPUT, payload) => Some(payload.clone()),
            _ => None,
        });
        output.expect("ended without an output")
    }

    /// Whether something awaited was stored that the attempt was not told.
    fn is_awake(&self, awaited: &Awaited, told: usize) -> bool {
        self.journal[told..].iter().any(|entry| match entry {
            Entry::Notification(notification) => is_awaited(awaited, notification),
            _ => false,
        })
    }

    /// One attempt of the invocation over what is stored; how it ended, and how many entries it was
    /// told of.
    fn attempt(&mut self) -> (Ended, usize) {
        let known = self.journal.clone();
        let mut run = self.begin(&known);
        let mut told = None;
        if self.mood.always_suspend {
            told = Some(known.len());
            run.input_open = false;
        }
        for step in 0..400_000u32 {
            self.collect_signals();
            match self.rng.below(16) {
                0..=5 => run.feed(&mut self.rng),
                6..=8 => run.poll(false),
                9 => run.poll(self.mood.extra_polls),
                10 | 11 => {
                    if let Some(notification) = self.store_result() {
                        run.tell(&notification);
                    }
                }
                12 => self.nudge_gate(true),
                13 => self.nudge_gate(false),
                14 if run.input_open && self.chance(if step > 300 { 10 } else { 60 }) => {
                    run.input_open = false;
                    told = Some(self.journal.len());
                }
                14 if self.mood.crashes && self.chance(60) => return (Ended::Crashed, 0),
                15 if self.cancels > 0 && self.chance(40) => {
                    self.cancels -= 1;
                    let cancel = Notification {
                        id: Some(NotificationId::Signal(1)),
                        result: Some(NotificationResult::Void(Void {})),
                    };
                    self.journal.push(Entry::Notification(cancel.clone()));
                    run.tell(&cancel);
                }
                _ => {}
            }
            if self.chance(2) {
                self.take_output(&mut run);
            }
            if let Some(ended) = run.ended.take() {
                return (ended, told.unwrap_or(self.journal.len()));
            }
        }
        panic!("the attempt is stuck; journal: {:?}", self.journal);
    }

    /// Replays `script` from its first `known` entries on: the rest is delivered in its order. The
    /// same commands must come, and the same end.
    pub(super) fn replay(&mut self, script: &[Entry], known: usize) {
        let mut run = self.begin(&script[..known]);
        self.journal = script[..known].to_vec();
        let mut expected: VecDeque<(usize, &Entry)> = script
            .iter()
            .enumerate()
            .skip(known)
            .filter(|(_, entry)| matches!(entry, Entry::Command(..)))
            .collect();
        let mut deliver: VecDeque<(usize, &Entry)> = script
            .iter()
            .enumerate()
            .skip(known)
            .filter(|(_, entry)| matches!(entry, Entry::Notification(_)))
            .collect();
        let mut quiet = 0;
        for _ in 0..400_000u32 {
            quiet += 1;
            match self.rng.below(12) {
                0..=4 => run.feed(&mut self.rng),
                5 | 6 => run.poll(false),
                7 => run.poll(self.mood.extra_polls),
                8 => self.nudge_gate(true),
                9 => self.nudge_gate(false),
                _ => {
                    let next = deliver.front().copied();
                    if let Some((at, Entry::Notification(notification))) = next
                        && expected.front().is_none_or(|(command, _)| *command > at)
                    {
                        let is_run = matches!(&notification.id, Some(NotificationId::Completion(id)) if is_run(script, *id));
                        let proposed = matches!(&notification.id, Some(NotificationId::Completion(id)) if run.proposed.contains(id));
                        // A run's completion follows its proposal; unless this attempt no longer
                        // gets to it, as an earlier one did.
                        if !is_run || proposed || quiet > 300 {
                            deliver.pop_front();
                            run.tell(notification);
                            quiet = 0;
                        }
                    }
                }
            }
            let before = self.journal.len();
            self.take_output(&mut run);
            for entry in &self.journal[before..] {
                let Entry::Command(ty, payload) = entry else {
                    continue;
                };
                quiet = 0;
                let Some((at, Entry::Command(expected_ty, expected_payload))) =
                    expected.pop_front()
                else {
                    panic!("from {known}: a command too many: {ty}");
                };
                let same = match *ty {
                    MessageType::SLEEP => *expected_ty == MessageType::SLEEP,
                    MessageType::GET_EAGER_STATE | MessageType::GET_LAZY_STATE => {
                        [MessageType::GET_EAGER_STATE, MessageType::GET_LAZY_STATE]
                            .contains(expected_ty)
                    }
                    MessageType::GET_EAGER_STATE_KEYS | MessageType::GET_LAZY_STATE_KEYS => [
                        MessageType::GET_EAGER_STATE_KEYS,
                        MessageType::GET_LAZY_STATE_KEYS,
                    ]
                    .contains(expected_ty),
                    _ => ty == expected_ty && payload == expected_payload,
                };
                assert!(
                    same,
                    "from {known}: entry {at} was {expected_ty} {expected_payload:?}, now it is {ty} {payload:?}"
                );
            }
            match run.ended.take() {
                Some(Ended::End) => {
                    assert!(
                        expected.is_empty(),
                        "from {known}: commands are missing: {expected:?}"
                    );
                    return;
                }
                Some(other) => panic!("from {known}: {other:?}"),
                None => {}
            }
        }
        panic!("from {known}: the replay is stuck; expected {expected:?}, deliver {deliver:?}");
    }

    fn nudge_gate(&mut self, open: bool) {
        let gates = self.world.gates();
        if gates > 0 {
            let at = self.rng.below(gates as u64) as usize;
            self.world.nudge(at, open);
        }
    }

    /// Stores one result that exists outside, any of them.
    fn store_result(&mut self) -> Option<Notification> {
        self.collect_signals();
        if self.pending.is_empty() {
            return None;
        }
        let at = self.rng.below(self.pending.len() as u64) as usize;
        let notification = self.pending.swap_remove(at);
        self.journal.push(Entry::Notification(notification.clone()));
        Some(notification)
    }

    /// Signals for the awakeables and waits that the handler has made.
    fn collect_signals(&mut self) {
        for id in self.world.awakeables.lock().unwrap().iter() {
            let raw = BASE64_URL_SAFE_NO_PAD
                .decode(&id["sign_1".len()..])
                .unwrap();
            assert_eq!(raw[..24], RAW_ID);
            let signal = u32::from_be_bytes(raw[24..].try_into().unwrap());
            if self.seen_awakeables.insert(signal) {
                let result = json(&format!("awakeable {signal}"));
                self.pending.push(Notification {
                    id: Some(NotificationId::Signal(signal)),
                    result: Some(result),
                });
            }
        }
        let mut waits: BTreeMap<String, usize> = BTreeMap::new();
        for name in self.world.signals.lock().unwrap().iter() {
            *waits.entry(name.clone()).or_default() += 1;
        }
        for (name, waits) in waits {
            let sent = self.delivered.entry(name.clone()).or_default();
            while *sent < waits {
                *sent += 1;
                let result = json(&format!("{name} {sent}"));
                self.pending.push(Notification {
                    id: Some(NotificationId::NamedSignal(name.clone())),
                    result: Some(result),
                });
            }
        }
    }

    fn take_output(&mut self, run: &mut Run) {
        while let Some(segment) = run.attempt.take_output() {
            assert!(!segment.is_empty());
            run.decoder.push(segment);
        }
        while let Some(frame) = run.decoder.next_frame().unwrap() {
            assert!(run.ended.is_none(), "{} after the end", frame.ty);
            let payload = frame.payload;
            match frame.ty {
                MessageType::END => run.ended = Some(Ended::End),
                MessageType::ERROR => {
                    let error = wire::Error::decode(payload).unwrap();
                    if error.message.ends_with(program::FLAKY) {
                        run.ended = Some(Ended::Failed);
                        continue;
                    }
                    panic!(
                        "[{}] {}\njournal: {:?}",
                        error.code, error.message, self.journal
                    );
                }
                MessageType::SUSPENSION => {
                    let suspension = Suspension::decode(payload).unwrap();
                    assert_eq!(suspension.tree.is_some(), self.version.has_v7());
                    suspension.tree.iter().for_each(check_tree);
                    let awaited = Awaited::of(suspension);
                    assert!(run.told_closed, "suspended although input may come");
                    assert!(
                        awaited.signals.contains(&1) || run.told_cancel,
                        "CANCEL must be awaited"
                    );
                    run.ended = Some(Ended::Suspended(awaited));
                }
                MessageType::AWAITING_ON => {
                    assert!(self.version.has_v7());
                    let tree = AwaitingOn::decode(payload).unwrap().tree.unwrap();
                    assert!(tree.signals == [1] || run.told_cancel);
                    check_tree(&tree);
                }
                MessageType::PROPOSE_RUN_COMPLETION => {
                    let proposal = Proposal::decode(payload).unwrap();
                    assert!(run.proposed.insert(proposal.id), "proposed twice");
                    let result = match (proposal.value, proposal.failure) {
                        (Some(content), None) => NotificationResult::Value(Value { content }),
                        (None, Some(failure)) => NotificationResult::Failure(failure.into()),
                        other => panic!("{other:?}"),
                    };
                    if self.scripted {
                        continue;
                    }
                    let stored = self.journal.iter().any(|entry| matches!(
                        entry,
                        Entry::Notification(Notification { id: Some(NotificationId::Completion(id)), .. }) if *id == proposal.id
                    ));
                    assert!(!stored, "a run was executed although its result is known");
                    let notification = completion(proposal.id, result);
                    self.journal.push(Entry::Notification(notification.clone()));
                    if self.version.has_v7() && self.chance(2) {
                        run.tell_ack(proposal.id);
                    } else {
                        run.tell(&notification);
                    }
                }
                ty if ty.is_command() => {
                    if !self.scripted {
                        self.react(ty, &payload);
                    }
                    self.journal.push(Entry::Command(ty, payload));
                }
                ty => panic!("{ty} came out of the SDK"),
            }
        }
    }

    /// What a command will result in.
    fn react(&mut self, ty: MessageType, payload: &Bytes) {
        let ids = |payload: &Bytes| Ids::decode(payload.clone()).unwrap();
        let state = state_of(&self.journal);
        match ty {
            MessageType::CALL => {
                let ids = ids(payload);
                let result = if self.chance(4) {
                    NotificationResult::Failure(Box::new(Failure {
                        code: 500,
                        message: format!("call {}", ids.result),
                        metadata: vec![],
                    }))
                } else {
                    json(&format!("call {}", ids.result))
                };
                self.pending
                    .push(completion(ids.invocation, invocation_id(ids.invocation)));
                self.pending.push(completion(ids.result, result));
            }
            MessageType::ONE_WAY_CALL => {
                let ids = ids(payload);
                self.pending
                    .push(completion(ids.invocation, invocation_id(ids.invocation)));
            }
            MessageType::SLEEP => {
                let id = ids(payload).result;
                self.pending
                    .push(completion(id, NotificationResult::Void(Void {})));
            }
            MessageType::GET_PROMISE => {
                let id = ids(payload).result;
                self.pending.push(completion(id, json("promised")));
            }
            MessageType::GET_LAZY_STATE => {
                let key = KeyedRead::decode(payload.clone()).unwrap().key;
                let result = match state.get(key.as_str()) {
                    Some(content) => NotificationResult::Value(Value {
                        content: content.clone(),
                    }),
                    None => NotificationResult::Void(Void {}),
                };
                self.pending.push(completion(ids(payload).result, result));
            }
            MessageType::GET_LAZY_STATE_KEYS => {
                let keys = state.into_keys().map(Bytes::from).collect();
                self.pending.push(completion(
                    ids(payload).result,
                    NotificationResult::StateKeys(StateKeys { keys }),
                ));
            }
            _ => {}
        }
    }
}

impl Run {
    /// Feeds some bytes, cut anywhere; the end of the input behind the last.
    fn feed(&mut self, rng: &mut Rng) {
        if self.to_sdk.is_empty() {
            if !self.input_open && !self.told_closed {
                self.told_closed = true;
                self.news = true;
                self.attempt.handle_input_closed();
            }
            return;
        }
        let at_most = [1, 7, 40, 5000][rng.below(4) as usize].min(self.to_sdk.len());
        let length = 1 + rng.below(at_most as u64) as usize;
        self.attempt
            .handle_input(self.to_sdk.drain(..length).collect());
        self.news = true;
    }

    /// Polls if there is news or a wake; or anyway, if `extra`.
    fn poll(&mut self, extra: bool) {
        if self.wakes.0.swap(false, Ordering::SeqCst) || self.news || extra {
            self.news = false;
            let waker = Waker::from(Arc::clone(&self.wakes));
            let _ = self.attempt.poll(&mut TaskContext::from_waker(&waker));
        }
    }

    fn tell(&mut self, notification: &Notification) {
        self.told_cancel |= is_cancel(notification);
        if self.input_open {
            self.to_sdk
                .extend(Entry::Notification(notification.clone()).frame());
        }
    }

    fn tell_ack(&mut self, id: u32) {
        if self.input_open {
            self.to_sdk.extend(wire::ack(id).frame());
        }
    }
}

#[derive(Debug, Default)]
struct Wakes(AtomicBool);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn invocation_id(id: u32) -> NotificationResult {
    NotificationResult::InvocationId(format!("inv_1{id:033}").into())
}

fn is_run(script: &[Entry], id: u32) -> bool {
    script.iter().any(|entry| match entry {
        Entry::Command(MessageType::RUN, payload) => {
            Ids::decode(payload.clone()).unwrap().result == id
        }
        _ => false,
    })
}

/// The state after these entries.
fn state_of(journal: &[Entry]) -> BTreeMap<String, Bytes> {
    let mut state = BTreeMap::new();
    for entry in journal {
        if let Entry::Command(MessageType::SET_STATE, payload) = entry {
            let StateWrite { key, value, .. } = StateWrite::decode(payload.clone()).unwrap();
            state.insert(key, value.unwrap_or_default().content);
        }
    }
    state
}
