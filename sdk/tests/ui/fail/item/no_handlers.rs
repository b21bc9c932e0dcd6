//! A service has at least one handler.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct Empty;

#[durably::workflow]
impl Empty {}

fn main() {}
