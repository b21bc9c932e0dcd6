//! Drives the engine: polls the attempts it begins, one at a time on one thread, carries messages both
//! ways, and moves the time when everything waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use http_body::Body as _;

mod explored;

use super::body::{AttemptWaker, Feed, RequestBody, Woken};
use crate::{
    Endpoint, EndpointBody,
    engine::{
        Effect, Engine,
        invocation::{AttemptId, CallerId, Index, Outcome},
    },
    executor::{Clock, ForeignHook},
    protocol::ProtocolVersion,
    testing::explore::{Course, Said},
    wire::{self, Msg, OutgoingDecoder},
};

/// Polls of one attempt in a row, without a message, after which it is said to spin.
const SPINS: u32 = 100_000;

/// An attempt at work.
struct Live {
    invocation: Index,
    body: Pin<Box<EndpointBody<RequestBody>>>,
    feed: Feed,
    decoder: OutgoingDecoder,
    waker: Waker,
    /// Why the response is no stream of messages.
    refused: Option<String>,
    spins: u32,
    /// It stands in the list of those that want a poll.
    ready: bool,
}

/// What one step came to.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Something was done.
    Worked,
    /// Nothing can be done before a run's closure goes on, which takes real time.
    Executes,
    /// Everything waits for the time, or for somebody outside.
    Idle,
}

/// What goes wrong in a way that fails the test.
#[derive(Debug)]
pub(super) struct Fault(pub(super) String);

pub(super) struct Driver {
    endpoint: Endpoint,
    version: ProtocolVersion,
    pub(super) engine: Engine,
    clock: Clock,
    /// What `clock` reads.
    now: Arc<AtomicU64>,
    live: BTreeMap<AttemptId, Live>,
    /// Attempts that want a poll, in no order that matters: the seed chooses.
    ready: Vec<AttemptId>,
    /// Those in which a run's closure executes.
    executing: BTreeSet<AttemptId>,
    woken: Arc<Woken>,
    foreign: Arc<Mutex<Option<(Index, String)>>>,
    answers: BTreeMap<CallerId, Outcome>,
    /// How many chunks attempts have said so far.
    pub(super) heard: u64,
    /// Of a run that is explored, as what an attempt says while it is polled.
    pub(super) course: Option<Box<Course>>,
    said: Option<Vec<Said>>,
}

impl Driver {
    pub(super) fn new(endpoint: Endpoint, version: ProtocolVersion, engine: Engine) -> Self {
        let now = Arc::new(AtomicU64::new(engine.now()));
        let read = Arc::clone(&now);
        Self {
            endpoint,
            version,
            engine,
            clock: Clock::new(move || read.load(Ordering::SeqCst)),
            now,
            live: BTreeMap::new(),
            ready: Vec::new(),
            executing: BTreeSet::new(),
            woken: Arc::default(),
            foreign: Arc::default(),
            answers: BTreeMap::new(),
            heard: 0,
            course: None,
            said: None,
        }
    }

    pub(super) fn take_answer(&mut self, caller: CallerId) -> Option<Outcome> {
        self.answers.remove(&caller)
    }

    /// Registers `waker` for the next wake of an attempt; `false` if there was one.
    pub(super) fn wait(&self, waker: &Waker) -> bool {
        self.woken.wait(waker)
    }

    /// Does the next thing that can be done at this time.
    pub(super) fn step(&mut self) -> Result<Step, Fault> {
        if let Some(mut course) = self.course.take() {
            let step = self.step_explored(&mut course);
            self.course = Some(course);
            return step;
        }
        self.carry_out();
        for attempt in self.woken.take() {
            self.make_ready(attempt);
        }
        if !self.ready.is_empty() {
            let chosen = self.engine.choose(self.ready.len());
            let attempt = self.ready.swap_remove(chosen);
            self.poll(attempt)?;
            self.carry_out();
            return Ok(Step::Worked);
        }
        Ok(if self.executing.is_empty() {
            Step::Idle
        } else {
            Step::Executes
        })
    }

    fn make_ready(&mut self, attempt: AttemptId) {
        if let Some(live) = self.live.get_mut(&attempt)
            && !std::mem::replace(&mut live.ready, true)
        {
            self.ready.push(attempt);
        }
    }

    /// The time goes on, and what is due happens.
    pub(super) fn advance_to(&mut self, now: u64) {
        self.now.store(now, Ordering::SeqCst);
        self.engine.advance_to(now);
    }

