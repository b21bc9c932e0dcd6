//! Whole requests with something wrong in them: each gets an HTTP error, or 200 and exactly one
//! message that ends the attempt and says what is wrong, as soon as it is known.

use http::StatusCode;

use crate::rig::{Client, Server, Wild, head, invocation, post, read, read_ended, run};
use crate::wire::*;

/// A body for `Plain/sleep`, `steps` or `echo` that is wrong whatever follows it.
struct Wrong {
    name: &'static str,
    handler: &'static str,
    body: Vec<u8>,
    /// What the Error says; its code is 571.
    says: String,
}

fn wrong(
    name: &'static str,
    handler: &'static str,
    body: &[Vec<u8>],
    says: impl Into<String>,
) -> Wrong {
    Wrong {
        name,
        handler,
        body: body.concat(),
        says: says.into(),
    }
}

/// A Sleep command as the handler `sleep` issues it, but for the time, which is not compared.
fn sleep(id: u64) -> Vec<u8> {
    message(SLEEP, &[number(1, 5), number(11, id)].concat())
}

fn cases() -> Vec<Wrong> {
    let too_large = 64 * 1024 * 1024 + 1;
    let mut cases = vec![
        wrong(
            "garbage",
            "echo",
            &[vec![0xFF; 64]],
            "a message of type 0xffff and 4294967295 bytes is larger than the limit",
        ),
        wrong(
            "text",
            "echo",
            &[b"{\"json\": \"is no journal\"}".to_vec()],
            "a message of type 0x7b22",
        ),
        wrong(
            "zeros",
            "echo",
            &[vec![0; 64]],
            "Start says that 0 entries are known",
        ),
        wrong(
            "no known entries",
            "echo",
            &[start(0)],
            "Start says that 0 entries are known",
        ),
        wrong(
            "input first",
            "echo",
            &[input("x"), start(1)],
            "the first message must be Start, but Input came",
        ),
        wrong(
            "a notification first",
            "echo",
            &[void(SLEEP_COMPLETION, 1)],
            "the first message must be Start, but a notification came",
        ),
        wrong(
            "a second start at once",
            "echo",
            &[start(2), start(2)],
            "a second Start message came",
        ),
        wrong(
            "a second start later",
            "sleep",
            &[journal(""), start(1)],
            "a second Start message came",
        ),
        wrong(
            "another command first",
            "sleep",
            &[start(2), sleep(1), input("")],
            "the first command of the journal must be Input, but it is Sleep",
        ),
        wrong(
            "no command at all",
            "sleep",
            &[
                start(1),
                message(SIGNAL, &[number(2, 17), bytes(4, [])].concat()),
            ],
            "the first command of the journal must be Input, but it is missing",
        ),
        wrong(
            "an ack among the known entries",
            "sleep",
            &[start(2), input(""), message(RUN_ACK, &number(1, 1))],
            "ProposeRunCompletionAck came while known entries of the journal were awaited",
        ),
        wrong(
            "a command after the replay",
            "sleep",
            &[journal(""), sleep(1)],
            "a Sleep command came after the 1 known entries",
        ),
        wrong(
            "completion 0",
            "sleep",
            &[start(3), input(""), sleep(1), void(SLEEP_COMPLETION, 0)],
            "completion 0 came, but the commands of the journal allow completions 1 to 1",
        ),
        wrong(
            "an unknown completion in the journal",
            "sleep",
            &[start(3), input(""), sleep(1), void(SLEEP_COMPLETION, 2)],
            "completion 2 came, but the commands of the journal allow completions 1 to 1",
        ),
        wrong(
            "the largest completion id",
            "sleep",
            &[journal(""), void(SLEEP_COMPLETION, u64::from(u32::MAX))],
            "completion 4294967295 came, but the commands of the journal allow completions 1 to",
        ),
        wrong(
            "a completion twice in the journal",
            "sleep",
            &[
                start(4),
                input(""),
                sleep(1),
                void(SLEEP_COMPLETION, 1),
                void(SLEEP_COMPLETION, 1),
            ],
            "completion 1 came twice",
        ),
        wrong(
            "an ack of nothing",
            "sleep",
            &[journal(""), message(RUN_ACK, &number(1, 1))],
            "an ack came for completion 1, which this attempt has not proposed",
        ),
        wrong(
            "a notification without an id",
            "sleep",
            &[journal(""), message(SLEEP_COMPLETION, &bytes(4, []))],
            "a notification without an id came",
        ),
        wrong(
            "a notification without a result",
            "sleep",
            &[journal(""), message(SIGNAL, &number(2, 17))],
            "a notification without a result came",
        ),
        wrong(
            "a start that cannot be decoded",
            "echo",
            &[message(START, &[0x0A, 0xFF])],
            "a Start message cannot be decoded",
        ),
        wrong(
            "a key that is no text",
            "echo",
            &[message(START, &[number(3, 1), bytes(6, [0xFF])].concat())],
            "a Start message cannot be decoded",
        ),
        wrong(
            "an input that cannot be decoded",
            "echo",
            &[start(1), message(INPUT, &[0x72, 0x7F])],
            "the Input command cannot be decoded",
        ),
        wrong(
            "a notification that cannot be decoded",
            "sleep",
            &[journal(""), message(SIGNAL, &[0x08])],
            "a SignalNotification message cannot be decoded",
        ),
        wrong(
            "a message above the limit",
            "echo",
            &[start(1), header(INPUT, too_large)],
            "a message of type Input and 67108865 bytes is larger than the limit of 67108864 bytes \
             (see `EndpointBuilder::max_message_size`)",
        ),
    ];
    // What only the SDK sends, and what nobody does.
    for (ty, name) in [
        (SUSPENSION, "Suspension"),
        (ERROR, "Error"),
        (END, "End"),
        (PROPOSE_RUN, "ProposeRunCompletion"),
        (0x0006, "AwaitingOn"),
        (0x0200, "GetStateEphemeralCommand"),
        (0x0008, "0x0008"),
        (0x01FF, "0x01ff"),
        (0x0301, "0x0301"),
        (0xFC00, "0xfc00"),
        (0xFFFF, "0xffff"),
    ] {
        let says = format!("a message of type {name} has no business on the way to an SDK");
        for body in [
            message(ty, b""),
            [start(2), message(ty, b"")].concat(),
            [journal(""), message(ty, b"")].concat(),
        ] {
            cases.push(wrong("a message of a wrong kind", "sleep", &[body], &*says));
        }
    }
    cases
}

