//! Drives today's code over a record: everything that was recorded goes in at once, nothing comes after it, and no
//! run's closure is started.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::{Body, Frame};

use super::{
    RecordedJournal, ReplayFailure, ReplayFailureKind as Kind, Replayed, listing::awaited_in_words,
};
use crate::{
    Endpoint, EndpointBody, TerminalError,
    context::terminal,
    engine::words::{describe_issued, show},
    executor::{Clock, ForeignHook},
    journal::Source,
    protocol::{
        MessageType,
        message::{Start, StateEntry},
    },
    wire::{self, Awaited, CANCEL, CommandMessage, Error, Msg, Outgoing, OutgoingDecoder},
};

/// Milliseconds since the Unix epoch at which a replay happens, as everywhere in the test kit.
const NOW: u64 = crate::testing::BEGINNING;

/// Polls in a row, without a message, after which the handler is said to wake itself for ever.
const SPINS: u32 = 10_000;

/// The codes of an Error message.
const JOURNAL_MISMATCH: u32 = 570;
const PROTOCOL_VIOLATION: u32 = 571;

/// What a handler ends with.
type Output = Result<Bytes, TerminalError>;

/// How the attempt stands after the last message.
enum Stand {
    /// It waits.
    Rest,
    Ended,
    Failed(Error),
}

/// The request of the attempt: what is recorded, and then silence.
struct Record(Option<Bytes>);

