//! Retry policies of runs: how often the closure executes, how long that goes on, and what comes then.

use std::time::{Instant, SystemTime};

use durably::prelude::*;

use crate::errors::paused;
use crate::harness::{Env, Result, effect, effects, ms};
use crate::suite::{ALL, SINCE_V7, Suite};

pub(crate) struct Retries;

#[durably::service]
impl Retries {
    /// A run that always fails, of a policy by name; gives the error that it ends with.
    #[handler]
    async fn exhaust(&self, ctx: &Context, policy: String) -> HandlerResult<(u16, String)> {
        // A command before and one after: the counts must not depend on what was stored between.
        ctx.sleep(ms(1)).await?;
        let pause = policy == "pause";
        let policy = match policy.as_str() {
            "once" => RetryPolicy::fixed(ms(1)).max_attempts(1),
            "three" => RetryPolicy::fixed(ms(30)).max_attempts(3),
            "growing" => RetryPolicy::exponential(ms(50), 2.0).max_attempts(4),
            "duration" => RetryPolicy::fixed(ms(100)).max_duration(ms(350)),
            _ => RetryPolicy::fixed(ms(10))
                .max_attempts(2)
                .pause_on_exhaustion(),
        };
        let run = ctx.run::<_, _, (), _>("fail", async || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            let executions = effect(ctx.invocation_id(), now.as_millis());
            // The first of those that come after the resumption.
            if pause && executions == 3 {
                return Ok(());
            }
            Err::<(), HandlerError>(format!("execution {executions} fails on purpose").into())
        });
        let error = run.retry(policy).await.err();
        ctx.sleep(ms(1)).await?;
        let error = error.unwrap_or_else(|| TerminalError::new("it succeeded").with_code(200));
        Ok((error.code(), error.message().to_owned()))
    }

    /// Two runs side by side, one of which fails twice.
    #[handler]
    async fn beside(&self, ctx: &Context) -> HandlerResult<(u64, u64)> {
        let id = ctx.invocation_id();
        let flaky = ctx
            .run("flaky", async || {
                let executions = effect(format!("{id} flaky"), "") as u64;
                if executions < 3 {
                    return Err("this fails on purpose");
                }
                Ok(executions)
            })
            .retry(RetryPolicy::fixed(ms(10)).max_attempts(3));
        let slow = ctx.run("slow", async || {
            tokio::time::sleep(ms(50)).await;
            Ok::<_, std::io::Error>(effect(format!("{id} slow"), "") as u64)
        });
        Ok(durably::try_join!(flaky, slow)?)
    }
}

/// What the run ended with, and when its closure was executed.
async fn exhaust(env: &Env, policy: &str) -> Result<(u16, String, Vec<u64>)> {
    let reply = env
        .ingress()
        .service("Retries", "exhaust")
        .json(policy)
        .call_raw()
        .await?;
    let id = reply.invocation_id().ok_or("no id")?.to_owned();
    let (code, message) = reply.decode()?;
    let times = effects(&id)
        .iter()
        .map(|time| time.parse())
        .collect::<Result<_, _>>()?;
    Ok((code, message, times))
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "a_policy_of_n_attempts_means_n_executions",
        ALL,
        async |env| {
            for (policy, executions) in [("once", 1), ("three", 3)] {
                let (code, message, times) = exhaust(env, policy).await?;
                assert_eq!(times.len(), executions, "{policy}");
                assert_eq!(message, format!("execution {executions} fails on purpose"));
                assert_eq!(code, 500, "{policy}");
            }
            Ok(())
        },
    );

    suite.case("delays_grow", ALL, async |env| {
        let (_, _, times) = exhaust(env, "growing").await?;
        assert_eq!(times.len(), 4);
        for (pair, delay) in times.windows(2).zip([50, 100, 200]) {
            assert!(pair[1] - pair[0] >= delay - 5, "{times:?}");
        }
        Ok(())
    });

    suite.case("a_policy_of_a_duration_ends_after_it", ALL, async |env| {
        let start = Instant::now();
        let (code, _, times) = exhaust(env, "duration").await?;
        assert_eq!(code, 500);
        // Four or five executions at 100 ms; fewer on a machine that is busy elsewhere.
        assert!((2..=5).contains(&times.len()), "{times:?}");
        assert!(start.elapsed() >= ms(250), "{:?}", start.elapsed());
        Ok(())
    });

    suite.case("a_policy_may_end_in_a_pause", SINCE_V7, async |env| {
        let sent = env.ingress().send("Retries", "exhaust", "pause").await?;
        let id = &sent.invocation_id;
        paused(env, id).await?;
        assert_eq!(effects(id).len(), 2);
        env.admin().resume(id).await?;
        let (code, _): (u16, String) = env.ingress().attach(id).await?;
        assert_eq!((code, effects(id).len()), (200, 3));
        Ok(())
    });

    suite.case("runs_beside_a_failing_one_are_kept", ALL, async |env| {
        let reply = env
            .ingress()
            .service("Retries", "beside")
            .call_raw()
            .await?;
        let id = reply.invocation_id().ok_or("no id")?.to_owned();
        assert_eq!(reply.decode::<(u64, u64)>()?, (3, 1));
        assert_eq!(effects(&format!("{id} flaky")).len(), 3);
        assert_eq!(effects(&format!("{id} slow")).len(), 1);
        Ok(())
    });
}
