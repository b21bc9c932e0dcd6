//! Tests of the engine alone: messages in, effects out.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::{
    Effect, Engine, Origin, Submission,
    catalog::{Catalog, Retry},
    changes::Change,
    invocation::{AttemptId, Outcome, Status, Waiter},
    keyed::KeyedId,
};
use crate::{
    protocol::{
        MessageType, ProtocolVersion,
        message::{NotificationId, NotificationResult, Start, Value},
    },
    wire::{
        Attach, Awaited, CANCEL, Call, CompletePromise, Error, IdempotentTarget, Ids, KeyedRead,
        Msg, OneWayCall, Outgoing, OutgoingDecoder, Output, Sleep, StateWrite,
    },
};

const MANIFEST: &str = r#"{"services": [
    {"name": "S", "ty": "SERVICE", "handlers": [{"name": "h", "retryPolicyMaxAttempts": 2}]},
    {"name": "W", "ty": "WORKFLOW", "handlers": [
        {"name": "run", "ty": "WORKFLOW"}, {"name": "ask", "ty": "SHARED"}
    ]},
    {"name": "Z", "ty": "SERVICE", "inactivityTimeout": 0, "abortTimeout": 0, "retryPolicyInitialInterval": 0,
     "handlers": [{"name": "h", "retryPolicyMaxAttempts": 1000}]},
    {"name": "O", "ty": "VIRTUAL_OBJECT", "inactivityTimeout": 5000, "handlers": [
        {"name": "x", "ty": "EXCLUSIVE", "inactivityTimeout": 7000}, {"name": "s", "ty": "SHARED"}
    ]}
]}"#;

struct Rig {
    engine: Engine,
}

impl Rig {
    fn new(version: ProtocolVersion) -> Self {
        let catalog = Catalog::read(MANIFEST.as_bytes(), false).unwrap();
        let engine = Engine::new(catalog, version, 1, 1_000_000);
        Self { engine }
    }

    fn submit(&mut self, service: &str, key: Option<&str>, handler: &str) -> usize {
        let submission = Submission {
            service: service.into(),
            handler: handler.into(),
            key: key.map(str::to_owned),
            ..Submission::default()
        };
        let submitted = self.engine.submit(submission, Origin::Outside).unwrap();
        submitted.index
    }

    /// A message, as an attempt would write it.
    fn say(&mut self, attempt: AttemptId, ty: MessageType, message: &impl prost::Message) {
        let mut decoder = OutgoingDecoder::default();
        decoder.push(Msg::new(ty, message).frame());
        while let Some(message) = decoder.next().unwrap() {
            self.engine.handle_message(attempt, message);
        }
    }

    fn end(&mut self, attempt: AttemptId, output: &'static str) {
        let value = Some(Value {
            content: output.into(),
        });
        let output = Output {
            value,
            ..Output::default()
        };
        self.say(attempt, MessageType::OUTPUT, &output);
        self.engine.handle_message(attempt, Outgoing::End);
    }

    fn effects(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.engine.next_effect())
            .map(|effect| match effect {
                Effect::Begin {
                    attempt,
                    invocation,
                    ..
                } => format!("begin {attempt} of {invocation}"),
                Effect::Tell { attempt, message } => format!("tell {attempt} {}", message.ty),
                Effect::Close { attempt } => format!("close {attempt}"),
                Effect::Drop { attempt } => format!("drop {attempt}"),
                Effect::Answer { caller, outcome } => format!("answer {caller} {outcome:?}"),
            })
            .collect()
    }

    fn status(&self, index: usize) -> &Status {
        &self.engine.invocations[index].status
    }
}

fn sleep(wake_up_time: u64) -> Sleep {
    Sleep {
        wake_up_time,
        result: 1,
        ..Sleep::default()
    }
}

fn on_completion(id: u32) -> Outgoing {
    Outgoing::Suspension(Awaited {
        completions: vec![id],
        signals: vec![CANCEL],
        named: vec![],
    })
}

#[test]
fn a_call_is_an_invocation_whose_outcome_comes_back() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    rig.submit("S", None, "h");
    let call = Call {
        service: "O".into(),
        handler: "x".into(),
        key: "k".into(),
        invocation: 1,
        result: 2,
        ..Call::default()
    };
    rig.say(1, MessageType::CALL, &call);
    assert_eq!(
        rig.effects(),
        [
            "begin 1 of 0",
            "begin 2 of 1",
            "tell 1 CallInvocationIdCompletion"
        ]
    );
    rig.end(2, "7");
    assert_eq!(rig.effects(), ["drop 2", "tell 1 CallCompletion"]);
    let outcome: Outcome = Ok("8".into());
    rig.engine.wait_for(0, Waiter::Outside(5));
    rig.end(1, "8");
    let answer = format!("answer 5 {outcome:?}");
    assert_eq!(rig.effects(), ["drop 1", answer.as_str()]);
}

