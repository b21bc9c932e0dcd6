//! Many streams: opened and reset at once, opened and left, more than allowed.

use bytes::Bytes;

use crate::child::{self, Child, MIB};
use crate::rig::{Client, Server, assert_serves, invocation, run};
use crate::wire;

const PATH: &str = "/invoke/Plain/hold";

/// How streams are reset.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reset {
    /// With their HEADERS, before anybody has looked at them.
    AtOnce,
    /// After their journal was sent.
    Journal,
    /// After the head of the answer has come.
    Answered,
}

/// Opens and resets so many streams. A server may end the connection: then a new one goes on.
async fn reset_streams(server: &Child, how: Reset, streams: usize) {
    let mut client = Client::connect(server.address).await;
    let mut opened = 0;
    while opened < streams {
        let ready = std::future::poll_fn(|cx| client.sender.poll_ready(cx)).await;
        let sent = ready.and_then(|()| client.sender.send_request(invocation(PATH), false));
        let Ok((response, mut request)) = sent else {
            client = Client::connect(server.address).await;
            continue;
        };
        opened += 1;
        if how != Reset::AtOnce {
            let _ = request.send_data(wire::journal("").into(), false);
        }
        if how == Reset::Answered {
            let _ = response.await;
        }
        request.send_reset(h2::Reason::CANCEL);
        if opened % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn rapid_resets() {
    child::test(
        "streams::rapid_resets",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let mut first_round = None;
            for round in 0..4 {
                for (how, streams) in [
                    (Reset::AtOnce, 5000),
                    (Reset::Journal, 5000),
                    (Reset::Answered, 1000),
                ] {
                    let resets = reset_streams(&server, how, streams);
                    // Others are served in the middle of it.
                    let others = async {
                        for _ in 0..5 {
                            assert_serves(server.address).await;
                        }
                    };
                    tokio::join!(resets, others);
                    server.until_open(0).await;
                }
                let memory = server.memory();
                let after_first = *first_round.get_or_insert(memory);
                let grown = memory.saturating_sub(after_first);
                assert!(grown < 16 * MIB, "{grown} bytes more after round {round}");
                assert!(memory < 64 * MIB, "{memory} bytes");
            }
            let (started, dropped, _) = server.counts().await;
            // Many of those whose head was answered have started.
            assert!(started >= 1000 && started == dropped, "{started} {dropped}");
        },
    );
}

#[test]
fn thousands_of_idle_streams_and_their_end() {
    const STREAMS: usize = 4000;
    child::test(
        "streams::thousands_of_idle_streams_and_their_end",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            for round in 0..3 {
                let mut client = Client::connect(server.address).await;
                let mut open = Vec::new();
                for _ in 0..STREAMS {
                    open.push(client.invoke(PATH, wire::journal("")).await);
                }
                server.until_open(STREAMS).await;
                assert_serves(server.address).await;
                let grown = server.memory().saturating_sub(before);
                assert!(
                    grown < STREAMS * 32 * 1024,
                    "{grown} bytes in round {round}"
                );
                // Without a word.
                drop(client);
                server.until_open(0).await;
            }
        },
    );
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    run(async {
        use wire::raw;
        let server = Server::with(|server| server.max_concurrent_streams(10)).await;
        let mut peer = crate::rig::Wild::connect(server.address).await;
        peer.send(raw::hello(1 << 20)).await;
        for stream in 0..20 {
            let request = raw::request(2 * stream + 1, PATH, &wire::journal(""));
            peer.send(request).await;
        }
        let counts = &server.counts;
        crate::rig::until(|| counts.open() == 10).await;
        // The others get RST_STREAM with REFUSED_STREAM, which says that they may be tried again.
        let refused = raw::frame(raw::RST_STREAM, 0, 39, &7_u32.to_be_bytes());
        let mut got = Vec::<u8>::new();
        while !got.windows(refused.len()).any(|part| part == refused) {
            let mut buffer = [0; 4096];
            let read = tokio::io::AsyncReadExt::read(&mut peer.stream, &mut buffer)
                .await
                .unwrap();
            assert!(read > 0, "the connection ended");
            got.extend(&buffer[..read]);
        }
        assert_eq!(counts.open(), 10);
        assert_serves(server.address).await;
    });
}

#[test]
fn early_resets_have_a_limit() {
    run(async {
        use wire::raw;
        let server = Server::with(|server| server.max_early_resets(10)).await;
        let mut peer = crate::rig::Wild::connect(server.address).await;
        let mut burst = raw::hello(1 << 20);
        for stream in (1..2000).step_by(2) {
            let head = raw::invoke(PATH);
            burst.extend(raw::frame(raw::HEADERS, raw::END_HEADERS, stream, &head));
            burst.extend(raw::frame(raw::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &burst).await;
        let frames = peer.rest().await;
        // GOAWAY with ENHANCE_YOUR_CALM.
        let calm = [&[0, 0, 0, 11][..], &b"too_many_resets"[..]].concat();
        assert!(
            frames.windows(calm.len()).any(|part| part == calm),
            "{frames:?}"
        );
        assert_serves(server.address).await;
    });
}

#[test]
fn a_server_that_gives_up_thousands_of_invocations_keeps_its_connection() {
    run(async {
        // What a runtime does when it loses its leadership: resets, all at once, of what it began.
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let mut open = Vec::new();
        for _ in 0..2000 {
            let (response, mut request) = client.open(invocation(PATH)).await;
            request
                .send_data(Bytes::from(wire::journal("")), false)
                .unwrap();
            open.push((response, request));
        }
        for (_, request) in &mut open {
            request.send_reset(h2::Reason::CANCEL);
        }
        let answer = client
            .exchange("/invoke/Plain/echo", wire::journal("x"))
            .await;
        assert_eq!(wire::output(&answer), "x");
        let counts = &server.counts;
        crate::rig::until(|| counts.open() == 0).await;
    });
}
