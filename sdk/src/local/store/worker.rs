//! A thread that does one job whenever a bell has rung for it.
//!
//! In: times at which the job is due. Out: the job, done soon after; what is due when the worker is dropped is
//! done before the drop returns.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

pub(super) struct Worker {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    due: Option<Instant>,
    stop: bool,
}

impl Worker {
    pub(super) fn spawn(name: &str, job: impl Fn() + Send + 'static) -> io::Result<Self> {
        let bell = Arc::new(Bell::default());
        let heard = Arc::clone(&bell);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while heard.wait() {
                    job();
                }
            })?;
        Ok(Self {
            bell,
            thread: Some(thread),
        })
    }

    /// Has the job done at `due`, if it is not due earlier.
    pub(super) fn ring(&self, due: Instant) {
        let mut state = self.bell.lock();
        if state.due.is_none_or(|earlier| due < earlier) {
            state.due = Some(due);
            drop(state);
            self.bell.changed.notify_one();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.bell.lock().stop = true;
        self.bell.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A job that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Bell {
    // Nothing is done under this lock that could leave it half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the job is to be done; `false` when it never will be again.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            let Some(due) = state.due else {
                if state.stop {
                    return false;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stop {
                state.due = None;
                return true;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
