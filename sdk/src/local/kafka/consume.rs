//! The tasks of a subscription: one looks at the topic, and begins one for each partition (`fetch`).
//!
//! Whatever goes wrong between them and the broker is logged and tried again, after pauses that grow. They end with
//! the runtime.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use rskafka::client::{Client, partition::OffsetAt};
use tokio::{sync::watch, task::JoinSet};

use super::{
    KafkaSource,
    broker::{self, Cluster, Trouble},
    offsets::First,
    pace::Pause,
    position::{Begun, Partition, Subscription},
};
use crate::local::handle::{Handle, Stopped};

/// The first pause after a failure, and the longest.
pub(super) const PAUSES: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(10));

/// Why consuming has come to an end, for now or for good.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// With the runtime.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("{0}")]
    Halted(String),
}

/// Consumes a topic until the runtime stops.
pub(super) async fn run(
    source: KafkaSource,
    subscription: Arc<Subscription>,
    handle: Handle,
    mut stop: watch::Receiver<bool>,
) {
    let consumer = Consumer {
        cluster: Cluster::new(source.clone()),
        source,
        subscription,
        handle,
    };
    tokio::select! {
        // Also when the runtime was dropped.
        _ = stop.wait_for(|stop| *stop) => {}
        () = Arc::new(consumer).follow() => {}
    }
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) cluster: Cluster,
    pub(super) source: KafkaSource,
    pub(super) subscription: Arc<Subscription>,
    pub(super) handle: Handle,
}

impl Consumer {
    /// Looks at the topic, now and then, and begins to consume partitions.
    async fn follow(self: Arc<Self>) {
        let mut pause = Pause::new(PAUSES);
        // Dropping it ends them.
        let mut tasks = JoinSet::new();
        let mut consumed = BTreeSet::new();
        loop {
            let consume = |partition: Arc<Partition>| {
                if consumed.insert(partition.number) {
                    tasks.spawn(Arc::clone(&self).consume(partition));
                }
            };
            let looked = AssertUnwindSafe(self.look(consume)).catch_unwind().await;
            let next = match looked {
                Ok(Ok(true)) => {
                    pause.reset();
                    self.source.refresh.max(PAUSES.0)
                }
                // It was logged which.
                Ok(Ok(false)) => pause.next(),
                Ok(Err(End::Stopped(_))) => return,
                failed => {
                    let next = pause.next();
                    let reason = reason(failed.map(Result::err));
                    tracing::warn!(
                        subscription = %self.subscription.name,
                        topic = %self.subscription.topic,
                        %reason,
                        retry_in = ?next,
                        "the topic cannot be looked at"
                    );
                    next
                }
            };
            tokio::time::sleep(next).await;
        }
    }

    /// Looks for the topic's partitions, and has them consumed: at once those that are known. Those that are new get
    /// their first offset before, which is written: so it is decided once where the subscription begins. Says whether
    /// each of them could be asked for it.
    async fn look(&self, mut consume: impl FnMut(Arc<Partition>)) -> Result<bool, End> {
        let client = self.cluster.client().await?;
        let subscription = &self.subscription;
        // Before the topic is asked for: all that comes from now on is the subscription's.
        let now = crate::endpoint::system_clock().now();
        let begun = subscription.begun();
        let mut begins = begun.unwrap_or(Begun {
            since: i64::try_from(now).unwrap_or(i64::MAX),
            there: 0,
        });
        let found = match broker::partitions(&client, &subscription.topic).await {
            Err(Trouble::NoTopic) => {
                if begun.is_none() {
                    self.begin(begins, Vec::new()).await?;
                }
                return Err(Trouble::NoTopic.into());
            }
            Err(trouble) => {
                self.cluster.forget(&client).await;
                return Err(trouble.into());
            }
            Ok(found) => found,
        };
        let mut new = Vec::new();
        for &number in &found {
            match subscription.partition(number) {
                Some(partition) => consume(partition),
                None => new.push(number),
            }
        }
        let mut offsets = Vec::new();
        for &number in &new {
            match self.first(&client, begun, number).await {
                Ok(offset) => offsets.push((number, offset)),
                Err(reason) => tracing::warn!(
                    subscription = %subscription.name,
                    topic = %subscription.topic,
                    partition = number,
                    %reason,
                    "the partition cannot be asked where it begins or ends, and is not consumed yet"
                ),
            }
        }
        if begins.there == 0 {
            begins.there = found.last().map_or(0, |last| last.saturating_add(1));
        }
        let all_have_begun = offsets.len() == new.len();
        if !offsets.is_empty() {
            tracing::info!(
                subscription = %subscription.name,
                topic = %subscription.topic,
                ?offsets,
                "partitions are consumed from these offsets on"
            );
        }
        if !offsets.is_empty() || begun.is_none_or(|begun| begun != begins) {
            self.begin(begins, offsets).await?;
        }
        for number in new {
            if let Some(partition) = subscription.partition(number) {
                consume(partition);
            }
        }
        if !all_have_begun {
            self.cluster.forget(&client).await;
        }
        Ok(all_have_begun)
    }

    /// Where a partition begins that is not known.
    async fn first(
        &self,
        client: &Client,
        begun: Option<Begun>,
        number: i32,
    ) -> Result<i64, Trouble> {
        let partition = broker::partition(client, &self.subscription.topic, number).await?;
        match First::of(self.source.offset_reset, begun, number) {
            First::Earliest => broker::offset(&partition, OffsetAt::Earliest).await,
            First::Latest => broker::offset(&partition, OffsetAt::Latest).await,
            First::Since(moment) => broker::offset_since(&partition, moment).await,
        }
    }

    async fn begin(&self, begun: Begun, offsets: Vec<(i32, i64)>) -> Result<(), Stopped> {
        let subscription = Arc::clone(&self.subscription);
        let begins = self.handle.ask_core(move |core| {
            for write in subscription.begin(begun, &offsets) {
                core.write(write);
            }
        });
        begins.await
    }
}

/// What is logged of an end; an `Err` is a panic.
pub(super) fn reason(end: Result<Option<End>, Box<dyn std::any::Any + Send>>) -> String {
    match end {
        Ok(Some(end)) => end.to_string(),
        Ok(None) => String::new(),
        Err(_) => "the Kafka client has panicked".to_owned(),
    }
}
