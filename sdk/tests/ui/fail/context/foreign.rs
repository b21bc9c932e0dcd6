//! A type that is only named like a context.

struct Context;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context) -> durably::HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
