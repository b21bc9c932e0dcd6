//! A virtual object fed by a Kafka topic: the record's key is the object's key.
//!
//! `cargo run -p durably-examples --bin orders` shows it at work (the broker is installed with Python's
//! pip); with the argument `serve` it only serves.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

struct Orders;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    Placed { item: String },
    Paid { cents: u64 },
    Packed,
    Shipped,
    Returned,
}

/// An event, and where it stood in the topic.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    event: OrderEvent,
    partition: Option<i32>,
    offset: Option<i64>,
}

/// Keeps the history of each order.
#[durably::object]
impl Orders {
    /// Takes in an event. Invoked once for each record of the topic, one at a time for each order.
    #[handler]
    async fn on_event(
        &self,
        ctx: &ObjectContext,
        event: KafkaEvent<OrderEvent>,
    ) -> HandlerResult<()> {
        let (partition, offset) = (event.partition(), event.offset());
        let Some(event) = event.into_value() else {
            ctx.clear("history"); // a tombstone
            return Ok(());
        };
        let mut history = ctx.get::<Vec<Entry>>("history").await?.unwrap_or_default();
        history.push(Entry {
            event,
            partition,
            offset,
        });
        ctx.set("history", &history);
        Ok(())
    }

    /// What has happened to this order.
    #[handler]
    async fn history(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<Entry>> {
        Ok(ctx.get("history").await?.unwrap_or_default())
    }
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let endpoint = Endpoint::builder().bind(Orders).build();
    durably_examples::run_with_server(endpoint, demonstrate).await
}

// What follows produces the records, and looks at the objects from outside.

use anyhow::ensure;
use durably::test_server::{KafkaBroker, KafkaPosition, KafkaRecord};
use durably_examples::{ServerDemo, or_say_why_it_takes_long};

const ORDERS: usize = 40;
const PARTITIONS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    let server = demo.server();

    demo.step(format!(
        "Start a Kafka broker with the topic `orders` ({PARTITIONS} partitions), and subscribe"
    ));
    let broker =
        or_say_why_it_takes_long("a small Kafka broker (pip, 5 MB)", KafkaBroker::start()).await?;
    broker.create_topic("orders", PARTITIONS).await?;
    server
        .create_kafka_cluster("shop", broker.bootstrap_servers())
        .await?;
    let (topic, handler) = ("kafka://shop/orders", "service://Orders/on_event");
    server
        .subscribe(topic, handler, &[("auto.offset.reset", "earliest")])
        .await?;
    demo.say(format!("broker     {}", broker.bootstrap_servers()));
    demo.say(format!("{topic} → {handler}"));

    let life = [
        OrderEvent::Placed {
            item: "tea".to_owned(),
        },
        OrderEvent::Paid { cents: 499 },
        OrderEvent::Packed,
        OrderEvent::Shipped,
    ];
    let records = |events: &[OrderEvent]| -> anyhow::Result<Vec<KafkaRecord>> {
        let mut records = Vec::new();
        for event in events {
            let value = serde_json::to_vec(event)?;
            let of = |n| KafkaRecord::new().key(key(n)).value(value.clone());
            records.extend((0..ORDERS).map(of));
        }
        Ok(records)
    };

    demo.step(format!("Produce two events for each of {ORDERS} orders"));
    let mut produced = broker.produce_all("orders", records(&life[..2])?).await?;
    demo.say_when(format!(
        "{} records in the topic; {}, {} … are their keys",
        produced.len(),
        key(0),
        key(1)
    ));
    wait_for_history(demo, &key(0), 1).await?;
    demo.say_when(format!("the first has arrived at Orders/{}", key(0)));

    demo.step("Kill the Restate server (kill -9) while it consumes, and produce two more for each");
    server.kill9();
    demo.say_when("the server is gone");
    produced.extend(broker.produce_all("orders", records(&life[2..])?).await?);
    demo.say_when(format!("{} records in the topic", produced.len()));
    server.restart().await?;
    demo.say_when("the server is back, with its data");

    demo.step("Compare what arrived with what was produced");
    for n in 0..ORDERS {
        let history = wait_for_history(demo, &key(n), life.len()).await?;
        check(
            &history,
            &life,
            produced.iter().skip(n).step_by(ORDERS),
            &key(n),
        )?;
        if n < 3 {
            demo.say(format!("Orders/{}   {}", key(n), line(&history)));
        }
    }
    demo.say("…");
    demo.say(format!(
        "all {} events arrived exactly once, and for each order in the order of the topic",
        produced.len()
    ));

    demo.step("Call the same handler, without Kafka");
    let order = demo.client().object::<OrdersClient>(key(0));
    order.on_event(OrderEvent::Returned).await?;
    let history = wait_for_history(demo, &key(0), life.len() + 1).await?;
    demo.say(format!("Orders/{}   {}", key(0), line(&history)));
    let last = history.last().map(|entry| (&entry.event, entry.offset));
    ensure!(
        last == Some((&OrderEvent::Returned, None)),
        "the last event is {last:?}"
    );

