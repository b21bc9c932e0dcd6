//! `CancelTestBlockingService`: blocks in a call, a sleep or an awakeable until it is cancelled.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

use super::awakeable_holder::AwakeableHolderClient;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) struct CancelTestBlockingService;

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Op {
    Call,
    Sleep,
    Awakeable,
}

#[durably::object]
impl CancelTestBlockingService {
    #[handler]
    async fn block(&self, ctx: &ObjectContext, op: Op) -> HandlerResult<()> {
        let awakeable = ctx.awakeable::<String>();
        ctx.object_client::<AwakeableHolderClient>(ctx.key())
            .hold(awakeable.id().to_owned())
            .await?;
        awakeable.await?;
        match op {
            Op::Call => {
                ctx.object_client::<CancelTestBlockingServiceClient>(ctx.key())
                    .block(op)
                    .await?;
            }
            Op::Sleep => ctx.sleep(1024 * DAY).await?,
            Op::Awakeable => {
                ctx.awakeable::<String>().await?;
            }
        }
        Ok(())
    }

    #[handler(name = "isUnlocked")]
    async fn is_unlocked(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}
