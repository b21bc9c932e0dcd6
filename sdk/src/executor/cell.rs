//! The one shared cell between the executor and what the handler holds.
//!
//! Contexts and durable futures reach the journal through it. Its lock is held for one operation
//! at a time; no waker is woken and no waker or payload dropped under it, since dropping a future
//! comes back here.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, channel::oneshot, future::Shared};

use super::{
    AttemptRequest,
    ephemeral::EphemeralReads,
    leaves::{Delivery, LeafHandle, Leaves},
    report,
    runs::{RunRef, Runs},
    waker::{RunWaker, Wakes},
};
use crate::{
    error::{Behavior, Failure, HandlerError, TerminalError},
    journal::{AttemptError, Command, CommandRef, Issued, Journal, Order, Source},
    payload::Headers,
    protocol::{MessageType, start::RawId},
    random::Rng,
    retry::{Decision, RetryPolicy},
};

/// A call that this invocation has made, by the completion ids of its invocation id and result.
#[derive(Clone, Copy, Debug)]
struct CallRecord {
    invocation_id: u32,
    result: u32,
}

/// What the lock protects.
pub(crate) struct State {
    pub(crate) journal: Journal,
    pub(crate) leaves: Leaves,
    pub(crate) runs: Runs,
    pub(crate) ephemeral: EphemeralReads,
    /// The request has ended: nothing more will be answered.
    pub(crate) input_closed: bool,
    calls: Vec<CallRecord>,
    /// Calls before this one were cancelled already.
    uncancelled: usize,
    /// Our own fault, or a misuse: the executor ends the attempt with it at rest.
    pub(crate) fault: Option<AttemptError>,
    /// A run failed retryably: the attempt ends with it once the executing runs have proposed.
    pub(crate) run_failure: Option<AttemptError>,
    /// The run whose closure is being polled.
    pub(super) polled_run: Option<RunRef>,
    /// Its name. The text is used again and again.
    pub(super) polled_name: String,
    /// The handler has ended: commands from drop glue are ignored.
    pub(crate) closed: bool,
    /// The span says that the attempt replays.
    told_replaying: bool,
    rng: Rng,
    finished: Option<News>,
    ending: Option<News>,
    /// The server drains.
    draining: bool,
    /// How many hold a CANCEL off at present.
    shields: u32,
    /// How many commands were recorded when the attempt began, without Input.
    pub(super) replayed: usize,
}

/// Something that is told once, to whoever waits for it.
type News = (oneshot::Sender<()>, Shared<oneshot::Receiver<()>>);

/// What a handler may ask about its invocation; set when the journal is known.
#[derive(Debug, Default)]
pub(crate) struct InvocationInfo {
    pub(crate) id: String,
    pub(crate) raw_id: RawId,
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) retry_count: u32,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) limit_key: Option<String>,
}

/// The shared cell of one attempt.
pub(crate) struct Cell {
    state: Mutex<State>,
    pub(crate) wakes: Wakes,
    /// The completion id of the run whose closure may be polled in the poll at hand; 0: none.
    granted: AtomicU32,
    pub(crate) request: AttemptRequest,
    info: OnceLock<InvocationInfo>,
    span: OnceLock<tracing::Span>,
    /// What interceptors keep for each other.
    pub(crate) extensions: OnceLock<Mutex<http::Extensions>>,
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("service", &self.request.service)
            .field("handler", &self.request.handler)
            .finish_non_exhaustive()
    }
}

