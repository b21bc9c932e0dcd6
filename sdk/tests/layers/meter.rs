//! Metrics: what is counted, and what is not.

use std::{collections::BTreeMap, time::Duration};

use durably::{
    Metrics,
    prelude::*,
    testing::{TestRuntime, service},
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

struct Work;

#[durably::service]
impl Work {
    #[handler]
    async fn work(&self, ctx: &Context, fails: bool) -> HandlerResult<()> {
        ctx.run("prepare", async || HandlerResult::Ok(())).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        let policy = RetryPolicy::fixed(Duration::from_secs(1)).max_attempts(2);
        let run = ctx.run("work", async || match fails {
            true => Err("no"),
            false => Ok(()),
        });
        Ok(run.retry(policy).await?)
    }
}

/// `name{labels}` → how often, or how many values.
fn counts(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let metrics = snapshotter.snapshot().into_vec();
    let counts = metrics.into_iter().map(|(key, _, _, value)| {
        let key = key.key();
        let mut labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        labels.sort();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => 0,
        };
        (format!("{} {}", key.name(), labels.join(" ")), count)
    });
    counts.collect()
}

fn play(metrics: impl FnOnce() -> Metrics, fails: bool) -> BTreeMap<String, u64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let endpoint = Endpoint::builder()
            .bind(Work)
            .intercept(metrics())
            .build()
            .unwrap();
        let mut runtime = TestRuntime::builder(endpoint).always_suspend().build();
        let done = runtime.call(service::<WorkClient>().work(fails));
        assert_eq!(done.is_err(), fails);
    });
    counts(&snapshotter)
}

#[test]
fn attempts_suspensions_replays_and_runs_are_counted() {
    let of = "handler=work";
    let counts = play(Metrics::new, false);
    // It suspends behind each of its three steps.
    let expected = [
        (
            format!("durably.attempt.duration {of} outcome=succeeded service=Work"),
            1,
        ),
        (
            format!("durably.attempt.duration {of} outcome=suspended service=Work"),
            3,
        ),
        (format!("durably.attempt.replayed {of} service=Work"), 4),
        (
            format!("durably.attempts {of} outcome=succeeded service=Work"),
            1,
        ),
        (
            format!("durably.attempts {of} outcome=suspended service=Work"),
            3,
        ),
        (
            format!("durably.run.duration {of} outcome=succeeded service=Work"),
            2,
        ),
        (format!("durably.suspensions {of} service=Work"), 3),
    ];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn failures_are_told_apart_and_so_are_runs_on_request() {
    let counts = play(|| Metrics::new().run_names(true), true);
    let count = |key: &str| counts.get(key).copied();
    let run = |outcome: &str, name: &str| {
        count(&format!(
            "durably.run.duration handler=work outcome={outcome} run={name} service=Work"
        ))
    };
    assert_eq!(run("succeeded", "prepare"), Some(1));
    assert_eq!(run("errored", "work"), Some(2));
    assert_eq!(
        count("durably.attempts handler=work outcome=errored service=Work"),
        Some(1)
    );
    assert_eq!(
        count("durably.attempts handler=work outcome=failed service=Work"),
        Some(1)
    );
}
