//! How far a subscription is in each partition, what of it is in flight, and how both lie in the store.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost::Message;
use tokio::sync::Semaphore;

use super::take::Sink;
use crate::local::{
    LocalError, rows,
    store::{Scan, Store, Table, Write},
};

/// After so long at the bound, the log says so.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// How far a subscription is in one partition of its topic.
///
/// # Examples
///
/// See [`LocalRuntime::subscriptions`](crate::local::LocalRuntime::subscriptions).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionState {
    /// The subscription.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next record to be consumed. The invocations of those before it are in the journal.
    pub next_offset: i64,
    /// The offset that the next record in the partition will get, as far as the broker has told by now.
    pub high_watermark: Option<i64>,
    /// Records of the partition whose invocation has not ended.
    pub in_flight: usize,
    /// Records of the partition that made no invocation, since the subscription began: keys that are not UTF-8
    /// ([`UnreadableKey::Skip`](crate::local::UnreadableKey::Skip)), and all but the first for the run of a workflow.
    /// Not what [`KafkaSource::skip`](crate::local::KafkaSource::skip) has passed over.
    pub dropped: u64,
    /// Why the partition stands still, if it does: before a record whose key is not UTF-8
    /// ([`UnreadableKey::Halt`](crate::local::UnreadableKey::Halt)), until the runtime is started anew; or before a
    /// batch that cannot be decoded, which is tried again every minute, and which
    /// [`KafkaSource::skip`](crate::local::KafkaSource::skip) passes over.
    pub halted: Option<String>,
}

impl SubscriptionState {
    /// How many records are still to be consumed; `None` as long as the broker has not answered. Those in
    /// flight are not among them.
    ///
    /// # Examples
    ///
    /// See [`LocalRuntime::subscriptions`](crate::local::LocalRuntime::subscriptions).
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        let behind = self.high_watermark?.saturating_sub(self.next_offset);
        Some(u64::try_from(behind).unwrap_or_default())
    }
}

/// A partition in the store.
#[derive(Clone, PartialEq, Message)]
struct PositionRow {
    #[prost(int64, tag = "1")]
    next: i64,
    #[prost(uint64, tag = "2")]
    dropped: u64,
}

/// How a subscription has begun: its row without a partition.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Begun {
    /// When it has looked for its topic for the first time, in milliseconds since 1970. Earlier versions have left it
    /// out: 0.
    #[prost(int64, tag = "1")]
    pub(super) since: i64,
    /// How many partitions the topic had when it was there for the first time; 0 until then.
    #[prost(int32, tag = "2")]
    pub(super) there: i32,
}

/// What the store knows of a subscription.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// If it has looked for the topic before.
    begun: Option<Begun>,
    partitions: BTreeMap<i32, PositionRow>,
}

impl Position {
    pub(super) fn read(store: &Store, name: &str, topic: &str) -> Result<Self, LocalError> {
        let prefix = row_key(name, topic, None);
        let mut position = Self::default();
        for (key, row) in store.scan(Table::Offsets, Scan::prefix(prefix.clone()))? {
            let unreadable = |reason: String| {
                let what = format!("how far the subscription `{name}` is: {reason}");
                LocalError::Journal(what)
            };
            let begun = position.begun.get_or_insert_default();
            if key == prefix {
                *begun = Begun::decode(row).map_err(|error| unreadable(error.to_string()))?;
            } else {
                let row =
                    PositionRow::decode(row).map_err(|error| unreadable(error.to_string()))?;
                let partition = rows::last_piece(&key, prefix.len());
                let partition = partition.as_ref().try_into();
                let partition = partition.map_err(|_| unreadable("a key is too short".into()))?;
                let partition = i32::from_be_bytes(partition);
                position.partitions.insert(partition, row);
            }
        }
        Ok(position)
    }
}

fn row_key(name: &str, topic: &str, partition: Option<i32>) -> Vec<u8> {
    let partition = partition.map(i32::to_be_bytes);
    let pieces = [Some(name.as_bytes()), Some(topic.as_bytes())];
    let partition = partition.as_ref().map(<[u8; 4]>::as_slice);
    rows::composed(pieces.into_iter().chain([partition]).flatten())
}