impl Cell {
    pub(crate) fn new(request: AttemptRequest) -> Self {
        Self {
            state: Mutex::new(State {
                journal: Journal::new(request.version, request.limits.outgoing),
                leaves: Leaves::default(),
                runs: Runs::default(),
                ephemeral: EphemeralReads::default(),
                input_closed: false,
                calls: Vec::new(),
                uncancelled: 0,
                fault: None,
                run_failure: None,
                polled_run: None,
                polled_name: String::new(),
                closed: false,
                told_replaying: false,
                rng: Rng::new(0),
                finished: None,
                ending: None,
                draining: false,
                shields: 0,
                replayed: 0,
            }),
            wakes: Wakes::default(),
            granted: AtomicU32::new(0),
            request,
            info: OnceLock::new(),
            span: OnceLock::new(),
            extensions: OnceLock::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the Unix epoch, from the endpoint's clock.
    pub(crate) fn now(&self) -> u64 {
        self.request.clock.now()
    }

    pub(crate) fn info(&self) -> &InvocationInfo {
        self.info.get_or_init(InvocationInfo::default)
    }

    /// The journal is known: what the handler may ask about its invocation.
    pub(crate) fn set_info(&self, info: InvocationInfo, seed: u64) {
        self.lock().rng = Rng::new(seed);
        // It is set once, before the handler starts.
        let _ = self.info.set(info);
    }

    /// Makes the attempt's span, now that the invocation is known.
    pub(super) fn open_span(&self) -> tracing::Span {
        let mut state = self.lock();
        // The Input command is always recorded, and no replay.
        state.replayed = state.journal.recorded_commands().saturating_sub(1);
        state.told_replaying = state.replayed > 0;
        let replaying = state.told_replaying;
        drop(state);
        let make = || report::span(self, replaying);
        self.span.get_or_init(make).clone()
    }

    /// Issues a command. `None` if the attempt is over for the handler: what it awaits from here on
    /// stays pending.
    pub(crate) fn issue(&self, command: Command<'_>, name: &str) -> Option<Issued> {
        self.journal(|state| state.journal.issue(command, name))
    }

    /// Issues a command with a completion: the leaf for that.
    pub(crate) fn issue_awaited(&self, command: Command<'_>, name: &str) -> Option<LeafHandle> {
        self.journal(|state| {
            let issued = state.journal.issue(command, name)?;
            Ok(state.leaves.create(Source::Completion(issued.first)))
        })
    }

    /// Issues a call and remembers it for a cancellation: the completion id of its invocation id, and
    /// the leaf for its result.
    pub(crate) fn issue_call(&self, command: Command<'_>, name: &str) -> Option<(u32, LeafHandle)> {
        self.journal(|state| {
            let Issued { first, .. } = state.journal.issue(command, name)?;
            state.calls.push(CallRecord {
                invocation_id: first,
                result: first + 1,
            });
            Ok((first, state.leaves.create(Source::Completion(first + 1))))
        })
    }

    /// Issues a run: the leaf for its result.
    pub(crate) fn issue_run(&self, name: &str) -> Option<LeafHandle> {
        self.journal(|state| {
            let issued = state.journal.issue(Command::Run, name)?;
            let mut leaf = state.leaves.create(Source::Completion(issued.first));
            leaf.run = Some(state.runs.create(issued));
            Ok(leaf)
        })
    }

    /// Issues a read of the state: the leaf for what is read.
    pub(crate) fn issue_read(
        &self,
        read: impl FnOnce(&mut Journal) -> Result<Issued, AttemptError>,
    ) -> Option<LeafHandle> {
        self.journal(|state| {
            let issued = read(&mut state.journal)?;
            Ok(state.leaves.create(Source::Completion(issued.first)))
        })
    }

    /// Changes the journal on behalf of the handler, unless the attempt is over for it. What goes
    /// wrong is not the handler's to see: it is recorded, and ends the attempt at rest.
    pub(crate) fn journal<R>(
        &self,
        operation: impl FnOnce(&mut State) -> Result<R, AttemptError>,
    ) -> Option<R> {
        let mut state = self.lock();
        if state.is_over() {
            return None;
        }
        if state.is_refused_in_run(|run| {
            format!(
                "the closure of run `{run}` used the context: journal commands, durable futures and random \
                 numbers of the context cannot be used within a run, since its closure does not run again on \
                 replay. Do it before or after the run"
            )
        }) {
            return None;
        }
        let result = match operation(&mut state) {
            Ok(result) => Some(result),
            Err(error) => {
                state.fault = Some(error);
                None
            }
        };
        self.tell_replay_over(state);
        result
    }

    /// Tells the span once the last recorded command was issued.
    pub(super) fn tell_replay_over(&self, mut state: MutexGuard<'_, State>) {
        if state.told_replaying && !state.journal.is_replaying() {
            state.told_replaying = false;
            drop(state);
            if let Some(span) = self.span.get() {
                span.record("replaying", false);
            }
        }
    }

    /// Records a fault; the first one counts.
    pub(crate) fn fault(&self, error: AttemptError) {
        let mut state = self.lock();
        if !state.is_over() {
            let command = state.journal.last_command();
            state.fault = Some(error.about(command));
        }
    }

    /// Whether a CANCEL has arrived that no await has taken.
    pub(crate) fn is_cancel_pending(&self) -> bool {
        self.lock().journal.notifications.cancel().is_some()
    }

    /// Records a fault in what arrived for `source`: it is about the command that this completes.
    pub(crate) fn fault_of(&self, source: &Source, error: AttemptError) {
        let command = match source {
            Source::Completion(id) => self.lock().journal.completed_command(*id),
            Source::Signal(_) | Source::NamedSignal(_) => None,
        };
        self.fault(error.about(command));
    }

    /// The next signal id for an awakeable.
    pub(crate) fn next_awakeable(&self) -> Option<u32> {
        self.journal(|state| Ok(state.journal.next_awakeable()))
    }

    /// Draws from the deterministic generator.
    pub(crate) fn random<R: Default>(&self, draw: impl FnOnce(&mut Rng) -> R) -> R {
        self.journal(|state| Ok(draw(&mut state.rng)))
            .unwrap_or_default()
    }

    /// Resolves when the attempt ends.
    pub(crate) fn finished(&self) -> Shared<oneshot::Receiver<()>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        subscribe(&mut state.finished, state.closed)
    }

    /// Resolves when the attempt ends, or the server begins to drain.
    pub(crate) fn ending(&self) -> Shared<oneshot::Receiver<()>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        subscribe(&mut state.ending, state.closed || state.draining)
    }

