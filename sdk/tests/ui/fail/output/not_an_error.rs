//! An error type that is no error.

use durably::prelude::*;

struct Sold;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> Result<(), Sold> {
        Ok(())
    }
}

fn main() {}
