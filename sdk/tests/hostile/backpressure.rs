//! Peers that do not read: the handler stops, and what is written waits in bounded space.
//!
//! And peers that write what nobody needs: it costs what was sent, or nothing.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;

use crate::child::{self, MIB};
use crate::rig::{
    Client, SPAM, Server, Wild, assert_ends, assert_serves, invocation, post, read, run, until,
};
use crate::wire::*;

/// So many commands are some 200 MB.
const COMMANDS: usize = 20_000;

const PATH: &str = "/invoke/Keyed/spam";

fn spam() -> Vec<u8> {
    journal(COMMANDS.to_string())
}

#[track_caller]
fn assert_spam(body: &[u8]) {
    let messages = ended(body);
    let sets = messages.iter().filter(|message| message.ty == SET_STATE);
    assert_eq!(sets.count(), COMMANDS);
    assert_eq!(output(body), COMMANDS.to_string());
}

#[test]
fn a_handler_waits_for_a_peer_that_reads_no_data_over_http2() {
    child::test(
        "backpressure::a_handler_waits_for_a_peer_that_reads_no_data_over_http2",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let mut client = Client::connect(server.address).await;
            let before = server.memory();
            let (response, mut request) = client.invoke(PATH, spam()).await;
            request.send_data(Bytes::new(), true).unwrap();
            let response = response.await.unwrap();
            // The window of 64 KiB is full, and one turn's output waits.
            let issued = server.settled().await;
            assert!(issued * SPAM < MIB, "{issued} commands went nowhere");
            let grown = server.memory().saturating_sub(before);
            assert!(grown < 16 * MIB, "{grown} bytes");
            // It goes on as soon as somebody reads.
            assert_spam(&read(response).await.1);
            assert_eq!(server.counts().await.2, COMMANDS);
        },
    );
}

#[test]
fn handlers_wait_for_a_peer_that_does_not_read_its_connection() {
    const STREAMS: u32 = 64;
    child::test(
        "backpressure::handlers_wait_for_a_peer_that_does_not_read_its_connection",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let before = server.memory();
            let mut peer = Wild::connect(server.address).await;
            // Windows without end: only the connection itself holds the server back.
            peer.send(raw::hello(1 << 30)).await;
            for stream in 0..STREAMS {
                peer.send(raw::request(2 * stream + 1, PATH, &spam())).await;
            }
            let issued = server.settled().await;
            let bound = 16 * MIB + STREAMS as usize * MIB;
            assert!(issued * SPAM < bound, "{issued} commands went nowhere");
            let grown = server.memory().saturating_sub(before);
            assert!(grown < bound, "{grown} bytes");
            // It reads again, and they go on.
            let mut read = 0;
            let mut buffer = vec![0; MIB];
            while read < 2 * bound {
                read += peer.stream.read(&mut buffer).await.unwrap();
            }
            drop(peer);
            server.until_open(0).await;
        },
    );
}

#[test]
fn a_handler_waits_for_a_peer_that_does_not_read_over_http1() {
    child::test(
        "backpressure::a_handler_waits_for_a_peer_that_does_not_read_over_http1",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(64 * 1024).unwrap();
            let mut stream = socket.connect(server.address).await.unwrap();
            let before = server.memory();
            let request = post(PATH, &spam());
            tokio::io::AsyncWriteExt::write_all(&mut stream, &request)
                .await
                .unwrap();
            let issued = server.settled().await;
            // The kernel takes a few megabytes.
            assert!(issued * SPAM < 16 * MIB, "{issued} commands went nowhere");
            let grown = server.memory().saturating_sub(before);
            assert!(grown < 16 * MIB, "{grown} bytes");
            let mut peer = Wild::from(stream);
            let (status, _, body) = peer.answer().await;
            assert_eq!(status, 200);
            assert_spam(&body);
        },
    );
}

#[test]
fn a_peer_that_reads_nothing_at_all_is_given_up() {
    run(async {
        let server = Server::with(|server| {
            server
                .keep_alive_interval(Duration::from_millis(500))
                .keep_alive_timeout(Duration::from_millis(500))
        })
        .await;
        let mut peer = Wild::connect(server.address).await;
        let requests = [
            raw::hello(1 << 30),
            raw::request(1, PATH, &spam()),
            raw::request(3, "/invoke/Plain/sleep", &journal("")),
        ];
        peer.send(requests.concat()).await;
        let counts = &server.counts;
        until(|| counts.started.load(std::sync::atomic::Ordering::SeqCst) == 2).await;
        until(|| counts.open() == 0).await;
    });
}

#[test]
fn what_an_attempt_does_not_read_waits_at_the_peer() {
    run(async {
        // The attempt writes, nobody reads, and so it does not read either.
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let (response, mut request) = client.invoke(PATH, spam()).await;
        let response = response.await.unwrap();
        let mut sent = 0;
        request.reserve_capacity(4 * MIB);
        while let Ok(Some(granted)) = tokio::time::timeout(
            Duration::from_millis(300),
            std::future::poll_fn(|cx| request.poll_capacity(cx)),
        )
        .await
        {
            let granted = granted.unwrap();
            // Signals that nobody waits for, in messages of 32 bytes.
            let signals = (0..granted / 32)
                .flat_map(|n| {
                    message(
                        SIGNAL,
                        &[bytes(3, format!("{n:018}")), bytes(4, [])].concat(),
                    )
                })
                .collect::<Vec<u8>>();
            sent += signals.len();
            request.send_data(signals.into(), false).unwrap();
            request.reserve_capacity(4 * MIB);
        }
        assert!(sent <= 256 * 1024 + 1024, "{sent} bytes were taken");
        request.send_data(Bytes::new(), true).unwrap();
        assert_spam(&read(response).await.1);
    });
}

