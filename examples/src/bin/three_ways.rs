//! One handler, called by HTTP, by another handler and by Kafka.
//!
//! It ends the trouble of writing the same logic three times (in a web controller, in an internal client,
//! in a consumer loop), each with its own retries, its own idea of duplicates and its own locks on the row.
//!
//! `cargo run -p durably-examples --bin three_ways` shows it at work; with the argument `serve` it only
//! serves.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

/// What the warehouse has of an article; the key is the article.
struct Stock;

/// How many pieces come in, or go out if the number is below zero.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Change {
    pieces: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Level {
    pieces: i64,
    /// How many changes led there.
    changes: u64,
}

#[durably::object]
impl Stock {
    /// Books a change. Who asks for it does not matter here: its input is the body of an HTTP request,
    /// the argument of a call or the value of a record, and the key comes from the URL, the client or
    /// the record. (Take a `KafkaEvent<Change>` instead to see where a record stood.)
    #[handler]
    async fn change(&self, ctx: &ObjectContext, change: Change) -> HandlerResult<Level> {
        let mut level = ctx.get::<Level>("level").await?.unwrap_or_default();
        let pieces = level.pieces.saturating_add(change.pieces);
        if pieces < 0 {
            let refusal = format!("there are only {} of {}", level.pieces, ctx.key());
            return Err(TerminalError::new(refusal).with_code(409).into());
        }
        level.pieces = pieces;
        level.changes += 1;
        ctx.set("level", &level);
        Ok(level)
    }

    /// What is there.
    #[handler]
    async fn level(&self, ctx: &SharedObjectContext) -> HandlerResult<Level> {
        Ok(ctx.get("level").await?.unwrap_or_default())
    }
}

struct Shop;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sale {
    article: String,
    pieces: u32,
}

#[durably::service]
impl Shop {
    /// Sells something, if the warehouse has it.
    #[handler]
    async fn sell(&self, ctx: &Context, sale: Sale) -> HandlerResult<String> {
        let stock = ctx.object_client::<StockClient>(&sale.article);
        let change = Change {
            pieces: -i64::from(sale.pieces),
        };
        match stock.change(change).await {
            Ok(level) => Ok(format!("sold, {} left", level.pieces)),
            Err(refused) if refused.code() == 409 => Ok(format!("not sold: {}", refused.message())),
            Err(other) => Err(other.into()),
        }
    }
}

fn endpoint() -> Result<Endpoint, durably::BuildError> {
    Endpoint::builder().bind(Stock).bind(Shop).build()
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    durably_examples::run_with_server(endpoint(), demonstrate).await
}

// What follows calls the handler in the three ways: one by one, then all at once and with a crash.

use anyhow::{bail, ensure};
use durably::ingress::{IngressClient, IngressFuture};
use durably_examples::{ServerDemo, eventually, record};
use tokio::task::JoinSet;

/// How often each way is taken when all are taken at once.
const TIMES: u32 = 20;

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    let client = demo.client();
    let broker = demo.start_kafka().await?;
    broker.create_topic("deliveries", 2).await?;
    demo.subscribe("deliveries", "Stock/change").await?;

    demo.step("Call the handler by HTTP, twice with the same idempotency key");
    demo.say("curl localhost:8080/Stock/tea/change --json '{\"pieces\": 100}' -H 'idempotency-key: first'");
    let level = by_http(&client, "first", 100).await?;
    let again = by_http(&client, "first", 100).await?;
    demo.say_when(format!("HTTP     +100 → {level:?}"));
    demo.say_when(format!("HTTP     again → {again:?}"));
    ensure!((level.pieces, level.changes) == (100, 1) && again == level);

    demo.step("Call it by another handler");
    let sold = by_handler(&client, "tea for three", 3).await?;
    demo.say_when(format!("handler    -3 → {sold}"));
    ensure!(sold == "sold, 97 left");

    demo.step("Call it by Kafka: the record's key is the object's key, its value the input");
    broker
        .produce_all("deliveries", [record("tea", &Change { pieces: 5 })?])
        .await?;
    let level = level_after(demo, 3).await?;
    demo.say_when(format!("Kafka      +5 → {level:?}"));
    ensure!(level.pieces == 102);

    demo.step(format!(
        "All three at once, {TIMES} times each, and a server that is killed (kill -9) meanwhile"
    ));
    let mut calls = JoinSet::new();
    for n in 0..TIMES {
        let delivered = by_http(&client, &n.to_string(), 1);
        calls.spawn(async { delivered.await.map(drop) });
        let sold = by_handler(&client, &n.to_string(), 1);
        calls.spawn(async { sold.await.map(drop) });
    }
    let records = (0..TIMES).map(|_| record("tea", &Change { pieces: 2 }));
    let records = records.collect::<anyhow::Result<Vec<_>>>()?;
    broker.produce_all("deliveries", records).await?;
    let booked = level_after(demo, 3 + 10).await?.changes - 3;
    demo.server().kill9();
    demo.say_when(format!(
        "the server is gone, with {booked} of {} changes booked",
        3 * TIMES
    ));
    demo.server().restart().await?;
    demo.say_when("the server is back; whoever got no answer asks again, with the same key");
    while let Some(call) = calls.join_next().await {
        call??;
    }
    let changes = u64::from(3 + 3 * TIMES);
    let level = level_after(demo, changes).await?;
    let pieces = i64::from(102 + TIMES - TIMES + 2 * TIMES);
    demo.say_when(format!(
        "102 + {TIMES} × 1 (HTTP) - {TIMES} × 1 (handler) + {TIMES} × 2 (Kafka) = {pieces}"
    ));
    demo.say_when(format!("{level:?}"));
    ensure!(level == Level { pieces, changes }, "expected {pieces}");
    demo.say("each took effect exactly once, one after the other: no lock, no table of duplicates");

    demo.step("A refusal reaches each caller in its own way");
    let Err(refused) = by_http(&client, "too much", -1000).await else {
        bail!("1000 pieces went out");
    };
    let Some(refused) = refused.as_terminal() else {
        bail!(refused);
    };
    let (code, message) = (refused.code(), refused.message());
    demo.say_when(format!("HTTP    -1000 → status {code}: {message}"));
    let refused = by_handler(&client, "too much", 1000).await?;
    demo.say_when(format!("handler -1000 → {refused}"));
    ensure!((code, &*refused) == (409, "not sold: there are only 142 of tea"));
    let records = [-1000, 1].map(|pieces| record("tea", &Change { pieces }));
    let records = records.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    broker.produce_all("deliveries", records).await?;
    let level = level_after(demo, changes + 1).await?;
    demo.say_when("Kafka   -1000 → its invocation has failed, and the next record runs");
    demo.say_when(format!("Kafka      +1 → {level:?}"));
    ensure!(level.pieces == pieces + 1);
    Ok(())
}

