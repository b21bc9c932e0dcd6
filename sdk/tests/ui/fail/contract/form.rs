//! What a contract holds.

use durably::prelude::*;

#[durably::service]
trait Generic<T> {
    #[handler]
    async fn run(&self, ctx: &Context, input: T) -> HandlerResult<()>;
}

#[durably::service]
unsafe trait Unsafe {
    async fn run(&self, ctx: &Context) -> HandlerResult<()>;
}

#[durably::service]
trait Empty {}

#[durably::service]
trait More {
    const LIMIT: u64;
    type Input;
    async fn run(&self, ctx: &Context) -> HandlerResult<()>;
}

#[durably::service]
trait WithCode {
    async fn run(&self, ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

#[durably::service]
trait OfItself {
    async fn take(&self, ctx: &Context, input: Self) -> HandlerResult<()>;
    async fn give(&self, ctx: &Context) -> HandlerResult<Vec<Self>>;
}

#[durably::service]
trait Signatures {
    fn wait(&self, ctx: &Context) -> HandlerResult<()>;
    async fn forget(&self) -> HandlerResult<()>;
    async fn take(&self, ctx: &Context, a: u8, b: u8) -> HandlerResult<()>;
    async fn other(&self, ctx: &ObjectContext) -> HandlerResult<()>;
}

#[durably::workflow]
trait Headless {
    async fn status(&self, ctx: &SharedWorkflowContext) -> HandlerResult<()>;
}

#[durably::service]
trait Twice {
    #[handler(name = "run")]
    async fn walk(&self, ctx: &Context) -> HandlerResult<()>;
    async fn run(&self, ctx: &Context) -> HandlerResult<()>;
}

fn use_them(ctx: &Context) {
    let _ = ctx.service_client::<SignaturesClient>();
    let _ = ctx.service_client::<WithCodeClient>().run();
    let _ = ctx.service_client::<TwiceClient>().run();
}

fn main() {}
