//! What goes wrong: failures of the handler, panics, and faults that are not the handler's to see.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use futures::FutureExt as _;
use prost::Message as _;

use super::{
    driver::Outside,
    scenario::{Outcome, V5, V6, V7, V8, scenario},
    wire::{self, Msg, bytes, failed, invoked, keys, set, sleep, value, void},
};
use crate::{
    RetryableError, Target, TerminalError, WorkflowContext,
    executor::{Attempt, AttemptRequest, Clock},
    protocol::{MessageType, frame::Limits},
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_retryable_failure_ends_the_attempt_about_the_last_command() {
    let of = |error: fn() -> RetryableError| {
        scenario(move |ctx, _| {
            async move {
                ctx.set("k", &1);
                Err(error().into())
            }
            .boxed()
        })
    };
    let plain = || RetryableError::new("no");
    of(plain)
        .expect(["SetState k=1", "Error 500 @1 SetState: no"])
        .run();
    of(|| RetryableError::new("no").after(SECOND))
        .expect(["SetState k=1", "Error 500 @1 SetState after 1000: no"])
        .run();
    // PAUSE and FAIL travel on v7. Before, a failure that asks for the end is a terminal one, and
    // one that asks for a pause is left to the server's policy.
    of(|| RetryableError::new("no").pause())
        .on(&[V7, V8])
        .expect(["SetState k=1", "Error 500 @1 SetState PAUSE: no"])
        .run();
    of(|| RetryableError::new("no").pause())
        .on(&[V5, V6])
        .expect(["SetState k=1", "Error 500 @1 SetState: no"])
        .run();
    of(|| RetryableError::new("no").fail())
        .on(&[V7, V8])
        .expect(["SetState k=1", "Error 500 @1 SetState FAIL: no"])
        .run();
    of(|| RetryableError::new("no").fail())
        .on(&[V5, V6])
        .expect(["SetState k=1", "Output !500 no", "End"])
        .run();
}

#[test]
fn panics_end_their_attempt_with_their_message() {
    type Panic = fn();
    let table: [(Panic, &str); 3] = [
        (|| panic!("plain"), "the handler panicked: plain"),
        (|| panic!("n = {}", 7), "the handler panicked: n = 7"),
        (
            || std::panic::panic_any(7),
            "the handler panicked: a value that is not text",
        ),
    ];
    for (panic, message) in table {
        let expected = |command: &str| format!("Error 500 {command}: {message}");
        scenario(move |_, _| {
            async move {
                panic();
                Ok(String::new())
            }
            .boxed()
        })
        .expect([expected("@0 Input")])
        .run();
        // Before the first await of the handler's future, and in a run's closure.
        scenario(move |_, _| {
            panic();
            async { Ok(String::new()) }.boxed()
        })
        .expect([expected("@0 Input")])
        .run();
        scenario(move |ctx, _| {
            async move {
                ctx.run("r", async || {
                    panic();
                    Ok::<_, TerminalError>(())
                })
                .await?;
                Ok(String::new())
            }
            .boxed()
        })
        .expect(["Run #1 `r`".to_owned(), expected("@1 Run `r`")])
        .run();
    }
}

/// A function of handlers written by hand may panic before it gives a future.
#[test]
fn a_panic_before_the_future_is_made_is_caught() {
    let request = AttemptRequest {
        version: V7,
        service: "Tests".into(),
        handler: "run".into(),
        attempt_headers: http::HeaderMap::new(),
        clock: Clock::new(|| 0),
        limits: Limits::default(),
        foreign: crate::executor::ForeignHook::default(),
        setting: crate::executor::Setting::default(),
    };
    let mut attempt = Attempt::new(request, Arc::new(|_, _| panic!("early")));
    for message in [
        Msg::new(MessageType::START, &wire::start(1)),
        wire::input(""),
    ] {
        attempt.handle_input(message.frame());
    }
    let polled = attempt.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready() && attempt.is_ended());
    let out = attempt.take_output().unwrap();
    assert_eq!(out[..2], MessageType::ERROR.0.to_be_bytes());
    let error = wire::Error::decode(&out[8..]).unwrap();
    assert_eq!(error.message, "the handler panicked: early");
}

