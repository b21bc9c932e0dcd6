//! What the endpoint has set for a handler, beside what the request brings.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use crate::interceptor::Layers;

/// Resolves when the time it was made for is over.
pub(crate) type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of alarms in real time: nothing below the endpoint has one of its own.
#[derive(Clone, Copy)]
pub(crate) struct Timer(fn(Duration) -> Alarm);

impl Timer {
    pub(crate) fn new(after: fn(Duration) -> Alarm) -> Self {
        Self(after)
    }

    pub(crate) fn after(self, duration: Duration) -> Alarm {
        (self.0)(duration)
    }
}

/// Time never passes.
impl Default for Timer {
    fn default() -> Self {
        Self(|_| Box::pin(std::future::pending()))
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}

/// What the endpoint has set for a handler.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) timer: Timer,
    /// Its interceptors, outermost first; none, if there are none.
    pub(crate) layers: Option<Layers>,
    /// A CANCEL fails nothing that is awaited.
    pub(crate) explicit_cancellation: bool,
}
