//! Nothing that borrows the context can be spawned.

use durably::prelude::*;

struct Worker;

#[durably::service]
impl Worker {
    #[handler]
    async fn work(&self, ctx: &Context) -> HandlerResult<()> {
        tokio::spawn(ctx.sleep(Duration::from_secs(1)));
        Ok(())
    }
}

fn main() {}
