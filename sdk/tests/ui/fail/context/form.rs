//! The context is a shared reference to a context type without parameters.

use durably::prelude::*;

struct Greeter;

#[durably::object]
impl Greeter {
    #[handler]
    async fn missing(&self) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn input_only(&self, name: String) -> HandlerResult<String> {
        Ok(name)
    }

    #[handler]
    async fn by_value(&self, _ctx: ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn exclusive(&self, _ctx: &mut ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

struct Old;

#[durably::service]
impl Old {
    #[handler]
    async fn with_lifetime(&self, _ctx: Context<'_>) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
