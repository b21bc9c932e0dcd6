//! The test kit's runtime, one file a topic.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod flows;
mod handles;
mod kafka;
mod keyed;
mod mixture;
mod operators;
mod retries;

use std::time::Duration;

use durably::{Endpoint, Service, testing::TestRuntime};

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Every mode in which a handler must do the same.
pub(crate) fn in_all_modes(service: impl Fn() -> Endpoint, play: impl Fn(&mut TestRuntime)) {
    for version in [5, 6, 7] {
        for always_suspend in [false, true] {
            let mut builder = TestRuntime::builder(service()).protocol(version);
            if always_suspend {
                builder = builder.always_suspend();
            }
            let mut runtime = builder.build();
            play(&mut runtime);
        }
    }
}

pub(crate) fn endpoint(service: impl Service) -> Endpoint {
    Endpoint::builder().bind(service).build().unwrap()
}
