//! Kafka clusters, and subscriptions that feed handlers from their topics.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AdminClient, AdminError, Change, Ensured, is_same};
use crate::{client::http::encode_segment, error::BoxError};

/// The consumer group: what remembers how far a subscription has come.
const GROUP: &str = "group.id";

/// What the server adds to a subscription's options by itself.
const ADDED: [&str; 2] = [GROUP, "client.id"];

/// How often a race with others is run again.
const RACES: u32 = 8;

/// A Kafka cluster, with the name that subscriptions call it by and its properties.
///
/// # Examples
///
/// ```no_run
/// use durably::admin::{AdminClient, KafkaCluster};
///
/// # async fn example(admin: AdminClient) -> Result<(), durably::admin::AdminError> {
/// let events = KafkaCluster::new("events", "broker-1:9092,broker-2:9092")
///     .property("security.protocol", "SASL_SSL");
/// admin.ensure_kafka_cluster(&events).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct KafkaCluster {
    /// Its name, in the form of a host name.
    pub name: String,
    /// Properties of librdkafka. The server shows secrets as `***`.
    pub properties: BTreeMap<String, String>,
}

impl KafkaCluster {
    /// A cluster that is reached through these brokers, separated by commas.
    ///
    /// # Examples
    ///
    /// See [`KafkaCluster`].
    #[must_use]
    pub fn new(name: impl Into<String>, bootstrap_servers: impl Into<String>) -> Self {
        let cluster = Self {
            name: name.into(),
            properties: BTreeMap::new(),
        };
        cluster.property("bootstrap.servers", bootstrap_servers)
    }

    /// Sets any property of librdkafka, for all subscriptions to this cluster.
    ///
    /// # Examples
    ///
    /// See [`KafkaCluster`].
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    fn is_as(&self, wanted: &Self) -> bool {
        self.properties.len() == wanted.properties.len()
            && has(&self.properties, &wanted.properties)
    }
}

/// Whether all these are there, as far as one can see.
fn has(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(name, value)| found.get(name).is_some_and(|found| is_same(value, found)))
}

/// A subscription to be made: each record of a topic invokes a handler.
///
/// # Examples
///
/// ```no_run
/// use durably::admin::{AdminClient, Subscription};
///
/// # async fn example(admin: AdminClient) -> Result<(), durably::admin::AdminError> {
/// let orders = Subscription::new("kafka://events/orders", "Orders/on_event")
///     .from_earliest()
///     .option("fetch.min.bytes", "1000");
/// admin.ensure_subscription(&orders).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use = "it is made by `AdminClient::subscribe` or `ensure_subscription`"]
pub struct Subscription {
    source: String,
    sink: String,
    options: BTreeMap<String, String>,
}

impl Subscription {
    /// From `kafka://cluster/topic` to a handler: `Service/handler`, also for virtual objects and workflows, whose key
    /// is that of the record.
    ///
    /// # Examples
    ///
    /// See [`Subscription`].
    pub fn new(source: impl Into<String>, handler: impl Into<String>) -> Self {
        let handler = handler.into();
        let sink = if handler.starts_with("service://") {
            handler
        } else {
            format!("service://{handler}")
        };
        Self {
            source: source.into(),
            sink,
            options: BTreeMap::new(),
        }
    }

    /// Begins with the oldest records of the topic. Without it those from before the subscription are skipped.
    ///
    /// # Examples
    ///
    /// See [`Subscription`].
    pub fn from_earliest(self) -> Self {
        self.option("auto.offset.reset", "earliest")
    }

