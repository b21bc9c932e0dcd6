//! Lines on the standard error of long explorations. The only clock of an exploration is here.

use std::time::{Duration, Instant};

/// The pause before the first line, and between lines.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    last: Instant,
    runs: u64,
}

impl Progress {
    pub(super) fn new(shown: bool) -> Self {
        Self {
            shown,
            last: Instant::now(),
            runs: 0,
        }
    }

    /// One more run is done.
    pub(super) fn step(&mut self, describe: impl FnOnce() -> String) {
        self.runs += 1;
        if self.shown && self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            eprintln!("explore: {} runs, {}", self.runs, describe());
        }
    }
}
