//! Handlers that do something else when they are replayed: each difference is found, in each
//! direction, with code 570 and a text that says which command, what the journal has, and what the
//! code did.

use durably::{Target, prelude::*};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::{Env, Result, effect, effects, eventually, ms};
use crate::suite::{ALL, Suite};

/// One thing that the handler does.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Op {
    Sleep(String),
    Run(String),
    /// Key of the state, value.
    Set(String, u64),
    Get(String),
    Clear(String),
    Keys,
    /// Handler, suffix of the key, input, one header.
    Call(String, String, u64, String),
    Send(String, String, u64),
    /// A call with an idempotency key.
    Once(String),
    /// A signal that comes, and one that does not.
    Signal,
    Never,
    Resolve(u64),
    /// Two that are created in this order and awaited together.
    Both(Box<[Op; 2]>),
}

use Op::{Both, Call, Clear, Get, Keys, Never, Once, Resolve, Run, Send, Set, Signal, Sleep};

impl Op {
    async fn execute(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        let request = |handler: &str, key: &str, input: u64| {
            let key = format!("{} {key}", ctx.key());
            let target = Target::object("Deterministic", key, handler.to_owned());
            ctx.request::<_, u64>(target, input)
        };
        match self {
            Sleep(name) => ctx.sleep_named(name, ms(1)).await?,
            Run(name) => {
                let run = ctx.run(name, async || Ok::<_, std::io::Error>(()));
                run.await?;
            }
            Set(key, value) => ctx.set(key, value),
            Get(key) => drop(ctx.get::<u64>(key).await?),
            Clear(key) => ctx.clear(key),
            Keys => drop(ctx.get_keys().await?),
            Call(handler, key, input, header) => {
                request(handler, key, *input).header("x", header).await?;
            }
            Send(handler, key, input) => drop(request(handler, key, *input).send()),
            Once(key) => {
                request("echo", "once", 1).idempotency_key(key).await?;
            }
            Signal => {
                let me = ctx.invocation(ctx.invocation_id())?;
                me.resolve_signal("go", &1);
                ctx.signal::<u64>("go").await?;
            }
            Never => drop(ctx.signal::<u64>("never").await?),
            Resolve(value) => {
                let awakeable = ctx.awakeable::<u64>();
                ctx.resolve_awakeable(awakeable.id(), value)?;
                awakeable.await?;
            }
            Both(ops) => {
                let [first, second] = &**ops;
                let (first, second) =
                    durably::join!(Box::pin(first.execute(ctx)), Box::pin(second.execute(ctx)));
                first.and(second)?;
            }
        }
        Ok(())
    }
}

pub(crate) struct Deterministic;

#[durably::object]
impl Deterministic {
    /// Does the first, and fails when that is recorded; then does the other.
    #[handler(name = "misbehave")]
    async fn misbehave(
        &self,
        ctx: &ObjectContext,
        (first, later): (Vec<Op>, Vec<Op>),
    ) -> HandlerResult<()> {
        let recorded = format!("{} recorded", ctx.invocation_id());
        let program = if effects(&recorded).is_empty() {
            first
        } else {
            later
        };
        for op in program {
            op.execute(ctx).await?;
        }
        if effect(recorded, "") == 1 {
            return Err("this fails on purpose".into());
        }
        Ok(())
    }

    #[handler]
    async fn echo(&self, _ctx: &ObjectContext, input: u64) -> HandlerResult<u64> {
        Ok(input)
    }

    #[handler]
    async fn other(&self, _ctx: &ObjectContext, input: u64) -> HandlerResult<u64> {
        Ok(input)
    }
}

/// A change of the code, and what must be said of it.
struct Change {
    first: Vec<Op>,
    later: Vec<Op>,
    /// The index of the command that is blamed.
    command: u64,
    /// What the text holds.
    says: Vec<String>,
}

/// A change before which and after which something else is done, the same in both.
fn change<const N: usize>(
    first: impl Into<Option<Op>>,
    later: impl Into<Option<Op>>,
    says: [&str; N],
) -> Change {
    let program = |op: Option<Op>| {
        let before = [Sleep("before".into()), Set("before".into(), 1)];
        before
            .into_iter()
            .chain(op)
            .chain([Set("after".into(), 1)])
            .collect()
    };
    Change {
        first: program(first.into()),
        later: program(later.into()),
        command: 3,
        says: says.map(str::to_owned).into(),
    }
}

fn call(handler: &str, key: &str, input: u64, header: &str) -> Op {
    Call(handler.into(), key.into(), input, header.into())
}

fn send(handler: &str, key: &str, input: u64) -> Op {
    Send(handler.into(), key.into(), input)
}

const TYPE: &str = "they differ in the type of the command";