    demo.step("Produce a tombstone: a record with a key and no value");
    broker
        .produce_all("orders", [KafkaRecord::new().key(key(0))])
        .await?;
    wait_until(demo, &key(0), "empty", Vec::is_empty).await?;
    demo.say(format!("Orders/{}   (forgotten)", key(0)));
    Ok(())
}

fn key(n: usize) -> String {
    format!("order-{n:02}")
}

/// An order's history in one line.
fn line(history: &[Entry]) -> String {
    let entries = history.iter().map(|entry| {
        let event = format!("{:?}", entry.event);
        let event = event.split(' ').next().unwrap_or_default().to_owned();
        match (entry.partition, entry.offset) {
            (Some(partition), Some(offset)) => format!("{event:6} ({partition}@{offset})"),
            _ => format!("{event} (called)"),
        }
    });
    entries.collect::<Vec<_>>().join("  ")
}

fn check<'a>(
    history: &[Entry],
    events: &[OrderEvent],
    produced: impl Iterator<Item = &'a KafkaPosition>,
    key: &str,
) -> anyhow::Result<()> {
    let arrived = history
        .iter()
        .map(|entry| (&entry.event, entry.partition, entry.offset));
    let arrived: Vec<_> = arrived.collect();
    let wanted = events.iter().zip(produced);
    let wanted = wanted.map(|(event, at)| (event, Some(at.partition), Some(at.offset)));
    let wanted: Vec<_> = wanted.collect();
    ensure!(
        arrived == wanted,
        "Orders/{key} has\n{arrived:?}\ninstead of\n{wanted:?}"
    );
    Ok(())
}

async fn wait_for_history(
    demo: &ServerDemo,
    key: &str,
    length: usize,
) -> anyhow::Result<Vec<Entry>> {
    let what = format!("{length} events long");
    wait_until(demo, key, &what, |history| history.len() >= length).await
}

async fn wait_until(
    demo: &ServerDemo,
    key: &str,
    what: &str,
    is_so: impl Fn(&Vec<Entry>) -> bool,
) -> anyhow::Result<Vec<Entry>> {
    let begin = std::time::Instant::now();
    loop {
        let order = demo.client().object::<OrdersClient>(key);
        let history = order.history().await?;
        if is_so(&history) {
            return Ok(history);
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "the history of Orders/{key} is not {what} after {PATIENCE:?}: {history:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, object};

    use super::*;

    fn entry(event: OrderEvent, offset: i64) -> Entry {
        Entry {
            event,
            partition: Some(2),
            offset: Some(offset),
        }
    }

    #[tokio::test]
    async fn an_event_joins_the_history() {
        let before = vec![entry(OrderEvent::Paid { cents: 995 }, 41)];
        let event = KafkaEvent::builder(OrderEvent::Packed)
            .partition(2)
            .offset(42)
            .build();

        let mock = MockContext::object("order-7").state("history", &before);
        mock.call(async |ctx| Orders.on_event(ctx, event).await)
            .await
            .unwrap();

        let history = mock.get::<Vec<Entry>>("history").unwrap();
        assert_eq!(history.len(), 2);
        assert_eq!(history[1].event, OrderEvent::Packed);
        assert_eq!(
            (history[1].partition, history[1].offset),
            (Some(2), Some(42))
        );
    }

    #[tokio::test]
    async fn a_tombstone_clears_it() {
        let before = vec![entry(OrderEvent::Returned, 41)];
        let mock = MockContext::object("order-7").state("history", &before);
        mock.call(async |ctx| Orders.on_event(ctx, KafkaEvent::tombstone().build()).await)
            .await
            .unwrap();
        assert!(mock.state_keys().is_empty());
    }

    #[tokio::test]
    async fn an_order_that_nobody_knows_has_no_history() {
        let mock = MockContext::shared_object("order-8");
        let history = mock
            .call(async |ctx| Orders.history(ctx).await)
            .await
            .unwrap();
        assert!(history.is_empty());
    }

    /// Records of one order come one after the other, those of several orders side by side.
    #[test]
    fn a_topic_feeds_the_orders() -> Result<(), Box<dyn std::error::Error>> {
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(Orders).build()?);
        runtime.subscribe("orders", "Orders/on_event");
        for event in [OrderEvent::Packed, OrderEvent::Shipped] {
            for order in ["order-1", "order-2"] {
                runtime.produce("orders", order, &event);
            }
        }
        runtime.run_until_idle();

        let history = runtime.call(object::<OrdersClient>("order-2").history())?;
        let history = history.into_iter().map(|entry| (entry.event, entry.offset));
        let wanted = [
            (OrderEvent::Packed, Some(1)),
            (OrderEvent::Shipped, Some(3)),
        ];
        assert_eq!(history.collect::<Vec<_>>(), wanted);
        Ok(())
    }
}