/// Calls the handler from outside. What has an idempotency key is asked again while there is no answer.
fn by_http(client: &IngressClient, key: &str, pieces: i64) -> IngressFuture<Level> {
    let stock = client.object::<StockClient>("tea");
    let request = stock.change(Change { pieces }).idempotency_key(key);
    request.retry(patiently()).call()
}

/// Lets the other handler call it.
fn by_handler(client: &IngressClient, key: &str, pieces: u32) -> IngressFuture<String> {
    let article = "tea".to_owned();
    let shop = client.service::<ShopClient>();
    let request = shop.sell(Sale { article, pieces }).idempotency_key(key);
    request.retry(patiently()).call()
}

/// As long as a server takes to come back.
fn patiently() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_millis(100)).max_duration(Duration::from_secs(60))
}

/// The level after so many changes.
async fn level_after(demo: &ServerDemo, changes: u64) -> anyhow::Result<Level> {
    eventually(format!("change number {changes}"), async || {
        let level = demo.client().object::<StockClient>("tea").level().await?;
        Ok((level.changes >= changes).then_some(level))
    })
    .await
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, object, service};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    #[tokio::test]
    async fn books_a_change() -> Result {
        let mock = MockContext::object("tea").state(
            "level",
            &Level {
                pieces: 40,
                changes: 7,
            },
        );
        let level = mock
            .call(async |ctx| Stock.change(ctx, Change { pieces: 2 }).await)
            .await?;
        assert_eq!((level.pieces, level.changes), (42, 8));
        assert_eq!(mock.get("level"), Some(level));
        Ok(())
    }

    #[tokio::test]
    async fn nothing_goes_out_that_is_not_there() {
        let mock = MockContext::object("tea");
        let refused = mock
            .call(async |ctx| Stock.change(ctx, Change { pieces: -1 }).await)
            .await;
        assert_eq!(refused.unwrap_err().as_terminal().unwrap().code(), 409);
        assert!(mock.state_keys().is_empty());
    }

    /// The shop alone: what the warehouse answers is scripted.
    #[tokio::test]
    async fn the_shop_tells_a_refusal_from_a_failure() -> Result {
        let sale = Sale {
            article: "tea".to_owned(),
            pieces: 3,
        };
        let mock = MockContext::service();
        let stock = || object::<StockClient>("tea").change(Change { pieces: -3 });
        mock.on(stock())
            .once()
            .fails(TerminalError::new("there is none").with_code(409));
        mock.on(stock()).fails(TerminalError::new("on fire"));

        let refused = mock.call(async |ctx| Shop.sell(ctx, sale.clone()).await);
        assert_eq!(refused.await?, "not sold: there is none");
        let failed = mock.call(async |ctx| Shop.sell(ctx, sale.clone()).await);
        assert_eq!(failed.await.unwrap_err().to_string(), "on fire");
        Ok(())
    }

    /// The same three ways, in memory.
    #[test]
    fn all_ways_lead_to_the_same_handler() -> Result {
        let mut runtime = TestRuntime::new(endpoint()?);
        runtime.subscribe("deliveries", "Stock/change");
        let stock = || object::<StockClient>("tea");

        let request = || stock().change(Change { pieces: 10 });
        runtime.call(request().idempotency_key("first"))?;
        runtime.call(request().idempotency_key("first"))?;
        let sale = Sale {
            article: "tea".to_owned(),
            pieces: 3,
        };
        let sold = runtime.call(service::<ShopClient>().sell(sale))?;
        assert_eq!(sold, "sold, 7 left");
        runtime.produce("deliveries", "tea", &Change { pieces: 5 });
        runtime.run_until_idle();

        let level = runtime.call(stock().level())?;
        assert_eq!((level.pieces, level.changes), (12, 3));
        Ok(())
    }
}
