//! The journal's phases against every message, and its bounds.

use bytes::Bytes;
use prost::Message as _;

use super::{AttemptError, AwaitSet, Change, Command, Completion, Journal, Source};
use crate::protocol::{
    MessageType, ProtocolVersion,
    frame::Frame,
    message::{
        EphemeralState, Incoming, InputCommand, Notification, NotificationId, NotificationResult,
        Start, Value, Void,
    },
};

fn start(known_entries: u32) -> Incoming {
    let start = Start {
        known_entries,
        ..Start::default()
    };
    Incoming::Start(start.encode_to_vec().into())
}

fn command(ty: MessageType) -> Incoming {
    Incoming::Command(ty, Bytes::new())
}

fn notification(id: Option<NotificationId>, result: Option<NotificationResult>) -> Incoming {
    Incoming::Notification(Notification { id, result })
}

fn completion(id: u32) -> Incoming {
    let id = NotificationId::Completion(id);
    notification(Some(id), Some(NotificationResult::Void(Void {})))
}

fn signal(id: u32) -> Incoming {
    let id = NotificationId::Signal(id);
    notification(Some(id), Some(NotificationResult::Void(Void {})))
}

fn named(name: &str) -> Incoming {
    let id = NotificationId::NamedSignal(name.into());
    notification(Some(id), Some(NotificationResult::Void(Void {})))
}

/// A journal in a phase of this name, for tables.
fn journal(phase: &str) -> Journal {
    let mut journal = Journal::new(ProtocolVersion::V7, 1 << 20);
    let script = match phase {
        "start" => vec![],
        "entries" => vec![start(4), command(MessageType::INPUT)],
        "replaying" | "processing" | "closed" => {
            vec![
                start(2),
                command(MessageType::INPUT),
                command(MessageType::RUN),
            ]
        }
        _ => unreachable!("{phase}"),
    };
    for message in script {
        journal.handle_message(message).unwrap();
    }
    if phase != "replaying" && phase != "start" && phase != "entries" {
        // The recorded run has the id 1 and no bytes; so it is read and not compared here.
        journal.recorded.truncate(1);
        journal.issue(Command::Run, "").unwrap();
        journal.propose_run(1, Ok(Bytes::new())).unwrap();
    }
    if phase == "closed" {
        journal.close_ended();
    }
    journal
}

fn outcome(result: Result<Change, AttemptError>) -> String {
    match result {
        Ok(Change::Nothing) => "-".into(),
        Ok(Change::Ready) => "ready".into(),
        Ok(Change::Arrived(_)) => "arrived".into(),
        Ok(Change::EphemeralRead { .. }) => "answered".into(),
        Err(error) => error.code.to_string(),
    }
}

#[test]
fn every_message_in_every_phase() {
    type Make = fn() -> Incoming;
    let messages: [(&str, Make); 11] = [
        ("Start", || start(1)),
        ("Start of nothing", || start(0)),
        ("command", || command(MessageType::SLEEP)),
        ("completion", || completion(1)),
        ("completion beyond", || completion(9)),
        ("signal", || signal(17)),
        ("named signal", || named("go")),
        ("no id", || {
            notification(None, Some(NotificationResult::Void(Void {})))
        }),
        ("run ack", || Incoming::RunAck(1)),
        ("command ack", || Incoming::CommandAck),
        ("ephemeral state", || {
            Incoming::EphemeralState(EphemeralState::default())
        }),
    ];
    let phases = ["start", "entries", "replaying", "processing", "closed"];
    let mut table = format!("{:18}", "");
    phases
        .iter()
        .for_each(|phase| table += &format!("{phase:>11}"));
    for (name, message) in messages {
        table += &format!("\n{name:18}");
        for phase in phases {
            let result = outcome(journal(phase).handle_message(message()));
            table += &format!("{result:>11}");
        }
    }
    table += "\n                  ";
    table = table.trim_end().to_owned();
    table += &format!("\n{:18}", "end of input");
    for phase in phases {
        let result = outcome(
            journal(phase)
                .handle_input_closed()
                .map(|()| Change::Nothing),
        );
        table += &format!("{result:>11}");
    }
    // A completion beyond the commands is found out once all entries are in.
    let expected = "
                        start    entries  replaying processing     closed
Start                       -        571        571        571          -
Start of nothing          571        571        571        571          -
command                   571          -        571        571          -
completion                571          -    arrived    arrived          -
completion beyond         571          -        571        571          -
signal                    571          -    arrived    arrived          -
named signal              571          -    arrived    arrived          -
no id                     571        571        571        571          -
run ack                   571        571        571    arrived          -
command ack               571        571          -          -          -
ephemeral state           571        571   answered   answered          -
end of input              571        571          -          -          -";
    assert_eq!(table, expected.trim_start_matches('\n'), "\n{table}");
}