/// A result that cannot be what it should be: the handler never sees it.
#[test]
fn faults_in_results_end_the_attempt_and_not_the_await() {
    fn noted<T: std::fmt::Debug>(outside: &Outside, result: Result<T, TerminalError>) {
        outside.note(format!("resumed with {result:?}"));
    }
    type Wait = for<'a> fn(&'a WorkflowContext, Arc<Outside>) -> Outcome<'a>;
    macro_rules! wait {
        ($ctx:ident => $future:expr) => {{
            fn wait($ctx: &WorkflowContext, outside: Arc<Outside>) -> Outcome<'_> {
                async move {
                    noted(&outside, $future.await);
                    Ok("went on".into())
                }
                .boxed()
            }
            wait as Wait
        }};
    }
    let table: [(Wait, &str, Msg, &str); 8] = [
        (
            wait!(ctx => ctx.get::<u64>("k")),
            "GetLazyState k #1",
            bytes(1, "\"x\""),
            "cannot be decoded: invalid type",
        ),
        (
            wait!(ctx => ctx.get::<u64>("k")),
            "GetLazyState k #1",
            keys(1, &[]),
            "cannot be decoded: the runtime sent state keys",
        ),
        (
            wait!(ctx => ctx.get_keys()),
            "GetLazyStateKeys #1",
            void(1),
            "cannot be decoded: the runtime sent nothing",
        ),
        (
            wait!(ctx => ctx.promise::<u64>("p")),
            "GetPromise p #1",
            bytes(1, "{"),
            "cannot be decoded: invalid type: map",
        ),
        (
            wait!(ctx => ctx.promise::<u64>("p")),
            "GetPromise p #1",
            void(1),
            "cannot be decoded: the body is empty; expected u64",
        ),
        (
            wait!(ctx => ctx.sleep(SECOND)),
            "Sleep #1",
            value(1, "x"),
            "cannot be decoded: the runtime sent a value",
        ),
        (
            wait!(ctx => ctx.run("r", async || std::future::pending::<Result<u64, TerminalError>>().await)),
            "Run #1 `r`",
            value(1, "x"),
            "cannot be decoded: invalid type",
        ),
        (
            wait!(ctx => ctx.request::<_, ()>(Target::service("S", "h"), 1).send()),
            "OneWayCall S/h #1",
            failed(1, 500, "no"),
            "cannot be decoded: the runtime sent a failure",
        ),
    ];
    for (handler, command, answer, report) in table {
        let about = command.split(['#', ' ']).next().unwrap_or_default();
        let name = if about == "Run" { " `r`" } else { "" };
        scenario(handler)
            .start(|start| start.partial_state = true)
            .expect([command])
            .send([answer])
            .expect([format!(
                "Error 500 @1 {about}{name}: the result of completion 1 {report}…"
            )])
            .notes([""; 0])
            .run();
    }
}

