//! An input that cannot be decoded.

use durably::prelude::*;

struct Order;

struct Orders;

#[durably::object]
impl Orders {
    #[handler]
    async fn place(&self, _ctx: &ObjectContext, _order: Order) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
