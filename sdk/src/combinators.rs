//! Ordered combinators: the syntax of tokio's, with the branches always polled in the order in
//! which they are written.
//!
//! One result may wake several branches (a `Shared` future, a `watch` channel, a cancellation
//! token). Which of them goes on first is then the combinator's choice; a replay must make the same
//! one, so these do not rotate and draw no random numbers. Tokio's `biased;` may stand in front, as in
//! code that was written for its macros, and changes nothing.

/// Waits for all branches; gives their outputs as a tuple.
///
/// # Determinism
///
/// The branches are polled in order, each time: what replays differently under `tokio::join!`,
/// which rotates, does not under this.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn both(ctx: &Context) -> HandlerResult<()> {
///     let (timer, go) = durably::join!(
///         ctx.sleep(Duration::from_secs(1)),
///         ctx.signal::<u64>("go"),
///     );
///     timer?;
///     go?;
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! join {
    (biased; $($branches:tt)*) => {
        $crate::join!($($branches)*)
    };
    ($($branch:expr),* $(,)?) => {
        $crate::__private::tokio::join!(biased; $($branch),*)
    };
}

/// Waits for all branches to succeed, or for the first to fail; gives their values as a tuple.
///
/// # Determinism
///
/// As [`join!`](crate::join).
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn both(ctx: &Context) -> HandlerResult<u64> {
///     let ((), go) = durably::try_join!(
///         ctx.sleep(Duration::from_secs(1)),
///         ctx.signal::<u64>("go"),
///     )?;
///     Ok(go)
/// }
/// ```
#[macro_export]
macro_rules! try_join {
    (biased; $($branches:tt)*) => {
        $crate::try_join!($($branches)*)
    };
    ($($branch:expr),* $(,)?) => {
        $crate::__private::tokio::try_join!(biased; $($branch),*)
    };
}

/// Waits for the first branch to complete, drops the others, and runs its handler. Everything that
/// `tokio::select!` takes: patterns, `, if` conditions, `else`, and `biased;`, which changes nothing.
///
/// # Determinism
///
/// The branches are polled in order, each time: what replays differently under `tokio::select!`,
/// which draws at random, does not under this.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn decide(ctx: &SharedWorkflowContext) -> HandlerResult<String> {
///     Ok(durably::select! {
///         decision = ctx.promise::<String>("decision") => decision?,
///         _ = ctx.sleep(Duration::from_secs(86_400)) => "timed out".to_owned(),
///     })
/// }
/// ```
#[macro_export]
macro_rules! select {
    (biased; $($tokens:tt)*) => {
        $crate::select! { $($tokens)* }
    };
    ($($tokens:tt)*) => {
        $crate::__private::tokio::select! { biased; $($tokens)* }
    };
}
