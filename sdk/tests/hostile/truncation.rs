//! A journal that stops at every byte, with an end or without one.

use bytes::Bytes;

use crate::rig::{Client, Server, Wild, head, post, run, until};
use crate::wire::*;

/// The whole journal of `Plain/steps`, its output missing.
fn steps() -> Vec<u8> {
    let call = [
        bytes(1, "Plain"),
        bytes(2, "echo"),
        bytes(3, "\"in\""),
        number(10, 1),
        number(11, 2),
    ];
    [
        start(9),
        input(""),
        message(CALL, &call.concat()),
        message(CALL_ID, &[number(1, 1), bytes(16, "inv_1")].concat()),
        value(CALL_COMPLETION, 2, "\"called\""),
        message(SLEEP, &[number(1, 5), number(11, 3)].concat()),
        void(SLEEP_COMPLETION, 3),
        message(RUN, &[number(11, 4), bytes(12, "run")].concat()),
        value(RUN_COMPLETION, 4, "\"ran\""),
        message(
            SIGNAL,
            &[number(2, 17), bytes(5, bytes(1, "\"awoken\""))].concat(),
        ),
        message(
            SIGNAL,
            &[bytes(3, "go"), bytes(5, bytes(1, "\"went\""))].concat(),
        ),
    ]
    .concat()
}

const PATH: &str = "/invoke/Plain/steps";

/// How many bytes are the known entries.
fn known(journal: &[u8]) -> usize {
    let (messages, _) = messages(journal);
    messages[..10]
        .iter()
        .map(|message| 8 + message.payload.len())
        .sum()
}

/// What an answer to so much of the journal must be.
#[track_caller]
fn assert_answers(journal: &[u8], length: usize, answer: &[u8]) {
    match length {
        _ if length == journal.len() => {
            assert_eq!(output(answer), "\"called ran awoken went\"");
        }
        // All known entries are there; the handler waits for the last signal.
        _ if length == known(journal) => {
            assert_eq!(
                ended(answer).last().unwrap().ty,
                SUSPENSION,
                "cut at {length}"
            );
        }
        _ => {
            let (code, text) = error(answer);
            assert_eq!(code, 571, "cut at {length}: {text}");
            let ended = "protocol violation: the request ended ";
            assert!(text.starts_with(ended), "cut at {length}: {text}");
        }
    }
}

#[test]
fn a_request_that_ends_anywhere_over_http2() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let journal = steps();
        for length in 0..=journal.len() {
            let answer = client.exchange(PATH, journal[..length].to_vec()).await;
            assert_answers(&journal, length, &answer);
        }
        until(|| server.counts.open() == 0).await;
    });
}

#[test]
fn a_request_that_ends_anywhere_over_http1() {
    run(async {
        let server = Server::start().await;
        let mut kept = Wild::connect(server.address).await;
        let journal = steps();
        for length in 0..=journal.len() {
            kept.send(post(PATH, &journal[..length])).await;
            let (status, _, answer) = kept.answer().await;
            assert_eq!(status, 200);
            assert_answers(&journal, length, &answer);
        }
    });
}

#[test]
fn a_request_in_single_bytes_is_that_request() {
    run(async {
        let server = Server::start().await;
        let journal = steps();
        let mut client = Client::connect(server.address).await;
        let (response, mut request) = client.open(crate::rig::invocation(PATH)).await;
        for byte in &journal {
            request
                .send_data(Bytes::copy_from_slice(&[*byte]), false)
                .unwrap();
        }
        request.send_data(Bytes::new(), true).unwrap();
        let (_, answer) = crate::rig::read(response.await.unwrap()).await;
        assert_eq!(output(&answer), "\"called ran awoken went\"");

        // The head, too, and each byte a packet or a chunk of its own.
        let mut slow = Wild::connect(server.address).await;
        for byte in format!("{}transfer-encoding: chunked\r\n\r\n", head(PATH)).bytes() {
            slow.send([byte]).await;
            tokio::task::yield_now().await;
        }
        for byte in &journal {
            slow.send([b"1\r\n", &[*byte][..], b"\r\n"].concat()).await;
        }
        slow.send("0\r\n\r\n").await;
        let (_, _, answer) = slow.answer().await;
        assert_eq!(output(&answer), "\"called ran awoken went\"");
    });
}

#[test]
fn a_stream_that_is_reset_anywhere_leaves_nothing() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let journal = steps();
        for length in 0..=journal.len() {
            let (response, mut request) = client.invoke(PATH, journal[..length].to_vec()).await;
            // Now and then the head of the answer is awaited.
            if length % 3 == 0 {
                assert_eq!(response.await.unwrap().status(), 200);
            }
            request.send_reset(h2::Reason::CANCEL);
        }
        // The connection lives, and nothing of what was reset.
        let answer = client.exchange(PATH, journal.clone()).await;
        assert_answers(&journal, journal.len(), &answer);
        until(|| server.counts.open() == 0).await;
    });
}

#[test]
fn a_connection_that_breaks_anywhere_leaves_nothing() {
    run(async {
        let server = Server::start().await;
        let journal = steps();
        let http1 = post(PATH, &journal);
        let http2 = [raw::hello(1 << 20), raw::request(1, PATH, &journal)].concat();
        for bytes in [http1, http2] {
            for length in 0..bytes.len() {
                let mut broken = Wild::connect(server.address).await;
                broken.send(&bytes[..length]).await;
                if length % 2 == 0 {
                    // A reset instead of an end.
                    broken.stream.set_zero_linger().unwrap();
                }
            }
        }
        crate::rig::assert_serves(server.address).await;
        until(|| server.counts.open() == 0).await;
    });
}
