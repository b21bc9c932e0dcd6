//! What is said about a failure: what went wrong, where the run was cut, how to run it again, and where the
//! journals part.

use std::fmt::{self, Write as _};

use super::{outcome::normal, search::Run};
use crate::{
    engine::{
        Engine,
        invocation::{Invocation, Record, What},
        words::describe_command,
    },
    testing::runtime::{Journal, JournalEvent, JournalEventKind},
    wire::CommandMessage,
};

/// Lines of a journal that are shown before the first difference, and after it.
const BEFORE: usize = 10;
const AFTER: usize = 6;

/// What sort of trouble an exploration has found.
///
/// # Examples
///
/// See [`Explore::check`](super::Explore::check).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExploreFailureKind {
    /// A handler did something else on replay than before: a journal mismatch, or what it says is no
    /// protocol.
    Mismatch,
    /// The scenario panicked, or the [`TestRuntime`](crate::testing::TestRuntime) could not go on: a handler
    /// awaits something that is not durable, or everything waits for ever.
    Stuck,
    /// A cut run came to something else than the uncut one.
    Outcome,
    /// The outcome depends on the order in which things happen.
    Order,
    /// The same run came to something else when it was made again, without any cut.
    Unrepeatable,
}

/// What an exploration has found; [displayed](fmt::Display), a report.
///
/// # Examples
///
/// See [`Explore::check`](super::Explore::check).
#[derive(Clone, Debug)]
pub struct ExploreFailure(pub(super) Box<Report>);

/// What a failure consists of.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) kind: ExploreFailureKind,
    pub(super) what: String,
    pub(super) cut: Option<String>,
    pub(super) order: usize,
    pub(super) rerun: String,
    pub(super) runs: u64,
    pub(super) journals: String,
    pub(super) causes: Vec<&'static str>,
}

impl ExploreFailure {
    /// What sort of trouble it is.
    ///
    /// # Examples
    ///
    /// See [`Explore::check`](super::Explore::check).
    #[must_use]
    pub fn kind(&self) -> ExploreFailureKind {
        self.0.kind
    }

    /// The run that failed, for [`Explore::only`](super::Explore::only).
    ///
    /// # Examples
    ///
    /// See [`Explore::only`](super::Explore::only).
    #[must_use]
    pub fn rerun(&self) -> &str {
        &self.0.rerun
    }
}

