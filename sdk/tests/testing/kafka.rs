//! Records: what a handler gets of them, and what becomes of those that it cannot take.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use durably::{
    DeadLetter, HandlerNext, Interceptor, KafkaPolicy, Raw, RecordFailure, Service as _, Target,
    prelude::*,
    testing::{InvocationStatus, MockContext, TestRuntime, object, service},
};

use crate::{endpoint, in_all_modes, secs};

const DAY: u64 = 24 * 60 * 60;

struct Numbers;

#[durably::object]
impl Numbers {
    /// Nobody takes what fails.
    #[handler]
    async fn plain(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        take(ctx, event).await
    }

    #[handler(kafka(dead_letter = "Dead/record"))]
    async fn kept(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        take(ctx, event).await
    }

    #[handler(
        kafka(on_decode_failure = "pause", on_terminal_failure = "pause"),
        retry(max_attempts = 2, initial_interval = "1s")
    )]
    async fn paused(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        take(ctx, event).await
    }

    /// Fails in its own way when it is cancelled.
    #[handler(kafka(on_terminal_failure = "pause"))]
    async fn waits(&self, ctx: &ObjectContext, _event: KafkaEvent<u64>) -> HandlerResult<()> {
        let waited = ctx.signal::<()>("never").await;
        Ok(waited.map_err(|error| TerminalError::new(error).with_code(418))?)
    }

    /// Only what fails in the handler is kept.
    #[handler(kafka(dead_letter = "Dead/record", on_decode_failure = "fail"))]
    async fn rejected(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        take(ctx, event).await
    }
}

/// Adds numbers up, but for 13 and 409.
async fn take(ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
    let number = ctx.run("look", async || {
        Ok::<_, std::io::Error>(event.value().copied())
    });
    let Some(number) = number.await? else {
        ctx.clear("sum");
        return Ok(0);
    };
    if number == 13 {
        return Err(TerminalError::new("13 is bad luck – on purpose")
            .with_code(418)
            .into());
    }
    if number == 409 {
        return Err(TerminalError::new("it is taken").with_code(409).into());
    }
    let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + number;
    ctx.set("sum", &sum);
    Ok(sum)
}

/// Keeps dead letters as text, by the key of their record.
struct Dead;

#[durably::service]
impl Dead {
    #[handler]
    async fn record(&self, ctx: &Context, letter: DeadLetter) -> HandlerResult<()> {
        let record = &letter.record;
        let line = format!(
            "{} {}@{} {:?} {:?} {} {:?} {} {}",
            record.topic,
            record.partition,
            record.offset,
            record.key,
            letter.value,
            letter.handler,
            letter.error.message(),
            letter.error.code(),
            letter.undecodable,
        );
        ctx.object_client::<LogClient>("dead").write(line).await?;
        Ok(())
    }

    /// Gives it back a day later.
    #[handler]
    async fn resend(&self, ctx: &Context, letter: DeadLetter) -> HandlerResult<()> {
        letter.resend(ctx).send_after(Duration::from_secs(DAY));
        Ok(())
    }

    /// A handler of dead letters that fails, and names the next one.
    #[handler(kafka(dead_letter = "Dead/record"))]
    async fn fails(&self, _ctx: &Context, _letter: DeadLetter) -> HandlerResult<()> {
        Err(TerminalError::new("no room for the dead").into())
    }
}

struct Log;

#[durably::object]
impl Log {
    #[handler]
    async fn write(&self, ctx: &ObjectContext, line: String) -> HandlerResult<()> {
        let mut lines = ctx.get::<Vec<String>>("lines").await?.unwrap_or_default();
        lines.push(line);
        ctx.set("lines", &lines);
        Ok(())
    }
}

fn services() -> Endpoint {
    let builder = Endpoint::builder().bind(Numbers).bind(Dead).bind(Log);
    builder.build().unwrap()
}

fn lines(runtime: &mut TestRuntime) -> Vec<String> {
    runtime.state("Log", "dead", "lines").unwrap_or_default()
}

#[test]
fn without_a_policy_the_invocation_fails_and_the_next_record_runs() {
    in_all_modes(services, |runtime| {
        runtime.subscribe("numbers", "Numbers/plain");
        let bad = runtime.produce_raw("numbers", Some(b"ada"), "seven");
        let unlucky = runtime.produce("numbers", "ada", &13);
        let good = runtime.produce("numbers", "ada", &7);
        runtime.run_until_idle();
        assert_eq!(runtime.attach::<u64>(&bad[0]).unwrap_err().code(), 400);
        assert_eq!(runtime.attach::<u64>(&unlucky[0]).unwrap_err().code(), 418);
        assert_eq!(runtime.attach::<u64>(&good[0]).unwrap(), 7);
    });
}

