//! Records made by hand, replayed against code that is the same, and against code that is not.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    prelude::*,
    protocol::{
        MessageType,
        message::{InputCommand, NotificationId, NotificationResult, Value, Void},
    },
    testing::recorded::ReplayFailureKind as Kind,
    wire::{Ids, Output, StateWrite},
};

const ID: &str = "inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT";

fn value(text: &str) -> Option<Value> {
    let content = Bytes::copy_from_slice(text.as_bytes());
    Some(Value { content })
}

fn input(text: &str) -> Msg {
    let message = InputCommand {
        headers: Vec::new(),
        value: value(text),
    };
    Msg::new(MessageType::INPUT, &message)
}

fn run(id: u32, name: &str) -> Msg {
    let message = Ids {
        result: id,
        name: name.to_owned(),
        ..Ids::default()
    };
    Msg::new(MessageType::RUN, &message)
}

fn ran(id: u32, text: &str) -> Msg {
    Msg::notification(
        MessageType::RUN_COMPLETION,
        NotificationId::Completion(id),
        NotificationResult::Value(value(text).unwrap()),
    )
}

fn set(key: &str, text: &str) -> Msg {
    let message = StateWrite {
        key: key.to_owned(),
        value: value(text),
        ..StateWrite::default()
    };
    Msg::new(MessageType::SET_STATE, &message)
}

fn output(text: &str) -> Msg {
    let message = Output {
        value: value(text),
        ..Output::default()
    };
    Msg::new(MessageType::OUTPUT, &message)
}

fn signal(name: &str) -> Msg {
    Msg::notification(
        MessageType::SIGNAL,
        NotificationId::NamedSignal(name.to_owned()),
        NotificationResult::Void(Void {}),
    )
}

fn record(handler: &str, entries: impl IntoIterator<Item = Msg>) -> RecordedJournal {
    RecordedJournal {
        server: None,
        id: ID.to_owned(),
        raw_id: id::raw_id(ID).unwrap(),
        service: "Cook".to_owned(),
        key: Some("ada".to_owned()),
        handler: handler.to_owned(),
        version: ProtocolVersion::V6,
        seed: 7,
        idempotency_key: None,
        scope: None,
        limit_key: None,
        status: "running".to_owned(),
        awaits: None,
        state: None,
        entries: entries.into_iter().collect(),
    }
}

/// The cooked meal, recorded up to its second step.
fn half() -> RecordedJournal {
    let entries = [
        input("3"),
        run(1, "boil"),
        ran(1, "30"),
        set("eggs", "30"),
        run(2, "peel"),
    ];
    record("eggs", entries)
}

fn whole() -> RecordedJournal {
    let mut record = half();
    record.status = "completed".to_owned();
    record.entries.extend([ran(2, "31"), output("61")]);
    record
}

/// Closures of runs that were started.
static STARTED: AtomicU32 = AtomicU32::new(0);

struct Cook;

#[crate::object(crate = "crate")]
impl Cook {
    #[handler]
    async fn eggs(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let boiled = step(ctx, "boil", n * 10).await?;
        ctx.set("eggs", &boiled);
        Ok(boiled + step(ctx, "peel", n).await?)
    }

    /// Waits for a signal, and asks the state then.
    #[handler]
    async fn soup(&self, ctx: &ObjectContext) -> HandlerResult<Option<u64>> {
        ctx.signal::<()>("hungry").await?;
        let eggs = ctx.get::<u64>("eggs").await?;
        ctx.clear("eggs");
        Ok(eggs)
    }

    /// Draws lots.
    #[handler]
    async fn lots(&self, ctx: &ObjectContext) -> HandlerResult<u64> {
        Ok(ctx.random().u64())
    }

    /// Waits for nothing but its end.
    #[handler]
    async fn guards(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(ctx.cancellation().await?)
    }

    #[handler]
    async fn panics(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        panic!("the oven is off")
    }

    #[handler]
    async fn naps(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        std::future::pending().await
    }

    #[handler]
    async fn spins(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        loop {
            tokio::task::yield_now().await;
        }
    }
}

async fn step(ctx: &Context, name: &str, value: u64) -> Result<u64, TerminalError> {
    let work = async || {
        STARTED.fetch_add(1, Ordering::SeqCst);
        Ok::<_, io::Error>(value)
    };
    ctx.run(name, work).await
}

fn cook() -> Endpoint {
    Endpoint::builder().bind(Cook).build().unwrap()
}

