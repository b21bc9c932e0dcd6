//! `NonDeterministic`: handlers that do something else at every execution, so that replays fail.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use durably::prelude::*;

use super::counter::CounterClient;

const MOMENT: Duration = Duration::from_millis(100);
const SHARED_COUNTER: &str = "abc";

/// Counts the executions for each key: deliberately not state of the object.
#[derive(Default)]
pub(crate) struct NonDeterministic {
    executions: Mutex<HashMap<String, u32>>,
}

#[durably::object]
impl NonDeterministic {
    #[handler(name = "eitherSleepOrCall")]
    async fn either_sleep_or_call(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        if self.takes_first_branch(ctx.key()) {
            ctx.sleep(MOMENT).await?;
        } else {
            counter(ctx, SHARED_COUNTER).get().await?;
        }
        finish(ctx).await
    }

    #[handler(name = "callDifferentMethod")]
    async fn call_different_method(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        if self.takes_first_branch(ctx.key()) {
            counter(ctx, SHARED_COUNTER).get().await?;
        } else {
            counter(ctx, SHARED_COUNTER).reset().await?;
        }
        finish(ctx).await
    }

    #[handler(name = "backgroundInvokeWithDifferentTargets")]
    async fn background_invoke_with_different_targets(
        &self,
        ctx: &ObjectContext,
    ) -> HandlerResult<()> {
        if self.takes_first_branch(ctx.key()) {
            counter(ctx, SHARED_COUNTER).get().send();
        } else {
            counter(ctx, SHARED_COUNTER).reset().send();
        }
        finish(ctx).await
    }

    #[handler(name = "setDifferentKey")]
    async fn set_different_key(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        let key = if self.takes_first_branch(ctx.key()) {
            "a"
        } else {
            "b"
        };
        ctx.set(key, "my-state");
        finish(ctx).await
    }

    fn takes_first_branch(&self, key: &str) -> bool {
        let mut executions = self
            .executions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let earlier = executions.entry(key.to_owned()).or_default();
        *earlier += 1;
        *earlier % 2 == 1
    }
}

fn counter<'a>(ctx: &'a ObjectContext, key: &str) -> CounterClient<&'a Context> {
    ctx.object_client::<CounterClient>(key)
}

async fn finish(ctx: &ObjectContext) -> HandlerResult<()> {
    ctx.sleep(MOMENT).await?;
    counter(ctx, ctx.key()).add(1).send();
    Ok(())
}