#[track_caller]
fn assert_says(wrong: &Wrong, body: &[u8], over: &str) {
    let (code, text) = error(body);
    let name = wrong.name;
    assert_eq!(code, 571, "{name} over {over}: {text}");
    assert!(
        text.starts_with("protocol violation: ") && text.contains(&wrong.says),
        "{name} over {over}: {text}"
    );
    assert!(
        !text.contains("hostile"),
        "{name}: the text quotes the journal: {text}"
    );
}

#[test]
fn what_is_wrong_is_said_at_once_over_http2() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        for wrong in cases() {
            let path = format!("/invoke/Plain/{}", wrong.handler);
            let (response, mut request) = client.invoke(&path, wrong.body.clone()).await;
            let mut body = response.await.unwrap().into_body();
            // The request is still open.
            let mut answer = read_ended(&mut body).await;
            assert_says(&wrong, &answer, "an open stream");
            // What comes late changes nothing, and the response ends with the request.
            request
                .send_data([journal("late"), vec![0xFF; 99]].concat().into(), true)
                .unwrap();
            while let Some(chunk) = crate::rig::next(&mut body).await {
                answer.extend_from_slice(&chunk);
            }
            assert_says(&wrong, &answer, "a stream that has ended");

            let whole = client.exchange(&path, wrong.body.clone()).await;
            assert_says(&wrong, &whole, "HTTP/2");
        }
        let counts = &server.counts;
        crate::rig::until(|| counts.open() == 0).await;
    });
}

