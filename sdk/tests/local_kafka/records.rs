//! Records reach handlers: once, in order, as they were.

use std::collections::BTreeMap;

use durably::{
    Target,
    local::LocalError,
    prelude::*,
    test_server::{KafkaBroker, KafkaRecord},
};
use rskafka::{
    client::{
        ClientBuilder,
        partition::{Compression, UnknownTopicHandling},
    },
    record::Record,
};

use crate::harness::{
    Events, Ledger, Result, Seen, Totals, consumed, eventually, folder, numbered, source, start,
    state, totals, try_start,
};

#[tokio::test(flavor = "multi_thread")]
async fn records_reach_objects_once_and_in_order() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("events", 3).await?;
    let key = |n: u64| format!("key {}", n % 37);
    let value = |n: u64| (n % 10 != 9).then_some(n);
    let records = (0..1_000).map(|n| {
        let record = KafkaRecord::new().key(key(n));
        value(n).map_or(record.clone(), |value| record.value(value.to_string()))
    });
    let positions = broker.produce_all("events", records).await?;
    let mut expected = BTreeMap::<String, Vec<Seen>>::new();
    for (n, position) in (0..).zip(&positions) {
        expected.entry(key(n)).or_default().push(Seen {
            value: value(n),
            partition: Some(position.partition),
            offset: Some(position.offset),
            by: Some("events:Events/on_event".to_owned()),
        });
    }
    let events = Events::default();
    let endpoint = Endpoint::builder().bind(events.clone()).build()?;
    let folder = folder();
    let source = source(&broker, "events", "Events/on_event");
    let runtime = start(folder.path(), &endpoint, [source]).await;
    consumed(&runtime, 1_000).await;
    assert_eq!(events.0.all(), expected);
    for state in runtime.subscriptions() {
        assert_eq!(
            (state.lag(), state.dropped, &state.halted),
            (Some(0), 0, &None)
        );
        assert_eq!(
            (&*state.name, &*state.topic),
            ("events:Events/on_event", "events")
        );
    }

    // One more, while it waits.
    broker
        .produce("events", Some(1), Some(b"late"), Some(b"7"))
        .await?;
    consumed(&runtime, 1_001).await;
    assert_eq!(events.0.all()["late"][0].value, Some(7));
    runtime.shutdown().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_batches_are_read() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("compressed", 1).await?;
    let client = ClientBuilder::new(vec![broker.bootstrap_servers().to_owned()]);
    let client = client.build().await?;
    let topic = client.partition_client("compressed", 0, UnknownTopicHandling::Retry);
    let topic = topic.await?;
    let mut n = 0;
    for compression in [
        Compression::Gzip,
        Compression::Lz4,
        Compression::Snappy,
        Compression::Zstd,
        Compression::NoCompression,
    ] {
        let records = (0..100).map(|_| {
            n += 1;
            Record {
                key: Some(b"all".to_vec()),
                value: Some(n.to_string().into_bytes()),
                headers: BTreeMap::new(),
                timestamp: rskafka::chrono::DateTime::from_timestamp_millis(1_793_620_800_000)
                    .unwrap(),
            }
        });
        topic.produce(records.collect(), compression).await?;
    }
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    // Fetches that are smaller than any batch.
    let source = source(&broker, "compressed", "Totals/add").fetch_bytes(100);
    let runtime = start(folder.path(), &endpoint, [source]).await;
    consumed(&runtime, 500).await;
    assert_eq!(
        (sums.0.all()["all"].count, sums.0.all()["all"].sum),
        (500, 125_250)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_subscriptions_of_several_topics_go_their_own_ways() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("left", 4).await?;
    broker.create_topic("right", 2).await?;
    broker.produce_all("left", numbered(1, 401, 9)).await?;
    broker
        .produce_all("right", numbered(1, 201, 9).map(|one| one.header("a", "b")))
        .await?;
    let (sums, events) = (Totals::default(), Events::default());
    let endpoint = Endpoint::builder().bind(sums.clone()).bind(events.clone());
    let endpoint = endpoint.build()?;
    let folder = folder();
    let sources = [
        source(&broker, "left", "Totals/add"),
        source(&broker, "left", "Events/on_event"),
        // This broker lets everybody in.
        source(&broker, "right", "Events/on_event")
            .name("second")
            .sasl_plain("user", "password"),
    ];
    let runtime = start(folder.path(), &endpoint, sources).await;
    consumed(&runtime, 1_000).await;
    assert_eq!(sums.0.all(), totals(1, 401, 9));
    for seen in events.0.all().values() {
        let of = |name: &str| {
            let by = seen.iter().filter(|seen| seen.by.as_deref() == Some(name));
            by.map(|seen| seen.value.unwrap()).collect::<Vec<_>>()
        };
        let (left, right) = (of("left:Events/on_event"), of("second"));
        assert!(left.is_sorted() && right.is_sorted());
        assert_eq!(left.len() + right.len(), seen.len());
    }
    let all: usize = events.0.all().values().map(Vec::len).sum();
    assert_eq!((all, runtime.subscriptions().len()), (600, 10));
    Ok(())
}

