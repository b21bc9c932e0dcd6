//! The mock as a runtime: it starts an attempt, reads what that writes, and answers as the test has
//! scripted it.
//!
//! What is due comes in order of its time, then of its making, so that a test always goes the same
//! way. Time moves only when nothing else can happen, and not while a run's closure executes.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use super::{
    World,
    failure::{FailureKind, MockFailure},
    record::Outcome,
    say::{FIRST_AWAKEABLE, SignalId, opening, shown_outcome},
    script::{Due, Subject},
    wait::Wakes,
};
use crate::{
    HandlerError,
    executor::{
        Attempt, AttemptHandle, AttemptRequest, Clock, ForeignHook, HandlerSource, Setting,
    },
    journal::Source,
    payload::Input,
    protocol::{
        MessageType, ProtocolVersion,
        frame::Limits,
        message::{NotificationId, NotificationResult, Void},
    },
    wire::{Msg, OutgoingDecoder},
};

/// Polls in a row in which nothing happens before whoever drives the mock gets the thread back.
const IDLE_POLLS: u32 = 8;

/// A handler's future that may borrow from the test.
type Borrowing<'t> = Pin<Box<dyn Future<Output = Result<Bytes, HandlerError>> + 't>>;
pub(super) type Make<'t> = Box<dyn FnOnce(AttemptHandle) -> Borrowing<'t> + 't>;

/// Makes the handler's future, once.
pub(super) struct Once<'t>(Option<Make<'t>>);

impl<'t> HandlerSource for Once<'t> {
    type Handler = Borrowing<'t>;

    fn start(&mut self, attempt: AttemptHandle, _: Input) -> Borrowing<'t> {
        match self.0.take() {
            Some(make) => make(attempt),
            // An attempt starts its handler once.
            None => Box::pin(std::future::pending()),
        }
    }
}

/// Something that is going to happen.
#[derive(Debug)]
pub(super) struct Event {
    message: Option<Msg>,
    story: Option<String>,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Nothing,
    /// The signal of this name has come; another may be scripted.
    Signalled(String),
    /// The promise is completed.
    Promised(String, Outcome),
}

/// What a command waits for that nobody has scripted.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) what: String,
    pub(super) write: Option<String>,
}

/// Where the attempt stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Ended,
    /// A run's closure waits for the world outside.
    Executing,
    /// Nothing happens until the test does something.
    Blocked,
}

pub(super) struct Drive<'t> {
    pub(super) world: &'t World,
    attempt: Attempt<Once<'t>>,
    decoder: OutgoingDecoder,
    pub(super) wakes: Arc<Wakes>,
    /// By the time when they are due, and their number.
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    pub(super) commands: usize,
    /// Scripted signals that were sent: no command tells of them.
    signals: usize,
    /// By completion id.
    pub(super) open: BTreeMap<u32, Open>,
    /// Who waits for a promise: its key, the completion ids.
    pub(super) promise_waiters: BTreeMap<String, Vec<u32>>,
    /// Runs whose closures may be executed: the completion id, and the place in the record.
    pub(super) runs: BTreeMap<u32, usize>,
    /// Awakeables and named signals whose script was looked up.
    asked: BTreeSet<u32>,
    signalling: BTreeSet<String>,
    /// Promises that were or will be completed by the script.
    pub(super) promised: BTreeSet<String>,
    /// Something happened since the last look.
    pub(super) progress: bool,
    pub(super) failed: Option<MockFailure>,
}

