//! Every command: what goes out is what the `prost` structs of the test write, the right completion
//! ids are handed out, and replay tells a command from a different one, field by field.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use prost::Message as _;

use super::{
    cases::{
        AWAKEABLE, Case, INVOCATION, SECOND, cases, promise, rich_teapot, state, teapot,
        with_metadata,
    },
    driver::{Cut, Driver, Handler},
    fields,
    scenario::{V5, V7},
    wire::{self, Msg, content, fail},
};
use crate::{
    Target, Unstable, WorkflowContext,
    protocol::{
        MessageType, ProtocolVersion,
        message::{StateKeys, Void},
    },
};

/// Issues the command, then a sleep that shows the next completion id.
fn handler(issue: fn(&WorkflowContext)) -> Handler {
    Arc::new(move |ctx, _| {
        async move {
            issue(ctx);
            ctx.sleep(SECOND).await?;
            Ok(String::new())
        }
        .boxed()
    })
}

fn play(version: ProtocolVersion, issue: fn(&WorkflowContext), replay: &[Msg]) -> Driver {
    let mut driver = Driver::new(version, Cut::Whole, &handler(issue));
    let start = wire::start(1 + replay.len());
    driver.feed(&[Msg::new(MessageType::START, &start), wire::input("")]);
    driver.feed(replay);
    driver.settle();
    driver.out.retain(|out| out.ty != MessageType::AWAITING_ON);
    driver
}

#[test]
fn commands_are_written_as_the_protobuf_library_writes_them_and_take_their_ids() {
    for case in cases() {
        for version in ProtocolVersion::ALL {
            let driver = play(version, case.issue, &[]);
            let ty = case.expected.ty;
            if version < case.since {
                let error: wire::Error = driver.out[0].decode();
                assert_eq!(
                    (error.code, error.ty),
                    (500, Some(ty.0.into())),
                    "{ty} {version}"
                );
                let needs = "needs a later version of the service protocol";
                assert!(error.message.contains(needs), "{}", error.message);
                continue;
            }
            let [command, sleep] = driver.out.as_slice() else {
                panic!("{ty} {version}: {:?}", driver.out);
            };
            assert_eq!(
                (command.ty, &command.payload),
                (ty, &case.expected.payload),
                "{version}"
            );
            assert_eq!(sleep.decode::<wire::Sleep>().result, case.ids + 1, "{ty}");
        }
    }
}

#[test]
fn replay_takes_the_same_command_also_from_another_encoder() {
    for case in cases() {
        let Msg { ty, payload } = &case.expected;
        let encodings = [
            payload.clone(),
            fields::reversed(payload),
            // All fields that the protocol has, at their defaults, where they are absent.
            fields::with_defaults(payload, &default_fields(&case)),
        ];
        for encoding in encodings {
            let driver = play(V7, case.issue, &[Msg::raw(*ty, encoding.clone())]);
            let types: Vec<_> = driver.out.iter().map(|out| out.ty).collect();
            assert_eq!(types, [MessageType::SLEEP], "{ty} {encoding:?}");
        }
    }
}

/// Text fields with an implicit presence that the case leaves empty.
fn default_fields(case: &Case) -> Vec<u32> {
    let mut tags = vec![12];
    if [MessageType::CALL, MessageType::ONE_WAY_CALL].contains(&case.expected.ty) {
        tags.push(3);
    }
    tags
}

