//! Values of the wrong form.

use durably::prelude::*;

const NAME: &str = "Greeter";

struct Greeter;

#[durably::service(
    name = NAME,
    lazy_state = "true",
    ingress_private(true),
    metadata = "team",
    retry = 5,
    crate = durably,
)]
impl Greeter {
    #[handler(
        metadata("a" = "b", "a" = "c"),
        retry(factor = 0.0, max_attempts = 0, on_max_attempts = "stop"),
    )]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(
        metadata(team = "b"),
        retry(initial_interval = "10s", max_interval = "1s", max_attempts = -1, factor = "2"),
    )]
    async fn hello(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(retry, metadata)]
    async fn bare(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

#[durably::service(crate = "not a path")]
impl String2 {
    #[handler]
    async fn bare(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct String2;

fn main() {}
