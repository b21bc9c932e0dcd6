//! Runs that fail: how the tries are counted, and what becomes of the attempt.

use std::time::Duration;

use futures::FutureExt as _;

use super::{
    scenario::{Scenario, V5, V6, V7, V8, scenario},
    wire::{run, set, void},
};
use crate::{RetryPolicy, RetryableError};

const SECOND: Duration = Duration::from_secs(1);

/// Before this attempt: retries and ms; took: ms of the execution at hand; a new command before it.
struct Tries {
    start: (u32, u64),
    replayed: bool,
    writes: bool,
    took: u64,
    expected: &'static str,
}

/// 100 ms × 2, at most 500 ms; at most 4 attempts and 10 s.
#[test]
fn attempts_are_counted_as_the_server_counts_them() {
    let tries = |start, replayed, writes, took, expected| Tries {
        start,
        replayed,
        writes,
        took,
        expected,
    };
    let table = [
        // A Run command written now: from zero.
        tries(
            (0, 0),
            false,
            false,
            5,
            "Error 500 @1 Run `r` after 100: run `r` failed: no",
        ),
        tries(
            (3, 9_000),
            false,
            false,
            5,
            "Error 500 @1 Run `r` after 100: run `r` failed: no",
        ),
        // Replayed: from the server's count.
        tries(
            (0, 0),
            true,
            false,
            5,
            "Error 500 @1 Run `r` after 100: run `r` failed: no",
        ),
        tries(
            (1, 50),
            true,
            false,
            5,
            "Error 500 @1 Run `r` after 200: run `r` failed: no",
        ),
        tries(
            (2, 50),
            true,
            false,
            5,
            "Error 500 @1 Run `r` after 400: run `r` failed: no",
        ),
        tries((3, 50), true, false, 5, "Propose #1=!500 no"),
        tries((9, 50), true, false, 5, "Propose #1=!500 no"),
        // The duration, this execution's included; without retries the server's does not count.
        tries(
            (1, 9_000),
            true,
            false,
            999,
            "Error 500 @1 Run `r` after 200: run `r` failed: no",
        ),
        tries((1, 9_000), true, false, 1_000, "Propose #1=!500 no"),
        tries(
            (0, 9_000),
            true,
            false,
            1_000,
            "Error 500 @1 Run `r` after 100: run `r` failed: no",
        ),
        tries((0, 0), true, false, 10_000, "Propose #1=!500 no"),
        // A command written in this attempt resets the server's count.
        tries(
            (3, 9_500),
            true,
            true,
            5,
            "Error 500 @1 Run `r` after 100: run `r` failed: no",
        ),
    ];
    for Tries {
        start: (count, duration),
        replayed,
        writes,
        took,
        expected,
    } in table
    {
        let mut of = scenario(move |ctx, outside| {
            async move {
                let policy = RetryPolicy::exponential(Duration::from_millis(100), 2.0)
                    .max_delay(Duration::from_millis(500))
                    .max_attempts(4)
                    .max_duration(Duration::from_secs(10));
                let run = ctx.run("r", || async {
                    outside.gate("g").await;
                    Err::<(), _>(std::io::Error::other("no"))
                });
                if writes {
                    ctx.set("k", &1);
                }
                run.retry(policy).await?;
                Ok(String::new())
            }
            .boxed()
        })
        .start(move |start| {
            start.retry_count_since_last_stored_entry = count;
            start.duration_since_last_stored_entry = duration;
        });
        if replayed {
            of = of.replay([run(1, "r")]);
        }
        let before = (!replayed).then_some("Run #1 `r`");
        of.expect(before.into_iter().chain(writes.then_some("SetState k=1")))
            .tick(took)
            .open("g")
            .expect([expected])
            .run();
    }
}

#[test]
fn without_a_policy_the_server_decides() {
    scenario(|ctx, _| {
        async move {
            ctx.run("r", async || Err::<(), _>("flaky")).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .start(|start| start.retry_count_since_last_stored_entry = 50)
    .expect(["Run #1 `r`", "Error 500 @1 Run `r`: run `r` failed: flaky"])
    .run();
}

#[test]
fn a_failure_may_ask_for_its_delay_or_an_end() {
    let of = |error: fn() -> RetryableError, versions: &[_]| {
        scenario(move |ctx, _| {
            async move {
                let policy = RetryPolicy::fixed(SECOND)
                    .max_attempts(1)
                    .pause_on_exhaustion();
                ctx.run("r", async || Err::<(), _>(error()))
                    .retry(policy)
                    .await?;
                Ok(String::new())
            }
            .boxed()
        })
        .on(versions)
    };
    let old = [V5, V6];
    let new = [V7, V8];
    // The policy is used up: pause. Before v7 that cannot be said, and the server's policy counts.
    let plain: fn() -> RetryableError = || RetryableError::new("no");
    of(plain, &new)
        .expect([
            "Run #1 `r`",
            "Error 500 @1 Run `r` PAUSE: run `r` failed: no",
        ])
        .run();
    of(plain, &old)
        .expect(["Run #1 `r`", "Error 500 @1 Run `r`: run `r` failed: no"])
        .run();
    let pause: fn() -> RetryableError = || RetryableError::new("no").pause();
    of(pause, &new)
        .expect([
            "Run #1 `r`",
            "Error 500 @1 Run `r` PAUSE: run `r` failed: no",
        ])
        .run();
    let fail: fn() -> RetryableError = || RetryableError::new("no").fail();
    of(fail, &new)
        .expect([
            "Run #1 `r`",
            "Error 500 @1 Run `r` FAIL: run `r` failed: no",
        ])
        .run();
    of(fail, &old)
        .expect(["Run #1 `r`", "Propose #1=!500 no", "Suspension c1"])
        .run();
    scenario(|ctx, _| {
        async move {
            let run = ctx.run("r", async || {
                Err::<(), _>(RetryableError::new("no").after(SECOND * 7))
            });
            run.retry(RetryPolicy::fixed(SECOND)).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .expect([
        "Run #1 `r`",
        "Error 500 @1 Run `r` after 7000: run `r` failed: no",
    ])
    .run();
}

/// Two runs that fail, one that does not, and a sleep with another run behind it.
fn failing_runs() -> Scenario {
    scenario(|ctx, outside| {
        async move {
            let outside = &outside;
            let step = |name: &'static str, fails: bool| {
                ctx.run(name, move || async move {
                    outside.gate(name).await;
                    outside.note(name);
                    if fails {
                        Err("no")
                    } else {
                        Ok(name.to_owned())
                    }
                })
            };
            let chain = async {
                ctx.sleep(SECOND).await?;
                outside.note("delivered");
                step("late", false).await
            };
            let _ = crate::join!(step("a", true), step("b", false), step("c", true), chain);
            Ok(String::new())
        }
        .boxed()
    })
}

/// One fails: no new run starts, the executing ones finish and propose, nothing is delivered.
#[test]
fn when_a_run_fails_the_executing_ones_finish_first() {
    failing_runs()
        .replay([set("x", "1")])
        .expect(["Error 570 @1 Run `a`: …"])
        .run();
    failing_runs()
        .expect(["Run #1 `a`", "Run #2 `b`", "Run #3 `c`", "Sleep #4"])
        .open("a")
        .expect([""; 0])
        .send([void(4)])
        .nudge("b")
        .expect([""; 0])
        .open("c")
        .expect([""; 0])
        .open("b")
        .expect([
            "Propose #2=\"b\"",
            "Error 500 @1 Run `a`: run `a` failed: no",
        ])
        .notes(["a", "c", "b"])
        .run();
}
