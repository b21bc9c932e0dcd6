//! State: eager and lazy, typed keys, and what stays after an invocation.

use std::collections::BTreeMap;

use durably::{StateKey, prelude::*};
use serde_json::json;

use crate::harness::{Entry, endpoint, journal, ms, serve_in};
use crate::limits::Large;
use crate::suite::{ALL, SERVER, Suite};

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

/// The kinds of the reads in an invocation's journal.
fn reads(journal: &[Entry]) -> BTreeMap<String, u64> {
    let mut reads = BTreeMap::new();
    for entry in journal {
        if let Some(read) = entry.kind.strip_prefix("Command: Get") {
            *reads.entry(format!("Get{read}")).or_default() += 1;
        }
    }
    reads
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "reads_are_eager_or_lazy_as_the_handler_says",
        ALL,
        async |env| {
            for (key, handler, kinds) in [
                (
                    "eager reads",
                    "work",
                    [("GetEagerState", 4), ("GetEagerStateKeys", 3)],
                ),
                (
                    "lazy reads",
                    "work_lazily",
                    [("GetEagerState", 3), ("GetLazyState", 1)],
                ),
            ] {
                let reply = env
                    .ingress()
                    .object("Ledger", key, handler)
                    .call_raw()
                    .await?;
                let seen = reads(&env.journal(reply.invocation_id().ok_or("no id")?).await?);
                for (kind, n) in kinds {
                    assert_eq!(seen.get(kind), Some(&n), "{key}: {seen:?}");
                }
            }
            Ok(())
        },
    );

    // Of a state above this limit, the server sends as much as fits.
    suite.alone(
        "state_is_partial_where_it_is_too_large",
        SERVER,
        async |mode| {
            const LIMIT: &str = "RESTATE_WORKER__INVOKER__EAGER_STATE_SIZE_LIMIT";
            let server = mode.server().env(LIMIT, "3 MiB").start().await?;
            let services = endpoint(|builder| builder.bind(Large));
            let _served = serve_in(mode, &server, services).await?;
            let ingress = server.ingress();
            ingress
                .call_object::<()>("Large", "partial", "fill", &8)
                .await?;
            let reply = ingress
                .object("Large", "partial", "measure")
                .call_raw()
                .await?;
            let id = reply.invocation_id().ok_or("no id")?.to_owned();
            assert_eq!(reply.decode::<(usize, usize)>()?, (8 << 20, 8));
            let seen = reads(&journal(&server, &id).await?);
            let count = |kind: &str| seen.get(kind).copied().unwrap_or_default();
            let (eager, lazy) = (count("GetEagerState"), count("GetLazyState"));
            assert!(eager > 0 && lazy > 0 && eager + lazy == 8, "{seen:?}");
            assert_eq!(
                (count("GetEagerStateKeys"), count("GetLazyStateKeys")),
                (0, 2),
                "{seen:?}"
            );
            Ok(())
        },
    );

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
            let state = env.state("Ledger", key).await?;
            assert_eq!(state, json!({ &own: [1, 2], "total": 2 }));
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
