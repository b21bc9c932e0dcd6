//! What happens to a topic: it comes late, grows, loses records, is made anew.

use std::time::Duration;

use durably::{prelude::*, test_server::KafkaBroker};
use rskafka::client::{ClientBuilder, partition::UnknownTopicHandling};

use crate::harness::{
    Result, Totals, consumed, eventually, folder, in_flight, numbered, source, start, state,
    totals, warned,
};
use crate::wire::{Bytes, ask};

/// The request that the client has no function for: CreatePartitions, version 0.
async fn grow(broker: &KafkaBroker, topic: &str, partitions: i32) -> Result {
    let mut request = Bytes::default();
    request.i16(37).i16(0).i32(1).text("test"); // key, version, correlation id
    request.i32(1).text(topic).i32(partitions).i32(-1); // one topic; no assignments
    request.i32(10_000).i8(0); // at most so long; not only to validate
    // Behind correlation id, throttle time, the count, and the topic's name.
    ask(broker, &request, 4 + 4 + 4 + 2 + topic.len()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_may_come_late_and_grow() -> Result {
    let broker = KafkaBroker::start().await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let servers = broker.bootstrap_servers();
    // From the end on; but of what comes after the subscription nothing is skipped.
    let source = || {
        durably::local::KafkaSource::new(servers, "late", "Totals/add")
            .partition_refresh(Duration::from_millis(100))
    };
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    // It says so once it has written down that it has begun.
    warned("topic=late reason=there is no such topic").await;
    runtime.shutdown().await?;
    broker.create_topic("late", 1).await?;
    broker.produce_all("late", numbered(1, 101, 10)).await?;
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, 100).await;

    grow(&broker, "late", 3).await?;
    let records = numbered(101, 201, 10).zip([1, 2].into_iter().cycle());
    broker
        .produce_all("late", records.map(|(one, to)| one.partition(to)))
        .await?;
    consumed(&runtime, 200).await;
    assert_eq!(runtime.subscriptions().len(), 3);
    assert_eq!(sums.0.all(), totals(1, 201, 10));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_gone_are_passed_over() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("gone", 1).await?;
    broker.produce_all("gone", numbered(1, 11, 1)).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = || source(&broker, "gone", "Totals/add");
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, 10).await;
    runtime.shutdown().await?;

    broker.produce_all("gone", numbered(11, 31, 1)).await?;
    let client = ClientBuilder::new(vec![broker.bootstrap_servers().to_owned()]);
    let client = client.build().await?;
    let topic = client.partition_client("gone", 0, UnknownTopicHandling::Retry);
    topic.await?.delete_records(20, 5_000).await?;
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, 30).await;
    let mut expected = totals(1, 11, 1);
    for n in 21..31 {
        expected.get_mut("key 0").unwrap().add(n);
    }
    assert_eq!(sums.0.all(), expected);

    // The topic is made anew, with fewer records: it begins with the first of them.
    let controller = client.controller_client()?;
    controller.delete_topic("gone", 5_000).await?;
    broker.create_topic("gone", 1).await?;
    broker.produce_all("gone", numbered(31, 36, 1)).await?;
    let is_done = || state(&runtime, 0).next_offset == 5 && in_flight(&runtime) == 0;
    eventually("the new topic is consumed", is_done).await;
    for n in 31..36 {
        expected.get_mut("key 0").unwrap().add(n);
    }
    assert_eq!(sums.0.all(), expected);
    Ok(())
}
