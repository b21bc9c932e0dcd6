//! `BlockAndWaitWorkflow`: a workflow that waits for a promise.

use durably::{StateKey, prelude::*};

const MY_STATE: StateKey<String> = StateKey::new("my-state");
const MY_PROMISE: &str = "my-promise";

pub(crate) struct BlockAndWaitWorkflow;

#[durably::workflow]
impl BlockAndWaitWorkflow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, input: String) -> HandlerResult<String> {
        ctx.set(MY_STATE, &input);
        let promise = ctx.promise::<String>(MY_PROMISE);
        let value = promise.get().await?;
        if promise.peek().await?.is_none() {
            return Err(TerminalError::new("the promise is not completed").into());
        }
        Ok(value)
    }

    #[handler]
    async fn unblock(&self, ctx: &SharedWorkflowContext, value: String) -> HandlerResult<()> {
        Ok(ctx.promise(MY_PROMISE).resolve(&value).await?)
    }

    #[handler(name = "getState")]
    async fn get_state(&self, ctx: &SharedWorkflowContext) -> HandlerResult<Option<String>> {
        Ok(ctx.get(MY_STATE).await?)
    }
}
