//! Random mixtures of requests keep the guarantees.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use durably::{
    prelude::*,
    testing::{InvocationStatus, TestRuntime, object},
};
use proptest::prelude::*;

use crate::endpoint;

/// Notes what happens, by object key.
#[derive(Default)]
struct Ledger {
    /// (key, number) of every begun piece of work.
    begun: Mutex<Vec<(String, u32)>>,
    overlapped: AtomicBool,
}

struct Worker {
    ledger: Arc<Ledger>,
}

#[durably::object]
impl Worker {
    #[handler]
    async fn work(&self, ctx: &ObjectContext, input: (u32, u8)) -> HandlerResult<u32> {
        let (number, how) = input;
        if ctx.get::<u32>("busy").await?.is_some() {
            self.ledger.overlapped.store(true, Ordering::SeqCst);
        }
        ctx.set("busy", &number);
        let result = self.do_it(ctx, number, how).await;
        ctx.clear("busy");
        result
    }

    #[handler]
    async fn look(&self, ctx: &SharedObjectContext) -> HandlerResult<Option<u32>> {
        Ok(ctx.get("busy").await?)
    }
}

impl Worker {
    async fn do_it(&self, ctx: &ObjectContext, number: u32, how: u8) -> HandlerResult<u32> {
        let key = ctx.key().to_owned();
        ctx.run("begin", async || {
            self.ledger.begun.lock().unwrap().push((key, number));
            Ok::<_, std::io::Error>(())
        })
        .await?;
        match how % 4 {
            0 => ctx.sleep(Duration::from_millis(u64::from(how))).await?,
            1 => {
                let next = ctx.object_client::<WorkerClient>(format!("{}+", ctx.key()));
                next.work((number + 1000, 0)).await?;
            }
            2 => {
                ctx.object_client::<WorkerClient>(ctx.key()).look().await?;
            }
            _ => return Err(TerminalError::new("no").with_code(418).into()),
        }
        Ok(number)
    }
}

#[derive(Clone, Debug)]
struct Act {
    key: u8,
    how: u8,
    idempotent: Option<u8>,
    cancel: bool,
    wait: u8,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (
        0..3u8,
        any::<u8>(),
        prop::option::of(0..4u8),
        prop::bool::weighted(0.15),
        0..4u8,
    );
    let act = act.prop_map(|(key, how, idempotent, cancel, wait)| Act {
        key,
        how,
        idempotent,
        cancel,
        wait,
    });
    prop::collection::vec(act, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn guarantees_hold(acts in acts(), seed in any::<u64>(), version in 5..=7u32, always in any::<bool>()) {
        let ledger = Arc::new(Ledger::default());
        let worker = Worker { ledger: Arc::clone(&ledger) };
        let mut builder = TestRuntime::builder(endpoint(worker)).seed(seed).protocol(version);
        if always {
            builder = builder.always_suspend();
        }
        let mut runtime = builder.build();
        let mut sent = Vec::new();
        for (number, act) in acts.iter().enumerate() {
            let key = act.key.to_string();
            let mut request = object::<WorkerClient>(key.as_str()).work((number as u32, act.how));
            if let Some(once) = act.idempotent {
                request = request.idempotency_key(once.to_string());
            }
            let id = runtime.send(request).unwrap();
            if act.wait == 0 {
                runtime.advance(Duration::from_millis(20));
            } else if act.wait == 1 {
                runtime.settle();
            }
            if act.cancel {
                // It may be over, or may never have begun.
                let _ = runtime.cancel(&id);
            }
            sent.push((key, act.idempotent, number as u32, id));
        }
        runtime.run_until_idle();

        prop_assert!(!ledger.overlapped.load(Ordering::SeqCst), "two writers at one key");
        for one in runtime.invocations() {
            let ended = matches!(one.status, InvocationStatus::Succeeded | InvocationStatus::Failed);
            prop_assert!(ended, "{}", runtime.journal(&one.id));
        }
        let begun = ledger.begun.lock().unwrap();
        let mut numbers: Vec<_> = begun.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), begun.len(), "a run executed twice");
        for key in ["0", "1", "2"] {
            // In the order in which they were sent.
            let order: Vec<_> = begun.iter().filter(|(of, _)| of == key).map(|(_, n)| *n).collect();
            prop_assert!(order.is_sorted(), "{key}: {order:?}");
        }
        for (at, (key, once, number, id)) in sent.iter().enumerate() {
            let first = sent.iter().take(at).rev().find(|(other, same, _, _)| {
                once.is_some() && other == key && same == once
            });
            // It is the same one, unless that was forgotten before it began.
            if let Some((_, _, first, same)) = first {
                prop_assert_eq!(id, same);
                prop_assert!(!(numbers.contains(number) && numbers.contains(first)));
            }
        }
    }
}
