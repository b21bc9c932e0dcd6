//! The impl of a trait is no service; using the struct as one adds no second error.

use durably::prelude::*;

trait Greet {
    fn greet(&self, ctx: &Context, name: String) -> impl Future<Output = HandlerResult<String>>;
}

struct Greeter;

#[durably::service]
impl Greet for Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(name)
    }
}

fn use_it(ctx: &Context, service: impl Fn(&dyn Fn(Greeter))) {
    let _ = durably::Service::definition(Greeter);
    let _ = ctx.service_client::<GreeterClient>().greet(String::new());
    drop(service);
}

fn main() {}
