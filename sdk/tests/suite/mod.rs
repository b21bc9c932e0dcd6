//! Cases × modes: what the end-to-end suites of this repository share, beside their table
//! ([`table`]).
//!
//! **To add a case**: write it in its module's `cases` function, as
//! `suite.case("what_it_shows", ALL, async |env| { … Ok(()) })`. Its module is the file that it
//! stands in, so names need to be unique only there. `alone` in place of `case` is for one that brings a server of its own and is told the
//! mode. (Both belong to the suite's own harness, which knows what services there are.)
//!
//! The modes are the ways in which the server and the handlers can talk to each other; and the embedded
//! runtime, which has no server.

mod table;

use durably::test_server::{Deployment, RestateServer, RestateServerBuilder, TestServerError};

pub(crate) use table::{Column, block_on, outcome};

/// All cases of a test binary.
pub(crate) type Suite = table::Suite<Mode>;

/// How a server is set up and talks to the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Protocol v6, as a server is out of the box.
    Default,
    /// Every await suspends, so that every step replays what came before.
    Suspend,
    V7,
    V7Suspend,
    /// HTTP/1.1: the whole request, then the whole response.
    Http1,
    /// No server at all: the embedded runtime, which speaks v7 with handlers in its own process.
    Local,
    /// The same, and every await suspends.
    LocalSuspend,
}

pub(crate) const ALL: &[Mode] = &[
    Mode::Default,
    Mode::Suspend,
    Mode::V7,
    Mode::V7Suspend,
    Mode::Http1,
    Mode::Local,
    Mode::LocalSuspend,
];

/// Those with a real server, for what only that has.
#[allow(dead_code, reason = "not each suite has such cases")]
pub(crate) const SERVER: &[Mode] = &[
    Mode::Default,
    Mode::Suspend,
    Mode::V7,
    Mode::V7Suspend,
    Mode::Http1,
];

/// The embedded runtime.
#[allow(dead_code, reason = "not each suite has such cases")]
pub(crate) const LOCAL: &[Mode] = &[Mode::Local, Mode::LocalSuspend];

/// A server, and the embedded runtime, as they are out of the box.
#[allow(dead_code, reason = "not each suite has such cases")]
pub(crate) const PLAIN: &[Mode] = &[Mode::Default, Mode::Local];

pub(crate) const DEFAULT: &[Mode] = &[Mode::Default];
/// Servers that speak v7.
#[allow(dead_code, reason = "not each suite has such cases")]
pub(crate) const V7: &[Mode] = &[Mode::V7, Mode::V7Suspend];
/// All that speak v7.
#[allow(dead_code, reason = "not each suite has such cases")]
pub(crate) const SINCE_V7: &[Mode] = &[Mode::V7, Mode::V7Suspend, Mode::Local, Mode::LocalSuspend];
pub(crate) const BEFORE_V7: &[Mode] = &[Mode::Default, Mode::Suspend, Mode::Http1];

impl Column for Mode {
    const ALL: &'static [Self] = ALL;

    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Suspend => "suspend",
            Self::V7 => "v7",
            Self::V7Suspend => "v7-suspend",
            Self::Http1 => "http1",
            Self::Local => "local",
            Self::LocalSuspend => "local-suspend",
        }
    }
}

impl Mode {
    pub(crate) fn is_v7(self) -> bool {
        matches!(self, Self::V7 | Self::V7Suspend) || self.is_local()
    }

    /// Whether it is the embedded runtime.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, Self::Local | Self::LocalSuspend)
    }

    /// A server that talks in this way. (For [`Mode::Http1`] it is the registration that counts.)
    pub(crate) fn server(self) -> RestateServerBuilder {
        let builder = RestateServer::builder();
        match self {
            Self::Default | Self::Http1 => builder,
            Self::Suspend => builder.always_suspend(),
            Self::V7 => builder.protocol_v7(),
            Self::V7Suspend => builder.protocol_v7().always_suspend(),
            Self::Local | Self::LocalSuspend => unreachable!("this mode has no server"),
        }
    }

    /// Registers handlers that talk in this way.
    pub(crate) async fn register(
        self,
        server: &RestateServer,
        uri: &str,
    ) -> Result<Deployment, TestServerError> {
        match self {
            Self::Http1 => server.register_http1(uri).await,
            _ => server.register(uri).await,
        }
    }
}