impl Body for Record {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(super) fn replay(
    journal: &RecordedJournal,
    endpoint: &Endpoint,
) -> Result<Replayed, ReplayFailure> {
    let replayed = attempt(journal, endpoint)?;
    let Some((at, due)) = journal.recorded_output() else {
        return Ok(replayed);
    };
    // A recorded output stands, whatever the code makes of it. So see what it makes without.
    let mut open = journal.clone();
    open.entries.remove(at);
    let output = attempt(&open, endpoint)?.output;
    if output.as_ref().is_some_and(|output| is_same(output, &due)) {
        return Ok(Replayed {
            output: Some(due),
            ..replayed
        });
    }
    let shown = |output: &Output| match output {
        Ok(value) => show(value),
        Err(error) => format!("the failure [{}] {error}", error.code()),
    };
    let now = output.as_ref().map_or("none".to_owned(), shown);
    let what = format!(
        "the invocation ended with {}, this code ends with {now}",
        shown(&due)
    );
    let command = journal
        .entries
        .iter()
        .take(at)
        .filter(|entry| entry.ty.is_command());
    let command = u32::try_from(command.count()).ok();
    Err(ReplayFailure::new(journal, Kind::Output, what).at(command))
}

/// The same bytes, or the same JSON: maps may come in any order.
fn is_same(now: &Output, due: &Output) -> bool {
    match (now, due) {
        (Ok(now), Ok(due)) => {
            let json = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
            now == due || json(now).is_some_and(|now| Some(now) == json(due))
        }
        (Err(now), Err(due)) => {
            let all = |error: &TerminalError| {
                (
                    error.code(),
                    error.message().to_owned(),
                    error.metadata().to_vec(),
                )
            };
            all(now) == all(due)
        }
        _ => false,
    }
}

/// One attempt with all that is recorded.
fn attempt(journal: &RecordedJournal, endpoint: &Endpoint) -> Result<Replayed, ReplayFailure> {
    let failed = |kind, what: String| ReplayFailure::new(journal, kind, what);
    let foreign = Arc::new(Mutex::new(None));
    let response = request(journal, endpoint, &foreign);
    let (status, body) = (response.status(), response.into_body());
    let body = Box::pin(body);
    match body.running() {
        // Before anything is polled: a run's closure would act on the world.
        Some(attempt) if status == StatusCode::OK => attempt.permit_runs([]),
        _ => {
            let kind = match status {
                StatusCode::NOT_FOUND => Kind::HandlerGone,
                _ => Kind::Refused,
            };
            return Err(failed(kind, text(body)));
        }
    }
    let mut drive = Drive {
        body,
        foreign,
        decoder: OutgoingDecoder::default(),
        commands: Vec::new(),
    };
    let stand = drive.go_on().map_err(|(kind, what)| failed(kind, what))?;
    if let Stand::Failed(error) = stand {
        let kind = match error.code {
            JOURNAL_MISMATCH => Kind::Mismatch,
            PROTOCOL_VIOLATION => Kind::Unusable,
            _ => Kind::AttemptFailed,
        };
        let what = format!("[{}] {}", error.code, error.message);
        return Err(failed(kind, what).at(error.index));
    }
    drive.outcome(journal, &stand)
}

/// The invocation as the runtime would ask for it.
fn request(
    journal: &RecordedJournal,
    endpoint: &Endpoint,
    foreign: &Arc<Mutex<Option<String>>>,
) -> Response<EndpointBody<Record>> {
    let told = Arc::clone(foreign);
    let hook = ForeignHook::new(move |after| {
        let after = match after {
            Some(command) => format!("after {command}"),
            None => "before its first command".to_owned(),
        };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get_or_insert(after);
    });
    let request = wire::invoke(
        journal.version,
        &journal.service,
        &journal.handler,
        &journal.id,
        Record(Some(frames(journal))),
    );
    endpoint.handle_in_process(request, &Clock::new(|| NOW), hook)
}

/// Start, and the entries as the runtime stored them.
fn frames(journal: &RecordedJournal) -> Bytes {
    let v7 = journal.version.has_v7();
    let state = journal.state.iter().flatten();
    let start = Start {
        id: Bytes::copy_from_slice(&journal.raw_id),
        debug_id: journal.id.clone(),
        known_entries: u32::try_from(journal.entries.len()).unwrap_or(u32::MAX),
        state_map: state
            .map(|(key, value)| StateEntry {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value: value.clone(),
            })
            .collect(),
        // What is not known is asked for, which would be a new command.
        partial_state: journal.state.is_none(),
        key: journal.key.clone().unwrap_or_default(),
        retry_count_since_last_stored_entry: 0,
        duration_since_last_stored_entry: 0,
        random_seed: journal.seed,
        scope: journal.scope.clone().filter(|_| v7),
        limit_key: journal.limit_key.clone().filter(|_| v7),
        idempotency_key: journal.idempotency_key.clone().filter(|_| v7),
    };
    let mut bytes = BytesMut::new();
    Msg::new(MessageType::START, &start).write(&mut bytes);
    for entry in &journal.entries {
        entry.write(&mut bytes);
    }
    bytes.freeze()
}

/// The text of a refusal.
fn text(mut body: Pin<Box<EndpointBody<Record>>>) -> String {
    let mut cx = Context::from_waker(Waker::noop());
    let mut text = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    String::from_utf8_lossy(&text).into_owned()
}

struct Drive {
    body: Pin<Box<EndpointBody<Record>>>,
    /// After which command the handler waits for something foreign.
    foreign: Arc<Mutex<Option<String>>>,
    decoder: OutgoingDecoder,
    /// Those that were not recorded.
    commands: Vec<CommandMessage>,
}

impl Drive {
    /// Polls the attempt until it ends, or waits.
    fn go_on(&mut self) -> Result<Stand, (Kind, String)> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut spins = 0;
        loop {
            let polled = self.body.as_mut().poll_frame(&mut cx);
            let foreign = self.foreign.lock();
            if let Some(after) = foreign.unwrap_or_else(PoisonError::into_inner).take() {
                return Err((
                    Kind::Foreign,
                    format!(
                        "the handler waits for something that is not durable, {after}: a timer of the async \
                         runtime, a socket, a lock, a spawned task. Put it into `ctx.run`, or use a durable \
                         future instead"
                    ),
                ));
            }
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    self.decoder.push(frame.into_data().unwrap_or_default());
                    if let Some(stand) = self.take_messages()? {
                        return Ok(stand);
                    }
                    spins = 0;
                }
                Poll::Ready(Some(Err(never))) => match never {},
                Poll::Ready(None) => {
                    let what = "the attempt ends without End, Error or Suspension";
                    return Err((Kind::AttemptFailed, what.to_owned()));
                }
                Poll::Pending if woken.0.swap(false, Ordering::SeqCst) => {
                    spins += 1;
                    if spins > SPINS {
                        let what = "the handler wakes itself again and again, and does nothing";
                        return Err((Kind::Endless, what.to_owned()));
                    }
                }
                Poll::Pending => return Ok(Stand::Rest),
            }
        }
    }

    fn take_messages(&mut self) -> Result<Option<Stand>, (Kind, String)> {
        loop {
            let message = self.decoder.next();
            match message.map_err(|error| (Kind::AttemptFailed, error.to_string()))? {
                None => return Ok(None),
                Some(Outgoing::Command(_, _, command)) => self.commands.push(command),
                Some(Outgoing::End) => return Ok(Some(Stand::Ended)),
                Some(Outgoing::Error(error)) => return Ok(Some(Stand::Failed(error))),
                // It is asked what it waits for when it rests; no run executes; the request never ends.
                Some(
                    Outgoing::AwaitingOn(_)
                    | Outgoing::Proposal(..)
                    | Outgoing::EphemeralRead(_)
                    | Outgoing::Suspension(_),
                ) => {}
            }
        }
    }

    /// The attempt has ended, or waits: whether that is what it should do.
    fn outcome(self, journal: &RecordedJournal, stand: &Stand) -> Result<Replayed, ReplayFailure> {
        let awaited = match (stand, self.body.running()) {
            (Stand::Rest, Some(attempt)) => awaited(attempt.awaited()),
            _ => Awaited::default(),
        };
        let missing = journal.awaits.as_ref().map(|due| missing(due, &awaited));
        if let Some(missing) = missing.filter(|missing| *missing != Awaited::default()) {
            let due = awaited_in_words(journal, &[], &missing);
            let does = match stand {
                Stand::Rest => {
                    let awaits = awaited_in_words(journal, &self.commands, &awaited);
                    format!("waits for {awaits}")
                }
                _ => "ends".to_owned(),
            };
            let what = format!(
                "the invocation waits for {due}, but with the same journal this code {does}"
            );
            return Err(ReplayFailure::new(journal, Kind::NotAwaited, what));
        }
        let output = self.commands.last().and_then(output);
        Ok(Replayed {
            awaits: awaited_in_words(journal, &self.commands, &awaited),
            new_commands: self
                .commands
                .iter()
                .map(|command| describe_issued(command, NOW))
                .collect(),
            output,
        })
    }
}

