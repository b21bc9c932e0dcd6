//! A handler may move to another thread at each await, and its contract says so.

use std::rc::Rc;

use durably::prelude::*;

#[durably::service]
trait Greeter {
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String>;
}

struct MyGreeter;

#[durably::service]
impl Greeter for MyGreeter {
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String> {
        let name = Rc::new(name);
        ctx.sleep(Duration::from_secs(1)).await?;
        Ok(name.to_string())
    }
}

fn main() {}
