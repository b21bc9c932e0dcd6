//! `KillTestRunner`: the root of a tree of calls that is killed.

use durably::prelude::*;

use super::kill_test_singleton::KillTestSingletonClient;

pub(crate) struct KillTestRunner;

#[durably::object]
impl KillTestRunner {
    #[handler(name = "startCallTree")]
    async fn start_call_tree(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        ctx.object_client::<KillTestSingletonClient>(ctx.key())
            .recursive_call()
            .await?;
        Ok(())
    }
}
