//! Sleeps, runs, the durable clock and the deterministic random numbers.

use std::time::{Instant, SystemTime};

use durably::prelude::*;
use futures::FutureExt as _;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, TryStreamExt as _};

use crate::harness::{effect, effects, ms};
use crate::suite::{ALL, Suite};

pub(crate) struct Steps;

#[durably::service]
impl Steps {
    #[handler]
    async fn sleep(&self, ctx: &Context, millis: u64) -> HandlerResult<()> {
        ctx.sleep(ms(millis / 2)).await?;
        ctx.sleep_named("the rest", ms(millis - millis / 2)).await?;
        Ok(())
    }

    /// Sleeps many times at once, and gives the order in which they ended.
    #[handler]
    async fn sleep_all(&self, ctx: &Context, n: u64) -> HandlerResult<Vec<u64>> {
        let sleeps = (0..n).map(|n| {
            ctx.sleep(ms(300 + n % 7))
                .map(move |slept| slept.map(|()| n))
        });
        let sleeps: FuturesUnordered<_> = sleeps.collect();
        Ok(sleeps.try_collect().await?)
    }

    /// Runs that borrow from the handler, one after the other and side by side.
    #[handler]
    async fn run(&self, ctx: &Context, words: Vec<String>) -> HandlerResult<String> {
        let id = ctx.invocation_id();
        let first = ctx
            .run("first", async || {
                effect(id, "first");
                Ok::<_, std::io::Error>(words.join(" "))
            })
            .await?;
        let lengths = join_all(words.iter().map(|word| {
            ctx.run(format!("length of {word}"), async move || {
                effect(id, word);
                tokio::time::sleep(ms(20)).await;
                Ok::<_, std::io::Error>(word.len())
            })
        }))
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
        let nothing: () = ctx
            .run("nothing", async || Ok::<_, std::io::Error>(()))
            .await?;
        Ok(format!("{first} {lengths:?} {nothing:?}"))
    }

    /// Draws, and fails once, so that there is a replay in every mode.
    #[handler]
    async fn draw(&self, ctx: &Context) -> HandlerResult<(u64, String, SystemTime)> {
        let id = ctx.invocation_id();
        let random = ctx.random();
        let drawn = (random.u64(), random.uuid().to_string());
        let now = ctx.now().await?;
        effect(id, format!("{drawn:?} {now:?}"));
        ctx.run("fails once", async || {
            if effect(format!("{id} runs"), "") == 1 {
                return Err("this fails on purpose");
            }
            Ok(())
        })
        .await?;
        ctx.sleep(ms(5)).await?;
        assert!(random.below(10) < 10 && random.f64() < 1.0);
        Ok((drawn.0, drawn.1, now))
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("sleeps_last", ALL, async |env| {
        let start = Instant::now();
        env.ingress().call::<()>("Steps", "sleep", &300).await?;
        assert!(start.elapsed() >= ms(295), "{:?}", start.elapsed());
        Ok(())
    });

    suite.case("hundreds_sleep_at_once", ALL, async |env| {
        const N: u64 = 400;
        let start = Instant::now();
        let mut slept: Vec<u64> = env.ingress().call("Steps", "sleep_all", &N).await?;
        let took = start.elapsed();
        assert!(took >= ms(295), "{took:?}");
        // One after the other they would take two minutes.
        assert!(took < ms(60_000), "{took:?}");
        slept.sort_unstable();
        assert_eq!(slept, (0..N).collect::<Vec<_>>());

        // And as many invocations.
        let ingress = env.ingress();
        let sleeps = (0..N / 2).map(|_| ingress.send("Steps", "sleep", &300));
        for sent in futures::future::try_join_all(sleeps.collect::<Vec<_>>()).await? {
            env.ingress().attach::<()>(&sent.invocation_id).await?;
        }
        Ok(())
    });

    suite.case("runs_execute_once", ALL, async |env| {
        let request = env
            .ingress()
            .service("Steps", "run")
            .json(&["ab", "c", "def"]);
        let reply = request.call_raw().await?;
        let id = reply.invocation_id().ok_or("no id")?.to_owned();
        assert_eq!(reply.decode::<String>()?, "ab c def [2, 1, 3] ()");
        assert_eq!(effects(&id), ["first", "ab", "c", "def"]);
        Ok(())
    });

    suite.case(
        "random_numbers_and_the_clock_are_the_same_after_a_replay",
        ALL,
        async |env| {
            let reply = env.ingress().service("Steps", "draw").call_raw().await?;
            let id = reply.invocation_id().ok_or("no id")?.to_owned();
            let (number, uuid, now): (u64, String, SystemTime) = reply.decode()?;
            let drawn = effects(&id);
            assert!(drawn.len() >= 2, "{drawn:?}");
            assert!(drawn.iter().all(|other| *other == drawn[0]), "{drawn:?}");
            assert!(uuid.parse::<durably::Uuid>().is_ok(), "{uuid}");
            let age = SystemTime::now().duration_since(now)?;
            assert!(age < ms(60_000), "{age:?}");

            let (other, ..): (u64, String, SystemTime) =
                env.ingress().call("Steps", "draw", &()).await?;
            assert_ne!(number, other);
            Ok(())
        },
    );
}
