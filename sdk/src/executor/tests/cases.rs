//! The table of commands: how a handler issues each, and how it must look on the wire.

use std::time::Duration;

use super::{
    driver::NOW,
    scenario::{V5, V6, V7},
    wire::{self, Msg, content, fail, header},
};
use crate::{
    Request, Target, TerminalError, WorkflowContext,
    protocol::{
        MessageType, ProtocolVersion,
        message::{Failure, Void},
    },
};

pub(super) const INVOCATION: &str = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
pub(super) const AWAKEABLE: &str = "sign_1BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAAEQ";
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A command as the handler issues it and as it must look on the wire.
pub(super) struct Case {
    pub(super) issue: fn(&WorkflowContext),
    pub(super) expected: Msg,
    /// Completion ids that it takes.
    pub(super) ids: u32,
    /// The lowest version that can carry it.
    pub(super) since: ProtocolVersion,
    /// Names of its fields in the protocol, by tag.
    pub(super) names: &'static str,
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

pub(super) fn with_metadata() -> Option<Failure> {
    let metadata = vec![header("a", "1"), header("b", "2")];
    fail(418, "teapot").map(|failure| Failure {
        metadata,
        ..failure
    })
}

pub(super) fn teapot() -> TerminalError {
    TerminalError::new("teapot").with_code(418)
}

pub(super) fn rich_teapot() -> TerminalError {
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
        invoke_time: NOW + 1000,
        headers: call.headers,
        key: call.key,
        idempotency_key: call.idempotency_key,
        scope: None,
        limit_key: None,
        invocation: 1,
        name: call.name,
    }
}

fn request(ctx: &WorkflowContext) -> Request<'_, Vec<u32>, u64> {
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

pub(super) fn promise(key: &str) -> wire::KeyedRead {
    wire::KeyedRead {
        key: key.into(),
        result: 1,
        name: String::new(),
    }
}

pub(super) fn state(key: &str, value: Option<&'static str>) -> wire::StateWrite {
    wire::StateWrite {
        key: key.into(),
        value: value.and_then(content),
        name: String::new(),
    }
}

/// All commands but Output and the state reads, which answer to the journal's state.
pub(super) fn cases() -> Vec<Case> {
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
                wake_up_time: NOW + 1000,
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
