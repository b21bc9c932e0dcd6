//! Wakers of tasks that wait for the same thing, to be woken all at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// A slab: who waits has a slot, and gives it back.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Nothing that runs under the lock leaves the slab half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the task's waker, in its slot.
    pub(crate) fn register(&self, slot: &mut Option<usize>, cx: &Context<'_>) {
        let old = {
            let mut slots = self.slots();
            let slot = *slot.get_or_insert_with(|| {
                slots.free.pop().unwrap_or_else(|| {
                    slots.wakers.push(None);
                    slots.wakers.len() - 1
                })
            });
            match slots.wakers.get_mut(slot) {
                Some(Some(waker)) if waker.will_wake(cx.waker()) => None,
                Some(place) => place.replace(cx.waker().clone()),
                None => None,
            }
        };
        drop(old);
    }

    /// The task does not wait any more.
    pub(crate) fn release(&self, slot: &mut Option<usize>) {
        let Some(slot) = slot.take() else { return };
        let waker = {
            let mut slots = self.slots();
            slots.free.push(slot);
            slots.wakers.get_mut(slot).and_then(Option::take)
        };
        drop(waker);
    }

    /// Wakes all that wait, outside of the lock. They keep their slots.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> = self
            .slots()
            .wakers
            .iter_mut()
            .filter_map(Option::take)
            .collect();
        for waker in wakers {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots().wakers.len()
    }
}
