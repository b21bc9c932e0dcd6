//! Durations are checked while the service compiles.

use durably::prelude::*;

struct Greeter;

#[durably::service(
    inactivity_timeout = "30",
    abort_timeout = 30,
    journal_retention = "3 weeks"
)]
impl Greeter {
    #[handler(
        inactivity_timeout = "1.5h",
        abort_timeout = "",
        journal_retention = "1m 1h",
        idempotency_retention("1s")
    )]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(inactivity_timeout, abort_timeout = "999999999999d")]
    async fn hello(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
