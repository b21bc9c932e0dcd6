//! Kafka: subscriptions, and records that fill in what the server fills in.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use bytes::Bytes;

use super::{TestRuntime, encoded, parse_target};
use crate::{
    Encode, InvocationId, Target,
    testing::engine::{Origin, Submission, catalog::ServiceType},
};

/// Who reads which topic, and how far the topics are.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// The topic, and the handler.
    sinks: Vec<(String, Target)>,
    offsets: BTreeMap<String, u64>,
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

    /// As [`produce`](Self::produce), with bytes as they are; a record without a value is an empty one.
    ///
    /// # Panics
    ///
    /// If nobody is subscribed to the topic; if the key is not UTF-8 and an object or workflow is subscribed, which
    /// stops a partition for good on the real server.
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
        let value = value.into();
        let offset = self
            .subscriptions
            .offsets
            .entry(topic.to_owned())
            .or_default();
        let this = *offset;
        *offset += 1;
        let sinks = self.subscriptions.sinks.iter().enumerate();
        let sinks: Vec<_> = sinks
            .filter(|(_, (of, _))| of == topic)
            .map(|(number, (_, target))| (number, target.clone()))
            .collect();
        if sinks.is_empty() {
            self.fail(&format!(
                "nobody is subscribed to the topic `{topic}`: use `subscribe`"
            ));
        }
        let mut ids = Vec::new();
        for (number, target) in sinks {
            let service = self.driver.engine.catalog.service(target.service_name());
            let keyed = service.is_some_and(|service| service.ty != ServiceType::Service);
            let object_key = keyed.then(|| match std::str::from_utf8(key.unwrap_or_default()) {
                Ok(key) => key.to_owned(),
                Err(_) => self.fail("the key of a record for an object must be UTF-8"),
            });
            let header = |key: &str, value: String| (key.to_owned(), value);
            let mut headers = vec![
                header("kafka.offset", this.to_string()),
                header("kafka.topic", topic.to_owned()),
                header("kafka.partition", "0".to_owned()),
                header("kafka.timestamp", self.driver.engine.now().to_string()),
                header("restate.subscription.id", format!("sub_1{number:022}")),
            ];
            if let Some(key) = key {
                headers.push(header("kafka.key", BASE64_URL_SAFE.encode(key)));
            }
            let submission = Submission {
                service: target.service_name().to_owned(),
                handler: target.handler_name().to_owned(),
                key: object_key,
                input: value.clone(),
                headers,
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
