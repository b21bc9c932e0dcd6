//! Many connections, and connections that carry everything but requests.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::child::{self, MIB};
use crate::rig::{Client, Server, Wild, assert_serves, run};
use crate::wire::{self, raw};

#[test]
fn many_connections_that_say_nothing_or_little() {
    const CONNECTIONS: usize = 400;
    child::test(
        "connections::many_connections_that_say_nothing_or_little",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            let mut open = Vec::new();
            for start in [Vec::new(), b"GET /health HTT".to_vec(), raw::hello(1 << 20)] {
                for _ in 0..CONNECTIONS / 3 {
                    let mut peer = Wild::connect(server.address).await;
                    peer.send(&start).await;
                    open.push(peer);
                }
            }
            assert_serves(server.address).await;
            let grown = server.memory().saturating_sub(before);
            assert!(grown < CONNECTIONS * 64 * 1024, "{grown} bytes");
        },
    );
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    run(async {
        let server = Server::with(|server| server.max_connections(2)).await;
        let mut first = Client::connect(server.address).await;
        first
            .exchange("/invoke/Plain/echo", wire::journal("x"))
            .await;
        let mut second = Wild::connect(server.address).await;
        second
            .send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert_eq!(second.answer().await.0, 200);

        let mut third = Wild::connect(server.address).await;
        third
            .send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        let waits = tokio::time::timeout(Duration::from_millis(200), third.answer()).await;
        assert!(waits.is_err(), "it was served beside two others");
        // Those that are open go on, and one that ends makes room.
        first
            .exchange("/invoke/Plain/echo", wire::journal("x"))
            .await;
        drop(second);
        assert_eq!(third.answer().await.0, 200);
    });
}

/// Reads whatever comes, for as long as the connection lives.
async fn sink(mut read: impl tokio::io::AsyncRead + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while matches!(read.read(&mut buffer).await, Ok(1..)) {}
}

#[test]
fn floods_of_frames_that_carry_nothing() {
    child::test(
        "connections::floods_of_frames_that_carry_nothing",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            let floods = [
                ("PING", raw::frame(raw::PING, 0, 0, &[7; 8])),
                ("PING ACK", raw::frame(raw::PING, raw::ACK, 0, &[7; 8])),
                (
                    "SETTINGS",
                    raw::frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
                ),
                (
                    "WINDOW_UPDATE",
                    raw::frame(raw::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
                ),
                ("PRIORITY", raw::frame(2, 0, 1, &[0, 0, 0, 0, 1])),
                ("an unknown type", raw::frame(0x42, 0, 0, &[0; 64])),
                ("empty DATA", raw::frame(raw::DATA, 0, 1, &[])),
            ];
            for (name, flood) in floods {
                for reads in [true, false] {
                    let mut peer = Wild::connect(server.address).await;
                    peer.send(raw::hello(1 << 20)).await;
                    peer.send(raw::request(1, "/invoke/Plain/sleep", &wire::journal("")))
                        .await;
                    let flood = flood.repeat(500);
                    let (read, mut write) = peer.stream.split();
                    let writes = async {
                        // It ends when the server closes the connection, or takes no more.
                        for _ in 0..100 {
                            let write = write.write_all(&flood);
                            let limit = Duration::from_millis(500);
                            if !matches!(tokio::time::timeout(limit, write).await, Ok(Ok(()))) {
                                break;
                            }
                        }
                    };
                    if reads {
                        tokio::select! {
                            () = writes => {}
                            () = sink(read) => {}
                        }
                    } else {
                        writes.await;
                    }
                    assert_serves(server.address).await;
                    let grown = server.memory().saturating_sub(before);
                    assert!(grown < 16 * MIB, "{name}: {grown} bytes");
                }
            }
            server.until_open(0).await;
        },
    );
}

#[test]
fn frames_that_may_not_be_end_their_connection_only() {
    run(async {
        let server = Server::start().await;
        let open = raw::request(1, "/invoke/Plain/hold", &wire::journal(""));
        for (name, frame) in [
            (
                "a frame above 16 KiB",
                raw::frame(raw::DATA, 0, 1, &vec![0; 16_385]),
            ),
            ("DATA for stream 0", raw::frame(raw::DATA, 0, 0, b"x")),
            (
                "DATA for an idle stream",
                raw::frame(raw::DATA, 0, 99, b"x"),
            ),
            (
                "HEADERS for an even stream",
                raw::frame(raw::HEADERS, 4, 2, &raw::invoke("/")),
            ),
            (
                "a lone CONTINUATION",
                raw::frame(raw::CONTINUATION, 4, 1, &raw::invoke("/")),
            ),
            (
                "SETTINGS for a stream",
                raw::frame(raw::SETTINGS, 0, 1, &[]),
            ),
            (
                "SETTINGS of 5 bytes",
                raw::frame(raw::SETTINGS, 0, 0, &[0; 5]),
            ),
            ("PING of 7 bytes", raw::frame(raw::PING, 0, 0, &[0; 7])),
            (
                "a window above 2 GiB",
                raw::frame(raw::WINDOW_UPDATE, 0, 0, &[0x7F, 255, 255, 255]),
            ),
            ("a promise", raw::frame(5, 4, 1, &[0, 0, 0, 2])),
            (
                "DATA with more padding than data",
                raw::frame(raw::DATA, 8, 1, &[200, 0]),
            ),
            (
                "a reset of an idle stream",
                raw::frame(raw::RST_STREAM, 0, 7, &[0; 4]),
            ),
        ] {
            let mut peer = Wild::connect(server.address).await;
            peer.send(raw::hello(1 << 20)).await;
            peer.send(&open).await;
            let counts = &server.counts;
            crate::rig::until(|| counts.open() == 1).await;
            peer.send(frame).await;
            // The end of the connection drops the attempt.
            tokio::time::timeout(Duration::from_secs(20), peer.rest())
                .await
                .unwrap_or_else(|_| panic!("{name}: the connection is still open"));
            crate::rig::until(|| counts.open() == 0).await;
        }
        assert_serves(server.address).await;
    });
}
