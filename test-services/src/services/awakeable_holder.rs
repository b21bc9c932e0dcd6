//! `AwakeableHolder`: keeps the id of an awakeable until somebody resolves it.

use durably::{StateKey, prelude::*};

const ID: StateKey<String> = StateKey::new("id");

pub(crate) struct AwakeableHolder;

#[durably::object]
impl AwakeableHolder {
    #[handler]
    async fn hold(&self, ctx: &ObjectContext, id: String) -> HandlerResult<()> {
        ctx.set(ID, &id);
        Ok(())
    }

    #[handler(name = "hasAwakeable")]
    async fn has_awakeable(&self, ctx: &SharedObjectContext) -> HandlerResult<bool> {
        Ok(ctx.get(ID).await?.is_some())
    }

    #[handler]
    async fn unlock(&self, ctx: &ObjectContext, value: String) -> HandlerResult<()> {
        let id = ctx.get(ID).await?;
        let id = id.ok_or_else(|| TerminalError::new("No awakeable is registered"))?;
        ctx.resolve_awakeable(&id, &value)?;
        Ok(())
    }
}
