//! The task of a partition: fetches its records, and has them taken as far as there is room. It knows what to do
//! when records are gone, cannot be decoded, or are to be skipped.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use rskafka::{
    client::partition::{OffsetAt, PartitionClient},
    record::RecordAndOffset,
};

use super::{
    OffsetReset,
    broker::{self, Trouble},
    consume::{Consumer, End, PAUSES, reason},
    offsets::Skip,
    pace::{Pause, Search, Size, Stuck},
    position::Partition,
    take::{self, Taken},
};
use crate::local::handle::Stopped;

/// The first pause after an answer that brings nothing although it came at once, and the longest.
const IDLE_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The same before a batch that cannot be decoded. The client logs each try by itself.
const UNDECODABLE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A broker is told to wait at least so long for records: it would be asked without a pause otherwise.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// Records that are submitted in one turn of the engine, at most.
const TURN: usize = 512;

impl Consumer {
    /// Consumes a partition until the runtime stops, or a record is in the way.
    pub(super) async fn consume(self: Arc<Self>, partition: Arc<Partition>) {
        let subscription = &self.subscription;
        let mut pause = Pause::new(PAUSES);
        // The topic has just been seen.
        let mut is_retry = false;
        loop {
            let consuming = self.consume_while_well(&partition, &mut pause, is_retry);
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
                    is_retry = true;
                    tokio::time::sleep(next).await;
                }
            }
        }
    }

    async fn consume_while_well(
        &self,
        partition: &Arc<Partition>,
        pause: &mut Pause,
        is_retry: bool,
    ) -> End {
        let client = match self.cluster.client().await {
            Ok(client) => client,
            Err(trouble) => return trouble.into(),
        };
        // The client asks for a partition by the name of its topic, and a broker may make one then that has been
        // deleted, with as many partitions as it likes.
        if is_retry
            && let Err(trouble) = broker::partitions(&client, &self.subscription.topic).await
        {
            if !matches!(trouble, Trouble::NoTopic) {
                self.cluster.forget(&client).await;
            }
            return trouble.into();
        }
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
    ) -> Result<Infallible, End> {
        self.pass_over(broker, partition).await?;
        let wait = self.source.fetch_wait.max(LEAST_WAIT);
        let mut size = Size::new(self.source.fetch_bytes);
        let mut idle = Pause::new(IDLE_PAUSES);
        let mut undecodable = Pause::new(UNDECODABLE_PAUSES);
        // Where records could not be decoded.
        let mut bad = None;
        let mut stuck = Stuck::default();
        loop {
            let next = partition.place().next;
            let asked = Instant::now();
            let fetched = broker::fetch(broker, next, size.bytes(), wait).await;
            let (records, high_watermark) = match fetched {
                Err(Trouble::OutOfRange) => {
                    self.reset(broker, partition, next).await?;
                    continue;
                }
                Err(Trouble::Undecodable(reason)) => {
                    if bad.replace(next) == Some(next) {
                        self.stand_before(broker, partition, next, &reason).await?;
                        tokio::time::sleep(undecodable.next()).await;
                    } else {
                        size.shrink();
                    }
                    continue;
                }
                fetched => fetched?,
            };
            pause.reset();
            undecodable.reset();
            {
                let mut place = partition.place();
                place.high_watermark = Some(high_watermark);
                // What was in the way is gone.
                place.halted = None;
            }
            let is_behind = high_watermark > next;
            if stuck.note(records.is_empty() && is_behind, Instant::now()) {
                tracing::warn!(
                    subscription = %self.subscription.name,
                    topic = %self.subscription.topic,
                    partition = partition.number,
                    next,
                    high_watermark,
                    "no records have come for a minute although there are some: a transaction that has not ended \
                     holds them back, or the broker does not send a batch as large as theirs"
                );
            }
            if records.is_empty() {
                let was_quick = asked.elapsed() < wait / 2;
                if is_behind && was_quick {
                    size.grow();
                } else {
                    // A broker that has waited has nothing to send, whatever fits: a transaction is open, for one.
                    size.reset();
                }
                if was_quick {
                    tokio::time::sleep(idle.next()).await;
                }
                continue;
            }
            size.recover();
            idle.reset();
            self.take(partition, next, records).await?;
        }
    }

    /// Passes over the records that the user has said are to be skipped.
    async fn pass_over(
        &self,
        broker: &PartitionClient,
        partition: &Arc<Partition>,
    ) -> Result<(), End> {
        let Some(&last) = self.source.skips.get(&partition.number) else {
            return Ok(());
        };
        let end = broker::offset(broker, OffsetAt::Latest).await?;
        let next = partition.place().next;
        match Skip::of(last, next, end) {
            Skip::Done => {}
            Skip::To(to) => {
                self.go_to(partition, next, to).await?;
                tracing::warn!(
                    subscription = %self.subscription.name,
                    topic = %self.subscription.topic,
                    partition = partition.number,
                    first = next,
                    last,
                    "records are passed over, as `KafkaSource::skip` says"
                );
            }
            Skip::TooFar => tracing::error!(
                subscription = %self.subscription.name,
                topic = %self.subscription.topic,
                partition = partition.number,
                next,
                last,
                end,
                "nothing is passed over: `KafkaSource::skip` names an offset that the partition does not have"
            ),
        }
        Ok(())
    }

    /// The batch at the partition's offset cannot be decoded: says so once, in the log and in the state.
    async fn stand_before(
        &self,
        broker: &PartitionClient,
        partition: &Partition,
        next: i64,
        reason: &str,
    ) -> Result<(), End> {
        if partition.place().halted.is_some() {
            return Ok(());
        }
        let end = broker::offset(broker, OffsetAt::Latest).await?;
        let mut search = Search::new(next, end);
        while let Some(candidate) = search.candidate() {
            let can_be_read = match broker::fetch(broker, candidate, 1, Duration::ZERO).await {
                Ok(_) => true,
                Err(Trouble::Undecodable(_)) => false,
                Err(trouble) => return Err(trouble.into()),
            };
            search.tell(candidate, can_be_read);
        }
        let (topic, number) = (&self.subscription.topic, partition.number);
        let last = search.found().saturating_sub(1);
        let reason = format!(
            "the batch at offset {next} of partition {number} of the topic `{topic}` cannot be decoded: {reason}; \
             `KafkaSource::skip({number}, {last})` passes over it"
        );
        tracing::error!(
            subscription = %self.subscription.name,
            topic = %topic,
            partition = number,
            %reason,
            "the partition stands still"
        );
        partition.place().halted = Some(reason);
        Ok(())
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
        self.go_to(partition, next, to).await?;
        Ok(())
    }

    /// Goes on elsewhere, unless the partition stands somewhere else by now.
    async fn go_to(&self, partition: &Arc<Partition>, next: i64, to: i64) -> Result<(), Stopped> {
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
