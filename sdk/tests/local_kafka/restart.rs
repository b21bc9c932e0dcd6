//! The runtime ends in the middle and begins again: each record makes one invocation all the same.

use std::{sync::Arc, time::Duration};

use durably::{prelude::*, test_server::KafkaBroker};
use tokio::sync::Semaphore;

use crate::harness::{
    Result, Totals, consumed, eventually, folder, numbered, so_far, source, start, totals, warned,
};

/// Sums up as [`Totals`] does, but no more records than it is let.
#[derive(Clone, Debug)]
struct Gated {
    sums: Totals,
    let_in: Arc<Semaphore>,
}

#[durably::object]
impl Gated {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        self.let_in.acquire().await.unwrap().forget();
        self.sums.sum_up(ctx, *event.value().unwrap_or(&0)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_shutdown_and_after_being_dropped() -> Result {
    const RECORDS: u64 = 4_000;
    let broker = KafkaBroker::start().await?;
    broker.create_topic("restarts", 3).await?;
    broker
        .produce_all("restarts", numbered(1, RECORDS + 1, 100))
        .await?;
    let (sums, let_in) = (Totals::default(), Arc::new(Semaphore::new(0)));
    let gated = Gated {
        sums: sums.clone(),
        let_in: Arc::clone(&let_in),
    };
    let endpoint = Endpoint::builder().bind(gated).build()?;
    let folder = folder();
    let source = || source(&broker, "restarts", "Gated/add").max_in_flight(40);
    let mut next = 0;
    for round in 0..8 {
        let some = 200 + 37 * round;
        // More than are waited for: so it is still at work when it ends, and there are some for attempts that the
        // end before has cut off. But fewer than there are, in all rounds together: each end comes in the middle.
        let_in.add_permits(some + 150);
        let runtime = start(folder.path(), &endpoint, [source()]).await;
        let from = so_far(&runtime);
        assert!(from >= next, "it has gone back from {next} to {from}");
        let enough = from + some as i64;
        eventually("some are consumed", || so_far(&runtime) >= enough).await;
        next = so_far(&runtime);
        assert!(next < RECORDS as i64, "this end is none in the middle");
        if round % 2 == 0 {
            runtime.shutdown().await?;
        } else {
            drop(runtime);
        }
    }
    let_in.add_permits(2 * RECORDS as usize);
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, RECORDS as i64).await;
    assert_eq!(sums.0.all(), totals(1, RECORDS + 1, 100));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_is_waited_for() -> Result {
    let mut broker = KafkaBroker::start().await?;
    broker.create_topic("flaky", 2).await?;
    broker.produce_all("flaky", numbered(1, 501, 20)).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = || source(&broker, "flaky", "Totals/add");
    let sources = [source()];

    broker.terminate().await?;
    let runtime = start(folder.path(), &endpoint, sources).await;
    warned("topic=flaky ").await;
    assert!(runtime.subscriptions().is_empty());
    broker.restart().await?;
    consumed(&runtime, 500).await;

    for round in 1..=3_u64 {
        broker.terminate().await?;
        tokio::time::sleep(Duration::from_millis(400 * round)).await;
        broker.restart().await?;
        let (from, to) = (1 + 500 * round, 501 + 500 * round);
        broker.produce_all("flaky", numbered(from, to, 20)).await?;
        consumed(&runtime, to as i64 - 1).await;
    }
    assert_eq!(sums.0.all(), totals(1, 2_001, 20));
    runtime.shutdown().await?;
    Ok(())
}
