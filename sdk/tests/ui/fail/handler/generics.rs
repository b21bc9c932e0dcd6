//! A handler has no parameters of its own.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn of_type<T: serde::de::DeserializeOwned + Send>(
        &self,
        _ctx: &Context,
        _input: T,
    ) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn of_const<const N: usize>(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn of_lifetime<'a>(&'a self, _ctx: &'a Context, _name: &'a str) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn bounded(&self, _ctx: &Context) -> HandlerResult<()>
    where
        Self: Sized,
    {
        Ok(())
    }

    #[handler]
    async fn anonymous(&self, _ctx: &Context, _name: impl Into<String>) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
