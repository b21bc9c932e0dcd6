//! The services that run programs.

use durably::prelude::*;

use super::language::{Ctx, Stmt, run};
use crate::secs;

pub(super) struct Worker;

#[durably::service]
impl Worker {
    #[handler]
    async fn work(&self, ctx: &Context, program: Vec<Stmt>) -> HandlerResult<Vec<String>> {
        Ok(run(Ctx::Plain(ctx), &program).await)
    }
}

pub(super) struct Shelf;

#[durably::object]
impl Shelf {
    #[handler]
    async fn work(&self, ctx: &ObjectContext, program: Vec<Stmt>) -> HandlerResult<Vec<String>> {
        Ok(run(Ctx::Object(ctx), &program).await)
    }

    #[handler(lazy_state = true)]
    async fn look(
        &self,
        ctx: &SharedObjectContext,
        program: Vec<Stmt>,
    ) -> HandlerResult<Vec<String>> {
        Ok(run(Ctx::Shared(ctx), &program).await)
    }
}

pub(super) struct Flow;

#[durably::workflow]
impl Flow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, program: Vec<Stmt>) -> HandlerResult<Vec<String>> {
        Ok(run(Ctx::Workflow(ctx), &program).await)
    }

    #[handler]
    async fn resolve(&self, ctx: &SharedWorkflowContext, _: ()) -> HandlerResult<bool> {
        let promise = ctx.promise::<String>("p");
        let peeked = promise.peek().await?;
        // Only the first one counts.
        let resolved = promise.resolve(&"kept".to_owned()).await;
        Ok(peeked.is_none() && resolved.is_ok())
    }
}

pub(super) struct Helper;

#[durably::service]
impl Helper {
    #[handler]
    async fn resolve(&self, ctx: &Context, input: (String, u64)) -> HandlerResult<()> {
        let (id, seconds) = input;
        if seconds > 0 {
            ctx.sleep(secs(seconds)).await?;
        }
        ctx.resolve_awakeable(&id, "resolved")?;
        Ok(())
    }

    #[handler]
    async fn wait(&self, ctx: &Context) -> HandlerResult<String> {
        Ok(ctx.signal::<String>("go").await?)
    }
}