#[test]
fn announced_lengths_cost_nothing() {
    const STREAMS: usize = 1000;
    child::test(
        "backpressure::announced_lengths_cost_nothing",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let mut client = Client::connect(server.address).await;
            let before = server.memory();
            let mut open = Vec::new();
            for _ in 0..STREAMS {
                let announced = [start(u64::from(u32::MAX)), header(INPUT, 64 << 20)].concat();
                let (response, request) = client.invoke("/invoke/Plain/sleep", announced).await;
                assert_eq!(response.await.unwrap().status(), 200);
                open.push(request);
            }
            let grown = server.memory().saturating_sub(before);
            assert!(grown < STREAMS * 32 * 1024, "{grown} bytes");
            assert_serves(server.address).await;
        },
    );
}

#[test]
fn the_smallest_entries_cost_a_bounded_multiple() {
    const ENTRIES: usize = 200_000;
    child::test(
        "backpressure::the_smallest_entries_cost_a_bounded_multiple",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let mut client = Client::connect(server.address).await;
            let before = server.memory();
            // Calls without any field take two completion ids each, and the last of those comes.
            let calls = message(CALL, b"").repeat(ENTRIES);
            let last = void(CALL_COMPLETION, 2 * ENTRIES as u64);
            let signals = message(SIGNAL, &[number(2, 17), bytes(4, [])].concat()).repeat(ENTRIES);
            let journal = [
                start(3 + 2 * ENTRIES as u64),
                input(""),
                calls,
                last,
                signals,
            ];
            let (response, mut request) = client.open(invocation("/invoke/Plain/sleep")).await;
            let mut journal = Bytes::from(journal.concat());
            while !journal.is_empty() {
                request.reserve_capacity(journal.len());
                let granted = std::future::poll_fn(|cx| request.poll_capacity(cx)).await;
                let part = journal.split_to(granted.unwrap().unwrap());
                request.send_data(part, false).unwrap();
            }
            // The last entry: the recorded calls are none that the handler makes.
            let last = message(SIGNAL, &[number(2, 99), bytes(4, [])].concat());
            request.send_data(last.into(), true).unwrap();
            let (_, answer) = read(response.await.unwrap()).await;
            assert_eq!(error(&answer).0, 570);
            let grown = server.peak().saturating_sub(before);
            assert!(grown < ENTRIES * 400, "{grown} bytes");
        },
    );
}

#[test]
fn a_message_in_single_bytes_costs_what_it_holds() {
    const LENGTH: usize = 300_000;
    child::test(
        "backpressure::a_message_in_single_bytes_costs_what_it_holds",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let mut client = Client::connect(server.address).await;
            let before = server.memory();
            let (response, mut request) = client
                .invoke(
                    "/invoke/Plain/sleep",
                    [start(1), header(INPUT, 1 << 20)].concat(),
                )
                .await;
            let _response = response.await.unwrap();
            let mut sent = 0;
            while sent < LENGTH {
                request.reserve_capacity(2000);
                let granted = std::future::poll_fn(|cx| request.poll_capacity(cx)).await;
                let granted = granted.unwrap().unwrap();
                for _ in 0..granted {
                    request.send_data(Bytes::from_static(b"x"), false).unwrap();
                }
                sent += granted;
                // An answer to another request says that they have come; else many wait in h2.
                client.exchange("/invoke/Plain/echo", journal("")).await;
            }
            let grown = server.memory().saturating_sub(before);
            assert!(grown < 4 * MIB, "{sent} bytes cost {grown}");
        },
    );
}

#[test]
fn what_comes_after_the_end_is_thrown_away() {
    child::test(
        "backpressure::what_comes_after_the_end_is_thrown_away",
        |endpoint| endpoint,
        |server| server,
        async |server| {
            let mut client = Client::connect(server.address).await;
            for body in [journal("x"), vec![0xFF; 8]] {
                let (response, mut request) = client.invoke("/invoke/Plain/echo", body).await;
                let mut body = response.await.unwrap().into_body();
                crate::rig::read_ended(&mut body).await;
                let before = server.memory();
                let mut sent = 0;
                while sent < 64 * MIB {
                    request.reserve_capacity(256 * 1024);
                    let granted = std::future::poll_fn(|cx| request.poll_capacity(cx)).await;
                    let granted = granted.unwrap().unwrap();
                    request.send_data(vec![0; granted].into(), false).unwrap();
                    sent += granted;
                }
                let grown = server.memory().saturating_sub(before);
                assert!(grown < 16 * MIB, "{grown} bytes");
                request.send_data(Bytes::new(), true).unwrap();
                assert_ends(&mut body).await;
            }
        },
    );
}

#[test]
fn a_refused_request_is_not_read_to_its_end() {
    run(async {
        let server = Server::start().await;
        // Over HTTP/2 the stream is reset.
        let mut client = Client::connect(server.address).await;
        let (response, mut request) = client.open(invocation("/invoke/Plain/nothing")).await;
        let (status, _) = read(response.await.unwrap()).await;
        assert_eq!(status, 404);
        let reset = std::future::poll_fn(|cx| request.poll_reset(cx))
            .await
            .unwrap();
        assert!(
            matches!(reset, h2::Reason::NO_ERROR | h2::Reason::CANCEL),
            "{reset:?}"
        );
        // Over HTTP/1.1 the connection is closed, however long the body would be.
        let mut http1 = Wild::connect(server.address).await;
        let head = crate::rig::head("/invoke/Plain/nothing");
        http1
            .send(format!("{head}content-length: 99999999999\r\n\r\nx"))
            .await;
        assert_eq!(http1.answer().await.0, 404);
        assert_eq!(http1.rest().await, b"");
    });
}
