//! A program of one's own under test, usually the process that serves handlers: started, killed in
//! the middle of its work and started again, as deployments and crashes do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::error::TestServerError;
use super::guard::{GuardedChild, Launch};
use super::log::Log;

const POLL: Duration = Duration::from_millis(10);

/// How long [`ProcessUnderTest::terminate`] waits before it kills.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that a test starts, kills and starts again.
///
/// It is killed when the value is dropped, and also when the test process itself is killed. Its
/// output is collected, and shown on stderr if the test that drops the value is panicking.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::{ProcessUnderTest, free_port};
/// # use std::time::Duration;
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let port = free_port()?.to_string();
/// let handlers = ProcessUnderTest::spawn("target/debug/greeter", [("PORT", &port)])?;
/// handlers.wait_for_log("listening", Duration::from_secs(10)).await?;
/// handlers.kill9();
/// handlers.restart()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProcessUnderTest {
    launch: Launch,
    name: String,
    /// None: the output goes where ours goes.
    log: Option<Log>,
    running: Mutex<Running>,
    /// Holds the log; removed after everything else.
    _directory: Option<TempDir>,
}

#[derive(Debug, Default)]
struct Running {
    child: Option<GuardedChild>,
    /// Where in the log the present run began.
    log_start: usize,
}

/// Settings of a [`ProcessUnderTest`] before it is spawned.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::ProcessUnderTest;
/// let process = ProcessUnderTest::builder("target/debug/greeter")
///     .arg("--verbose")
///     .env("PORT", "9080")
///     .inherit_output()
///     .spawn()?;
/// # Ok::<(), durably::test_server::TestServerError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProcessBuilder {
    launch: Launch,
    inherit_output: bool,
}

impl ProcessBuilder {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.launch.args.push(arg.into());
        self
    }

    /// Sets a variable in the process's environment, on top of our own environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.launch.envs.push((name.into(), value.into()));
        self
    }

    /// Sets the directory the process runs in; otherwise it is ours.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.launch.directory = Some(directory.into());
        self
    }

    /// Lets the process write to our own stdout and stderr instead of collecting its output.
    #[must_use]
    pub fn inherit_output(mut self) -> Self {
        self.inherit_output = true;
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    ///
    /// When the operating system cannot start it. A program that does not exist is noticed by
    /// [`ProcessUnderTest::wait_for_log`], or by [`ProcessUnderTest::is_running`].
    pub fn spawn(self) -> Result<ProcessUnderTest, TestServerError> {
        let name = self
            .launch
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let name = name.into_owned();
        let (log, directory) = if self.inherit_output {
            (None, None)
        } else {
            let directory = tempfile::Builder::new()
                .prefix("durably-process-")
                .tempdir()
                .map_err(TestServerError::io(
                    "create a directory for the process's output",
                ))?;
            (
                Some(Log::new(directory.path().join("output.log"))),
                Some(directory),
            )
        };
        let process = ProcessUnderTest {
            launch: self.launch,
            name,
            log,
            running: Mutex::default(),
            _directory: directory,
        };
        process.restart()?;
        Ok(process)
    }
}