#[test]
fn what_is_wrong_is_said_at_once_over_http1() {
    run(async {
        let server = Server::start().await;
        let mut kept = Wild::connect(server.address).await;
        for wrong in cases() {
            let path = format!("/invoke/Plain/{}", wrong.handler);
            // One connection takes request after request.
            kept.send(post(&path, &wrong.body)).await;
            let (status, _, body) = kept.answer().await;
            assert_eq!(status, 200);
            assert_says(&wrong, &body, "HTTP/1.1");
            // The answer does not wait for a request that goes on.
            let mut open = Wild::connect(server.address).await;
            let head = format!("{}transfer-encoding: chunked\r\n\r\n", head(&path));
            let length = wrong.body.len();
            open.send(format!("{head}{length:x}\r\n")).await;
            open.send(&wrong.body).await;
            open.send("\r\n").await;
            let (status, _, body) = open.answer_until(has_ended).await;
            assert_eq!(status, 200);
            assert_says(&wrong, &body, "an open request of HTTP/1.1");
            open.send("4\r\nlate\r\n0\r\n\r\n").await;
            assert_eq!(open.rest_of_body().await, b"", "{}", wrong.name);
            open.send(post(&path, &wrong.body)).await;
            assert_eq!(open.answer().await.0, 200);
        }
    });
}

#[test]
fn requests_that_end_too_early_say_what_is_missing() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let missing = "protocol violation: the request ended while 1 of 1 known entries of the \
                       journal were missing";
        for (body, says) in [
            (
                vec![],
                "protocol violation: the request ended before a Start message came",
            ),
            (
                vec![0; 7],
                "protocol violation: the request ended before a Start message came",
            ),
            (start(1), missing),
            // Lengths whose bytes never come.
            (
                [start(1), header(INPUT, 64 * 1024 * 1024)].concat(),
                missing,
            ),
        ] {
            let answer = client.exchange("/invoke/Plain/sleep", body.clone()).await;
            assert_eq!(error(&answer), (571, says.to_owned()));
            let mut http1 = Wild::connect(server.address).await;
            http1.send(post("/invoke/Plain/sleep", &body)).await;
            let answer = http1.answer().await.2;
            assert_eq!(error(&answer), (571, says.to_owned()));
        }
        // Nor may a later message end halfway; where none was begun, the handler suspends.
        for (later, ty) in [
            (header(SIGNAL, 99), ERROR),
            (vec![0; 3], ERROR),
            (vec![], SUSPENSION),
        ] {
            let body = [journal(""), later].concat();
            let answer = client.exchange("/invoke/Plain/sleep", body).await;
            assert_eq!(ended(&answer).last().unwrap().ty, ty);
        }
        // Far more entries than any journal has cost nothing.
        let endless = [start(u64::from(u32::MAX)), input("")].concat();
        let answer = client.exchange("/invoke/Plain/sleep", endless).await;
        let (code, text) = error(&answer);
        assert_eq!(code, 571);
        assert!(text.contains("4294967294 of 4294967295"), "{text}");
    });
}

#[test]
fn differences_from_the_code_are_journal_mismatches() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let run_command = message(RUN, &[number(11, 1), bytes(12, "other")].concat());
        for (recorded, handler) in [
            // The record has another command, one too many, or one that cannot be decoded.
            (run_command.clone(), "sleep"),
            (run_command, "echo"),
            (message(SLEEP, &[0xFF]), "sleep"),
            (message(0x7FFF, b"?"), "sleep"),
            (message(INPUT, b""), "sleep"),
        ] {
            let body = [start(2), input(""), recorded].concat();
            let (response, _request) = client
                .invoke(&format!("/invoke/Plain/{handler}"), body)
                .await;
            let mut body = response.await.unwrap().into_body();
            let answer = read_ended(&mut body).await;
            let (code, text) = error(&answer);
            assert_eq!(code, 570, "{handler}: {text}");
            assert!(text.to_lowercase().contains("journal"), "{handler}: {text}");
        }
    });
}

