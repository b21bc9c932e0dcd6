//! What brokers may say that the one of the other tests does not: batches that cannot be decoded, partitions without a
//! leader, topics out of sight, transactions that do not end.

mod broker;

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant, SystemTime},
};

use durably::{
    local::{LocalRuntime, OffsetReset, SubscriptionState},
    prelude::*,
    test_server::{KafkaBroker, KafkaRecord},
};

use self::broker::{Batch, Log, Scripted, key};
use crate::harness::{
    Result, Total, Totals, consumed, eventually, folder, in_flight, source, start, state, warned,
};
use crate::wire::{Bytes, ask};

fn expected(values: impl IntoIterator<Item = u64>) -> BTreeMap<String, Total> {
    let mut totals = BTreeMap::<String, Total>::new();
    for value in values {
        totals.entry(key(value)).or_default().add(value);
    }
    totals
}

/// Waits until a partition stands still, before what cannot be decoded up to this offset.
async fn stands(runtime: &LocalRuntime, topic: &str, next: i64, last: i64) {
    let halted = || -> Option<SubscriptionState> {
        let mut states = runtime.subscriptions().into_iter();
        states.find(|state| state.halted.is_some())
    };
    eventually("a partition stands still", || {
        halted().is_some() && in_flight(runtime) == 0
    })
    .await;
    let state = halted().unwrap();
    let number = state.partition;
    let reason = state.halted.unwrap();
    let begin = format!(
        "the batch at offset {next} of partition {number} of the topic `{topic}` cannot be decoded: "
    );
    let end = format!("; `KafkaSource::skip({number}, {last})` passes over it");
    assert!(reason.starts_with(&begin), "{reason}");
    assert!(reason.ends_with(&end), "{reason}");
    assert_eq!(state.next_offset, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_before_one_that_cannot_be_decoded_are_taken_and_skip_passes_over_it() -> Result {
    // All fits in one fetch.
    let now = SystemTime::now();
    let mut log = Log::default().with(1..11, now).with(11..21, now);
    log.add_garbled(21..24);
    log.add(24..34);
    let broker = Scripted::start("garbled", [log]).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = || broker.source().offset_reset(OffsetReset::Earliest);
    for _ in 0..2 {
        let runtime = start(folder.path(), &endpoint, [source()]).await;
        stands(&runtime, "garbled", 20, 22).await;
        assert_eq!(sums.0.all(), expected(1..21));
        runtime.shutdown().await?;
    }

    let runtime = start(folder.path(), &endpoint, [source().skip(0, 22)]).await;
    consumed(&runtime, 33).await;
    warned("topic=garbled partition=0 first=20 last=22").await;
    assert_eq!(state(&runtime, 0).halted, None);
    assert_eq!(sums.0.all(), expected((1..21).chain(24..34)));
    runtime.shutdown().await?;

    // It has done its work, and leaves what is behind it alone.
    broker.logs()[0].add(34..44);
    let runtime = start(folder.path(), &endpoint, [source().skip(0, 22)]).await;
    consumed(&runtime, 43).await;
    runtime.shutdown().await?;

    // What the partition does not have yet is not skipped: its records would be lost, or come again.
    broker.logs()[0].add(44..54);
    let runtime = start(folder.path(), &endpoint, [source().skip(0, 1_000)]).await;
    consumed(&runtime, 53).await;
    warned("topic=garbled partition=0 next=43 last=1000 end=53").await;
    assert_eq!(sums.0.all(), expected((1..21).chain(24..54)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_on_by_itself_once_what_cannot_be_decoded_is_gone() -> Result {
    let mut log = Log::default().with(1..11, SystemTime::now());
    log.add_garbled(11..14);
    log.add(14..24);
    let broker = Scripted::start("retained", [log]).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = broker.source().offset_reset(OffsetReset::Earliest);
    let runtime = start(folder.path(), &endpoint, [source]).await;
    stands(&runtime, "retained", 10, 12).await;
    broker.logs()[0].begin = 13;
    consumed(&runtime, 23).await;
    assert_eq!(state(&runtime, 0).halted, None);
    assert_eq!(sums.0.all(), expected((1..11).chain(14..24)));
    Ok(())
}

/// The request that the client cannot make of such a batch: Produce, version 7.
async fn produce(broker: &KafkaBroker, topic: &str, partition: i32, batch: &Batch) -> Result {
    let mut request = Bytes::default();
    request.i16(0).i16(7).i32(1).text("test"); // key, version, correlation id
    request.i16(-1).i16(-1).i32(10_000); // no transaction; for all replicas; at most so long
    request.i32(1).text(topic).i32(1).i32(partition);
    request.i32(batch.bytes.len() as i32).all(&batch.bytes);
    // Behind correlation id, one topic, its name, one partition, its number.
    ask(broker, &request, 4 + 4 + 2 + topic.len() + 4 + 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_without_a_value_is_reported_and_can_be_skipped() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("nulls", 2).await?;
    let records = |partition: i32, values: Range<u64>| {
        values.map(move |value| {
            let record = KafkaRecord::new().key(key(value)).value(value.to_string());
            record.partition(partition)
        })
    };
    broker.produce_all("nulls", records(0, 1..11)).await?;
    broker
        .produce_all("nulls", records(1, 1_001..1_011))
        .await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = || source(&broker, "nulls", "Totals/add");
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, 20).await;

    let garbled = Batch::new(0, 11..14, SystemTime::now(), true);
    produce(&broker, "nulls", 0, &garbled).await?;
    broker.produce_all("nulls", records(0, 14..24)).await?;
    broker
        .produce_all("nulls", records(1, 1_011..1_021))
        .await?;
    stands(&runtime, "nulls", 10, 12).await;
    eventually("the other partition goes on", || {
        state(&runtime, 1).next_offset == 20 && in_flight(&runtime) == 0
    })
    .await;
    assert_eq!(sums.0.all(), expected((1..11).chain(1_001..1_021)));
    runtime.shutdown().await?;

    let runtime = start(folder.path(), &endpoint, [source()]).await;
    stands(&runtime, "nulls", 10, 12).await;
    runtime.shutdown().await?;
    let runtime = start(folder.path(), &endpoint, [source().skip(0, 12)]).await;
    consumed(&runtime, 43).await;
    assert_eq!(state(&runtime, 0).halted, None);
    let values = (1..11).chain(14..24).chain(1_001..1_021);
    assert_eq!(sums.0.all(), expected(values));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_holds_up_no_other() -> Result {
    let now = SystemTime::now();
    let logs = [
        Log::default().with(1..11, now),
        Log::default().with(1_001..1_011, now),
    ];
    let broker = Scripted::start("headless", logs).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = || broker.source().offset_reset(OffsetReset::Earliest);
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, 20).await;
    runtime.shutdown().await?;

    // A new partition, which cannot be asked for anything yet.
    {
        let mut logs = broker.logs();
        logs[0].add(11..21);
        logs[1].add(1_011..1_021);
        let mut log = Log::default().with(2_001..2_011, now);
        log.has_no_leader = true;
        logs.push(log);
    }
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    warned("topic=headless partition=2 reason=").await;
    consumed(&runtime, 40).await;
    assert_eq!(runtime.subscriptions().len(), 2);
    broker.logs()[2].has_no_leader = false;
    consumed(&runtime, 50).await;
    let values = (1..21).chain(1_001..1_021).chain(2_001..2_011);
    assert_eq!(sums.0.all(), expected(values));
    Ok(())
}

/// Before the subscription.
fn long_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3_600)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_partition_held_before_is_skipped_also_if_it_could_not_be_asked_at_first() -> Result
{
    let mut other = Log::default().with(1_001..1_011, long_ago());
    other.has_no_leader = true;
    let logs = [Log::default().with(1..11, long_ago()), other];
    let broker = Scripted::start("beheaded", logs).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let runtime = start(folder.path(), &endpoint, [broker.source()]).await;
    warned("topic=beheaded partition=1 reason=").await;
    eventually("it has begun", || !runtime.subscriptions().is_empty()).await;
    assert_eq!(state(&runtime, 0).next_offset, 10);
    runtime.shutdown().await?;

    // Also after a restart.
    {
        let mut logs = broker.logs();
        logs[0].add(11..21);
        logs[1].add(1_011..1_021);
        logs[1].has_no_leader = false;
        logs.push(Log::default().with(2_001..2_011, long_ago()));
    }
    let runtime = start(folder.path(), &endpoint, [broker.source()]).await;
    // The third one came later: all that it has is new, whatever its producers say.
    consumed(&runtime, 50).await;
    let values = (11..21).chain(1_011..1_021).chain(2_001..2_011);
    assert_eq!(sums.0.all(), expected(values));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_out_of_sight_is_not_consumed_from_its_beginning() -> Result {
    let broker = Scripted::start("hidden", []).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let runtime = start(folder.path(), &endpoint, [broker.source()]).await;
    // It says so once it has written down that it has begun.
    warned("topic=hidden reason=there is no such topic").await;
    runtime.shutdown().await?;

    // It was there all the time.
    let mut log = Log::default().with(1..11, long_ago());
    log.add(11..21);
    broker.logs().push(log);
    let runtime = start(folder.path(), &endpoint, [broker.source()]).await;
    consumed(&runtime, 20).await;
    assert_eq!(sums.0.all(), expected(11..21));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_is_not_made_anew_by_asking_for_it() -> Result {
    let now = SystemTime::now();
    let broker = Scripted::start("deleted", [Log::default().with(1..11, now)]).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = broker.source().offset_reset(OffsetReset::Earliest);
    let runtime = start(folder.path(), &endpoint, [source]).await;
    consumed(&runtime, 10).await;

    broker.logs().clear();
    warned("topic=deleted partition=0 reason=there is no such topic").await;
    assert_eq!(*broker.sought.lock().unwrap(), 0);

    // Its user has made it anew, and it is shorter now.
    broker.logs().push(Log::default().with(11..16, now));
    eventually("the new topic is consumed", || {
        state(&runtime, 0).next_offset == 5 && in_flight(&runtime) == 0
    })
    .await;
    assert_eq!(sums.0.all(), expected(1..16));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_end_costs_little() -> Result {
    let mut log = Log::default().with(1..11, SystemTime::now());
    log.open_from = Some(0);
    let broker = Scripted::start("open", [log]).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source = broker.source().offset_reset(OffsetReset::Earliest);
    // The broker shall not wait; but then it would be asked without a pause.
    let source = source.fetch_wait(Duration::ZERO).fetch_bytes(1_000_000);
    let begun = Instant::now();
    let runtime = start(folder.path(), &endpoint, [source]).await;
    let fetches = || broker.fetches.lock().unwrap().clone();
    eventually("it is asked again and again", || fetches().len() > 10).await;
    let fetches = fetches();
    assert!(
        fetches.len() as u128 <= begun.elapsed().as_millis() / 50 + 1,
        "{} in {:?}",
        fetches.len(),
        begun.elapsed()
    );
    assert!(
        fetches.iter().all(|fetch| *fetch == (1_000_000, 50)),
        "{fetches:?}"
    );
    assert_eq!(state(&runtime, 0).lag(), Some(10));

    broker.logs()[0].open_from = None;
    consumed(&runtime, 10).await;
    assert_eq!(sums.0.all(), expected(1..11));
    Ok(())
}