impl fmt::Display for ExploreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        match &self.cut {
            Some(cut) => write!(f, "\n\nthe cut: {cut}")?,
            None => f.write_str("\n\nthe cut: none")?,
        }
        match self.order {
            0 => f.write_str("\nthe order: the plain one")?,
            1 => f.write_str("\nthe order: one decision is not that of the plain one")?,
            n => write!(
                f,
                "\nthe order: {n} decisions are not those of the plain one"
            )?,
        }
        write!(f, "\nfound in {} runs; run this one again with", self.runs)?;
        write!(f, "\n    .only(\"{}\")", self.rerun)?;
        if !self.journals.is_empty() {
            write!(f, "\n\n{}", self.journals)?;
        }
        if !self.causes.is_empty() {
            f.write_str("\n\nlikely causes:")?;
            for cause in &self.causes {
                write!(f, "\n  * {cause}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ExploreFailure {}

const REPLAY: &[&str] = &[
    "the order of a `HashMap` or `HashSet`: use a `BTreeMap`, or sort",
    "a clock, a random number, an id or a setting that is read outside of `ctx.run`",
    "an await that is not durable: a timer, a lock or a channel of the async runtime, a spawned task",
    "branches of `tokio::join!`, or of a `tokio::select!` without `biased`, that wait for the same thing: use \
     `durably::join!` and `durably::select!`",
];

const EFFECT: &str = "an effect outside of `ctx.run`: each attempt has it again";
const TWICE: &str = "a run's closure that must not execute twice: it does when the crash comes before its result is \
                     stored. Let it do nothing the second time, as by an idempotency key";
const LOST: &str = "a value that is kept outside of the journal and the state: it is gone after a crash, or another \
                    attempt changes it";
const DOUBLE: &str = "a double of the outside world that remembers earlier runs: make it in the closure that makes \
                      the endpoint";
const RACE: &str =
    "handlers that race: who comes first decides. If they may, say so with `order_may_matter`";
const WAITING: &str = "an await that is not durable: a timer, a lock or a channel of the async runtime, a spawned task";

/// What may have led to this; `parting`: where the journals part, `races`: whether anything could.
pub(super) fn causes(
    kind: ExploreFailureKind,
    parting: Option<&Parting<'_>>,
    races: bool,
) -> Vec<&'static str> {
    let mut causes = Vec::new();
    match kind {
        ExploreFailureKind::Mismatch => causes.extend(REPLAY),
        ExploreFailureKind::Stuck => causes.extend([WAITING, LOST]),
        ExploreFailureKind::Outcome if parting.is_some_and(Parting::run_differs) => {
            causes.extend([TWICE, DOUBLE]);
        }
        ExploreFailureKind::Outcome => {
            causes.extend([EFFECT, LOST]);
            if parting.is_some_and(Parting::differs) {
                causes.extend(REPLAY);
            }
            causes.extend(races.then_some(RACE));
        }
        ExploreFailureKind::Order => causes.extend([RACE, DOUBLE]),
        ExploreFailureKind::Unrepeatable => {
            causes.extend(REPLAY);
            causes.push(DOUBLE);
        }
    }
    causes
}

/// Where two runs part: the same invocation in both.
pub(super) struct Parting<'a> {
    here: &'a Invocation,
    there: Option<&'a Invocation>,
}

fn entries(invocation: &Invocation) -> impl Iterator<Item = &Record> {
    let records = invocation.records.iter();
    records.filter(|record| matches!(record.what, What::Command(..) | What::Notification(..)))
}

/// The invocation in which two runs part: this one if it did what ended the run; else one of those whose
/// journals differ, the one that was cut before others.
pub(super) fn parting<'a>(
    plain: &'a Engine,
    failed: &'a Engine,
    stopped: Option<usize>,
    cut: Option<usize>,
) -> Option<Parting<'a>> {
    let pair = |there: usize| {
        let there = failed.invocations.get(there)?;
        let here = &plain.invocations[plain.find_any(&there.id)?];
        Some(Parting::new(here, Some(there)))
    };
    let mut all = plain.invocations.values().map(|here| {
        let there = failed.find_any(&here.id);
        Parting::new(here, there.map(|index| &failed.invocations[index]))
    });
    stopped
        .and_then(pair)
        .or_else(|| cut.and_then(pair).filter(Parting::differs))
        .or_else(|| all.find(Parting::differs))
        .or_else(|| cut.and_then(pair))
        .or_else(|| pair(0))
}

impl<'a> Parting<'a> {
    fn new(here: &'a Invocation, there: Option<&'a Invocation>) -> Self {
        Self { here, there }
    }

    pub(super) fn differs(&self) -> bool {
        self.there
            .is_none_or(|there| !entries(self.here).map(texts).eq(entries(there).map(texts)))
    }

    /// Whether what came to it differs first, as the result of a run.
    pub(super) fn run_differs(&self) -> bool {
        self.there
            .is_some_and(|there| first_is_a_run(self.here, there))
    }
}

/// What two records must share to be the same.
fn texts(record: &Record) -> Option<&crate::wire::Msg> {
    match &record.what {
        What::Command(msg, _) | What::Notification(msg, _) => Some(msg),
        _ => None,
    }
}

fn first_is_a_run(here: &Invocation, there: &Invocation) -> bool {
    let pairs = entries(here).map(texts).zip(entries(there).map(texts));
    let mut differ = pairs.filter(|(here, there)| here != there);
    matches!(differ.next(), Some((Some(here), _)) if here.ty == crate::protocol::MessageType::RUN_COMPLETION)
}