/// Plays a change on the server, and gives what it says of the failure.
async fn failure(env: &Env, key: &str, change: &Change) -> Result<Value> {
    let ingress = env.ingress();
    let sent = ingress
        .send_object(
            "Deterministic",
            key,
            "misbehave",
            &(&change.first, &change.later),
        )
        .await?;
    let id = sent.invocation_id;
    let what = format!("{key}: a failure with code 570");
    let failure = eventually(&what, async || {
        let row = env.row(&id).await?;
        assert_ne!(row["status"], "completed", "{key}: it went well: {row}");
        let text = row["last_failure"].as_str().unwrap_or_default();
        // The server writes a code that it has no name for into the text.
        Ok((row["last_failure_error_code"] == "570" || text.contains("[570")).then_some(row))
    })
    .await;
    env.admin().kill(&id).await?;
    failure
}

async fn check(env: &Env, key: &str, change: Change) -> Result {
    let failure = failure(env, key, &change).await?;
    let text = failure["last_failure"].as_str().unwrap_or_default();
    let index = change.command;
    let says = format!("does not match the journal at command {index}");
    for says in [says].iter().chain(&change.says) {
        assert!(
            text.contains(says.as_str()),
            "{key}: `{says}` is not in: {text}"
        );
    }
    let related = &failure["last_failure_related_command_index"];
    assert_eq!(*related, json!(index), "{key}: {failure}");
    Ok(())
}

