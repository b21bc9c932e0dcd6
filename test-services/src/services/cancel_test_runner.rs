//! `CancelTestRunner`: sees how a call ends whose invocation is cancelled.

use durably::{StateKey, prelude::*};

use super::cancel_test_blocking_service::{CancelTestBlockingServiceClient, Op};

const CANCELED: StateKey<bool> = StateKey::new("canceled");

pub(crate) struct CancelTestRunner;

#[durably::object]
impl CancelTestRunner {
    #[handler(name = "startTest")]
    async fn start_test(&self, ctx: &ObjectContext, op: Op) -> HandlerResult<()> {
        let blocking = ctx.object_client::<CancelTestBlockingServiceClient>(ctx.key());
        match blocking.block(op).await {
            Ok(()) => Err(TerminalError::new("the call was not cancelled").into()),
            Err(error) if error.is_cancelled() => {
                ctx.set(CANCELED, &true);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    #[handler(name = "verifyTest")]
    async fn verify_test(&self, ctx: &ObjectContext) -> HandlerResult<bool> {
        Ok(ctx.get(CANCELED).await?.unwrap_or_default())
    }
}
