//! The file that a child process writes its output to, and how it is read back.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// How much of a log a failing test shows.
const TAIL_LINES: usize = 60;

/// A log file. The child appends to it; so does the next one after a restart.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file for a child to append to.
    pub(super) fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
    }

    /// The bytes written so far; a position to read from later.
    pub(super) fn len(&self) -> usize {
        fs::metadata(&self.path).map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(usize::MAX))
    }

    /// All that was written so far. A log that cannot be read is an empty one: what asks for it
    /// has something more important to report.
    pub(super) fn text(&self) -> String {
        self.text_from(0)
    }

    /// What was written from a position on.
    pub(super) fn text_from(&self, position: usize) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(position..).unwrap_or_default()).into_owned()
    }

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        tail(&self.text(), TAIL_LINES).to_owned()
    }

    /// Shows the last lines on stderr if the test that owns the process is failing.
    pub(super) fn show_if_panicking(&self, program: &str) {
        if std::thread::panicking() {
            eprintln!("--- the end of {program}'s log ---\n{}\n---", self.tail());
        }
    }
}

/// The last `lines` lines of a text, without the final line break.
pub(super) fn tail(text: &str, lines: usize) -> &str {
    let text = text.trim_end();
    let start = text
        .rmatch_indices('\n')
        .nth(lines.saturating_sub(1))
        .map_or(0, |(at, _)| at + 1);
    text.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\nb", 2), "a\nb");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("\n\n", 2), "");
    }
}
