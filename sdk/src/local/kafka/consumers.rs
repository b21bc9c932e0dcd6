//! All subscriptions of a runtime: checked, read from the store, and set to work.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};

use super::{
    KafkaSource, SubscriptionState, consume,
    position::{Position, Subscription},
    take,
};
use crate::{
    engine::catalog::Catalog,
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
