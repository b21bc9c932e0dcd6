//! Names stand in the contract, and only there.

use durably::prelude::*;

#[durably::service]
trait Greeter {
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String>;
}

struct MyGreeter;

#[durably::service(name = "OtherGreeter", journal_retention = "1d")]
impl Greeter for MyGreeter {
    #[handler(name = "hello", journal_retention = "1d")]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(name)
    }
}

fn use_it(ctx: &Context) {
    let _ = Endpoint::builder().bind(MyGreeter);
    let _ = ctx.service_client::<GreeterClient>().greet(String::new());
}

fn main() {}
