//! The leaves: durable futures that were polled and wait.
//!
//! Arrived notifications and waiting leaves meet by source in [`Leaves::offerable`], which is
//! ordered by the notifications' order; so the next offer is its first entry, and no scan.
//!
//! ```text
//!            polled               offered            polled
//!  (no slot) ──────► Waiting ───────────────► Offered ──────► served, slot freed
//!                      ▲  │ woken: probe, grant   │ not polled until rest
//!                      │  ▼                       ▼
//!                      └── Woken ◄────────────────┘
//!                   polled
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    task::{Poll, Waker},
};

use super::runs::Runs;
use crate::{
    journal::{Notifications, Order, Source},
    protocol::message::NotificationResult,
};

/// What a leaf gets.
#[derive(Debug)]
pub(crate) enum Delivery {
    Result(NotificationResult),
    /// The invocation was cancelled while the leaf was awaited.
    Cancelled,
}

/// A leaf as its future holds it. `seq` is its place among all leaves, by creation.
#[derive(Debug)]
pub(crate) struct LeafHandle {
    pub(crate) source: Source,
    pub(crate) seq: u64,
    slot: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Polled and not served: wants its notification.
    Waiting,
    /// Woken, by a probe or for its run's closure or with an offer that was withdrawn; it counts
    /// as waiting again when it is polled again.
    Woken,
    /// The next notification of its source is its to take in this poll.
    Offered,
    /// The cancellation is its to take in this poll.
    Cancelled,
}

#[derive(Debug)]
struct Leaf {
    seq: u64,
    source: Source,
    waker: Option<Waker>,
    phase: Phase,
    /// It was awaited when a CANCEL was delivered: whenever it waits, it gets the failure.
    cancelled: bool,
    /// The last `AwaitingOn` named it.
    reported: bool,
}

/// All leaves that were polled and live.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    slots: Vec<Option<Leaf>>,
    free: Vec<usize>,
    next_seq: u64,
    /// The waiting leaves by source, then by creation.
    waiting: BTreeMap<(Source, u64), usize>,
    /// Sources that have both a notification and a waiting leaf.
    offerable: BTreeMap<Order, Source>,
    /// The waiting leaves that a cancellation has reached, by creation.
    cancelled: BTreeSet<(u64, usize)>,
    /// The leaf that was offered something in the poll at hand.
    offered: Option<usize>,
    unreported: usize,
}

impl Leaves {
    /// A new leaf; it takes part once it is polled.
    pub(crate) fn create(&mut self, source: Source) -> LeafHandle {
        self.next_seq += 1;
        LeafHandle {
            source,
            seq: self.next_seq,
            slot: None,
        }
    }

