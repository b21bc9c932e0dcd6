//! What `compare` measures with: the driver and the echo, and that wrong answers are noticed. Small
//! workloads, answers only, no times.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use bytes::Bytes;
use durably_benches::{
    conversation::{self, Conversation, Due, Framing, Order},
    driver::{Driver, Endpoint},
    wire,
};
use tokio::process::{Child, Command};

async fn spawn(program: &str) -> (Child, Driver) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let child = Command::new(program)
        .env("PORT", port.to_string())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for _ in 0..1_000 {
        if let Ok(driver) = Driver::connect(port).await {
            return (child, driver);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{program} does not listen");
}

fn conversations(version: u32) -> Vec<Conversation> {
    let mut all = vec![
        conversation::hello(version, Framing::Single),
        conversation::hello(version, Framing::Coalesced),
        conversation::replayed_runs(version, Framing::Single, 30),
        conversation::replayed_runs(version, Framing::Coalesced, 300),
        conversation::live_runs(version, 5),
        conversation::state(version, 20, 20),
        conversation::state(version, 20, 1),
        conversation::raw_bytes(version, 0),
        conversation::raw_bytes(version, 100_000),
        conversation::awakeable(version),
        conversation::suspend_and_resume(version),
    ];
    for path in ["Bench/callsUnordered", "Bench/callsSequential"] {
        for order in [Order::Issue, Order::Reverse, Order::Shuffled] {
            for framing in [Framing::Single, Framing::Coalesced] {
                all.push(conversation::calls(version, path, framing, 50, order));
            }
        }
    }
    all
}

#[tokio::test]
async fn the_sdk_answers_as_expected() {
    let (_child, driver) = spawn(env!("CARGO_BIN_EXE_bench-endpoint")).await;
    for version in [6, 7] {
        for talk in conversations(version) {
            driver.hold(&talk, Endpoint::Sdk, 5, 3).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_echo_answers_as_it_was_taught() {
    let (_child, driver) = spawn(env!("CARGO_BIN_EXE_echo")).await;
    for version in [6, 7] {
        for talk in conversations(version) {
            driver.teach(&talk).await.unwrap();
            driver.hold(&talk, Endpoint::Echo, 5, 3).await.unwrap();
        }
    }
}

/// Teaches the echo one thing, expects another of it, and gives the driver's complaint.
async fn complaint(driver: &Driver, taught: &Conversation, expected: &Conversation) -> String {
    driver.teach(taught).await.unwrap();
    let held = driver.hold(expected, Endpoint::Echo, 1, 1).await;
    format!("{:#}", held.unwrap_err())
}

#[tokio::test]
async fn wrong_answers_are_noticed() {
    let (_child, driver) = spawn(env!("CARGO_BIN_EXE_echo")).await;
    let right = conversation::hello(7, Framing::Single);
    let with = |due: Vec<Due>| {
        let mut talk = right.clone();
        talk.attempts[0].steps[0].due = due;
        talk
    };
    let output = Due::Exactly(wire::output(br#""Ada""#));
    let end = Due::Exactly(wire::end());

    let other_value = with(vec![Due::Exactly(wire::output(b"1")), end.clone()]);
    let complained = complaint(&driver, &other_value, &right).await;
    assert!(complained.contains("message 0"), "{complained}");

    let other_order = with(vec![end.clone(), output.clone()]);
    let complained = complaint(&driver, &other_order, &right).await;
    assert!(complained.contains("message 0"), "{complained}");

    let more = with(vec![output, end.clone(), end.clone()]);
    let complained = complaint(&driver, &more, &right).await;
    assert!(complained.contains("after the end"), "{complained}");

    let suspended = with(vec![Due::Suspension(2)]);
    let otherwise = with(vec![Due::Suspension(3)]);
    let complained = complaint(&driver, &suspended, &otherwise).await;
    assert!(complained.contains("message 0"), "{complained}");

    // A value that is missing.
    let empty = Due::Exactly(wire::Message {
        payload: Bytes::new(),
        ..wire::output(b"")
    });
    let missing = with(vec![empty, end]);
    let complained = complaint(&driver, &missing, &right).await;
    assert!(complained.contains("message 0"), "{complained}");
}
