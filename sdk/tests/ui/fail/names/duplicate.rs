//! Two handlers of one name, by option or by method.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(name = "greet")]
    async fn hello(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[cfg(all())]
    #[handler(name = "greet")]
    async fn conditional(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct Twice;

#[durably::service]
impl Twice {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn greet(&self, _ctx: &Context, _name: String) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
