//! The steps of a driver whose run is explored: the [`Course`] decides who is next and where the run is
//! cut.

use super::{Driver, Fault, Step};
use crate::{
    engine::{
        Timer,
        invocation::{AttemptId, Index},
        words::describe_command,
    },
    testing::explore::{Course, CutKind, Event, Next, Said, Stopped, words},
    wire::Outgoing,
};

/// Codes from here on are those of the protocol: mismatches and violations, which no handler ends with.
const PROTOCOL_ERRORS: u32 = 570;

/// What an attempt's invocation waits for that is due at once and of no interest to others.
fn is_silent(timer: &Timer) -> bool {
    matches!(timer, Timer::Inactivity(_) | Timer::Abort(_))
}

/// It changes nothing that another attempt would see.
fn is_report(said: &Said) -> bool {
    matches!(said, Said::Message(Outgoing::AwaitingOn(_)))
}

fn is_last(said: &Said) -> bool {
    use Outgoing::{End, Error, Suspension};
    matches!(
        said,
        Said::Broken(_) | Said::Message(End | Error(_) | Suspension(_))
    )
}

impl Driver {
    /// Lets the course decide from now on.
    pub(in crate::testing) fn explore(&mut self, course: Course) {
        self.engine.stepwise = true;
        self.course = Some(Box::new(course));
        self.said = Some(Vec::new());
    }

    pub(super) fn step_explored(&mut self, course: &mut Course) -> Result<Step, Fault> {
        self.carry_out();
        for attempt in self.woken.take() {
            self.make_ready(attempt);
        }
        let mut due = self.engine.due();
        if due.iter().any(is_silent) {
            for timer in due.into_iter().filter(is_silent) {
                self.engine.fire_due(timer);
            }
            self.carry_out();
            due = self.engine.due();
        }
        if course.is_gated() {
            return self.step_gated(course, due);
        }
        let candidates = due.len() + self.ready.len();
        if candidates == 0 {
            return Ok(self.at_rest());
        }
        let chosen = course.choose(candidates, true);
        match chosen.checked_sub(due.len()) {
            None => self.fire(course, due.swap_remove(chosen)),
            Some(at) => {
                let attempt = self.ready.remove(at);
                self.poll_explored(course, attempt)?;
            }
        }
        Ok(Step::Worked)
    }

    /// When something happens next. In a run that is explored the time does not move on only to let attempts
    /// suspend: one that was cut has suspended already, and the time must be the same there.
    pub(in crate::testing) fn next_timer(&self) -> Option<u64> {
        if self.course.is_some() {
            self.engine.next_timer_but(is_silent)?;
        }
        self.engine.next_timer()
    }

    fn at_rest(&self) -> Step {
        if self.executing.is_empty() {
            Step::Idle
        } else {
            Step::Executes
        }
    }

    fn fire(&mut self, course: &mut Course, timer: Timer) {
        course.heard(Event::Timer(timer.clone()));
        self.engine.fire_due(timer);
        self.carry_out();
    }

    /// After the cut: what the engine hears of comes in the order of the uncut run.
    fn step_gated(&mut self, course: &mut Course, due: Vec<Timer>) -> Result<Step, Fault> {
        if let Some(next) = course.take_next(&self.engine, &due, false) {
            self.hear(course, next)?;
            return Ok(Step::Worked);
        }
        if !self.ready.is_empty() {
            let next = course.next_invocation();
            let is_next = |attempt: &AttemptId| {
                let live = self.live.get(attempt);
                live.is_some_and(|live| Some(live.invocation) == next)
            };
            let at = self.ready.iter().position(is_next).unwrap_or(0);
            let attempt = self.ready.remove(at);
            self.poll_explored(course, attempt)?;
            return Ok(Step::Worked);
        }
        if !self.executing.is_empty() {
            return Ok(Step::Executes);
        }
        // What would be next does not come.
        if let Some(attempt) = course.take_ignorant(&self.engine) {
            self.engine.crash(attempt);
            self.carry_out();
            return Ok(Step::Worked);
        }
        // Whatever comes first of what there is.
        if let Some(next) = course.take_next(&self.engine, &due, true) {
            self.hear(course, next)?;
            return Ok(Step::Worked);
        }
        Ok(Step::Idle)
    }

    fn hear(&mut self, course: &mut Course, next: Next) -> Result<(), Fault> {
        match next {
            Next::Said(attempt, said) => self.deliver(course, attempt, said),
            Next::Timer(timer) => {
                self.fire(course, timer);
                Ok(())
            }
        }
    }

