//! Options that do not exist, exist elsewhere, or are there already.

use durably::prelude::*;

struct Greeter;

#[durably::service(nam = "x", lazy_state, lazy_state = false, Retry(max_attempts = 1))]
impl Greeter {
    #[handler(timeout = "1s", crate = "durably", name = "a", name = "b")]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(retry(attempts = 3, factor = 2, factor = 3))]
    async fn hello(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn use_it(ctx: &Context) {
    let _ = durably::Service::definition(Greeter);
    let _ = ctx.service_client::<GreeterClient>().greet().send();
}

fn main() {}
