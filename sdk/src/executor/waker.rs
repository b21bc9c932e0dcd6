//! Wakers: of the handler as a whole, and of each run's closure.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use futures::task::AtomicWaker;

use super::{cell::Cell, runs::RunRef};

/// Who was woken. A wake while the executor is at work only sets a flag that the executor looks at
/// when the handler rests; otherwise it wakes the task that drives the attempt.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    woken: AtomicBool,
    /// The executor is at work and will look at the flags before it returns.
    working: AtomicBool,
    outer: AtomicWaker,
    /// Runs whose closures want to be polled.
    runs: Mutex<Vec<RunRef>>,
    any_run: AtomicBool,
}

impl Wakes {
    /// The executor begins to work on behalf of `outer`.
    pub(crate) fn begin(&self, outer: &Waker) {
        self.outer.register(outer);
        self.working.store(true, Ordering::SeqCst);
    }

    /// The executor is about to return; `true` if something was woken that it has not seen.
    pub(crate) fn end(&self) -> bool {
        self.working.store(false, Ordering::SeqCst);
        let pending = self.woken.load(Ordering::SeqCst) || self.any_run.load(Ordering::SeqCst);
        if pending {
            self.working.store(true, Ordering::SeqCst);
        }
        pending
    }

    /// The executor returns although it has work left.
    pub(crate) fn release(&self) {
        self.working.store(false, Ordering::SeqCst);
    }

    /// Whether the handler was woken since the last call.
    pub(crate) fn take_woken(&self) -> bool {
        // Looking is cheap, and the answer is usually no.
        self.woken.load(Ordering::SeqCst) && self.woken.swap(false, Ordering::SeqCst)
    }

    /// The runs whose closures were woken since the last call.
    pub(crate) fn take_runs(&self) -> Vec<RunRef> {
        if !self.any_run.load(Ordering::SeqCst) || !self.any_run.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        let mut runs = mem::take(&mut *self.runs.lock().unwrap_or_else(PoisonError::into_inner));
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    fn notify(&self) {
        if !self.working.load(Ordering::SeqCst) {
            self.outer.wake();
        }
    }
}

/// The waker of the handler as a whole.
impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.woken.store(true, Ordering::SeqCst);
        self.wakes.notify();
    }
}

/// The waker of one run's closure: its wakes are queued and applied at rest.
#[derive(Debug)]
pub(crate) struct RunWaker {
    pub(crate) cell: Arc<Cell>,
    pub(crate) run: RunRef,
}

impl Wake for RunWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakes = &self.cell.wakes;
        let mut runs = wakes.runs.lock().unwrap_or_else(PoisonError::into_inner);
        // A closure may be woken often before anybody looks: once is enough.
        if runs.last() != Some(&self.run) {
            if runs.len() == runs.capacity() {
                runs.sort_unstable();
                runs.dedup();
            }
            runs.push(self.run);
        }
        drop(runs);
        wakes.any_run.store(true, Ordering::SeqCst);
        wakes.notify();
    }
}