/// What the tasks of a subscription share.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) sink: Sink,
    max_in_flight: usize,
    /// Places for records in flight that nobody has.
    free: Semaphore,
    /// How many are in flight beyond the bound, from before a restart.
    beyond: AtomicUsize,
    begun: Mutex<Option<Begun>>,
    partitions: Mutex<BTreeMap<i32, Arc<Partition>>>,
    /// How many are in flight, by partition: all under one lock, so that their sum is true.
    in_flight: Mutex<BTreeMap<i32, usize>>,
}

/// What the tasks share of a partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) number: i32,
    place: Mutex<Place>,
}

/// How far it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The next record to be submitted.
    pub(super) next: i64,
    pub(super) dropped: u64,
    pub(super) halted: Option<String>,
    pub(super) high_watermark: Option<i64>,
    /// As much of `next` as is on disk.
    pub(super) written: i64,
}

impl Partition {
    fn new(number: i32, next: i64, dropped: u64) -> Self {
        Self {
            number,
            place: Mutex::new(Place {
                next,
                dropped,
                written: next,
                ..Place::default()
            }),
        }
    }

    pub(super) fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    pub(super) fn new(
        name: String,
        topic: String,
        sink: Sink,
        max_in_flight: usize,
        position: Position,
    ) -> Self {
        let max_in_flight = max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let partitions = position.partitions.into_iter();
        let partitions = partitions.map(|(number, row)| {
            let partition = Partition::new(number, row.next, row.dropped);
            (number, Arc::new(partition))
        });
        Self {
            name,
            topic,
            sink,
            max_in_flight,
            free: Semaphore::new(max_in_flight),
            beyond: AtomicUsize::new(0),
            begun: Mutex::new(position.begun),
            partitions: Mutex::new(partitions.collect()),
            in_flight: Mutex::default(),
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, BTreeMap<i32, usize>> {
        let in_flight = self.in_flight.lock();
        in_flight.unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Partition>>> {
        let partitions = self.partitions.lock();
        partitions.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partition(&self, number: i32) -> Option<Arc<Partition>> {
        self.partitions().get(&number).cloned()
    }

    pub(super) fn begun(&self) -> Option<Begun> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It has begun so, and begins at these offsets of partitions that it has not known.
    pub(super) fn begin(&self, begun: Begun, offsets: &[(i32, i64)]) -> Vec<Write> {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        let mut partitions = self.partitions();
        let mut writes = vec![self.row(None, &begun)];
        for &(number, next) in offsets {
            let partition = Partition::new(number, next, 0);
            let row = PositionRow { next, dropped: 0 };
            partitions.insert(number, Arc::new(partition));
            writes.push(self.row(Some(number), &row));
        }
        writes
    }

    /// How far a partition is, to be written.
    pub(super) fn write(&self, partition: i32, place: &Place) -> Write {
        let Place { next, dropped, .. } = *place;
        self.row(Some(partition), &PositionRow { next, dropped })
    }

    fn row(&self, partition: Option<i32>, row: &impl Message) -> Write {
        Write::Put {
            table: Table::Offsets,
            key: row_key(&self.name, &self.topic, partition),
            value: row.encode_to_vec().into(),
        }
    }

    pub(super) fn states(&self) -> Vec<SubscriptionState> {
        let partitions = self.partitions();
        let in_flight = self.in_flight().clone();
        let states = partitions.values().map(|partition| {
            let place = partition.place().clone();
            SubscriptionState {
                name: self.name.clone(),
                topic: self.topic.clone(),
                partition: partition.number,
                next_offset: place.written,
                high_watermark: place.high_watermark,
                in_flight: in_flight
                    .get(&partition.number)
                    .copied()
                    .unwrap_or_default(),
                dropped: place.dropped,
                halted: place.halted,
            }
        });
        states.collect()
    }

    /// Waits until at least one more record may be in flight, and reserves room for as many as are
    /// `wanted`, or as there is room for.
    pub(super) async fn room(self: &Arc<Self>, wanted: usize) -> Room {
        let first = loop {
            match tokio::time::timeout(LONG_WAIT, self.free.acquire()).await {
                Ok(first) => break first,
                Err(_) => tracing::warn!(
                    subscription = %self.name,
                    max_in_flight = self.max_in_flight,
                    "a partition has waited for a minute: as many records as may be are in flight"
                ),
            }
        };
        // It is never closed.
        let mut count = usize::from(first.map(|first| first.forget()).is_ok());
        while count < wanted
            && let Ok(next) = self.free.try_acquire()
        {
            next.forget();
            count += 1;
        }
        Room {
            subscription: Arc::clone(self),
            count,
        }
    }

    /// A record that has been in flight since before the start.
    pub(super) fn already_in_flight(self: &Arc<Self>, partition: i32) -> InFlight {
        match self.free.try_acquire() {
            Ok(place) => place.forget(),
            Err(_) => {
                self.beyond.fetch_add(1, Ordering::Relaxed);
            }
        }
        InFlight::new(Arc::clone(self), partition)
    }

    fn release(&self, count: usize) {
        let mut free = 0;
        for _ in 0..count {
            let less = |beyond: usize| beyond.checked_sub(1);
            let order = Ordering::Relaxed;
            if self.beyond.fetch_update(order, order, less).is_err() {
                free += 1;
            }
        }
        self.free.add_permits(free);
    }
}

/// Room for records in flight; what is not used is given back.
#[derive(Debug)]
pub(super) struct Room {
    subscription: Arc<Subscription>,
    count: usize,
}

impl Room {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// One of them is used.
    pub(super) fn take(&mut self, partition: i32) -> Option<InFlight> {
        self.count = self.count.checked_sub(1)?;
        Some(InFlight::new(Arc::clone(&self.subscription), partition))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.subscription.release(self.count);
    }
}

/// A record whose invocation has not ended, until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    subscription: Arc<Subscription>,
    partition: i32,
}

impl InFlight {
    fn new(subscription: Arc<Subscription>, partition: i32) -> Self {
        *subscription.in_flight().entry(partition).or_default() += 1;
        Self {
            subscription,
            partition,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(count) = self.subscription.in_flight().get_mut(&self.partition) {
            *count = count.saturating_sub(1);
        }
        // Only now: the count never passes the bound.
        self.subscription.release(1);
    }
}

#[cfg(test)]
mod tests {
    use super::{Begun, Position, PositionRow, Sink, Subscription, row_key};
    use crate::local::{
        UnreadableKey,
        store::{Fsync, Store, Table, Write},
    };

    fn subscription(position: Position) -> Subscription {
        let sink = Sink {
            service: "S".to_owned(),
            handler: "h".to_owned(),
            keyed: false,
            on_unreadable_key: UnreadableKey::Skip,
        };
        Subscription::new("name".to_owned(), "topic".to_owned(), sink, 1, position)
    }

    fn row(partition: Option<i32>, row: &impl prost::Message) -> Write {
        Write::Put {
            table: Table::Offsets,
            key: row_key("name", "topic", partition),
            value: row.encode_to_vec().into(),
        }
    }

    #[test]
    fn how_a_subscription_has_begun_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Fsync::Never).unwrap();
        let read = || subscription(Position::read(&store, "name", "topic").unwrap());
        assert_eq!(read().begun(), None);

        let waits = Begun { since: 5, there: 0 };
        store.commit(&read().begin(waits, &[])).unwrap();
        assert_eq!(read().begun(), Some(waits));
        assert!(read().states().is_empty());

        let begun = Begun { since: 5, there: 3 };
        store
            .commit(&read().begin(begun, &[(0, 7), (2, 0)]))
            .unwrap();
        assert_eq!(read().begun(), Some(begun));
        let states = read().states().into_iter();
        let states: Vec<_> = states
            .map(|state| (state.partition, state.next_offset))
            .collect();
        assert_eq!(states, [(0, 7), (2, 0)]);

        let other = Position::read(&store, "name", "topics").unwrap();
        assert_eq!(subscription(other).begun(), None);
    }

    #[test]
    fn rows_of_earlier_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Fsync::Never).unwrap();
        let place = PositionRow {
            next: 11,
            dropped: 2,
        };
        let rows = [row(None, &PositionRow::default()), row(Some(1), &place)];
        store.commit(&rows).unwrap();
        let subscription = subscription(Position::read(&store, "name", "topic").unwrap());
        assert_eq!(subscription.begun(), Some(Begun::default()));
        let state = &subscription.states()[0];
        assert_eq!(
            (state.partition, state.next_offset, state.dropped),
            (1, 11, 2)
        );
    }
}
