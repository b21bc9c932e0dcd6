//! `KillTestSingleton`: waits, then calls itself, which blocks for ever.

use durably::prelude::*;

use super::awakeable_holder::AwakeableHolderClient;

pub(crate) struct KillTestSingleton;

#[durably::object]
impl KillTestSingleton {
    #[handler(name = "recursiveCall")]
    async fn recursive_call(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        let awakeable = ctx.awakeable::<()>();
        ctx.object_client::<AwakeableHolderClient>(ctx.key())
            .hold(awakeable.id().to_owned())
            .send();
        awakeable.await?;
        ctx.object_client::<KillTestSingletonClient>(ctx.key())
            .recursive_call()
            .await?;
        Ok(())
    }

    #[handler(name = "isUnlocked")]
    async fn is_unlocked(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}
