//! HTTP/1.1 as it should not be: pipelines, upgrades, odd methods and targets, bodies with two lengths.

use crate::rig::{Client, Server, V7, Wild, assert_serves, head, post, run};
use crate::wire;

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let server = Server::start().await;
        let mut peer = Wild::connect(server.address).await;
        let mut burst = Vec::new();
        for n in 0..100 {
            burst.extend(post("/invoke/Plain/echo", &wire::journal(n.to_string())));
            burst.extend(b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n");
        }
        peer.send(burst).await;
        for n in 0..100 {
            let (_, _, body) = peer.answer().await;
            assert_eq!(wire::output(&body), n.to_string());
            assert_eq!(peer.answer().await.0, 404);
        }
    });
}

#[test]
fn upgrades_are_not_taken() {
    run(async {
        let server = Server::start().await;
        for upgrade in ["h2c", "websocket", "HTTP/2.0"] {
            let mut peer = Wild::connect(server.address).await;
            let head = head("/invoke/Plain/echo");
            let journal = wire::journal("x");
            peer.send(format!(
                "{head}connection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\n\
                 http2-settings: AAMAAABkAAQAAP__\r\ncontent-length: {}\r\n\r\n",
                journal.len()
            ))
            .await;
            peer.send(journal).await;
            let (status, head, body) = peer.answer().await;
            assert_eq!(status, 200, "{head}");
            assert!(head.starts_with("http/1.1"), "{head}");
            assert_eq!(wire::output(&body), "x");
        }
    });
}

