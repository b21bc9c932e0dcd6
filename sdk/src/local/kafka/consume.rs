//! The tasks of a subscription: one looks at the topic, and one for each partition fetches its records and has them
//! taken, as far as there is room.
//!
//! Whatever goes wrong between them and the broker is logged and tried again, after pauses that grow. They end with
//! the runtime.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use rskafka::{
    client::partition::{OffsetAt, PartitionClient},
    record::RecordAndOffset,
};
use tokio::{sync::watch, task::JoinSet};

use super::{
    KafkaSource, OffsetReset,
    broker::{self, Cluster, Trouble},
    position::{Partition, Subscription},
    take::{self, Taken},
};
use crate::local::handle::{Handle, Stopped};

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The same after an answer that brings nothing although it came at once.
const IDLE_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Records that are submitted in one turn of the engine, at most.
const TURN: usize = 512;

/// Why consuming has come to an end, for now or for good.
#[derive(Debug, thiserror::Error)]
enum End {
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
struct Consumer {
    cluster: Cluster,
    source: KafkaSource,
    subscription: Arc<Subscription>,
    handle: Handle,
}

impl Consumer {
    /// Looks at the topic, now and then, and begins to consume partitions.
    async fn follow(self: Arc<Self>) {
        let mut pause = Pause::new(PAUSES);
        // Dropping it ends them.
        let mut tasks = JoinSet::new();
        let mut consumed = BTreeSet::new();
        loop {
            let looked = AssertUnwindSafe(self.look()).catch_unwind().await;
            let next = match looked {
                Ok(Ok(found)) => {
                    for partition in found {
                        if consumed.insert(partition.number) {
                            tasks.spawn(Arc::clone(&self).consume(partition));
                        }
                    }
                    pause.reset();
                    self.source.refresh
                }
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

    /// The topic's partitions. Those that are new get their first offset, which is written at once: so it is
    /// decided once where the subscription begins.
    async fn look(&self) -> Result<Vec<Arc<Partition>>, End> {
        let client = self.cluster.client().await?;
        let subscription = &self.subscription;
        let found = match broker::partitions(&client, &subscription.topic).await {
            Err(Trouble::NoTopic) => {
                if !subscription.has_begun() {
                    // All that will ever be in it comes after the subscription.
                    self.begin(Vec::new()).await?;
                }
                return Err(Trouble::NoTopic.into());
            }
            Err(trouble) => {
                self.cluster.forget(&client).await;
                return Err(trouble.into());
            }
            Ok(found) => found,
        };
        let new = found.iter().copied();
        let new = new.filter(|number| subscription.partition(*number).is_none());
        let at = match (self.source.offset_reset, subscription.has_begun()) {
            (OffsetReset::Latest, false) => OffsetAt::Latest,
            // A partition that came later has only records that came later.
            _ => OffsetAt::Earliest,
        };
        let mut offsets = Vec::new();
        for number in new {
            let partition = broker::partition(&client, &subscription.topic, number).await;
            let offset = match partition {
                Ok(partition) => broker::offset(&partition, at).await,
                Err(trouble) => Err(trouble),
            };
            match offset {
                Ok(offset) => offsets.push((number, offset)),
                Err(trouble) => {
                    self.cluster.forget(&client).await;
                    return Err(trouble.into());
                }
            }
        }
        if !offsets.is_empty() {
            tracing::info!(
                subscription = %subscription.name,
                topic = %subscription.topic,
                ?offsets,
                "partitions are consumed from these offsets on"
            );
            self.begin(offsets).await?;
        }
        let found = found.into_iter();
        Ok(found
            .filter_map(|number| subscription.partition(number))
            .collect())
    }

    async fn begin(&self, offsets: Vec<(i32, i64)>) -> Result<(), Stopped> {
        let subscription = Arc::clone(&self.subscription);
        let begun = self.handle.ask_core(move |core| {
            for write in subscription.begin(&offsets) {
                core.write(write);
            }
        });
        begun.await
    }

    /// Consumes a partition until the runtime stops, or a record is in the way.
    async fn consume(self: Arc<Self>, partition: Arc<Partition>) {
        let subscription = &self.subscription;
        let mut pause = Pause::new(PAUSES);
        loop {
            let consuming = self.consume_while_well(&partition, &mut pause);
            let end = AssertUnwindSafe(consuming).catch_unwind().await;
            match end {
                Ok(End::Stopped(_)) => return,
                Ok(End::Halted(reason)) => {
                    tracing::error!(
                        subscription = %subscription.name,
                        topic = %subscription.topic,
                        partition = partition.number,
                        %reason,
                        "the partition is consumed no further until the runtime is started anew"
                    );
                    return;
                }
                failed => {
                    let next = pause.next();
                    let reason = reason(failed.map(Some));
                    tracing::warn!(
                        subscription = %subscription.name,
                        topic = %subscription.topic,
                        partition = partition.number,
                        %reason,
                        retry_in = ?next,
                        "the partition cannot be fetched"
                    );
                    tokio::time::sleep(next).await;
                }
            }
        }
    }

    async fn consume_while_well(&self, partition: &Arc<Partition>, pause: &mut Pause) -> End {
        let client = match self.cluster.client().await {
            Ok(client) => client,
            Err(trouble) => return trouble.into(),
        };
        let end = match broker::partition(&client, &self.subscription.topic, partition.number).await
        {
            Ok(broker) => match self.fetch_and_take(&broker, partition, pause).await {
                Ok(never) => match never {},
                Err(end) => end,
            },
            Err(trouble) => trouble.into(),
        };
        if let End::Trouble(_) = end {
            self.cluster.forget(&client).await;
        }
        end
    }

    async fn fetch_and_take(
        &self,
        broker: &PartitionClient,
        partition: &Arc<Partition>,
        pause: &mut Pause,
    ) -> Result<std::convert::Infallible, End> {
        let mut bytes = self.source.fetch_bytes.max(1);
        let mut idle = Pause::new(IDLE_PAUSES);
        loop {
            let next = partition.place().next;
            let asked = Instant::now();
            let fetched = broker::fetch(broker, next, bytes, self.source.fetch_wait).await;
            let (records, high_watermark) = match fetched {
                Err(Trouble::OutOfRange) => {
                    self.reset(broker, partition, next).await?;
                    continue;
                }
                fetched => fetched?,
            };
            pause.reset();
            partition.place().high_watermark = Some(high_watermark);
            if records.is_empty() {
                if high_watermark > next {
                    // There may be a batch that is larger, or nothing but the marks of transactions.
                    bytes = broker::more(bytes);
                }
                if asked.elapsed() < self.source.fetch_wait / 2 {
                    tokio::time::sleep(idle.next()).await;
                }
                continue;
            }
            bytes = self.source.fetch_bytes.max(1);
            idle.reset();
            self.take(partition, next, records).await?;
        }
    }

    /// Has records taken, as there is room for them.
    async fn take(
        &self,
        partition: &Arc<Partition>,
        mut next: i64,
        records: Vec<RecordAndOffset>,
    ) -> Result<(), End> {
        let mut records = records.into_iter();
        while !records.as_slice().is_empty() {
            let wanted = records.as_slice().len().min(TURN);
            let room = self.subscription.room(wanted).await;
            let some: Vec<_> = records.by_ref().take(room.count()).collect();
            let subscription = Arc::clone(&self.subscription);
            let of = Arc::clone(partition);
            let taken = self
                .handle
                .ask_core(move |core| take::take(core, &subscription, &of, next, some, room))
                .await?;
            partition.place().written = taken.next;
            next = taken.next;
            self.tell(partition, &taken);
            if taken.is_stale {
                // It is fetched anew, from where others have come to.
                return Ok(());
            }
            if let Some(reason) = taken.halted {
                return Err(End::Halted(reason));
            }
        }
        Ok(())
    }

    /// Logs what became of records that made no invocation.
    fn tell(&self, partition: &Partition, taken: &Taken) {
        let subscription = &self.subscription;
        if let Some((first, last, count)) = taken.unreadable {
            tracing::error!(
                subscription = %subscription.name,
                topic = %subscription.topic,
                partition = partition.number,
                count,
                first,
                last,
                "records are skipped: their keys are not UTF-8, as the keys of objects and workflows must be"
            );
        }
        if taken.repeated > 0 {
            tracing::info!(
                subscription = %subscription.name,
                topic = %subscription.topic,
                partition = partition.number,
                count = taken.repeated,
                before = taken.next,
                "records are dropped: their workflows have had their run"
            );
        }
        tracing::trace!(
            subscription = %subscription.name,
            topic = %subscription.topic,
            partition = partition.number,
            next = taken.next,
            "records are taken"
        );
    }

    /// The records at the partition's offset are not there any more, or not yet: goes on where the options say.
    async fn reset(
        &self,
        broker: &PartitionClient,
        partition: &Arc<Partition>,
        next: i64,
    ) -> Result<(), End> {
        let earliest = broker::offset(broker, OffsetAt::Earliest).await?;
        let latest = broker::offset(broker, OffsetAt::Latest).await?;
        if (earliest..=latest).contains(&next) {
            // Not any more; what is logged and tried again cannot spin.
            return Err(Trouble::OutOfRange.into());
        }
        let reset = self.source.offset_reset;
        let to = match reset {
            OffsetReset::Earliest => earliest,
            OffsetReset::Latest => latest,
        };
        tracing::error!(
            subscription = %self.subscription.name,
            topic = %self.subscription.topic,
            partition = partition.number,
            next,
            earliest,
            latest,
            ?reset,
            goes_on_at = to,
            "{}",
            if next < earliest {
                "records are lost: retention has removed them before they were consumed"
            } else {
                "the partition ends before the offset up to which it has been consumed: the topic was made \
                 anew, or the broker has lost records"
            }
        );
        let subscription = Arc::clone(&self.subscription);
        let of = Arc::clone(partition);
        let moved = self
            .handle
            .ask_core(move |core| take::go_to(core, &subscription, &of, next, to));
        if moved.await? {
            partition.place().written = to;
        }
        Ok(())
    }
}

/// What is logged of an end; an `Err` is a panic.
fn reason(end: Result<Option<End>, Box<dyn std::any::Any + Send>>) -> String {
    match end {
        Ok(Some(end)) => end.to_string(),
        Ok(None) => String::new(),
        Err(_) => "the Kafka client has panicked".to_owned(),
    }
}

/// Pauses that grow.
#[derive(Debug)]
struct Pause {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Pause {
    fn new((first, longest): (Duration, Duration)) -> Self {
        Self {
            next: first,
            first,
            longest,
        }
    }

    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = self.longest.min(now * 2);
        now
    }

    fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, PAUSES, Pause};

    #[test]
    fn pauses_grow_to_their_bound_and_begin_again_after_a_success() {
        let mut pause = Pause::new(PAUSES);
        let pauses: Vec<_> = (0..9).map(|_| pause.next().as_millis()).collect();
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        assert_eq!(pauses, expected);
        pause.reset();
        assert_eq!(pause.next(), Duration::from_millis(100));
    }
}
