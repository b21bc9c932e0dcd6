//! The HTTP client that the test tools share.

use std::time::Duration;

pub(super) use crate::client::http::describe;

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
