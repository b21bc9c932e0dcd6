//! Kafka records as invocations: exactly once, in order per key.

use std::collections::BTreeMap;

use durably::prelude::*;
use durably::test_server::{KafkaBroker, KafkaRecord};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::harness::{Env, Result, effect, effects, eventually};
use crate::suite::{Mode, SERVER, Suite};

const KEYS: usize = 37;

/// One record as the handler saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    value: Option<usize>,
    partition: Option<i32>,
    offset: Option<i64>,
}

pub(crate) struct Events;

#[durably::object]
impl Events {
    #[handler]
    async fn on_event(
        &self,
        ctx: &ObjectContext,
        event: KafkaEvent<usize>,
    ) -> HandlerResult<usize> {
        let mut seen = ctx.get::<Vec<Seen>>("seen").await?.unwrap_or_default();
        if event.from_kafka() {
            assert_eq!(event.key_str(), Some(ctx.key()));
            assert!(event.timestamp().is_some() && event.subscription_id().is_some());
            assert_eq!(event.is_tombstone(), event.value().is_none());
        }
        seen.push(Seen {
            value: event.value().copied(),
            partition: event.partition(),
            offset: event.offset(),
        });
        ctx.set("seen", &seen);
        Ok(seen.len())
    }

    #[handler]
    async fn seen(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<Seen>> {
        Ok(ctx.get("seen").await?.unwrap_or_default())
    }
}

pub(crate) struct Observer;

#[durably::service]
impl Observer {
    #[handler]
    async fn observe(&self, ctx: &Context, event: KafkaEvent<String>) -> HandlerResult<()> {
        let line = format!(
            "{:?} {:?} {:?}",
            event.key_str(),
            event.value(),
            event.topic().is_some()
        );
        let key = event
            .headers()
            .get("kafka.topic")
            .unwrap_or("by call")
            .to_owned();
        ctx.run("observe", async || {
            effect(key, line);
            Ok::<_, std::io::Error>(())
        })
        .await?;
        Ok(())
    }
}

/// One broker for all tests, known to the server as `broker`.
pub(crate) async fn broker(env: &Env) -> Result<&'static KafkaBroker> {
    static BROKER: OnceCell<KafkaBroker> = OnceCell::const_new();
    let broker = BROKER.get_or_try_init(KafkaBroker::start).await?;
    let known = env
        .server()
        .create_kafka_cluster("broker", broker.bootstrap_servers())
        .await;
    match known {
        Err(durably::test_server::TestServerError::Refused { status: 409, .. }) => {}
        other => other?,
    }
    Ok(broker)
}

pub(crate) const EARLIEST: &[(&str, &str)] = &[("auto.offset.reset", "earliest")];

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "records_reach_objects_once_and_in_order",
        SERVER,
        async |env| {
            let broker = broker(env).await?;
            let topic = format!("events-{:?}", env.mode);
            broker.create_topic(&topic, 3).await?;
            let source = format!("kafka://broker/{topic}");
            env.server()
                .subscribe(&source, "service://Events/on_event", EARLIEST)
                .await?;

            // A long stream in two modes that differ most, a short one in the others.
            let count = match env.mode {
                Mode::Default | Mode::V7Suspend => 1_000,
                _ => 200,
            };
            let key = |n: usize| format!("key {}", n % KEYS);
            // Every tenth record has no value.
            let value = |n: usize| (n % 10 != 9).then_some(n);
            let records = (0..count).map(|n| {
                let record = KafkaRecord::new().key(key(n));
                value(n).map_or(record.clone(), |value| record.value(value.to_string()))
            });
            let positions = broker.produce_all(&topic, records).await?;
            let mut expected: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
            for (n, position) in positions.iter().enumerate() {
                expected.entry(key(n)).or_default().push(Seen {
                    value: value(n),
                    partition: Some(position.partition),
                    offset: Some(position.offset),
                });
            }
            let sql = "SELECT COUNT(1) AS n FROM sys_invocation \
                     WHERE target_service_name = 'Events' AND status = 'completed'";
            let all = [serde_json::json!({ "n": count })];
            eventually("all records are handled", async || {
                Ok((env.server().query(sql).await? == all).then_some(()))
            })
            .await?;
            for (key, expected) in &expected {
                let seen: Vec<Seen> = env
                    .ingress()
                    .call_object("Events", key, "seen", &())
                    .await?;
                assert_eq!(seen, *expected, "{key}");
            }

            // The same handler by a call: a value and nothing of a record.
            let key = key(0);
            let length: usize = env
                .ingress()
                .call_object("Events", &key, "on_event", &7)
                .await?;
            assert_eq!(length, expected[&key].len() + 1);
            let seen: Vec<Seen> = env
                .ingress()
                .call_object("Events", &key, "seen", &())
                .await?;
            let by_call = Seen {
                value: Some(7),
                partition: None,
                offset: None,
            };
            assert_eq!(seen.last(), Some(&by_call));
            Ok(())
        },
    );

    suite.case("records_reach_services_once", SERVER, async |env| {
        let broker = broker(env).await?;
        let topic = &format!("observed-{:?}", env.mode);
        broker.create_topic(topic, 2).await?;
        let source = format!("kafka://broker/{topic}");
        env.server()
            .subscribe(&source, "service://Observer/observe", EARLIEST)
            .await?;
        let mut records: Vec<_> = (0..50)
            .map(|n| {
                KafkaRecord::new()
                    .key(format!("k{n}"))
                    .value(format!("\"v{n}\""))
            })
            .collect();
        // Without a key, without a value, and without both.
        records.push(KafkaRecord::new().value("\"keyless\""));
        records.push(KafkaRecord::new().key("gone"));
        records.push(KafkaRecord::new());
        broker.produce_all(topic, records).await?;
        let mut expected: Vec<_> = (0..50)
            .map(|n| format!("Some(\"k{n}\") Some(\"v{n}\") true"))
            .collect();
        expected.push("None Some(\"keyless\") true".to_owned());
        expected.push("Some(\"gone\") None true".to_owned());
        expected.push("None None true".to_owned());
        expected.sort();
        eventually("all records are observed", async || {
            Ok((effects(topic).len() >= expected.len()).then_some(()))
        })
        .await?;
        let mut seen = effects(topic);
        seen.sort();
        assert_eq!(seen, expected);

        // A record that cannot be decoded ends its own invocation, not the subscription.
        let bad = KafkaRecord::new().key("bad").value("no JSON");
        let good = KafkaRecord::new().key("bad").value("\"good\"");
        broker.produce_all(topic, [bad, good]).await?;
        eventually("the record after a bad one", async || {
            let good = "Some(\"bad\") Some(\"good\") true";
            Ok(effects(topic).iter().any(|seen| seen == good).then_some(()))
        })
        .await?;
        env.ingress()
            .call::<()>("Observer", "observe", &topic)
            .await?;
        let line = format!("None Some({topic:?}) false");
        assert!(effects("by call").contains(&line));
        Ok(())
    });
}
