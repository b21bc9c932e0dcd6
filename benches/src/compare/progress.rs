//! The progress line, on standard error.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::Mutex,
};

static LAST: Mutex<String> = Mutex::new(String::new());

/// Says what is being done. A terminal has one line for it; elsewhere a line that begins as the one
/// before (up to the first colon) is left out.
pub(crate) fn say(what: &str) {
    let mut err = stderr().lock();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[2K{what}");
        let _ = err.flush();
        return;
    }
    let subject = what.split(':').next().unwrap_or(what);
    if let Ok(mut last) = LAST.lock()
        && *last != subject
    {
        subject.clone_into(&mut last);
        let _ = writeln!(err, "{what}");
    }
}

/// Makes room for other output.
pub(crate) fn clear() {
    let mut err = stderr().lock();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[2K");
        let _ = err.flush();
    }
}
