//! What can go wrong while servers are installed, started and asked.
//!
//! Everything here is read by a person whose test has just failed, so each message says what was
//! attempted, what came of it and, where that is known, what to do about it.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a server could not be installed, started or asked for something.
///
/// # Examples
///
/// ```no_run
/// # use durably::test_server::{RestateServer, TestServerError};
/// # async fn example() {
/// match RestateServer::builder().start().await {
///     Ok(server) => println!("ingress at {}", server.ingress_url()),
///     Err(error @ TestServerError::NotInstalled { .. }) => eprintln!("skipped: {error}"),
///     Err(error) => panic!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestServerError {
    /// A program was not found and could not be installed.
    #[error(
        "{program} could not be found or installed; tried:{}\nto fix it: {advice}",
        Lines(tried)
    )]
    NotInstalled {
        /// The program and the version that is wanted.
        program: String,
        /// Each place and way that was tried, with what came of it.
        tried: Vec<String>,
        /// What makes it work.
        advice: String,
    },
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: String,
        /// The refusal.
        source: io::Error,
    },
    /// A program was started but did not come up, or ended.
    #[error("{program} did not start: {reason}\nthe end of its log:\n{log}")]
    NotStarted {
        /// The program.
        program: String,
        /// What was seen instead of readiness.
        reason: String,
        /// The last lines that the program wrote.
        log: String,
    },
    /// A request got no answer, or one that makes no sense.
    #[error("{request}: {source}")]
    Unanswered {
        /// The request's method and address.
        request: String,
        /// Why there is no answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server's admin API answered that it will not do this.
    #[error("{request} was refused with status {status}: {message}")]
    Refused {
        /// The request's method and address.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The server's explanation.
        message: String,
    },
    /// The Kafka broker did not do what it was asked.
    #[error("the Kafka broker did not {doing}: {source}")]
    Kafka {
        /// What was asked of the broker.
        doing: String,
        /// Its answer.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl TestServerError {
    /// Names what was attempted when the operating system refused it.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  - {line}"))
    }
}
