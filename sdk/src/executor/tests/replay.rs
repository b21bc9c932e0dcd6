//! Replay: what matches, and what the reports of mismatches say.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;

use super::{
    driver::{Cut, Driver, Outside},
    scenario::{Outcome, V7, scenario},
    wire::{self, Msg, bytes, call, content, keys, run, set, sleep, value, void},
};
use crate::{
    TerminalError,
    protocol::{
        MessageType,
        message::{StateKeys, Void},
    },
};

const SECOND: Duration = Duration::from_secs(1);

const CAUSES: &str = "
Likely causes:
 - the handler's code was changed while this invocation was in flight: register the new code as a new deployment, so that old invocations finish on the old one;
 - the handler's path depends on something that is not in the journal: a clock, a random number, an environment variable, the order of a HashMap. Put it into `ctx.run`, or use what the context offers (`ctx.now`, `ctx.random`);
 - the handler awaits something that is not durable (a timer of the async runtime, a socket, a lock, a spawned task) outside of `ctx.run`;
 - one result wakes several branches of a combinator that does not keep their order: use `durably::{join, try_join, select}!`.";

#[test]
fn a_recorded_handler_is_replayed_without_a_word() {
    scenario(|ctx, _| {
        async move {
            ctx.set("k", &1);
            ctx.sleep(SECOND).await?;
            let ran: String = ctx
                .run("r", async || Err(TerminalError::new("not called")))
                .await?;
            Ok(ran)
        }
        .boxed()
    })
    .replay([
        set("k", "1"),
        sleep(1),
        void(1),
        run(2, "r"),
        value(2, "ran"),
    ])
    .expect(["Output ran", "End"])
    .run();
}

#[test]
fn notifications_may_stand_before_their_commands() {
    scenario(|ctx, _| {
        async move {
            ctx.sleep(SECOND).await?;
            ctx.sleep(SECOND).await?;
            Ok("done".into())
        }
        .boxed()
    })
    .replay([void(2), void(1), sleep(1), sleep(2)])
    .expect(["Output done", "End"])
    .run();
}

#[test]
fn a_recorded_output_stands_and_the_end_is_repeated() {
    let output = |text: &'static str| {
        let message = wire::Output {
            value: content(text),
            ..wire::Output::default()
        };
        Msg::new(MessageType::OUTPUT, &message)
    };
    for recorded in ["done", "otherwise"] {
        scenario(|_, _| async { Ok("done".into()) }.boxed())
            .replay([output(recorded)])
            .expect(["End"])
            .run();
    }
}

