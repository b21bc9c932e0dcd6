//! Sagas, time limits, cancellation by hand, interceptors and what they observe, one file a topic.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod interceptors;
mod limits;
#[cfg(feature = "metrics")]
mod meter;
#[cfg(feature = "tracing-subscriber")]
mod replay;
mod sagas;
#[cfg(feature = "opentelemetry")]
mod telemetry;

use std::sync::{Arc, Mutex};

use durably::{Endpoint, HandlerResult, testing::TestRuntime};

/// What was done, in order, over all attempts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    /// As a run's closure wants it.
    pub(crate) fn done(&self, line: impl Into<String>) -> HandlerResult<()> {
        self.add(line);
        Ok(())
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Every mode in which a handler must do the same.
pub(crate) fn in_all_modes(endpoint: impl Fn() -> Endpoint, play: impl Fn(&mut TestRuntime)) {
    for version in [5, 6, 7] {
        for always_suspend in [false, true] {
            let mut builder = TestRuntime::builder(endpoint()).protocol(version);
            if always_suspend {
                builder = builder.always_suspend();
            }
            play(&mut builder.build());
        }
    }
}
