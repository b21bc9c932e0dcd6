//! Scenarios: what a runtime sends to an attempt and what must come back, step by step.
//!
//! A scenario runs on every protocol version, with the input whole, byte by byte and cut at random.
//! One that sends nothing once the handler runs is also played with the input closed before the
//! first poll, where the same must come out.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    driver::{Cut, Driver, Handler, Outside},
    transcript::show,
    wire::{self, Msg},
};
use crate::{
    HandlerResult, WorkflowContext,
    protocol::{MessageType, ProtocolVersion, message::Start},
};

pub(super) const V5: ProtocolVersion = ProtocolVersion::V5;
pub(super) const V6: ProtocolVersion = ProtocolVersion::V6;
pub(super) const V7: ProtocolVersion = ProtocolVersion::V7;
pub(super) const V8: ProtocolVersion = ProtocolVersion::V8;

enum Step {
    Send(Vec<Msg>),
    Nudge(&'static str, bool),
    Tick(u64),
    Close,
    Expect(Vec<String>),
}

type Tweak = Box<dyn Fn(&mut Start)>;

#[must_use = "a scenario does nothing until it runs"]
pub(super) struct Scenario {
    versions: Vec<ProtocolVersion>,
    tweaks: Vec<Tweak>,
    input: Msg,
    replay: Vec<Msg>,
    handler: Handler,
    steps: Vec<Step>,
    notes: Option<Vec<String>>,
    awaiting: bool,
}

/// What a handler of the tests comes to.
pub(super) type Outcome<'a> = BoxFuture<'a, HandlerResult<String>>;

/// A scenario of this handler.
pub(super) fn scenario<H>(handler: H) -> Scenario
where
    H: for<'a> Fn(&'a WorkflowContext, Arc<Outside>) -> Outcome<'a> + Send + Sync + 'static,
{
    Scenario {
        versions: ProtocolVersion::ALL.to_vec(),
        tweaks: Vec::new(),
        input: wire::input(""),
        replay: Vec::new(),
        handler: Arc::new(handler),
        steps: Vec::new(),
        notes: None,
        awaiting: false,
    }
}

