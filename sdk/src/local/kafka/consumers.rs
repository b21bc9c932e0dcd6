//! All subscriptions of a runtime: checked, read from the store, and set to work.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};

use super::{
    KafkaSource, SubscriptionState, UnreadableKey, consume,
    position::{Position, Subscription},
    take::{self, Sink},
};
use crate::{
    engine::catalog::{Catalog, HandlerInfo, ServiceType},
    local::{LocalError, core::Core, handle::Handle, store::Store},
};

/// All subscriptions of a runtime.
#[derive(Debug, Default)]
pub(in crate::local) struct Consumers(Vec<(KafkaSource, Arc<Subscription>)>);

impl Consumers {
    /// Checks what was asked for, and reads how far each has come.
    pub(in crate::local) fn open(
        sources: Vec<KafkaSource>,
        catalog: &Catalog,
        store: &Store,
    ) -> Result<Self, LocalError> {
        let mut consumers = Vec::<(KafkaSource, Arc<Subscription>)>::new();
        for source in sources {
            if consumers.iter().any(|(other, _)| other.name == source.name) {
                return Err(LocalError::Subscription {
                    name: source.name,
                    reason: "another one has this name: see `KafkaSource::name`".to_owned(),
                });
            }
            let sink = source.sink(catalog)?;
            let position = Position::read(store, &source.name, &source.topic)?;
            let (name, topic) = (source.name.clone(), source.topic.clone());
            let subscription = Subscription::new(name, topic, sink, source.max_in_flight, position);
            consumers.push((source, Arc::new(subscription)));
        }
        Ok(Self(consumers))
    }

    /// Counts the invocations that are live from before.
    pub(in crate::local) fn count_live(&self, core: &mut Core) {
        for (_, subscription) in &self.0 {
            take::count_live(core, subscription);
        }
    }

    /// Begins to consume.
    pub(in crate::local) fn spawn(
        &self,
        handle: &Handle,
        stop: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let consumers = self.0.iter();
        consumers
            .map(|(source, subscription)| {
                let consumer = consume::run(
                    source.clone(),
                    Arc::clone(subscription),
                    handle.clone(),
                    stop.clone(),
                );
                tokio::spawn(consumer)
            })
            .collect()
    }

    pub(super) fn states(&self) -> Vec<SubscriptionState> {
        let consumers = self.0.iter();
        consumers
            .flat_map(|(_, subscription)| subscription.states())
            .collect()
    }
}

impl KafkaSource {
    /// Where records go, if that is served.
    fn sink(&self, catalog: &Catalog) -> Result<Sink, LocalError> {
        let refused = |reason: String| LocalError::Subscription {
            name: self.name.clone(),
            reason,
        };
        let brokers = self.brokers.split(',').map(str::trim);
        if brokers.filter(|one| !one.is_empty()).count() == 0 {
            return Err(refused("it names no broker".to_owned()));
        }
        let Some((service, handler)) = self.handler.split_once('/') else {
            let written = &self.handler;
            return Err(refused(format!(
                "`{written}` is no handler: write it as `Service/handler`"
            )));
        };
        let (ty, _) = served(catalog, service, handler).ok_or_else(|| {
            refused(format!(
                "the endpoint serves no handler `{service}/{handler}`"
            ))
        })?;
        if let UnreadableKey::DeadLetter(letters) = &self.on_unreadable_key {
            let known = served(catalog, letters.service_name(), letters.handler_name());
            match (known, letters.key()) {
                (None, _) => {
                    return Err(refused(format!(
                        "the endpoint serves no handler `{letters}` for dead letters"
                    )));
                }
                (Some((ServiceType::Service, _)), Some(_))
                | (Some((ServiceType::Object | ServiceType::Workflow, _)), None) => {
                    return Err(refused(format!(
                        "`{letters}` for dead letters needs a key if it is of an object, and only then"
                    )));
                }
                _ => {}
            }
        }
        Ok(Sink {
            service: service.to_owned(),
            handler: handler.to_owned(),
            keyed: ty != ServiceType::Service,
            on_unreadable_key: self.on_unreadable_key.clone(),
        })
    }
}

fn served<'a>(
    catalog: &'a Catalog,
    service: &str,
    handler: &str,
) -> Option<(ServiceType, &'a HandlerInfo)> {
    let ty = catalog.service(service)?.ty;
    Some((ty, catalog.handler(service, handler)?))
}
