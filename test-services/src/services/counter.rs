//! `Counter`: one number per key.

use durably::{StateKey, prelude::*};
use serde::{Deserialize, Serialize};

const COUNTER: StateKey<i64> = StateKey::new("counter");

pub(crate) struct Counter;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Update {
    old_value: i64,
    new_value: i64,
}

#[durably::object]
impl Counter {
    #[handler]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<i64> {
        Ok(ctx.get(COUNTER).await?.unwrap_or_default())
    }

    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: i64) -> HandlerResult<Update> {
        let old_value = ctx.get(COUNTER).await?.unwrap_or_default();
        let new_value = old_value
            .checked_add(n)
            .ok_or_else(|| TerminalError::new("the sum does not fit in 64 bits"))?;
        ctx.set(COUNTER, &new_value);
        Ok(Update {
            old_value,
            new_value,
        })
    }

    #[handler]
    async fn reset(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        ctx.clear(COUNTER);
        Ok(())
    }

    #[handler(name = "addThenFail")]
    async fn add_then_fail(&self, ctx: &ObjectContext, n: i64) -> HandlerResult<()> {
        self.add(ctx, n).await?;
        Err(TerminalError::new(ctx.key()).into())
    }
}