impl ProcessUnderTest {
    /// Starts a program with some variables on top of our own environment.
    ///
    /// # Errors
    ///
    /// As [`ProcessBuilder::spawn`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::ProcessUnderTest;
    /// let handlers = ProcessUnderTest::spawn("target/debug/greeter", [("PORT", "9080")])?;
    /// # Ok::<(), durably::test_server::TestServerError>(())
    /// ```
    pub fn spawn<K, V>(
        program: impl Into<PathBuf>,
        envs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, TestServerError>
    where
        K: AsRef<std::ffi::OsStr>,
        V: AsRef<std::ffi::OsStr>,
    {
        envs.into_iter()
            .fold(Self::builder(program), |builder, (name, value)| {
                builder.env(name.as_ref(), value.as_ref())
            })
            .spawn()
    }

    /// Starts to describe a process.
    ///
    /// # Examples
    ///
    /// See [`ProcessBuilder`].
    pub fn builder(program: impl Into<PathBuf>) -> ProcessBuilder {
        ProcessBuilder {
            launch: Launch {
                program: program.into(),
                ..Launch::default()
            },
            inherit_output: false,
        }
    }

    /// The process id, while the process has been started and neither killed nor terminated.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(process: durably::test_server::ProcessUnderTest) {
    /// println!("attach a debugger to {:?}", process.id());
    /// # }
    /// ```
    pub fn id(&self) -> Option<u32> {
        self.lock().child.as_ref().map(GuardedChild::id)
    }

    /// Whether the process runs.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(process: durably::test_server::ProcessUnderTest) {
    /// process.kill9();
    /// assert!(!process.is_running());
    /// # }
    /// ```
    pub fn is_running(&self) -> bool {
        self.lock()
            .child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Kills the process at once (SIGKILL): it gets no chance to finish anything.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(process: durably::test_server::ProcessUnderTest) {
    /// process.kill9();
    /// # }
    /// ```
    pub fn kill9(&self) {
        self.lock().child = None;
    }

    /// Starts the process again with the same settings; kills it before if it still runs.
    ///
    /// # Errors
    ///
    /// When the operating system cannot start it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(process: durably::test_server::ProcessUnderTest)
    /// # -> Result<(), durably::test_server::TestServerError> {
    /// process.kill9();
    /// process.restart()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restart(&self) -> Result<(), TestServerError> {
        let doing = || TestServerError::io(format!("start {}", self.launch.program.display()));
        let mut running = self.lock();
        running.child = None;
        running.log_start = self.log.as_ref().map_or(0, Log::len);
        let output = self
            .log
            .as_ref()
            .map(Log::open)
            .transpose()
            .map_err(doing())?;
        running.child = Some(GuardedChild::spawn(&self.launch, output, None).map_err(doing())?);
        Ok(())
    }

    /// Asks the process to end (SIGTERM) and waits until it has. It is killed if that takes
    /// longer than 30 seconds, and the answer is then `None`, as for one that does not run.
    ///
    /// # Errors
    ///
    /// When the operating system cannot deliver the signal.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(process: durably::test_server::ProcessUnderTest)
    /// # -> Result<(), durably::test_server::TestServerError> {
    /// let status = process.terminate().await?;
    /// assert!(status.is_some_and(|status| status.success()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn terminate(&self) -> Result<Option<ExitStatus>, TestServerError> {
        // Taken out, so that no lock is held while waiting.
        let Some(mut child) = self.lock().child.take() else {
            return Ok(None);
        };
        child
            .terminate(PATIENCE)
            .await
            .map_err(TestServerError::io(format!("terminate {}", self.name)))
    }

    /// What the process has written so far, over all its runs. Empty if its output is inherited.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(process: durably::test_server::ProcessUnderTest) {
    /// assert!(process.log().contains("charged the card once"));
    /// # }
    /// ```
    pub fn log(&self) -> String {
        self.log.as_ref().map(Log::text).unwrap_or_default()
    }

    /// The file with the process's output, unless it is inherited.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn example(process: durably::test_server::ProcessUnderTest) {
    /// println!("tail -f {:?}", process.log_path());
    /// # }
    /// ```
    pub fn log_path(&self) -> Option<&Path> {
        self.log.as_ref().map(Log::path)
    }

    /// Waits until the process, in its present run, has written a text.
    ///
    /// # Errors
    ///
    /// When it ends before, or has not written it in time.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(process: durably::test_server::ProcessUnderTest)
    /// # -> Result<(), durably::test_server::TestServerError> {
    /// process.wait_for_log("listening", Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_for_log(&self, text: &str, limit: Duration) -> Result<(), TestServerError> {
        let failed = |reason: String| TestServerError::NotStarted {
            program: self.name.clone(),
            reason,
            log: self.log.as_ref().map(Log::tail).unwrap_or_default(),
        };
        let Some(log) = &self.log else {
            return Err(failed(
                "its output is inherited, so it cannot be waited for".into(),
            ));
        };
        let start = Instant::now();
        loop {
            let (ended, log_start) = {
                let mut running = self.lock();
                let ended = match running.child.as_mut().map(GuardedChild::try_wait) {
                    None => Some("it was stopped".to_owned()),
                    Some(Ok(None)) => None,
                    Some(Ok(Some(status))) => Some(format!("it ended with {status}")),
                    Some(Err(error)) => Some(error.to_string()),
                };
                (ended, running.log_start)
            };
            // Looked at after the state: what was written before the end counts.
            if log.text_from(log_start).contains(text) {
                return Ok(());
            }
            if let Some(ended) = ended {
                return Err(failed(format!("{ended} before it wrote {text:?}")));
            }
            if start.elapsed() > limit {
                return Err(failed(format!(
                    "it has not written {text:?} within {limit:?}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ProcessUnderTest {
    fn drop(&mut self) {
        self.kill9();
        if let Some(log) = &self.log {
            log.show_if_panicking(&self.name);
        }
    }
}
