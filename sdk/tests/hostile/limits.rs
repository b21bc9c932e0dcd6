//! The limits that are options: what happens at them, and what does not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::rig::{
    Client, SPAM, Server, Wild, assert_ends, assert_serves, head, invocation, next, read_ended,
    run, until,
};
use crate::wire::*;

#[test]
fn messages_have_a_largest_size() {
    run(async {
        let server =
            Server::serving(|endpoint| endpoint.max_message_size(1000), |server| server).await;
        let mut client = Client::connect(server.address).await;
        let fits = "x".repeat(1000 - 6);
        let answer = client
            .exchange("/invoke/Plain/echo", [start(1), input(fits)].concat())
            .await;
        assert_eq!(ended(&answer).last().unwrap().ty, END);
        let answer = client
            .exchange(
                "/invoke/Plain/echo",
                [start(1), header(INPUT, 1001)].concat(),
            )
            .await;
        let (code, text) = error(&answer);
        assert_eq!(code, 571);
        assert!(text.contains("limit of 1000 bytes"), "{text}");
        assert!(text.contains("max_message_size"), "{text}");
    });
}

#[test]
fn journals_have_a_largest_size() {
    run(async {
        let server = Server::serving(
            |endpoint| endpoint.max_journal_size(10_000),
            |server| server,
        )
        .await;
        let mut client = Client::connect(server.address).await;
        // Below it all is well, however many messages.
        let whole = "x".repeat(9_000);
        let answer = client
            .exchange("/invoke/Plain/echo", [start(1), input(whole)].concat())
            .await;
        assert_eq!(ended(&answer).last().unwrap().ty, END);
        // Known entries, and what comes later, count the same.
        let (response, mut request) = client.invoke("/invoke/Plain/sleep", journal("")).await;
        let mut body = response.await.unwrap().into_body();
        let signal = message(SIGNAL, &[bytes(3, "x".repeat(4000)), bytes(4, [])].concat());
        request.send_data(signal.clone().into(), false).unwrap();
        next(&mut body).await.unwrap();
        // A message that would go beyond it is refused by its header.
        request.send_data(signal.into(), false).unwrap();
        request
            .send_data(header(SIGNAL, 4000).into(), false)
            .unwrap();
        let answer = read_ended(&mut body).await;
        let (code, text) = error(&answer);
        assert_eq!(code, 571);
        assert!(
            text.contains("the journal is larger than the limit of 10000 bytes"),
            "{text}"
        );
        assert!(text.contains("max_journal_size"), "{text}");
    });
}

#[test]
fn a_journal_that_stops_coming_is_given_up() {
    run(async {
        let timeout = Duration::from_millis(300);
        let server = Server::with(|server| server.request_idle_timeout(timeout)).await;
        // Over HTTP/2 the stream is reset, over HTTP/1.1 the connection closed.
        let mut client = Client::connect(server.address).await;
        for stops in [vec![], start(1), [start(2), input("x")].concat()] {
            let (response, mut request) = client.open(invocation("/invoke/Plain/sleep")).await;
            if !stops.is_empty() {
                request.send_data(stops.clone().into(), false).unwrap();
            }
            let mut body = response.await.unwrap().into_body();
            let error = body.data().await.unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));

            let mut http1 = Wild::connect(server.address).await;
            let head = head("/invoke/Plain/sleep");
            let head = format!("{head}content-length: 1000\r\n\r\n");
            http1.send([head.into_bytes(), stops].concat()).await;
            let rest = String::from_utf8(http1.rest().await).unwrap();
            assert!(
                rest.starts_with("HTTP/1.1 200") && !rest.contains("\r\n0\r\n\r\n"),
                "{rest}"
            );
        }
        // An attempt whose journal is in may wait for as long as it likes.
        let (response, mut request) = client.invoke("/invoke/Plain/sleep", journal("")).await;
        let mut body = response.await.unwrap().into_body();
        next(&mut body).await.unwrap();
        tokio::time::sleep(timeout * 4).await;
        request
            .send_data(void(SLEEP_COMPLETION, 1).into(), true)
            .unwrap();
        let answer = read_ended(&mut body).await;
        assert_eq!(ended(&answer).last().unwrap().ty, END);
    });
}

#[test]
fn a_journal_that_comes_slowly_is_waited_for() {
    run(async {
        let timeout = Duration::from_secs(2);
        let server = Server::with(|server| server.request_idle_timeout(timeout)).await;
        let mut client = Client::connect(server.address).await;
        let (response, mut request) = client.open(invocation("/invoke/Plain/echo")).await;
        let journal = journal("slow");
        // Each pause is short, all of them together are more than twice the time.
        for part in journal.chunks(journal.len() / 7) {
            tokio::time::sleep(timeout / 3).await;
            request.send_data(part.to_vec().into(), false).unwrap();
        }
        let mut body = response.await.unwrap().into_body();
        assert_eq!(output(&read_ended(&mut body).await), "slow");
        // The attempt has ended, the request has not: the response ends at last.
        assert_ends(&mut body).await;
        let reset = std::future::poll_fn(|cx| request.poll_reset(cx))
            .await
            .unwrap();
        assert!(
            matches!(reset, h2::Reason::NO_ERROR | h2::Reason::CANCEL),
            "{reset:?}"
        );
        assert_serves(server.address).await;
    });
}

#[test]
fn what_is_buffered_for_a_stream_has_a_limit() {
    const STREAMS: u32 = 256;
    run(async {
        let mut issued = Vec::new();
        for buffer in [8 * 1024, 256 * 1024] {
            let server = Server::with(|server| server.send_buffer(buffer)).await;
            // Windows without end: only the buffers and the connection hold the handlers back.
            let mut peer = Wild::connect(server.address).await;
            peer.send(raw::hello(1 << 30)).await;
            for stream in 0..STREAMS {
                let path = "/invoke/Keyed/spam";
                let request = raw::request(2 * stream + 1, path, &journal("1000"));
                peer.send(request).await;
            }
            let counts = &server.counts;
            until(|| counts.open() == STREAMS as usize).await;
            let (mut last, mut same) = (0, 0);
            while same < 8 {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let now = counts.issued.load(Ordering::SeqCst);
                same = if now == last { same + 1 } else { 0 };
                last = now;
            }
            issued.push(last);
            drop(peer);
            until(|| counts.open() == 0).await;
        }
        let [small, large] = issued[..] else { panic!() };
        // The kernel takes some megabytes in both cases.
        assert!(small * SPAM < STREAMS as usize * 200 * 1024, "{small}");
        let more = STREAMS as usize * 100 * 1024 / SPAM;
        assert!(large > small + more, "{small} and {large}");
    });
}
