//! A virtual object: state under a key, and one exclusive handler at a time for each key.
//!
//! `cargo run -p durably-examples --bin counter` shows it at work; with the argument `serve` it only
//! serves.

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

// What follows calls the handlers from outside, as any client of the server would.

use anyhow::ensure;
use durably_examples::Demo;
use tokio::task::JoinSet;

const ADDS: u64 = 20;

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    let ingress = demo.ingress();
    let get = async |key: &str| ingress.call_object::<u64>("Counter", key, "get", &()).await;

    demo.step("Add to a counter: state is there as soon as somebody writes it");
    let sum: u64 = ingress.call_object("Counter", "apples", "add", &3).await?;
    demo.say(format!("Counter/apples/add 3  → {sum}"));
    let sum: u64 = ingress.call_object("Counter", "apples", "add", &4).await?;
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
        let ingress = ingress.clone();
        adds.spawn(async move {
            ingress
                .call_object::<u64>("Counter", "visits", "add", &1)
                .await
        });
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
    ingress
        .call_object::<()>("Counter", "visits", "reset", &())
        .await?;
    let total = get("visits").await?;
    demo.say(format!("Counter/visits/get    → {total}"));
    ensure!(total == 0, "{total} is left");
    Ok(())
}
