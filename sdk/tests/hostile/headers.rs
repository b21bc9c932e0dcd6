//! Heads of requests that are too long, have no end, or come too slowly.

use std::time::Duration;

use crate::child::{self, MIB};
use crate::rig::{Client, Server, Wild, assert_serves, invocation, run};
use crate::wire::{self, raw};

/// Writes until the server has had enough, at most `limit` bytes; whether it had.
async fn flood(peer: &mut Wild, part: &[u8], limit: usize) -> bool {
    let mut sent = 0;
    while sent < limit {
        let write = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, part);
        match tokio::time::timeout(Duration::from_secs(5), write).await {
            Ok(Ok(())) => sent += part.len(),
            Ok(Err(_)) | Err(_) => return true,
        }
    }
    false
}

/// The error code of the GOAWAY among these frames.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = rest.get(..length)?;
        if head[3] == raw::GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        frames = &rest[length..];
    }
    None
}

#[test]
fn heads_without_end_over_http1() {
    child::test(
        "headers::heads_without_end_over_http1",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            for (start, part) in [
                // A target, a name, a value, and headers without end.
                ("GET /", "a".repeat(4096)),
                ("GET /health HTTP/1.1\r\n", "a".repeat(4096)),
                ("GET /health HTTP/1.1\r\nx: ", "a".repeat(4096)),
                (
                    "GET /health HTTP/1.1\r\n",
                    "x-header: value\r\n".repeat(200),
                ),
                // Not even that.
                ("", "\r\n".repeat(2048)),
                ("", "A".repeat(4096)),
            ] {
                let mut peer = Wild::connect(server.address).await;
                peer.send(start).await;
                let refused = flood(&mut peer, part.as_bytes(), 16 * MIB).await;
                assert!(refused, "{start:?} and then {:?}", &part[..2]);
                assert_serves(server.address).await;
            }
            let grown = server.memory().saturating_sub(before);
            assert!(grown < 8 * MIB, "{grown} bytes");
        },
    );
}

#[test]
fn heads_above_the_limits_get_an_answer_over_http1() {
    run(async {
        let server = Server::with(|server| server.max_header_size(16 * 1024)).await;
        for (header, status) in [
            (format!("x: {}", "a".repeat(8 * 1024)), 200),
            (format!("x: {}", "a".repeat(20 * 1024)), 431),
            ("x: a\r\n".repeat(99) + "x: a", 431),
            ("x: a\r\n".repeat(80) + "x: a", 200),
        ] {
            let mut peer = Wild::connect(server.address).await;
            peer.send(format!(
                "GET /health HTTP/1.1\r\nhost: localhost\r\n{header}\r\n\r\n"
            ))
            .await;
            assert_eq!(peer.answer().await.0, status, "{} bytes", header.len());
        }
    });
}

#[test]
fn heads_above_the_limit_get_an_answer_over_http2() {
    run(async {
        let server = Server::with(|server| server.max_header_size(16 * 1024)).await;
        let mut client = Client::connect(server.address).await;
        for (name, length, times, status) in [
            ("x", 8 * 1024, 1, 200),
            ("x", 20 * 1024, 1, 431),
            // Each counts 32 bytes more than it has.
            ("x", 0, 300, 200),
            ("x", 0, 600, 431),
        ] {
            let mut request = http::Request::get("http://localhost/health")
                .body(())
                .unwrap();
            for _ in 0..times {
                request
                    .headers_mut()
                    .append(name, "a".repeat(length).parse().unwrap());
            }
            let (response, _open) = client.open(request).await;
            assert_eq!(
                response.await.unwrap().status(),
                status,
                "{times} of {length} bytes"
            );
        }
    });
}

#[test]
fn by_default_long_keys_fit() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let key = "k".repeat(100 * 1024);
        let mut request = invocation("/invoke/Plain/echo");
        for name in ["x-restate-service-key", "x-restate-jwt-v1"] {
            request.headers_mut().insert(name, key.parse().unwrap());
        }
        let (response, mut body) = client.open(request).await;
        body.send_data(wire::journal("x").into(), true).unwrap();
        let (_, answer) = crate::rig::read(response.await.unwrap()).await;
        assert_eq!(wire::output(&answer), "x");
        let mut http1 = Wild::connect(server.address).await;
        let head = crate::rig::head("/invoke/Plain/echo");
        let head = format!("{head}x-restate-service-key: {key}\r\nx-restate-jwt-v1: {key}\r\n");
        let journal = wire::journal("x");
        http1
            .send(format!("{head}content-length: {}\r\n\r\n", journal.len()))
            .await;
        http1.send(journal).await;
        assert_eq!(wire::output(&http1.answer().await.2), "x");
    });
}