    /// The server drains. What is returned is to be dropped outside of the lock.
    pub(crate) fn set_ending(&self) -> impl Sized + use<> {
        let mut state = self.lock();
        state.draining = true;
        state.ending.take()
    }

    /// From now on, a CANCEL is not delivered until as many `unshield`s have come.
    pub(crate) fn shield(&self) {
        let mut state = self.lock();
        state.shields = state.shields.saturating_add(1);
    }

    pub(crate) fn unshield(&self) {
        let mut state = self.lock();
        state.shields = state.shields.saturating_sub(1);
    }

    /// The attempt is over for the handler. What is returned is to be dropped outside of the lock.
    pub(crate) fn close(&self) -> impl Sized + use<> {
        let mut state = self.lock();
        state.closed = true;
        // The leaves' wakers lead back to this cell.
        (
            state.finished.take(),
            state.ending.take(),
            std::mem::take(&mut state.leaves),
        )
    }

    // ---- leaves ------------------------------------------------------------------------------

    pub(crate) fn create_leaf(&self, source: Source) -> LeafHandle {
        self.lock().leaves.create(source)
    }

    pub(crate) fn poll_leaf(&self, handle: &mut LeafHandle, waker: &Waker) -> Poll<Delivery> {
        let (poll, dropped) = {
            let mut guard = self.lock();
            let state = &mut *guard;
            if state.is_over() {
                return Poll::Pending;
            }
            if state.is_refused_in_run(|run| {
                format!(
                    "the closure of run `{run}` awaits a durable future, which cannot be done within a run. Await \
                     it before or after the run"
                )
            }) {
                return Poll::Pending;
            }
            // The handler's own waker needs no keeping: it is this cell.
            let own = !std::ptr::addr_eq(waker.data(), std::ptr::from_ref(self));
            state.leaves.poll(
                handle,
                own.then_some(waker),
                &mut state.journal.notifications,
                &mut state.runs,
            )
        };
        drop(dropped);
        poll
    }

    pub(crate) fn remove_leaf(&self, handle: &mut LeafHandle) {
        let dropped = {
            let mut guard = self.lock();
            let state = &mut *guard;
            state.leaves.remove(handle, &mut state.runs)
        };
        drop(dropped);
    }

    // ---- runs --------------------------------------------------------------------------------

    /// The run's closure may be polled in the poll to come.
    pub(super) fn grant(&self, run: RunRef) {
        self.granted.store(run.id, Ordering::Relaxed);
    }

    /// Takes back a grant; `true` if it was not taken.
    pub(super) fn withdraw_grant(&self, run: RunRef) -> bool {
        // The poll has ended: nobody looks at it meanwhile.
        let granted = self.granted.load(Ordering::Relaxed);
        self.granted.store(0, Ordering::Relaxed);
        granted == run.id
    }

    /// Whether the run's closure may be polled now. Taken once.
    pub(crate) fn take_run_grant(&self, run: RunRef) -> bool {
        if self.granted.load(Ordering::Relaxed) != run.id {
            return false;
        }
        self.granted.store(0, Ordering::Relaxed);
        self.lock().runs.start(run, || self.now())
    }

    /// The waker for a run's closure.
    pub(crate) fn run_waker(self: &Arc<Self>, run: RunRef) -> Waker {
        let cell = Arc::clone(self);
        Waker::from(Arc::new(RunWaker { cell, run }))
    }