/// Each field in turn is changed, removed or added in the journal: the report names it.
#[test]
fn a_difference_in_any_field_is_a_mismatch_that_names_it() {
    let mut tried = 0;
    for case in cases() {
        let ty = case.expected.ty;
        let names: Vec<(u32, &str)> = case
            .names
            .split(", ")
            .filter_map(|name| name.trim().split_once(' '))
            .map(|(tag, name)| (tag.parse().unwrap(), name))
            .collect();
        for (tag, change, payload) in fields::changes(&case.expected.payload) {
            let (_, name) = *names.iter().find(|(t, _)| *t == tag).unwrap();
            let driver = play(V7, case.issue, &[Msg::raw(ty, payload)]);
            if name == "-" {
                assert_eq!(driver.out[0].ty, MessageType::SLEEP, "times are tolerated");
                continue;
            }
            tried += 1;
            let error: wire::Error = driver.out[0].decode();
            let message = error.message;
            assert_eq!(
                (error.code, error.index, error.ty),
                (570, Some(1), Some(ty.0.into())),
                "{ty} {name} {change:?}: {message}"
            );
            let field = format!("at command 1: they differ in `{name}");
            assert!(
                message.contains(&field),
                "{ty} {name} {change:?}: {message}"
            );
            assert!(
                message.contains(&format!("the journal holds: {ty}")),
                "{message}"
            );
            assert!(
                message.contains(&format!("the code issued:   {ty}")),
                "{message}"
            );
            for payload in ["[1,2]", "\"v\""] {
                assert!(!message.contains(payload), "a payload is shown: {message}");
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn payloads_that_are_not_stable_are_not_compared() {
    type Issue = fn(&WorkflowContext);
    let cases: [(MessageType, Issue, Bytes); 5] = [
        (
            MessageType::SET_STATE,
            |c| c.set("k", &Unstable(1)),
            state("k", Some("22")).encode_to_vec().into(),
        ),
        (
            MessageType::CALL,
            |c| {
                drop(
                    c.request::<_, u64>(Target::service("S", "h"), Unstable(1))
                        .call(),
                )
            },
            wire::call(1).payload,
        ),
        (
            MessageType::COMPLETE_PROMISE,
            |c| drop(c.promise("p").resolve(&Unstable(1))),
            wire::CompletePromise {
                key: "p".into(),
                value: content("22"),
                result: 1,
                ..wire::CompletePromise::default()
            }
            .encode_to_vec()
            .into(),
        ),
        (
            MessageType::SEND_SIGNAL,
            |c| {
                c.invocation(INVOCATION)
                    .unwrap()
                    .resolve_signal("go", &Unstable(1))
            },
            wire::SendSignal {
                target: INVOCATION.into(),
                signal: Some("go".into()),
                value: content("22"),
                ..wire::SendSignal::default()
            }
            .encode_to_vec()
            .into(),
        ),
        (
            MessageType::COMPLETE_AWAKEABLE,
            |c| c.resolve_awakeable(AWAKEABLE, &Unstable(1)).unwrap(),
            wire::CompleteAwakeable {
                id: AWAKEABLE.into(),
                value: content("22"),
                ..wire::CompleteAwakeable::default()
            }
            .encode_to_vec()
            .into(),
        ),
    ];
    for (ty, issue, payload) in cases {
        let driver = play(V7, issue, &[Msg::raw(ty, payload.clone())]);
        assert_eq!(driver.out[0].ty, MessageType::SLEEP, "{ty}");
        // The kind of result is still compared.
        if ty != MessageType::CALL && ty != MessageType::SET_STATE {
            let payload = fields::without_values(&payload);
            let driver = play(V7, issue, &[Msg::raw(ty, payload)]);
            assert_eq!(driver.out[0].decode::<wire::Error>().code, 570, "{ty}");
        }
    }
}

/// State reads and outputs, whose bytes depend on more than the command.
#[test]
fn state_reads_and_outputs_are_written_as_the_protobuf_library_writes_them() {
    use MessageType as Ty;
    let eager = |key: &str, void, value| wire::EagerState {
        key: key.into(),
        name: String::new(),
        void,
        value,
    };
    let keys = |keys: &[&'static str]| wire::EagerStateKeys {
        name: String::new(),
        keys: Some(StateKeys {
            keys: keys.iter().map(|key| Bytes::from(*key)).collect(),
        }),
    };
    let lazy_keys = wire::Ids {
        invocation: 0,
        result: 1,
        name: String::new(),
    };
    type Read = fn(&WorkflowContext);
    let (a, none): (Read, Read) = (|c| drop(c.get::<u64>("a")), |c| drop(c.get::<u64>("z")));
    let all: Read = |c| drop(c.get_keys());
    let table: [(bool, Read, Msg); 7] = [
        (
            false,
            a,
            Msg::new(Ty::GET_EAGER_STATE, &eager("a", None, content("1"))),
        ),
        (
            true,
            a,
            Msg::new(Ty::GET_EAGER_STATE, &eager("a", None, content("1"))),
        ),
        (
            false,
            none,
            Msg::new(Ty::GET_EAGER_STATE, &eager("z", Some(Void {}), None)),
        ),
        (true, none, Msg::new(Ty::GET_LAZY_STATE, &promise("z"))),
        (
            false,
            all,
            Msg::new(Ty::GET_EAGER_STATE_KEYS, &keys(&["", "a", "b"])),
        ),
        (true, all, Msg::new(Ty::GET_LAZY_STATE_KEYS, &lazy_keys)),
        (
            false,
            |c| drop(c.get::<()>("")),
            Msg::new(Ty::GET_EAGER_STATE, &eager("", None, content(""))),
        ),
    ];
    for (partial, read, expected) in table {
        let mut driver = Driver::new(V5, Cut::Whole, &handler(read));
        let mut start = wire::start(1);
        start.partial_state = partial;
        // The runtime may send them in any order.
        start.state_map = [("b", "2"), ("", ""), ("a", "1")]
            .map(|(key, value)| crate::protocol::message::StateEntry {
                key: key.into(),
                value: value.into(),
            })
            .to_vec();
        driver.feed(&[Msg::new(Ty::START, &start), wire::input("")]);
        driver.settle();
        assert_eq!(driver.out[0].ty, expected.ty);
        assert_eq!(driver.out[0].payload, expected.payload, "{}", expected.ty);
        assert_eq!(
            driver.out[1].decode::<wire::Sleep>().result,
            2,
            "one id, eager or not"
        );
    }
}

#[test]
fn output_is_a_value_or_a_failure() {
    let output = |value, failure| wire::Output {
        name: String::new(),
        value,
        failure,
    };
    type Outcome = fn() -> crate::HandlerResult<String>;
    let outcomes: [(Outcome, wire::Output); 4] = [
        (|| Ok("done".into()), output(content("done"), None)),
        (|| Ok(String::new()), output(content(""), None)),
        (|| Err(teapot().into()), output(None, fail(418, "teapot"))),
        (|| Err(rich_teapot().into()), output(None, with_metadata())),
    ];
    for (outcome, expected) in outcomes {
        let handler: Handler = Arc::new(move |_, _| async move { outcome() }.boxed());
        for version in ProtocolVersion::ALL {
            let mut driver = Driver::new(version, Cut::Whole, &handler);
            driver.feed(&[
                Msg::new(MessageType::START, &wire::start(1)),
                wire::input(""),
            ]);
            driver.settle();
            if version == V5 && expected.failure == with_metadata() {
                let error: wire::Error = driver.out[0].decode();
                assert!(error.message.contains("metadata"), "{}", error.message);
                continue;
            }
            assert_eq!(driver.out[0].payload, Bytes::from(expected.encode_to_vec()));
            assert_eq!(driver.out[1].ty, MessageType::END);
        }
    }
}

/// Awakeables and named signals are waited for without a command or a completion id.
#[test]
fn signals_take_no_completion_ids() {
    let issue: fn(&WorkflowContext) = |ctx| {
        let ids = [ctx.awakeable::<()>(), ctx.awakeable::<()>()].map(|a| a.id().to_owned());
        assert_eq!(
            ids,
            [AWAKEABLE, "sign_1BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAEg"]
        );
        drop(ctx.signal::<()>("go"));
    };
    let driver = play(V7, issue, &[]);
    let [sleep] = driver.out.as_slice() else {
        panic!("{:?}", driver.out);
    };
    assert_eq!(sleep.decode::<wire::Sleep>().result, 1);
}