/// What an Output command says; nothing for any other.
pub(super) fn output(command: &CommandMessage) -> Option<Output> {
    let CommandMessage::Output(output) = command else {
        return None;
    };
    Some(match &output.failure {
        Some(failure) => Err(terminal(failure.clone())),
        None => Ok(output.value.clone().unwrap_or_default().content),
    })
}

/// Without the cancellation, which every handler waits for.
fn awaited(sources: Vec<Source>) -> Awaited {
    let mut awaited = Awaited::default();
    for source in sources {
        match source {
            Source::Completion(id) => awaited.completions.push(id),
            Source::Signal(id) => awaited.signals.push(id),
            Source::NamedSignal(name) => awaited.named.push(name.to_string()),
        }
    }
    awaited.completions.sort_unstable();
    awaited.signals.sort_unstable();
    awaited.named.sort_unstable();
    awaited
}

/// What is due and not awaited.
fn missing(due: &Awaited, awaited: &Awaited) -> Awaited {
    let signals = due.signals.iter().filter(|id| **id != CANCEL);
    Awaited {
        completions: without(due.completions.iter(), &awaited.completions),
        signals: without(signals, &awaited.signals),
        named: without(due.named.iter(), &awaited.named),
    }
}

fn without<'a, T: Clone + PartialEq + 'a>(
    due: impl Iterator<Item = &'a T>,
    awaited: &[T],
) -> Vec<T> {
    due.filter(|id| !awaited.contains(id)).cloned().collect()
}
