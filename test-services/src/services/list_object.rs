//! `ListObject`: a list of strings per key.

use durably::{StateKey, prelude::*};

const LIST: StateKey<Vec<String>> = StateKey::new("list");

pub(crate) struct ListObject;

#[durably::object]
impl ListObject {
    #[handler]
    async fn append(&self, ctx: &ObjectContext, item: String) -> HandlerResult<()> {
        let mut list = self.get(ctx).await?;
        list.push(item);
        ctx.set(LIST, &list);
        Ok(())
    }

    #[handler]
    async fn get(&self, ctx: &ObjectContext) -> HandlerResult<Vec<String>> {
        Ok(ctx.get(LIST).await?.unwrap_or_default())
    }

    #[handler]
    async fn clear(&self, ctx: &ObjectContext) -> HandlerResult<Vec<String>> {
        let list = self.get(ctx).await?;
        ctx.clear(LIST);
        Ok(list)
    }
}