    /// The invocations whose run closures execute.
    pub(super) fn executing(&self) -> impl Iterator<Item = Index> {
        let executing = self.executing.iter();
        executing.filter_map(|attempt| Some(self.live.get(attempt)?.invocation))
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.engine.next_effect() {
            match effect {
                Effect::Begin {
                    attempt,
                    invocation,
                    frames,
                } => {
                    let live = self.open(attempt, invocation);
                    live.feed.push(frames);
                    self.live.insert(attempt, live);
                    self.make_ready(attempt);
                }
                Effect::Tell { attempt, message } => self.tell(attempt, &message),
                Effect::Close { attempt } => {
                    if let Some(live) = self.live.get(&attempt) {
                        live.feed.end();
                        self.make_ready(attempt);
                    }
                }
                Effect::Drop { attempt } => {
                    self.executing.remove(&attempt);
                    self.live.remove(&attempt);
                }
                Effect::Answer { caller, outcome } => {
                    self.answers.insert(caller, outcome);
                }
            }
        }
    }

    fn tell(&mut self, attempt: AttemptId, message: &Msg) {
        if let Some(live) = self.live.get(&attempt) {
            live.feed.push(message.frame());
            self.make_ready(attempt);
        }
    }

    /// Makes the request of an attempt.
    fn open(&self, attempt: AttemptId, index: Index) -> Live {
        let feed = Feed::default();
        let foreign = Arc::clone(&self.foreign);
        let hook = ForeignHook::new(move |after| {
            let after = match after {
                Some(command) => format!("after {command}"),
                None => "before its first command".to_owned(),
            };
            let mut told = foreign.lock().unwrap_or_else(PoisonError::into_inner);
            told.get_or_insert((index, after));
        });
        let invocation = &self.engine.invocations[index];
        let request = wire::invoke(
            self.version,
            &invocation.service,
            &invocation.handler,
            &invocation.id,
            feed.body(),
        );
        let response = self.endpoint.handle_in_process(request, &self.clock, hook);
        let status = response.status();
        let refused = (status != http::StatusCode::OK)
            .then(|| format!("the endpoint refused the request: {status}"));
        let waker = Waker::from(Arc::new(AttemptWaker {
            attempt,
            woken: Arc::clone(&self.woken),
        }));
        Live {
            invocation: index,
            body: Box::pin(response.into_body()),
            feed,
            decoder: OutgoingDecoder::default(),
            waker,
            refused,
            spins: 0,
            ready: false,
        }
    }

    /// Polls an attempt until it waits, and hands what it says to the engine.
    fn poll(&mut self, attempt: AttemptId) -> Result<(), Fault> {
        let Some(live) = self.live.get_mut(&attempt) else {
            return Ok(());
        };
        live.ready = false;
        if let Some(reason) = live.refused.take() {
            match &mut self.said {
                Some(said) => said.push(Said::Broken(reason)),
                None => self.engine.handle_broken(attempt, &reason),
            }
            return Ok(());
        }
        let mut cx = Context::from_waker(&live.waker);
        live.spins += 1;
        while let Poll::Ready(frame) = live.body.as_mut().poll_frame(&mut cx) {
            let chunk = match frame {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(never)) => match never {},
                None => {
                    let reason = "the response ended without End, Error or Suspension";
                    match &mut self.said {
                        Some(said) => said.push(Said::Broken(reason.to_owned())),
                        None => self.engine.handle_broken(attempt, reason),
                    }
                    break;
                }
            };
            live.spins = 0;
            self.heard += 1;
            live.decoder.push(chunk);
            loop {
                match (live.decoder.next(), &mut self.said) {
                    (Ok(Some(message)), None) => self.engine.handle_message(attempt, message),
                    (Ok(Some(message)), Some(said)) => said.push(Said::Message(message)),
                    (Ok(None), _) => break,
                    (Err(error), None) => {
                        self.engine.handle_broken(attempt, &error.to_string());
                        break;
                    }
                    (Err(error), Some(said)) => {
                        said.push(Said::Broken(error.to_string()));
                        break;
                    }
                }
            }
        }
        if live.body.executes_runs() {
            // Whatever it waits for may wake it as often as it likes.
            live.spins = 0;
            self.executing.insert(attempt);
        } else {
            self.executing.remove(&attempt);
        }
        if live.spins > SPINS {
            let target = self.engine.invocations[live.invocation].target();
            return Err(Fault(format!(
                "`{target}` wakes itself again and again, and does nothing"
            )));
        }
        let foreign = self
            .foreign
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match foreign {
            Some((index, after)) => {
                let target = self.engine.invocations[index].target();
                Err(Fault(format!(
                    "`{target}` waits for something that is not durable, {after}: a timer of the async \
                     runtime, a socket, a lock, a spawned task. On replay it may take another path. Put \
                     it into `ctx.run`, or use a durable future instead"
                )))
            }
            None => Ok(()),
        }
    }
}
