//! More attempts than can be counted.

use durably::prelude::*;

struct Greeter;

#[durably::service(retry(max_attempts = 4294967296))]
impl Greeter {
    #[handler(retry(max_attempts = 4_294_967_295))]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
