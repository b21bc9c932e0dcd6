//! A return type that is no `Result`.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> String {
        name
    }
}

fn main() {}
