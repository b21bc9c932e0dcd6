//! Awakeables, named signals and promises.

use std::time::Duration;

use futures::{FutureExt as _, future::join_all};

use super::{
    scenario::{Outcome, scenario},
    wire::{self, Msg, bytes, failed, named, signal, sleep, value, void},
};
use crate::{TerminalError, WorkflowContext, protocol::MessageType};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn awakeables_take_signal_ids_from_17_on() {
    scenario(|ctx, _| {
        async move {
            let (a, b) = (ctx.awakeable::<String>(), ctx.awakeable::<String>());
            let b = b.await?;
            Ok(a.await? + &b)
        }
        .boxed()
    })
    // The other may come first, and before it is awaited; the second delivery of one counts nothing.
    .send([signal(17, "a"), signal(17, "again")])
    .expect([""; 0])
    .send([signal(18, "b")])
    .expect(["Output ab", "End"])
    .run();
}

#[test]
fn an_awakeable_may_be_rejected_or_completed_with_nothing() {
    let failure = |id| Msg {
        payload: {
            // A signal with a failure: the completion's message, but for the id's field.
            let mut bytes = failed(id, 403, "refused").payload.to_vec();
            bytes[0] = 0x10;
            bytes.into()
        },
        ty: MessageType::SIGNAL,
    };
    scenario(|ctx, _| {
        async move {
            let error = ctx.awakeable::<String>().await.unwrap_err();
            ctx.awakeable::<()>().await?;
            Ok(format!("{} {error}", error.code()))
        }
        .boxed()
    })
    .replay([
        failure(17),
        Msg {
            payload: {
                let mut bytes = void(18).payload.to_vec();
                bytes[0] = 0x10;
                bytes.into()
            },
            ty: MessageType::SIGNAL,
        },
    ])
    .expect(["Output 403 refused", "End"])
    .run();
}

#[test]
fn reserved_and_unknown_signals_are_kept_out_of_the_way() {
    scenario(|ctx, _| async move { Ok(ctx.awakeable::<String>().await?) }.boxed())
        .replay([
            signal(2, "x"),
            signal(16, "x"),
            signal(99, "x"),
            named("go", "x"),
        ])
        .expect(["Suspension s17"])
        .run();
}

#[test]
fn named_signals_queue_up_whenever_they_come() {
    let of = || {
        scenario(|ctx, _| {
            async move {
                ctx.sleep(SECOND).await?;
                let (one, two) = (ctx.signal::<String>("go"), ctx.signal::<String>("go"));
                let both = crate::join!(one, two);
                let three = ctx.signal::<String>("go").await?;
                Ok(format!("{} {} {three}", both.0?, both.1?))
            }
            .boxed()
        })
    };
    let end = ["Output 1 2 3", "End"];
    let all = || [named("go", "1"), named("go", "2"), named("go", "3")];
    of().replay([sleep(1), void(1)])
        .replay(all())
        .expect(end)
        .run();
    of().replay(all())
        .replay([void(1), sleep(1)])
        .expect(end)
        .run();
    of().expect(["Sleep #1"])
        .send(all())
        .send([void(1)])
        .expect(end)
        .run();
    of().expect(["Sleep #1"])
        .send([named("go", "1"), named("other", "x"), void(1)])
        .send([named("go", "2")])
        .send([named("go", "3")])
        .expect(end)
        .run();
}

/// A wait that was dropped takes nothing: the next one does.
#[test]
fn a_dropped_wait_leaves_its_signal_to_the_next() {
    scenario(|ctx, _| {
        async move {
            let lost = ctx.signal::<String>("go");
            crate::select! { _ = ctx.sleep(SECOND) => {}, _ = lost => {} }
            Ok(ctx.signal::<String>("go").await?)
        }
        .boxed()
    })
    .replay([sleep(1), void(1), named("go", "1")])
    .expect(["Output 1", "End"])
    .run();
}