    fn poll_explored(&mut self, course: &mut Course, attempt: AttemptId) -> Result<(), Fault> {
        let Some(live) = self.live.get(&attempt) else {
            return Ok(());
        };
        let (index, executes) = (live.invocation, live.body.executes_runs());
        let came = live.feed.len();
        if came > 1 {
            let one_by_one = course.choose(2, false) == 1;
            live.feed.allow(one_by_one.then_some(1));
        }
        if came > 0 {
            self.may_suspend(course, attempt, || {
                "before it knew what had come".to_owned()
            });
        }
        let polled = self.poll(attempt);
        let mut said = self.said.replace(Vec::new()).unwrap_or_default();
        // Nobody listens to what follows the end of an attempt.
        said.truncate(
            said.iter()
                .position(is_last)
                .map_or(said.len(), |at| at + 1),
        );
        if let Err(Fault(text)) = polled {
            course.stopped = Some(Stopped {
                index,
                text: text.clone(),
                is_protocol: false,
            });
            return Err(Fault(text));
        }
        if let Some(live) = self.live.get(&attempt) {
            live.feed.allow(None);
            if live.feed.len() > 0 {
                self.make_ready(attempt);
            }
        }
        let mut before: Option<String> = None;
        let mut left = said.iter().filter(|said| !is_report(said)).count();
        let mut said = said.into_iter();
        while let Some(this) = said.next() {
            if self.engine.running(attempt).is_none() {
                return Ok(());
            }
            if !is_report(&this) {
                if course.point(CutKind::Crash, &self.engine, index, left, executes) {
                    let after = match before {
                        Some(before) => format!("after {before} was stored"),
                        None => "before it had stored anything more".to_owned(),
                    };
                    let lost = std::iter::once(this).chain(said);
                    let lost = lost.filter(|lost| !is_report(lost));
                    let lost: Vec<_> = lost.map(|lost| words(&lost, describe_command)).collect();
                    let text = format!("{after}; lost: {}", lost.join(", "));
                    self.crash(course, attempt, index, text);
                    return Ok(());
                }
                left -= 1;
                before = course.is_near().then(|| words(&this, describe_command));
            }
            if course.is_gated() {
                course.hold(attempt, [this]);
            } else {
                self.deliver(course, attempt, this)?;
            }
        }
        if self.engine.running(attempt).is_none() {
            return Ok(());
        }
        let Some(live) = self.live.get(&attempt) else {
            return Ok(());
        };
        let executes = live.body.executes_runs();
        course.polled(&self.engine, index);
        let place = || match (&before, executes) {
            (_, true) => "while a run's closure executed".to_owned(),
            (Some(before), false) => format!("after {before} was stored"),
            (None, false) => "while it waited".to_owned(),
        };
        if course.point(CutKind::Crash, &self.engine, index, 0, executes) {
            let text = place();
            self.crash(course, attempt, index, text);
        } else {
            self.may_suspend(course, attempt, place);
        }
        Ok(())
    }

    fn may_suspend(
        &mut self,
        course: &mut Course,
        attempt: AttemptId,
        place: impl FnOnce() -> String,
    ) {
        if let Some((index, true)) = self.engine.running(attempt) {
            let executes = self.live.get(&attempt);
            let executes = executes.is_some_and(|live| live.body.executes_runs());
            if course.point(CutKind::Suspend, &self.engine, index, 0, executes) {
                course.begin_gate(index, format!("the request ended {}", place()));
                self.engine.cut_short(attempt);
                self.carry_out();
            }
        }
    }

    fn crash(&mut self, course: &mut Course, attempt: AttemptId, index: Index, text: String) {
        course.begin_gate(index, format!("the attempt crashed {text}"));
        self.engine.crash(attempt);
        self.carry_out();
    }

    /// The engine hears of what an attempt says.
    fn deliver(
        &mut self,
        course: &mut Course,
        attempt: AttemptId,
        said: Said,
    ) -> Result<(), Fault> {
        let Some((index, _)) = self.engine.running(attempt) else {
            return Ok(());
        };
        course.hears(index, &said);
        let wrong = match &said {
            Said::Message(Outgoing::Error(error)) if error.code >= PROTOCOL_ERRORS => {
                Some(error.message.clone())
            }
            Said::Broken(reason) => Some(reason.clone()),
            Said::Message(Outgoing::Proposal(id, _)) => {
                let twice = self.engine.invocations[index].is_completed(*id);
                twice.then(|| "a run was proposed twice".to_owned())
            }
            Said::Message(_) => None,
        };
        match said {
            Said::Message(message) => self.engine.handle_message(attempt, message),
            Said::Broken(reason) => self.engine.handle_broken(attempt, &reason),
        }
        self.carry_out();
        match wrong {
            Some(text) => {
                course.stopped = Some(Stopped {
                    index,
                    text: text.clone(),
                    is_protocol: true,
                });
                Err(Fault(text))
            }
            None => Ok(()),
        }
    }
}
