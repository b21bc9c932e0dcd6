//! A virtual object: state under a key, and one exclusive handler at a time for each key.
//!
//! `cargo run -p durably-examples --bin counter` shows it at work on the local runtime, with the argument `--server` on a
//! real Restate server; with `local` or `serve` it only runs or serves the handlers.

use durably::prelude::*;

struct Counter;

/// Counts; there is one counter for each key.
#[durably::object]
impl Counter {
    /// Adds to the counter and returns the sum. Exclusive: adds to the same counter queue up.
    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
        // Nobody else writes between the read and the write, however long that takes.
        ctx.sleep(Duration::from_millis(20)).await?;
        ctx.set("sum", &sum);
        Ok(sum)
    }

    /// The present sum. Shared: it waits for nobody, and cannot write.
    #[handler]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(ctx.get::<u64>("sum").await?.unwrap_or_default())
    }

    /// Forgets the counter.
    #[handler]
    async fn reset(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        ctx.clear_all();
        Ok(())
    }
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let endpoint = Endpoint::builder().bind(Counter).build();
    durably_examples::run(endpoint, demonstrate).await
}

// What follows calls the handlers from outside, as any client would.

use anyhow::ensure;
use durably_examples::Demo;
use tokio::task::JoinSet;

const ADDS: u64 = 20;

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    let counter = |key: &str| demo.client().object::<CounterClient>(key);
    let get = async |key: &str| counter(key).get().await;

    demo.step("Add to a counter: state is there as soon as somebody writes it");
    let sum = counter("apples").add(3).await?;
    demo.say(format!("Counter/apples/add 3  → {sum}"));
    let sum = counter("apples").add(4).await?;
    demo.say(format!("Counter/apples/add 4  → {sum}"));
    let (apples, pears) = (get("apples").await?, get("pears").await?);
    demo.say(format!("Counter/apples/get    → {apples}"));
    demo.say(format!(
        "Counter/pears/get     → {pears}   (another key, another counter)"
    ));
    ensure!((apples, pears) == (7, 0), "got {apples} and {pears}");

    demo.step(format!("Add 1 to one counter, {ADDS} times at once"));
    let mut adds = JoinSet::new();
    for _ in 0..ADDS {
        adds.spawn(counter("visits").add(1).call());
    }
    // A shared handler does not queue behind them.
    let first = adds.join_next().await;
    let meanwhile = get("visits").await?;
    let mut sums = adds
        .join_all()
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    sums.extend(first.transpose()?.transpose()?);
    sums.sort_unstable();
    let total = get("visits").await?;
    demo.say(format!("the sums returned     → {sums:?}"));
    demo.say(format!("a look meanwhile      → {meanwhile}"));
    demo.say(format!("Counter/visits/get    → {total}"));
    demo.say("each add saw the one before: nothing lost, and no lock in the code");
    ensure!(
        sums == (1..=ADDS).collect::<Vec<_>>(),
        "not one after the other: {sums:?}"
    );
    ensure!(total == ADDS, "{total} instead of {ADDS}");

    demo.step("Reset it");
    counter("visits").reset().await?;
    let total = get("visits").await?;
    demo.say(format!("Counter/visits/get    → {total}"));
    ensure!(total == 0, "{total} is left");
    Ok(())
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, object};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    #[tokio::test]
    async fn adds_to_what_is_there() {
        let mock = MockContext::object("apples").state("sum", &40_u64);
        let sum = mock.call(async |ctx| Counter.add(ctx, 2).await).await;
        assert_eq!(sum.unwrap(), 42);
        assert_eq!(mock.get::<u64>("sum"), Some(42));
    }

    #[tokio::test]
    async fn a_counter_that_nobody_has_touched_is_at_zero() {
        let mock = MockContext::shared_object("pears");
        let sum = mock.call(async |ctx| Counter.get(ctx).await).await;
        assert_eq!(sum.unwrap(), 0);
    }

    fn runtime() -> Result<TestRuntime> {
        let endpoint = Endpoint::builder().bind(Counter).build()?;
        // Each wait is followed by a replay, as after a crash.
        Ok(TestRuntime::builder(endpoint).always_suspend().build())
    }

    /// Twenty adds at once queue up, and none is lost.
    #[test]
    fn adds_come_one_after_the_other() -> Result {
        let mut runtime = runtime()?;
        let visits = || object::<CounterClient>("visits");
        let mut adds = Vec::new();
        for _ in 0..20 {
            adds.push(runtime.send(visits().add(1))?);
        }
        let mut sums = Vec::new();
        for id in adds {
            sums.push(runtime.attach::<u64>(&id)?);
        }
        sums.sort_unstable();
        assert_eq!(sums, (1..=20).collect::<Vec<_>>());
        assert_eq!(runtime.call(visits().get())?, 20);
        Ok(())
    }

    /// An exclusive handler that sleeps holds up the writers of its key, but no reader and no other key.
    #[test]
    fn readers_and_other_keys_do_not_wait() -> Result {
        let mut runtime = runtime()?;
        let begin = runtime.now();
        let add = runtime.send(object::<CounterClient>("apples").add(1))?;
        assert_eq!(runtime.call(object::<CounterClient>("apples").get())?, 0);
        assert_eq!(runtime.call(object::<CounterClient>("pears").get())?, 0);
        assert_eq!(runtime.now(), begin);
        assert_eq!(runtime.attach::<u64>(&add)?, 1);
        assert_eq!(runtime.now() - begin, Duration::from_millis(20));
        Ok(())
    }

    #[test]
    fn a_reset_forgets_everything() -> Result {
        let mut runtime = runtime()?;
        runtime.set_state("Counter", "apples", "sum", &7);
        runtime.call(object::<CounterClient>("apples").reset())?;
        assert_eq!(runtime.state_keys("Counter", "apples"), [""; 0]);
        Ok(())
    }
}