#[test]
fn many_waits_of_one_name_are_served_in_the_order_of_their_making() {
    scenario(|ctx, _| {
        async move {
            let waits: Vec<_> = (0..5).map(|_| ctx.signal::<String>("go")).collect();
            let all = join_all(waits.into_iter().rev()).await;
            Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?.join(""))
        }
        .boxed()
    })
    .send((1..=5).map(|n| named("go", &n.to_string())))
    .expect(["Output 54321", "End"])
    .run();
}

// ---- promises --------------------------------------------------------------------------------------

#[test]
fn promises_are_read_peeked_and_completed() {
    scenario(|ctx, _| {
        async move {
            let promise = ctx.promise::<String>("p");
            let peeked = promise.peek().await?;
            promise.resolve(&"v".to_owned()).await?;
            let second = promise
                .reject(TerminalError::new("late"))
                .await
                .unwrap_err();
            let got = ctx.promise::<String>("p").await?;
            Ok(format!("{peeked:?} {second} {got}"))
        }
        .boxed()
    })
    .expect(["PeekPromise p #1"])
    .send([void(1)])
    .expect(["CompletePromise p=\"v\" #2"])
    .send([void(2)])
    .expect(["CompletePromise p=!500 late #3"])
    .send([failed(3, 409, "already completed")])
    .expect(["GetPromise p #4"])
    .send([value(4, "v")])
    .expect(["Output None already completed v", "End"])
    .run();
}

#[test]
fn a_rejected_promise_fails_its_readers() {
    fn handler(ctx: &WorkflowContext, _: std::sync::Arc<super::driver::Outside>) -> Outcome<'_> {
        async move {
            let promise = ctx.promise::<u64>("p");
            let got = promise.get().await.map_err(|error| error.code());
            let peeked = promise.peek().await.map_err(|error| error.code());
            Ok(format!("{got:?} {peeked:?}"))
        }
        .boxed()
    }
    scenario(handler)
        .expect(["GetPromise p #1"])
        .send([failed(1, 403, "no")])
        .expect(["PeekPromise p #2"])
        .send([bytes(2, "7")])
        .expect(["Output Err(403) Ok(Some(7))", "End"])
        .run();
}

/// Also where both have ended when they are awaited.
#[test]
fn of_a_result_and_its_time_limit_the_first_in_the_journal_counts() {
    let of = || {
        scenario(|ctx, _| {
            async move {
                let limited = ctx.awakeable::<String>().or_timeout(SECOND);
                let ended = limited.await.map_err(|error| error.code());
                Ok(format!("{ended:?}"))
            }
            .boxed()
        })
    };
    of().replay([sleep(1), void(1), signal(17, "late")])
        .expect(["Output Err(408)", "End"])
        .run();
    of().replay([sleep(1), signal(17, "in time"), void(1)])
        .expect(["Output Ok(\"in time\")", "End"])
        .run();
}

/// The answers that an attach, an output and a call can have.
#[test]
fn other_invocations_answer() {
    const ID: &str = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
    scenario(|ctx, _| {
        async move {
            let handle = ctx.invocation(ID)?;
            let attached = handle.attach::<u64>().await.map_err(|error| error.code());
            let outputs = [handle.output::<u64>().await?, handle.output::<u64>().await?];
            let sent = ctx
                .request::<_, ()>(crate::Target::service("S", "h"), ())
                .send()
                .await?;
            sent.cancel();
            Ok(format!("{attached:?} {outputs:?} {}", sent.id()))
        }
        .boxed()
    })
    .expect(["AttachInvocation #1"])
    .send([failed(1, 404, "gone")])
    .expect(["GetInvocationOutput #2"])
    .send([void(2)])
    .expect(["GetInvocationOutput #3"])
    .send([bytes(3, "7")])
    .expect(["OneWayCall S/h #4"])
    .send([wire::invoked(4, ID)])
    .expect([
        format!("SendSignal {ID} 1=void"),
        format!("Output Err(404) [None, Some(7)] {ID}"),
        "End".into(),
    ])
    .run();
}
