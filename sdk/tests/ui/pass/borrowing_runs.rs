//! Runs that borrow from the handler and from its context, in every combinator.

use durably::prelude::*;
use futures::StreamExt as _;
use futures::future::{join_all, try_join_all};
use futures::stream::FuturesUnordered;

struct Borrower {
    prefix: String,
}

type Outcome = Result<usize, std::io::Error>;

async fn measure(text: &str) -> Outcome {
    Ok(text.len())
}

#[durably::service]
impl Borrower {
    #[handler]
    async fn pairs(&self, ctx: &Context, text: String) -> HandlerResult<usize> {
        let id = ctx.invocation_id();
        let (a, b) = durably::try_join!(
            ctx.run("a", || measure(&text)),
            ctx.run("b", async || measure(id).await),
        )?;
        let (c, d) = tokio::join!(
            ctx.run("c", || measure(&self.prefix)),
            ctx.run("d", async || measure(&text).await).retry(RetryPolicy::fixed(Duration::ZERO)),
        );
        let e = durably::select! {
            e = ctx.run("e", || measure(&text)) => e?,
            e = ctx.run("f", async || measure(id).await).or_timeout(Duration::ZERO) => e?,
        };
        let f = futures::future::try_join(
            ctx.run("g", || measure(&text)),
            ctx.run("h", || measure(id)),
        );
        let (f, g) = f.await?;
        Ok(a + b + c? + d? + e + f + g)
    }

    #[handler]
    async fn collections(&self, ctx: &Context, texts: Vec<String>) -> HandlerResult<usize> {
        let id = ctx.invocation_id();
        let all = join_all(texts.iter().map(|text| {
            ctx.run("each", async move || measure(&format!("{id} {text}")).await)
        }));
        let mut sum = all.await.into_iter().sum::<Result<usize, _>>()?;
        let runs: Vec<_> = texts.iter().map(|text| ctx.run("each", || measure(text))).collect();
        sum += try_join_all(runs).await?.into_iter().sum::<usize>();
        let mut runs: FuturesUnordered<_> =
            texts.iter().map(|text| ctx.run("each", || measure(text))).collect();
        while let Some(length) = runs.next().await {
            sum += length?;
            ctx.sleep(Duration::ZERO).await?;
        }
        Ok(sum)
    }
}

fn main() {}
