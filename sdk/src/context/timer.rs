//! Sleeps and the durable clock.

use std::time::{Duration, SystemTime};

use super::{
    Context,
    future::{self, DurableFuture},
};
use crate::{error::TerminalError, executor::Cell, journal::Command};

/// Records a sleep.
pub(crate) fn sleep<'a>(cell: &'a Cell, duration: Duration, name: &str) -> DurableFuture<'a, ()> {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let wake_up_time = cell.now().saturating_add(millis);
    let leaf = cell.issue_awaited(Command::Sleep { wake_up_time }, name);
    DurableFuture::new(cell, leaf, future::void)
}

impl Context {
    /// Sleeps durably: for milliseconds or for months, through crashes and redeployments. The time
    /// runs from this call on, not from the first `.await`. Resolution: milliseconds.
    ///
    /// # Journal
    ///
    /// A Sleep command, one completion id; the wake-up time is not compared on replay.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn nag(ctx: &Context) -> HandlerResult<()> {
    ///     ctx.sleep(Duration::from_secs(24 * 60 * 60)).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn sleep(&self, duration: Duration) -> DurableFuture<'_, ()> {
        sleep(self.cell(), duration, "")
    }

    /// [`sleep`](Self::sleep) with a name that the server's introspection shows.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn nag(ctx: &Context) -> HandlerResult<()> {
    ///     ctx.sleep_named("until tomorrow", Duration::from_secs(24 * 60 * 60)).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn sleep_named(&self, name: &str, duration: Duration) -> DurableFuture<'_, ()> {
        sleep(self.cell(), duration, name)
    }

    /// The present time, recorded: every replay gets the same.
    ///
    /// # Journal
    ///
    /// A Run command named `now`.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    /// use std::time::SystemTime;
    ///
    /// async fn stamp(ctx: &Context) -> HandlerResult<SystemTime> {
    ///     Ok(ctx.now().await?)
    /// }
    /// ```
    pub fn now(&self) -> impl Future<Output = Result<SystemTime, TerminalError>> + Send + use<'_> {
        let cell = self.cell();
        let run = self.run("now", async || Ok::<u64, TerminalError>(cell.now()));
        async move {
            let since_epoch = Duration::from_millis(run.await?);
            Ok(SystemTime::UNIX_EPOCH
                .checked_add(since_epoch)
                .unwrap_or(SystemTime::UNIX_EPOCH))
        }
    }
}
