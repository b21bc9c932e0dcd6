//! Every command: what goes out is what the `prost` structs of the test write, the right completion
//! ids are handed out, and replay tells a command from a different one, field by field.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use prost::Message as _;

use super::{
    driver::{Cut, Driver, Handler},
    fields,
    scenario::{V5, V6, V7},
    wire::{self, Msg, content, fail, header},
};
use crate::{
    Target, TerminalError, Unstable, WorkflowContext,
    protocol::{
        MessageType, ProtocolVersion,
        message::{Failure, StateKeys, Void},
    },
};

const INVOCATION: &str = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
const AWAKEABLE: &str = "sign_1BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAEQ";
const SECOND: Duration = Duration::from_secs(1);

/// A command as the handler issues it and as it must look on the wire.
struct Case {
    issue: fn(&WorkflowContext),
    expected: Msg,
    /// Completion ids that it takes.
    ids: u32,
    /// The lowest version that can carry it.
    since: ProtocolVersion,
    /// Names of its fields in the protocol, by tag.
    names: &'static str,
}

fn case(
    ty: MessageType,
    issue: fn(&WorkflowContext),
    expected: &impl prost::Message,
    ids: u32,
    names: &'static str,
) -> Case {
    Case {
        issue,
        expected: Msg::new(ty, expected),
        ids,
        since: V5,
        names,
    }
}

impl Case {
    fn since(mut self, version: ProtocolVersion) -> Self {
        self.since = version;
        self
    }
}

fn with_metadata() -> Option<Failure> {
    let metadata = vec![header("a", "1"), header("b", "2")];
    fail(418, "teapot").map(|failure| Failure {
        metadata,
        ..failure
    })
}

fn teapot() -> TerminalError {
    TerminalError::new("teapot").with_code(418)
}

fn rich_teapot() -> TerminalError {
    teapot().with_metadata("a", "1").with_metadata("b", "2")
}

const CALL: &str = "1 service, 2 handler, 3 parameter, 4 headers, 5 key, 6 idempotency_key, 7 scope, 8 limit_key, \
    10 invocation_id_notification_idx, 11 result_completion_id, 12 name";
const SEND: &str = "1 service, 2 handler, 3 parameter, 4 -, 5 headers, 6 key, 7 idempotency_key, 8 scope, \
    9 limit_key, 10 invocation_id_notification_idx, 12 name";
const READ: &str = "1 key, 11 result_completion_id";
const PROMISE: &str = "1 key, 2 completion_value, 3 completion_failure, 11 result_completion_id";
const SIGNAL: &str =
    "1 target_invocation_id, 2 signal_id, 3 signal_name, 4 void, 5 value, 6 failure";
const ATTACH: &str = "1 invocation_id, 3 idempotent_request, 4 workflow, 11 result_completion_id";
const AWAKE: &str = "1 awakeable_id, 2 value, 3 failure";

fn full_call() -> wire::Call {
    wire::Call {
        service: "O".into(),
        handler: "add".into(),
        parameter: "[1,2]".into(),
        headers: vec![header("x-b", "2"), header("x-a", "1"), header("x-b", "")],
        key: "k/ü".into(),
        idempotency_key: Some("idem".into()),
        scope: None,
        limit_key: None,
        invocation: 1,
        result: 2,
        name: "adding".into(),
    }
}

fn full_send() -> wire::OneWayCall {
    let call = full_call();
    wire::OneWayCall {
        service: call.service,
        handler: call.handler,
        parameter: call.parameter,
        invoke_time: super::driver::NOW + 1000,
        headers: call.headers,
        key: call.key,
        idempotency_key: call.idempotency_key,
        scope: None,
        limit_key: None,
        invocation: 1,
        name: call.name,
    }
}

fn request(ctx: &WorkflowContext) -> crate::Request<'_, Vec<u32>, u64> {
    ctx.request(Target::object("O", "k/ü", "add"), vec![1, 2])
        .header("x-b", "2")
        .header("x-a", "1")
        .header("x-b", "")
        .idempotency_key("idem")
        .name("adding")
}