#[test]
fn continuations_without_end_over_http2() {
    child::test(
        "headers::continuations_without_end_over_http2",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            let field = raw::field("x-filler", &"a".repeat(8000));
            for part in [
                raw::frame(raw::CONTINUATION, 0, 1, &field),
                raw::frame(raw::CONTINUATION, 0, 1, &[]),
                raw::frame(raw::CONTINUATION, 0, 1, &[0]),
            ] {
                let mut peer = Wild::connect(server.address).await;
                peer.send(raw::hello(1 << 20)).await;
                let head = raw::invoke("/invoke/Plain/echo");
                peer.send(raw::frame(raw::HEADERS, 0, 1, &head)).await;
                assert!(
                    flood(&mut peer, &part, 16 * MIB).await,
                    "{} bytes",
                    part.len()
                );
                assert_serves(server.address).await;
            }
            let grown = server.memory().saturating_sub(before);
            assert!(grown < 8 * MIB, "{grown} bytes");
        },
    );
}

#[test]
fn header_tables_and_bombs_over_http2() {
    child::test(
        "headers::header_tables_and_bombs_over_http2",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            // A field of 4 KB goes into the table; each byte thereafter repeats it.
            let mut bomb = raw::invoke("/invoke/Plain/echo");
            let mut entry = raw::field("x", &"a".repeat(3900));
            entry[0] = 0x40;
            bomb.extend(entry);
            bomb.extend([0xBE].repeat(12_000));
            let mut peer = Wild::connect(server.address).await;
            peer.send(raw::hello(1 << 20)).await;
            for stream in 0..50 {
                let head = raw::frame(raw::HEADERS, raw::END_HEADERS, 2 * stream + 1, &bomb);
                if tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &head)
                    .await
                    .is_err()
                {
                    break;
                }
            }
            assert_serves(server.address).await;
            let grown = server.memory().saturating_sub(before);
            assert!(grown < 16 * MIB, "{grown} bytes");
            // A table larger than allowed, and an index that is none: the connection ends.
            for block in [vec![0x3F, 0xE1, 0xFF, 0xFF, 0x07], vec![0xFE], vec![0x80]] {
                let mut peer = Wild::connect(server.address).await;
                peer.send(raw::hello(1 << 20)).await;
                peer.send(raw::frame(raw::HEADERS, raw::END_HEADERS, 1, &block))
                    .await;
                let frames = peer.rest().await;
                assert!(
                    goaway(&frames).is_some_and(|code| code != 0),
                    "{block:?}: {frames:?}"
                );
            }
        },
    );
}

#[test]
fn heads_that_come_too_slowly() {
    run(async {
        let timeout = Duration::from_millis(300);
        let server = Server::with(|server| {
            server
                .header_read_timeout(timeout)
                .keep_alive_interval(Duration::from_millis(100))
                .keep_alive_timeout(Duration::from_millis(200))
        })
        .await;
        let half = raw::frame(raw::HEADERS, 0, 1, &raw::invoke("/invoke/Plain/echo"));
        let drip_http2 = raw::frame(raw::CONTINUATION, 0, 1, &raw::field("x", "y"));
        for (start, drip) in [
            // Silence, at every place where a head can stop.
            (Vec::new(), Vec::new()),
            (b"P".to_vec(), Vec::new()),
            (b"POST /invoke".to_vec(), Vec::new()),
            (raw::PREFACE.to_vec(), Vec::new()),
            (raw::PREFACE[..20].to_vec(), Vec::new()),
            (raw::hello(1 << 20), Vec::new()),
            ([raw::hello(1 << 20), half.clone()].concat(), Vec::new()),
            (
                [raw::hello(1 << 20), half[..9].to_vec()].concat(),
                Vec::new(),
            ),
            // A little, again and again.
            (b"GET /health HTTP/1.1\r\n".to_vec(), b"x-a: b\r\n".to_vec()),
            (b"GET /health HTTP/1.1\r\nx: ".to_vec(), b"a".to_vec()),
            (Vec::new(), b"\r\n".to_vec()),
            ([raw::hello(1 << 20), half].concat(), drip_http2),
        ] {
            let mut peer = Wild::connect(server.address).await;
            peer.send(&start).await;
            let (mut read, mut write) = peer.stream.split();
            let ends = async {
                let mut buffer = [0; 1024];
                let read = &mut read;
                while matches!(
                    tokio::io::AsyncReadExt::read(read, &mut buffer).await,
                    Ok(1..)
                ) {}
            };
            let drips = async {
                loop {
                    tokio::time::sleep(timeout / 10).await;
                    if tokio::io::AsyncWriteExt::write_all(&mut write, &drip)
                        .await
                        .is_err()
                    {
                        std::future::pending().await
                    }
                }
            };
            tokio::select! {
                () = ends => {}
                () = drips => {}
            }
        }
        // The second request of a kept connection, too. (On a busy machine the first may be too slow
        // itself: then there is no answer at all.)
        let answers = loop {
            let mut peer = Wild::connect(server.address).await;
            peer.send("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea")
                .await;
            let answers = peer.rest().await;
            if !answers.is_empty() {
                break answers;
            }
        };
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 200 "), "{answers}");
    });
}
