//! Broken input: whatever comes, nothing panics and exactly one terminator ends the stream.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;

use super::{
    driver::{Cut, Driver, Handler, MAX_MESSAGE},
    scenario::scenario,
    wire::{self, Msg, call, invoked, keys, named, run, set, signal, sleep, value, void},
};
use crate::{
    Target, TerminalError,
    protocol::{MessageType, ProtocolVersion},
    random::Rng,
};

/// A handler that uses a bit of everything.
fn handler() -> Handler {
    Arc::new(|ctx, _| {
        async move {
            ctx.set("k", &1);
            let call = ctx
                .request::<_, String>(Target::service("S", "h"), 1)
                .call();
            let id = call.invocation_id().await?;
            let awakeable = ctx.awakeable::<String>();
            let (called, awoken, slept) = crate::join!(call, awakeable, ctx.sleep(Duration::ZERO));
            slept?;
            let ran = ctx
                .run("r", async || Ok::<_, TerminalError>("ran".to_owned()))
                .await?;
            let go = ctx.signal::<String>("go").await?;
            let keys = ctx.get_keys().await?;
            Ok(format!(
                "{id} {} {} {ran} {go} {}",
                called?,
                awoken?,
                keys.len()
            ))
        }
        .boxed()
    })
}

fn journal() -> Vec<Msg> {
    let lazy_keys = wire::Ids {
        result: 5,
        ..wire::Ids::default()
    };
    let mut start = wire::start(13);
    start.partial_state = true;
    vec![
        Msg::new(MessageType::START, &start),
        wire::input("in"),
        set("k", "1"),
        call(1),
        invoked(1, "inv_1a"),
        sleep(3),
        void(3),
        value(2, "called"),
        signal(17, "awoken"),
        run(4, "r"),
        value(4, "ran"),
        named("go", "went"),
        Msg::new(MessageType::GET_LAZY_STATE_KEYS, &lazy_keys),
        keys(5, &["k"]),
    ]
}

fn stream() -> Vec<u8> {
    journal().iter().flat_map(Msg::frame).collect()
}

/// Plays these bytes and then the end of the input; the type that ends the stream.
fn play(version: ProtocolVersion, bytes: Vec<u8>, cut: Cut) -> MessageType {
    let mut driver = Driver::new(version, cut, &handler());
    driver.feed_bytes(bytes.into());
    driver.settle();
    driver.close();
    driver.settle();
    let last = driver.out.last();
    assert!(last.is_some_and(|last| last.is_terminator()), "{last:?}");
    last.unwrap().ty
}

#[test]
fn the_stream_is_whole() {
    for version in ProtocolVersion::ALL {
        assert_eq!(play(version, stream(), Cut::Random), MessageType::END);
    }
}

#[test]
fn a_stream_that_ends_anywhere_ends_in_an_error() {
    let stream = stream();
    for length in 0..stream.len() {
        let ended = play(ProtocolVersion::V6, stream[..length].to_vec(), Cut::Whole);
        assert_eq!(ended, MessageType::ERROR, "cut at {length}");
    }
}

/// The same once all known entries are in and the handler waits: between messages it suspends, within
/// one it fails.
#[test]
fn a_request_that_ends_within_a_later_message_ends_in_an_error() {
    let mut known = journal();
    known.truncate(2);
    known[0] = Msg::new(MessageType::START, &wire::start(1));
    let before: Vec<u8> = known.iter().flat_map(Msg::frame).collect();
    // A signal that nobody waits for.
    let later = signal(99, "nobody's").frame();
    for (length, ended) in (0..=later.len()).map(|length| {
        let whole = length == 0 || length == later.len();
        (
            length,
            if whole {
                MessageType::SUSPENSION
            } else {
                MessageType::ERROR
            },
        )
    }) {
        let bytes = [&*before, &later[..length]].concat();
        for version in ProtocolVersion::ALL {
            assert_eq!(play(version, bytes.clone(), Cut::Random), ended, "{length}");
        }
    }
}

