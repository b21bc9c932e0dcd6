//! Arguments that are no options at all.

use durably::prelude::*;

struct Positional;

#[durably::service("Positional")]
impl Positional {
    #[handler(name = "a" lazy_state)]
    async fn comma(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(name =)]
    async fn value(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(metadata("key"), name = ,)]
    async fn pair(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(metadata("key" =))]
    async fn pair_value(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(some::path = 1)]
    async fn path(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
