//! Which handler of a workflow takes which retention.

use durably::prelude::*;

struct Checkout;

#[durably::workflow(workflow_retention = "1d")]
impl Checkout {
    #[handler(idempotency_retention = "1d")]
    async fn run(&self, _ctx: &WorkflowContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(workflow_retention = "1d")]
    async fn status(&self, _ctx: &SharedWorkflowContext) -> HandlerResult<()> {
        Ok(())
    }
}

struct Orders;

#[durably::object]
impl Orders {
    #[handler(workflow_retention = "1d")]
    async fn run(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
