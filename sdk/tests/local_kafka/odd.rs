//! Records out of the ordinary, and what becomes of those that handlers cannot take.

use durably::{
    DeadLetter, Target,
    local::UnreadableKey,
    prelude::*,
    test_server::{KafkaBroker, KafkaRecord},
};

use crate::harness::{
    Events, Ledger, Result, consumed, eventually, folder, in_flight, source, start, state,
};

fn record(key: impl Into<Vec<u8>>, value: &str) -> KafkaRecord {
    KafkaRecord::new().key(key).value(value)
}

/// Keeps what could not be taken.
#[derive(Clone, Debug, Default)]
struct Letters(Ledger<String>);

#[durably::object]
impl Letters {
    #[handler]
    async fn record(&self, ctx: &ObjectContext, letter: DeadLetter) -> HandlerResult<()> {
        let count = ctx.get::<u64>("count").await?.unwrap_or_default() + 1;
        ctx.set("count", &count);
        let DeadLetter {
            record,
            value,
            handler,
            error,
            undecodable,
            ..
        } = letter;
        let line = format!(
            "{count} {} {}@{} {:?} {value:?} {handler} {} {} {undecodable}",
            ctx.key(),
            record.topic,
            record.offset,
            record.key,
            error.code(),
            error.message(),
        );
        self.0.tell(&record.offset.to_string(), line);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_no_text() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("keys", 2).await?;
    let records = [
        record("a", "1"),
        record([0xff], "2"),
        record("a", "3"),
        KafkaRecord::new().value("4"),
        record("", "5"),
        record([0xc3, 0x28], "6"),
        record("a", "7"),
    ];
    broker
        .produce_all("keys", records.map(|one| one.partition(1)))
        .await?;
    broker
        .produce_all("keys", [record("b", "8").partition(0)])
        .await?;
    let values = |events: &Events, key: &str| -> Vec<_> {
        let seen = events.0.all().remove(key).unwrap_or_default();
        seen.iter().filter_map(|seen| seen.value).collect()
    };

    // Skipped, unless told otherwise.
    let events = Events::default();
    let endpoint = Endpoint::builder().bind(events.clone()).build()?;
    let folder_of_skip = folder();
    let runtime = start(
        folder_of_skip.path(),
        &endpoint,
        [source(&broker, "keys", "Events/on_event")],
    )
    .await;
    consumed(&runtime, 8).await;
    assert_eq!(values(&events, "a"), [1, 3, 7]);
    assert_eq!(values(&events, ""), [4, 5]);
    assert_eq!(
        (state(&runtime, 1).dropped, state(&runtime, 0).dropped),
        (2, 0)
    );
    runtime.shutdown().await?;
    let runtime = start(
        folder_of_skip.path(),
        &endpoint,
        [source(&broker, "keys", "Events/on_event")],
    )
    .await;
    assert_eq!(state(&runtime, 1).dropped, 2);
    runtime.shutdown().await?;

    // The partition stops, and goes on when it is told to skip.
    let events = Events::default();
    let endpoint = Endpoint::builder().bind(events.clone()).build()?;
    let folder_of_halt = folder();
    let halting =
        || source(&broker, "keys", "Events/on_event").on_unreadable_key(UnreadableKey::Halt);
    for _ in 0..2 {
        let runtime = start(folder_of_halt.path(), &endpoint, [halting()]).await;
        eventually("it halts", || {
            let states = runtime.subscriptions();
            states.len() == 2
                && states.iter().all(|state| state.next_offset == 1)
                && states.iter().any(|state| state.halted.is_some())
                && in_flight(&runtime) == 0
        })
        .await;
        let halted = state(&runtime, 1);
        assert_eq!(halted.next_offset, 1);
        assert_eq!(
            halted.halted.as_deref(),
            Some("the key of the record at offset 1 is not UTF-8")
        );
        assert_eq!(
            (values(&events, "a"), values(&events, "b")),
            (vec![1], vec![8])
        );
        runtime.shutdown().await?;
    }
    let runtime = start(
        folder_of_halt.path(),
        &endpoint,
        [source(&broker, "keys", "Events/on_event")],
    )
    .await;
    consumed(&runtime, 8).await;
    assert_eq!(values(&events, "a"), [1, 3, 7]);
    assert_eq!(state(&runtime, 1).halted, None);
    runtime.shutdown().await?;

    // Or to the dead letters.
    let (events, letters) = (Events::default(), Letters::default());
    let endpoint = Endpoint::builder()
        .bind(events.clone())
        .bind(letters.clone());
    let endpoint = endpoint.build()?;
    let folder = folder();
    let letters_of = Target::object("Letters", "keys", "record");
    let source = source(&broker, "keys", "Events/on_event")
        .on_unreadable_key(UnreadableKey::DeadLetter(letters_of));
    let runtime = start(folder.path(), &endpoint, [source]).await;
    consumed(&runtime, 8).await;
    assert_eq!(
        (values(&events, "a"), state(&runtime, 1).dropped),
        (vec![1, 3, 7], 0)
    );
    let of = |count: u64, offset: i64, key: &str, value: u64, why: &str| {
        let line = format!(
            "{count} keys keys@{offset} Some({key}) b\"{value}\" Events/on_event 400 the key: {why} true"
        );
        (offset.to_string(), line)
    };
    let why = "invalid utf-8 sequence of 1 bytes from index 0";
    let expected = [
        of(1, 1, r#"b"\xff""#, 2, why),
        of(2, 5, r#"b"\xc3(""#, 6, why),
    ];
    assert_eq!(letters.0.all(), expected.into());
    Ok(())
}

/// A workflow whose run is for the first record of its key.
#[derive(Clone, Debug, Default)]
struct Signup(Ledger<u64>);

#[durably::workflow]
impl Signup {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        let before = self.0.all().get(ctx.key()).copied().unwrap_or_default();
        self.0.tell(ctx.key(), before + event.value().unwrap_or(&0));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_records_for_a_workflow_are_dropped_and_counted() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("signups", 1).await?;
    let records = [
        record("ada", "1"),
        record("bob", "10"),
        record("ada", "100"),
        record("cyd", "1000"),
        record("ada", "5"),
    ];
    broker.produce_all("signups", records).await?;
    let signup = Signup::default();
    let endpoint = Endpoint::builder().bind(signup.clone()).build()?;
    let folder = folder();
    let runtime = start(
        folder.path(),
        &endpoint,
        [source(&broker, "signups", "Signup/run")],
    )
    .await;
    consumed(&runtime, 5).await;
    let expected = [("ada", 1), ("bob", 10), ("cyd", 1_000)];
    let expected = expected.map(|(key, value)| (key.to_owned(), value));
    assert_eq!(
        (signup.0.all(), state(&runtime, 0).dropped),
        (expected.into(), 2)
    );
    Ok(())
}

/// Takes even numbers only.
#[derive(Clone, Debug, Default)]
struct Even(Ledger<u64>);

#[durably::object]
impl Even {
    #[handler(kafka(dead_letter = "Letters/even/record"))]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        let value = *event.value().unwrap_or(&0);
        if value % 2 == 1 {
            return Err(TerminalError::new("it is odd").with_code(422).into());
        }
        let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + value;
        ctx.set("sum", &sum);
        self.0.tell(ctx.key(), sum);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_cannot_take_goes_to_its_dead_letters() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("even", 1).await?;
    let records = [
        record("a", "2"),
        record("a", "3"),
        record("a", "no number"),
        record("a", "4"),
    ];
    broker.produce_all("even", records).await?;
    let (even, letters) = (Even::default(), Letters::default());
    let endpoint = Endpoint::builder()
        .bind(even.clone())
        .bind(letters.clone())
        .build()?;
    let folder = folder();
    let runtime = start(
        folder.path(),
        &endpoint,
        [source(&broker, "even", "Even/on_event")],
    )
    .await;
    consumed(&runtime, 4).await;
    eventually("both letters are there", || letters.0.all().len() == 2).await;
    let letters = letters.0.all();
    assert_eq!(
        letters["1"],
        "1 even even@1 Some(b\"a\") b\"3\" Even/a/on_event 422 it is odd false"
    );
    assert!(
        letters["2"].starts_with("2 even even@2 Some(b\"a\") b\"no number\" Even/a/on_event 400 ")
    );
    assert_eq!(even.0.all()["a"], 6);
    Ok(())
}
