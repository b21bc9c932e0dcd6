//! The settings of a server: what a test may choose, and the configuration file made of it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::TestServerError;
use super::server::RestateServer;

/// Cluster and node need fixed names: the data directory is bound to them, and by default they
/// come from the host's name.
const NODE_NAME: &str = "durably-test";

/// Settings of a [`RestateServer`] before it is started.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::{RestateServer, TestServerError};
/// # async fn example() -> Result<(), TestServerError> {
/// let server = RestateServer::builder().always_suspend().protocol_v7().start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a server runs only once it is started"]
pub struct RestateServerBuilder {
    pub(super) base_dir: Option<PathBuf>,
    pub(super) binary: Option<PathBuf>,
    always_suspend: bool,
    disable_retries: bool,
    pub(super) envs: Vec<(OsString, OsString)>,
}

impl RestateServerBuilder {
    /// Keeps data, settings and log in this directory, and leaves them there.
    ///
    /// A later server in the same directory continues where this one ended. Without this the
    /// server gets a fresh directory that is removed with it.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().base_dir("target/restate");
    /// ```
    pub fn base_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.base_dir = Some(directory.into());
        self
    }

    /// Uses this executable and looks for no other.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().binary("/opt/restate/bin/restate-server");
    /// ```
    pub fn binary(mut self, file: impl Into<PathBuf>) -> Self {
        self.binary = Some(file.into());
        self
    }

    /// Suspends every handler as soon as it waits for anything, so that each await is followed by
    /// a replay of the journal. Finds code that is not deterministic.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().always_suspend();
    /// ```
    pub fn always_suspend(mut self) -> Self {
        self.always_suspend = true;
        self
    }

    /// Ends an invocation at its first failed attempt, with that attempt's error, instead of
    /// retrying. A caller then sees the error at once.
    ///
    /// A service's own retry policy still comes first. To pause instead of ending, add
    /// `.env("RESTATE_DEFAULT_RETRY_POLICY__ON_MAX_ATTEMPTS", "pause")`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().disable_retries();
    /// ```
    pub fn disable_retries(mut self) -> Self {
        self.disable_retries = true;
        self
    }

    /// Lets the server speak version 7 of the service protocol, which it does not by default.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().protocol_v7();
    /// ```
    pub fn protocol_v7(self) -> Self {
        self.env("RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7", "true")
    }

    /// Enables scopes and limit keys, on virtual objects too; includes
    /// [`protocol_v7`](Self::protocol_v7).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().scopes();
    /// ```
    pub fn scopes(self) -> Self {
        self.protocol_v7()
            .env("RESTATE_EXPERIMENTAL_ENABLE_VQUEUES", "true")
            .env("RESTATE_EXPERIMENTAL_ENABLE_SCOPED_VIRTUAL_OBJECTS", "true")
    }

    /// Sets a variable in the server's environment: any setting `a.b-c` of its configuration is
    /// `RESTATE_A__B_C`, and wins over those made here.
    ///
    /// Variables of that form in our own environment are not passed on.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use durably::test_server::RestateServer;
    /// let builder = RestateServer::builder().env("RESTATE_WORKER__INVOKER__ABORT_TIMEOUT", "1s");
    /// ```
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.envs.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it takes requests.
    ///
    /// # Errors
    ///
    /// When the program is missing and cannot be installed, or does not come up within a minute.
    ///
    /// # Examples
    ///
    /// See [`RestateServerBuilder`].
    pub async fn start(self) -> Result<RestateServer, TestServerError> {
        RestateServer::start(self).await
    }

    pub(super) fn config(&self, data: &Path, ports: [u16; 3]) -> io::Result<String> {
        let data = data.to_str().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "its path is not valid UTF-8")
        })?;
        // A JSON string is a TOML string too.
        let data = Value::from(data);
        let [node, ingress, admin] = ports;
        let suspend = if self.always_suspend {
            "inactivity-timeout = \"0s\"\n"
        } else {
            ""
        };
        // Without retries the first failure ends the invocation; otherwise they come quickly, as
        // a test that has just killed its handlers does not want to wait.
        let retries = if self.disable_retries {
            "max-attempts = 1\non-max-attempts = \"kill\"\n"
        } else {
            "initial-interval = \"50ms\"\nmax-interval = \"2s\"\n"
        };
        Ok(format!(
            r#"cluster-name = "{NODE_NAME}"
node-name = "{NODE_NAME}"
base-dir = {data}
listen-mode = "tcp"
bind-address = "127.0.0.1:{node}"
default-num-partitions = 2
rocksdb-total-memory-size = "256 MiB"
disable-telemetry = true
log-format = "compact"
log-disable-ansi-codes = true
shutdown-timeout = "10s"

[ingress]
bind-address = "127.0.0.1:{ingress}"

[admin]
bind-address = "127.0.0.1:{admin}"
disable-web-ui = true

[worker.invoker]
{suspend}
[default-retry-policy]
{retries}"#
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_toml() {
        let data = Path::new("/tmp/a \"b\" \\c");
        let settings = RestateServer::builder().always_suspend().disable_retries();
        let text = settings.config(data, [1, 2, 3]).unwrap();
        assert!(
            text.contains("base-dir = \"/tmp/a \\\"b\\\" \\\\c\"\n"),
            "{text}"
        );
        assert!(
            text.contains("[ingress]\nbind-address = \"127.0.0.1:2\"\n"),
            "{text}"
        );
        assert!(
            text.contains("[admin]\nbind-address = \"127.0.0.1:3\"\n"),
            "{text}"
        );
        assert!(
            text.contains("[worker.invoker]\ninactivity-timeout = \"0s\"\n"),
            "{text}"
        );
        assert!(
            text.ends_with("max-attempts = 1\non-max-attempts = \"kill\"\n"),
            "{text}"
        );
    }
}
