//! What comes before what: sends to one object, calls that wait for each other, and a run's result
//! before everything that comes after it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use durably::prelude::*;
use durably::test_server::TestServerError;
use futures::future::try_join_all;

use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms, serve_in};
use crate::suite::{ALL, SERVER, Suite};

pub(crate) struct Sequence;

#[durably::object]
impl Sequence {
    #[handler]
    async fn append(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let mut all = ctx.get::<Vec<u64>>("all").await?.unwrap_or_default();
        all.push(n);
        ctx.set("all", &all);
        Ok(all.len() as u64)
    }

    /// Takes its time over even numbers: nobody overtakes.
    #[handler]
    async fn append_slowly(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let inside = effect(format!("{} inside", ctx.key()), n);
        ctx.sleep(ms((n + 1) % 2 * 10)).await?;
        // Nobody has come in meanwhile, except for a later attempt of the same.
        let others = effects(&format!("{} inside", ctx.key()));
        assert!(
            others[inside - 1..]
                .iter()
                .all(|other| *other == n.to_string())
        );
        self.append(ctx, n).await
    }

    #[handler]
    async fn all(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<u64>> {
        Ok(ctx.get("all").await?.unwrap_or_default())
    }
}

pub(crate) struct Sequencer;

#[durably::service]
impl Sequencer {
    /// Sends and calls in turn, to one object; gives what the calls were told.
    #[handler]
    async fn mixed(&self, ctx: &Context, (key, n): (String, u64)) -> HandlerResult<Vec<u64>> {
        let sequence = ctx.object_client::<SequenceClient>(key);
        let mut told = Vec::new();
        for n in 0..n {
            match n % 4 {
                0 => told.push(sequence.append(n).await?),
                1 => drop(sequence.append(n).send().await?),
                _ => drop(sequence.append_slowly(n).send()),
            }
        }
        Ok(told)
    }

    /// Many calls that are under way at once: issued in this order, awaited in the other.
    #[handler]
    async fn at_once(&self, ctx: &Context, (key, n): (String, u64)) -> HandlerResult<Vec<u64>> {
        let sequence = ctx.object_client::<SequenceClient>(key);
        let calls: Vec<_> = (0..n).map(|n| sequence.append(n).call()).collect();
        let mut told = Vec::new();
        for call in calls.into_iter().rev() {
            told.push(call.await?);
        }
        Ok(told)
    }
}

/// Asks the server, within a run, what it holds of the runs before.
struct Flushed {
    env: &'static Env,
    /// What was not there, and should have been.
    missing: Mutex<Vec<String>>,
}

impl Flushed {
    /// How many runs of an invocation have their result in the journal.
    async fn recorded(&self, id: &str) -> Result<usize, TestServerError> {
        let sql = format!(
            "SELECT index FROM sys_journal WHERE id = '{id}' AND entry_type = 'Notification: Run'"
        );
        Ok(self.env.server().query(&sql).await?.len())
    }

    fn missing(&self) -> MutexGuard<'_, Vec<String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[durably::service]
impl Flushed {
    /// Each run looks for those before it.
    #[handler(name = "misplace")]
    async fn work(&self, ctx: &Context, runs: usize) -> HandlerResult<Vec<String>> {
        let id = ctx.invocation_id();
        for n in 0..runs {
            ctx.run(format!("run {n}"), async || {
                effect(format!("{id} executed"), n);
                let recorded = self.recorded(id).await?;
                if recorded != n {
                    self.missing().push(format!("before run {n}: {recorded}"));
                }
                Ok::<_, TestServerError>(())
            })
            .await?;
            // What is not durable comes after it, too.
            let recorded = self.recorded(id).await?;
            if recorded <= n {
                self.missing().push(format!("after run {n}: {recorded}"));
            }
        }
        Ok(self.missing().clone())
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "sends_and_calls_to_an_object_keep_their_order",
        ALL,
        async |env| {
            const N: u64 = 32;
            let ingress = env.ingress();
            let key = &format!("mixed {:?}", env.mode);
            let told: Vec<u64> = ingress.call("Sequencer", "mixed", &(key, N)).await?;
            let due: Vec<_> = (0..N).step_by(4).map(|n| n + 1).collect();
            assert_eq!(told, due);
            let all: Vec<_> = (0..N).collect();
            eventually("all are there", async || {
                let seen: Vec<u64> = ingress.call_object("Sequence", key, "all", &()).await?;
                assert!(all.starts_with(&seen), "{seen:?}");
                Ok((seen == all).then_some(()))
            })
            .await?;

            let key = &format!("at once {:?}", env.mode);
            let told: Vec<u64> = ingress.call("Sequencer", "at_once", &(key, N)).await?;
            let due: Vec<_> = (1..=N).rev().collect();
            assert_eq!(told, due);
            let seen: Vec<u64> = ingress.call_object("Sequence", key, "all", &()).await?;
            assert_eq!(seen, all);
            Ok(())
        },
    );

    suite.case("requests_of_several_callers_do_not_mix", ALL, async |env| {
        const CALLERS: u64 = 8;
        const N: u64 = 20;
        let ingress = env.ingress();
        let key = &format!("callers {:?}", env.mode);
        let calls = (0..CALLERS).map(async |_| -> Result<Vec<u64>> {
            Ok(ingress.call("Sequencer", "at_once", &(key, N)).await?)
        });
        let told: Vec<_> = try_join_all(calls).await?.into_iter().flatten().collect();
        // Each position was given once.
        let mut positions = told.clone();
        positions.sort_unstable();
        assert_eq!(positions, (1..=CALLERS * N).collect::<Vec<_>>());
        // And each caller's were carried out in its order.
        for told in told.chunks(N as usize) {
            assert!(
                told.is_sorted_by(|later, earlier| later > earlier),
                "{told:?}"
            );
        }
        let seen: Vec<u64> = ingress.call_object("Sequence", key, "all", &()).await?;
        for n in 0..N {
            assert_eq!(
                seen.iter().filter(|seen| **seen == n).count() as u64,
                CALLERS
            );
        }
        Ok(())
    });

    suite.case(
        "a_run_is_recorded_before_what_comes_after_it",
        SERVER,
        async |env| {
            const RUNS: usize = 6;
            let flushed = Flushed {
                env,
                missing: Mutex::default(),
            };
            let _served = serve_in(env.mode, env.server(), endpoint(|b| b.bind(flushed))).await?;
            let reply = env
                .ingress()
                .service("Flushed", "misplace")
                .json(&RUNS)
                .call_raw()
                .await?;
            let id = reply.invocation_id().ok_or("no id")?.to_owned();
            let missing: Vec<String> = reply.decode()?;
            assert!(missing.is_empty(), "{missing:?}");
            let executed: Vec<_> = (0..RUNS).map(|n| n.to_string()).collect();
            assert_eq!(effects(&format!("{id} executed")), executed);
            Ok(())
        },
    );
}
