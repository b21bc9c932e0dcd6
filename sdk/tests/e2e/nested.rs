//! Combinators within combinators, raced against each other, over any number of suspensions: the
//! same in every mode, since what counts is the order of the journal.

use durably::prelude::*;
use futures::FutureExt as _;
use futures::future::{Either, select, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::calls::CalleeClient;
use crate::harness::{effect, effects, ms};
use crate::suite::{ALL, Suite};

const NEVER: u64 = 3_600_000;

pub(crate) struct Nested;

/// A branch of several steps: a call, a sleep, a run, each after the other.
async fn branch(ctx: &Context, n: u64) -> Result<u64, TerminalError> {
    let doubled = ctx.service_client::<CalleeClient>().double(n).await?;
    ctx.sleep(ms(n % 3)).await?;
    let id = ctx.invocation_id();
    ctx.run("step", async || {
        effect(format!("{id} steps"), n);
        Ok::<_, TerminalError>(doubled + 1)
    })
    .await
}

#[durably::service]
impl Nested {
    /// Joins of branches, one of which is a race, one a join.
    #[handler]
    async fn joins(&self, ctx: &Context) -> HandlerResult<Vec<u64>> {
        let inner = async {
            let (a, b) = durably::try_join!(branch(ctx, 1), branch(ctx, 2))?;
            Ok::<_, TerminalError>(a + b)
        };
        let raced = async {
            durably::select! {
                result = branch(ctx, 3) => result,
                _ = ctx.sleep(ms(NEVER)) => Ok(0),
                _ = ctx.awakeable::<()>() => Ok(0),
            }
        };
        let all = try_join_all((4..7).map(|n| branch(ctx, n)));
        let (inner, raced, all) = durably::try_join!(inner, raced, all)?;
        let (tokio, futures) = (
            tokio::try_join!(branch(ctx, 7), branch(ctx, 8))?,
            futures::try_join!(branch(ctx, 9), branch(ctx, 10))?,
        );
        Ok([inner, raced]
            .into_iter()
            .chain(all)
            .chain([tokio.0, tokio.1, futures.0, futures.1])
            .collect())
    }

    /// Races of races: the innermost wins, and the losers are dropped in the middle of their steps.
    #[handler]
    async fn races(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let mut seen = Vec::new();
        for round in 0..3 {
            // Each loser has a call under way, and waits for something that never comes.
            let loser = async {
                branch(ctx, 100 + round).await?;
                ctx.signal::<u64>("never").await
            };
            let inner = async {
                durably::select! {
                    result = branch(ctx, round) => result.map(|n| format!("inner {n}")),
                    _ = ctx.sleep(ms(NEVER)) => Ok("inner slept".to_owned()),
                }
            };
            let outer = async {
                durably::select! {
                    result = loser => result.map(|n| format!("lost {n}")),
                    result = inner => result.map(|inner| format!("outer {inner}")),
                }
            };
            seen.push(durably::select! {
                result = outer => result?,
                _ = ctx.awakeable::<()>() => "awakeable".to_owned(),
            });
            // What comes after a race is in order, too.
            seen.push(format!("then {}", branch(ctx, round).await?));
        }
        Ok(seen)
    }

    /// The combinators of `futures` on boxed branches, with losers that go on later.
    #[handler]
    async fn losers(&self, ctx: &Context) -> HandlerResult<(u64, u64)> {
        let slow = async {
            ctx.sleep(ms(60)).await?;
            branch(ctx, 20).await
        };
        let fast = branch(ctx, 10);
        match select(Box::pin(slow), Box::pin(fast)).await {
            Either::Right((fast, slow)) => Ok((fast?, slow.await?)),
            Either::Left((slow, fast)) => Ok((fast.await?, slow?)),
        }
    }

    /// A pool that is refilled while its results are used, each of which is waited for with a limit.
    #[handler]
    async fn pool(&self, ctx: &Context, n: u64) -> HandlerResult<Vec<u64>> {
        let mut pool = FuturesUnordered::new();
        let mut next = 0;
        let mut seen = Vec::new();
        while seen.len() < n as usize {
            while pool.len() < 4 && next < n {
                pool.push(branch(ctx, next).boxed());
                next += 1;
            }
            durably::select! {
                result = pool.next() => seen.extend(result.transpose()?),
                _ = ctx.sleep(ms(NEVER)) => return Err("the limit is reached".into()),
            }
            // The pool is not polled meanwhile.
            ctx.sleep(ms(2)).await?;
        }
        Ok(seen)
    }

    /// Many branches that race for one result each, all at once.
    #[handler]
    async fn crowd(&self, ctx: &Context, n: u64) -> HandlerResult<Vec<u64>> {
        let races = (0..n).map(async |n| {
            durably::select! {
                result = branch(ctx, n) => result,
                result = branch(ctx, n) => result.map(|n| n + 1_000),
                _ = ctx.sleep(ms(NEVER)) => Ok(0),
            }
        });
        Ok(try_join_all(races).await?)
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("joins_hold_joins_and_races", ALL, async |env| {
        let seen: Vec<u64> = env.ingress().call("Nested", "joins", &()).await?;
        assert_eq!(seen, [8, 7, 9, 11, 13, 15, 17, 19, 21]);
        Ok(())
    });

    suite.case("races_hold_races_and_drop_the_losers", ALL, async |env| {
        let seen: Vec<String> = env.ingress().call("Nested", "races", &()).await?;
        let due: Vec<_> = [1, 3, 5]
            .iter()
            .flat_map(|n| [format!("outer inner {n}"), format!("then {n}")])
            .collect();
        assert_eq!(seen, due);
        Ok(())
    });

    suite.case("losers_go_on_where_they_were", ALL, async |env| {
        let reply = env.ingress().service("Nested", "losers").call_raw().await?;
        let id = reply.invocation_id().ok_or("no id")?.to_owned();
        assert_eq!(reply.decode::<(u64, u64)>()?, (21, 41));
        let mut steps = effects(&format!("{id} steps"));
        steps.sort();
        assert_eq!(steps, ["10", "20"]);
        Ok(())
    });

    suite.case("a_pool_is_refilled_while_it_is_raced", ALL, async |env| {
        const N: u64 = 12;
        let reply = env
            .ingress()
            .service("Nested", "pool")
            .json(&N)
            .call_raw()
            .await?;
        let id = reply.invocation_id().ok_or("no id")?.to_owned();
        let mut seen: Vec<u64> = reply.decode()?;
        seen.sort_unstable();
        assert_eq!(seen, (0..N).map(|n| 2 * n + 1).collect::<Vec<_>>());
        assert_eq!(effects(&format!("{id} steps")).len(), seen.len());
        Ok(())
    });

    suite.case("many_races_go_on_at_once", ALL, async |env| {
        const N: u64 = 15;
        let seen: Vec<u64> = env.ingress().call("Nested", "crowd", &N).await?;
        // Either of two may win; the result says which.
        for (n, seen) in (0..N).zip(&seen) {
            let due = 2 * n + 1;
            assert!([due, due + 1_000].contains(seen), "{n}: {seen}");
        }
        assert_eq!(seen.len() as u64, N);
        Ok(())
    });
}