#[test]
fn the_first_command_must_be_input() {
    for script in [
        vec![start(1), command(MessageType::SLEEP)],
        vec![start(1), signal(17)],
        vec![start(2), completion(1), command(MessageType::SLEEP)],
    ] {
        let mut journal = Journal::new(ProtocolVersion::V5, 1 << 20);
        let last = script
            .into_iter()
            .map(|message| journal.handle_message(message))
            .last();
        let error = last.unwrap().unwrap_err();
        assert_eq!(error.code, 571);
        assert!(error.message.contains("must be Input"), "{}", error.message);
    }
    // Notifications may come before it.
    let mut journal = Journal::new(ProtocolVersion::V5, 1 << 20);
    for message in [start(2), signal(17)] {
        journal.handle_message(message).unwrap();
    }
    let ready = journal.handle_message(command(MessageType::INPUT)).unwrap();
    assert_eq!(ready, Change::Ready);
}

/// Completions among the known entries are checked against the commands, at the latest when all are in.
#[test]
fn known_completions_must_belong_to_commands_and_come_once() {
    let table = [
        (MessageType::CALL, vec![1, 2], true),
        (MessageType::CALL, vec![2, 1], true),
        (MessageType::CALL, vec![3], false),
        (MessageType::SLEEP, vec![0], false),
        (MessageType::SLEEP, vec![1, 1], false),
        (MessageType::ONE_WAY_CALL, vec![2], false),
        (MessageType::GET_EAGER_STATE, vec![2], false),
        (MessageType::SET_STATE, vec![1], false),
        (MessageType::SLEEP, vec![u32::MAX], false),
    ];
    for (ty, ids, fine) in table {
        let mut journal = Journal::new(ProtocolVersion::V6, 1 << 20);
        let entries = 2 + ids.len() as u32;
        let mut messages = vec![start(entries), command(MessageType::INPUT)];
        messages.extend(ids.iter().copied().map(completion));
        messages.push(command(ty));
        let results: Vec<_> = messages
            .into_iter()
            .map(|m| outcome(journal.handle_message(m)))
            .collect();
        let refused = results.iter().any(|result| result == "571");
        assert_eq!(refused, !fine, "{ty} {ids:?}: {results:?}");
        assert!(refused || results.ends_with(&["ready".to_owned()]));
    }
}

/// Numbers in messages cost nothing: only messages do.
#[test]
fn large_numbers_do_not_allocate() {
    let mut journal = Journal::new(ProtocolVersion::V7, 1 << 20);
    journal.handle_message(start(u32::MAX)).unwrap();
    journal.handle_message(command(MessageType::INPUT)).unwrap();
    for message in [completion(u32::MAX), completion(1 << 31), signal(u32::MAX)] {
        journal.handle_message(message).unwrap();
    }
    assert_eq!(journal.notifications.completion_slots(), 0);
    assert_eq!(journal.handle_input_closed().unwrap_err().code, 571);

    let mut journal = Journal::new(ProtocolVersion::V7, 1 << 20);
    for message in [start(1), command(MessageType::INPUT), signal(u32::MAX)] {
        journal.handle_message(message).unwrap();
    }
    for id in [0, 1, u32::MAX] {
        assert_eq!(outcome(journal.handle_message(completion(id))), "571");
    }
    assert_eq!(journal.notifications.completion_slots(), 0);
}

#[test]
fn what_cannot_be_decoded_or_has_no_business_here_is_refused() {
    let bad = Bytes::from_static(&[0xFF]);
    let mut journal = Journal::new(ProtocolVersion::V7, 1 << 20);
    let error = journal
        .handle_message(Incoming::Start(bad.clone()))
        .unwrap_err();
    assert_eq!(error.code, 571);
    assert!(error.message.contains("a Start message cannot be decoded"));
    let refused = [
        MessageType::RUN_ACK,
        MessageType::SLEEP_COMPLETION,
        MessageType::SIGNAL,
    ];
    for ty in refused {
        let payload = bad.clone();
        let error = Incoming::decode(Frame { ty, payload })
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("a {ty} message cannot be decoded")),
            "{error}"
        );
    }
    for ty in [
        MessageType::SUSPENSION,
        MessageType::ERROR,
        MessageType::END,
        MessageType::PROPOSE_RUN_COMPLETION,
        MessageType::AWAITING_ON,
        MessageType::GET_STATE_EPHEMERAL,
        MessageType(0x0008),
        MessageType(0x01FF),
        MessageType(0x03FF),
        MessageType(0xFC00),
        MessageType(0xFFFF),
    ] {
        let payload = Bytes::new();
        let error = Incoming::decode(Frame { ty, payload })
            .unwrap_err()
            .to_string();
        assert!(error.contains("no business"), "{error}");
    }
    // A command stays bytes, whatever they are.
    let frame = Frame {
        ty: MessageType(0x7FFF),
        payload: bad.clone(),
    };
    assert_eq!(
        Incoming::decode(frame).unwrap(),
        Incoming::Command(MessageType(0x7FFF), bad)
    );
}

