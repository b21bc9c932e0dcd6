//! State reads within runs (protocol v8).

use futures::FutureExt as _;

use super::{
    scenario::{Scenario, V5, V6, V7, V8, scenario},
    wire::{ephemeral, set, value},
};
use crate::HandlerError;

/// A handler whose run reads two keys, on a partial state.
fn reader() -> Scenario {
    scenario(|ctx, outside| {
        async move {
            let read = ctx.run("r", async || {
                let (a, b) = crate::join!(
                    ctx.get_ephemeral::<String>("a"),
                    ctx.get_ephemeral::<String>("b"),
                );
                outside.note(format!("{:?} {:?}", a?, b?));
                Ok::<_, HandlerError>("read".to_owned())
            });
            Ok(read.await?)
        }
        .boxed()
    })
    .start(|start| start.partial_state = true)
}

const ASKED: [&str; 3] = [
    "Run #1 `r`",
    "GetStateEphemeralCommand a #1",
    "GetStateEphemeralCommand b #2",
];

#[test]
fn a_run_asks_for_what_is_not_known() {
    reader()
        .on(&[V8])
        .expect(ASKED)
        .send([ephemeral(2, Some("two"))])
        .expect([""; 0])
        // An answer to a read that nobody has made is ignored.
        .send([ephemeral(9, None), ephemeral(1, None)])
        .expect(["Propose #1=\"read\""])
        .send([value(1, "read")])
        .expect(["Output read", "End"])
        .notes(["None Some(\"two\")"])
        .run();
}

#[test]
fn known_keys_are_answered_on_any_version() {
    scenario(|ctx, outside| {
        async move {
            ctx.set("a", "one");
            ctx.clear("b");
            let read = ctx.run("r", async || {
                let a = ctx.get_ephemeral::<String>("a").await?;
                let b = ctx.get_ephemeral::<String>("b").await?;
                outside.note(format!("{a:?} {b:?}"));
                Ok::<_, HandlerError>("read".to_owned())
            });
            Ok(read.await?)
        }
        .boxed()
    })
    .start(|start| start.partial_state = true)
    .replay([set("a", "\"one\"")])
    .expect([
        "ClearState b",
        "Run #1 `r`",
        "Propose #1=\"read\"",
        "Suspension c1",
    ])
    .notes(["Some(\"one\") None"])
    .run();
}

#[test]
fn earlier_versions_cannot_ask() {
    reader()
        .on(&[V5, V6, V7])
        .expect([
            "Run #1 `r`",
            "Error 500 @1 Run `r`: reading state key `a` within a run needs service protocol v8, …",
        ])
        .run();
}

#[test]
fn a_read_that_is_open_when_the_request_ends_fails_the_attempt() {
    let error =
        "Error 500 @1 Run `r`: the request ended before a state read within a run was answered";
    reader()
        .on(&[V8])
        .expect(ASKED)
        .send([ephemeral(1, None)])
        .close()
        .expect([error])
        .run();
    reader()
        .on(&[V8])
        .close()
        .expect(ASKED.into_iter().chain([error]))
        .run();
}

#[test]
fn outside_of_a_run_it_is_refused() {
    scenario(|ctx, _| {
        async move { Ok(ctx.get_ephemeral::<String>("a").await?.unwrap_or_default()) }.boxed()
    })
    .expect(["Error 500 @0 Input: state key `a` was read with `get_ephemeral` outside of a run: use `get`"])
    .run();
}
