//! Kafka: subscriptions, and records that fill in what the server fills in.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{TestRuntime, encoded, parse_target};
use crate::{
    Encode, InvocationId, KafkaEvent, KafkaEventBuilder, Raw, Target,
    engine::{Origin, Submission, catalog::ServiceType},
};

/// Who reads which topic, and how far the topics are.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// The topic, and the handler.
    sinks: Vec<(String, Target)>,
    /// The next offset of each topic and partition.
    offsets: BTreeMap<(String, i32), i64>,
}

impl TestRuntime {
    /// Subscribes a handler to a topic, from the records to come on. `handler` is `"Service/handler"`.
    ///
    /// # Panics
    ///
    /// If no such handler is served.
    ///
    /// # Examples
    ///
    /// See [`produce`](Self::produce).
    #[track_caller]
    pub fn subscribe(&mut self, topic: &str, handler: &str) {
        let Some(target) = parse_target(handler) else {
            self.fail(&format!(
                "`{handler}` is no handler: write it as `Service/handler`"
            ));
        };
        let catalog = &self.driver.engine.catalog;
        if catalog
            .handler(target.service_name(), target.handler_name())
            .is_none()
        {
            self.fail(&format!("the endpoint serves no handler `{handler}`"));
        }
        self.subscriptions.sinks.push((topic.to_owned(), target));
    }

    /// Puts a record on a topic: each handler that is subscribed gets an invocation, with the record's metadata as
    /// the server adds them. Of an object or workflow, `key` is the key.
    ///
    /// # Panics
    ///
    /// If nobody is subscribed to the topic, or the value cannot be encoded.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::TestRuntime};
    ///
    /// struct Orders;
    ///
    /// #[durably::object]
    /// impl Orders {
    ///     #[handler]
    ///     async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
    ///         ctx.set("offset", &event.record().map(|record| record.offset));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Orders).build()?);
    /// runtime.subscribe("orders", "Orders/on_event");
    /// runtime.produce("orders", "ada", &7);
    /// runtime.produce("orders", "ada", &8);
    /// runtime.run_until_idle();
    /// assert_eq!(runtime.state::<u64>("Orders", "ada", "offset"), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn produce<T: Encode + ?Sized>(
        &mut self,
        topic: &str,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Vec<InvocationId> {
        self.produce_raw(topic, Some(key.as_ref()), encoded(value))
    }

    /// As [`produce`](Self::produce), with bytes as they are; a record without a value is an empty one. Without
    /// a key, the record's is null: the header `kafka.key` is missing then, and an object's key is empty.
    ///
    /// # Panics
    ///
    /// If nobody is subscribed to the topic; if the key is not UTF-8 and an object or workflow is subscribed, which
    /// stops a partition for good on the real server. A service takes any key.
    ///
    /// # Examples
    ///
    /// As [`produce`](Self::produce).
    #[track_caller]
    pub fn produce_raw(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: impl Into<Bytes>,
    ) -> Vec<InvocationId> {
        let record = KafkaEvent::builder(Raw(value.into())).topic(topic);
        self.produce_event(match key {
            Some(key) => record.key(key),
            None => record,
        })
    }

    /// Puts a record on a topic, as the builder of [`KafkaEvent`] describes it: with or without key and value, on
    /// any partition, of any time. The offset is the next one of the partition and the subscription's id the
    /// runtime's, whatever was set; without a timestamp it is the present virtual time.
    ///
    /// Gives the invocations. What the server drops makes none: the second record for the run of a workflow.
    ///
    /// # Panics
    ///
    /// As [`produce`](Self::produce) and [`produce_raw`](Self::produce_raw).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::TestRuntime};
    ///
    /// struct Prices;
    ///
    /// #[durably::object]
    /// impl Prices {
    ///     #[handler]
    ///     async fn on_price(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
    ///         match event.value() {
    ///             Some(cents) => ctx.set("cents", cents),
    ///             None => ctx.clear_all(), // a tombstone
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Prices).build()?);
    /// runtime.subscribe("prices", "Prices/on_price");
    /// runtime.produce_event(KafkaEvent::builder(499).topic("prices").key("tea").partition(2));
    /// runtime.produce_event(KafkaEvent::<u64>::tombstone().topic("prices").key("tea").partition(2));
    /// runtime.run_until_idle();
    /// assert_eq!(runtime.state::<u64>("Prices", "tea", "cents"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn produce_event<T: Encode>(&mut self, event: KafkaEventBuilder<T>) -> Vec<InvocationId> {
        let (mut record, value) = event.into_parts();
        let value = value.as_ref().map(encoded).unwrap_or_default();
        let sinks = self.subscriptions.sinks.iter().enumerate();
        let sinks: Vec<_> = sinks
            .filter(|(_, (of, _))| *of == record.topic)
            .map(|(number, (_, target))| (number, target.clone()))
            .collect();
        if sinks.is_empty() {
            self.fail(&format!(
                "nobody is subscribed to the topic `{}`: use `subscribe`",
                record.topic
            ));
        }
        let place = (record.topic.clone(), record.partition);
        let next = self.subscriptions.offsets.entry(place).or_default();
        record.offset = *next;
        *next += 1;
        if record.timestamp_millis.is_none() {
            record.timestamp_millis = i64::try_from(self.driver.engine.now()).ok();
        }
        let mut ids = Vec::new();
        for (number, target) in sinks {
            let service = self.driver.engine.catalog.service(target.service_name());
            let keyed = service.is_some_and(|service| service.ty != ServiceType::Service);
            let key = keyed.then(|| {
                let bytes = record.key.as_deref().unwrap_or_default();
                match std::str::from_utf8(bytes) {
                    Ok(key) => key.to_owned(),
                    Err(_) => self.fail(&format!(
                        "the key of a record for `{target}` must be UTF-8: the server delivers nothing more \
                         of the partition, and says so in its log alone"
                    )),
                }
            });
            record.subscription_id = Some(format!("sub_1{number:022}"));
            let submission = Submission {
                service: target.service_name().to_owned(),
                handler: target.handler_name().to_owned(),
                key,
                input: value.clone(),
                headers: record.to_headers().into_iter().collect(),
                ..Submission::default()
            };
            // What it refuses is dropped, like the second record for a workflow's run.
            if let Ok(submitted) = self.driver.engine.submit(submission, Origin::Kafka)
                && !submitted.already
            {
                ids.push(self.id_of(submitted.index));
            }
        }
        ids
    }
}