#[test]
fn an_input_that_cannot_be_decoded_is_a_violation() {
    let mut journal = Journal::new(ProtocolVersion::V5, 1 << 20);
    journal.handle_message(start(1)).unwrap();
    let input = Incoming::Command(MessageType::INPUT, Bytes::from_static(&[0x0A, 0x7F]));
    journal.handle_message(input).unwrap();
    assert_eq!(journal.take_input().unwrap_err().code, 571);
}

#[test]
fn the_input_has_its_headers_in_order() {
    let header = |key: &str, value: &str| crate::protocol::message::Header {
        key: key.into(),
        value: value.into(),
    };
    let message = InputCommand {
        headers: vec![header("b", "1"), header("a", "2"), header("b", "3")],
        value: Some(Value {
            content: "body".into(),
        }),
    };
    let mut journal = Journal::new(ProtocolVersion::V5, 1 << 20);
    journal.handle_message(start(1)).unwrap();
    let input = Incoming::Command(MessageType::INPUT, message.encode_to_vec().into());
    journal.handle_message(input).unwrap();
    let (headers, body) = journal.take_input().unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(headers, [pair("b", "1"), pair("a", "2"), pair("b", "3")]);
    assert_eq!(body, "body");
}

#[test]
fn an_ack_and_a_completion_take_the_same_place_but_not_both() {
    for full in [false, true] {
        let mut journal = journal("processing");
        let first = if full {
            completion(1)
        } else {
            Incoming::RunAck(1)
        };
        assert_eq!(
            journal.handle_message(first).unwrap(),
            Change::Arrived(Source::Completion(1))
        );
        for second in [completion(1), Incoming::RunAck(1)] {
            assert_eq!(outcome(journal.handle_message(second)), "571");
        }
    }
    let mut before_v7 = Journal::new(ProtocolVersion::V6, 1 << 20);
    for message in [start(1), command(MessageType::INPUT)] {
        before_v7.handle_message(message).unwrap();
    }
    before_v7.issue(Command::Run, "").unwrap();
    before_v7.propose_run(1, Ok(Bytes::new())).unwrap();
    assert_eq!(
        outcome(before_v7.handle_message(Incoming::RunAck(1))),
        "571"
    );
}

#[test]
fn what_is_awaited_is_described_for_reports() {
    let sources: Vec<Source> = [3, 1, 3]
        .map(Source::Completion)
        .into_iter()
        .chain([Source::Signal(17), Source::NamedSignal("go".into())])
        .collect();
    let set = AwaitSet::new(&sources);
    assert_eq!(
        set.describe(),
        "completion 1, completion 3, signal 17, signal `go`"
    );
    let many: Vec<Source> = (1..=20).map(Source::Completion).collect();
    assert!(
        AwaitSet::new(&many)
            .describe()
            .ends_with("completion 8, 12 more")
    );
}

/// The executor does not come back after the end; the journal does not rely on it.
#[test]
fn nothing_is_written_after_the_end() {
    type Late = fn(&mut Journal);
    let operations: [(&str, Late); 9] = [
        ("command", |journal| drop(journal.issue(Command::Run, ""))),
        ("state read", |journal| drop(journal.issue_get_state("k"))),
        ("keys read", |journal| drop(journal.issue_get_state_keys())),
        ("proposal", |journal| {
            drop(journal.propose_run(1, Ok(Bytes::new())));
        }),
        ("ephemeral read", |journal| {
            drop(journal.write_ephemeral_read(1, "k"));
        }),
        ("AwaitingOn", |journal| {
            journal.write_awaiting_on(&AwaitSet::new([]));
        }),
        ("End", Journal::close_ended),
        ("Suspension", |journal| {
            journal.close_suspended(&AwaitSet::new([]));
        }),
        ("Error", |journal| {
            journal.close_failed(&AttemptError::internal("late"));
        }),
    ];
    for (name, operation) in operations {
        let mut journal = Journal::new(ProtocolVersion::V8, 1 << 20);
        for message in [start(1), command(MessageType::INPUT)] {
            journal.handle_message(message).unwrap();
        }
        journal.close_ended();
        assert!(journal.take_output().is_some());
        operation(&mut journal);
        assert_eq!(journal.take_output(), None, "{name}");
    }
}

#[test]
fn errors_are_about_the_command_that_was_not_issued() {
    let mut journal = journal("processing");
    let completion = Completion::Void;
    journal.issue(Command::Output(completion), "out").unwrap();
    let last = journal.last_command().unwrap();
    assert_eq!(last.to_string(), "command 2 (Output `out`)");
}
