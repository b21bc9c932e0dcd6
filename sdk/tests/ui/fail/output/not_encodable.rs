//! A value that cannot be encoded.

use durably::prelude::*;

struct Receipt;

struct Orders;

#[durably::service]
impl Orders {
    #[handler]
    async fn place(&self, _ctx: &Context) -> HandlerResult<Receipt> {
        Ok(Receipt)
    }
}

fn main() {}
