//! Drives one attempt as the response body does: bytes in, polls while there is news, bytes out.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{
    transcript::{Out, frames},
    wire::Msg,
};
use crate::{
    HandlerResult, WorkflowContext,
    context::FromAttempt as _,
    executor::{Attempt, AttemptRequest, Clock},
    protocol::{ProtocolVersion, frame::Limits},
    random::Rng,
    service::HandlerFn,
};

/// What the clock of an attempt says at first.
pub(super) const NOW: u64 = 1_000_000;
/// The largest message that is taken.
pub(super) const MAX_MESSAGE: usize = 1 << 20;
/// The largest message that is sent.
pub(super) const MAX_OUTGOING: usize = 1 << 19;

const LIMITS: Limits = Limits {
    incoming: MAX_MESSAGE,
    outgoing: MAX_OUTGOING,
    journal: usize::MAX,
};

/// A handler of the tests; what it returns is the output as it is.
pub(super) type Handler = Arc<
    dyn for<'a> Fn(&'a WorkflowContext, Arc<Outside>) -> BoxFuture<'a, HandlerResult<String>>
        + Send
        + Sync,
>;

/// The world outside of a handler: gates at which run closures wait, a clock, and notes.
#[derive(Debug, Default)]
pub(super) struct Outside {
    gates: Mutex<BTreeMap<&'static str, (bool, Option<Waker>)>>,
    notes: Mutex<Vec<String>>,
    pub(super) clock: AtomicU64,
}

impl Outside {
    pub(super) fn note(&self, note: impl Into<String>) {
        self.notes.lock().unwrap().push(note.into());
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    /// Waits until the test opens the gate.
    pub(super) async fn gate(&self, name: &'static str) {
        poll_fn(|cx| {
            let mut gates = self.gates.lock().unwrap();
            let (open, waker) = gates.entry(name).or_default();
            if *open {
                return Poll::Ready(());
            }
            *waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Wakes whoever waits at the gate, and opens it.
    pub(super) fn nudge(&self, name: &'static str, open: bool) {
        let mut gates = self.gates.lock().unwrap();
        let gate = gates.entry(name).or_default();
        gate.0 |= open;
        let waker = gate.1.clone();
        drop(gates);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// How bytes are cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    Whole,
    Bytes,
    Random,
}

/// Whether the attempt's task was woken.
#[derive(Debug, Default)]
pub(super) struct Wakes(AtomicBool);

impl Wakes {
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An attempt at work.
pub(super) struct Driver {
    pub(super) attempt: Attempt,
    pub(super) outside: Arc<Outside>,
    pub(super) out: Vec<Out>,
    pub(super) wakes: Arc<Wakes>,
    bytes: Vec<u8>,
    cut: Cut,
    rng: Rng,
    closed: bool,
    ended: bool,
    /// How often the thread was given back with work left.
    pub(super) turns: u32,
}

impl Driver {
    pub(super) fn new(version: ProtocolVersion, cut: Cut, handler: &Handler) -> Self {
        let outside = Arc::new(Outside {
            clock: AtomicU64::new(NOW),
            ..Outside::default()
        });
        let clock = Arc::clone(&outside);
        let request = AttemptRequest {
            version,
            service: "Tests".into(),
            handler: "run".into(),
            attempt_headers: http::HeaderMap::new(),
            clock: Clock::new(move || clock.clock.load(Ordering::SeqCst)),
            limits: LIMITS,
            foreign: crate::executor::ForeignHook::default(),
            setting: crate::executor::Setting::default(),
        };
        let (handler, world) = (Arc::clone(handler), Arc::clone(&outside));
        let invoke: HandlerFn = Arc::new(move |attempt, _| {
            let (handler, world) = (Arc::clone(&handler), Arc::clone(&world));
            Box::pin(async move {
                let ctx = WorkflowContext::from_attempt(attempt);
                Ok(handler(&ctx, world).await?.into())
            })
        });
        Self {
            attempt: Attempt::new(request, invoke),
            outside,
            out: Vec::new(),
            wakes: Arc::default(),
            bytes: Vec::new(),
            cut,
            rng: Rng::new(7),
            closed: false,
            ended: false,
            turns: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn feed(&mut self, messages: &[Msg]) {
        let bytes: Vec<u8> = messages.iter().flat_map(Msg::frame).collect();
        self.feed_bytes(bytes.into());
    }

    pub(super) fn feed_bytes(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let length = match self.cut {
                Cut::Whole => bytes.len(),
                Cut::Bytes => 1,
                Cut::Random => 1 + self.rng.below(bytes.len().min(40) as u64) as usize,
            };
            self.attempt.handle_input(bytes.split_to(length));
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.attempt.handle_input_ended();
    }

    /// Polls once, and again as long as the task was woken; then once more, which changes nothing.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            self.poll();
            if !self.wakes.take() {
                let before = self.out.len();
                self.poll();
                assert_eq!(
                    self.out.len(),
                    before,
                    "a poll without a reason: {:?}",
                    self.out
                );
                return;
            }
            self.turns += 1;
        }
        panic!("the attempt keeps waking itself");
    }

    /// Polls only if the task was woken.
    pub(super) fn settle_if_woken(&mut self) {
        if self.wakes.take() {
            self.settle();
        }
    }

    pub(super) fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.wakes));
        let polled = self.attempt.poll(&mut Context::from_waker(&waker));
        assert_eq!(polled.is_ready(), self.attempt.is_ended());
        self.take_output();
    }

    pub(super) fn take_output(&mut self) {
        while let Some(segment) = self.attempt.take_output() {
            assert!(!segment.is_empty());
            self.bytes.extend_from_slice(&segment);
        }
        for frame in frames(&mut self.bytes) {
            assert!(!self.ended, "{frame:?} after the end");
            self.ended = frame.is_terminator();
            self.out.push(frame);
        }
        assert!(self.bytes.is_empty(), "a frame is not whole");
        assert_eq!(self.ended, self.attempt.is_ended());
    }

    pub(super) fn take_frames(&mut self) -> Vec<Out> {
        mem::take(&mut self.out)
    }
}