#[test]
fn a_completion_that_comes_twice_ends_the_attempt() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        for late in [
            void(SLEEP_COMPLETION, 1),
            value(CALL_COMPLETION, 2, "again"),
            void(SLEEP_COMPLETION, 4),
        ] {
            // `steps` has made its call, whose results come; its sleep is completion 3.
            let (response, mut request) = client.invoke("/invoke/Plain/steps", journal("")).await;
            let mut body = response.await.unwrap().into_body();
            let id = message(CALL_ID, &[number(1, 1), bytes(16, "inv_1")].concat());
            let called = value(CALL_COMPLETION, 2, "\"called\"");
            let mut answer = Vec::new();
            let has = |ty, answer: &[u8]| messages(answer).0.iter().any(|m| m.ty == ty);
            // Before the call nothing can come of it.
            while !has(CALL, &answer) {
                answer.extend(crate::rig::next(&mut body).await.unwrap());
            }
            request
                .send_data([id, called].concat().into(), false)
                .unwrap();
            while !has(SLEEP, &answer) {
                answer.extend(crate::rig::next(&mut body).await.unwrap());
            }
            request.send_data(late.into(), false).unwrap();
            answer.extend(read_ended(&mut body).await);
            let (code, text) = error(&answer);
            assert_eq!(code, 571);
            assert!(
                text.contains("came twice") || text.contains("allow completions 1 to 3"),
                "{text}"
            );
        }
    });
}

#[test]
fn what_means_nothing_is_tolerated() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        let (response, mut request) = client.invoke("/invoke/Plain/sleep", journal("")).await;
        let mut body = response.await.unwrap().into_body();
        crate::rig::next(&mut body).await.unwrap();
        let tolerated = [
            message(COMMAND_ACK, &number(1, 1)),
            // Fields of a later version, empty frames, trailers.
            message(
                SIGNAL,
                &[number(2, 99), bytes(4, []), bytes(500, "new")].concat(),
            ),
            message(SIGNAL, &[bytes(3, "nobody"), bytes(4, [])].concat()),
        ];
        request.send_data(tolerated.concat().into(), false).unwrap();
        request.send_data(bytes::Bytes::new(), false).unwrap();
        request
            .send_data(void(SLEEP_COMPLETION, 1).into(), false)
            .unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-trailer", "ignored".parse().unwrap());
        request.send_trailers(trailers).unwrap();
        let answer = read_ended(&mut body).await;
        assert_eq!(ended(&answer).last().unwrap().ty, END);
    });
}

#[test]
fn heads_that_are_wrong_get_an_http_error() {
    run(async {
        let server = Server::start().await;
        let mut client = Client::connect(server.address).await;
        for (path, content_type, status) in [
            ("/invoke/Plain/echo", "text/plain", 415),
            (
                "/invoke/Plain/echo",
                "application/vnd.restate.invocation.v8",
                415,
            ),
            (
                "/invoke/Plain/echo",
                "application/vnd.restate.invocation.v7; a=b",
                415,
            ),
            (
                "/invoke/Plain/echo",
                "application/vnd.restate.invocation.v99999999999",
                415,
            ),
            ("/invoke/Plain/nothing", V7, 404),
            ("/invoke/Nothing/echo", V7, 404),
            ("/invoke/Plain", V7, 404),
        ] {
            let mut request = invocation(path);
            request
                .headers_mut()
                .insert("content-type", content_type.parse().unwrap());
            // The answer comes while the request is open.
            let (response, _open) = client.open(request).await;
            let (got, body) = read(response.await.unwrap()).await;
            assert_eq!(got, StatusCode::from_u16(status).unwrap(), "{path}");
            let text = String::from_utf8(body).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    });
}
