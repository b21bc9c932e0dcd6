//! The executor: drives one attempt of a handler, deterministically.
//!
//! A handler is a deterministic function of the sequence of notifications delivered to it. So the
//! executor delivers them one at a time, in journal order, and polls the handler to rest in
//! between: at any moment at most one leaf of the whole handler is ready.
//!
//! One turn of [`Attempt::poll`]:
//! 1. poll the handler *to rest* (pending, and not woken during its own poll);
//! 2. withdraw what was offered and not taken;
//! 3. decide, in [`decide`]: poll a run's closure that was woken; go on with a cancellation; offer
//!    the first notification in order that a waiting leaf wants; find a mismatch if recorded
//!    commands remain; start a run; suspend; or wait for input.
//!
//! The executor knows nothing of HTTP and spawns nothing: the response body polls it.

mod cell;
mod clock;
mod decide;
mod ephemeral;
mod leaves;
mod report;
mod runs;
mod setting;
#[cfg(feature = "testing")]
mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod waker;

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

pub(crate) use self::{
    cell::{Cell, InvocationInfo},
    clock::Clock,
    ephemeral::EphemeralRead,
    leaves::{Delivery, LeafHandle},
    report::ForeignHook,
    runs::RunRef,
    setting::{Alarm, Setting, Timer},
};
use self::{
    decide::{Decider, Step},
    leaves::LeafWaker,
};
use crate::{
    error::{Behavior, Failure, HandlerError, TerminalError},
    journal::{AttemptError, Change, Command, Completion},
    payload::{Headers, Input},
    protocol::{
        ProtocolVersion,
        frame::{FrameDecoder, Limits},
        start::Start,
    },
    random::seed_from_id,
    service::{HandlerFn, HandlerFuture},
};

/// Turns of the loop after which the thread is given back, so that a long replay does not keep
/// others waiting.
const TURNS: u32 = 512;
/// Polls in a row that may wake their own handler before the thread is given back.
const SELF_WAKES: u32 = 128;
/// Bytes of output after which they are sent before the handler goes on.
const OUTPUT_HIGH: usize = 128 * 1024;

/// What an attempt is asked to run, and with what.
#[derive(Debug)]
pub(crate) struct AttemptRequest {
    pub(crate) version: ProtocolVersion,
    pub(crate) service: Arc<str>,
    pub(crate) handler: Arc<str>,
    pub(crate) attempt_headers: http::HeaderMap,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) foreign: ForeignHook,
    pub(crate) setting: Setting,
}

/// What a handler's context is made of.
#[derive(Clone, Debug)]
pub struct AttemptHandle(pub(crate) Arc<Cell>);

/// Makes the handler's future. An endpoint's handlers are [`HandlerFn`]s; those of the test kit may
/// borrow from the test.
pub(crate) trait HandlerSource {
    type Handler: Future<Output = Result<Bytes, HandlerError>> + Unpin;
    fn start(&mut self, attempt: AttemptHandle, input: Input) -> Self::Handler;
}

impl HandlerSource for HandlerFn {
    type Handler = HandlerFuture;

    fn start(&mut self, attempt: AttemptHandle, input: Input) -> HandlerFuture {
        self(attempt, input)
    }
}

/// One attempt of an invocation: bytes of the request in, bytes of the response out.
pub(crate) struct Attempt<S: HandlerSource = HandlerFn> {
    cell: Arc<Cell>,
    source: S,
    decoder: FrameDecoder,
    handler: Option<S::Handler>,
    waker: Waker,
    decider: Decider,
    /// The handler runs within it; none before the invocation is known.
    span: tracing::Span,
    /// All known entries are in.
    ready: bool,
    at_rest: bool,
    ended: bool,
}

impl<S: HandlerSource> fmt::Debug for Attempt<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("cell", &self.cell)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    pub(crate) fn new(request: AttemptRequest, invoke: HandlerFn) -> Self {
        Self::of(request, invoke)
    }
}

impl<S: HandlerSource> Attempt<S> {
    pub(crate) fn of(request: AttemptRequest, source: S) -> Self {
        let decoder = FrameDecoder::new(request.limits);
        let cell = Arc::new(Cell::new(request));
        let waker = Waker::from(Arc::clone(&cell));
        Self {
            cell,
            source,
            decoder,
            handler: None,
            waker,
            decider: Decider::default(),
            span: tracing::Span::none(),
            ready: false,
            at_rest: false,
            ended: false,
        }
    }

    /// Takes bytes of the request, cut anywhere.
    pub(crate) fn handle_input(&mut self, chunk: Bytes) {
        if self.ended {
            return;
        }
        self.decoder.push(chunk);
        let mut wakers = Vec::new();
        let taken = self.take_frames(&mut wakers);
        for waker in wakers {
            waker.wake();
        }
        if let Err(error) = taken {
            self.fail(error);
        }
    }

