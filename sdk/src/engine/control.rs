//! What an operator does: cancels, kills, pauses, resumes and purges invocations, and replaces state.

#[cfg(feature = "local")]
use std::collections::BTreeMap;
use std::collections::BTreeSet;

#[cfg(feature = "local")]
use bytes::Bytes;

use super::{
    Engine, VOID, failure,
    invocation::{AttemptId, Index, Outcome, Status, What},
    timers::Timer,
};
#[cfg(feature = "local")]
use super::{catalog::ServiceType, changes::Change, keyed::KeyedId};
use crate::{
    protocol::{
        MessageType,
        message::{Failure, NotificationId},
    },
    wire::CANCEL,
};

impl Engine {
    /// Asks an invocation to end. One that has not begun leaves no trace; a paused one goes on.
    pub(crate) fn cancel(&mut self, index: Index) -> Result<(), Failure> {
        match &self.invocations[index].status {
            Status::Completed(_) => return Err(self.refusal(index, COMPLETED)),
            Status::Scheduled(_) | Status::Queued => {
                self.end_unbegun(index, Err(failure(409, "canceled")));
            }
            status => {
                let paused = matches!(status, Status::Paused);
                self.take_pause_back(index);
                let id = NotificationId::Signal(CANCEL);
                self.notify(index, MessageType::SIGNAL, id, VOID);
                if paused {
                    self.go_on(index);
                }
            }
        }
        Ok(())
    }

    /// Ends an invocation and those that it has called or sent something, at once.
    pub(crate) fn kill(&mut self, index: Index) -> Result<(), Failure> {
        if self.invocations[index].is_over() {
            return Err(self.refusal(index, COMPLETED));
        }
        let (mut left, mut begun) = (vec![index], Vec::new());
        let mut seen = BTreeSet::new();
        while let Some(index) = left.pop() {
            let Some(one) = self.invocations.get(index).filter(|one| !one.is_over()) else {
                continue;
            };
            if !seen.insert(index) {
                continue;
            }
            if one.is_unbegun() {
                // Before those that it waits for: it must not get its turn from them.
                self.end_unbegun(index, Err(failure(409, "killed")));
            } else {
                left.extend_from_slice(&one.children);
                begun.push(index);
            }
        }
        for index in begun {
            self.complete(index, Err(failure(409, "killed")));
        }
        Ok(())
    }

    fn end_unbegun(&mut self, index: Index, outcome: Outcome) {
        self.timers.remove(&Timer::Begin(index));
        self.complete(index, outcome);
        self.forget(index);
    }

    /// The attempt crashes, and the next one begins at once: it counts for no retry policy.
    pub(crate) fn crash(&mut self, attempt: AttemptId) {
        if let Some(&index) = self.attempts.get(&attempt) {
            self.end_attempt(index);
            self.record(index, What::Cut("the attempt crashes"));
            self.begin(index);
        }
    }

    /// Ends the request of an attempt long before the inactivity timeout.
    pub(crate) fn cut_short(&mut self, attempt: AttemptId) {
        if let Some(&index) = self.attempts.get(&attempt) {
            self.record(
                index,
                What::Cut("the request ends, so that the attempt suspends"),
            );
            self.close(attempt);
        }
    }

    /// The invocation of an attempt that runs, and whether its request is open.
    pub(crate) fn running(&self, attempt: AttemptId) -> Option<(Index, bool)> {
        let &index = self.attempts.get(&attempt)?;
        match &self.invocations[index].status {
            Status::Running(running) => Some((index, running.closed_at.is_none())),
            _ => None,
        }
    }

    /// Begins no other attempt before it is resumed. One that runs goes on until it would suspend: what it executes
    /// comes to its end.
    pub(crate) fn pause(&mut self, index: Index) -> Result<(), Failure> {
        match &mut self.invocations[index].status {
            Status::Running(running) => {
                running.pausing = true;
                let attempt = running.attempt;
                self.touch(index);
                self.close(attempt);
                return Ok(());
            }
            Status::BackingOff(_) => self.timers.remove(&Timer::Retry(index)),
            // The server accepts it, and does nothing.
            Status::Paused | Status::Suspended(_) => return Ok(()),
            _ => return Err(self.refusal(index, "is not running, cannot be paused.")),
        }
        self.set_paused(index);
        Ok(())
    }