#[track_caller]
fn fails(record: &RecordedJournal, kind: Kind, says: &[&str]) -> String {
    let failure = record.replay(&cook()).unwrap_err();
    let text = failure.to_string();
    assert_eq!(failure.kind(), kind, "{text}");
    for part in says {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    text
}

#[test]
fn an_invocation_in_flight_comes_to_where_it_stood() {
    for version in ProtocolVersion::ALL {
        let mut record = half();
        record.version = version;
        let replayed = match record.replay(&cook()) {
            Err(failure) if version == ProtocolVersion::V8 => {
                assert_eq!(failure.kind(), Kind::Refused, "{failure}");
                continue;
            }
            other => other.unwrap(),
        };
        assert_eq!(replayed.awaits(), "run `peel`");
        assert_eq!(replayed.new_commands(), [""; 0]);
        assert!(!replayed.ended() && replayed.output().is_none());
    }
    assert_eq!(STARTED.load(Ordering::SeqCst), 0);
}

#[test]
fn what_the_code_does_behind_the_record_is_told_and_not_done() {
    let entries = [input("3"), run(1, "boil"), ran(1, "30")];
    let replayed = record("eggs", entries).replay(&cook()).unwrap();
    assert_eq!(
        replayed.new_commands(),
        ["set state `eggs` = 30", "run `peel`"]
    );
    assert_eq!(replayed.awaits(), "run `peel`");

    let mut record = half();
    record.entries.push(ran(2, "31"));
    let replayed = record.replay(&cook()).unwrap();
    assert_eq!(replayed.new_commands(), ["output 61"]);
    assert_eq!(replayed.awaits(), "");
    assert_eq!(replayed.output().unwrap().unwrap(), "61");
    assert_eq!(STARTED.load(Ordering::SeqCst), 0);
}

#[test]
fn an_invocation_that_has_ended_ends_the_same() {
    let replayed = whole().replay(&cook()).unwrap();
    assert!(replayed.ended() && replayed.new_commands().is_empty());
    assert_eq!(replayed.output().unwrap().unwrap(), "61");

    let mut other = whole();
    other.entries.pop();
    other.entries.push(output("62"));
    fails(
        &other,
        Kind::Output,
        &[
            "ended with 62, this code ends with 61",
            "✗     6 → output 62",
        ],
    );
    // The same in other bytes is the same.
    let mut spaced = whole();
    spaced.entries.pop();
    spaced.entries.push(output(" 61 "));
    assert!(spaced.replay(&cook()).unwrap().ended());
}

#[test]
fn other_commands_are_a_mismatch_and_the_listing_shows_where() {
    let mut renamed = half();
    renamed.entries[4] = run(2, "shell");
    let text = fails(&renamed, Kind::Mismatch, &["570", "`shell`", "`peel`"]);
    assert!(text.contains("✗     4 → run `shell`"), "{text}");
    assert!(text.contains("      2 ← run `boil`: 30"), "{text}");

    // A step that the code does not have.
    let mut more = whole();
    more.entries.insert(5, run(3, "salt"));
    more.entries.insert(6, ran(3, "1"));
    fails(&more, Kind::Mismatch, &["570", "✗     5 → run `salt`"]);

    // Code that has a step more than a journal that ended.
    let mut fewer = whole();
    fewer.entries.drain(4..6);
    fails(&fewer, Kind::Mismatch, &["570", "✗     4 → output 61"]);
}

#[test]
fn results_of_another_type_fail() {
    let mut record = half();
    record.entries[2] = ran(1, "[]");
    fails(&record, Kind::AttemptFailed, &["run `boil`"]);
    // The input is one too: the handler's answer to it is no command of the record.
    let mut record = half();
    record.entries[0] = input("\"three\"");
    fails(&record, Kind::Mismatch, &["570", "✗     1 → run `boil`"]);
}

#[test]
fn what_the_invocation_waits_for_must_be_waited_for() {
    let awaits = |name: &str| Awaited {
        completions: Vec::new(),
        signals: vec![1],
        named: vec![name.to_owned()],
    };
    let mut record = record("soup", [input("")]);
    record.awaits = Some(awaits("hungry"));
    assert_eq!(record.replay(&cook()).unwrap().awaits(), "signal `hungry`");
    record.awaits = Some(awaits("thirsty"));
    let says =
        "waits for signal `thirsty`, but with the same journal this code waits for signal `hungry`";
    fails(&record, Kind::NotAwaited, &[says]);

    record.entries.push(signal("hungry"));
    record.state = Some(vec![("eggs".to_owned(), Bytes::from_static(b"4"))]);
    fails(&record, Kind::NotAwaited, &["this code ends"]);
    record.awaits = None;
    let replayed = record.replay(&cook()).unwrap();
    assert_eq!(replayed.output().unwrap().unwrap(), "4");
    assert_eq!(
        replayed.new_commands(),
        ["get state `eggs`: 4", "clear state `eggs`", "output 4"]
    );
}

#[test]
fn a_wait_for_the_cancellation_alone_is_told() {
    let mut record = record("guards", [input("")]);
    let replayed = record.replay(&cook()).unwrap();
    assert_eq!(replayed.awaits(), "its cancellation");
    assert!(!replayed.ended());
    record.awaits = Some(Awaited {
        named: vec!["hungry".to_owned()],
        ..Awaited::default()
    });
    let says =
        "waits for signal `hungry`, but with the same journal this code waits for its cancellation";
    fails(&record, Kind::NotAwaited, &[says]);
}

#[test]
fn random_numbers_are_those_of_the_record() {
    let mut record = record("lots", [input("")]);
    let draw = |record: &RecordedJournal| {
        let replayed = record.replay(&cook()).unwrap();
        replayed.output().unwrap().unwrap()
    };
    let first = draw(&record);
    assert_eq!(draw(&record), first);
    record.seed = 8;
    assert_ne!(draw(&record), first);
}

#[test]
fn handlers_that_are_gone_or_misbehave_fail_clearly() {
    fails(&record("bake", [input("")]), Kind::HandlerGone, &["bake"]);
    let mut elsewhere = half();
    elsewhere.service = "Waiter".to_owned();
    fails(&elsewhere, Kind::HandlerGone, &["Waiter"]);
    fails(
        &record("panics", [input("")]),
        Kind::AttemptFailed,
        &["the oven is off"],
    );
    fails(
        &record("naps", [input("")]),
        Kind::Foreign,
        &["not durable, after command 0"],
    );
    fails(
        &record("spins", [input("")]),
        Kind::Foreign,
        &["not durable"],
    );
    let twice = [input("3"), run(1, "boil"), ran(1, "30"), ran(1, "30")];
    fails(&record("eggs", twice), Kind::Unusable, &["571"]);
}

#[test]
fn files_hold_everything_and_read_well() {
    let mut record = whole();
    record.server = Some("1.7.12".to_owned());
    record.idempotency_key = Some("once".to_owned());
    record.seed = u64::MAX;
    record.state = Some(vec![("eggs".to_owned(), Bytes::from_static(b"\xff\0"))]);
    record.awaits = Some(Awaited {
        completions: vec![2],
        signals: vec![1, 17],
        named: vec!["hungry".to_owned()],
    });
    let text = record.to_json();
    assert_eq!(text.parse::<RecordedJournal>().unwrap(), record, "{text}");
    assert_eq!(text.parse::<RecordedJournal>().unwrap().to_json(), text);
    let line = r#"    {"entry":"Command: Run","raw":"WAFiBGJvaWw=","text":"→ run `boil`"},"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(
        text.contains("\n    \"random_seed\": \"18446744073709551615\",\n"),
        "{text}"
    );
    assert!(!format!("{record:?}").contains("once"));
    assert!(
        record
            .to_string()
            .starts_with(&format!("{ID} of Cook/ada/eggs (completed"))
    );

    record.state = Some(Vec::new());
    record.awaits = None;
    assert_eq!(record.to_json().parse::<RecordedJournal>().unwrap(), record);
}

