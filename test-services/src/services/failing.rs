//! `Failing`: handlers and runs that fail, for good or for some attempts.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use durably::prelude::*;
use serde::{Deserialize, Serialize};

/// The counters belong to the process, not to a key: they count attempts.
#[derive(Default)]
pub(crate) struct Failing {
    calls: AtomicU32,
    succeeding_runs: AtomicU32,
    failing_runs: AtomicU32,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    error_message: String,
    metadata: Option<BTreeMap<String, String>>,
}

impl From<Failure> for TerminalError {
    fn from(failure: Failure) -> Self {
        let metadata = failure.metadata.unwrap_or_default().into_iter();
        metadata.fold(Self::new(failure.error_message), |error, (key, value)| {
            error.with_metadata(key, value)
        })
    }
}

const EVERY_10_MS: Duration = Duration::from_millis(10);

#[durably::object]
impl Failing {
    #[handler(name = "terminallyFailingCall")]
    async fn terminally_failing_call(
        &self,
        _ctx: &ObjectContext,
        failure: Failure,
    ) -> Result<(), TerminalError> {
        Err(failure.into())
    }

    #[handler(name = "callTerminallyFailingCall")]
    async fn call_terminally_failing_call(
        &self,
        ctx: &ObjectContext,
        failure: Failure,
    ) -> HandlerResult<String> {
        let other = ctx.random().uuid().to_string();
        ctx.object_client::<FailingClient>(other)
            .terminally_failing_call(failure)
            .await?;
        Err(TerminalError::new("the call did not fail").into())
    }

    #[handler(name = "failingCallWithEventualSuccess")]
    async fn failing_call_with_eventual_success(&self, _ctx: &ObjectContext) -> HandlerResult<u32> {
        let attempt = self.calls.fetch_add(1, SeqCst) + 1;
        if attempt < 4 {
            return Err(format!("attempt {attempt} fails").into());
        }
        self.calls.store(0, SeqCst);
        Ok(attempt)
    }

    #[handler(name = "terminallyFailingSideEffect")]
    async fn terminally_failing_side_effect(
        &self,
        ctx: &ObjectContext,
        failure: Failure,
    ) -> HandlerResult<()> {
        ctx.run("fail", async || Err::<(), TerminalError>(failure.into()))
            .await?;
        Ok(())
    }

    #[handler(name = "sideEffectSucceedsAfterGivenAttempts")]
    async fn side_effect_succeeds_after_given_attempts(
        &self,
        ctx: &ObjectContext,
        m: u32,
    ) -> HandlerResult<u32> {
        let attempt = ctx
            .run("succeed in the end", async || {
                let attempt = self.succeeding_runs.fetch_add(1, SeqCst) + 1;
                if attempt < m {
                    return Err(format!("attempt {attempt} fails"));
                }
                self.succeeding_runs.store(0, SeqCst);
                Ok(attempt)
            })
            .retry(RetryPolicy::fixed(EVERY_10_MS))
            .await?;
        Ok(attempt)
    }

    #[handler(name = "sideEffectFailsAfterGivenAttempts")]
    async fn side_effect_fails_after_given_attempts(
        &self,
        ctx: &ObjectContext,
        m: u32,
    ) -> HandlerResult<u32> {
        let failed: Result<(), TerminalError> = ctx
            .run("fail in the end", async || {
                let attempt = self.failing_runs.fetch_add(1, SeqCst) + 1;
                Err(format!("attempt {attempt} fails"))
            })
            .retry(RetryPolicy::fixed(EVERY_10_MS).max_attempts(m))
            .await;
        match failed {
            Err(error) if error.is_cancelled() => Err(error.into()),
            _ => Ok(self.failing_runs.load(SeqCst)),
        }
    }
}