#[test]
fn the_report_of_another_type() {
    scenario(|ctx, _| {
        async move {
            ctx.sleep_named("nap", SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .replay([call(1)])
    .expect([format!(
        "Error 570 @1 Sleep `nap`: the code does not match the journal at command 1: they differ in the type of the command.
  the journal holds: Call (service `S`, handler `h`)
  the code issued:   Sleep (name `nap`){CAUSES}"
    )])
    .run();
}

#[test]
fn the_report_of_another_field() {
    scenario(|ctx, _| {
        async move {
            ctx.sleep(SECOND).await?;
            ctx.set("seen", "secret");
            Ok(String::new())
        }
        .boxed()
    })
    .replay([sleep(1), void(1), set("count", "\"hidden\"")])
    .expect([format!(
        "Error 570 @2 SetState: the code does not match the journal at command 2: they differ in `key`.
  the journal holds: SetState (key `count`)
  the code issued:   SetState (key `seen`)
  `key` in the journal: `count`
  `key` in the code:    `seen`{CAUSES}"
    )])
    .run();
}

#[test]
fn the_report_of_a_payload_shows_none_of_its_bytes() {
    scenario(|ctx, _| {
        async move {
            ctx.set("k", "secret");
            Ok(String::new())
        }
        .boxed()
    })
    .replay([set("k", "\"secrets\"")])
    .expect([format!(
        "Error 570 @1 SetState: the code does not match the journal at command 1: they differ in `value.content`.
  the journal holds: SetState (key `k`)
  the code issued:   SetState (key `k`)
  `value.content` in the journal: 9 bytes that differ from byte 7 on
  `value.content` in the code:    8 bytes{CAUSES}"
    )])
    .run();
}

/// Headers carry tokens, and reports end in logs.
#[test]
fn the_report_of_a_header_does_not_show_its_value() {
    let recorded = wire::Call {
        service: "S".into(),
        handler: "h".into(),
        parameter: "1".into(),
        headers: vec![wire::header("authorization", "hidden")],
        invocation: 1,
        result: 2,
        ..wire::Call::default()
    };
    scenario(|ctx, _| {
        async move {
            let request = ctx.request::<_, ()>(crate::Target::service("S", "h"), 1);
            request.header("authorization", "secret").await?;
            Ok(String::new())
        }
        .boxed()
    })
    .replay([Msg::new(MessageType::CALL, &recorded)])
    .expect([format!(
        "Error 570 @1 Call: the code does not match the journal at command 1: they differ in `headers.value`.
  the journal holds: Call (service `S`, handler `h`)
  the code issued:   Call (service `S`, handler `h`)
  `headers.value` in the journal: 6 bytes that differ from byte 0 on
  `headers.value` in the code:    6 bytes{CAUSES}"
    )])
    .run();
}

/// They say to which attempt a call belongs, and each attempt has its own.
#[test]
fn trace_contexts_are_not_compared() {
    let send = |headers: &[(&str, &str)]| wire::OneWayCall {
        service: "S".into(),
        handler: "h".into(),
        parameter: "1".into(),
        headers: headers
            .iter()
            .map(|(name, value)| wire::header(name, value))
            .collect(),
        invocation: 1,
        ..wire::OneWayCall::default()
    };
    let replay = |headers: &[(&str, &str)]| {
        scenario(|ctx, _| {
            async move {
                let target = crate::Target::service("S", "h");
                let request = ctx.request::<_, ()>(target, 1).header("x-a", "1");
                request
                    .header("Traceparent", "new")
                    .header("x-b", "2")
                    .send();
                Ok("done".into())
            }
            .boxed()
        })
        .replay([Msg::new(MessageType::ONE_WAY_CALL, &send(headers))])
    };
    let (a, b) = (("x-a", "1"), ("x-b", "2"));
    for recorded in [
        &[a, ("traceparent", "old"), b][..],
        &[a, b],
        &[("tracestate", "a=1"), a, b, ("traceparent", "old")],
    ] {
        replay(recorded).expect(["Output done", "End"]).run();
    }
    for other in [&[a][..], &[b, a], &[a, b, ("traceparents", "old")]] {
        let failed =
            std::panic::catch_unwind(|| replay(other).expect(["Output done", "End"]).run());
        assert!(failed.is_err(), "{other:?}");
    }
}

#[test]
fn the_report_of_a_handler_that_waits_where_the_journal_goes_on() {
    scenario(|ctx, _| {
        async move {
            let awakeable = ctx.awakeable::<()>();
            let (a, b) = crate::join!(awakeable, ctx.sleep(SECOND));
            a.and(b)?;
            Ok(String::new())
        }
        .boxed()
    })
    .replay([sleep(1), set("k", "1")])
    .expect([format!(
        "Error 570 @2 SetState: the code does not match the journal at command 2: the code waits where the journal goes on.
  the journal holds: SetState (key `k`)
  the code waits for: completion 1, signal 17, which the journal does not hold{CAUSES}"
    )])
    .run();
}

#[test]
fn a_handler_that_returns_early_is_a_mismatch() {
    scenario(|ctx, _| {
        async move {
            ctx.sleep(SECOND).await?;
            Ok("early".into())
        }
        .boxed()
    })
    .replay([sleep(1), void(1), set("k", "1")])
    .expect([format!(
        "Error 570 @2 Output: the code does not match the journal at command 2: they differ in the type of the command.
  the journal holds: SetState (key `k`)
  the code issued:   Output (the handler returned){CAUSES}"
    )])
    .run();
    // With a terminal failure as well; a retryable one is what it is.
    scenario(|_, _| async { Err(TerminalError::new("no").into()) }.boxed())
        .replay([sleep(1)])
        .expect(["Error 570 @1 Output: …"])
        .run();
    scenario(|_, _| async { Err("again".into()) }.boxed())
        .replay([sleep(1)])
        .expect(["Error 500 @0 Input: again"])
        .run();
}

#[test]
fn an_await_that_was_removed_or_added_shows() {
    // Recorded: sleep, then set. The code no longer awaits: still the same commands.
    let replay = [sleep(1), void(1), set("k", "1")];
    scenario(|ctx, _| {
        async move {
            drop(ctx.sleep(SECOND));
            ctx.set("k", &1);
            Ok("done".into())
        }
        .boxed()
    })
    .replay(replay.clone())
    .expect(["Output done", "End"])
    .run();
    // Awaits something more before.
    scenario(|ctx, _| {
        async move {
            ctx.sleep(SECOND).await?;
            ctx.signal::<String>("go").await?;
            ctx.set("k", &1);
            Ok("done".into())
        }
        .boxed()
    })
    .replay(replay)
    .expect(["Error 570 @2 SetState: the code does not match the journal at command 2: the code waits where…"])
    .run();
}

#[test]
fn no_run_starts_while_recorded_commands_remain() {
    scenario(|ctx, outside| {
        async move {
            ctx.run("r", async || {
                outside.note("executed");
                Ok::<_, TerminalError>(())
            })
            .await?;
            Ok(String::new())
        }
        .boxed()
    })
    .replay([run(1, "r"), sleep(2)])
    .expect(["Error 570 @2 Sleep: …"])
    .notes([""; 0])
    .run();
}

#[test]
fn wake_up_times_are_not_compared() {
    let send = wire::OneWayCall {
        service: "S".into(),
        handler: "h".into(),
        parameter: "1".into(),
        invoke_time: 5,
        invocation: 2,
        ..wire::OneWayCall::default()
    };
    scenario(|ctx, _| {
        async move {
            let target = crate::Target::service("S", "h");
            drop(ctx.sleep(SECOND));
            ctx.request::<_, ()>(target, 1).send_after(SECOND);
            Ok("done".into())
        }
        .boxed()
    })
    .replay([sleep(1), Msg::new(MessageType::ONE_WAY_CALL, &send)])
    .expect(["Output done", "End"])
    .run();
}

/// However a state read was answered when it was recorded: that counts, not today's state.
#[test]
fn recorded_state_reads_answer_as_they_did() {
    let eager = |void, value: Option<&'static str>| {
        let message = wire::EagerState {
            key: "k".into(),
            name: String::new(),
            void,
            value: value.and_then(content),
        };
        Msg::new(MessageType::GET_EAGER_STATE, &message)
    };
    let lazy = || {
        let message = wire::KeyedRead {
            key: "k".into(),
            result: 1,
            name: String::new(),
        };
        Msg::new(MessageType::GET_LAZY_STATE, &message)
    };
    let eager_keys = || {
        let keys = Some(StateKeys {
            keys: vec!["x".into(), "y".into()],
        });
        let name = String::new();
        Msg::new(
            MessageType::GET_EAGER_STATE_KEYS,
            &wire::EagerStateKeys { name, keys },
        )
    };
    let lazy_keys = || {
        let message = wire::Ids {
            invocation: 0,
            result: 2,
            name: String::new(),
        };
        Msg::new(MessageType::GET_LAZY_STATE_KEYS, &message)
    };
    let reads = [
        (vec![eager(Some(Void {}), None), eager_keys()], "None x,y"),
        (
            vec![eager(None, Some("1")), lazy_keys(), keys(2, &["z"])],
            "Some(1) z",
        ),
        (
            vec![lazy(), bytes(1, "2"), lazy_keys(), keys(2, &[])],
            "Some(2) ",
        ),
        (vec![lazy(), void(1), eager_keys()], "None x,y"),
    ];
    for (replay, answer) in reads {
        for partial in [false, true] {
            scenario(|ctx, _| {
                async move {
                    let one = ctx.get::<u64>("k").await?;
                    let keys = ctx.get_keys().await?;
                    ctx.sleep(SECOND).await?;
                    Ok(format!("{one:?} {}", keys.join(",")))
                }
                .boxed()
            })
            .start(move |start| start.partial_state = partial)
            .replay(replay.clone())
            .replay([sleep(3), void(3)])
            .expect([format!("Output {answer}"), "End".into()])
            .run();
        }
    }
}

#[test]
fn state_reads_of_another_key_or_kind_are_mismatches() {
    let keyed = |ty, key: &str| {
        let message = wire::KeyedRead {
            key: key.into(),
            result: 1,
            name: String::new(),
        };
        Msg::new(ty, &message)
    };
    let eager = wire::EagerState {
        key: "other".into(),
        void: Some(Void {}),
        ..wire::EagerState::default()
    };
    for (recorded, report) in [
        (
            keyed(MessageType::GET_LAZY_STATE, "other"),
            "@1 GetLazyState: …",
        ),
        (
            Msg::new(MessageType::GET_EAGER_STATE, &eager),
            "@1 GetEagerState: …",
        ),
        (keyed(MessageType::GET_PROMISE, "k"), "@1 GetLazyState: …"),
        (sleep(1), "@1 GetLazyState: …"),
        (
            Msg::new(
                MessageType::GET_EAGER_STATE_KEYS,
                &wire::EagerStateKeys::default(),
            ),
            "@1 GetLazyState: …",
        ),
    ] {
        scenario(|ctx, _| {
            async move {
                ctx.get::<u64>("k").await?;
                Ok(String::new())
            }
            .boxed()
        })
        .replay([recorded])
        .expect([format!("Error 570 {report}")])
        .run();
    }
}

/// What was recorded as an eager read comes before every notification, as it did then.
#[test]
fn inline_results_come_before_notifications() {
    fn handler(ctx: &crate::WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
        let (get, sleep) = (ctx.get::<u64>("k"), ctx.sleep(SECOND));
        async move { Ok(crate::select! { _ = sleep => "sleep", _ = get => "get" }.to_owned()) }
            .boxed()
    }
    let eager = wire::EagerState {
        key: "k".into(),
        void: Some(Void {}),
        ..wire::EagerState::default()
    };
    scenario(handler)
        .expect(["GetEagerState k=void", "Sleep #2", "Output get", "End"])
        .run();
    scenario(handler)
        .replay([
            Msg::new(MessageType::GET_EAGER_STATE, &eager),
            sleep(2),
            void(2),
        ])
        .expect(["Output get", "End"])
        .run();
}

/// A large payload is compared in place, and differs as a small one does.
#[test]
fn large_payloads_replay() {
    let large = "x".repeat(100_000);
    for (recorded, same) in [
        (format!("\"{large}\""), true),
        (format!("\"{large}y\""), false),
    ] {
        let handler: super::driver::Handler = {
            let large = large.clone();
            Arc::new(move |ctx, _| {
                let large = large.clone();
                async move {
                    ctx.set("k", &large);
                    Ok(String::new())
                }
                .boxed()
            })
        };
        let message = wire::StateWrite {
            key: "k".into(),
            value: content(recorded),
            name: String::new(),
        };
        let mut driver = Driver::new(V7, Cut::Random, &handler);
        driver.feed(&[
            Msg::new(MessageType::START, &wire::start(2)),
            wire::input(""),
            Msg::new(MessageType::SET_STATE, &message),
        ]);
        driver.settle();
        let ended = driver.out.last().unwrap().ty;
        assert_eq!(ended == MessageType::END, same);
    }
}