    /// Sets any property of librdkafka for the consumer, such as its `group.id`.
    ///
    /// # Examples
    ///
    /// See [`Subscription`].
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(name.into(), value.into());
        self
    }

    /// Refuses ends that the server would take for others: it drops a query and a fragment, and takes a topic that is
    /// missing for one without a name. `ensure_subscription` would never find such a subscription again.
    fn check(&self) -> Result<(), BoxError> {
        let is_written_so = |end: &str, scheme: &str| {
            let parts = end.strip_prefix(scheme).and_then(|end| end.split_once('/'));
            let is_whole = parts.is_some_and(|(of, name)| !of.is_empty() && !name.is_empty());
            is_whole && !end.contains(['?', '#'])
        };
        if !is_written_so(&self.source, "kafka://") {
            let source = &self.source;
            return Err(format!("the source `{source}` is not `kafka://cluster/topic`").into());
        }
        if !is_written_so(&self.sink, "service://") {
            let sink = &self.sink;
            return Err(format!("the sink `{sink}` is not `service://Service/handler`").into());
        }
        Ok(())
    }

    fn has_ends_of(&self, found: &Subscribed) -> bool {
        self.source == found.source && self.sink == found.sink
    }

    fn is_made_as(&self, found: &Subscribed) -> bool {
        let mut names = found.options.keys();
        let known = |name: &String| self.options.contains_key(name) || ADDED.contains(&&**name);
        self.has_ends_of(found) && has(&found.options, &self.options) && names.all(known)
    }
}