/// Takes whatever comes.
#[derive(Clone, Debug, Default)]
struct Observer(Ledger<String>);

#[durably::service]
impl Observer {
    #[handler]
    async fn observe(&self, _ctx: &Context, event: KafkaEvent<String>) -> HandlerResult<()> {
        let names: Vec<_> = event.headers().iter().map(|(name, _)| name).collect();
        let line = format!("{:?} {:?} {}", event.key(), event.value(), names.join(" "));
        self.0.tell(&event.offset().unwrap_or(-1).to_string(), line);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_any_record() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("any", 1).await?;
    let records = [
        KafkaRecord::new().key("k").value("\"v\""),
        KafkaRecord::new().value("\"no key\""),
        KafkaRecord::new().key("gone"),
        KafkaRecord::new(),
        KafkaRecord::new().key([0xff, 0x00]).value("\"binary\""),
        KafkaRecord::new().key("bad").value("no JSON"),
        KafkaRecord::new()
            .key("")
            .value("\"last\"")
            .header("traceparent", "x"),
    ];
    broker.produce_all("any", records).await?;
    let observer = Observer::default();
    let endpoint = Endpoint::builder().bind(observer.clone()).build()?;
    let folder = folder();
    let source = source(&broker, "any", "Observer/observe");
    let runtime = start(folder.path(), &endpoint, [source]).await;
    consumed(&runtime, 7).await;
    let with_key = "kafka.offset kafka.topic kafka.partition kafka.timestamp restate.subscription.id kafka.key";
    let without = with_key.strip_suffix(" kafka.key").unwrap();
    let expected = [
        ("0", format!("Some(b\"k\") Some(\"v\") {with_key}")),
        ("1", format!("None Some(\"no key\") {without}")),
        ("2", format!("Some(b\"gone\") None {with_key}")),
        ("3", format!("None None {without}")),
        (
            "4",
            format!("Some(b\"\\xff\\0\") Some(\"binary\") {with_key}"),
        ),
        ("6", format!("Some(b\"\") Some(\"last\") {with_key}")),
    ];
    let expected = expected.map(|(offset, line)| (offset.to_owned(), line));
    assert_eq!(observer.0.all(), BTreeMap::from(expected));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_refused_at_the_start() -> Result {
    let endpoint = Endpoint::builder()
        .bind(Events::default())
        .bind(Observer::default());
    let endpoint = endpoint.build()?;
    let folder = folder();
    let new =
        |brokers: &str, handler: &str| durably::local::KafkaSource::new(brokers, "events", handler);
    let letters = |target| {
        let then = durably::local::UnreadableKey::DeadLetter(target);
        new("localhost:1", "Events/on_event").on_unreadable_key(then)
    };
    let same = || new("localhost:1", "Events/on_event");
    for (sources, expected) in [
        (
            vec![new("localhost:1", "Events/on_evnt")],
            "the subscription `events:Events/on_evnt` cannot be made: \
             the endpoint serves no handler `Events/on_evnt`",
        ),
        (
            vec![new("localhost:1", "Events")],
            "the subscription `events:Events` cannot be made: \
             `Events` is no handler: write it as `Service/handler`",
        ),
        (
            vec![new(" , ", "Events/on_event").name("x")],
            "the subscription `x` cannot be made: it names no broker",
        ),
        (
            vec![same(), same()],
            "the subscription `events:Events/on_event` cannot be made: \
             another one has this name: see `KafkaSource::name`",
        ),
        (
            vec![letters(Target::service("Letters", "record"))],
            "the subscription `events:Events/on_event` cannot be made: \
             the endpoint serves no handler `Letters/record` for dead letters",
        ),
        (
            vec![letters(Target::object("Observer", "key", "observe"))],
            "the subscription `events:Events/on_event` cannot be made: \
             `Observer/key/observe` for dead letters needs a key if it is of an object, and only then",
        ),
    ] {
        let error = try_start(folder.path(), &endpoint, sources)
            .await
            .unwrap_err();
        assert!(matches!(error, LocalError::Subscription { .. }), "{error}");
        assert_eq!(error.to_string(), expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_subscription_skips_what_was_there_unless_told_otherwise() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("news", 1).await?;
    broker.produce_all("news", numbered(1, 11, 1)).await?;
    let sums = Totals::default();
    let endpoint = Endpoint::builder().bind(sums.clone()).build()?;
    let folder = folder();
    let source =
        || durably::local::KafkaSource::new(broker.bootstrap_servers(), "news", "Totals/add");
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    eventually("it has begun", || !runtime.subscriptions().is_empty()).await;
    assert_eq!(state(&runtime, 0).next_offset, 10);
    runtime.shutdown().await?;
    // Between its runs nothing is skipped, although it has never consumed a record.
    broker.produce_all("news", numbered(11, 21, 1)).await?;
    let runtime = start(folder.path(), &endpoint, [source()]).await;
    consumed(&runtime, 20).await;
    assert_eq!(sums.0.all(), totals(11, 21, 1));
    Ok(())
}
