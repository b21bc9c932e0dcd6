//! The leaves: durable futures that were polled and wait.
//!
//! Arrived notifications and waiting leaves meet by source; a leaf that waits for what is there has an
//! entry in [`Leaves::offerable`], a heap by the notifications' order. Entries are never searched for:
//! one that does not hold any more is passed over when it comes to the top. So the next offer is no scan,
//! and a leaf that waits alone, as in sequential code, costs no more than its slot.
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
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
    task::{Poll, Waker},
};

use super::runs::{RunRef, Runs};
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
    seq: u64,
    slot: Option<usize>,
    /// The run whose result it is.
    pub(crate) run: Option<RunRef>,
}

/// How a leaf's future is made to be polled.
#[derive(Clone, Debug)]
pub(crate) enum LeafWaker {
    /// By a poll of the handler: no combinator lies between that has wakers of its own.
    Handler,
    Own(Waker),
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
    /// None unless it waits.
    waker: Option<LeafWaker>,
    phase: Phase,
    /// It was awaited when a CANCEL was delivered: whenever it waits, it gets the failure.
    cancelled: bool,
    /// The last `AwaitingOn` named it.
    reported: bool,
    run: Option<RunRef>,
    /// It is among those that [`Leaves::arrived`] looks for.
    linked: bool,
    /// While it is: the next leaf that waits for the same source, by creation.
    next: Option<usize>,
}