impl<'t> Drive<'t> {
    pub(super) fn new(world: &'t World, make: Make<'t>) -> Self {
        let setup = &world.setup;
        let clock = Arc::clone(&world.clock);
        let request = AttemptRequest {
            version: ProtocolVersion::V7,
            service: setup.service.as_str().into(),
            handler: setup.handler.as_str().into(),
            attempt_headers: setup.attempt_headers.clone(),
            clock: Clock::new(move || clock.load(Ordering::SeqCst)),
            limits: Limits::default(),
            foreign: ForeignHook::default(),
            setting: Setting {
                timer: crate::endpoint::timer(),
                explicit_cancellation: setup.explicit_cancellation,
                ..Setting::default()
            },
        };
        let mut attempt = Attempt::of(request, Once(Some(make)));
        attempt.permit_runs([]);
        for message in opening(world) {
            attempt.handle_input(message.frame());
        }
        Self {
            world,
            attempt,
            decoder: OutgoingDecoder::default(),
            wakes: Arc::default(),
            events: BTreeMap::new(),
            number: 0,
            commands: 0,
            signals: 0,
            open: BTreeMap::new(),
            promise_waiters: BTreeMap::new(),
            runs: BTreeMap::new(),
            asked: BTreeSet::new(),
            signalling: BTreeSet::new(),
            promised: BTreeSet::new(),
            progress: false,
            failed: None,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.world.clock.load(Ordering::SeqCst)
    }

    pub(super) fn tell(&self, line: impl Into<String>) {
        self.world.record.borrow_mut().story.push(line.into());
    }

    pub(super) fn failure(&self, kind: FailureKind, what: impl Into<String>) -> MockFailure {
        MockFailure::new(kind, what).telling(&self.world.record.borrow().story)
    }

    // ---- what comes ----------------------------------------------------------------------------

    fn schedule(&mut self, after: Duration, event: Event) {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.schedule_at(self.now().saturating_add(after), event);
    }

    fn schedule_at(&mut self, due: u64, event: Event) {
        self.number += 1;
        self.events.insert((due, self.number), event);
    }

    /// A completion, at once and without being told.
    pub(super) fn complete(&mut self, ty: MessageType, id: u32, result: NotificationResult) {
        self.schedule(Duration::ZERO, Event::completion(ty, id, result, None));
    }

    /// A completion at a time, which the story tells as `what`.
    pub(super) fn complete_at(
        &mut self,
        due: u64,
        ty: MessageType,
        id: u32,
        result: NotificationResult,
        what: &str,
    ) {
        let story = Some(format!("← {what}"));
        self.schedule_at(due, Event::completion(ty, id, result, story));
    }

    /// The result that the script gives a command; none, if it never comes.
    pub(super) fn answer(&mut self, due: Due, ty: MessageType, id: u32, what: &str) {
        match due {
            None => {
                self.open(id, format!("{what}, which is scripted never to end"), None);
            }
            Some((after, result)) => {
                let story = Some(format!("← {what}: {}", shown_outcome(&result)));
                let event = Event::completion(ty, id, result.into(), story);
                self.schedule(after, event);
            }
        }
    }

    /// Nobody knows a result of this command.
    pub(super) fn open(&mut self, id: u32, what: impl Into<String>, write: Option<String>) {
        let what = what.into();
        self.open.insert(id, Open { what, write });
    }

    /// A promise gets completed, once.
    pub(super) fn promise(&mut self, after: Duration, key: String, result: Outcome) {
        if self.promised.insert(key.clone()) {
            let event = Event {
                message: None,
                story: None,
                then: Then::Promised(key, result),
            };
            self.schedule(after, event);
        }
    }

    /// What a promise is completed with just now, though nobody has been told yet.
    pub(super) fn promise_due(&self, key: &str) -> Option<Outcome> {
        let mut due = self.events.range(..=(self.now(), u64::MAX));
        due.find_map(|(_, event)| match &event.then {
            Then::Promised(promise, result) if promise == key => Some(result.clone()),
            _ => None,
        })
    }

    /// Hands a message over that has no place in the order of time.
    pub(super) fn send(&mut self, message: Msg) {
        self.attempt.handle_input(message.frame());
    }

    /// Sends a signal to the handler.
    pub(super) fn signal(&mut self, after: Duration, id: SignalId, result: Outcome) {
        let story = match id {
            SignalId::Cancel => "← cancel".to_owned(),
            _ => format!("← {}: {}", id.what(), shown_outcome(&result)),
        };
        let then = match &id {
            SignalId::Named(name) => Then::Signalled(name.clone()),
            SignalId::Awakeable(_) | SignalId::Cancel => Then::Nothing,
        };
        let (id, result) = match id {
            SignalId::Named(name) => (NotificationId::NamedSignal(name), result.into()),
            SignalId::Awakeable(index) => (
                NotificationId::Signal(FIRST_AWAKEABLE.saturating_add(index)),
                result.into(),
            ),
            SignalId::Cancel => (
                NotificationId::Signal(crate::wire::CANCEL),
                NotificationResult::Void(Void {}),
            ),
        };
        let event = Event {
            message: Some(Msg::notification(MessageType::SIGNAL, id, result)),
            story: Some(story),
            then,
        };
        self.schedule(after, event);
    }

    /// Hands over everything that is due; `false` if there is nothing.
    fn deliver_due(&mut self) -> bool {
        let now = self.now();
        let mut any = false;
        while let Some(first) = self.events.first_entry()
            && first.key().0 <= now
        {
            let event = first.remove();
            any = true;
            if let Some(line) = event.story {
                self.tell(line);
            }
            if let Some(message) = event.message {
                self.send(message);
            }
            match event.then {
                Then::Nothing => {}
                Then::Signalled(name) => {
                    self.signalling.remove(&name);
                }
                Then::Promised(key, result) => self.settle_promise(key, result),
            }
        }
        any
    }

    /// What awakeables and signals the handler waits for: sends those that are scripted.
    fn send_signals(&mut self) -> Result<(), MockFailure> {
        for source in self.attempt.awaited() {
            let (id, subject) = match source {
                Source::Signal(id) if id >= FIRST_AWAKEABLE && self.asked.insert(id) => {
                    let index = id - FIRST_AWAKEABLE;
                    (SignalId::Awakeable(index), Subject::Awakeable(index))
                }
                Source::NamedSignal(name) if !self.signalling.contains(&*name) => {
                    let name = name.to_string();
                    (SignalId::Named(name.clone()), Subject::Signal(name))
                }
                _ => continue,
            };
            let due = self.world.script.borrow_mut().take(&subject, None);
            if let Some(Some((after, result))) = due {
                if let SignalId::Named(name) = &id {
                    self.signalling.insert(name.clone());
                }
                self.signal(after, id, result);
                self.signals += 1;
            }
        }
        let limit = self.world.setup.max_commands;
        if self.signals > limit {
            let what = format!(
                "the handler does not end: it has waited for more than {limit} signals (see `max_commands`)"
            );
            return Err(self.failure(FailureKind::Endless, what));
        }
        Ok(())
    }

    // ---- the loop ------------------------------------------------------------------------------

    /// Lets the handler go on as far as it can; `skip`: time may move.
    pub(super) fn go_on(&mut self, skip: bool) -> Result<Stand, MockFailure> {
        let result = self.try_go_on(skip);
        if let Err(failure) = &result {
            self.failed = Some(failure.clone());
        }
        result
    }

    fn try_go_on(&mut self, skip: bool) -> Result<Stand, MockFailure> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let mut idle = 0;
        loop {
            self.wakes.take();
            let waker = Waker::from(Arc::clone(&self.wakes));
            let polled = self.attempt.poll(&mut Context::from_waker(&waker));
            let wrote = self.take_output()?;
            if let Poll::Ready(()) = polled {
                return Ok(Stand::Ended);
            }
            if self.attempt.waits_for_foreign() {
                return Err(self.foreign());
            }
            if wrote || self.deliver_due() {
                idle = 0;
                self.progress = true;
                continue;
            }
            self.send_signals()?;
            if self.deliver_due() {
                continue;
            }
            if self.wakes.take() {
                // A closure that keeps waking itself is waited for, like any other.
                idle += 1;
                if idle < IDLE_POLLS {
                    continue;
                }
                return Ok(Stand::Executing);
            }
            if self.attempt.executes_runs() {
                return Ok(Stand::Executing);
            }
            if !skip || !self.move_time(u64::MAX) {
                return Ok(Stand::Blocked);
            }
        }
    }

