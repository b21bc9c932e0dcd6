//! A contract is implemented as what it is, with the attribute that it has.

use durably::prelude::*;

#[durably::service]
trait Greeter {
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String>;
}

#[durably::object]
trait Counter {
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64>;
}

#[durably::workflow]
trait Signup {
    async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<()>;
}

struct AnObject;

#[durably::object]
impl Greeter for AnObject {
    async fn greet(&self, _ctx: &ObjectContext, name: String) -> HandlerResult<String> {
        Ok(name)
    }
}

struct AService;

#[durably::service]
impl Counter for AService {
    async fn add(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }
}

struct NoWorkflow;

#[durably::service]
impl Signup for NoWorkflow {
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct Unmarked;

impl Greeter for Unmarked {
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(name)
    }
}

fn main() {}
