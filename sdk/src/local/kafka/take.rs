//! Records become invocations, on the task that owns the engine: in the same turn, and so in the same commit, the
//! partition's offset moves on.

use std::sync::Arc;

use rskafka::record::{Record, RecordAndOffset};

use super::{
    UnreadableKey,
    position::{InFlight, Partition, Room, Subscription},
};
use crate::{
    DeadLetter, KafkaRecord, TerminalError,
    engine::{
        Origin, Submission,
        invocation::{Index, Waiter},
    },
    local::core::Core,
};

/// Of records without one.
const NO_TIMESTAMP: i64 = -1;

/// Where records go.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) service: String,
    pub(super) handler: String,
    /// Of an object or a workflow.
    pub(super) keyed: bool,
    pub(super) on_unreadable_key: UnreadableKey,
}

/// What became of some records.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The offset behind the last one that was taken.
    pub(super) next: i64,
    /// Others were taken in the meantime: none of these was.
    pub(super) is_stale: bool,
    /// The next one cannot be taken, and shall not be passed over.
    pub(super) halted: Option<String>,
    /// Offsets of the first and of the last one whose key is not UTF-8, and how many.
    pub(super) unreadable: Option<(i64, i64, u64)>,
    /// As many were for a workflow that has had its run.
    pub(super) repeated: u64,
}

/// What a record whose key is not UTF-8 comes to.
enum Unreadable {
    Skip,
    Halt,
}

/// Submits records that follow each other, the first of them the next of the partition. There is room for all.
pub(super) fn take(
    core: &mut Core,
    subscription: &Arc<Subscription>,
    partition: &Arc<Partition>,
    expected: i64,
    records: Vec<RecordAndOffset>,
    mut room: Room,
) -> Taken {
    let mut place = partition.place();
    let mut taken = Taken {
        next: place.next,
        ..Taken::default()
    };
    if place.next != expected {
        taken.is_stale = true;
        return taken;
    }
    for RecordAndOffset { record, offset } in records {
        if offset < taken.next {
            continue;
        }
        match subscription.submission(partition.number, offset, record) {
            Ok(submission) => {
                match core.engine.submit(submission, Origin::Kafka) {
                    Ok(submitted) if submitted.already => taken.repeated += 1,
                    Ok(submitted) => {
                        if let Some(in_flight) = room.take(partition.number) {
                            hold_until_ended(core, submitted.index, in_flight);
                        }
                    }
                    // Nothing that was checked at the start can be refused.
                    Err(failure) => taken.halted = Some(failure.message),
                }
            }
            Err(Unreadable::Skip) => {
                let (first, _, count) = taken.unreadable.unwrap_or((offset, offset, 0));
                taken.unreadable = Some((first, offset, count + 1));
            }
            Err(Unreadable::Halt) => {
                let what = format!("the key of the record at offset {offset} is not UTF-8");
                taken.halted = Some(what);
            }
        }
        if taken.halted.is_some() {
            break;
        }
        taken.next = offset.saturating_add(1);
    }
    place.next = taken.next;
    place.dropped += taken.repeated + taken.unreadable.map_or(0, |(_, _, count)| count);
    place.halted.clone_from(&taken.halted);
    core.write(subscription.write(partition.number, &place));
    taken
}

/// Goes on elsewhere: the records from the expected one on are not there any more, or are to be skipped. Says whether
/// nobody else has moved on meanwhile.
pub(super) fn go_to(
    core: &mut Core,
    subscription: &Subscription,
    partition: &Partition,
    expected: i64,
    next: i64,
) -> bool {
    let mut place = partition.place();
    if place.next != expected {
        return false;
    }
    place.next = next;
    // What was in the way is not any more.
    place.halted = None;
    core.write(subscription.write(partition.number, &place));
    true
}

/// Counts invocations that have been live since before the start.
pub(super) fn count_live(core: &mut Core, subscription: &Arc<Subscription>) {
    let live = core.engine.invocations.iter();
    let live = live.filter(|(_, one)| {
        !one.is_over() && one.source.as_deref() == Some(subscription.name.as_str())
    });
    let live: Vec<_> = live
        .map(|(index, one)| {
            let mut headers = one.headers.iter();
            let partition = headers.find(|(name, _)| name == KafkaRecord::PARTITION_HEADER);
            let partition = partition.and_then(|(_, number)| number.parse().ok());
            (index, partition.unwrap_or_default())
        })
        .collect();
    for (index, partition) in live {
        let in_flight = subscription.already_in_flight(partition);
        hold_until_ended(core, index, in_flight);
    }
}

fn hold_until_ended(core: &mut Core, index: Index, in_flight: InFlight) {
    let caller = core.call(Box::new(move |_| drop(in_flight)));
    core.engine.wait_for(index, Waiter::Outside(caller));
}

impl Subscription {
    /// The invocation that a record asks for.
    fn submission(
        &self,
        partition: i32,
        offset: i64,
        record: Record,
    ) -> Result<Submission, Unreadable> {
        let timestamp = record.timestamp.timestamp_millis();
        let described = KafkaRecord {
            topic: self.topic.clone(),
            partition,
            offset,
            timestamp_millis: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            key: record.key.map(Into::into),
            subscription_id: Some(self.name.clone()),
        };
        let value = record.value.unwrap_or_default().into();
        let key = self.sink.keyed.then(|| {
            let bytes = described.key.as_deref().unwrap_or_default();
            std::str::from_utf8(bytes).map(str::to_owned)
        });
        let Sink {
            service, handler, ..
        } = &self.sink;
        let source = Some(self.name.clone());
        let key = match key.transpose() {
            Ok(key) => key,
            Err(error) => {
                return match &self.sink.on_unreadable_key {
                    UnreadableKey::Skip => Err(Unreadable::Skip),
                    UnreadableKey::Halt => Err(Unreadable::Halt),
                    UnreadableKey::DeadLetter(letters) => {
                        let error = TerminalError::new(format_args!("the key: {error}"));
                        let letter = DeadLetter::of_unreadable(
                            described,
                            value,
                            service,
                            handler,
                            error.with_code(400),
                        );
                        Ok(Submission {
                            service: letters.service_name().to_owned(),
                            handler: letters.handler_name().to_owned(),
                            key: letters.key().map(str::to_owned),
                            headers: letter.to_headers().into_iter().collect(),
                            input: letter.value,
                            source,
                            ..Submission::default()
                        })
                    }
                };
            }
        };
        Ok(Submission {
            service: service.clone(),
            handler: handler.clone(),
            key,
            input: value,
            headers: described.to_headers().into_iter().collect(),
            source,
            ..Submission::default()
        })
    }
}
