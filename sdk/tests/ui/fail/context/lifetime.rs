//! Contexts have no lifetime parameter.

use durably::prelude::*;

struct Old;

#[durably::service]
impl Old {
    #[handler]
    async fn with_lifetime(&self, _ctx: &Context<'_>) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
