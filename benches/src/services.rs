//! The services of the benchmark endpoint. Names, types and the order of commands are a fixed contract
//! with the drivers, which compare every answer byte for byte.

use durably::{BuildError, Call, Endpoint, Raw, Target, prelude::*};
use futures::{TryStreamExt as _, stream::FuturesUnordered};

/// An endpoint with both services.
///
/// # Errors
///
/// None: the services are fixed and fit together.
///
/// # Examples
///
/// ```
/// let endpoint = durably_benches::services::endpoint()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
pub fn endpoint() -> Result<Endpoint, BuildError> {
    Endpoint::builder().bind(Bench).bind(BenchObject).build()
}

/// Handlers without state.
#[derive(Clone, Copy, Debug)]
pub struct Bench;

#[durably::service]
impl Bench {
    /// Returns its input.
    #[handler]
    async fn hello(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(name)
    }

    /// Awaits `k` runs one after the other.
    #[handler]
    async fn runs(&self, ctx: &Context, k: u32) -> HandlerResult<u64> {
        let mut sum = 0;
        for i in 0..k {
            sum += ctx
                .run("step", async || HandlerResult::Ok(u64::from(i)))
                .await?;
        }
        Ok(sum)
    }

    /// Makes `k` calls and takes the results as they complete.
    #[handler(name = "callsUnordered")]
    async fn calls_unordered(&self, ctx: &Context, k: u32) -> HandlerResult<u64> {
        let mut calls: FuturesUnordered<_> = (0..k).map(|i| work(ctx, i)).collect();
        let mut sum = 0;
        while let Some(result) = calls.try_next().await? {
            sum += result;
        }
        Ok(sum)
    }

    /// Makes `k` calls and awaits them in the order of issue.
    #[handler(name = "callsSequential")]
    async fn calls_sequential(&self, ctx: &Context, k: u32) -> HandlerResult<u64> {
        let calls: Vec<_> = (0..k).map(|i| work(ctx, i)).collect();
        let mut sum = 0;
        for call in calls {
            sum += call.await?;
        }
        Ok(sum)
    }

    /// Makes one call.
    #[handler(name = "callOne")]
    async fn call_one(&self, ctx: &Context, i: u32) -> HandlerResult<u64> {
        Ok(work(ctx, i).await?)
    }

    /// Returns its input, whatever bytes it is.
    #[handler]
    async fn bytes(&self, _ctx: &Context, input: Raw) -> HandlerResult<Raw> {
        Ok(input)
    }

    /// Returns what an awakeable is resolved with.
    #[handler]
    async fn awakeable(&self, ctx: &Context) -> HandlerResult<String> {
        Ok(ctx.awakeable().await?)
    }
}

/// Handlers with state.
#[derive(Clone, Copy, Debug)]
pub struct BenchObject;

#[durably::object]
impl BenchObject {
    /// Gets and sets `n` keys; the sum of the values' lengths.
    #[handler]
    async fn state(&self, ctx: &ObjectContext, n: u32) -> HandlerResult<u64> {
        let mut total = 0;
        for i in 0..n {
            let key = format!("k{i}");
            let value = ctx.get::<String>(&key).await?.unwrap_or_default();
            total += value.len() as u64;
            ctx.set(&key, &value);
        }
        Ok(total)
    }
}

fn work(ctx: &Context, i: u32) -> Call<'_, u64> {
    ctx.request(Target::service("Target", "work"), i).call()
}
