//! A child process that cannot outlive this one.
//!
//! In: a program with its arguments and environment. Out: a child that is killed when its value is
//! dropped, and also when this process ends without dropping anything (a static, an abort,
//! `kill -9`). Used for the Restate server, the broker and the handler processes alike.
//!
//! The second part needs help from outside, because a killed process runs no code of its own. Next
//! to every child runs a small shell, the *watchdog*, that reads from a pipe whose other end only
//! this process holds. Nothing is ever written to it: when this process is gone, the read ends and
//! the watchdog kills the child. Both live in process groups of their own, so that a ctrl-c at the
//! terminal reaches only this process, which decides what happens next.
//!
//! There is no moment in which the child runs without a watchdog. The child starts as a shell that
//! waits for a line before it becomes the program (`exec` keeps the process id), and the line is
//! written once the watchdog watches; if this process dies before, the shell reads the end of the
//! pipe and leaves.
//!
//! No other process is hit by mistake: the child is reaped only after the watchdog is gone, so that
//! the process id the watchdog knows stays taken. No zombie stays either: both are waited for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Becomes the program after a line; `</dev/null` takes the pipe away from the program.
const GATE: &str = r#"IFS= read -r go || exit 125; exec "$0" "$@" </dev/null"#;

/// Waits for the end of the pipe, then kills `$1` and removes the directory `$2` if there is one.
const WATCHDOG: &str = r#"trap '' HUP INT TERM
IFS= read -r never
kill -9 "$1" 2>/dev/null
[ -z "$2" ] || { sleep 1; rm -rf -- "$2"; }"#;

/// Pause between two looks at a child that is about to end.
const POLL: Duration = Duration::from_millis(10);

/// What to run, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) envs: Vec<(OsString, OsString)>,
    /// Variables of our own environment that the program must not see.
    pub(super) hidden: Vec<OsString>,
    pub(super) directory: Option<PathBuf>,
}

/// A running child with its watchdog. Dropping it kills and reaps both.
#[derive(Debug)]
pub(super) struct GuardedChild {
    child: Child,
    /// Holds the pipe's end in its `stdin`.
    watchdog: Child,
}

impl GuardedChild {
    /// Starts the program; its output goes to `output`, or to our own if there is none.
    ///
    /// `leftovers` is a directory that the watchdog removes if we are killed.
    pub(super) fn spawn(
        launch: &Launch,
        output: Option<File>,
        leftovers: Option<&Path>,
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(GATE)
            .arg(&launch.program)
            .args(&launch.args);
        for name in &launch.hidden {
            command.env_remove(name);
        }
        command.envs(launch.envs.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &launch.directory {
            command.current_dir(directory);
        }
        if let Some(file) = output {
            command.stdout(file.try_clone()?).stderr(file);
        }
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;

        let watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "durably-watchdog"])
            .arg(child.id().to_string())
            .arg(leftovers.unwrap_or(Path::new("")))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let watchdog = match watchdog {
            Ok(watchdog) => watchdog,
            Err(error) => {
                // Still the waiting shell: closing its input lets it leave by itself.
                drop(child.stdin.take());
                let _ = child.wait();
                return Err(error);
            }
        };

        let gate = child.stdin.take();
        let guarded = Self { child, watchdog };
        match gate {
            // From here on an error drops `guarded`, which ends both.
            Some(mut gate) => gate.write_all(b"\n")?,
            None => return Err(io::Error::other("the child was started without an input")),
        }
        Ok(guarded)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status if the child has ended by itself.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.dismiss_watchdog();
        }
        Ok(status)
    }

    /// Asks the child to end (SIGTERM) and waits for it, at most `patience`.
    pub(super) async fn terminate(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.try_wait()? {
            return Ok(Some(status));
        }
        // The child is not reaped yet, so this id is nobody else's. The shell's own `kill` is
        // used because the standard library can send no signal but SIGKILL.
        Command::new("/bin/sh")
            .args(["-c", r#"kill -TERM "$0""#])
            .arg(self.id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if start.elapsed() > patience {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills the child (SIGKILL) unless it has ended, and reaps it.
    pub(super) fn kill(&mut self) {
        // Order matters: a killed child keeps its id until it is reaped, and it is reaped only
        // when nobody is left who would kill by that id. Errors mean that it has ended already.
        let _ = self.child.kill();
        self.dismiss_watchdog();
        let _ = self.child.wait();
    }

    fn dismiss_watchdog(&mut self) {
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        self.kill();
    }
}
