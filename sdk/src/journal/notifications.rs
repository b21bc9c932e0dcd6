//! What came, in the order in which it came.
//!
//! The order of notifications is the one thing that every replay shares, so each gets a number
//! when it arrives. Results known at once (eager state) are numbered by their command's index and
//! stand before all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::protocol::message::{NotificationResult, Void};

/// The signal that cancels an invocation.
pub(crate) const CANCEL: u32 = 1;
/// The first signal id that an awakeable takes; those below are reserved.
pub(crate) const FIRST_AWAKEABLE: u32 = 17;

/// A place in the order of deliveries: inline results by command index, then notifications by
/// arrival.
pub(crate) type Order = u64;

/// Arrivals are numbered from here; below are command indexes, which are 32 bit.
const FIRST_ARRIVAL: Order = 1 << 32;

/// What a durable future waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Completion(u32),
    Signal(u32),
    NamedSignal(Arc<str>),
}

#[derive(Debug)]
struct Arrived {
    order: Order,
    result: NotificationResult,
}

/// A completion id's place. The order stays when the result is taken: cancellation asks for it.
#[derive(Debug, Default)]
struct Slot {
    order: Option<Order>,
    result: Option<NotificationResult>,
}

/// Everything that has arrived, by source.
#[derive(Debug)]
pub(crate) struct Notifications {
    /// Completion ids are dense and start at 1.
    completions: Vec<Slot>,
    /// Most invocations get none.
    signals: Option<Box<Signals>>,
    next_order: Order,
}

#[derive(Debug, Default)]
struct Signals {
    /// Signal ids are sparse.
    by_id: BTreeMap<u32, Option<Arrived>>,
    named: BTreeMap<Arc<str>, VecDeque<Arrived>>,
    cancels: VecDeque<Order>,
    /// The first CANCEL's place, delivered or not: whoever asks for it learns of it.
    cancelled: Option<Order>,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            completions: Vec::new(),
            signals: None,
            next_order: FIRST_ARRIVAL,
        }
    }
}

impl Notifications {
    /// The place in the order for what arrives now.
    pub(crate) fn number(&mut self) -> Order {
        self.next_order += 1;
        self.next_order
    }

    fn slot(&mut self, id: u32) -> &mut Slot {
        let at = id as usize;
        if self.completions.len() <= at {
            self.completions.resize_with(at + 1, Slot::default);
        }
        &mut self.completions[at]
    }

    /// A result that is known when its command is issued.
    pub(crate) fn complete_inline(&mut self, id: u32, command: u32, result: NotificationResult) {
        self.complete(id, result, Order::from(command));
    }

    /// A completion takes its place; the caller has checked that the id is within bounds. `false`
    /// if it is there already.
    pub(crate) fn complete(&mut self, id: u32, result: NotificationResult, order: Order) -> bool {
        let slot = self.slot(id);
        if slot.order.is_some() {
            return false;
        }
        *slot = Slot {
            order: Some(order),
            result: Some(result),
        };
        true
    }

    /// A signal arrives. CANCEL queues up; of any other the first counts, since an awakeable is
    /// completed once.
    pub(crate) fn signal(&mut self, id: u32, result: NotificationResult) {
        let order = self.number();
        let signals = self.signals.get_or_insert_default();
        if id == CANCEL {
            signals.cancels.push_back(order);
            signals.cancelled.get_or_insert(order);
        } else {
            signals
                .by_id
                .entry(id)
                .or_insert(Some(Arrived { order, result }));
        }
    }

    /// A named signal arrives; each arrival serves one wait.
    pub(crate) fn named_signal(&mut self, name: Arc<str>, result: NotificationResult) {
        let order = self.number();
        self.signals
            .get_or_insert_default()
            .named
            .entry(name)
            .or_default()
            .push_back(Arrived { order, result });
    }

    /// The place in the order of what `source` would get next.
    pub(crate) fn order(&self, source: &Source) -> Option<Order> {
        match source {
            Source::Completion(id) => {
                let slot = self.completions.get(*id as usize)?;
                slot.result.is_some().then_some(slot.order)?
            }
            Source::Signal(CANCEL) => self.signals.as_ref()?.cancelled,
            Source::Signal(id) => {
                let signals = self.signals.as_ref()?;
                Some(signals.by_id.get(id)?.as_ref()?.order)
            }
            Source::NamedSignal(name) => {
                let signals = self.signals.as_ref()?;
                Some(signals.named.get(name)?.front()?.order)
            }
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn completion_slots(&self) -> usize {
        self.completions.len()
    }

    /// When the completion arrived, taken or not.
    pub(crate) fn completed_at(&self, id: u32) -> Option<Order> {
        self.completions.get(id as usize)?.order
    }

    /// The invocation id that a completion brought, if it has come.
    pub(crate) fn invocation_id(&self, id: u32) -> Option<&str> {
        match self.completions.get(id as usize)?.result.as_ref()? {
            NotificationResult::InvocationId(id) => std::str::from_utf8(id).ok(),
            _ => None,
        }
    }

    /// Hands out what `source` gets next. An invocation id stays for whoever asks again, and so does the
    /// news of a CANCEL.
    pub(crate) fn take(&mut self, source: &Source) -> Option<NotificationResult> {
        match source {
            Source::Completion(id) => {
                let slot = self.completions.get_mut(*id as usize)?;
                match &slot.result {
                    Some(NotificationResult::InvocationId(_)) => slot.result.clone(),
                    _ => slot.result.take(),
                }
            }
            Source::Signal(CANCEL) => {
                self.order(source)?;
                Some(NotificationResult::Void(Void {}))
            }
            Source::Signal(id) => {
                let signals = self.signals.as_mut()?;
                Some(signals.by_id.get_mut(id)?.take()?.result)
            }
            Source::NamedSignal(name) => {
                let signals = self.signals.as_mut()?;
                let queue = signals.named.get_mut(name)?;
                let arrived = queue.pop_front()?;
                if queue.is_empty() {
                    signals.named.remove(name);
                }
                Some(arrived.result)
            }
        }
    }

    /// The place of the first CANCEL that was not delivered yet.
    pub(crate) fn cancel(&self) -> Option<Order> {
        self.signals.as_ref()?.cancels.front().copied()
    }

    /// Whether a CANCEL has come, delivered or not.
    pub(crate) fn has_cancel(&self) -> bool {
        self.order(&Source::Signal(CANCEL)).is_some()
    }

    /// The first CANCEL is delivered.
    pub(crate) fn take_cancel(&mut self) -> Option<Order> {
        self.signals.as_mut()?.cancels.pop_front()
    }
}