    /// Moves the time to the next event, at most to `until`; `false` if there is none before.
    pub(super) fn move_time(&self, until: u64) -> bool {
        match self.events.first_key_value() {
            Some((&(due, _), _)) if due <= until => {
                self.world.clock.fetch_max(due, Ordering::SeqCst);
                true
            }
            _ => false,
        }
    }

    /// Reads what the attempt has written; `false` if that is nothing.
    fn take_output(&mut self) -> Result<bool, MockFailure> {
        let mut any = false;
        while let Some(bytes) = self.attempt.take_output() {
            self.decoder.push(bytes);
            loop {
                match self.decoder.next() {
                    Ok(None) => break,
                    Ok(Some(message)) => self.handle(message)?,
                    Err(error) => {
                        let what = format!("the attempt wrote what is no message: {error}");
                        return Err(self.failure(FailureKind::AttemptFailed, what));
                    }
                }
            }
            any = true;
        }
        if any {
            self.attempt.permit_runs(self.runs.keys().copied());
        }
        Ok(any)
    }

    // ---- failures ------------------------------------------------------------------------------

    fn foreign(&self) -> MockFailure {
        self.failure(
            FailureKind::Foreign,
            "the handler waits for something that is not durable: a timer of the async runtime, a socket, a \
             channel, a lock, a spawned task, `yield_now`. On replay it may take another path.\n\
             Put it into `ctx.run`, or use a durable future instead (`ctx.sleep` for a timer).",
        )
    }

