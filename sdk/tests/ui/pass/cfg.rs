//! `#[cfg]` on handlers and on the whole block.

use durably::prelude::*;

struct Orders;

#[durably::workflow]
impl Orders {
    #[cfg(all())]
    #[handler]
    async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<()> {
        ctx.workflow_client::<OrdersClient>("k").status(1).send();
        Ok(())
    }

    #[cfg(any())]
    #[handler(name = "run")]
    async fn other_run(&self, ctx: &WorkflowContext, input: Missing) -> HandlerResult<Missing> {
        missing()
    }

    #[handler]
    #[cfg(all())]
    async fn status(&self, _: &SharedWorkflowContext, which: u8) -> HandlerResult<u8> {
        Ok(which)
    }

    #[handler]
    #[cfg(not(all()))]
    async fn status(&self, _: &SharedWorkflowContext) -> HandlerResult<Missing> {
        missing()
    }
}

struct Absent;

#[durably::service]
#[cfg(any())]
impl Missing {
    #[handler]
    async fn run(&self, ctx: &Context) -> HandlerResult<Missing> {
        missing()
    }
}

#[durably::service]
impl Absent {
    #[handler]
    #[cfg(any())]
    async fn run(&self, ctx: &Context) -> HandlerResult<()> {
        missing()
    }
}

fn main() {}
