//! Names of handlers.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn __hidden(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn grüße(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(name = "say-hello")]
    async fn hello(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(name = "")]
    async fn empty(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
