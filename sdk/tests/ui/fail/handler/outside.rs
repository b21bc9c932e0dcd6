//! `#[handler]` without a service around it.

use durably::prelude::*;

struct Greeter;

impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

#[handler(name = "alone")]
async fn alone() {}

fn main() {}
