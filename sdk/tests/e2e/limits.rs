//! Much of everything: large values, wide fan-outs, large state. (See `large` for what is slow.)

use bytes::Bytes;
use durably::{Raw, prelude::*};
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::calls::CalleeClient;
use crate::harness::ms;
use crate::suite::{ALL, Suite};

pub(crate) struct Large;

#[durably::object]
impl Large {
    /// Fills the state with values of a mebibyte.
    #[handler]
    async fn fill(&self, ctx: &ObjectContext, values: u8) -> HandlerResult<()> {
        for n in 0..values {
            ctx.set(format!("value {n}"), &"x".repeat(1 << 20));
        }
        Ok(())
    }

    /// Reads all of it in two parts, with a sleep between.
    #[handler]
    async fn measure(&self, ctx: &ObjectContext) -> HandlerResult<(usize, usize)> {
        let keys = ctx.get_keys().await?;
        let mut sum = 0;
        for (n, key) in keys.iter().enumerate() {
            sum += ctx.get::<String>(key).await?.unwrap_or_default().len();
            if n == 2 {
                ctx.sleep(ms(5)).await?;
                ctx.set("one more", "");
                ctx.clear(&keys[0]);
            }
        }
        Ok((sum, ctx.get_keys().await?.len()))
    }

    /// Passes a large value through a call, a run and the state.
    #[handler]
    async fn pass(&self, ctx: &ObjectContext, body: Raw) -> HandlerResult<Raw> {
        let client = ctx.object_client::<LargeClient>(format!("{} again", ctx.key()));
        let body = client.echo(body).await?;
        let body = ctx
            .run("pass", async || {
                Ok::<_, std::io::Error>(Raw(body.0.clone()))
            })
            .await?;
        ctx.set("body", &body);
        ctx.sleep(ms(5)).await?;
        Ok(ctx.get::<Raw>("body").await?.unwrap_or(Raw(Bytes::new())))
    }

    #[handler]
    async fn echo(&self, _ctx: &ObjectContext, body: Raw) -> HandlerResult<Raw> {
        Ok(body)
    }
}

pub(crate) struct Wide;

#[durably::service]
impl Wide {
    /// Awaits many calls, runs and sleeps at once, in whatever order they end.
    #[handler]
    async fn fan_out(&self, ctx: &Context, width: u64) -> HandlerResult<u64> {
        let callee = ctx.service_client::<CalleeClient>();
        let mut calls: FuturesUnordered<_> = (0..width).map(|n| callee.double(n).call()).collect();
        let runs: Vec<_> = (0..width)
            .map(|n| ctx.run("run", async move || Ok::<_, std::io::Error>(n)))
            .collect();
        let sleeps: Vec<_> = (0..width).map(|n| ctx.sleep(ms(n % 20))).collect();
        let mut sum = 0;
        while let Some(doubled) = calls.next().await {
            sum += doubled?;
        }
        sum += futures::future::try_join_all(runs)
            .await?
            .into_iter()
            .sum::<u64>();
        futures::future::try_join_all(sleeps).await?;
        Ok(sum)
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("large_values_pass", ALL, async |env| {
        let body = Bytes::from((0..5_000_000_u32).map(|n| n as u8).collect::<Vec<_>>());
        let request = env.ingress().object("Large", "pass", "pass");
        let request = request.raw("application/octet-stream", body.clone());
        assert!(request.call_raw().await?.body == body);
        Ok(())
    });

    suite.case("large_state_is_read_at_once", ALL, async |env| {
        env.ingress()
            .call_object::<()>("Large", "state", "fill", &8)
            .await?;
        let seen: (usize, usize) = env
            .ingress()
            .call_object("Large", "state", "measure", &())
            .await?;
        assert_eq!(seen, (8 << 20, 8));
        Ok(())
    });

    suite.case("wide_fan_outs_come_back", ALL, async |env| {
        const WIDTH: u64 = 200;
        let sum: u64 = env.ingress().call("Wide", "fan_out", &WIDTH).await?;
        assert_eq!(sum, 3 * (0..WIDTH).sum::<u64>());
        Ok(())
    });
}
