//! Durable futures compose with the ordinary async ecosystem.

use durably::{RetryPolicy, Target, prelude::*};
use futures::{FutureExt, StreamExt, future::join_all, stream, stream::FuturesUnordered};

struct Fan;

#[derive(Clone)]
struct Item {
    name: String,
}

async fn load(name: &str) -> Result<u64, std::io::Error> {
    Ok(name.len() as u64)
}

/// Helpers take the smaller context, generic or not.
async fn helper<T: std::fmt::Display>(ctx: &Context, what: T) -> Result<u64, TerminalError> {
    ctx.run(format!("load {what}"), || load("x")).await
}

#[durably::object]
impl Fan {
    #[handler]
    async fn out(&self, ctx: &ObjectContext, items: Vec<Item_>) -> HandlerResult<u64> {
        let items: Vec<Item> = items.into_iter().map(|Item_(name)| Item { name }).collect();
        let call = |n: u64| ctx.request::<u64, u64>(Target::service("S", "h"), n).call();

        // Owned items through `buffer_unordered`.
        let names: Vec<String> = items.iter().map(|item| item.name.clone()).collect();
        let mut sum = 0;
        let mut results = stream::iter(names)
            .map(|name| ctx.run("owned", async move || load(&name).await))
            .buffer_unordered(4);
        while let Some(result) = results.next().await {
            sum += result?;
        }
        drop(results);

        // Borrowed items: collect the futures first.
        let futures: Vec<_> = items.iter().map(|item| ctx.run("borrowed", || load(&item.name))).collect();
        let mut results = stream::iter(futures).buffer_unordered(4);
        while let Some(result) = results.next().await {
            sum += result?;
        }
        drop(results);

        let mut unordered: FuturesUnordered<_> = (0..3).map(call).collect();
        while let Some(result) = unordered.next().await {
            sum += result?;
            ctx.sleep(Duration::from_millis(1)).await?;
        }
        drop(unordered);
        for result in join_all((0..3).map(call)).await {
            sum += result?;
        }

        let (a, b) = durably::try_join!(call(1), ctx.run("r", || load(&items[0].name)))?;
        let (c, d) = durably::join!(call(2), ctx.awakeable::<u64>());
        let (e, _) = tokio::join!(call(3), ctx.sleep(Duration::from_secs(1)));
        let (f, g) = futures::try_join!(call(4), call(5))?;
        sum += a + b + c? + d? + e? + f + g;

        let mut kept = call(6);
        loop {
            durably::select! {
                result = &mut kept => {
                    sum += result?;
                    break;
                }
                _ = ctx.sleep(Duration::from_secs(1)), if sum < 1000 => sum += 1,
                else => break,
            }
        }
        sum += tokio::select! {
            value = ctx.request::<u64, u64>(Target::service("S", "h"), 7) => value?,
            value = ctx.signal::<u64>("go") => value?,
        };
        let shared = call(8).shared();
        let (h, i) = durably::join!(shared.clone(), shared);
        sum += h? + i?;
        // As in code that was written for tokio's macros.
        let (j, k) = durably::join!(biased; call(9), call(10));
        let (l, m) = durably::try_join!(biased; call(11), call(12),)?;
        sum += j? + k? + l + m;
        sum += durably::select! {
            biased;
            value = call(13) => value?,
            value = ctx.signal::<u64>("go") => value?,
        };
        sum += helper(ctx, "generic").await?;
        let limited = ctx
            .run("policy", || load(&items[0].name))
            .retry(RetryPolicy::fixed(Duration::from_millis(1)).max_attempts(2))
            .or_timeout(Duration::from_secs(1));
        Ok(sum + limited.await?)
    }
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Item_(String);

fn main() {}