#[test]
fn the_next_of_a_key_begins_when_the_one_before_has_ended() {
    let mut rig = Rig::new(ProtocolVersion::V6);
    let first = rig.submit("O", Some("k"), "x");
    let second = rig.submit("O", Some("k"), "x");
    let third = rig.submit("O", Some("k"), "x");
    rig.submit("O", Some("k"), "s");
    assert_eq!(rig.effects(), ["begin 1 of 0", "begin 2 of 3"]);
    rig.engine.cancel(second).unwrap();
    assert!(matches!(rig.status(second), Status::Completed(Err(_))));
    assert!(matches!(rig.status(third), Status::Queued));
    rig.end(1, "");
    assert!(matches!(rig.status(first), Status::Completed(Ok(_))));
    assert_eq!(rig.effects(), ["drop 1", "begin 3 of 2"]);
}

#[test]
fn silence_ends_the_request_and_what_came_too_late_wakes_again() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let index = rig.submit("O", Some("k"), "x");
    rig.say(1, MessageType::SLEEP, &sleep(1_006_500));
    rig.effects();
    // The handler's own timeout counts; what is said starts it anew.
    rig.engine.advance_to(1_006_500);
    assert_eq!(rig.effects(), ["tell 1 SleepCompletion"]);
    rig.engine.advance_to(1_013_499);
    assert_eq!(rig.effects(), [""; 0]);
    rig.engine.advance_to(1_013_500);
    assert_eq!(rig.effects(), ["close 1"]);
    let go = Ok(Bytes::from("1"));
    rig.engine.signal(index, "go", &go);
    assert_eq!(rig.effects(), [""; 0], "nothing is said after the end");
    let awaited = Awaited {
        completions: vec![],
        signals: vec![CANCEL],
        named: vec!["go".into()],
    };
    rig.engine.handle_message(1, Outgoing::Suspension(awaited));
    assert_eq!(rig.effects(), ["drop 1", "begin 2 of 0"]);
    // What an attempt says that is over is of no interest.
    rig.engine.handle_message(1, Outgoing::End);
    assert!(matches!(rig.status(index), Status::Running(_)));
}

#[test]
fn only_what_is_awaited_wakes() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let index = rig.submit("S", None, "h");
    rig.say(1, MessageType::SLEEP, &sleep(1_000_500));
    rig.engine.handle_message(1, on_completion(1));
    rig.effects();
    rig.engine.signal(index, "other", &Ok(Bytes::new()));
    assert!(matches!(rig.status(index), Status::Suspended(_)));
    rig.engine.advance_to(1_000_500);
    assert_eq!(rig.effects(), ["begin 2 of 0"]);
}

#[test]
fn a_run_is_acked_on_v7_and_told_before() {
    for (version, told) in [
        (ProtocolVersion::V6, "tell 1 RunCompletion"),
        (ProtocolVersion::V7, "tell 1 ProposeRunCompletionAck"),
    ] {
        let mut rig = Rig::new(version);
        rig.submit("S", None, "h");
        let run = Ids {
            result: 1,
            name: "r".into(),
            ..Ids::default()
        };
        rig.say(1, MessageType::RUN, &run);
        rig.effects();
        let result = NotificationResult::Value(Value::default());
        rig.engine.handle_message(1, Outgoing::Proposal(1, result));
        assert_eq!(rig.effects(), [told]);
        let stored = rig.engine.invocations[0].entries().last().unwrap();
        let stored = stored.as_notification().unwrap();
        assert_eq!(stored.id, Some(NotificationId::Completion(1)));
    }
}

#[test]
fn failures_back_off_and_a_suspension_forgives_them() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let index = rig.submit("S", None, "h");
    let fail = |rig: &mut Rig, attempt| {
        let error = Error {
            code: 500,
            ..Error::default()
        };
        rig.engine.handle_message(attempt, Outgoing::Error(error));
    };
    fail(&mut rig, 1);
    rig.engine.advance_to(1_000_500);
    // Two attempts are all it has; but it suspends.
    rig.say(2, MessageType::SLEEP, &sleep(1_000_600));
    let awaited = Awaited {
        completions: vec![1],
        ..Awaited::default()
    };
    rig.engine.handle_message(2, Outgoing::Suspension(awaited));
    rig.engine.advance_to(1_000_600);
    fail(&mut rig, 3);
    assert!(matches!(rig.status(index), Status::BackingOff(1_001_100)));
    rig.engine.advance_to(1_001_100);
    // What it stores does not forgive.
    rig.say(4, MessageType::SLEEP, &sleep(0));
    fail(&mut rig, 4);
    assert!(matches!(rig.status(index), Status::Paused));
}

