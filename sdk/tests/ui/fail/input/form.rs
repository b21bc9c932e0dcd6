//! At most one input, owned and concrete.

use durably::prelude::*;
use std::borrow::Cow;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn two(&self, _ctx: &Context, _first: u8, _second: u8) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn text(&self, _ctx: &Context, _name: &str) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn slice(&self, _ctx: &Context, _bytes: &[u8]) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn reference(&self, _ctx: &Context, _name: &'static String) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn inner(&self, _ctx: &Context, _names: Vec<&str>) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn lifetime(&self, _ctx: &Context, _name: Cow<'_, str>) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn conditional(&self, _ctx: &Context, #[cfg(all())] _name: u8) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
