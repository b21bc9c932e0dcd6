//! The load: workers that do one job after another, each until it knows how it has ended.
//!
//! In: an ingress that is not always there, a seed, and what may go on. Out: entries in the ledger. A
//! request is repeated with the same idempotency key until it has an answer, so that nothing about the
//! outcome is left open.

mod jobs;
mod programs;

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use durably::test_server::{Ingress, IngressError, IngressRequest};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;

#[allow(unused_imports, reason = "not every test needs all of it")]
pub(crate) use self::{
    jobs::{Blocked, block},
    programs::VARIABLE,
};
use crate::{
    ledger::{Answer, Asked, Ledger, Submitted},
    random::Random,
};

/// How long one try of a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a try may take of which nobody waits for the end: it is given up, and the request asked
/// again.
const IMPATIENCE: Duration = Duration::from_millis(30);

/// A request that was not answered before the deadline of the scenario.
#[derive(Debug)]
pub(crate) struct Stuck(pub(crate) String);

pub(crate) type Result<T = ()> = std::result::Result<T, Stuck>;

/// What all jobs share.
pub(crate) struct Driver {
    pub(crate) ingress: Ingress,
    /// Whether handlers may fail attempts of their own accord.
    pub(crate) with_failing_attempts: bool,
    ledger: Mutex<Ledger>,
    stopped: AtomicBool,
    give_up: Instant,
    names: AtomicU64,
    jobs: AtomicU64,
    tries: AtomicU64,
    retries: AtomicU64,
}