#[test]
fn what_the_server_refuses_fails_the_attempt_and_is_not_stored() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let service = rig.submit("S", None, "h");
    let shared = rig.submit("O", Some("k"), "s");
    let read = KeyedRead {
        key: "a".into(),
        result: 1,
        ..KeyedRead::default()
    };
    rig.say(1, MessageType::GET_LAZY_STATE, &read);
    let write = StateWrite {
        key: "a".into(),
        ..StateWrite::default()
    };
    rig.say(2, MessageType::SET_STATE, &write);
    for index in [service, shared] {
        assert!(matches!(rig.status(index), Status::BackingOff(_)));
        assert_eq!(rig.engine.invocations[index].entries().count(), 0);
    }
    let place = rig
        .engine
        .find_place(&KeyedId::new("O", "k", None))
        .unwrap();
    assert!(rig.engine.keyed(place).state.is_empty());
}

#[test]
fn back_off_grows_to_its_bound() {
    let retry = Retry {
        initial: 500,
        factor: 2.0,
        max: 60_000,
        attempts: 70,
        kill: false,
    };
    let delays: Vec<_> = [1, 2, 3, 7, 8, 69, u32::MAX].map(|n| retry.delay(n)).into();
    assert_eq!(delays, [500, 1000, 2000, 32_000, 60_000, 60_000, 60_000]);
}

#[test]
fn ids_look_like_the_server_s() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let index = rig.submit("S", None, "h");
    let id = &rig.engine.invocations[index].id;
    assert!(id.parse::<crate::InvocationId>().is_ok(), "{id}");
    let largest = super::ids::invocation_id(&[0xFF; 24]);
    assert_eq!(largest.len(), 38);
    let zero = format!("inv_1{}", "0".repeat(33));
    assert_eq!(super::ids::invocation_id(&[0; 24]), zero);
}

#[test]
fn who_has_ended_is_forgotten_by_whom_it_waited_for() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let target = rig.submit("S", None, "h");
    let attach = Attach {
        invocation: Some(rig.engine.invocations[target].id.clone()),
        result: 1,
        ..Attach::default()
    };
    for attempt in 2..200 {
        rig.submit("S", None, "h");
        rig.say(attempt, MessageType::ATTACH_INVOCATION, &attach);
        rig.end(attempt, "7");
    }
    assert!(rig.engine.invocations[target].waiters.len() < 10);
}

#[test]
fn an_attempt_is_told_no_more_state_than_a_message_may_have() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let place = rig.engine.place(&KeyedId::new("O", "k", None));
    let large = Bytes::from(vec![7; 20 << 20]);
    for name in ["a", "b", "c"] {
        let state = &mut rig.engine.keyed_mut(place).state;
        state.insert(Bytes::from_static(name.as_bytes()), large.clone());
    }
    let state = &mut rig.engine.keyed_mut(place).state;
    state.insert(Bytes::from_static(b"d"), Bytes::from_static(b"1"));
    rig.submit("O", Some("k"), "x");
    let Some(Effect::Begin { frames, .. }) = rig.engine.next_effect() else {
        panic!("no attempt begins");
    };
    // A frame's header has eight bytes, the last four its length.
    let length = u32::from_be_bytes(frames[4..8].try_into().unwrap()) as usize;
    assert!(length < 32 << 20);
    let start = <Start as prost::Message>::decode(&frames[8..8 + length]).unwrap();
    let names: Vec<_> = start.state_map.iter().map(|entry| &*entry.key).collect();
    assert_eq!(names, [b"a", b"d"]);
    assert!(start.partial_state);
}

#[test]
fn the_empty_scope_is_another_than_none() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let [none, empty] = [None, Some(String::new())].map(|scope| {
        let submission = Submission {
            service: "W".into(),
            handler: "run".into(),
            key: Some("a".into()),
            scope,
            ..Submission::default()
        };
        let submitted = rig.engine.submit(submission, Origin::Kafka).unwrap();
        assert!(!submitted.already);
        rig.engine.invocations[submitted.index].id.clone()
    });
    assert_ne!(none, empty);
}

