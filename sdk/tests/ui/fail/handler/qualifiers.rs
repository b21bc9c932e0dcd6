//! A handler is a plain `async fn`.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    fn not_async(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    fn returns_future(&self, _ctx: &Context) -> impl Future<Output = HandlerResult<()>> {
        async { Ok(()) }
    }

    #[handler]
    async unsafe fn not_safe(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async extern "C" fn foreign(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