impl Driver {
    pub(crate) fn new(ingress: Ingress, with_failing_attempts: bool, give_up: Instant) -> Self {
        Self {
            ingress,
            with_failing_attempts,
            ledger: Mutex::default(),
            stopped: AtomicBool::new(false),
            give_up,
            names: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            tries: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does some work, and says now and then that it still goes on, and what else is `told`.
    pub(crate) async fn with_progress<T>(
        &self,
        name: &str,
        told: impl Fn() -> String,
        work: impl Future<Output = T>,
    ) -> T {
        let started = Instant::now();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_secs(10)) => println!(
                    "{name}: at {:.0?}: {}jobs {}, retries {}",
                    started.elapsed(),
                    told(),
                    self.jobs(),
                    self.retries(),
                ),
            }
        }
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.jobs.load(Relaxed)
    }

    /// How many times a request was made again.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// No job is begun any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// A job has come to its end.
    pub(crate) fn count_job(&self) {
        self.jobs.fetch_add(1, Relaxed);
    }

    /// A name that no other job has.
    pub(crate) fn name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.names.fetch_add(1, Relaxed))
    }

    pub(crate) fn problem(&self, problem: String) {
        self.ledger().problems.push(problem);
    }

    /// Whether there is time left to wait for this.
    pub(crate) fn check_time(&self, what: &str) -> Result {
        if Instant::now() > self.give_up {
            return Err(Stuck(what.to_owned()));
        }
        Ok(())
    }

    /// Calls a handler with an idempotency key of its own, until there is an answer; enters both.
    async fn ask(&self, request: IngressRequest) -> Result<Answer> {
        self.ask_as(&self.name("key-"), request).await
    }

    pub(crate) async fn ask_as(&self, key: &str, request: IngressRequest) -> Result<Answer> {
        let request = request.idempotency_key(key);
        self.ledger().keys += 1;
        let answer = self.answer(&request).await?;
        let asked = Asked {
            request,
            answer: answer.clone(),
        };
        self.ledger().asked.push(asked);
        Ok(answer)
    }

    /// [`ask`](Self::ask) for what must go well; the output as JSON. A failure is a problem, and gives
    /// nothing.
    pub(crate) async fn must<T: DeserializeOwned>(
        &self,
        request: IngressRequest,
    ) -> Result<Option<T>> {
        let described = format!("{request:?}");
        let answer = self.ask(request).await?;
        let decoded = decode(&answer);
        if decoded.is_none() {
            self.problem(format!("{described} gave {answer:?}"));
        }
        Ok(decoded)
    }

    /// Calls a handler again and again until there is an answer.
    pub(crate) async fn answer(&self, request: &IngressRequest) -> Result<Answer> {
        let tried = self
            .insist(&format!("{request:?}"), || request.clone().call_raw())
            .await?;
        Ok(match tried {
            Ok(reply) => Answer::Output {
                id: reply.invocation_id().map(str::to_owned),
                body: reply.body,
            },
            Err(failed) => failed,
        })
    }

    /// Sends a request until it is accepted, and enters the invocation's id. Without a key it must be
    /// one to a workflow.
    pub(crate) async fn submit(
        &self,
        key: Option<&str>,
        request: IngressRequest,
    ) -> Result<Option<String>> {
        let request = match key {
            Some(key) => {
                self.ledger().keys += 1;
                request.idempotency_key(key)
            }
            None => request,
        };
        let described = format!("{request:?}");
        let sent = self.insist(&described, || request.clone().send()).await?;
        match sent {
            Ok(sent) => {
                let id = sent.invocation_id;
                let submitted = Submitted {
                    request,
                    id: id.clone(),
                };
                self.ledger().submitted.push(submitted);
                Ok(Some(id))
            }
            Err(failed) => {
                self.problem(format!("{described} was not accepted: {failed:?}"));
                Ok(None)
            }
        }
    }

    /// Sends a request that was sent before; the invocation's id, and whether the server knew it.
    pub(crate) async fn send_again(&self, request: &IngressRequest) -> Result<(String, bool)> {
        let described = format!("{request:?}");
        let sent = self.insist(&described, || request.clone().send()).await?;
        sent.map(|sent| (sent.invocation_id, sent.already))
            .map_err(|failed| Stuck(format!("{described}: {failed:?}")))
    }

    /// Waits for what an invocation comes to, and enters it.
    pub(crate) async fn join(&self, id: &str) -> Result<Answer> {
        let answer = self.attach(id).await?;
        let mut ledger = self.ledger();
        ledger.attached.push((id.to_owned(), answer.clone()));
        Ok(answer)
    }

    /// Waits for what an invocation comes to.
    pub(crate) async fn attach(&self, id: &str) -> Result<Answer> {
        let attached = self
            .insist(&format!("attach {id}"), || self.ingress.attach::<Value>(id))
            .await?;
        Ok(match attached {
            Ok(value) => Answer::Output {
                id: Some(id.to_owned()),
                body: serde_json::to_vec(&value).unwrap().into(),
            },
            Err(failed) => failed,
        })
    }

    /// Tries until there is an answer of the invocation's. Whatever else comes (no connection, no
    /// partition's leader, no answer in time) is tried again.
    pub(crate) async fn insist<T, F>(
        &self,
        what: &str,
        attempt: impl Fn() -> F,
    ) -> Result<std::result::Result<T, Answer>>
    where
        F: Future<Output = std::result::Result<T, IngressError>>,
    {
        let mut pause = Duration::from_millis(20);
        loop {
            let number = self.tries.fetch_add(1, Relaxed);
            let patience = if number % 40 == 39 {
                IMPATIENCE
            } else {
                PATIENCE
            };
            let trouble = match tokio::time::timeout(patience, attempt()).await {
                Ok(Ok(value)) => return Ok(Ok(value)),
                Ok(Err(IngressError::Terminal { error, .. })) if is_answer(error.code()) => {
                    return Ok(Err(Answer::Failed {
                        status: error.code(),
                        message: error.message().to_owned(),
                    }));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            self.check_time(&format!("{what}: {trouble}"))?;
            self.retries.fetch_add(1, Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

/// Whether a failed call has failed because its handler did, rather than on the way.
fn is_answer(status: u16) -> bool {
    matches!(status, 400..=428 | 430..=500 | 570 | 571)
}

/// An output as JSON; no body is `null`.
pub(crate) fn decode<T: DeserializeOwned>(answer: &Answer) -> Option<T> {
    match answer {
        Answer::Output { body, .. } if body.is_empty() => serde_json::from_str("null").ok(),
        Answer::Output { body, .. } => serde_json::from_slice(body).ok(),
        Answer::Failed { .. } => None,
    }
}

/// Workers at work; they end when the driver is stopped and their jobs are done.
pub(crate) struct Load {
    workers: JoinSet<()>,
}

impl Load {
    /// So many workers, each with a job at any moment.
    pub(crate) fn start(driver: &Arc<Driver>, count: u64, random: &mut Random) -> Self {
        let mut workers = JoinSet::new();
        for worker in 0..count {
            workers.spawn(work(Arc::clone(driver), worker, random.fork()));
        }
        Self { workers }
    }

    /// Waits until all jobs are done.
    pub(crate) async fn finish(mut self) {
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
    }
}

async fn work(driver: Arc<Driver>, worker: u64, mut random: Random) {
    while !driver.is_stopped() {
        if let Err(Stuck(what)) = jobs::any(&driver, worker, &mut random).await {
            driver.problem(format!("never answered: {what}"));
            return;
        }
        driver.count_job();
    }
}
