//! A private service has no public handlers.

use durably::prelude::*;

struct Greeter;

#[durably::service(ingress_private)]
impl Greeter {
    #[handler(ingress_private)]
    async fn redundant(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(ingress_private = false)]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