    /// Hands the frames that are there to the journal; `wakers` are to be woken outside of the lock.
    fn take_frames(&mut self, wakers: &mut Vec<Waker>) -> Result<(), AttemptError> {
        let mut guard = self.cell.lock();
        let state = &mut *guard;
        if state.input_closed {
            return Ok(());
        }
        loop {
            let Some(frame) = self.decoder.next_frame().map_err(AttemptError::violation)? else {
                return Ok(());
            };
            match state.journal.handle_frame(frame)? {
                Change::Nothing => {}
                Change::Ready => self.ready = true,
                Change::Arrived(source) => {
                    state.leaves.arrived(&source, &state.journal.notifications);
                }
                Change::EphemeralRead { id, value } => {
                    wakers.extend(state.ephemeral.answer(id, value));
                }
            }
        }
    }

    /// The request has ended. Within a message, that is an error.
    pub(crate) fn handle_input_ended(&mut self) {
        let closed = self.cell.lock().input_closed;
        if self.ready && !self.ended && !closed && self.decoder.is_within_message() {
            let error = "the request ended within a message";
            return self.fail(AttemptError::violation(error));
        }
        self.handle_input_closed();
    }

    /// Nothing more is to be awaited from the request, since it has ended or the server drains: a
    /// handler that blocks suspends.
    pub(crate) fn handle_input_closed(&mut self) {
        if self.ended {
            return;
        }
        let closed = {
            let mut state = self.cell.lock();
            if std::mem::replace(&mut state.input_closed, true) {
                return;
            }
            match state.journal.handle_input_closed() {
                Ok(()) if state.ephemeral.any_open() => {
                    Err(ephemeral::unanswered_read().about(state.journal.last_command()))
                }
                closed => closed,
            }
        };
        if let Err(error) = closed {
            self.fail(error);
        }
    }

    /// The server that carries this attempt goes away.
    pub(crate) fn handle_drain(&mut self) {
        drop(self.cell.set_ending());
    }