/// Some at a time: each takes as long as the server waits before it tries again.
async fn check_all(env: &Env, changes: Vec<(String, Change)>) -> Result {
    let checks = changes.into_iter().map(|(key, change)| async move {
        let key = &key;
        check(env, key, change).await
    });
    let checks: Vec<_> = stream::iter(checks).buffer_unordered(10).collect().await;
    checks.into_iter().collect()
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a_command_of_another_type_is_found", ALL, async |env| {
        let ops = [
            ("Sleep", Sleep("nap".into())),
            ("Run", Run("step".into())),
            ("Call", call("echo", "a", 1, "")),
            ("OneWayCall", send("echo", "a", 1)),
            ("SetState", Set("k".into(), 1)),
            ("ClearState", Clear("k".into())),
            ("GetEagerStateKeys", Keys),
            ("GetEagerState", Get("k".into())),
            ("CompleteAwakeable", Resolve(1)),
            ("SendSignal", Signal),
        ];
        let mut changes = Vec::new();
        for (at, journal) in ops.iter().enumerate() {
            for step in [1, 7] {
                let code = &ops[(at + step) % ops.len()];
                let holds = format!("the journal holds: {}", journal.0);
                // Where the journal has no read, it is not known how one would have been answered.
                let issued = code.0.replace("Eager", "Lazy");
                let issued = format!("the code issued:   {issued}");
                let says = [TYPE, &holds, &issued];
                let change = change(journal.1.clone(), code.1.clone(), says);
                changes.push((format!("{} to {}", journal.0, code.0), change));
            }
        }
        check_all(env, changes).await
    });

    suite.case("a_command_with_another_field_is_found", ALL, async |env| {
        let differ = |field: &str| format!("they differ in `{field}`");
        let both = |field: &str, held: &str, made: &str| {
            [
                differ(field),
                format!("`{field}` in the journal: {held}"),
                format!("`{field}` in the code:    {made}"),
            ]
        };
        let fields = [
            (
                "name of a sleep",
                Sleep("a".into()),
                Sleep("b".into()),
                both("name", "`a`", "`b`"),
            ),
            (
                "name of a run",
                Run("a".into()),
                Run("b".into()),
                both("name", "`a`", "`b`"),
            ),
            (
                "key of a set",
                Set("a".into(), 1),
                Set("b".into(), 1),
                both("key", "`a`", "`b`"),
            ),
            (
                "value of a set",
                Set("a".into(), 1),
                Set("a".into(), 22),
                both(
                    "value.content",
                    "1 bytes that differ from byte 0 on",
                    "2 bytes",
                ),
            ),
            (
                "key of a clear",
                Clear("a".into()),
                Clear("b".into()),
                both("key", "`a`", "`b`"),
            ),
            (
                "key of a get",
                Get("a".into()),
                Get("b".into()),
                both("key", "`a`", "`b`"),
            ),
            (
                "handler of a call",
                call("echo", "a", 1, ""),
                call("other", "a", 1, ""),
                both("handler", "`echo`", "`other`"),
            ),
            (
                "object of a call",
                call("echo", "a", 1, ""),
                call("echo", "b", 1, ""),
                both("key", "`object of a call a`", "`object of a call b`"),
            ),
            (
                "parameter of a call",
                call("echo", "a", 1, ""),
                call("echo", "a", 2, ""),
                both("parameter", "1 bytes that differ from byte 0 on", "1 bytes"),
            ),
            (
                "header of a call",
                call("echo", "a", 1, "secret 1"),
                call("echo", "a", 1, "secret 2"),
                both(
                    "headers.value",
                    "8 bytes that differ from byte 7 on",
                    "8 bytes",
                ),
            ),
            (
                "idempotency key of a call",
                Once("a".into()),
                Once("b".into()),
                both("idempotency_key", "`a`", "`b`"),
            ),
            (
                "handler of a send",
                send("echo", "a", 1),
                send("other", "a", 1),
                both("handler", "`echo`", "`other`"),
            ),
            (
                "parameter of a send",
                send("echo", "a", 1),
                send("echo", "a", 20),
                both("parameter", "1 bytes that differ from byte 0 on", "2 bytes"),
            ),
            (
                "value of an awakeable",
                Resolve(1),
                Resolve(2),
                both(
                    "value.content",
                    "1 bytes that differ from byte 0 on",
                    "1 bytes",
                ),
            ),
        ];
        let changes = fields.map(|(key, first, later, says)| {
            let says = says.each_ref().map(String::as_str);
            (key.to_owned(), change(first, later, says))
        });
        check_all(env, changes.into()).await
    });

    suite.case("added_and_removed_steps_are_found", ALL, async |env| {
        let nap = || Sleep("nap".into());
        let step = || Run("step".into());
        let swapped = |first: Op, second: Op| Both(Box::new([first, second]));
        let waits = "the code waits where the journal goes on";
        let at_end = |first: &[Op], later: &[Op], command, says: &[&str]| Change {
            first: first.to_vec(),
            later: later.to_vec(),
            command,
            says: says.iter().map(|says| (*says).to_owned()).collect(),
        };
        let changes = [
            (
                "removed command",
                change(
                    nap(),
                    None,
                    [
                        TYPE,
                        "holds: Sleep (name `nap`)",
                        "issued:   SetState (key `after`)",
                    ],
                ),
            ),
            (
                "added command",
                change(
                    None,
                    nap(),
                    [
                        TYPE,
                        "holds: SetState (key `after`)",
                        "issued:   Sleep (name `nap`)",
                    ],
                ),
            ),
            (
                "added await",
                change(
                    None,
                    Never,
                    [waits, "holds: SetState (key `after`)", "signal `never`"],
                ),
            ),
            // Awaits what the journal does not hold instead of what it does.
            (
                "changed await",
                change(
                    Signal,
                    Never,
                    [waits, "holds: SendSignal", "signal `never`"],
                ),
            ),
            (
                "removed run",
                change(step(), None, [TYPE, "holds: Run (name `step`)"]),
            ),
            (
                "added run",
                change(None, step(), [TYPE, "issued:   Run (name `step`)"]),
            ),
            (
                "swapped branches",
                change(
                    swapped(nap(), step()),
                    swapped(step(), nap()),
                    [
                        TYPE,
                        "holds: Sleep (name `nap`)",
                        "issued:   Run (name `step`)",
                    ],
                ),
            ),
            (
                "swapped names",
                change(
                    swapped(Run("a".into()), Run("b".into())),
                    swapped(Run("b".into()), Run("a".into())),
                    [
                        "they differ in `name`",
                        "in the journal: `a`",
                        "in the code:    `b`",
                    ],
                ),
            ),
            (
                "early end",
                at_end(
                    &[nap(), step(), Set("k".into(), 1)],
                    &[nap()],
                    2,
                    &[
                        TYPE,
                        "holds: Run (name `step`)",
                        "issued:   Output (the handler returned)",
                    ],
                ),
            ),
            (
                "end at once",
                at_end(
                    &[nap()],
                    &[],
                    1,
                    &[
                        TYPE,
                        "holds: Sleep (name `nap`)",
                        "issued:   Output (the handler returned)",
                    ],
                ),
            ),
        ];
        check_all(
            env,
            changes.map(|(key, change)| (key.to_owned(), change)).into(),
        )
        .await
    });

    // What is no difference: more commands after the recorded ones, awaits that are left out.
    suite.case(
        "a_handler_may_do_more_than_was_recorded",
        ALL,
        async |env| {
            let first = [Sleep("nap".into()), Run("step".into())];
            let more = [
                Set("k".into(), 1),
                Run("another".into()),
                Signal,
                Resolve(3),
            ];
            let later: Vec<_> = first.iter().chain(&more).collect();
            let ingress = env.ingress();
            let input = (&first, &later);
            ingress
                .call_object::<()>("Deterministic", "more", "misbehave", &input)
                .await?;
            let state = env.state("Deterministic", "more").await?;
            assert_eq!(state, json!({ "k": 1 }));
            Ok(())
        },
    );
}
