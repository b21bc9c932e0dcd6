//! State: eager and lazy, typed keys, and what stays after an invocation.

use durably::{StateKey, prelude::*};

use crate::harness::ms;
use crate::suite::{ALL, Suite};

const TOTAL: StateKey<u64> = StateKey::new("total");

pub(crate) struct Ledger;

#[durably::object]
impl Ledger {
    #[handler]
    async fn work(&self, ctx: &ObjectContext) -> HandlerResult<Vec<String>> {
        work(ctx).await
    }

    #[handler(lazy_state)]
    async fn work_lazily(&self, ctx: &ObjectContext) -> HandlerResult<Vec<String>> {
        work(ctx).await
    }

    #[handler]
    async fn read(&self, ctx: &SharedObjectContext) -> HandlerResult<(Option<u64>, Vec<String>)> {
        Ok((ctx.get(TOTAL).await?, ctx.get_keys().await?))
    }

    #[handler(lazy_state)]
    async fn read_lazily(
        &self,
        ctx: &SharedObjectContext,
    ) -> HandlerResult<(Option<u64>, Vec<String>)> {
        Ok(durably::try_join!(ctx.get(TOTAL), ctx.get_keys())?)
    }

    #[handler]
    async fn clear(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        ctx.clear_all();
        Ok(())
    }
}

/// Reads, writes and clears, with a sleep between that makes some modes replay all before it.
async fn work(ctx: &ObjectContext) -> HandlerResult<Vec<String>> {
    let mut seen = Vec::new();
    let total = ctx.get(TOTAL).await?;
    seen.push(format!("{total:?} {:?}", ctx.get_keys().await?));
    ctx.set(TOTAL, &(total.unwrap_or_default() + 1));
    ctx.set("text", "a text");
    ctx.set(format!("of {}", ctx.key()), &vec![1, 2]);
    ctx.sleep(ms(10)).await?;
    let text = ctx.get::<String>("text").await?;
    seen.push(format!("{text:?} {:?}", ctx.get_keys().await?));
    ctx.clear("text");
    seen.push(format!("{:?}", ctx.get::<String>("text").await?));
    ctx.sleep(ms(10)).await?;
    seen.push(format!(
        "{:?} {:?}",
        ctx.get(TOTAL).await?,
        ctx.get_keys().await?
    ));
    Ok(seen)
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("state_is_read_written_and_kept", ALL, async |env| {
        for (key, handler, read) in [
            ("eager", "work", "read"),
            ("lazy", "work_lazily", "read_lazily"),
        ] {
            let own = format!("of {key}");
            for before in [None, Some(1)] {
                let seen: Vec<String> = env
                    .ingress()
                    .call_object("Ledger", key, handler, &())
                    .await?;
                let after = before.unwrap_or_default() + 1;
                let keys = before.map_or(vec![], |_| vec![own.as_str(), "total"]);
                assert_eq!(
                    seen,
                    [
                        format!("{before:?} {keys:?}"),
                        format!("Some(\"a text\") {:?}", [&own, "text", "total"]),
                        "None".to_owned(),
                        format!("Some({after}) {:?}", [&own, "total"]),
                    ]
                );
                let read: (Option<u64>, Vec<String>) =
                    env.ingress().call_object("Ledger", key, read, &()).await?;
                assert_eq!(read, (Some(after), vec![own.clone(), "total".to_owned()]));
            }
            let sql = format!(
                "SELECT key, value_utf8 AS value FROM state WHERE service_name = 'Ledger' \
                 AND service_key = '{key}' ORDER BY key"
            );
            assert_eq!(
                env.server.query(&sql).await?,
                [
                    serde_json::json!({ "key": own, "value": "[1,2]" }),
                    serde_json::json!({ "key": "total", "value": "2" })
                ]
            );
            env.ingress()
                .call_object::<()>("Ledger", key, "clear", &())
                .await?;
            let read: (Option<u64>, Vec<String>) =
                env.ingress().call_object("Ledger", key, read, &()).await?;
            assert_eq!(read, (None, vec![]));
        }
        Ok(())
    });
}
