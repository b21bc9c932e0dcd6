//! `#[handler]` marks a method, once.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    const NAME: &'static str = "x";

    #[handler]
    #[handler(name = "hello")]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler = "hello"]
    async fn hello(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
