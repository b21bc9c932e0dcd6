//! The runtime ends in the middle and begins again: each record makes one invocation all the same.

use std::time::Duration;

use durably::{prelude::*, test_server::KafkaBroker};

use crate::harness::{
    Result, Totals, consumed, eventually, folder, numbered, source, start, totals,
};

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_shutdown_and_after_being_dropped() -> Result {
    const RECORDS: u64 = 4_000;
    let broker = KafkaBroker::start().await?;
    broker.create_topic("restarts", 3).await?;
    broker
        .produce_all("restarts", numbered(1, RECORDS + 1, 100))
        .await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = || source(&broker, "restarts", "Totals/add").max_in_flight(40);
    let mut next = 0;
    let mut ends = 0;
    for round in 0..8 {
        let runtime = start(folder.path(), &endpoint, [source()]).await;
        let so_far = || {
            let states = runtime.subscriptions();
            states.iter().map(|state| state.next_offset).sum::<i64>()
        };
        let from = so_far();
        assert!(from >= next, "it has gone back from {next} to {from}");
        let enough = from + 200 + 37 * round;
        eventually("some are consumed", || {
            so_far() >= enough.min(RECORDS as i64)
        })
        .await;
        next = so_far();
        ends += u32::from(next < RECORDS as i64);
        if round % 2 == 0 {
            runtime.shutdown().await?;
        } else {
            drop(runtime);
        }
    }
    assert!(ends >= 3, "only {ends} ends came in the middle");
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
    tokio::time::sleep(Duration::from_millis(300)).await;
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
