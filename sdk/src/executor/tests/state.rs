//! The state as a handler sees it.

use std::sync::Arc;

use futures::FutureExt as _;

use super::{
    driver::Outside,
    scenario::{Outcome, Scenario, scenario},
    wire::{Msg, bytes, keys, set, void},
};
use crate::{
    WorkflowContext,
    protocol::message::{Start, StateEntry},
};

fn with(partial: bool, entries: &'static [(&'static str, &'static str)]) -> impl Fn(&mut Start) {
    move |start| {
        start.partial_state = partial;
        start.state_map = entries
            .iter()
            .map(|(key, value)| StateEntry {
                key: (*key).into(),
                value: (*value).into(),
            })
            .collect();
    }
}

/// Reads two keys and all keys, before and after changes.
fn reads(ctx: &WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
    async move {
        let before = (ctx.get::<u64>("a").await?, ctx.get::<u64>("z").await?);
        ctx.set("z", &26);
        ctx.clear("a");
        let after = (ctx.get::<u64>("a").await?, ctx.get::<u64>("z").await?);
        let keys = ctx.get_keys().await?.join(",");
        Ok(format!("{before:?} {after:?} {keys}"))
    }
    .boxed()
}

#[test]
fn a_complete_view_answers_every_read() {
    scenario(reads)
        .start(with(false, &[("m", "13"), ("a", "1"), ("é", "0")]))
        .expect([
            "GetEagerState a=1",
            "GetEagerState z=void",
            "SetState z=26",
            "ClearState a",
            "GetEagerState a=void",
            "GetEagerState z=26",
            "GetEagerStateKeys m,z,é",
            "Output (Some(1), None) (None, Some(26)) m,z,é",
            "End",
        ])
        .run();
}

#[test]
fn a_partial_view_answers_what_it_knows() {
    scenario(reads)
        .start(with(true, &[("a", "1")]))
        .expect(["GetEagerState a=1", "GetLazyState z #2"])
        .send([void(2)])
        .expect([
            "SetState z=26",
            "ClearState a",
            "GetEagerState a=void",
            "GetEagerState z=26",
            "GetLazyStateKeys #5",
        ])
        .send([keys(5, &["m", "z"])])
        .expect(["Output (Some(1), None) (None, Some(26)) m,z", "End"])
        .run();
}

fn cleared(ctx: &WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
    async move {
        ctx.set("old", &1);
        ctx.clear_all();
        ctx.set("new", &2);
        let old = ctx.get::<u64>("old").await?;
        let other = ctx.get::<u64>("other").await?;
        let keys = ctx.get_keys().await?.join(",");
        Ok(format!("{old:?} {other:?} {keys}"))
    }
    .boxed()
}

/// Clearing all makes a partial view complete: when it is issued and when it is replayed.
#[test]
fn clear_all_makes_the_view_complete() {
    let reads = [
        "GetEagerState old=void",
        "GetEagerState other=void",
        "GetEagerStateKeys new",
        "Output None None new",
        "End",
    ];
    let of = |known: usize| -> Scenario {
        let clear_all = Msg::raw(crate::protocol::MessageType::CLEAR_ALL_STATE, "");
        let journal = [set("old", "1"), clear_all, set("new", "2")];
        // The runtime's state may be ahead of the replay, or not sent at all.
        scenario(cleared)
            .start(with(true, &[("other", "9")]))
            .replay(journal[..known].to_vec())
    };
    let writes = ["SetState old=1", "ClearAllState", "SetState new=2"];
    for known in 0..=3 {
        of(known)
            .expect(writes[known..].iter().copied().chain(reads))
            .run();
    }
}

#[test]
fn reads_may_be_made_first_and_awaited_later() {
    // A read sees the state as it is when the read is made.
    scenario(|ctx, _| {
        async move {
            let before = ctx.get::<u64>("k");
            ctx.set("k", &2);
            let after = ctx.get::<u64>("k");
            let (before, after) = crate::join!(before, after);
            Ok(format!("{before:?} {after:?}"))
        }
        .boxed()
    })
    .start(with(true, &[]))
    .expect(["GetLazyState k #1", "SetState k=2", "GetEagerState k=2"])
    .send([bytes(1, "1")])
    .expect(["Output Ok(Some(1)) Ok(Some(2))", "End"])
    .run();
}

#[test]
fn keys_are_sorted_however_they_come() {
    scenario(|ctx, _| async move { Ok(ctx.get_keys().await?.join(",")) }.boxed())
        .start(with(true, &[("a", "1")]))
        .expect(["GetLazyStateKeys #1"])
        .send([keys(1, &["b", "é", "a"])])
        .expect(["Output a,b,é", "End"])
        .run();
}
