//! What the test kit asks of an attempt beyond its frames: what the handler waits for, and a say in
//! which runs are started.

use super::{Attempt, HandlerSource};
use crate::journal::Source;

impl<S: HandlerSource> Attempt<S> {
    /// From now on only these runs, by their completion ids, are started, and those of later calls.
    pub(crate) fn permit_runs(&self, runs: impl IntoIterator<Item = u32>) {
        self.cell.lock().runs.permit(runs);
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
