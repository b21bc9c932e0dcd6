//! A handler returns an owned, concrete `Result`.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn nothing(&self, _ctx: &Context) {}

    #[handler]
    async fn borrowed(&self, _ctx: &Context) -> HandlerResult<&str> {
        Ok("")
    }

    #[handler]
    async fn opaque(&self, _ctx: &Context) -> HandlerResult<impl serde::Serialize> {
        Ok(1)
    }
}

fn main() {}
