//! What an attempt tells the log: its span, and events about how it goes and ends.
//!
//! Every event names its invocation by itself, since a filter for warnings alone drops spans. No byte of
//! a payload stands in any of them. Without a subscriber the span is never made, and nothing
//! here formats anything.

use std::{
    fmt::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tracing::{Span, field};

use super::cell::{Cell, State};
use crate::{
    error::{Behavior, TerminalError},
    interceptor::{AttemptEnd, AttemptInfo, AttemptOutcome},
    journal::{AttemptError, AwaitSet, CommandRef},
};

/// The most of an object's key that is shown, in characters.
const MAX_KEY: usize = 128;

/// The span of an attempt, as the crate's docs tell its fields. The handler is polled, and dropped, within it.
pub(super) fn span(cell: &Cell, replaying: bool) -> Span {
    tracing::info_span!(
        "attempt",
        invocation.id = cell.info().id,
        invocation.target = field::debug(Target(cell)),
        attempt = cell.info().retry_count.saturating_add(1),
        replaying,
    )
}

/// The handler has returned an outcome.
pub(super) fn ended(cell: &Arc<Cell>, failure: Option<&TerminalError>) {
    let (outcome, ending) = match failure {
        None => ("success", AttemptOutcome::Succeeded),
        Some(_) => ("failure", AttemptOutcome::Failed),
    };
    tell(cell, ending, failure.map(|failure| failure as _));
    tracing::debug!(
        invocation.id = cell.info().id,
        invocation.target = field::debug(Target(cell)),
        outcome,
        "the attempt ended"
    );
}

/// Nothing is wrong: the runtime begins the next attempt when something of what is awaited comes.
pub(super) fn suspended(cell: &Arc<Cell>, awaited: &AwaitSet) {
    tell(cell, AttemptOutcome::Suspended, None);
    tracing::debug!(
        invocation.id = cell.info().id,
        invocation.target = field::debug(Target(cell)),
        awaited = awaited.describe(),
        "the attempt suspended"
    );
}

/// The attempt ends without an outcome of the handler.
pub(super) fn failed(cell: &Arc<Cell>, error: &AttemptError) {
    tell(cell, AttemptOutcome::Errored, Some(error));
    tracing::warn!(
        invocation.id = cell.info().id,
        invocation.target = field::debug(Target(cell)),
        command = error.command.as_ref().map(field::display),
        %error,
        next = field::display(Next(error)),
        "the attempt failed"
    );
}

/// Nobody knows how it would have ended: its request has gone.
pub(super) fn aborted(cell: &Arc<Cell>) {
    tell(cell, AttemptOutcome::Aborted, None);
}

/// Tells the interceptors.
fn tell(cell: &Arc<Cell>, outcome: AttemptOutcome, error: Option<&dyn fmt::Display>) {
    if let Some(layers) = &cell.request.setting.layers {
        let replayed = cell.lock().replayed;
        let end = AttemptEnd::new(outcome, replayed, error);
        // Code of the user's, here where nothing would catch its panic.
        let told = AssertUnwindSafe(|| layers.ended(&AttemptInfo::new(cell), &end));
        if catch_unwind(told).is_err() {
            tracing::error!(
                invocation.id = cell.info().id,
                "an interceptor panicked at the end of an attempt"
            );
        }
    }
}

/// Who is told, beside the log, that a handler waits for something that the journal does not know: the
/// test kit, in which that is a failure. Called under the lock of the cell, so it must not come back.
#[derive(Clone, Default)]
pub(crate) struct ForeignHook(Option<Arc<dyn Fn(Option<CommandRef>) + Send + Sync>>);

impl ForeignHook {
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn new(tell: impl Fn(Option<CommandRef>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    fn tell(&self, after: Option<CommandRef>) {
        if let Some(tell) = &self.0 {
            tell(after);
        }
    }
}

impl fmt::Debug for ForeignHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignHook")
            .field(&self.0.is_some())
            .finish()
    }
}

/// The handler waits for something that the journal does not know.
pub(super) fn foreign(cell: &Cell, state: &State) {
    cell.request.foreign.tell(state.journal.last_command());
    tracing::warn!(
        invocation.id = cell.info().id,
        invocation.target = field::debug(Target(cell)),
        after = state.journal.last_command().map(field::display),
        "the handler waits for something that is not durable (a timer of the async runtime, a socket, a \
         lock, a spawned task): it is waited for, cannot be suspended, and may take another path on \
         replay. Put it into `ctx.run`, or use a durable future instead"
    );
}

/// `"service/handler"` or `"service/key/handler"`, quoted: a key may hold anything.
struct Target<'a>(&'a Cell);

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { request, .. } = self.0;
        let key = &*self.0.info().key;
        write!(f, "\"{}/", request.service)?;
        if !key.is_empty() {
            let mut rest = key.chars();
            for c in rest.by_ref().take(MAX_KEY) {
                write!(f, "{}", c.escape_debug())?;
            }
            if rest.next().is_some() {
                f.write_char('…')?;
            }
            f.write_char('/')?;
        }
        write!(f, "{}\"", request.handler)
    }
}

/// What the runtime makes of the error.
struct Next<'a>(&'a AttemptError);

impl fmt::Display for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.behavior, self.0.delay) {
            (Behavior::Retry, Some(delay)) => write!(f, "the runtime tries again in {delay:?}"),
            (Behavior::Retry, None) => {
                f.write_str("the runtime tries again as the invocation's retry policy says")
            }
            (Behavior::Pause, _) => {
                f.write_str("the runtime pauses the invocation until somebody resumes it")
            }
            (Behavior::Fail, _) => f.write_str("the runtime ends the invocation with this failure"),
        }
    }
}
