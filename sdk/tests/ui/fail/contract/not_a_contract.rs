//! Other traits are no contracts.

use durably::prelude::*;

trait Greet {
    fn greet(&self, ctx: &Context, name: String) -> impl Future<Output = HandlerResult<String>>;
}

struct Greeter;

#[durably::service]
impl Greet for Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(name)
    }
}

fn main() {}