/// All leaves that were polled and live.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    slots: Vec<Option<Leaf>>,
    free: Vec<usize>,
    next_seq: u64,
    /// By completion id, which is dense: the first leaf that waits for it, counted from 1; 0 is none.
    completions: Vec<u32>,
    /// The same by signal id. Those of awakeables are dense, and nothing else is waited for.
    awakeables: Vec<u32>,
    /// The first leaf that waits for a named signal.
    named: Option<BTreeMap<Arc<str>, usize>>,
    waiting: usize,
    /// Leaves that wait for a notification which is there, by its order, and their `seq`.
    offerable: BinaryHeap<Reverse<(Order, u64, usize)>>,
    /// The waiting leaves that a cancellation has reached, by creation.
    cancelled: Option<BTreeSet<(u64, usize)>>,
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
            run: None,
        }
    }

    /// Polls a leaf: takes what it was offered, or registers it as waiting. The second value is a
    /// waker to be dropped outside of the lock.
    pub(crate) fn poll(
        &mut self,
        handle: &mut LeafHandle,
        waker: Option<&Waker>,
        notifications: &mut Notifications,
        runs: &mut Runs,
    ) -> (Poll<Delivery>, Option<LeafWaker>) {
        let slot = match handle.slot {
            Some(slot) => slot,
            None => self.admit(handle),
        };
        let Some(leaf) = self.slots[slot].as_mut() else {
            return (Poll::Pending, None);
        };
        match leaf.phase {
            Phase::Waiting => {
                let unchanged = match (&leaf.waker, waker) {
                    (Some(LeafWaker::Handler), None) => true,
                    (Some(LeafWaker::Own(old)), Some(new)) => old.will_wake(new),
                    _ => false,
                };
                let old = if unchanged {
                    None
                } else {
                    leaf.waker.replace(LeafWaker::new(waker))
                };
                (Poll::Pending, old)
            }
            Phase::Woken => {
                let old = leaf.waker.replace(LeafWaker::new(waker));
                self.register(slot, notifications, runs);
                (Poll::Pending, old)
            }
            Phase::Offered => {
                self.offered = None;
                let old = self.release(handle, runs);
                let result = notifications.take(&handle.source);
                // More may have come under the same name.
                if let Source::NamedSignal(_) = handle.source {
                    self.arrived(&handle.source, notifications);
                }
                match result {
                    Some(result) => (Poll::Ready(Delivery::Result(result)), old),
                    None => (Poll::Pending, old),
                }
            }
            Phase::Cancelled => {
                self.offered = None;
                let old = self.release(handle, runs);
                (Poll::Ready(Delivery::Cancelled), old)
            }
        }
    }

    /// A leaf that is polled for the first time gets a slot.
    fn admit(&mut self, handle: &mut LeafHandle) -> usize {
        let leaf = Leaf {
            seq: handle.seq,
            source: handle.source.clone(),
            waker: None,
            phase: Phase::Woken,
            cancelled: false,
            reported: false,
            run: handle.run,
            linked: false,
            next: None,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.slots.is_empty() {
                // Sequential code has one.
                self.slots.reserve_exact(1);
            }
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(leaf);
        handle.slot = Some(slot);
        slot
    }

    /// A leaf's future is dropped, and with it its run.
    pub(crate) fn remove(&mut self, handle: &mut LeafHandle, runs: &mut Runs) -> Option<LeafWaker> {
        let phase = handle
            .slot
            .and_then(|slot| Some(self.slots.get(slot)?.as_ref()?.phase));
        let waker = match (phase, handle.slot) {
            (Some(Phase::Waiting), Some(slot)) => self.unregister(slot, runs),
            (Some(Phase::Offered | Phase::Cancelled), _) => {
                self.offered = None;
                None
            }
            _ => None,
        };
        let released = self.release(handle, runs);
        waker.or(released)
    }

    fn release(&mut self, handle: &mut LeafHandle, runs: &mut Runs) -> Option<LeafWaker> {
        if let Some(run) = handle.run {
            runs.remove(run);
        }
        let slot = handle.slot.take()?;
        let leaf = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        leaf.waker
    }

    fn register(&mut self, slot: usize, notifications: &Notifications, runs: &mut Runs) {
        let Some(leaf) = self.slots[slot].as_mut() else {
            return;
        };
        leaf.phase = Phase::Waiting;
        self.waiting += 1;
        if !leaf.reported {
            self.unreported += 1;
        }
        if leaf.cancelled {
            self.cancelled
                .get_or_insert_default()
                .insert((leaf.seq, slot));
        }
        let order = notifications.order(&leaf.source);
        if let Some(run) = leaf.run {
            runs.leaf_waits(run, slot, order.is_some());
        }
        let seq = leaf.seq;
        if let Some(order) = order {
            self.offerable.push(Reverse((order, seq, slot)));
            // A completion comes once: nothing more is to arrive for this leaf.
            if matches!(leaf.source, Source::Completion(_)) {
                return;
            }
        }
        leaf.linked = true;
        let source = leaf.source.clone();
        self.link(&source, seq, slot);
    }

    /// The first leaf that waits for this source.
    fn first_waiting(&self, source: &Source) -> Option<usize> {
        let first = match source {
            Source::Completion(id) => self.completions.get(*id as usize)?,
            Source::Signal(id) => self.awakeables.get(*id as usize)?,
            Source::NamedSignal(name) => return self.named.as_ref()?.get(name).copied(),
        };
        (*first as usize).checked_sub(1)
    }

    fn set_first(&mut self, source: &Source, first: Option<usize>) {
        let (table, id) = match source {
            Source::Completion(id) => (&mut self.completions, *id as usize),
            Source::Signal(id) => (&mut self.awakeables, *id as usize),
            Source::NamedSignal(name) => {
                let named = self.named.get_or_insert_default();
                match first {
                    Some(slot) => named.insert(Arc::clone(name), slot),
                    None => named.remove(name),
                };
                return;
            }
        };
        if table.len() <= id {
            table.resize(id + 1, 0);
        }
        // There are as many leaves as fit into memory, which are fewer.
        table[id] = first.map_or(0, |slot| slot as u32 + 1);
    }

    /// The leaf behind this one, among those that wait for the same source.
    fn next(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot)?.as_ref()?.next
    }

    fn set_next(&mut self, slot: usize, next: Option<usize>) {
        if let Some(Some(leaf)) = self.slots.get_mut(slot) {
            leaf.next = next;
        }
    }

    /// Puts a leaf into its place, by creation, among those that wait for its source. There is
    /// rarely another one.
    fn link(&mut self, source: &Source, seq: u64, slot: usize) {
        let mut before = None;
        let mut behind = self.first_waiting(source);
        while let Some(other) = behind
            && let Some(Some(leaf)) = self.slots.get(other)
            && leaf.seq < seq
        {
            before = Some(other);
            behind = leaf.next;
        }
        self.set_next(slot, behind);
        match before {
            None => self.set_first(source, Some(slot)),
            Some(before) => self.set_next(before, Some(slot)),
        }
    }

    fn unlink(&mut self, source: &Source, slot: usize) {
        let behind = self.next(slot);
        self.set_next(slot, None);
        let Some(first) = self.first_waiting(source) else {
            return;
        };
        if first == slot {
            return self.set_first(source, behind);
        }
        let mut before = first;
        while let Some(next) = self.next(before) {
            if next == slot {
                return self.set_next(before, behind);
            }
            before = next;
        }
    }

    /// The leaf stops waiting; its waker.
    fn unregister(&mut self, slot: usize, runs: &mut Runs) -> Option<LeafWaker> {
        let leaf = self.slots.get_mut(slot)?.as_mut()?;
        if leaf.phase != Phase::Waiting {
            return None;
        }
        leaf.phase = Phase::Woken;
        self.waiting -= 1;
        if !leaf.reported {
            self.unreported -= 1;
        }
        if let Some(run) = leaf.run {
            runs.leaf_stops(run);
        }
        let waker = leaf.waker.take();
        if let Some(cancelled) = &mut self.cancelled {
            cancelled.remove(&(leaf.seq, slot));
        }
        if std::mem::take(&mut leaf.linked) {
            let source = leaf.source.clone();
            self.unlink(&source, slot);
        }
        waker
    }

    /// A notification has arrived for this source, or is there still.
    pub(crate) fn arrived(&mut self, source: &Source, notifications: &Notifications) {
        let mut waiting = self.first_waiting(source);
        if waiting.is_none() {
            return;
        }
        if let Some(order) = notifications.order(source) {
            while let Some(slot) = waiting
                && let Some(Some(leaf)) = self.slots.get(slot)
            {
                self.offerable.push(Reverse((order, leaf.seq, slot)));
                waiting = leaf.next;
            }
        }
    }

    /// The place in the order of what would be offered next, and a leaf that waits for it. Entries above
    /// it that do not hold any more are dropped.
    pub(crate) fn next_offer(&mut self, notifications: &Notifications) -> Option<(Order, usize)> {
        loop {
            let Reverse((order, seq, slot)) = *self.offerable.peek()?;
            if let Some(Some(leaf)) = self.slots.get(slot)
                && leaf.seq == seq
                && leaf.phase == Phase::Waiting
                && notifications.order(&leaf.source) == Some(order)
            {
                return Some((order, slot));
            }
            self.offerable.pop();
        }
    }

    /// Offers what [`Leaves::next_offer`] has just found for this leaf; wake what is returned.
    pub(crate) fn offer(&mut self, slot: usize, runs: &mut Runs) -> Option<LeafWaker> {
        // Of several that wait for it, it was created first: that decides between entries of one order.
        self.offerable.pop();
        let waker = self.unregister(slot, runs);
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
                    self.cancelled.get_or_insert_default().insert((*seq, *slot));
                }
            }
        }
    }

    /// Offers the failure to the first leaf that a cancellation has reached and that waits; wake what
    /// is returned.
    pub(crate) fn offer_cancellation(&mut self, runs: &mut Runs) -> Option<LeafWaker> {
        let (_, slot) = *self.cancelled.as_ref()?.first()?;
        let waker = self.unregister(slot, runs);
        self.present(slot, Phase::Cancelled);
        waker
    }

    fn present(&mut self, slot: usize, phase: Phase) {
        if let Some(Some(leaf)) = self.slots.get_mut(slot) {
            leaf.phase = phase;
            self.offered = Some(slot);
        }
    }

    /// At rest: what was offered and not taken goes back to its place. Others that wait for it have
    /// entries of their own.
    pub(crate) fn withdraw(&mut self) {
        if let Some(slot) = self.offered.take()
            && let Some(Some(leaf)) = self.slots.get_mut(slot)
        {
            leaf.phase = Phase::Woken;
        }
    }

    /// Takes the waker of a waiting leaf, for its run's closure to be polled.
    pub(crate) fn wake_for_run(&mut self, slot: usize, runs: &mut Runs) -> Option<LeafWaker> {
        self.unregister(slot, runs)
    }

    /// Takes the wakers of all waiting leaves, by creation. Those that are polled and wait again
    /// afterwards are active.
    pub(crate) fn probe(&mut self, runs: &mut Runs) -> Vec<LeafWaker> {
        self.active()
            .into_iter()
            .filter_map(|(_, slot)| self.unregister(slot, runs))
            .collect()
    }

    /// The waiting leaves, by creation.
    pub(crate) fn active(&self) -> Vec<(u64, usize)> {
        let mut leaves: Vec<_> = self
            .each_waiting()
            .map(|(slot, leaf)| (leaf.seq, slot))
            .collect();
        leaves.sort_unstable();
        leaves
    }

    fn each_waiting(&self) -> impl Iterator<Item = (usize, &Leaf)> {
        let leaves = self.slots.iter().enumerate();
        leaves
            .filter_map(|(slot, leaf)| Some((slot, leaf.as_ref()?)))
            .filter(|(_, leaf)| leaf.phase == Phase::Waiting)
    }

    /// The sources that are waited for.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.each_waiting().map(|(_, leaf)| &leaf.source)
    }

    /// How many leaves wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    /// How many waiting leaves no report has named.
    pub(crate) fn unreported(&self) -> usize {
        self.unreported
    }

    /// A report names all that wait now.
    pub(crate) fn mark_reported(&mut self) {
        self.unreported = 0;
        for leaf in self.slots.iter_mut().flatten() {
            leaf.reported |= leaf.phase == Phase::Waiting;
        }
    }
}

impl LeafWaker {
    /// `None` stands for the handler's own waker.
    fn new(waker: Option<&Waker>) -> Self {
        waker.map_or(Self::Handler, |waker| Self::Own(waker.clone()))
    }
}
