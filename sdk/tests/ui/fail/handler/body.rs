//! A handler has a body, unless it is a contract's.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()>;

    #[handler]
    async fn leave(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn use_it(ctx: &Context) {
    drop(ctx.service_client::<GreeterClient>().greet());
}

fn main() {}