#[test]
fn what_cannot_be_sent_ends_the_attempt() {
    struct Bad;
    impl serde::Serialize for Bad {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    type Send = fn(&WorkflowContext);
    let table: [(Send, &str); 4] = [
        (
            |ctx| ctx.set("k", &Bad),
            "the value for state key `k` cannot be encoded: never",
        ),
        (
            |ctx| {
                ctx.request::<_, ()>(Target::object("O", "k", "h"), Bad)
                    .send();
            },
            "the input of O/k/h cannot be encoded: never",
        ),
        (
            |ctx| {
                let request = ctx.request::<_, ()>(Target::service("S", "h"), 1);
                request.idempotency_key("").send();
            },
            "the idempotency key of the request to S/h is empty: …",
        ),
        (
            |ctx| {
                let id = ctx.awakeable::<()>().id().to_owned();
                ctx.resolve_awakeable(&id, &Bad).unwrap();
            },
            "the value for an awakeable cannot be encoded: never",
        ),
    ];
    for (send, report) in table {
        scenario(move |ctx, _| {
            async move {
                send(ctx);
                // Nothing more goes out, and the handler does not end as if all were well.
                ctx.set("after", &1);
                Ok("done".into())
            }
            .boxed()
        })
        .expect([format!("Error 500 @0 Input: {report}")])
        .run();
    }
}

#[test]
fn what_the_version_cannot_carry_is_refused() {
    type Issue = fn(&WorkflowContext);
    let table: [(Issue, &str, &[_]); 4] = [
        (
            |ctx| {
                drop(
                    ctx.request::<_, ()>(Target::service("S", "h"), 1)
                        .scope("t")
                        .call(),
                )
            },
            "@1 Call: Call with a scope needs a later version…",
            &[V5, V6],
        ),
        (
            |ctx| {
                ctx.request::<_, ()>(Target::service("S", "h"), 1)
                    .scope("t")
                    .limit_key("l")
                    .send();
            },
            "@1 OneWayCall: OneWayCall with a limit key needs a later version…",
            &[V5, V6],
        ),
        (
            |ctx| drop(ctx.workflow_invocation("W", "k").scope("t").attach::<()>()),
            "@1 AttachInvocation: AttachInvocation with a scope needs a later version…",
            &[V5, V6],
        ),
        (
            |ctx| {
                drop(
                    ctx.promise::<()>("p")
                        .reject(TerminalError::new("no").with_metadata("a", "b")),
                )
            },
            "@1 CompletePromise: CompletePromise with metadata of a terminal error needs a later version…",
            &[V5],
        ),
    ];
    for (issue, report, versions) in table {
        scenario(move |ctx, _| {
            async move {
                issue(ctx);
                ctx.sleep(SECOND).await?;
                Ok(String::new())
            }
            .boxed()
        })
        .on(versions)
        .expect([format!("Error 500 {report}")])
        .run();
    }
    scenario(|_, _| async { Err(TerminalError::new("no").with_metadata("a", "b").into()) }.boxed())
        .on(&[V5])
        .expect([
            "Error 500 @1 Output: Output with metadata of a terminal error needs a later version…",
        ])
        .run();
}

#[test]
fn bad_ids_are_the_handlers_to_handle() {
    scenario(|ctx, _| {
        async move {
            let codes = [
                ctx.invocation("inv_1").map(drop).unwrap_err().code(),
                ctx.resolve_awakeable("prom_", &1).unwrap_err().code(),
                ctx.reject_awakeable("sign_1", TerminalError::new("no"))
                    .unwrap_err()
                    .code(),
            ];
            Ok(format!("{codes:?}"))
        }
        .boxed()
    })
    .expect(["Output [400, 400, 400]", "End"])
    .run();
}

/// What the handler leaves behind issues commands when it is dropped: after the end they count nothing,
/// and dropping them does not bring anything down.
#[test]
fn drop_glue_after_the_end_is_ignored() {
    struct Bomb<'a>(&'a WorkflowContext);
    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.0.set("dropped", &1);
            drop(self.0.sleep(SECOND));
            drop(self.0.run("late", async || Ok::<_, TerminalError>(())));
            panic!("while being dropped");
        }
    }
    scenario(|ctx, _| {
        async move {
            let _bomb = Bomb(ctx);
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .replay([sleep(1)])
    .expect(["Suspension c1"])
    .run();
    scenario(|ctx, _| {
        async move {
            let _bomb = Bomb(ctx);
            ctx.run("r", async || Err::<(), _>("no")).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .expect(["Run #1 `r`", "Error 500 @1 Run `r`: run `r` failed: no"])
    .run();
    // At the end of the handler's own code it is part of that code.
    struct Last<'a>(&'a WorkflowContext);
    impl Drop for Last<'_> {
        fn drop(&mut self) {
            self.0.set("last", &1);
        }
    }
    scenario(|ctx, _| {
        async move {
            let _last = Last(ctx);
            Ok("done".into())
        }
        .boxed()
    })
    .expect(["SetState last=1", "Output done", "End"])
    .run();
}

/// The terminal failure of a call reaches the handler whole.
#[test]
fn failures_of_others_are_values() {
    scenario(|ctx, _| {
        async move {
            let call = ctx.request::<_, u64>(Target::service("S", "h"), 1).call();
            let id = call.invocation_id().await?;
            let error = call.await.unwrap_err();
            Ok(format!("{id} {} {error}", error.code()))
        }
        .boxed()
    })
    .expect(["Call S/h #1 #2"])
    .send([failed(2, 418, "teapot"), invoked(1, "inv_a")])
    .expect(["Output inv_a 418 teapot", "End"])
    .run();
}

/// What the context says about the invocation and its deterministic random numbers.
#[test]
fn the_invocation_is_known_to_its_handler() {
    let of = |versions: &[_], scope: &'static str| {
        scenario(|ctx, _| {
            async move {
                let a: Vec<_> = ctx.headers().get_all("x-a").collect();
                ctx.set("random", &ctx.random().u64());
                Ok(format!(
                    "{} {} {a:?} {} {:?}",
                    ctx.invocation_id(),
                    ctx.key(),
                    ctx.retry_count(),
                    ctx.scope()
                ))
            }
            .boxed()
        })
        .on(versions)
        .start(move |start| {
            start.retry_count_since_last_stored_entry = 3;
            start.scope = (!scope.is_empty()).then(|| scope.to_owned());
        })
    };
    let seeded = |seed| crate::random::Rng::new(seed).next_u64();
    let from_id = seeded(crate::random::seed_from_id(&wire::RAW_ID));
    for (versions, random) in [(vec![V5], from_id), (vec![V6, V7, V8], seeded(1))] {
        of(&versions, "")
            .expect([
                format!("SetState random={random}"),
                "Output inv_test key [\"1\", \"2\"] 3 None".into(),
                "End".into(),
            ])
            .run();
    }
    of(&[V7], "t7")
        .replay([set("random", &seeded(1).to_string().leak()[..])])
        .expect(["Output inv_test key [\"1\", \"2\"] 3 Some(\"t7\")", "End"])
        .run();
}
