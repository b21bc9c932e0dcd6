//! Metrics, through the `metrics` facade.

use std::{sync::Arc, time::Instant};

use ::metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use bytes::Bytes;

use crate::{
    AttemptEnd, AttemptInfo, AttemptOutcome, Context, HandlerNext, HandlerResult, Interceptor,
    RunInfo, RunNext,
};

const ATTEMPTS: &str = "durably.attempts";
const SUSPENSIONS: &str = "durably.suspensions";
const ATTEMPT_DURATION: &str = "durably.attempt.duration";
const REPLAYED: &str = "durably.attempt.replayed";
const RUN_DURATION: &str = "durably.run.duration";

/// An interceptor that counts and times attempts and runs, through the facade of the crate `metrics`
/// (feature `metrics`). Whatever recorder the program has installed gets them.
///
/// | name | kind, unit | labels | what |
/// | --- | --- | --- | --- |
/// | `durably.attempts` | counter | `service`, `handler`, `outcome` | attempts that have ended; the outcome as [`AttemptOutcome::as_str`] gives it |
/// | `durably.suspensions` | counter | `service`, `handler` | attempts that have suspended |
/// | `durably.attempt.duration` | histogram, seconds | `service`, `handler`, `outcome` | from the handler's start to the attempt's end |
/// | `durably.attempt.replayed` | histogram, commands | `service`, `handler` | how long the journal was that the attempt replayed; 0 in a first attempt |
/// | `durably.run.duration` | histogram, seconds | `service`, `handler`, `outcome`, with [`run_names`](Self::run_names) `run` | closures that have been executed; the outcome is `succeeded`, `failed` (terminally) or `errored`. The results of a replay do not count |
///
/// Added to an endpoint first, it lies around all other interceptors, so that what they wait for counts.
///
/// # Examples
///
/// ```
/// use durably::{Metrics, prelude::*};
///
/// let endpoint = Endpoint::builder().intercept(Metrics::new()).build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Metrics {
    run_names: bool,
}

/// When the handler has started.
#[derive(Clone, Copy)]
struct Begun(Instant);

impl Metrics {
    /// Tells the installed recorder of the metrics, with their units.
    ///
    /// # Examples
    ///
    /// See [`Metrics`].
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it tells the recorder")]
    pub fn new() -> Self {
        describe_counter!(ATTEMPTS, Unit::Count, "Attempts that have ended");
        describe_counter!(SUSPENSIONS, Unit::Count, "Attempts that have suspended");
        describe_histogram!(
            ATTEMPT_DURATION,
            Unit::Seconds,
            "From the start of a handler to the end of its attempt"
        );
        describe_histogram!(
            REPLAYED,
            Unit::Count,
            "Commands of the journal that an attempt has replayed"
        );
        describe_histogram!(
            RUN_DURATION,
            Unit::Seconds,
            "Closures of runs that were executed"
        );
        Self { run_names: false }
    }

    /// Whether runs are told apart by their names. For programs whose names are a fixed few: each one
    /// makes a time series of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// let metrics = durably::Metrics::new().run_names(true);
    /// # let _ = metrics;
    /// ```
    #[must_use]
    pub fn run_names(mut self, told_apart: bool) -> Self {
        self.run_names = told_apart;
        self
    }
}

impl Interceptor for Metrics {
    async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
        next.attempt().insert(Begun(Instant::now()));
        next.run().await
    }

    async fn run(&self, run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
        let begun = Instant::now();
        let result = next.run().await;
        let outcome = match &result {
            Ok(_) => AttemptOutcome::Succeeded,
            Err(error) if error.is_terminal() => AttemptOutcome::Failed,
            Err(_) => AttemptOutcome::Errored,
        };
        let (service, handler) = names(run.attempt());
        let histogram = if self.run_names {
            let name = run.name().to_owned();
            histogram!(RUN_DURATION, "service" => service, "handler" => handler, "outcome" => outcome.as_str(), "run" => name)
        } else {
            histogram!(RUN_DURATION, "service" => service, "handler" => handler, "outcome" => outcome.as_str())
        };
        histogram.record(begun.elapsed());
        result
    }

    fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        let outcome = end.outcome();
        let (service, handler) = names(attempt);
        counter!(ATTEMPTS, "service" => service, "handler" => handler, "outcome" => outcome.as_str())
            .increment(1);
        if outcome == AttemptOutcome::Suspended {
            let (service, handler) = names(attempt);
            counter!(SUSPENSIONS, "service" => service, "handler" => handler).increment(1);
        }
        if let Some(Begun(begun)) = attempt.get() {
            let (service, handler) = names(attempt);
            histogram!(ATTEMPT_DURATION, "service" => service, "handler" => handler, "outcome" => outcome.as_str())
                .record(begun.elapsed());
        }
        let (service, handler) = names(attempt);
        let replayed = u32::try_from(end.replayed()).unwrap_or(u32::MAX);
        histogram!(REPLAYED, "service" => service, "handler" => handler).record(replayed);
    }
}

fn names(attempt: &AttemptInfo) -> (Arc<str>, Arc<str>) {
    attempt.shared_names()
}
