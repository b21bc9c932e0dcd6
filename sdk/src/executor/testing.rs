//! What the test kit asks of an attempt beyond its frames: what the handler waits for, and a say in
//! which runs are started.

use super::{Attempt, Cell, HandlerSource};
use crate::journal::Source;

impl<S: HandlerSource> Attempt<S> {
    /// From now on only these runs, by their completion ids, are started, and those of later calls.
    pub(crate) fn permit_runs(&self, runs: impl IntoIterator<Item = u32>) {
        self.cell.lock().runs.permit(runs);
    }

    /// Whether the closure of a run executes.
    pub(crate) fn executes_runs(&self) -> bool {
        self.cell.lock().runs.any_executing()
    }

    /// What the handler waits for, in no order.
    pub(crate) fn awaited(&self) -> Vec<Source> {
        self.cell.lock().leaves.sources().cloned().collect()
    }

    /// Whether the handler was seen waiting for something that the journal does not know.
    pub(crate) fn waits_for_foreign(&self) -> bool {
        self.decider.waits_for_foreign()
    }
}

impl Cell {
    /// A cell of no attempt, for contexts that only make requests.
    pub(crate) fn detached() -> Self {
        use super::{AttemptRequest, Clock};
        use crate::protocol::{ProtocolVersion, frame::Limits};
        Self::new(AttemptRequest {
            version: ProtocolVersion::V7,
            service: "Mock".into(),
            handler: "handler".into(),
            attempt_headers: http::HeaderMap::new(),
            clock: Clock::new(|| 0),
            limits: Limits::default(),
        })
    }
}