#[test]
fn dead_letters_have_the_record_as_it_was() {
    in_all_modes(services, |runtime| {
        runtime.subscribe("numbers", "Numbers/kept");
        let record = KafkaEvent::builder(Raw::from(&b"\xff\x00"[..])).topic("numbers");
        let bad = runtime.produce_event(record.clone().key("ada").partition(3));
        runtime.produce_event(record.partition(3));
        runtime.produce("numbers", "ada", &13);
        let good = runtime.produce("numbers", "ada", &7);
        runtime.run_until_idle();

        assert!(
            runtime.attach::<Raw>(&bad[0]).unwrap().is_empty(),
            "it ends well"
        );
        assert_eq!(runtime.attach::<u64>(&good[0]).unwrap(), 7);
        let mut lines = lines(runtime);
        lines.sort();
        let decode = "the input cannot be decoded: expected value at line 1 column 1";
        assert_eq!(
            lines,
            [
                "numbers 0@0 Some(b\"ada\") b\"13\" Numbers/ada/kept \"13 is bad luck – on purpose\" 418 false",
                &format!(
                    "numbers 3@0 Some(b\"ada\") b\"\\xff\\0\" Numbers/ada/kept {decode:?} 400 true"
                ),
                &format!("numbers 3@1 None b\"\\xff\\0\" Numbers//kept {decode:?} 400 true"),
            ]
        );
    });
}

#[test]
fn each_failure_can_lead_elsewhere() {
    in_all_modes(services, |runtime| {
        runtime.subscribe("numbers", "Numbers/rejected");
        let bad = runtime.produce_raw("numbers", Some(b"ada"), "seven");
        runtime.produce("numbers", "ada", &13);
        runtime.run_until_idle();
        assert_eq!(runtime.attach::<u64>(&bad[0]).unwrap_err().code(), 400);
        assert_eq!(lines(runtime).len(), 1);
    });
}

#[test]
fn a_paused_record_holds_its_key_up_until_somebody_cancels_it() {
    in_all_modes(services, |runtime| {
        runtime.subscribe("numbers", "Numbers/paused");
        for bad in ["seven", "13"] {
            let bad = runtime.produce_raw("numbers", Some(b"ada"), bad);
            let next = runtime.produce("numbers", "ada", &7);
            runtime.produce("numbers", "grace", &7);
            runtime.run_until_idle();
            assert_eq!(runtime.status(&bad[0]), InvocationStatus::Paused);
            let story = runtime.journal(&bad[0]).to_string();
            assert!(
                story.contains("of numbers, partition 0, waits for a repair"),
                "{story}"
            );
            assert_eq!(runtime.output::<u64>(&next[0]).unwrap(), None);

            // Resumed with the same handler it is no better off.
            runtime.resume(&bad[0]).unwrap();
            runtime.run_until_idle();
            assert_eq!(runtime.status(&bad[0]), InvocationStatus::Paused);

            runtime.cancel(&bad[0]).unwrap();
            runtime.run_until_idle();
            assert_eq!(runtime.attach::<u64>(&bad[0]).unwrap_err().code(), 409);
            assert!(runtime.attach::<u64>(&next[0]).is_ok());
        }
        assert_eq!(runtime.state::<u64>("Numbers", "ada", "sum"), Some(14));
        assert_eq!(runtime.state::<u64>("Numbers", "grace", "sum"), Some(14));
    });
}

/// A callee may answer 409, too, or the handler itself.
#[test]
fn a_conflict_is_no_cancellation() {
    in_all_modes(services, |runtime| {
        runtime.subscribe("numbers", "Numbers/paused");
        let taken = runtime.produce("numbers", "ada", &409);
        runtime.run_until_idle();
        assert_eq!(runtime.status(&taken[0]), InvocationStatus::Paused);
        runtime.cancel(&taken[0]).unwrap();
        runtime.run_until_idle();
        assert_eq!(runtime.attach::<u64>(&taken[0]).unwrap_err().code(), 409);
    });
}

#[test]
fn a_cancelled_record_does_not_pause_whatever_its_handler_fails_with() {
    in_all_modes(services, |runtime| {
        runtime.subscribe("numbers", "Numbers/waits");
        let waits = runtime.produce("numbers", "ada", &7);
        runtime.run_until_idle();
        runtime.cancel(&waits[0]).unwrap();
        runtime.run_until_idle();
        assert_eq!(runtime.attach::<()>(&waits[0]).unwrap_err().code(), 418);
    });
}

