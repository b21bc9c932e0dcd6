//! The benchmark's services with `restate-sdk`, written as its documentation says; otherwise the same
//! program as `bench-endpoint`: serves on `127.0.0.1:PORT` with `THREADS` threads.

#![forbid(unsafe_code)]

use std::{env, error::Error, net::Ipv4Addr, str::FromStr};

use bytes::Bytes;
use restate_sdk::{
    context::{CallFuture, DurableFuturesUnordered, RequestTarget, RunFuture},
    prelude::*,
};
use tokio::runtime;

struct Bench;

#[restate_sdk::service]
impl Bench {
    #[handler]
    async fn hello(&self, _ctx: Context<'_>, name: String) -> HandlerResult<String> {
        Ok(name)
    }

    #[handler]
    async fn runs(&self, ctx: Context<'_>, k: u32) -> HandlerResult<u64> {
        let mut sum = 0;
        for i in 0..k {
            sum += ctx
                .run(|| async move { Ok(u64::from(i)) })
                .name("step")
                .await?;
        }
        Ok(sum)
    }

    #[handler(name = "callsUnordered")]
    async fn calls_unordered(&self, ctx: Context<'_>, k: u32) -> HandlerResult<u64> {
        let mut calls: DurableFuturesUnordered<_> = (0..k).map(|i| work(&ctx, i)).collect();
        let mut sum = 0;
        while let Some((_, result)) = calls.next().await? {
            sum += result?;
        }
        Ok(sum)
    }

    #[handler(name = "callsSequential")]
    async fn calls_sequential(&self, ctx: Context<'_>, k: u32) -> HandlerResult<u64> {
        let calls: Vec<_> = (0..k).map(|i| work(&ctx, i)).collect();
        let mut sum = 0;
        for call in calls {
            sum += call.await?;
        }
        Ok(sum)
    }

    #[handler(name = "callOne")]
    async fn call_one(&self, ctx: Context<'_>, i: u32) -> HandlerResult<u64> {
        Ok(work(&ctx, i).await?)
    }

    #[handler]
    async fn bytes(&self, _ctx: Context<'_>, input: Bytes) -> HandlerResult<Bytes> {
        Ok(input)
    }

    #[handler]
    async fn awakeable(&self, ctx: Context<'_>) -> HandlerResult<String> {
        let (_id, resolved) = ctx.awakeable::<String>();
        Ok(resolved.await?)
    }
}

struct BenchObject;

#[restate_sdk::object]
impl BenchObject {
    #[handler]
    async fn state(&self, ctx: ObjectContext<'_>, n: u32) -> HandlerResult<u64> {
        let mut total = 0;
        for i in 0..n {
            let key = format!("k{i}");
            let value = ctx.get::<String>(&key).await?.unwrap_or_default();
            total += value.len() as u64;
            ctx.set(&key, value);
        }
        Ok(total)
    }
}

fn work<'a>(ctx: &'a Context<'_>, i: u32) -> impl CallFuture<Response = u64> + 'a {
    ctx.request(RequestTarget::service("Target", "work"), i)
        .call()
}

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = number("PORT", 9080)?;
    let mut runtime = match number("THREADS", 1)? {
        1 => runtime::Builder::new_current_thread(),
        threads => {
            let mut runtime = runtime::Builder::new_multi_thread();
            runtime.worker_threads(threads);
            runtime
        }
    };
    let endpoint = Endpoint::builder().bind(Bench).bind(BenchObject).build();
    let serving = HttpServer::new(endpoint).listen_and_serve((Ipv4Addr::LOCALHOST, port).into());
    runtime.enable_all().build()?.block_on(serving);
    Ok(())
}

fn number<T: FromStr>(variable: &str, default: T) -> Result<T, T::Err> {
    env::var(variable).map_or(Ok(default), |value| value.parse())
}
