//! Catches what is logged while something runs.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock},
};

use tracing::{Dispatch, Level, subscriber::NoSubscriber};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged at this level and above while `play` runs: one event a line, its spans
/// before it.
pub(super) fn logged(level: Level, play: impl FnOnce()) -> Vec<String> {
    // While tracing knows of a single dispatcher, it asks that of whichever thread comes by first
    // whether an event interests anybody, and remembers the answer: a test without a subscriber
    // beside this one would silence it. With two that last, it asks all.
    static LASTING: OnceLock<[Dispatch; 2]> = OnceLock::new();
    LASTING.get_or_init(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, play);
    let log = log.0.lock().unwrap().clone();
    let log = String::from_utf8(log).unwrap();
    log.lines().map(|line| line.trim().to_owned()).collect()
}
