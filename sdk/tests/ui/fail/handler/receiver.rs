//! A handler takes `&self`.

use durably::prelude::*;
use std::sync::Arc;

#[derive(Clone)]
struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn missing(_ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn nothing() -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn by_value(self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn exclusive(&mut self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn counted(self: Arc<Self>, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