#[test]
fn a_stream_with_flipped_bits_ends_somehow() {
    let stream = stream();
    for at in 0..stream.len() {
        for bit in 0..8 {
            let mut bytes = stream.clone();
            bytes[at] ^= 1 << bit;
            play(ProtocolVersion::V7, bytes, Cut::Whole);
        }
        for byte in [0, 0x7F, 0xFF] {
            let mut bytes = stream.clone();
            bytes[at] = byte;
            play(ProtocolVersion::V5, bytes, Cut::Whole);
        }
    }
}

#[test]
fn any_order_and_number_of_messages_ends_somehow() {
    let mut rng = Rng::new(1);
    let all = journal();
    for _ in 0..3000 {
        let mut messages = all[..1 + rng.below(3) as usize].to_vec();
        for _ in 0..rng.below(24) {
            messages.push(all[rng.below(all.len() as u64) as usize].clone());
            if rng.below(4) == 0 {
                messages.push(
                    [wire::cancel(), wire::ack(4), void(1), signal(18, "")][rng.below(4) as usize]
                        .clone(),
                );
            }
        }
        let mut start = wire::start(1 + rng.below(14) as usize);
        start.partial_state = rng.below(2) == 0;
        messages[0] = Msg::new(MessageType::START, &start);
        let version = ProtocolVersion::ALL[rng.below(4) as usize];
        play(
            version,
            messages.iter().flat_map(Msg::frame).collect(),
            Cut::Whole,
        );
    }
}

#[test]
fn random_bytes_end_in_an_error() {
    let mut rng = Rng::new(2);
    for _ in 0..500 {
        let mut bytes = vec![0; rng.below(200) as usize];
        rng.fill_bytes(&mut bytes);
        assert_eq!(
            play(ProtocolVersion::V8, bytes, Cut::Random),
            MessageType::ERROR
        );
    }
}

#[test]
fn a_message_that_is_too_large_is_refused_by_its_header() {
    let mut driver = Driver::new(ProtocolVersion::V7, Cut::Whole, &handler());
    let mut header = vec![0; 4];
    header.extend((MAX_MESSAGE as u32 + 1).to_be_bytes());
    driver.feed_bytes(header.into());
    driver.settle();
    let error: wire::Error = driver.out[0].decode();
    assert_eq!(error.code, 571);
    let limit = format!("larger than the limit of {MAX_MESSAGE} bytes");
    assert!(error.message.contains(&limit), "{}", error.message);
}

#[test]
fn a_stream_without_a_byte_ends_in_an_error() {
    let mut driver = Driver::new(ProtocolVersion::V5, Cut::Whole, &handler());
    driver.close();
    driver.settle();
    let error: wire::Error = driver.out[0].decode();
    let expected = "protocol violation: the request ended before a Start message came";
    assert_eq!((error.code, error.message.as_str()), (571, expected));
}

/// What comes too late or too early, with the handler at work.
#[test]
fn violations_end_a_handler_at_work() {
    let late = [
        (
            sleep(2),
            "a Sleep command came after the 1 known entries of the journal",
        ),
        (
            Msg::new(MessageType::START, &wire::start(1)),
            "a second Start message came",
        ),
        (
            void(2),
            "completion 2 came, but the commands of the journal allow completions 1 to 1",
        ),
        (
            wire::ack(1),
            "an ack came for completion 1, which this attempt has not proposed",
        ),
        (
            Msg::raw(MessageType::END, ""),
            "a message of type End has no business on the way to an SDK",
        ),
    ];
    for (message, report) in late {
        scenario(|ctx, _| {
            async move {
                ctx.sleep(Duration::ZERO).await?;
                Ok(String::new())
            }
            .boxed()
        })
        .expect(["Sleep #1"])
        .send([message])
        .expect([format!("Error 571: protocol violation: {report}…")])
        .run();
    }
}

#[test]
fn a_duplicate_completion_is_a_violation_even_when_the_first_was_taken() {
    scenario(|ctx, _| {
        async move {
            ctx.sleep(Duration::ZERO).await?;
            ctx.sleep(Duration::ZERO).await?;
            Ok(String::new())
        }
        .boxed()
    })
    .expect(["Sleep #1"])
    .send([void(1)])
    .expect(["Sleep #2"])
    .send([void(1)])
    .expect(["Error 571: protocol violation: completion 1 came twice"])
    .run();
}