    /// Polls a run's closure: meanwhile the context is off limits. Also if the closure panics, which
    /// the handler may catch, it is not afterwards.
    pub(crate) fn in_run<R>(&self, run: RunRef, name: &str, poll: impl FnOnce() -> R) -> R {
        struct Restore<'a>(&'a Cell, Option<(RunRef, String)>);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                let mut state = self.0.lock();
                state.polled_run = None;
                if let Some((run, name)) = self.1.take() {
                    state.polled_run = Some(run);
                    state.polled_name = name;
                }
            }
        }
        let mut state = self.lock();
        // A closure may poll another run, which is refused; afterwards it is itself again.
        let outer = state.polled_run.replace(run);
        let outer = outer.map(|outer| (outer, std::mem::take(&mut state.polled_name)));
        state.polled_name.clear();
        state.polled_name.push_str(name);
        drop(state);
        let _restore = Restore(self, outer);
        poll()
    }

    /// The closure of a run has ended.
    pub(crate) fn finish_run(
        &self,
        run: RunRef,
        name: &str,
        policy: Option<&RetryPolicy>,
        result: Result<Bytes, HandlerError>,
    ) {
        let now = self.now();
        // The error's text is made by code of the user's: not under the lock.
        let result = result.map_err(HandlerError::into_failure);
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.is_over() {
            return;
        }
        let (index, replayed, started) = state.runs.record(run);
        let command = || CommandRef {
            index,
            ty: MessageType::RUN,
            name: name.to_owned(),
        };
        state.runs.remove(run);
        let proposal = match result {
            Ok(value) => Ok(value),
            Err(Failure::Terminal(error)) => Err(error),
            Err(Failure::Retryable(failure)) => {
                let tries = state.journal.previous_tries(replayed);
                let took = Duration::from_millis(now.saturating_sub(started));
                let has_v7 = state.journal.version().has_v7();
                match retry(name, failure, policy, tries, took, has_v7) {
                    RunOutcome::Propose(error) => Err(error),
                    RunOutcome::Fail(error) => {
                        if state.run_failure.is_none() {
                            state.run_failure = Some(error.about(Some(command())));
                        }
                        return;
                    }
                }
            }
        };
        if let Err(error) = state.journal.propose_run(run.id, proposal) {
            state.fault = Some(error.about(Some(command())));
        }
    }
}

/// A receiver of the news, which may be known already.
fn subscribe(news: &mut Option<News>, known: bool) -> Shared<oneshot::Receiver<()>> {
    if known {
        let (_, receiver) = oneshot::channel();
        return receiver.shared();
    }
    let (_, receiver) = news.get_or_insert_with(|| {
        let (sender, receiver) = oneshot::channel();
        (sender, receiver.shared())
    });
    receiver.clone()
}

enum RunOutcome {
    Propose(TerminalError),
    Fail(AttemptError),
}

/// What becomes of a run that failed retryably.
fn retry(
    name: &str,
    failure: crate::error::Retryable,
    policy: Option<&RetryPolicy>,
    (count, duration): (u32, Duration),
    took: Duration,
    has_v7: bool,
) -> RunOutcome {
    let mut error = AttemptError::retryable(failure);
    let message = std::mem::take(&mut error.message);
    error.message = format!("run `{name}` failed: {message}");
    match error.behavior {
        // A failure that asks for the end cannot say so before v7; a terminal one has that effect.
        Behavior::Fail if !has_v7 => return RunOutcome::Propose(TerminalError::new(message)),
        Behavior::Retry => {}
        Behavior::Pause | Behavior::Fail => return RunOutcome::Fail(error),
    }
    let Some(policy) = policy else {
        return RunOutcome::Fail(error);
    };
    match policy.decide(count.saturating_add(1), duration.saturating_add(took)) {
        Decision::Retry(delay) => {
            error.delay = error.delay.or(Some(delay));
            RunOutcome::Fail(error)
        }
        Decision::Terminal => RunOutcome::Propose(TerminalError::new(message)),
        Decision::Pause => {
            error.behavior = Behavior::Pause;
            RunOutcome::Fail(error)
        }
    }
}

impl State {
    /// Whether the attempt is over for the handler: it has ended, or will at rest.
    pub(super) fn is_over(&self) -> bool {
        self.closed || self.fault.is_some()
    }

    /// Whether a run's closure is being polled: then the attempt ends with this message about it.
    fn is_refused_in_run(&mut self, message: impl FnOnce(&str) -> String) -> bool {
        let Some(command) = self.polled_command() else {
            return false;
        };
        let error = AttemptError::internal(message(&self.polled_name));
        self.fault = Some(error.about(Some(command)));
        true
    }

    /// The command of the run whose closure is being polled.
    pub(super) fn polled_command(&self) -> Option<CommandRef> {
        let run = self.polled_run?;
        Some(self.runs.command(run, &self.polled_name))
    }

    /// Whether a CANCEL is not delivered at present.
    pub(super) fn holds_cancel_off(&self, request: &AttemptRequest) -> bool {
        self.shields > 0 || request.setting.explicit_cancellation
    }

    /// The calls that a cancellation delivered at `cancel` reaches, by the completion ids of their
    /// invocation ids, in issue order. They are not reached again.
    pub(crate) fn cancel_calls(&mut self, cancel: Order) -> Vec<u32> {
        let from = std::mem::replace(&mut self.uncancelled, self.calls.len());
        self.calls[from..]
            .iter()
            .filter(|call| {
                self.journal
                    .notifications
                    .completed_at(call.result)
                    .is_none_or(|at| at > cancel)
            })
            .map(|call| call.invocation_id)
            .collect()
    }
}
