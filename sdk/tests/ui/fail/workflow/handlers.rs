//! Exactly one workflow handler.

use durably::prelude::*;

struct Without;

#[durably::workflow]
impl Without {
    #[handler]
    async fn status(&self, _ctx: &SharedWorkflowContext) -> HandlerResult<()> {
        Ok(())
    }
}

struct Twice;

#[durably::workflow]
impl Twice {
    #[handler]
    async fn run(&self, _ctx: &WorkflowContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn rerun(&self, _ctx: &WorkflowContext) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
