//! What happens at rest.

use super::{
    OUTPUT_HIGH,
    cell::{Cell, State},
    leaves::LeafWaker,
    report,
    runs::RunRef,
};
use crate::journal::{
    AttemptError, AwaitSet, CANCEL, Command, Completion, Order, SignalId, Source,
};

/// Reports of large await sets are sent only if ids joined or half have gone.
const LARGE_AWAIT_SET: usize = 64;

/// The next step of the executor.
#[derive(Debug)]
pub(crate) enum Step {
    /// Wake this and poll the handler to rest.
    Wake(Option<LeafWaker>),
    /// Wake all these and poll the handler to rest.
    Probe(Vec<LeafWaker>),
    /// Nothing to do until input comes or a closure is woken.
    Wait,
    Suspend(AwaitSet),
    Fail(AttemptError),
}

/// A CANCEL whose delivery waits for the invocation ids of calls, which are cancelled first.
#[derive(Debug)]
struct Cancelling {
    /// The calls, by the completion ids of their invocation ids, in issue order.
    calls: Vec<u32>,
    /// The leaves that were awaited when the CANCEL was delivered.
    awaited: Vec<(u64, usize)>,
}

/// The executor's memory between two rests.
#[derive(Debug, Default)]
pub(crate) struct Decider {
    /// Boxed, since most attempts have none.
    cancelling: Option<Box<Cancelling>>,
    /// The run whose closure may be polled in the poll at hand.
    granted: Option<RunRef>,
    /// So much is written that it should be sent before the handler goes on.
    pub(crate) output_high: bool,
    /// The last step was a probe: the leaves that wait now are those that are truly awaited.
    probed: bool,
    /// The await set that the runtime was told last.
    reported: Option<AwaitSet>,
    foreign_reported: bool,
}

impl Decider {
    /// At rest: withdraws what was not taken, and finds the next step.
    pub(crate) fn decide(&mut self, cell: &Cell) -> Step {
        let woken_runs = cell.wakes.take_runs();
        let mut state = cell.lock();
        let step = self.next_step(cell, &mut state, woken_runs);
        // A cancellation issues commands, too.
        cell.tell_replay_over(state);
        step
    }

    fn next_step(&mut self, cell: &Cell, state: &mut State, woken_runs: Vec<RunRef>) -> Step {
        self.output_high = state.journal.buffered_output() > OUTPUT_HIGH;
        state.leaves.withdraw();
        if let Some(run) = self.granted.take()
            && cell.withdraw_grant(run)
        {
            state.runs.withdraw(run);
        }
        if !woken_runs.is_empty() {
            state.runs.woken(woken_runs);
        }
        if let Some(fault) = state.fault.take() {
            return Step::Fail(fault);
        }
        if let Some((run, leaf)) = state.runs.grant_resumable() {
            return self.wake_run(cell, state, run, leaf);
        }
        if state.run_failure.is_some() {
            return self.finish_failed(state);
        }
        if let Some(step) = self.go_on_cancelling(state) {
            return step;
        }
        let offer = state.leaves.next_offer(&state.journal.notifications);
        if let Some(cancel) = state.journal.notifications.cancel()
            && !state.holds_cancel_off(&cell.request)
            && offer.is_none_or(|(order, _)| cancel < order)
            && let Some(step) = self.begin_cancelling(state, cancel)
        {
            return step;
        }
        if let Some((_, slot)) = offer {
            let waker = state.leaves.offer(slot, &mut state.runs);
            return self.wake(waker);
        }
        self.block(cell, state)
    }

    /// Nothing can be delivered.
    fn block(&mut self, cell: &Cell, state: &mut State) -> Step {
        if state.journal.is_replaying() {
            return match self.probe(state) {
                Some(step) => step,
                None if state.leaves.len() == 0 => {
                    self.foreign(cell, state);
                    Step::Wait
                }
                None => {
                    let awaited = AwaitSet::new(state.leaves.sources());
                    Step::Fail(state.journal.blocked_mismatch(&awaited))
                }
            };
        }
        if let Some((run, leaf)) = state.runs.grant_startable() {
            return self.wake_run(cell, state, run, leaf);
        }
        if !state.input_closed {
            if state.leaves.len() == 0 && !state.runs.any_executing() {
                self.foreign(cell, state);
            } else {
                self.report_awaiting(state);
            }
            return Step::Wait;
        }
        if let Some(step) = self.probe(state) {
            return step;
        }
        if state.runs.any_active() {
            return Step::Wait;
        }
        if state.leaves.len() == 0 {
            self.foreign(cell, state);
            return Step::Wait;
        }
        Step::Suspend(awaited(state))
    }

    /// A run has failed: the executing runs finish, unless nobody polls them.
    fn finish_failed(&mut self, state: &mut State) -> Step {
        if state.runs.any_executing() {
            if let Some(step) = self.probe(state) {
                return step;
            }
            if state.runs.any_active() {
                return Step::Wait;
            }
        }
        match state.run_failure.take() {
            Some(failure) => Step::Fail(failure),
            None => Step::Wait,
        }
    }