    /// Whether the known entries of the journal are in. Before, the input must not be closed for
    /// another reason than that the request has ended.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the attempt has ended: its terminator is written, though maybe not yet taken.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether a run's closure executes that the handler waits for.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn executes_runs(&self) -> bool {
        self.cell.lock().runs.any_active()
    }

    /// The next bytes of the response, never empty.
    pub(crate) fn take_output(&mut self) -> Option<Bytes> {
        self.cell.lock().journal.take_output()
    }

    /// Lets the handler go on until it blocks; ready when the attempt has ended. Pending with
    /// output to take, or with none when nothing more can be done until input comes or a run's
    /// closure is woken. Call it with the input drained.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Ready(());
        }
        if !self.ready {
            return Poll::Pending;
        }
        let input = if self.handler.is_none() {
            Some(self.open())
        } else {
            None
        };
        let span = self.span.clone();
        let _entered = span.enter();
        if let Some(input) = input
            && let Err(error) = input.and_then(|input| self.start(input))
        {
            self.fail(error);
            return Poll::Ready(());
        }
        let cell = Arc::clone(&self.cell);
        let wakes = &cell.wakes;
        wakes.begin(cx.waker());
        let mut turns = 0;
        loop {
            if self.turn() {
                wakes.release();
                return Poll::Ready(());
            }
            if self.at_rest && !wakes.end() {
                return Poll::Pending;
            }
            turns += 1;
            if turns >= TURNS || !self.at_rest || self.decider.output_high {
                wakes.release();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Polls and decides until the handler waits for something outside. `true` if the attempt has
    /// ended. If `at_rest` is false afterwards, the handler keeps waking itself.
    fn turn(&mut self) -> bool {
        let mut deliveries = 0;
        loop {
            if self.cell.wakes.take_woken() && self.at_rest {
                // Neither an offer nor a closure did that.
                self.decider.foreign_wake(&self.cell);
                self.at_rest = false;
            }
            if !self.at_rest {
                match self.poll_to_rest() {
                    Ok(None) => {}
                    Ok(Some(result)) => {
                        self.finish(result);
                        return true;
                    }
                    Err(StillAwake) => {
                        self.decider.foreign_wake(&self.cell);
                        return false;
                    }
                }
                self.at_rest = true;
            }
            match self.decider.decide(&self.cell) {
                Step::Wake(waker) => {
                    self.wake(waker);
                    deliveries += 1;
                    if deliveries >= TURNS || self.decider.output_high {
                        return false;
                    }
                }
                Step::Probe(wakers) => self.wake(wakers),
                Step::Wait => return false,
                Step::Suspend(awaited) => {
                    self.cell.lock().journal.close_suspended(&awaited);
                    report::suspended(&self.cell, &awaited);
                    self.end();
                    return true;
                }
                Step::Fail(error) => {
                    self.fail(error);
                    return true;
                }
            }
        }
    }

    /// Wakes leaves: the handler is to be polled, and that was no wake of its own.
    fn wake(&mut self, wakers: impl IntoIterator<Item = LeafWaker>) {
        for waker in wakers {
            if let LeafWaker::Own(waker) = waker {
                waker.wake();
            }
        }
        self.at_rest = false;
        self.cell.wakes.take_woken();
    }

    /// Polls the handler until it is pending and not woken by its own poll. The cooperative budget
    /// of tokio is lifted: it would make channels wake themselves.
    fn poll_to_rest(&mut self) -> Result<Option<Result<Bytes, HandlerError>>, StillAwake> {
        let Some(handler) = self.handler.as_mut() else {
            return Ok(None);
        };
        let mut cx = Context::from_waker(&self.waker);
        for _ in 0..SELF_WAKES {
            let mut handler = tokio::task::unconstrained(Pin::new(&mut *handler));
            let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut handler).poll(&mut cx)));
            match polled {
                Ok(Poll::Ready(result)) => return Ok(Some(result)),
                Err(panic) => return Ok(Some(Err(panicked(panic).into()))),
                Ok(Poll::Pending) if self.cell.wakes.take_woken() => {}
                Ok(Poll::Pending) => return Ok(None),
            }
        }
        Err(StillAwake)
    }

    /// All known entries are in: the invocation is known, and what the handler gets.
    fn open(&mut self) -> Result<Input, AttemptError> {
        let (start, input) = {
            let mut state = self.cell.lock();
            (state.journal.take_start(), state.journal.take_input())
        };
        let start = start.unwrap_or_default();
        let (headers, body) = input?;
        let headers: Headers = headers.into_iter().collect();
        let seed = if self.cell.request.version.has_random_seed() {
            start.random_seed
        } else {
            seed_from_id(&start.id)
        };
        let Start {
            id,
            debug_id,
            key,
            retry_count_since_last_stored_entry,
            ..
        } = start;
        let info = InvocationInfo {
            id: debug_id,
            raw_id: id,
            key,
            headers: headers.clone(),
            retry_count: retry_count_since_last_stored_entry,
            idempotency_key: start.idempotency_key,
            scope: start.scope,
            limit_key: start.limit_key,
        };
        self.cell.set_info(info, seed);
        self.span = self.cell.open_span();
        Ok(Input::new(headers, body))
    }

    /// Makes the handler's future.
    fn start(&mut self, input: Input) -> Result<(), AttemptError> {
        let attempt = AttemptHandle(Arc::clone(&self.cell));
        let made = catch_unwind(AssertUnwindSafe(|| self.source.start(attempt, input)));
        self.handler = Some(made.map_err(|panic| AttemptError::internal(panicked(panic)))?);
        Ok(())
    }

    /// The handler has returned, or panicked.
    fn finish(&mut self, result: Result<Bytes, HandlerError>) {
        let has_v7 = self.cell.request.version.has_v7();
        let output = match result.map_err(HandlerError::into_failure) {
            Ok(value) => Ok(value),
            Err(Failure::Terminal(error)) => Err(error),
            // Before v7 only a terminal failure ends an invocation at once.
            Err(Failure::Retryable(failure)) if failure.behavior == Behavior::Fail && !has_v7 => {
                Err(TerminalError::new(failure.message))
            }
            Err(Failure::Retryable(failure)) => {
                let mut state = self.cell.lock();
                let command = state.journal.last_command();
                let fault = state.fault.take();
                drop(state);
                return self.fail(
                    fault.unwrap_or_else(|| AttemptError::retryable(failure).about(command)),
                );
            }
        };
        let mut state = self.cell.lock();
        let fault = state.fault.take().or_else(|| state.run_failure.take());
        let ended = match (fault, &output) {
            (Some(fault), _) => Err(fault),
            (None, Ok(payload)) => state.journal.issue(
                Command::Output(Completion::Value {
                    payload,
                    stable: true,
                }),
                "",
            ),
            (None, Err(error)) => state
                .journal
                .issue(Command::Output(Completion::Failure(error)), ""),
        };
        match ended {
            Ok(_) => {
                state.journal.close_ended();
                drop(state);
                report::ended(&self.cell, output.as_ref().err());
                self.end();
            }
            Err(error) => {
                drop(state);
                self.fail(error);
            }
        }
    }

    /// Ends the attempt with an error.
    fn fail(&mut self, error: AttemptError) {
        report::failed(&self.cell, &error);
        self.cell.lock().journal.close_failed(&error);
        self.end();
    }

    /// The terminator is written: the handler goes.
    fn end(&mut self) {
        self.ended = true;
        drop(self.cell.close());
        self.drop_handler();
    }

    fn drop_handler(&mut self) {
        if let Some(handler) = self.handler.take() {
            // A destructor of the handler's may panic; that is its own affair.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(handler)));
        }
    }
}

impl<S: HandlerSource> Drop for Attempt<S> {
    fn drop(&mut self) {
        let span = std::mem::replace(&mut self.span, tracing::Span::none());
        let _entered = span.enter();
        if !self.ended && self.handler.is_some() {
            report::aborted(&self.cell);
        }
        drop(self.cell.close());
        self.drop_handler();
    }
}

/// The handler wakes itself at every poll.
struct StillAwake;

/// A panic ends its own attempt, with this message.
fn panicked(panic: Box<dyn Any + Send>) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is not text".to_owned());
    // Dropping the payload may run user code as well.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(panic)));
    format!("the handler panicked: {message}")
}