fn idempotent(scope: Option<&str>) -> wire::Attach {
    wire::Attach {
        idempotent: Some(wire::IdempotentTarget {
            service: "O".into(),
            key: Some("k".into()),
            handler: "add".into(),
            idempotency_key: "idem".into(),
            scope: scope.map(str::to_owned),
        }),
        result: 1,
        ..wire::Attach::default()
    }
}

fn of_workflow(scope: Option<&str>) -> wire::Attach {
    wire::Attach {
        workflow: Some(wire::WorkflowTarget {
            workflow: "W".into(),
            key: "k".into(),
            scope: scope.map(str::to_owned),
        }),
        result: 1,
        ..wire::Attach::default()
    }
}

fn of_invocation() -> wire::Attach {
    wire::Attach {
        invocation: Some(INVOCATION.into()),
        result: 1,
        ..wire::Attach::default()
    }
}

fn promise(key: &str) -> wire::KeyedRead {
    wire::KeyedRead {
        key: key.into(),
        result: 1,
        name: String::new(),
    }
}

fn state(key: &str, value: Option<&'static str>) -> wire::StateWrite {
    wire::StateWrite {
        key: key.into(),
        value: value.and_then(content),
        name: String::new(),
    }
}

/// All commands but Output and the state reads, which answer to the journal's state.
fn cases() -> Vec<Case> {
    use MessageType as Ty;
    let complete = |value, failure| wire::CompletePromise {
        key: "p".into(),
        value,
        failure,
        result: 1,
        name: String::new(),
    };
    let signal = wire::SendSignal {
        target: INVOCATION.into(),
        ..wire::SendSignal::default()
    };
    let go = wire::SendSignal {
        signal: Some("go".into()),
        ..signal.clone()
    };
    let awake = |value, failure| wire::CompleteAwakeable {
        id: AWAKEABLE.into(),
        value,
        failure,
        name: String::new(),
    };
    let plain_call = wire::Call {
        service: "S".into(),
        handler: "h".into(),
        invocation: 1,
        result: 2,
        ..wire::Call::default()
    };
    let plain_send = wire::OneWayCall {
        service: "S".into(),
        handler: "h".into(),
        parameter: "null".into(),
        invocation: 1,
        ..wire::OneWayCall::default()
    };
    let scoped_call = wire::Call {
        scope: Some("t7".into()),
        limit_key: Some("l".into()),
        ..full_call()
    };
    let scoped_send = wire::OneWayCall {
        scope: Some("t7".into()),
        limit_key: Some("l".into()),
        ..full_send()
    };
    vec![
        case(
            Ty::SET_STATE,
            |c| c.set("k", "v"),
            &state("k", Some("\"v\"")),
            0,
            "1 key, 3 value",
        ),
        case(
            Ty::SET_STATE,
            |c| c.set("", &()),
            &state("", Some("")),
            0,
            "1 key, 3 value",
        ),
        case(
            Ty::CLEAR_STATE,
            |c| c.clear("k"),
            &state("k", None),
            0,
            "1 key",
        ),
        case(
            Ty::CLEAR_ALL_STATE,
            |c| c.clear_all(),
            &state("", None),
            0,
            "",
        ),
        case(
            Ty::GET_PROMISE,
            |c| drop(c.promise::<u64>("p").get()),
            &promise("p"),
            1,
            READ,
        ),
        case(
            Ty::PEEK_PROMISE,
            |c| drop(c.promise::<u64>("p").peek()),
            &promise("p"),
            1,
            READ,
        ),
        case(
            Ty::COMPLETE_PROMISE,
            |c| drop(c.promise::<u64>("p").resolve(&7)),
            &complete(content("7"), None),
            1,
            PROMISE,
        ),
        case(
            Ty::COMPLETE_PROMISE,
            |c| drop(c.promise::<u64>("p").reject(teapot())),
            &complete(None, fail(418, "teapot")),
            1,
            PROMISE,
        ),
        case(
            Ty::COMPLETE_PROMISE,
            |c| drop(c.promise::<u64>("p").reject(rich_teapot())),
            &complete(None, with_metadata()),
            1,
            PROMISE,
        )
        .since(V6),
        case(
            Ty::SLEEP,
            |c| drop(c.sleep_named("nap", SECOND)),
            &wire::Sleep {
                wake_up_time: super::driver::NOW + 1000,
                result: 1,
                name: "nap".into(),
            },
            1,
            "1 -, 11 result_completion_id, 12 name",
        ),
        case(
            Ty::CALL,
            |c| drop(c.request::<_, u64>(Target::service("S", "h"), ()).call()),
            &plain_call,
            2,
            CALL,
        ),
        case(Ty::CALL, |c| drop(request(c).call()), &full_call(), 2, CALL),
        case(
            Ty::CALL,
            |c| drop(request(c).scope("t7").limit_key("l").call()),
            &scoped_call,
            2,
            CALL,
        )
        .since(V7),
        case(
            Ty::ONE_WAY_CALL,
            |c| {
                c.request::<_, ()>(Target::service("S", "h"), None::<u8>)
                    .send();
            },
            &plain_send,
            1,
            SEND,
        ),
        case(
            Ty::ONE_WAY_CALL,
            |c| {
                request(c).send_after(SECOND);
            },
            &full_send(),
            1,
            SEND,
        ),
        case(
            Ty::ONE_WAY_CALL,
            |c| {
                request(c).scope("t7").limit_key("l").send_after(SECOND);
            },
            &scoped_send,
            1,
            SEND,
        )
        .since(V7),
        case(
            Ty::SEND_SIGNAL,
            |c| c.invocation(INVOCATION).unwrap().cancel(),
            &wire::SendSignal {
                idx: Some(1),
                void: Some(Void {}),
                ..signal.clone()
            },
            0,
            SIGNAL,
        ),
        case(
            Ty::SEND_SIGNAL,
            |c| c.invocation(INVOCATION).unwrap().resolve_signal("go", &7),
            &wire::SendSignal {
                value: content("7"),
                ..go.clone()
            },
            0,
            SIGNAL,
        ),
        case(
            Ty::SEND_SIGNAL,
            |c| {
                c.invocation(INVOCATION)
                    .unwrap()
                    .reject_signal("go", teapot())
            },
            &wire::SendSignal {
                failure: fail(418, "teapot"),
                ..go
            },
            0,
            SIGNAL,
        ),
        case(
            Ty::RUN,
            |c| drop(c.run("step", async || Ok::<_, TerminalError>(1))),
            &wire::Ids {
                invocation: 0,
                result: 1,
                name: "step".into(),
            },
            1,
            "11 result_completion_id, 12 name",
        ),
        case(
            Ty::ATTACH_INVOCATION,
            |c| drop(c.invocation(INVOCATION).unwrap().attach::<u64>()),
            &of_invocation(),
            1,
            ATTACH,
        ),
        case(
            Ty::GET_INVOCATION_OUTPUT,
            |c| drop(c.invocation(INVOCATION).unwrap().output::<u64>()),
            &of_invocation(),
            1,
            ATTACH,
        ),
        case(
            Ty::ATTACH_INVOCATION,
            |c| {
                let target = Target::object("O", "k", "add");
                drop(c.idempotent_invocation(target, "idem").attach::<u64>());
            },
            &idempotent(None),
            1,
            ATTACH,
        ),
        case(
            Ty::GET_INVOCATION_OUTPUT,
            |c| {
                let target = Target::object("O", "k", "add");
                let handle = c.idempotent_invocation(target, "idem").scope("t7");
                drop(handle.output::<u64>());
            },
            &idempotent(Some("t7")),
            1,
            ATTACH,
        )
        .since(V7),
        case(
            Ty::ATTACH_INVOCATION,
            |c| drop(c.workflow_invocation("W", "k").attach::<u64>()),
            &of_workflow(None),
            1,
            ATTACH,
        ),
        case(
            Ty::GET_INVOCATION_OUTPUT,
            |c| drop(c.workflow_invocation("W", "k").scope("t7").output::<u64>()),
            &of_workflow(Some("t7")),
            1,
            ATTACH,
        )
        .since(V7),
        case(
            Ty::COMPLETE_AWAKEABLE,
            |c| c.resolve_awakeable(AWAKEABLE, "v").unwrap(),
            &awake(content("\"v\""), None),
            0,
            AWAKE,
        ),
        case(
            Ty::COMPLETE_AWAKEABLE,
            |c| c.reject_awakeable(AWAKEABLE, teapot()).unwrap(),
            &awake(None, fail(418, "teapot")),
            0,
            AWAKE,
        ),
    ]
}

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
