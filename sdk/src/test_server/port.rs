//! Free loopback ports that stay free until somebody listens on them.
//!
//! The ports lie below the range from which operating systems take the local ports of outgoing
//! connections. A port from that range can be taken by any connection between the moment it was
//! found free and the moment the server binds it, or while a server that was killed has not come
//! back yet; worse, a client that keeps trying to reach a dead server on such a port can connect
//! to itself and so occupy it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

const RANGE: std::ops::Range<u16> = 15_000..32_000;
const ATTEMPTS: usize = 200;

/// Finds a port of 127.0.0.1 that nobody listens on.
///
/// The port lies below the range that operating systems use for outgoing connections, so it is
/// not taken by accident later. Another process may still choose the same port at the same time.
///
/// # Examples
///
/// ```
/// let port = durably::test_server::free_port()?;
/// let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
/// # drop(listener);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// When the machine has no free loopback port.
pub fn free_port() -> io::Result<u16> {
    // The randomly keyed hasher of the standard library is all the randomness needed here: test
    // processes that start together must not all try the same ports in the same order.
    let random = RandomState::new();
    for attempt in 0..ATTEMPTS {
        let offset = random.hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE
            .start
            .saturating_add(u16::try_from(offset).unwrap_or_default());
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()
        .map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_not_an_ephemeral_one() {
        let port = free_port().unwrap();
        assert!(RANGE.contains(&port), "{port}");
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(free_port().unwrap(), held.local_addr().unwrap().port());
    }
}
