//! A durable future cannot outlive the handler.

use durably::{DurableFuture, prelude::*};

struct Worker;

#[durably::service]
impl Worker {
    #[handler]
    async fn work(&self, ctx: &Context) -> HandlerResult<()> {
        let _kept: DurableFuture<'static, ()> = ctx.sleep(Duration::from_secs(1));
        Ok(())
    }
}

fn main() {}
