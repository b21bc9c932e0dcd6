//! An implementation keeps its contract: the compiler says where it does not.

use durably::prelude::*;

#[durably::object]
trait Counter {
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64>;
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<u64>;
}

struct Missing;

#[durably::object]
impl Counter for Missing {
    async fn add(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }
}

struct Surplus;

#[durably::object]
impl Counter for Surplus {
    async fn add(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }

    async fn get(&self, _ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(0)
    }

    async fn reset(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

struct OtherInput;

#[durably::object]
impl Counter for OtherInput {
    async fn add(&self, _ctx: &ObjectContext, n: u32) -> HandlerResult<u64> {
        Ok(n.into())
    }

    async fn get(&self, _ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(0)
    }
}

struct OtherOutput;

#[durably::object]
impl Counter for OtherOutput {
    async fn add(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<String> {
        Ok(n.to_string())
    }

    async fn get(&self, _ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(0)
    }
}

struct OtherContext;

#[durably::object]
impl Counter for OtherContext {
    async fn add(&self, _ctx: &SharedObjectContext, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }

    async fn get(&self, _ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(0)
    }
}

struct NoInput;

#[durably::object]
impl Counter for NoInput {
    async fn add(&self, _ctx: &ObjectContext) -> HandlerResult<u64> {
        Ok(0)
    }

    async fn get(&self, _ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(0)
    }
}

fn main() {}