    /// The handler waits, and nothing will come.
    pub(super) fn stuck(&self) -> MockFailure {
        let awaited = self.attempt.awaited();
        // Not a timer that nobody waits for any more: moving the time would not help.
        let mut events = self.events.iter();
        let next = events.find(|(_, event)| self.is_awaited(event, &awaited));
        if let Some((&(due, _), _)) = next {
            let wait = Duration::from_millis(due.saturating_sub(self.now()));
            let what = format!(
                "the handler waits for {wait:?} to pass, and time is moved by hand: call `start` instead of \
                 `call`, and `advance` what that returns, or leave out `manual_time`"
            );
            return self.failure(FailureKind::Stuck, what);
        }
        let mut waits: Vec<String> = Vec::new();
        let mut write = Vec::new();
        for source in awaited {
            match source {
                Source::Completion(id) => match self.open.get(&id) {
                    Some(open) => {
                        waits.push(open.what.clone());
                        write.extend(open.write.clone());
                    }
                    None => waits.push(format!("completion {id}")),
                },
                Source::Signal(id) => match id.checked_sub(FIRST_AWAKEABLE) {
                    Some(index) => {
                        waits.push(SignalId::Awakeable(index).what());
                        write.push(format!("mock.awakeable({index}).returns(&…);"));
                    }
                    None => {
                        let cancel = "its cancellation (call `start` instead of `call`, and `cancel` what that \
                                      returns)";
                        waits.push(cancel.to_owned());
                    }
                },
                Source::NamedSignal(name) => {
                    waits.push(format!("signal `{name}`"));
                    write.push(format!("mock.signal({:?}).returns(&…);", &*name));
                }
            }
        }
        write.dedup();
        let what = format!(
            "the handler does not end: it waits for {}, and nothing will come",
            waits.join(", and for ")
        );
        self.failure(FailureKind::Stuck, what).write(write)
    }

    /// Whether the handler waits for what this event brings.
    fn is_awaited(&self, event: &Event, awaited: &[Source]) -> bool {
        if let Then::Promised(key, _) = &event.then {
            let mut waiters = self.promise_waiters.get(key).into_iter().flatten();
            return waiters.any(|id| awaited.contains(&Source::Completion(*id)));
        }
        let message = event.message.as_ref();
        let source = match message.and_then(|message| message.as_notification()?.id) {
            Some(NotificationId::Completion(id)) => Source::Completion(id),
            Some(NotificationId::Signal(id)) => Source::Signal(id),
            Some(NotificationId::NamedSignal(name)) => Source::NamedSignal(name.into()),
            None => return false,
        };
        awaited.contains(&source)
    }

    pub(super) fn too_slow(&self) -> MockFailure {
        if self.runs.is_empty() {
            let what = "the handler does not end: it goes on and on, and issues no command";
            return self.failure(FailureKind::Endless, what);
        }
        let record = self.world.record.borrow();
        let names: Vec<_> = self
            .runs
            .values()
            .filter_map(|at| Some(format!("`{}`", record.runs.get(*at)?.name)))
            .collect();
        let names = names.join(", ");
        drop(record);
        let write = self.runs.values().filter_map(|at| {
            let record = self.world.record.borrow();
            Some(format!(
                "mock.run({:?}).returns(&…);",
                record.runs.get(*at)?.name
            ))
        });
        let what = format!(
            "run {names} waits for the world outside for more than {:?} of real time (see `run_limit`)",
            self.world.setup.run_limit
        );
        self.failure(FailureKind::RunLimit, what).write(write)
    }
}

impl Event {
    fn completion(
        ty: MessageType,
        id: u32,
        result: NotificationResult,
        story: Option<String>,
    ) -> Self {
        Self {
            message: Some(Msg::notification(
                ty,
                NotificationId::Completion(id),
                result,
            )),
            story,
            then: Then::Nothing,
        }
    }
}
