//! What happens at which time, in the order of times, and in that of asking at the same time.

use std::collections::{BTreeMap, HashMap};

use super::{
    Engine,
    invocation::{AttemptId, Index, Status},
};
use crate::protocol::MessageType;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// A Sleep command, by its completion id.
    Sleep(Index, u32),
    /// A delayed send begins.
    Begin(Index),
    Retry(Index),
    Inactivity(AttemptId),
    Abort(AttemptId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeMap<(u64, u64), Timer>,
    places: HashMap<Timer, (u64, u64)>,
    asked: u64,
}

impl Timers {
    pub(super) fn add(&mut self, at: u64, timer: Timer) {
        self.asked += 1;
        let place = (at, self.asked);
        if let Some(before) = self.places.insert(timer.clone(), place) {
            self.by_time.remove(&before);
        }
        self.by_time.insert(place, timer);
    }

    pub(super) fn remove(&mut self, timer: &Timer) {
        if let Some(place) = self.places.remove(timer) {
            self.by_time.remove(&place);
        }
    }

    fn next(&self) -> Option<u64> {
        self.by_time.keys().next().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: u64) -> Option<Timer> {
        let entry = self.by_time.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let timer = entry.remove();
        self.places.remove(&timer);
        Some(timer)
    }
}

impl Engine {
    /// When something is to happen next.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        self.timers.next()
    }

    /// When something other than these is to happen next.
    pub(crate) fn next_timer_but(&self, passed_over: impl Fn(&Timer) -> bool) -> Option<u64> {
        let mut timers = self.timers.by_time.iter();
        let found = timers.find(|(_, timer)| !passed_over(timer));
        found.map(|((at, _), _)| *at)
    }

    /// The time goes on; it never goes back. What is due by then happens.
    pub(crate) fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
        if self.stepwise {
            return;
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            self.fire(timer);
        }
    }

    /// All timers, for tests.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> Vec<(u64, Timer)> {
        let all = self.timers.by_time.iter();
        all.map(|((at, _), timer)| (*at, timer.clone())).collect()
    }

    /// What is due and has not happened yet, in the order of times.
    pub(crate) fn due(&self) -> Vec<Timer> {
        let due = self.timers.by_time.range(..=(self.now, u64::MAX));
        due.map(|(_, timer)| timer.clone()).collect()
    }

    /// This happens now.
    pub(crate) fn fire_due(&mut self, timer: Timer) {
        self.timers.remove(&timer);
        self.fire(timer);
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Sleep(index, id) => {
                self.complete_with(index, MessageType::SLEEP, id, super::VOID);
            }
            Timer::Begin(index) => {
                if matches!(self.invocations[index].status, Status::Scheduled(_)) {
                    self.enqueue(index);
                }
            }
            Timer::Retry(index) => {
                if matches!(self.invocations[index].status, Status::BackingOff(_)) {
                    self.begin(index);
                }
            }
            Timer::Inactivity(attempt) => {
                let timeout =
                    |engine: &Self, index: Index| engine.invocations[index].info.inactivity_timeout;
                if self.is_silent(attempt, timeout, Timer::Inactivity) {
                    self.close(attempt);
                }
            }
            Timer::Abort(attempt) => {
                let timeout =
                    |engine: &Self, index: Index| engine.invocations[index].info.abort_timeout;
                if self.is_silent(attempt, timeout, Timer::Abort) {
                    self.handle_broken(attempt, "the attempt was silent for the abort timeout");
                }
            }
        }
    }

    /// Whether nothing was said in either direction for the whole time; else it is asked again when
    /// that may be so.
    fn is_silent(
        &mut self,
        attempt: AttemptId,
        timeout: impl Fn(&Self, Index) -> u64,
        again: impl Fn(AttemptId) -> Timer,
    ) -> bool {
        let Some(&index) = self.attempts.get(&attempt) else {
            return false;
        };
        let Status::Running(running) = &self.invocations[index].status else {
            return false;
        };
        let due = running.active_at.saturating_add(timeout(self, index));
        if due > self.now {
            self.timers.add(due, again(attempt));
            return false;
        }
        true
    }
}
