//! The self type is a struct or an enum that owns what it needs.

use durably::prelude::*;

struct Borrowing<'a>(&'a str);

#[durably::service]
impl<'a> Borrowing<'a> {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct Elided<'a>(&'a str);

#[durably::service]
impl Elided<'_> {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

trait Object {}

#[durably::service]
impl dyn Object {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
