//! `TestUtilsService`: echoes, counted runs, cancellation and signals.

use std::collections::BTreeMap;

use durably::{Raw, prelude::*};
use serde::{Deserialize, Serialize};

pub(crate) struct TestUtilsService;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResolveSignal {
    invocation_id: String,
    signal_name: String,
    value: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RejectSignal {
    invocation_id: String,
    signal_name: String,
    reason: String,
}

#[durably::service]
impl TestUtilsService {
    #[handler]
    async fn echo(&self, _ctx: &Context, input: String) -> HandlerResult<String> {
        Ok(input)
    }

    #[handler(name = "uppercaseEcho")]
    async fn uppercase_echo(&self, _ctx: &Context, input: String) -> HandlerResult<String> {
        Ok(input.to_ascii_uppercase())
    }

    #[handler(name = "rawEcho")]
    async fn raw_echo(&self, _ctx: &Context, input: Raw) -> HandlerResult<Raw> {
        Ok(input)
    }

    #[handler(name = "echoHeaders")]
    async fn echo_headers(&self, ctx: &Context) -> HandlerResult<BTreeMap<String, String>> {
        let headers = ctx.headers().iter();
        Ok(headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    #[handler(name = "countExecutedSideEffects")]
    async fn count_executed_side_effects(&self, ctx: &Context, n: u32) -> HandlerResult<u32> {
        let mut executed = 0;
        for _ in 0..n {
            ctx.run("count", async || {
                executed += 1;
                HandlerResult::Ok(())
            })
            .await?;
        }
        Ok(executed)
    }

    #[handler(name = "cancelInvocation")]
    async fn cancel_invocation(&self, ctx: &Context, id: String) -> HandlerResult<()> {
        ctx.invocation(id)?.cancel();
        Ok(())
    }

    #[handler(name = "resolveSignal")]
    async fn resolve_signal(&self, ctx: &Context, signal: ResolveSignal) -> HandlerResult<()> {
        ctx.invocation(signal.invocation_id)?
            .resolve_signal(&signal.signal_name, &signal.value);
        Ok(())
    }

    #[handler(name = "rejectSignal")]
    async fn reject_signal(&self, ctx: &Context, signal: RejectSignal) -> HandlerResult<()> {
        ctx.invocation(signal.invocation_id)?
            .reject_signal(&signal.signal_name, TerminalError::new(signal.reason));
        Ok(())
    }
}
