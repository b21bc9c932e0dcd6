//! The test kit: handlers tested in microseconds, without a server, a network or a sleep (feature
//! `testing`).
//!
//! [`TestRuntime`] is a runtime in memory. It drives a whole [`Endpoint`](crate::Endpoint) through the
//! frames of the real service protocol: services, objects, workflows, calls, sends, idempotency,
//! awakeables, promises, signals, cancellation, retries and suspension behave as they do on the real
//! server. Requests are those of the generated clients, made by [`service`], [`object`] and [`workflow`]:
//!
//! ```
//! use durably::{prelude::*, testing::{TestRuntime, object}};
//!
//! struct Reminder;
//!
//! #[durably::object]
//! impl Reminder {
//!     #[handler]
//!     async fn remind(&self, ctx: &ObjectContext, text: String) -> HandlerResult<String> {
//!         ctx.sleep(Duration::from_secs(30 * 24 * 60 * 60)).await?;
//!         ctx.set("reminded", &text);
//!         Ok(format!("{}: {text}", ctx.key()))
//!     }
//! }
//!
//! // In a `#[test]`:
//! let mut runtime = TestRuntime::new(Endpoint::builder().bind(Reminder).build()?);
//! let text = runtime.call(object::<ReminderClient>("ada").remind("tea".to_owned()))?;
//! assert_eq!(text, "ada: tea"); // a month later, in no time
//! assert_eq!(runtime.state::<String>("Reminder", "ada", "reminded").as_deref(), Some("tea"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`MockContext`] tests one handler alone, as a method: what it calls is scripted, and what it does is recorded.
//!
//! # Time
//!
//! Time is virtual, and begins at 2026-01-01. It moves by itself, from one timer to the next, when everything waits; with
//! [`TestRuntimeBuilder::manual_time`] only by [`TestRuntime::advance`].
//!
//! # Run closures, and async tests
//!
//! The closures of `ctx.run` are ordinary code and run for real: while one executes, the virtual time stands
//! still. The methods of [`TestRuntime`] block; where closures use what belongs to tokio (its timers, its
//! sockets) a runtime of tokio must drive that. So either make the test a `#[tokio::test]` and use the methods that
//! end in `_async`, which return to tokio while a closure waits; or enter a multi-threaded runtime and block.
//!
//! # What fails a test by itself
//!
//! These panic, with the seed and with what every invocation waits for: a call whose answer can never come, since
//! everything waits and no timer is left; a handler that awaits something that is not durable; a
//! handler that wakes itself for ever.
//!
//! # How true it is
//!
//! The same scenarios are played on [`TestRuntime`] and on a real server of version 1.7, and must be seen to go the same way
//! (`sdk/tests/truth` in the repository): results, codes and messages, refusals, state, journals, who is cancelled and killed
//! with whom. What is left: a request with a key too many or too few has the server's code and words of
//! its own; results are forgotten at their time, where the server cleans up now and then; and where the server
//! leaves an order open, the seed chooses one.
//!
//! # Randomness
//!
//! Everything that a real runtime leaves open is decided by one seed: ids, random numbers of handlers, which of
//! several invocations goes on first. The same seed gives the same run. A failing test prints it;
//! [`TestRuntimeBuilder::seed`] sets it.

/// 2026-01-01, in milliseconds since the Unix epoch: when the time of tests begins.
const BEGINNING: u64 = 1_767_225_600_000;

mod client;
pub(crate) mod engine;
#[cfg(feature = "testing")]
mod mock;
mod runtime;
pub(crate) mod wire;

#[cfg(feature = "testing")]
pub use self::mock::{
    ANY_KEY, CallScript, FailureKind, MockContext, MockFailure, Recorded, ResultScript, Running,
};
pub use self::{
    client::{object, request, service, workflow},
    runtime::{
        InvocationStatus, InvocationSummary, Journal, JournalEvent, JournalEventKind, TestRuntime,
        TestRuntimeBuilder,
    },
};
