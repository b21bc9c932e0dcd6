//! A backlog stays in Kafka: only so many records are in flight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use durably::{prelude::*, test_server::KafkaBroker, test_server::KafkaRecord};
use tokio::sync::watch;

use crate::harness::{
    Events, Result, Totals, consumed, eventually, folder, in_flight, numbered, so_far, source,
    start, state, totals,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_20_000_records_never_has_more_than_50_in_flight() -> Result {
    const RECORDS: u64 = 20_000;
    let broker = KafkaBroker::start().await?;
    broker.create_topic("backlog", 4).await?;
    broker
        .produce_all("backlog", numbered(1, RECORDS + 1, 1_000))
        .await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = source(&broker, "backlog", "Totals/add").max_in_flight(50);
    let begun = std::time::Instant::now();
    let runtime = Arc::new(start(folder.path(), &endpoint, [source]).await);
    let (most, done) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let watching = tokio::spawn({
        let (runtime, most, done) = (Arc::clone(&runtime), Arc::clone(&most), Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(in_flight(&runtime), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    consumed(&runtime, RECORDS as i64).await;
    let took = begun.elapsed();
    done.store(true, Ordering::Relaxed);
    watching.await?;
    let most = most.load(Ordering::Relaxed);
    println!("{RECORDS} records in {took:?}, {most} in flight at most");
    assert!((1..=50).contains(&most), "{most}");
    assert_eq!(sums.0.all(), totals(1, RECORDS + 1, 1_000));
    Ok(())
}

/// Lets invocations wait, and counts them.
#[derive(Clone, Debug)]
struct Gate {
    entered: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

impl Gate {
    fn new() -> Self {
        Self {
            entered: Arc::default(),
            open: watch::Sender::new(false),
        }
    }

    fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }
}

#[durably::service]
impl Gate {
    /// Invocations of a service do not wait for each other: each that is live is in here.
    #[handler]
    async fn pass(&self, ctx: &Context, _event: KafkaEvent<u64>) -> HandlerResult<()> {
        let run = ctx.run("wait", async || {
            self.entered.fetch_add(1, Ordering::Relaxed);
            let mut open = self.open.subscribe();
            open.wait_for(|open| *open).await?;
            Ok::<_, watch::error::RecvError>(())
        });
        Ok(run.await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_counts_again_after_a_restart() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("gated", 2).await?;
    broker.produce_all("gated", numbered(1, 201, 50)).await?;
    let gate = Gate::new();
    let endpoint = Endpoint::builder().bind(gate.clone()).build()?;
    let folder = folder();
    let source = |max| source(&broker, "gated", "Gate/pass").max_in_flight(max);
    let runtime = start(folder.path(), &endpoint, [source(20)]).await;
    let are_in = || gate.entered() == 20 && so_far(&runtime) == 20;
    eventually("20 are in", are_in).await;
    // More would come now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((gate.entered(), in_flight(&runtime)), (20, 20));
    assert_eq!(so_far(&runtime), 20);
    runtime.shutdown().await?;

    // With a bound that is lower than what is there: nothing new begins.
    gate.entered.store(0, Ordering::Relaxed);
    let runtime = start(folder.path(), &endpoint, [source(5)]).await;
    eventually("they have begun again", || gate.entered() == 20).await;
    eventually("the broker has told how many there are", || {
        let states = runtime.subscriptions();
        states.iter().all(|state| state.lag().is_some())
    })
    .await;
    // More would come now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((gate.entered(), in_flight(&runtime)), (20, 20));
    for state in runtime.subscriptions() {
        assert!(state.in_flight > 0 || state.next_offset == 0, "{state:?}");
        assert_eq!(state.lag(), Some(100 - state.next_offset as u64));
    }

    // From now on at most 5.
    let most = Arc::new(AtomicUsize::new(0));
    gate.open.send_replace(true);
    eventually("the 20 have ended", || in_flight(&runtime) <= 5).await;
    let is_done = || {
        most.fetch_max(in_flight(&runtime), Ordering::Relaxed);
        so_far(&runtime) == 200 && in_flight(&runtime) == 0
    };
    eventually("all are done", is_done).await;
    assert!(most.load(Ordering::Relaxed) <= 5);
    assert_eq!(gate.entered(), 200);
    Ok(())
}

/// An object whose key "slow" waits.
#[derive(Clone, Debug)]
struct Slow {
    events: Events,
    open: watch::Sender<bool>,
}

#[durably::object]
impl Slow {
    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        if ctx.key() == "slow" {
            let run = ctx.run("wait", async || {
                let mut open = self.open.subscribe();
                open.wait_for(|open| *open).await.map(|_| ())
            });
            run.await?;
        }
        if ctx.key() == "failing" && !*self.open.borrow() {
            return Err(std::io::Error::other("not yet").into());
        }
        let count = ctx.get::<u64>("count").await?.unwrap_or_default() + 1;
        ctx.set("count", &count);
        let seen = crate::harness::Seen {
            value: event.value().copied(),
            partition: None,
            offset: Some(count as i64),
            by: None,
        };
        self.events.0.tell(ctx.key(), vec![seen]);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_key_and_a_failing_one_hold_up_nobody_within_the_bound() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("slow", 1).await?;
    let of = |key: &str, n: u64| KafkaRecord::new().key(key).value(n.to_string());
    let stuck = (0..10).flat_map(|n| [of("slow", n), of("failing", n)]);
    broker.produce_all("slow", stuck).await?;
    broker.produce_all("slow", numbered(0, 500, 20)).await?;
    let (events, open) = (Events::default(), watch::Sender::new(false));
    let slow = Slow {
        events: events.clone(),
        open: open.clone(),
    };
    let endpoint = Endpoint::builder().bind(slow).build()?;
    let folder = folder();
    let source = source(&broker, "slow", "Slow/on_event").max_in_flight(30);
    let runtime = start(folder.path(), &endpoint, [source]).await;
    eventually("the others are done", || {
        let states = runtime.subscriptions();
        // In this order: what is in flight once all are taken is what is stuck.
        states.iter().all(|state| state.lag() == Some(0)) && in_flight(&runtime) == 20
    })
    .await;
    let seen = events.0.all();
    assert_eq!(seen.len(), 20);
    assert!(
        seen.values().all(|seen| seen[0].offset == Some(25)),
        "{seen:?}"
    );

    // More of the slow key than the bound allows: now everybody waits.
    broker
        .produce_all("slow", (10..40).map(|n| of("slow", n)))
        .await?;
    broker.produce_all("slow", numbered(500, 520, 20)).await?;
    eventually("the bound is reached", || {
        in_flight(&runtime) == 30 && state(&runtime, 0).next_offset == 530
    })
    .await;
    // More would come now.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        (in_flight(&runtime), state(&runtime, 0).next_offset),
        (30, 530)
    );
    open.send_replace(true);
    consumed(&runtime, 570).await;
    let seen = events.0.all();
    assert_eq!(
        (seen["slow"][0].value, seen["slow"][0].offset),
        (Some(39), Some(40))
    );
    assert_eq!(
        (seen["failing"][0].value, seen["failing"][0].offset),
        (Some(9), Some(10))
    );
    assert!(seen["key 3"][0].offset == Some(26));
    Ok(())
}
