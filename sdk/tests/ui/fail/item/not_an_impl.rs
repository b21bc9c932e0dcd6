//! The attributes go on inherent impl blocks.

use durably::prelude::*;

#[durably::service]
struct Greeter;

#[durably::object]
trait Counter {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, by: u64) -> HandlerResult<u64>;
}

#[durably::workflow]
fn checkout() {}

fn main() {}
