//! Ports of loopback for processes that must be told beforehand, and keep them when they start again.
//!
//! In: how a process is started on given ports. Out: one that serves on ports of its own. Nobody holds a port
//! until the process does, so somebody else may be faster to take it: then it is started on others.

use std::{
    array,
    net::{Ipv4Addr, TcpListener},
    time::{Duration, Instant},
};

use durably::test_server::{ProcessBuilder, ProcessUnderTest, TestServerError, free_port};

/// How often other ports are tried.
const ATTEMPTS: usize = 8;

const POLL: Duration = Duration::from_millis(20);

/// So many ports that nobody listens on. They differ: each is held until all are drawn.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = array::from_fn(|_| hold());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn hold() -> TcpListener {
    let held = (0..ATTEMPTS).find_map(|_| {
        let port = free_port().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    });
    held.unwrap()
}

/// Starts a process on ports of its own, and waits until it has written that it serves.
pub(crate) async fn start_on<const N: usize>(
    described: impl Fn([u16; N]) -> ProcessBuilder,
    says: &str,
    limit: Duration,
) -> (ProcessUnderTest, [u16; N]) {
    let mut attempt = 1;
    loop {
        let ports = free_ports::<N>();
        let process = described(ports).spawn().unwrap();
        match process.wait_for_log(says, limit).await {
            Ok(()) => return (process, ports),
            Err(error) if attempt < ATTEMPTS && is_taken(&error) => attempt += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until a process that was started again serves, too. Its ports were free for a moment: who has taken one
/// of them meanwhile gives it back, and the process starts once more.
pub(crate) async fn serves_again(process: &ProcessUnderTest, says: &str, limit: Duration) {
    let start = Instant::now();
    while let Err(error) = process.wait_for_log(says, limit).await {
        assert!(is_taken(&error) && start.elapsed() < limit, "{error}");
        tokio::time::sleep(POLL).await;
        process.restart().unwrap();
    }
}

/// Whether a process has ended because somebody else has its port.
fn is_taken(error: &TestServerError) -> bool {
    error.to_string().contains("Address already in use")
}