/// A subscription that the server has.
///
/// # Examples
///
/// ```no_run
/// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
/// for subscription in admin.subscriptions().await? {
///     println!("{}: {} → {}", subscription.id, subscription.source, subscription.sink);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Subscribed {
    /// Its id, which the invocations that it makes show.
    pub id: String,
    /// `kafka://cluster/topic`.
    pub source: String,
    /// `service://Service/handler`.
    pub sink: String,
    /// Properties of the consumer, with those that the server has added. It shows secrets as `***`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl AdminClient {
    /// The Kafka clusters that the server knows.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
    /// for cluster in admin.kafka_clusters().await? {
    ///     println!("{}: {:?}", cluster.name, cluster.properties.get("bootstrap.servers"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn kafka_clusters(&self) -> Result<Vec<KafkaCluster>, AdminError> {
        #[derive(Deserialize)]
        struct Clusters {
            clusters: Vec<KafkaCluster>,
        }
        let answer: Clusters = self.get("/kafka-clusters").await?;
        Ok(answer.clusters)
    }

    /// Tells the server about a Kafka cluster.
    ///
    /// # Errors
    ///
    /// When the server knows one of that name already (status 409), or refuses the properties.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::admin::{AdminClient, AdminError, KafkaCluster};
    /// # async fn example(admin: AdminClient) -> Result<(), AdminError> {
    /// admin.create_kafka_cluster(&KafkaCluster::new("events", "127.0.0.1:9092")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_kafka_cluster(
        &self,
        cluster: &KafkaCluster,
    ) -> Result<KafkaCluster, AdminError> {
        let answer = self
            .exchange(Method::POST, "/kafka-clusters", Some(cluster))
            .await?;
        answer.decode()
    }

    /// Gives a Kafka cluster other properties: these, and no others.
    ///
    /// # Errors
    ///
    /// When the server knows no cluster of that name (status 404), or refuses the properties.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::admin::{AdminClient, AdminError, KafkaCluster};
    /// # async fn example(admin: AdminClient) -> Result<(), AdminError> {
    /// admin.patch_kafka_cluster(&KafkaCluster::new("events", "127.0.0.1:9093")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn patch_kafka_cluster(
        &self,
        cluster: &KafkaCluster,
    ) -> Result<KafkaCluster, AdminError> {
        let path = format!("/kafka-clusters/{}", encode_segment(&cluster.name));
        let body = json!({ "properties": cluster.properties });
        let answer = self.exchange(Method::PATCH, &path, Some(&body)).await?;
        answer.decode()
    }

    /// Forgets a Kafka cluster; with `force` also if there are subscriptions to it.
    ///
    /// # Errors
    ///
    /// When the server knows no cluster of that name (status 404), or there are subscriptions to it (409).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(admin: durably::admin::AdminClient) -> Result<(), durably::admin::AdminError> {
    /// admin.delete_kafka_cluster("events", false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_kafka_cluster(&self, name: &str, force: bool) -> Result<(), AdminError> {
        let path = format!("/kafka-clusters/{}?force={force}", encode_segment(name));
        self.exchange(Method::DELETE, &path, None::<&Value>).await?;
        Ok(())
    }

    /// Creates a Kafka cluster, or gives it these properties, unless everything is so already.
    ///
    /// The server does not show secrets, so a change of nothing but a password is not seen: use
    /// [`patch_kafka_cluster`](Self::patch_kafka_cluster).
    ///
    /// # Errors
    ///
    /// When the server refuses the properties.
    ///
    /// # Examples
    ///
    /// See [`KafkaCluster`].
    pub async fn ensure_kafka_cluster(
        &self,
        cluster: &KafkaCluster,
    ) -> Result<Ensured<KafkaCluster>, AdminError> {
        let mut races = 0;
        loop {
            let found = self.kafka_clusters().await?;
            let found = found.into_iter().find(|found| found.name == cluster.name);
            let (change, made) = match found {
                Some(found) if found.is_as(cluster) => {
                    return Ok(Ensured::new(Change::Nothing, found));
                }
                Some(_) => (Change::Updated, self.patch_kafka_cluster(cluster).await),
                None => (Change::Created, self.create_kafka_cluster(cluster).await),
            };
            races += 1;
            match made {
                // Somebody was faster: to create it, or to delete it.
                Err(error) if races < RACES && matches!(error.status(), Some(404 | 409)) => {}
                made => return Ok(Ensured::new(change, made?)),
            }
        }
    }

    /// The subscriptions that the server has.
    ///
    /// # Errors
    ///
    /// When the server does not answer.
    ///
    /// # Examples
    ///
    /// See [`Subscribed`].
    pub async fn subscriptions(&self) -> Result<Vec<Subscribed>, AdminError> {
        #[derive(Deserialize)]
        struct Subscriptions {
            subscriptions: Vec<Subscribed>,
        }
        let answer: Subscriptions = self.get("/subscriptions").await?;
        Ok(answer.subscriptions)
    }

    /// Makes a subscription: another one, also if the same is there, which then invokes the handler as well.
    ///
    /// # Errors
    ///
    /// When the server knows no such cluster or handler (status 400), or the source is not `kafka://cluster/topic`
    /// ([`AdminError::Invalid`]).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::admin::{AdminClient, AdminError, Subscription};
    /// # async fn example(admin: AdminClient) -> Result<(), AdminError> {
    /// let subscription = Subscription::new("kafka://events/orders", "Orders/on_event");
    /// let id = admin.subscribe(&subscription).await?.id;
    /// admin.unsubscribe(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn subscribe(&self, subscription: &Subscription) -> Result<Subscribed, AdminError> {
        if let Err(source) = subscription.check() {
            let request = self.name(&Method::POST, "/subscriptions");
            return Err(AdminError::Invalid { request, source });
        }
        let answer = self
            .exchange(Method::POST, "/subscriptions", Some(subscription))
            .await?;
        answer.decode()
    }

    /// Ends a subscription. Another one begins where this one was only if it has the same `group.id`.
    ///
    /// # Errors
    ///
    /// When the server has no such subscription (status 404).
    ///
    /// # Examples
    ///
    /// See [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(&self, id: &str) -> Result<(), AdminError> {
        let path = format!("/subscriptions/{}", encode_segment(id));
        self.exchange(Method::DELETE, &path, None::<&Value>).await?;
        Ok(())
    }

    /// Makes a subscription, unless it is there already.
    ///
    /// One from the same topic to the same handler with other options is replaced. The new one goes on where that was,
    /// by taking over its `group.id` unless you give another. If several programs do this at once, one subscription
    /// remains; until then each of them reads the topic for itself, so that a record may invoke the handler more than
    /// once, unless you give a `group.id`.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Examples
    ///
    /// See [`Subscription`].
    pub async fn ensure_subscription(
        &self,
        subscription: &Subscription,
    ) -> Result<Ensured<Subscribed>, AdminError> {
        let mut change = Change::Nothing;
        for _ in 0..RACES {
            let found = self.subscriptions().await?;
            let (same, others) = found
                .into_iter()
                .filter(|found| subscription.has_ends_of(found))
                .partition::<Vec<_>, _>(|found| subscription.is_made_as(found));
            // All who see several agree on the one that stays.
            let kept = same.iter().min_by(|a, b| a.id.cmp(&b.id));
            if let Some(kept) = kept {
                for superfluous in same
                    .iter()
                    .chain(&others)
                    .filter(|found| found.id != kept.id)
                {
                    self.unsubscribe_once(&superfluous.id).await?;
                }
                return Ok(Ensured::new(change, kept.clone()));
            }
            // The new one first: a subscription that is gone could not say how far it had come.
            let mut new = subscription.clone();
            change = Change::Created;
            if let Some(group) = others.iter().find_map(|found| found.options.get(GROUP)) {
                new.options
                    .entry(GROUP.to_owned())
                    .or_insert_with(|| group.clone());
                change = Change::Updated;
            }
            self.subscribe(&new).await?;
        }
        Err(AdminError::Undecodable {
            request: self.name(&Method::GET, "/subscriptions"),
            source: "the subscription that was just made is not among them".into(),
        })
    }

    /// Ends a subscription, which somebody else may have ended already.
    async fn unsubscribe_once(&self, id: &str) -> Result<(), AdminError> {
        match self.unsubscribe(id).await {
            Err(error) if error.status() == Some(404) => Ok(()),
            ended => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed(options: &[(&str, &str)]) -> Subscribed {
        let options = options
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        Subscribed {
            id: "sub_1".to_owned(),
            source: "kafka://c/t".to_owned(),
            sink: "service://S/h".to_owned(),
            options: options.collect(),
        }
    }

    #[test]
    fn subscriptions_are_the_same_apart_from_what_the_server_adds() {
        let wanted = Subscription::new("kafka://c/t", "S/h").from_earliest();
        assert_eq!(
            wanted,
            Subscription::new("kafka://c/t", "service://S/h").from_earliest()
        );
        let earliest = ("auto.offset.reset", "earliest");
        let added = [earliest, ("group.id", "sub_1"), ("client.id", "restate")];
        assert!(wanted.is_made_as(&subscribed(&added)));
        assert!(!wanted.is_made_as(&subscribed(&[("auto.offset.reset", "latest")])));
        assert!(!wanted.is_made_as(&subscribed(&[earliest, ("fetch.min.bytes", "9")])));
        assert!(!wanted.is_made_as(&subscribed(&[])));
        let grouped = wanted.clone().option("group.id", "mine");
        assert!(!grouped.is_made_as(&subscribed(&added)));
        let elsewhere = Subscription::new("kafka://c/t", "S/i").from_earliest();
        assert!(!elsewhere.is_made_as(&subscribed(&added)));
    }

    #[tokio::test]
    async fn a_subscription_that_could_not_be_found_again_is_not_made() {
        let admin = AdminClient::new("http://127.0.0.1:1");
        for (source, handler) in [
            ("kafka://events", "S/h"),
            ("kafka://events/", "S/h"),
            ("kafka:///orders", "S/h"),
            ("kafka://events/orders?x=y", "S/h"),
            ("kafka://events/orders#x", "S/h"),
            ("events/orders", "S/h"),
            ("kafka://events/orders", "S"),
            ("kafka://events/orders", "S/h?x"),
        ] {
            let subscription = Subscription::new(source, handler);
            let error = admin.subscribe(&subscription).await.unwrap_err();
            assert!(matches!(error, AdminError::Invalid { .. }), "{error}");
        }
        let whole = Subscription::new("kafka://events/orders", "S/h");
        assert!(whole.check().is_ok());
    }

    #[test]
    fn secrets_cannot_be_compared() {
        let wanted = KafkaCluster::new("c", "a:1").property("sasl.password", "hush");
        let mut found = wanted.clone().property("sasl.password", "***");
        assert!(found.is_as(&wanted));
        found = found.property("bootstrap.servers", "a:2");
        assert!(!found.is_as(&wanted));
        assert!(!KafkaCluster::new("c", "a:1").is_as(&wanted));
        assert!(!wanted.clone().property("x", "y").is_as(&wanted));
    }
}
