//! Peers that are gone without a word, as the kernel sees their connections.

use super::*;

/// The timer of the server's end of a connection, as Linux numbers it: 0 is none, 2 keep-alive.
fn timer(ours: SocketAddr, theirs: SocketAddr) -> Option<String> {
    let end = |address: SocketAddr| format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().map(str::split_whitespace);
    lines.find_map(|mut words| {
        let (local, remote) = (words.nth(1)?, words.next()?);
        let of_these = local.ends_with(&end(ours)) && remote.ends_with(&end(theirs));
        let timer = words.nth(2)?.split(':').next()?;
        of_these.then(|| timer.to_owned())
    })
}

#[tokio::test]
async fn a_connection_is_kept_alive_unless_that_is_switched_off() {
    for (interval, due) in [(Some(Duration::from_secs(30)), "02"), (None, "00")] {
        let rig = Rig::start(|server| server.keep_alive_interval(interval)).await;
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let asked = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(asked).await.unwrap();
        // Once it answers, it has set up the connection.
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        let theirs = stream.local_addr().unwrap();
        let wait = async {
            // Data that is not acknowledged yet has a timer of its own.
            while timer(rig.address, theirs).as_deref() != Some(due) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
        let found = timer(rig.address, theirs);
        assert!(waited.is_ok(), "{found:?} with an interval of {interval:?}");
        drop(stream);
        rig.stop().await;
    }
}