    /// Polls a leaf: takes what it was offered, or registers it as waiting. The second value is a
    /// waker to be dropped outside of the lock.
    pub(crate) fn poll(
        &mut self,
        handle: &mut LeafHandle,
        waker: &Waker,
        notifications: &mut Notifications,
        runs: &mut Runs,
    ) -> (Poll<Delivery>, Option<Waker>) {
        let slot = match handle.slot {
            Some(slot) => slot,
            None => {
                let leaf = Leaf {
                    seq: handle.seq,
                    source: handle.source.clone(),
                    waker: None,
                    phase: Phase::Woken,
                    cancelled: false,
                    reported: false,
                };
                let slot = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() - 1
                });
                self.slots[slot] = Some(leaf);
                handle.slot = Some(slot);
                slot
            }
        };
        let Some(leaf) = self.slots[slot].as_mut() else {
            return (Poll::Pending, None);
        };
        match leaf.phase {
            Phase::Waiting => {
                let unchanged = leaf.waker.as_ref().is_some_and(|old| old.will_wake(waker));
                (
                    Poll::Pending,
                    if unchanged {
                        None
                    } else {
                        leaf.waker.replace(waker.clone())
                    },
                )
            }
            Phase::Woken => {
                let old = leaf.waker.replace(waker.clone());
                self.register(slot, notifications, runs);
                (Poll::Pending, old)
            }
            Phase::Offered => {
                self.offered = None;
                let old = self.release(handle);
                // Another leaf of this source may have come to wait in this very poll.
                if let Some(order) = notifications.order(&handle.source) {
                    self.offerable.remove(&order);
                }
                let result = notifications.take(&handle.source);
                // More may have come under the same name, or an invocation id may be wanted twice.
                self.arrived(&handle.source, notifications);
                match result {
                    Some(result) => (Poll::Ready(Delivery::Result(result)), old),
                    None => (Poll::Pending, old),
                }
            }
            Phase::Cancelled => {
                self.offered = None;
                (Poll::Ready(Delivery::Cancelled), self.release(handle))
            }
        }
    }

    /// A leaf's future is dropped.
    pub(crate) fn remove(
        &mut self,
        handle: &mut LeafHandle,
        notifications: &Notifications,
        runs: &mut Runs,
    ) -> Option<Waker> {
        let slot = handle.slot?;
        match self.slots.get(slot)?.as_ref()?.phase {
            Phase::Waiting => {
                self.unregister(slot, notifications, runs);
            }
            Phase::Offered => {
                self.offered = None;
                self.arrived(&handle.source, notifications);
            }
            Phase::Cancelled => self.offered = None,
            Phase::Woken => {}
        }
        self.release(handle)
    }

    fn release(&mut self, handle: &mut LeafHandle) -> Option<Waker> {
        let slot = handle.slot.take()?;
        let leaf = self.slots[slot].take()?;
        self.free.push(slot);
        leaf.waker
    }

    fn register(&mut self, slot: usize, notifications: &Notifications, runs: &mut Runs) {
        let Some(leaf) = self.slots[slot].as_mut() else {
            return;
        };
        leaf.phase = Phase::Waiting;
        if !leaf.reported {
            self.unreported += 1;
        }
        if let Source::Completion(id) = leaf.source {
            runs.leaf_waits(id, slot);
        }
        if leaf.cancelled {
            self.cancelled.insert((leaf.seq, slot));
        }
        self.waiting.insert((leaf.source.clone(), leaf.seq), slot);
        if let Some(order) = notifications.order(&leaf.source) {
            self.offerable.insert(order, leaf.source.clone());
        }
    }

    /// The leaf stops waiting; its waker, if it has one.
    fn unregister(
        &mut self,
        slot: usize,
        notifications: &Notifications,
        runs: &mut Runs,
    ) -> Option<Waker> {
        let leaf = self.slots.get_mut(slot)?.as_mut()?;
        if leaf.phase != Phase::Waiting {
            return None;
        }
        leaf.phase = Phase::Woken;
        if !leaf.reported {
            self.unreported -= 1;
        }
        if let Source::Completion(id) = leaf.source {
            runs.leaf_stops(id);
        }
        let key = (leaf.source.clone(), leaf.seq);
        let waker = leaf.waker.take();
        self.waiting.remove(&key);
        self.cancelled.remove(&(key.1, slot));
        if let Some(order) = notifications.order(&key.0)
            && self.first_waiting(&key.0).is_none()
        {
            self.offerable.remove(&order);
        }
        waker
    }

    fn first_waiting(&self, source: &Source) -> Option<usize> {
        let ((first, _), slot) = self.waiting.range((source.clone(), 0)..).next()?;
        (first == source).then_some(*slot)
    }

    /// A notification has arrived for this source, or is there still.
    pub(crate) fn arrived(&mut self, source: &Source, notifications: &Notifications) {
        if let Some(order) = notifications.order(source)
            && self.first_waiting(source).is_some()
        {
            self.offerable.insert(order, source.clone());
        }
    }

    /// The place in the order of what would be offered next.
    pub(crate) fn next_offer(&self) -> Option<Order> {
        self.offerable.first_key_value().map(|(order, _)| *order)
    }

    /// Offers the first notification in order that some waiting leaf wants; wake what is returned.
    pub(crate) fn offer(
        &mut self,
        notifications: &Notifications,
        runs: &mut Runs,
    ) -> Option<Waker> {
        let (_, source) = self.offerable.pop_first()?;
        let slot = self.first_waiting(&source)?;
        let waker = self.unregister(slot, notifications, runs);
        self.present(slot, Phase::Offered);
        waker
    }

    /// A cancellation reaches these leaves, as [`Leaves::active`] has given them. Each gets the
    /// failure in a poll of its own; one that is not polled then keeps it.
    pub(crate) fn cancel(&mut self, leaves: &[(u64, usize)]) {
        for (seq, slot) in leaves {
            if let Some(Some(leaf)) = self.slots.get_mut(*slot)
                && leaf.seq == *seq
            {
                leaf.cancelled = true;
                if leaf.phase == Phase::Waiting {
                    self.cancelled.insert((*seq, *slot));
                }
            }
        }
    }

    /// Offers the failure to the first leaf that a cancellation has reached and that waits; wake what
    /// is returned.
    pub(crate) fn offer_cancellation(
        &mut self,
        notifications: &Notifications,
        runs: &mut Runs,
    ) -> Option<Waker> {
        let (_, slot) = *self.cancelled.first()?;
        let waker = self.unregister(slot, notifications, runs);
        self.present(slot, Phase::Cancelled);
        waker
    }

    fn present(&mut self, slot: usize, phase: Phase) {
        if let Some(Some(leaf)) = self.slots.get_mut(slot) {
            leaf.phase = phase;
            self.offered = Some(slot);
        }
    }

    /// At rest: what was offered and not taken goes back to its place.
    pub(crate) fn withdraw(&mut self, notifications: &Notifications) {
        if let Some(slot) = self.offered.take()
            && let Some(Some(leaf)) = self.slots.get_mut(slot)
        {
            leaf.phase = Phase::Woken;
            let source = leaf.source.clone();
            self.arrived(&source, notifications);
        }
    }

    /// Takes the waker of a waiting leaf, for its run's closure to be polled.
    pub(crate) fn wake_for_run(
        &mut self,
        slot: usize,
        notifications: &Notifications,
        runs: &mut Runs,
    ) -> Option<Waker> {
        self.unregister(slot, notifications, runs)
    }

    /// Takes the wakers of all waiting leaves, by creation. Those that are polled and wait again
    /// afterwards are active.
    pub(crate) fn probe(&mut self, notifications: &Notifications, runs: &mut Runs) -> Vec<Waker> {
        self.active()
            .into_iter()
            .filter_map(|(_, slot)| self.unregister(slot, notifications, runs))
            .collect()
    }

    /// The waiting leaves, by creation.
    pub(crate) fn active(&self) -> Vec<(u64, usize)> {
        let mut leaves: Vec<_> = self
            .waiting
            .iter()
            .map(|((_, seq), slot)| (*seq, *slot))
            .collect();
        leaves.sort_unstable();
        leaves
    }

    /// The sources that are waited for.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.waiting.keys().map(|(source, _)| source)
    }

    /// How many leaves wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many waiting leaves no report has named.
    pub(crate) fn unreported(&self) -> usize {
        self.unreported
    }

    /// A report names all that wait now.
    pub(crate) fn mark_reported(&mut self) {
        self.unreported = 0;
        for slot in self.waiting.values() {
            if let Some(Some(leaf)) = self.slots.get_mut(*slot) {
                leaf.reported = true;
            }
        }
    }
}
