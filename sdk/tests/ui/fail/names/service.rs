//! Names of services.

use durably::prelude::*;

struct Größe;

#[durably::service]
impl Größe {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct RestateGreeter;

#[durably::service]
impl RestateGreeter {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct OpenApi;

#[durably::service]
impl OpenApi {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

struct Named;

#[durably::object(name = "my service")]
impl Named {
    #[handler]
    async fn run(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