impl Scenario {
    /// The versions to run on; all if not called.
    pub(super) fn on(mut self, versions: &[ProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// Changes the Start message.
    pub(super) fn start(mut self, tweak: impl Fn(&mut Start) + 'static) -> Self {
        self.tweaks.push(Box::new(tweak));
        self
    }

    /// The known entries behind Input.
    pub(super) fn replay(mut self, entries: impl IntoIterator<Item = Msg>) -> Self {
        self.replay.extend(entries);
        self
    }

    /// Keeps AwaitingOn in what is expected (v7 and later), which is left out otherwise.
    pub(super) fn awaiting(mut self) -> Self {
        self.awaiting = true;
        self.on(&[V7, V8])
    }

    /// The runtime sends more.
    pub(super) fn send(mut self, messages: impl IntoIterator<Item = Msg>) -> Self {
        self.steps.push(Step::Send(messages.into_iter().collect()));
        self
    }

    /// Opens a gate.
    pub(super) fn open(mut self, gate: &'static str) -> Self {
        self.steps.push(Step::Nudge(gate, true));
        self
    }

    /// Wakes whoever waits at a gate, for nothing.
    pub(super) fn nudge(mut self, gate: &'static str) -> Self {
        self.steps.push(Step::Nudge(gate, false));
        self
    }

    /// The clock goes on.
    pub(super) fn tick(mut self, millis: u64) -> Self {
        self.steps.push(Step::Tick(millis));
        self
    }

    /// The runtime closes its side.
    pub(super) fn close(mut self) -> Self {
        self.steps.push(Step::Close);
        self
    }

    /// What has come out since the last time, a frame a line; `…` at the end stands for anything. A
    /// suspension is what comes when the input is closed then.
    pub(super) fn expect<S: Into<String>>(mut self, lines: impl IntoIterator<Item = S>) -> Self {
        let lines = lines.into_iter().map(Into::into).collect();
        self.steps.push(Step::Expect(lines));
        self
    }

    /// What the handler has noted outside, in the end.
    pub(super) fn notes<S: Into<String>>(mut self, notes: impl IntoIterator<Item = S>) -> Self {
        self.notes = Some(notes.into_iter().map(Into::into).collect());
        self
    }

    pub(super) fn run(self) {
        let live = self
            .steps
            .iter()
            .any(|step| !matches!(step, Step::Expect(_)));
        for version in self.versions.iter().copied() {
            for cut in [Cut::Whole, Cut::Bytes, Cut::Random] {
                self.play(version, cut, false);
                if !live && !self.awaiting {
                    self.play(version, cut, true);
                }
            }
        }
    }

    /// The messages that an attempt begins with.
    pub(super) fn beginning(&self) -> Vec<Msg> {
        let mut start = wire::start(1 + self.replay.len());
        self.tweaks.iter().for_each(|tweak| tweak(&mut start));
        let mut messages = vec![Msg::new(MessageType::START, &start), self.input.clone()];
        messages.extend(self.replay.iter().cloned());
        messages
    }

    fn play(&self, version: ProtocolVersion, cut: Cut, closed: bool) {
        let mut driver = Driver::new(version, cut, &self.handler);
        let label = format!("{version}, {cut:?}, closed first: {closed}");
        driver.feed(&self.beginning());
        if closed {
            driver.close();
        }
        driver.settle();
        let mut seen: Vec<String> = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Send(messages) => {
                    driver.feed(messages);
                    driver.settle();
                }
                Step::Nudge(gate, open) => {
                    driver.outside.nudge(gate, *open);
                    driver.settle_if_woken();
                }
                Step::Tick(millis) => {
                    let clock = &driver.outside.clock;
                    clock.fetch_add(*millis, std::sync::atomic::Ordering::SeqCst);
                }
                Step::Close => {
                    driver.close();
                    driver.settle();
                }
                Step::Expect(lines) => {
                    self.take(&mut driver, version, &mut seen);
                    let suspends = lines
                        .last()
                        .is_some_and(|line| line.starts_with("Suspension"));
                    if suspends && !driver.is_closed() {
                        let before = &lines[..lines.len() - 1];
                        assert!(
                            matches(&seen, before),
                            "{}",
                            report(&label, at, before, &seen)
                        );
                        driver.close();
                        driver.settle();
                        self.take(&mut driver, version, &mut seen);
                    }
                    assert!(
                        matches(&seen, lines),
                        "{}",
                        report(&label, at, lines, &seen)
                    );
                    seen.clear();
                }
            }
        }
        self.take(&mut driver, version, &mut seen);
        assert!(
            seen.is_empty(),
            "{}",
            report(&label, self.steps.len(), &[], &seen)
        );
        if let Some(notes) = &self.notes {
            assert_eq!(&driver.outside.notes(), notes, "{label}");
        }
        // Whatever comes afterwards is no harm.
        driver.close();
        driver.settle();
        if driver.attempt.is_ended() {
            driver.feed(&[wire::void(1), wire::ack(1), wire::cancel(), wire::sleep(9)]);
            driver.settle();
        }
    }

    fn take(&self, driver: &mut Driver, version: ProtocolVersion, seen: &mut Vec<String>) {
        seen.extend(
            driver
                .take_frames()
                .iter()
                .filter(|out| self.awaiting || out.ty != MessageType::AWAITING_ON)
                .map(|out| show(version, out)),
        );
    }
}

fn matches(seen: &[String], expected: &[String]) -> bool {
    seen.len() == expected.len()
        && seen
            .iter()
            .zip(expected)
            .all(|(seen, line)| match line.strip_suffix('…') {
                Some(begin) => seen.starts_with(begin),
                None => seen == line,
            })
}

fn report(label: &str, step: usize, expected: &[String], seen: &[String]) -> String {
    format!(
        "{label}, step {step}\nexpected:\n  {}\nseen:\n  {}",
        expected.join("\n  "),
        seen.join("\n  ")
    )
}
