//! The task that owns the engine: inputs and the time go in, and after each turn one batch goes out, of writes
//! and of what happens once they are on disk.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    archive::Reader,
    attempt::Head,
    commit::{Batch, Release},
    rows,
    store::Write,
};
use crate::{
    engine::{
        Effect, Engine,
        invocation::{AttemptId, CallerId, Index, Outcome},
        paging::{Leaving, Lookup},
    },
    executor::Clock,
    wire::Outgoing,
};

/// Inputs that are taken up in one turn, at most.
const TURN: usize = 1024;

/// How often it is looked for what is kept no longer.
const PURGE: Duration = Duration::from_secs(1);

/// How much of it goes in one turn, and how soon the rest follows: a backlog of it must not keep others waiting.
const PURGED: usize = 100;
const PURGED_NEXT: Duration = Duration::from_millis(5);

/// What is said where nobody knows better.
const FAILED: &str = "its store has failed";

/// What comes from outside.
pub(super) enum Input {
    Ask(Box<dyn FnOnce(&mut Core) + Send>),
    /// What an attempt says.
    Said(AttemptId, Vec<Outgoing>),
    /// Its response broke off, or cannot be read.
    Broken(AttemptId, String),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask(_) => "Ask",
            Self::Said(..) => "Said",
            Self::Broken(..) => "Broken",
        })
    }
}

type Caller = Box<dyn FnOnce(Outcome) + Send>;

/// The engine, and who waits for it.
pub(super) struct Core {
    pub(super) engine: Engine,
    pub(super) reader: Reader,
    clock: Clock,
    callers: HashMap<CallerId, Caller>,
    next_caller: CallerId,
    /// How far the present round has come that forgets what is kept no longer.
    purged: Option<Vec<u8>>,
    /// What the present turn writes besides the engine's changes.
    writes: Vec<Write>,
    releases: Vec<Release>,
}

/// A clock that never goes back: it goes on by itself, and follows the system's where that is ahead. That one
/// is set forward when a machine wakes up, or gets the time only after its start.
pub(super) fn clock() -> Clock {
    let (system, began) = (crate::endpoint::system_clock(), Instant::now());
    clock_of(move || system.now(), move || began.elapsed())
}

fn clock_of(
    system: impl Fn() -> u64 + Send + Sync + 'static,
    passed: impl Fn() -> Duration + Send + Sync + 'static,
) -> Clock {
    let begun = system();
    let ahead = AtomicU64::new(0);
    Clock::new(move || {
        let passed = u64::try_from(passed().as_millis()).unwrap_or(u64::MAX);
        let alone = begun.saturating_add(passed);
        let leads = system().saturating_sub(alone);
        let before = ahead.fetch_max(leads, Ordering::Relaxed);
        alone.saturating_add(before.max(leads))
    })
}

impl Core {
    pub(super) fn new(engine: Engine, reader: Reader, clock: Clock) -> Self {
        Self {
            engine,
            reader,
            clock,
            callers: HashMap::new(),
            next_caller: 1,
            purged: None,
            writes: Vec::new(),
            releases: Vec::new(),
        }
    }

    /// Does something once all that this turn changes is on disk.
    pub(super) fn reply(&mut self, reply: impl FnOnce() + Send + 'static) {
        self.releases.push(Release::Reply(Box::new(reply)));
    }

    /// Somebody who is told an outcome.
    pub(super) fn call(&mut self, caller: Caller) -> CallerId {
        let id = self.next_caller;
        self.next_caller += 1;
        self.callers.insert(id, caller);
        id
    }

    pub(super) fn stop_waiting(&mut self, index: Index, caller: CallerId) {
        self.callers.remove(&caller);
        self.engine.stop_waiting(index, caller);
    }

    /// Writes something along with what this turn changes.
    #[cfg_attr(not(feature = "local-kafka"), allow(dead_code, reason = "offsets"))]
    pub(super) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Runs until it is told to stop, or nobody can ask any more. An error says why it cannot go on.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        batches: mpsc::Sender<Batch>,
        mut written: mpsc::UnboundedReceiver<Leaving>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut purge = tokio::time::interval(PURGE);
        purge.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken = Vec::with_capacity(TURN);
        loop {
            let now = self.clock.now();
            let due = self.engine.next_timer();
            let pause = due.map(|due| Duration::from_millis(due.saturating_sub(now)));
            let alarm = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                Some(gone) = written.recv() => self.engine.evict(gone),
                _ = purge.tick() => if self.purge() {
                    purge.reset_after(PURGED_NEXT);
                },
                count = inputs.recv_many(&mut taken, TURN) => if count == 0 {
                    return Ok(());
                },
                () = alarm => {}
                // Attempts have ended then, and may be the only ones who would ever have said anything.
                () = batches.closed() => return Err(FAILED.to_owned()),
            }
            self.engine.advance_to(self.clock.now());
            for input in taken.drain(..) {
                self.take(input);
            }
            if let Some(fault) = self.reader.take_fault() {
                return Err(fault.to_string());
            }
            let Some(batch) = self.batch() else {
                continue;
            };
            if batches.send(batch).await.is_err() {
                return Err(FAILED.to_owned());
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Ask(ask) => ask(self),
            Input::Said(attempt, messages) => {
                for message in messages {
                    self.engine.handle_message(attempt, message);
                }
            }
            Input::Broken(attempt, reason) => self.engine.handle_broken(attempt, &reason),
        }
    }

    /// Forgets some of what is kept no longer, and says whether there may be more.
    fn purge(&mut self) -> bool {
        let (expired, next) = self
            .reader
            .expired(self.purged.take(), self.engine.now(), PURGED);
        for index in expired {
            if self.engine.fetch(Lookup::Index(index)).is_some() {
                self.engine.forget(index);
            }
        }
        self.purged = next;
        self.purged.is_some()
    }

    /// What the present turn came to, if anything.
    fn batch(&mut self) -> Option<Batch> {
        let changes = self.engine.take_changes();
        let mut writes = rows::writes(&self.engine, changes);
        writes.append(&mut self.writes);
        let mut releases = std::mem::take(&mut self.releases);
        while let Some(effect) = self.engine.next_effect() {
            releases.extend(self.release(effect));
        }
        let leaving = self.engine.take_leaving();
        if writes.is_empty() && releases.is_empty() && leaving.is_empty() {
            return None;
        }
        Some(Batch {
            writes,
            releases,
            leaving,
        })
    }

    fn release(&mut self, effect: Effect) -> Option<Release> {
        Some(match effect {
            Effect::Begin {
                attempt,
                invocation,
                frames,
            } => {
                // It is live, so it is in memory.
                let invocation = self.engine.invocations.get(invocation)?;
                Release::Begin(attempt, Head::of(invocation), frames)
            }
            Effect::Tell { attempt, message } => Release::Tell(attempt, message.frame()),
            Effect::Close { attempt } => Release::Close(attempt),
            Effect::Drop { attempt } => Release::Drop(attempt),
            Effect::Answer { caller, outcome } => {
                let caller = self.callers.remove(&caller)?;
                Release::Reply(Box::new(move || caller(outcome)))
            }
        })
    }
}
