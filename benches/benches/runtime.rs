//! How long the test kit's runtime takes for many short invocations: 10,000 of them, each a journal of
//! its own, through the endpoint and the real frames.
//!
//! `cargo bench -p durably-benches --bench runtime`. `cargo test` runs each once.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(
    missing_docs,
    reason = "criterion's macros make an undocumented function"
)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use durably::{
    prelude::*,
    testing::{InvocationStatus, TestRuntime, object},
};

const INVOCATIONS: u64 = 10_000;

struct Counter;

#[durably::object]
impl Counter {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
        ctx.set("sum", &sum);
        Ok(sum)
    }

    #[handler]
    async fn later(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        ctx.sleep(Duration::from_secs(n)).await?;
        Ok(ctx
            .run("add", async || Ok::<_, std::io::Error>(n + 1))
            .await?)
    }
}

fn runtime() -> TestRuntime {
    TestRuntime::new(Endpoint::builder().bind(Counter).build().unwrap())
}

fn short_invocations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("runtime");
    group.sample_size(10);
    group.throughput(Throughput::Elements(INVOCATIONS));
    group.bench_function("calls, one after the other", |bencher| {
        bencher.iter_batched_ref(
            runtime,
            |runtime| {
                for n in 0..INVOCATIONS {
                    let key = (n % 100).to_string();
                    runtime.call(object::<CounterClient>(key).add(1)).unwrap();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("sends, all at once", |bencher| {
        bencher.iter_batched_ref(
            runtime,
            |runtime| {
                for n in 0..INVOCATIONS {
                    let key = n.to_string();
                    let request = object::<CounterClient>(key).later(n % 50);
                    runtime.send(request).unwrap();
                }
                runtime.run_until_idle();
                let all = runtime.invocations();
                let ended = |one: &durably::testing::InvocationSummary| {
                    one.status == InvocationStatus::Succeeded
                };
                assert!(all.iter().all(ended));
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, short_invocations);
criterion_main!(benches);
