//! What an attempt tells the log.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;

use super::{
    driver::{Cut, Driver, Handler},
    log::logged,
    scenario::V7,
    transcript::show,
    wire::{self, Msg, bytes, run, sleep, value, void},
};
use crate::{HandlerError, RetryableError, TerminalError, protocol::MessageType};

/// An attempt over a recorded journal, until it rests with the request closed.
fn play(handler: &Handler, retries: u32, journal: &[Msg]) -> Driver {
    let mut driver = Driver::new(V7, Cut::Whole, handler);
    let mut start = wire::start(1 + journal.len());
    start.retry_count_since_last_stored_entry = retries;
    driver.feed(&[Msg::new(MessageType::START, &start), wire::input("s3cret")]);
    driver.feed(journal);
    driver.settle();
    driver.close();
    driver.settle();
    driver
}

const SPAN: &str = "attempt{invocation.id=\"inv_test\" invocation.target=\"Tests/key/run\"";

fn steps() -> Handler {
    Arc::new(|ctx, _| {
        async move {
            tracing::info!("begin");
            ctx.run("r", async || Ok::<_, TerminalError>(1)).await?;
            tracing::info!("after the run");
            ctx.sleep(Duration::from_secs(1)).await?;
            tracing::info!("after the sleep");
            Ok(String::new())
        }
        .boxed()
    })
}

#[test]
fn a_handler_runs_in_a_span_that_tells_replay_from_work() {
    let first = logged(tracing::Level::INFO, || drop(play(&steps(), 0, &[])));
    let new = format!("INFO {SPAN} attempt=1 replaying=false}}");
    assert_eq!(first, [format!("{new}: begin")]);

    let journal = [run(1, "r"), bytes(1, "1"), sleep(2), void(2)];
    let second = logged(tracing::Level::INFO, || drop(play(&steps(), 2, &journal)));
    let old = format!("INFO {SPAN} attempt=3 replaying=true");
    // The text format keeps both values of a field that is recorded again.
    let live = format!("{old} replaying=false}}");
    assert_eq!(
        second,
        [
            format!("{old}}}: begin"),
            format!("{old}}}: after the run"),
            format!("{live}: after the sleep"),
        ]
    );
}

#[test]
fn a_suspension_is_no_warning() {
    let handler: Handler = Arc::new(|ctx, _| {
        async move {
            ctx.sleep(Duration::from_secs(1)).await?;
            Ok(String::new())
        }
        .boxed()
    });
    let lines = logged(tracing::Level::DEBUG, || drop(play(&handler, 0, &[])));
    let [line] = &*lines else {
        panic!("{lines:#?}");
    };
    assert!(line.starts_with("DEBUG attempt{"), "{line}");
    assert!(line.contains("the attempt suspended"), "{line}");
    assert!(line.contains("awaited=\"completion 1\""), "{line}");
    assert_eq!(
        logged(tracing::Level::INFO, || drop(play(&handler, 0, &[]))),
        [""; 0]
    );
}

#[test]
fn a_failure_says_which_invocation_which_command_and_what_comes_next() {
    type Fails = fn() -> HandlerError;
    let table: [(Fails, &str); 4] = [
        (
            || RetryableError::new("no").into(),
            "next=the runtime tries again as the invocation's retry policy says",
        ),
        (
            || {
                RetryableError::new("no")
                    .after(Duration::from_millis(250))
                    .into()
            },
            "next=the runtime tries again in 250ms",
        ),
        (
            || RetryableError::new("no").pause().into(),
            "next=the runtime pauses the invocation until somebody resumes it",
        ),
        (
            || RetryableError::new("no").fail().into(),
            "next=the runtime ends the invocation with this failure",
        ),
    ];
    for (fail, next) in table {
        let handler: Handler = Arc::new(move |ctx, _| {
            async move {
                ctx.set("k", "v");
                Err(fail())
            }
            .boxed()
        });
        // Also where a filter drops the span.
        for (level, span) in [
            (tracing::Level::WARN, ""),
            (tracing::Level::INFO, "attempt{"),
        ] {
            let lines = logged(level, || drop(play(&handler, 0, &[])));
            let [line] = &*lines else {
                panic!("{lines:#?}");
            };
            assert!(line.starts_with(&format!("WARN {span}")), "{line}");
            for part in [
                "the attempt failed invocation.id=\"inv_test\" invocation.target=\"Tests/key/run\"",
                "command=command 1 (SetState)",
                "error=[500] no",
                next,
            ] {
                assert!(line.contains(part), "no `{part}` in: {line}");
            }
        }
    }
}

#[test]
fn a_key_can_break_no_line() {
    let handler: Handler = Arc::new(|_, _| async { Err(TerminalError::new("no").into()) }.boxed());
    let lines = logged(tracing::Level::DEBUG, || {
        let mut driver = Driver::new(V7, Cut::Whole, &handler);
        let mut start = wire::start(1);
        start.key = format!("a\n\"b\u{1b}{}", "c".repeat(500));
        driver.feed(&[Msg::new(MessageType::START, &start), wire::input("")]);
        driver.settle();
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let key = format!("\"Tests/a\\n\\\"b\\u{{1b}}{}…/run\"", "c".repeat(123));
    assert!(lines[0].contains(&key), "{lines:#?}");
}

/// Whatever goes wrong with them, payloads stand in no log; the runtime, which has them, gets to know.
#[test]
fn no_payload_is_logged() {
    let handler: Handler = Arc::new(|ctx, _| {
        async move {
            ctx.set("k", "s3cret");
            ctx.run("r", async || Ok::<_, TerminalError>(7)).await?;
            let timer = ctx.sleep(Duration::from_secs(1));
            timer.await?;
            Ok("s3cret".into())
        }
        .boxed()
    });
    let (set, other) = (wire::set("k", "\"s3cret\""), wire::set("k", "\"s3cret!\""));
    let table = [
        (vec![], "Suspension"),
        (
            vec![set.clone(), run(1, "r"), bytes(1, "7"), sleep(2), void(2)],
            "s3cret",
        ),
        (vec![other], "they differ in `value.content`"),
        (
            vec![set.clone(), run(1, "r"), value(1, "s3cret")],
            "invalid type: string \"s3cret\"",
        ),
        (
            vec![
                set,
                run(1, "r"),
                bytes(1, "7"),
                sleep(2),
                value(2, "s3cret"),
            ],
            "the runtime sent a value",
        ),
    ];
    for (journal, told) in table {
        let mut out = String::new();
        let lines = logged(tracing::Level::TRACE, || {
            let driver = play(&handler, 0, &journal);
            let shown = driver.out.iter().map(|out| show(V7, out));
            out = shown.collect::<Vec<_>>().join("\n");
        });
        assert!(out.contains(told), "{out}");
        assert!(!lines.is_empty());
        assert!(!lines.concat().contains("s3cret"), "{lines:#?}");
    }
}
