//! `MockContext`: what a test can say, what it can look at afterwards, and how it fails.

#![allow(clippy::unwrap_used, reason = "a test")]

mod failures;
mod looking;
mod script;
mod steps;

use durably::{prelude::*, testing::MockFailure};

/// What the handlers under test call. Its own handlers are never run.
#[allow(dead_code, reason = "only its client is used")]
struct Inventory;

#[allow(dead_code, reason = "only its client is used")]
#[durably::object]
impl Inventory {
    #[handler]
    async fn reserve(&self, _ctx: &ObjectContext, quantity: u32) -> HandlerResult<bool> {
        Ok(quantity > 0)
    }

    #[handler]
    async fn left(&self, _ctx: &SharedObjectContext) -> HandlerResult<u32> {
        Ok(0)
    }
}

#[allow(dead_code, reason = "only its client is used")]
struct Audit;

#[allow(dead_code, reason = "only its client is used")]
#[durably::service]
impl Audit {
    #[handler]
    async fn record(&self, _ctx: &Context, line: String) -> HandlerResult<()> {
        drop(line);
        Ok(())
    }
}

/// The text of a failure, without the paths.
fn text(failure: &MockFailure) -> String {
    failure.to_string()
}