#[test]
fn an_object_with_the_empty_key_is_found_by_its_idempotency_key() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let submission = Submission {
        service: "O".into(),
        handler: "x".into(),
        key: Some(String::new()),
        idempotency_key: Some("k".into()),
        ..Submission::default()
    };
    let target = rig.engine.submit(submission, Origin::Outside).unwrap();
    rig.submit("S", None, "h");
    let of = IdempotentTarget {
        service: "O".into(),
        handler: "x".into(),
        idempotency_key: "k".into(),
        ..IdempotentTarget::default()
    };
    let attach = Attach {
        idempotent: Some(of),
        result: 1,
        ..Attach::default()
    };
    rig.say(2, MessageType::ATTACH_INVOCATION, &attach);
    assert_eq!(rig.engine.invocations[target.index].waiters.len(), 1);
}

#[test]
fn a_killed_one_does_not_give_its_turn_to_what_dies_with_it() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let parent = rig.submit("O", Some("k"), "x");
    let send = OneWayCall {
        service: "O".into(),
        handler: "x".into(),
        key: "k".into(),
        invocation: 1,
        ..OneWayCall::default()
    };
    rig.say(1, MessageType::ONE_WAY_CALL, &send);
    rig.submit("O", Some("k"), "x");
    rig.effects();
    rig.engine.kill(parent).unwrap();
    assert_eq!(rig.effects(), ["drop 1", "begin 2 of 2"]);
}

#[test]
fn what_has_not_begun_gets_no_awakeable() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let submission = Submission {
        service: "S".into(),
        handler: "h".into(),
        invoke_time: 2_000_000,
        ..Submission::default()
    };
    let submitted = rig.engine.submit(submission, Origin::Outside).unwrap();
    let raw = rig.engine.invocations[submitted.index].raw;
    let id = [&raw[..], &17_u32.to_be_bytes()].concat();
    let id = format!("sign_1{}", BASE64_URL_SAFE_NO_PAD.encode(id));
    let value = Ok(Bytes::from_static(b"1"));
    rig.engine.complete_awakeable(&id, &value).unwrap();
    assert!(rig.engine.invocations[submitted.index].records.is_empty());
}

#[test]
fn time_does_not_stand_still_where_nothing_takes_any() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let index = rig.submit("Z", None, "h");
    for millis in 0..10 {
        rig.engine.advance_to(1_000_000 + millis);
        let attempts = u64::from(rig.engine.invocations[index].attempts);
        assert!(attempts <= millis + 1, "{attempts} after {millis} ms");
    }
}

#[test]
fn a_run_that_never_began_takes_no_promise_with_it() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    let scheduled = Submission {
        service: "W".into(),
        handler: "run".into(),
        key: Some("a".into()),
        invoke_time: 2_000_000,
        ..Submission::default()
    };
    let run = rig.engine.submit(scheduled, Origin::Outside).unwrap().index;
    rig.submit("W", Some("a"), "ask");
    let promise = CompletePromise {
        key: "p".into(),
        value: Some(Value {
            content: "1".into(),
        }),
        result: 1,
        ..CompletePromise::default()
    };
    rig.say(1, MessageType::COMPLETE_PROMISE, &promise);
    rig.engine.collect_changes();
    rig.engine.cancel(run).unwrap();
    // What stays is written after all of the key was deleted.
    let changes = rig.engine.take_changes().list;
    let [
        ..,
        Change::KeyForgotten(_),
        Change::Promise { name, .. },
        Change::Forgotten(_),
    ] = &changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!(name, "p");
    let again = rig.submit("W", Some("a"), "run");
    assert_ne!(again, run);
    rig.effects();
    let read = KeyedRead {
        key: "p".into(),
        result: 1,
        ..KeyedRead::default()
    };
    rig.say(2, MessageType::GET_PROMISE, &read);
    assert_eq!(rig.effects(), ["tell 2 GetPromiseCompletion"]);
    // One that has begun leaves nothing.
    rig.engine.kill(again).unwrap();
    rig.engine.purge(again).unwrap();
    let last = rig.submit("W", Some("a"), "run");
    rig.effects();
    rig.say(3, MessageType::GET_PROMISE, &read);
    assert_eq!(rig.effects(), [""; 0]);
    assert!(matches!(rig.status(last), Status::Running(_)));
}

#[test]
fn a_run_has_the_id_of_its_workflow_whatever_its_idempotency_key() {
    let mut rig = Rig::new(ProtocolVersion::V7);
    rig.submit("S", None, "h");
    let call = Call {
        service: "W".into(),
        handler: "run".into(),
        key: "a".into(),
        idempotency_key: Some("i".into()),
        invocation: 1,
        result: 2,
        ..Call::default()
    };
    rig.say(1, MessageType::CALL, &call);
    let workflow = KeyedId::new("W", "a", None);
    let run = rig.engine.find_run(&workflow).unwrap();
    let id = rig.engine.id_of_run(&workflow);
    assert_eq!(rig.engine.invocations[run].id, id);
}