/// Refuses whatever comes.
struct Refuses;

impl Interceptor for Refuses {
    async fn handle(&self, _ctx: &Context, _next: HandlerNext) -> HandlerResult<Bytes> {
        Err(TerminalError::new("not for you").with_code(403).into())
    }
}

#[test]
fn what_an_interceptor_refuses_is_handed_on_as_well() {
    let endpoint = || {
        let numbers = Numbers.definition().intercept(Refuses);
        let builder = Endpoint::builder().bind(numbers).bind(Dead).bind(Log);
        builder.build().unwrap()
    };
    in_all_modes(endpoint, |runtime| {
        runtime.subscribe("numbers", "Numbers/kept");
        let refused = runtime.produce("numbers", "ada", &7);
        runtime.run_until_idle();
        assert!(runtime.attach::<Raw>(&refused[0]).unwrap().is_empty());
        let lines = lines(runtime);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("\"not for you\" 403 false"), "{lines:?}");
        // A call gets the error.
        let call = object::<NumbersClient>("ada").kept(7);
        assert_eq!(runtime.call(call).unwrap_err().code(), 403);
    });
}

/// What is logged on this thread while `play` runs.
fn logged(play: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    // With a single dispatcher, tracing would ask that of whichever thread comes by first whether an
    // event interests anybody: a test without a subscriber beside this one would silence it.
    static LASTING: OnceLock<[tracing::Dispatch; 2]> = OnceLock::new();
    LASTING.get_or_init(|| {
        [(); 2].map(|()| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new()))
    });
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, play);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// A decoder may quote what it cannot read.
#[test]
fn no_byte_of_a_record_is_logged() {
    let log = logged(|| {
        in_all_modes(services, |runtime| {
            runtime.subscribe("kept", "Numbers/kept");
            runtime.subscribe("paused", "Numbers/paused");
            for topic in ["kept", "paused"] {
                runtime.produce_raw(topic, Some(b"ada"), "\"4111 1111\"");
            }
            runtime.run_until_idle();
            // Who looks for it finds it.
            let lines = lines(runtime);
            assert!(lines[0].contains("invalid type: string"), "{lines:?}");
        });
    });
    assert!(log.contains("is handed to Dead/record"), "{log}");
    assert!(log.contains("waits for a repair"), "{log}");
    assert!(!log.contains("4111 1111"), "{log}");
}

#[test]
fn a_call_gets_the_error() {
    in_all_modes(services, |runtime| {
        let unlucky = object::<NumbersClient>("ada").kept(13);
        assert_eq!(runtime.call(unlucky).unwrap_err().code(), 418);
        let unlucky = object::<NumbersClient>("ada").paused(13);
        assert_eq!(runtime.call(unlucky).unwrap_err().code(), 418);
        let letter = service::<DeadClient>().record(Raw::from("x"));
        let error = runtime.call(letter).unwrap_err();
        assert_eq!(error.code(), 400);
        assert!(error.message().contains("no dead letter"), "{error}");
        assert!(lines(runtime).is_empty());
    });
}

/// Fails until it is repaired.
struct Fragile {
    repaired: Arc<AtomicBool>,
}

#[durably::object]
impl Fragile {
    #[handler(kafka(dead_letter = "Dead/resend"))]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        if !self.repaired.load(Ordering::SeqCst) {
            return Err(TerminalError::new("out of order").into());
        }
        ctx.set("seen", &(event.value(), event.offset(), event.key_str()));
        Ok(())
    }
}

#[test]
fn a_dead_letter_can_be_given_back_and_is_the_same_record() {
    let repaired = Arc::new(AtomicBool::new(false));
    let fragile = Fragile {
        repaired: Arc::clone(&repaired),
    };
    let builder = Endpoint::builder().bind(fragile).bind(Dead).bind(Log);
    let mut runtime = TestRuntime::new(builder.build().unwrap());
    runtime.subscribe("numbers", "Fragile/on_event");
    runtime.produce("numbers", "ada", &7);
    runtime.advance(secs(DAY + DAY / 2));
    assert_eq!(
        runtime.invocations().len(),
        5,
        "given back once, to fail again"
    );
    assert!(runtime.state_keys("Fragile", "ada").is_empty());
    repaired.store(true, Ordering::SeqCst);
    runtime.run_until_idle();
    let seen: Option<(u64, i64, String)> = runtime.state("Fragile", "ada", "seen");
    assert_eq!(seen, Some((7, 0, "ada".to_owned())));
}