/// The journals of an invocation in both runs, one above the other: what they share once, then what only
/// the first holds (`-`) and only the second (`+`).
pub(super) fn diff(parting: &Parting<'_>, names: (&str, &str), mismatch: Option<u32>) -> String {
    let Parting { here, there, .. } = parting;
    let mut text = format!("the journal of {}", here.target());
    if !names.0.is_empty() {
        let _ = write!(text, ": `-` {}, `+` {}", names.0, names.1);
    }
    let Some(there) = there else {
        let _ = write!(text, "\n    + there is no such invocation");
        return text;
    };
    let shown = |event: &JournalEvent| {
        event.kind != JournalEventKind::Runtime
            || event.text.starts_with("CUT")
            || event.text.starts_with("failed")
    };
    let journals = [Journal::of(here), Journal::of(there)];
    let [plain, failed] = journals.each_ref().map(|journal| {
        let events = journal.events().iter().filter(|event| shown(event));
        events.collect::<Vec<_>>()
    });
    let mut lines: Vec<String> = Vec::new();
    let (mut at, mut beside) = (0, 0);
    let mut issued = 0;
    let mut marked = false;
    loop {
        match (plain.get(at), failed.get(beside)) {
            (Some(a), Some(b)) if a.text == b.text && a.kind == b.kind => {
                issued += u32::from(a.kind == JournalEventKind::Issued);
                let here = mismatch == Some(issued) && a.kind == JournalEventKind::Issued;
                marked |= here;
                lines.push(line(if here { ">>" } else { "  " }, a));
                at += 1;
                beside += 1;
            }
            (_, Some(b)) if b.text.starts_with("CUT") => {
                lines.push(line(" +", b));
                beside += 1;
            }
            _ => break,
        }
    }
    if let Some(skipped) = lines
        .len()
        .checked_sub(BEFORE)
        .filter(|n| *n > 0 && !marked)
    {
        lines.drain(..skipped);
        lines.insert(0, format!("    … {skipped} more"));
    }
    for (sign, rest) in [
        ("-", plain.get(at..).unwrap_or_default()),
        ("+", failed.get(beside..).unwrap_or_default()),
    ] {
        for (nth, event) in rest.iter().take(AFTER).enumerate() {
            let first = if nth == 0 && !marked { ">" } else { " " };
            lines.push(line(&format!("{first}{sign}"), event));
        }
        if rest.len() > AFTER {
            lines.push(format!("    … {} more", rest.len() - AFTER));
        }
    }
    for line in lines {
        let _ = write!(text, "\n  {line}");
    }
    text
}

fn line(sign: &str, event: &JournalEvent) -> String {
    let arrow = match event.kind {
        JournalEventKind::Issued => "→",
        JournalEventKind::Came => "←",
        JournalEventKind::Runtime => "·",
    };
    // The rest of a mismatch stands above.
    let text = event.text.lines().next().unwrap_or_default();
    format!("{sign} {arrow} {text}")
}

/// The number of the command at which a replay differed; the input is number 0.
pub(super) fn mismatch_of<R>(run: &Run<R>) -> Option<u32> {
    let stopped = run.course.stopped.as_ref()?;
    let invocation = run.engine().invocations.get(stopped.index)?;
    match &invocation.records.last()?.what {
        What::Failed(error, _) if error.code == 570 => error.index,
        _ => invocation
            .records
            .iter()
            .rev()
            .find_map(|record| match &record.what {
                What::Failed(error, _) if error.code == 570 => error.index,
                _ => None,
            }),
    }
}

/// What the handlers of one run did otherwise than those of another although the same had come to them.
pub(super) fn other_commands(first: &Engine, second: &Engine) -> Option<String> {
    first.invocations.values().find_map(|here| {
        let there = second.find_any(&here.id)?;
        let there = &second.invocations[there];
        let mut pairs = entries(here).zip(entries(there));
        let (a, b) = pairs.find(|(a, b)| texts(a) != texts(b) && !is_same_command(a, b))?;
        let told = |record: &Record| match &record.what {
            What::Command(_, command) => Some(describe_command(command)),
            _ => None,
        };
        // Where something else came, something else may be done.
        let (a, b) = (told(a)?, told(b)?);
        Some(format!(
            "{} issued {b} the second time, and {a} the first time",
            here.target()
        ))
    })
}

/// Whether two commands differ in nothing but the order of the maps in their payloads.
fn is_same_command(a: &Record, b: &Record) -> bool {
    match (&a.what, &b.what) {
        (What::Command(_, a), What::Command(_, b)) => with_maps(a) == with_maps(b),
        _ => false,
    }
}

fn with_maps(command: &CommandMessage) -> CommandMessage {
    use CommandMessage as C;
    let mut command = command.clone();
    let value = match &mut command {
        C::Call(call) => {
            call.parameter = normal(&call.parameter);
            None
        }
        C::OneWayCall(call) => {
            call.parameter = normal(&call.parameter);
            None
        }
        C::Output(output) => output.value.as_mut(),
        C::SetState(write) => write.value.as_mut(),
        C::CompletePromise(message) => message.value.as_mut(),
        C::SendSignal(signal) => signal.value.as_mut(),
        C::CompleteAwakeable(message) => message.value.as_mut(),
        C::GetEagerState(read) => read.value.as_mut(),
        _ => None,
    };
    if let Some(value) = value {
        value.content = normal(&value.content);
    }
    command
}
