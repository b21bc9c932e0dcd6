//! The wall clock. Attempts are handed it; nothing below the endpoint reads the time itself.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::executor::Clock;

/// Milliseconds since the Unix epoch, from the operating system.
pub(crate) fn system() -> Clock {
    Clock::new(|| {
        // Before 1970 the clock is wrong anyway; zero is as good an answer as any.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    })
}
