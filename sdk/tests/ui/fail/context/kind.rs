//! Each kind of service has its contexts.

use durably::prelude::*;

struct Service;

#[durably::service]
impl Service {
    #[handler]
    async fn object(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn shared(&self, _ctx: &SharedObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn workflow(&self, _ctx: WorkflowContext) -> HandlerResult<()> {
        Ok(())
    }
}

struct Object;

#[durably::object]
impl Object {
    #[handler]
    async fn service(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn workflow(&self, _ctx: &SharedWorkflowContext) -> HandlerResult<()> {
        Ok(())
    }
}

struct Workflow;

#[durably::workflow]
impl Workflow {
    #[handler]
    async fn run(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn object(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

fn use_them(ctx: &Context) {
    let _ = durably::Service::definition(Workflow);
    let _ = ctx.workflow_client::<WorkflowClient>("key").run();
    let _ = ctx.object_client::<ObjectClient>("key").service();
}

fn main() {}
