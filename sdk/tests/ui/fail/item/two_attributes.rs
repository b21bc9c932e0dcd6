//! One impl block is one service.

use durably::prelude::*;

struct Greeter;

#[durably::service]
#[durably::object]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