    pub(super) fn set_paused(&mut self, index: Index) {
        self.invocations[index].status = Status::Paused;
        self.record(index, What::Paused);
    }

    /// One that is not paused yet will not be.
    fn take_pause_back(&mut self, index: Index) {
        if let Status::Running(running) = &mut self.invocations[index].status
            && running.pausing
        {
            running.pausing = false;
            self.touch(index);
        }
    }

    /// Lets a paused invocation go on, and one that waits for its next attempt at once. For one that goes
    /// on already there is nothing to do.
    pub(crate) fn resume(&mut self, index: Index) -> Result<(), Failure> {
        match &self.invocations[index].status {
            Status::Paused => {}
            Status::BackingOff(_) => self.timers.remove(&Timer::Retry(index)),
            Status::Running(_) => {
                self.take_pause_back(index);
                return Ok(());
            }
            Status::Suspended(_) => {}
            Status::Scheduled(_) | Status::Queued => {
                let why = "is either inboxed or scheduled, cannot be resumed.";
                return Err(Failure {
                    code: 425,
                    ..self.refusal(index, why)
                });
            }
            Status::Completed(_) => {
                return Err(self.refusal(index, "is completed, cannot be resumed."));
            }
        }
        self.go_on(index);
        Ok(())
    }

    fn go_on(&mut self, index: Index) {
        let invocation = &mut self.invocations[index];
        if !matches!(invocation.status, Status::BackingOff(_)) {
            (invocation.failures, invocation.retries) = (0, 0);
        }
        self.record(index, What::Resumed);
        self.begin(index);
    }

    /// Forgets an invocation that is over.
    pub(crate) fn purge(&mut self, index: Index) -> Result<(), Failure> {
        if !self.invocations[index].is_over() {
            return Err(self.refusal(index, "is not yet completed."));
        }
        self.forget(index);
        Ok(())
    }

    /// Replaces the whole state of an object or workflow that no handler is at work on: one that were would have its
    /// state changed in its hands.
    #[cfg(feature = "local")]
    pub(crate) fn replace_state(
        &mut self,
        of: &KeyedId,
        state: BTreeMap<Bytes, Bytes>,
    ) -> Result<(), Failure> {
        let service = &of.service;
        match self.catalog.service(service).map(|known| known.ty) {
            Some(ServiceType::Object | ServiceType::Workflow) => {}
            Some(ServiceType::Service) => {
                return Err(failure(
                    400,
                    format!("'{service}' is a plain service: it has no state"),
                ));
            }
            None => {
                return Err(failure(
                    404,
                    format!("The requested service '{service}' does not exist"),
                ));
            }
        }
        let place = self.place(of);
        let keyed = self.keyed_mut(place);
        if keyed.running.is_some() {
            return Err(failure(
                409,
                format!("a handler of '{of}' is at work: its state is its own"),
            ));
        }
        let had_some = !keyed.state.is_empty();
        keyed.state = state.clone();
        if had_some {
            self.changed(|| Change::StateCleared(of.clone()));
        }
        for (name, value) in state {
            self.changed(|| Change::State {
                of: of.clone(),
                name,
                value: Some(value),
            });
        }
        // No invocation holds it until this is written.
        self.leave_place(place);
        Ok(())
    }

    /// The server's words.
    fn refusal(&self, index: Index, why: &str) -> Failure {
        let id = &self.invocations[index].id;
        failure(409, format!("The invocation '{id}' {why}"))
    }
}

const COMPLETED: &str = "was already completed.";

/// What is said to an operator who asks for an invocation that is not there.
pub(crate) fn does_not_exist(id: &str) -> Failure {
    failure(
        404,
        format!("The requested invocation '{id}' does not exist"),
    )
}