#[test]
fn a_peer_that_waits_for_100_continue_is_told_to_go_on() {
    run(async {
        let server = Server::start().await;
        let mut peer = Wild::connect(server.address).await;
        let head = head("/invoke/Plain/echo");
        let journal = wire::journal("x");
        let length = journal.len();
        peer.send(format!(
            "{head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
        assert_eq!(peer.answer().await.0, 100);
        peer.send(journal).await;
        assert_eq!(wire::output(&peer.answer().await.2), "x");

        // Not if its body is not wanted.
        let mut peer = Wild::connect(server.address).await;
        let head = crate::rig::head("/invoke/Plain/nothing");
        peer.send(format!(
            "{head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
        let (status, _, body) = peer.answer().await;
        assert_eq!(status, 404);
        assert!(body.starts_with(b"service `Plain` has no handler"));
    });
}

#[test]
fn methods_and_targets() {
    run(async {
        let server = Server::start().await;
        for (method, target, status) in [
            ("POST", "/invoke/Plain/echo", 200),
            ("POST", "/any/prefix/invoke/Plain/echo", 200),
            ("POST", "http://elsewhere/invoke/Plain/echo", 200),
            (
                "POST",
                "http://u:p@elsewhere:1/a/invoke/Plain/echo?query=1",
                200,
            ),
            ("POST", "/invoke/Plain/echo?a=/invoke/Plain/nothing", 200),
            // Dots and empty segments are a prefix like any other, and no names.
            ("POST", "/../../invoke/Plain/echo", 200),
            ("POST", "//invoke/Plain/echo", 200),
            ("POST", "/invoke/Plain/../Plain/echo", 404),
            ("POST", "/invoke/Plain/./echo", 404),
            ("POST", "/invoke//echo", 404),
            ("POST", "/invoke/Plain/echo/", 404),
            ("POST", "/invoke/Plain/echo/..", 404),
            // Names are letters, digits and a few signs: nothing in them is ever encoded.
            ("POST", "/invoke/Plain/%65cho", 404),
            ("POST", "/invoke/Plain%2Fecho", 404),
            ("POST", "/invoke/Plain/echo%00", 404),
            ("POST", "/%69nvoke/Plain/echo", 404),
            ("POST", "/invoke/Plain/%", 404),
            ("POST", "/INVOKE/Plain/echo", 404),
            ("POST", "/invoke/plain/echo", 404),
            ("GET", "/invoke/Plain/echo", 404),
            ("PUT", "/invoke/Plain/echo", 404),
            ("NONSENSE", "/invoke/Plain/echo", 404),
            ("get", "/health", 404),
            ("GET", "/health", 200),
            ("GET", "/health?", 200),
            ("POST", "/health", 404),
            ("OPTIONS", "*", 404),
            ("GET", "*", 404),
            ("TRACE", "/health", 404),
            ("CONNECT", "localhost:80", 404),
            ("GET", "nowhere", 404),
            ("GET", "/ü", 404),
            ("GET", "/ /", 400),
            ("GET", "", 400),
            ("G@T", "/", 400),
        ] {
            let mut peer = Wild::connect(server.address).await;
            let journal = wire::journal("x");
            let length = journal.len();
            let head = format!(
                "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {V7}\r\n\
                 content-length: {length}\r\n\r\n"
            );
            peer.send([head.into_bytes(), journal].concat()).await;
            let (got, _, body) = peer.answer().await;
            assert_eq!(
                got,
                status,
                "{method} {target}: {}",
                String::from_utf8_lossy(&body)
            );
        }
        // HEAD has no body; the longest target there can be has an answer.
        let mut peer = Wild::connect(server.address).await;
        peer.send("HEAD /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await;
        let answer = String::from_utf8(peer.rest().await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        for (length, status) in [(60_000, 404), (70_000, 414)] {
            let mut peer = Wild::connect(server.address).await;
            let target = "a".repeat(length);
            peer.send(format!("GET /{target} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
                .await;
            assert_eq!(peer.answer().await.0, status);
        }
    });
}

#[test]
fn odd_targets_over_http2() {
    use crate::wire::raw;
    run(async {
        let server = Server::start().await;
        for (method, path) in [
            ("OPTIONS", "*"),
            ("POST", "invoke/Plain/echo"),
            ("POST", "/invoke/Plain/é"),
            ("POST", ""),
            ("", "/health"),
            ("CONNECT", "/health"),
        ] {
            let mut peer = Wild::connect(server.address).await;
            peer.send(raw::hello(1 << 20)).await;
            let head = [
                raw::field(":method", method),
                raw::field(":scheme", "http"),
                raw::field(":authority", "localhost"),
                raw::field(":path", path),
            ];
            let flags = raw::END_HEADERS | raw::END_STREAM;
            peer.send(raw::frame(raw::HEADERS, flags, 1, &head.concat()))
                .await;
            // The next request of the same connection is served, or the connection has ended.
            peer.send(raw::request(3, "/invoke/Plain/hold", &wire::journal("")))
                .await;
            let counts = &server.counts;
            tokio::select! {
                () = crate::rig::until(|| counts.open() == 1) => {}
                _ = peer.rest() => {}
            }
            drop(peer);
            crate::rig::until(|| counts.open() == 0).await;
        }
        // Targets with a dot segment and with an encoded letter.
        let mut client = Client::connect(server.address).await;
        for (path, status) in [
            ("/a/../invoke/Plain/echo", 200),
            ("/invoke/Plain/%65cho", 404),
        ] {
            let (response, mut body) = client.invoke(path, wire::journal("x")).await;
            body.send_data(bytes::Bytes::new(), true).unwrap();
            assert_eq!(response.await.unwrap().status(), status, "{path}");
        }
    });
}

#[test]
fn bodies_with_two_lengths_are_one_request_or_none() {
    run(async {
        let server = Server::start().await;
        let smuggled = String::from_utf8(post("/invoke/Plain/hold", b"")).unwrap();
        for (headers, body) in [
            (
                "content-length: 5\r\ncontent-length: 6\r\n",
                "hello!".to_owned(),
            ),
            ("content-length: 5, 6\r\n", "hello!".to_owned()),
            ("content-length: -1\r\n", String::new()),
            ("content-length: +5\r\n", "hello".to_owned()),
            ("content-length: 99999999999999999999\r\n", String::new()),
            ("transfer-encoding: chunked, identity\r\n", String::new()),
            ("transfer-encoding: gzip\r\n", String::new()),
            // The chunks end before the smuggled request; the length would hide it.
            (
                "content-length: 9999\r\ntransfer-encoding: chunked\r\n",
                format!("0\r\n\r\n{smuggled}"),
            ),
            // Chunk sizes that are none.
            ("transfer-encoding: chunked\r\n", "-1\r\n\r\n".to_owned()),
            (
                "transfer-encoding: chunked\r\n",
                "fffffffffffffffff\r\n".to_owned(),
            ),
            ("transfer-encoding: chunked\r\n", "zz\r\n".to_owned()),
        ] {
            let mut peer = Wild::connect(server.address).await;
            let head = head("/invoke/Plain/echo");
            peer.send(format!("{head}{headers}connection: close\r\n\r\n{body}"))
                .await;
            peer.stream.set_nodelay(true).unwrap();
            let answer = peer.rest().await;
            let text = String::from_utf8_lossy(&answer);
            assert!(text.matches("HTTP/1.1 ").count() <= 1, "{headers}: {text}");
            assert_eq!(server.counts.open(), 0, "{headers}: {text}");
        }
        assert_serves(server.address).await;
    });
}

#[test]
fn chunk_extensions_and_trailers_without_end() {
    run(async {
        let server = Server::start().await;
        for (start, part) in [
            ("1;", "x".repeat(4096)),
            ("", "1\r\nx\r\n".repeat(700)),
            ("0\r\n", "x-trailer: x\r\n".repeat(300)),
            ("0\r\nx: ", "x".repeat(4096)),
        ] {
            let mut peer = Wild::connect(server.address).await;
            let head = head("/invoke/Plain/hold");
            peer.send(format!("{head}transfer-encoding: chunked\r\n\r\n{start}"))
                .await;
            for _ in 0..1000 {
                let write = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, part.as_bytes());
                if write.await.is_err() {
                    break;
                }
            }
            drop(peer);
        }
        assert_serves(server.address).await;
    });
}
