//! `MapObject`: a map per key, each entry a state key of its own.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) struct MapObject;

#[derive(Deserialize, Serialize)]
pub(crate) struct Entry {
    key: String,
    value: String,
}

#[durably::object]
impl MapObject {
    #[handler]
    async fn set(&self, ctx: &ObjectContext, entry: Entry) -> HandlerResult<()> {
        ctx.set(entry.key, &entry.value);
        Ok(())
    }

    #[handler]
    async fn get(&self, ctx: &ObjectContext, key: String) -> HandlerResult<String> {
        Ok(ctx.get(key).await?.unwrap_or_default())
    }

    #[handler(name = "clearAll")]
    async fn clear_all(&self, ctx: &ObjectContext) -> HandlerResult<Vec<Entry>> {
        let mut entries = Vec::new();
        for key in ctx.get_keys().await? {
            let value = ctx.get(&key).await?.unwrap_or_default();
            entries.push(Entry { key, value });
        }
        ctx.clear_all();
        Ok(entries)
    }
}
