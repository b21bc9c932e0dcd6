//! Runs whose closures borrow from the handler, however they are awaited.

use durably::prelude::*;

struct Shop {
    name: String,
}

impl Shop {
    async fn charge(&self, order: &str) -> Result<usize, std::io::Error> {
        Ok(self.name.len() + order.len())
    }
}

async fn label(order: &str) -> Result<String, std::io::Error> {
    Ok(order.to_uppercase())
}

#[durably::service]
impl Shop {
    #[handler]
    async fn sequence(&self, ctx: &Context, order: String) -> HandlerResult<usize> {
        let charged = ctx.run("charge", || self.charge(&order)).await?;
        let run = ctx.run("charge", async || self.charge(&order).await);
        Ok(charged + run.retry(RetryPolicy::fixed(Duration::from_secs(1))).await?)
    }

    #[handler]
    async fn joined(&self, ctx: &Context, order: String) -> HandlerResult<usize> {
        let (charged, label, block, slept) = durably::try_join!(
            ctx.run("charge", || self.charge(&order)),
            ctx.run("label", async || label(&order).await),
            ctx.run("block", || async { label(&order).await }),
            ctx.sleep(Duration::from_secs(1)),
        )?;
        let () = slept;
        Ok(charged + label.len() + block.len())
    }

    #[handler]
    async fn selected(&self, ctx: &Context, order: String) -> HandlerResult<usize> {
        Ok(durably::select! {
            charged = ctx.run("charge", || self.charge(&order)) => charged?,
            charged = ctx.run("charge", async || self.charge(&order).await)
                .or_timeout(Duration::from_secs(1)) => charged?,
        })
    }

    #[handler]
    async fn many(&self, ctx: &Context, orders: Vec<String>) -> HandlerResult<usize> {
        let runs: Vec<_> = orders
            .iter()
            .map(|order| ctx.run("charge", || self.charge(order)))
            .collect();
        let mut sum = 0;
        for run in runs {
            sum += run.await?;
        }
        Ok(sum)
    }
}

fn main() {}
