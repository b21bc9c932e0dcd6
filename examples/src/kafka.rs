//! A Kafka broker for a demonstration.
//!
//! In: topics, and the handlers that shall get their records. Out: a broker that the demonstration's
//! Restate server consumes from. With a broker of your own, two requests to the server's admin API do
//! the same: the ones that [`RestateServer::create_kafka_cluster`] and [`RestateServer::subscribe`] make.
//!
//! [`RestateServer::create_kafka_cluster`]: durably::test_server::RestateServer::create_kafka_cluster
//! [`RestateServer::subscribe`]: durably::test_server::RestateServer::subscribe

use durably::test_server::{KafkaBroker, KafkaRecord};
use serde::Serialize;

use crate::{ServerDemo, or_say_why_it_takes_long};

/// What subscriptions call the broker.
const CLUSTER: &str = "demo";

impl ServerDemo {
    /// Starts a broker, and tells the server about it.
    ///
    /// # Errors
    ///
    /// The broker cannot be installed or started, or the server refuses it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(demo: durably_examples::ServerDemo) -> anyhow::Result<()> {
    /// let broker = demo.start_kafka().await?;
    /// broker.create_topic("orders", 2).await?;
    /// demo.subscribe("orders", "Orders/on_event").await?;
    /// let event = durably_examples::record("order-7", &"packed")?;
    /// broker.produce_all("orders", [event]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_kafka(&self) -> anyhow::Result<KafkaBroker> {
        let broker =
            or_say_why_it_takes_long("a small Kafka broker (pip, 5 MB)", KafkaBroker::start())
                .await?;
        let address = broker.bootstrap_servers();
        self.server().create_kafka_cluster(CLUSTER, address).await?;
        self.say(format!("broker     {address}"));
        Ok(broker)
    }

    /// Lets the server call a handler (`Service/handler`) for each record of a topic.
    ///
    /// # Errors
    ///
    /// The server refuses, for example because it knows no such handler.
    ///
    /// # Examples
    ///
    /// See [`ServerDemo::start_kafka`].
    pub async fn subscribe(&self, topic: &str, handler: &str) -> anyhow::Result<()> {
        let source = format!("kafka://{CLUSTER}/{topic}");
        let sink = format!("service://{handler}");
        let earliest = [("auto.offset.reset", "earliest")];
        self.server().subscribe(&source, &sink, &earliest).await?;
        self.say(format!("{source} → {sink}"));
        Ok(())
    }
}

/// A record with a key and a JSON value.
///
/// # Errors
///
/// The value cannot be written as JSON.
///
/// # Examples
///
/// ```
/// let record = durably_examples::record("order-7", &["packed"])?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn record<T: Serialize + ?Sized>(key: &str, value: &T) -> anyhow::Result<KafkaRecord> {
    Ok(KafkaRecord::new()
        .key(key)
        .value(serde_json::to_vec(value)?))
}
