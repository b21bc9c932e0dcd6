//! The HTTP client that the test tools share.

use std::error::Error;
use std::time::Duration;

/// A client that keeps no connections and goes through no proxy.
///
/// A kept connection belongs to the async runtime that opened it. A server that several tests
/// share outlives the runtime of each of them, and the next test would be handed a connection
/// that nobody drives any more; the same goes for connections to a server that was killed and
/// restarted. On loopback a new connection costs next to nothing.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// An error of the client with all its causes in one line and without the address, which the
/// caller states anyway.
pub(super) fn describe(error: reqwest::Error) -> Box<dyn Error + Send + Sync> {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.into()
}
