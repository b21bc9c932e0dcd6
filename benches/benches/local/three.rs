//! What is asked for: three durable steps.

use durably::{StateKey, prelude::*};

pub(crate) fn endpoint() -> Endpoint {
    let endpoint = Endpoint::builder().bind(Three).bind(ThreeObject);
    endpoint.build().unwrap()
}

/// The answer: what the steps add up to.
pub(crate) const ANSWER: &[u8] = b"6";

struct Three;

#[durably::service]
impl Three {
    #[handler]
    async fn run(&self, ctx: &Context) -> HandlerResult<u32> {
        steps(ctx).await
    }
}

const TIMES: StateKey<u64> = StateKey::new("times");

struct ThreeObject;

#[durably::object]
impl ThreeObject {
    /// Counts, besides.
    #[handler]
    async fn run(&self, ctx: &ObjectContext) -> HandlerResult<u32> {
        let times = ctx.get(TIMES).await?.unwrap_or_default();
        let sum = steps(ctx).await?;
        ctx.set(TIMES, &(times + 1));
        Ok(sum)
    }
}

async fn steps(ctx: &Context) -> HandlerResult<u32> {
    let first = ctx.run("first", async || HandlerResult::Ok(1)).await?;
    let second = ctx.run("second", async || HandlerResult::Ok(first + 1));
    let second = second.await?;
    let third = ctx.run("third", async || HandlerResult::Ok(second + 1));
    Ok(first + second + third.await?)
}