#[test]
fn files_that_are_wrong_say_what_is_wrong() {
    let text = half().to_json();
    for (from, to, says) in [
        ("\"format\": 1", "\"format\": 2", "format 2"),
        (
            "\"protocol_version\": 6",
            "\"protocol_version\": 4",
            "version 4",
        ),
        ("inv_1", "inv_2", "no invocation id"),
        ("\"7\"", "\"seven\"", "random_seed"),
        ("Command: Run", "Command: Walk", "Command: Walk"),
        ("WAFiBGJvaWw=", "WAFiBGJvaWw", "entry 1"),
        ("Command: Input", "Command: Output", "begins with"),
        ("\"handler\"", "\"hand\"", "handler"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        let error = wrong.parse::<RecordedJournal>().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn folders_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let empty = RecordedJournal::read_all(folder.path()).unwrap_err();
    assert!(matches!(empty, RecordedJournalError::Io { .. }), "{empty}");
    fs::write(folder.path().join("b.json"), whole().to_json()).unwrap();
    fs::write(folder.path().join("a.json"), half().to_json()).unwrap();
    fs::write(folder.path().join("README.md"), "not one").unwrap();
    let journals = RecordedJournal::read_all(folder.path()).unwrap();
    assert_eq!(journals, [half(), whole()]);

    fs::write(folder.path().join("c.json"), "{}").unwrap();
    let error = RecordedJournal::read_all(folder.path()).unwrap_err();
    assert!(error.to_string().contains("c.json"), "{error}");
    let error = RecordedJournal::read(folder.path().join("d.json")).unwrap_err();
    assert!(error.to_string().contains("d.json"), "{error}");
}