#[test]
fn a_dead_letter_of_a_dead_letter_fails() {
    let policy = KafkaPolicy::new()
        .on_terminal_failure(RecordFailure::DeadLetter(Target::service("Dead", "fails")));
    let numbers = Numbers.definition();
    let plain = numbers
        .handlers()
        .iter()
        .find(|handler| handler.name() == "plain");
    let plain = plain.unwrap().clone().kafka(policy);
    let numbers = durably::ServiceDefinition::new(durably::ServiceKind::Object, "Numbers");
    let builder = Endpoint::builder().bind(numbers.handler(plain)).bind(Dead);
    let mut runtime = TestRuntime::new(builder.bind(Log).build().unwrap());
    runtime.subscribe("numbers", "Numbers/plain");
    runtime.produce("numbers", "ada", &13);
    runtime.run_until_idle();
    let all = runtime.invocations();
    let failed = all
        .iter()
        .find(|invocation| invocation.target == "Dead/fails");
    let error = runtime.attach::<()>(&failed.unwrap().id).unwrap_err();
    assert_eq!(error.message(), "no room for the dead");
    assert!(lines(&mut runtime).is_empty());
}

/// A handler of dead letters alone: what it is given is made by the builder of records.
#[tokio::test]
async fn dead_letters_can_be_made_for_mocks() {
    let error = TerminalError::new("no number").with_code(400);
    let letter = KafkaEvent::builder(Raw::from("seven"))
        .topic("numbers")
        .key("ada")
        .offset(7);
    let letter = letter.dead_letter(Target::object("Numbers", "ada", "kept"), error);
    let mock = MockContext::service();
    mock.call(async |ctx| Dead.resend(ctx, letter).await)
        .await
        .unwrap();
    let sent = mock.all_sends();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].target.to_string(), "Numbers/ada/kept");
    assert_eq!(sent[0].input, Raw::from("seven"));
}

// ---- what a handler sees ---------------------------------------------------------------------

struct Keys;

#[durably::service]
impl Keys {
    #[handler]
    async fn see(&self, _ctx: &Context, event: KafkaEvent<Raw>) -> HandlerResult<String> {
        let record = event.record().unwrap();
        let names: Vec<_> = event.headers().iter().map(|(name, _)| name).collect();
        Ok(format!(
            "{:?} {}@{} {:?} {}",
            event.key(),
            record.partition,
            record.offset,
            event.value().map(|value| value.len()),
            names.join(" "),
        ))
    }
}

#[test]
fn a_service_sees_every_key() {
    let mut runtime = TestRuntime::new(endpoint(Keys));
    runtime.subscribe("keys", "Keys/see");
    let record = || KafkaEvent::builder(Raw::from("xy")).topic("keys");
    let tombstone = KafkaEvent::<Raw>::tombstone().topic("keys");
    let produced = [
        record().key([0xff, 0x00]),
        record(),
        record().key("").partition(1),
        tombstone.key("gone"),
    ];
    let seen = produced.map(|record| {
        let ids = runtime.produce_event(record);
        runtime.attach::<String>(&ids[0]).unwrap()
    });
    let names = "kafka.offset kafka.topic kafka.partition kafka.timestamp restate.subscription.id";
    assert_eq!(
        seen,
        [
            format!("Some(b\"\\xff\\0\") 0@0 Some(2) {names} kafka.key"),
            format!("None 0@1 Some(2) {names}"),
            format!("Some(b\"\") 1@0 Some(2) {names} kafka.key"),
            format!("Some(b\"gone\") 0@2 None {names} kafka.key"),
        ]
    );
}

struct Once;

#[durably::workflow]
impl Once {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, event: KafkaEvent<u64>) -> HandlerResult<u64> {
        ctx.set("value", event.value().unwrap_or(&0));
        Ok(event.into_value().unwrap_or_default())
    }
}

#[test]
fn the_second_record_for_a_workflow_is_dropped() {
    let mut runtime = TestRuntime::new(endpoint(Once));
    runtime.subscribe("once", "Once/run");
    let first = runtime.produce("once", "ada", &1);
    let second = runtime.produce("once", "ada", &2);
    runtime.run_until_idle();
    assert_eq!((first.len(), second.len()), (1, 0));
    assert_eq!(runtime.attach::<u64>(&first[0]).unwrap(), 1);
}

#[test]
#[should_panic(expected = "the key of a record for `Once/run` must be UTF-8")]
fn a_key_that_stops_a_partition_fails_the_test() {
    let mut runtime = TestRuntime::new(endpoint(Once));
    runtime.subscribe("once", "Once/run");
    runtime.produce_raw("once", Some(&[0xff]), "1");
}