    // ---- cancellation ------------------------------------------------------------------------

    /// CANCEL is next in order. What is awaited now ends with it; if nothing is, it waits.
    fn begin_cancelling(&mut self, state: &mut State, cancel: Order) -> Option<Step> {
        if state.leaves.len() == 0 {
            return None;
        }
        if let Some(step) = self.probe(state) {
            return Some(step);
        }
        let awaited = state.leaves.active();
        if awaited.is_empty() {
            return None;
        }
        state.journal.notifications.take_cancel();
        let calls = state.cancel_calls(cancel);
        self.cancelling = Some(Box::new(Cancelling { calls, awaited }));
        self.go_on_cancelling(state)
    }

    fn go_on_cancelling(&mut self, state: &mut State) -> Option<Step> {
        if let Some(cancelling) = &self.cancelling {
            let Cancelling { calls, awaited } = &**cancelling;
            let unknown = calls
                .iter()
                .find(|id| state.journal.notifications.invocation_id(**id).is_none());
            if let Some(id) = unknown {
                // The CANCEL has come: see `awaited`.
                let awaited = AwaitSet::new([&Source::Completion(*id)]).without_cancel();
                return Some(if state.journal.is_replaying() {
                    Step::Fail(state.journal.blocked_mismatch(&awaited))
                } else if state.input_closed && !state.runs.any_active() {
                    Step::Suspend(awaited)
                } else {
                    Step::Wait
                });
            }
            for id in calls.iter() {
                let target = state
                    .journal
                    .notifications
                    .invocation_id(*id)
                    .unwrap_or_default()
                    .to_owned();
                let command = Command::SendSignal {
                    target: &target,
                    signal: SignalId::Index(CANCEL),
                    completion: Completion::Void,
                };
                if let Err(error) = state.journal.issue(command, "") {
                    return Some(Step::Fail(error));
                }
            }
            state.leaves.cancel(awaited);
            self.cancelling = None;
        }
        let waker = state.leaves.offer_cancellation(&mut state.runs)?;
        Some(self.wake(Some(waker)))
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn wake(&mut self, waker: Option<LeafWaker>) -> Step {
        self.probed = false;
        Step::Wake(waker)
    }

    /// Grants a poll to a run's closure.
    fn wake_run(&mut self, cell: &Cell, state: &mut State, run: RunRef, leaf: usize) -> Step {
        self.granted = Some(run);
        cell.grant(run);
        let waker = state.leaves.wake_for_run(leaf, &mut state.runs);
        self.wake(waker)
    }

    /// Wakes every waiting leaf, once: those that wait again are truly awaited. `None` if that was
    /// the last step.
    fn probe(&mut self, state: &mut State) -> Option<Step> {
        if std::mem::replace(&mut self.probed, true) {
            return None;
        }
        let wakers = state.leaves.probe(&mut state.runs);
        (!wakers.is_empty()).then_some(Step::Probe(wakers))
    }

    /// Tells a v7 runtime what is awaited, once per await point. Not by a probe: that would happen
    /// live and not on replay.
    fn report_awaiting(&mut self, state: &mut State) {
        if !state.journal.version().has_v7()
            || state.runs.any_executing()
            || state.leaves.len() == 0
        {
            return;
        }
        let told = self.reported.as_ref().map_or(0, AwaitSet::len);
        let large = state.leaves.len() > LARGE_AWAIT_SET;
        if large && state.leaves.unreported() == 0 && state.leaves.len() > told / 2 {
            return;
        }
        let awaited = awaited(state);
        if self.reported.as_ref() == Some(&awaited) {
            return;
        }
        state.journal.write_awaiting_on(&awaited);
        state.leaves.mark_reported();
        self.reported = Some(awaited);
    }

    /// The handler was woken by neither an offer nor a closure.
    pub(crate) fn foreign_wake(&mut self, cell: &Cell) {
        self.probed = false;
        self.foreign(cell, &cell.lock());
    }

    /// Whether the handler was seen waiting for something that the journal does not know.
    #[cfg(feature = "testing")]
    pub(super) fn waits_for_foreign(&self) -> bool {
        self.foreign_reported
    }

    /// The handler waits for something that the journal does not know. Said once per attempt.
    fn foreign(&mut self, cell: &Cell, state: &State) {
        if std::mem::replace(&mut self.foreign_reported, true) {
            return;
        }
        report::foreign(cell, state);
    }
}

/// What is awaited. Not a CANCEL where one has come already: the runtime lets an invocation go on as soon as
/// any of what it awaits is in the journal, so one that waits in its clean-up, or holds the CANCEL off, would be
/// attempted again and again. (Another CANCEL, then, finds it suspended and reaches it when it goes on.)
fn awaited(state: &State) -> AwaitSet {
    let awaited = AwaitSet::new(state.leaves.sources());
    if state.journal.notifications.has_cancel() {
        awaited.without_cancel()
    } else {
        awaited
    }
}
