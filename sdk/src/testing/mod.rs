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
//! [`RecordedJournal`] replays what a real server stored of an invocation against today's code, to see that a
//! change does not break the invocations that are in flight.
//!
//! [`explore`] runs a scenario again and again, crashes it wherever it can be cut, and lets things happen in other
//! orders: see [below](#exploration).
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
//! handler that wakes itself for ever; a world that never comes to rest while the time moves by itself, as where an object
//! sends itself a delayed message each time (use [`TestRuntime::advance`] there). A method that blocks also fails if
//! nothing comes from a run's closure for a minute of real time.
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
//! [`TestRuntimeBuilder::seed`] sets it. The id of an invocation depends on the seed and on who made it, not on what
//! happened meanwhile.
//!
//! # Exploration
//!
//! A handler that works may still be wrong: it crashes between two steps, or two notifications come the other way
//! round, once in a million times. [`explore`] tries all that in a test. It runs a scenario uncut, then once for
//! each point at which it can be cut (a crash, or a suspension), in each order in which a runtime may do things up to a bound, and
//! fails unless every run comes to the same:
//!
//! ```should_panic
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//! use durably::{prelude::*, testing::{explore, service}};
//!
//! struct Shop {
//!     charged: Arc<AtomicU32>,
//! }
//!
//! #[durably::service]
//! impl Shop {
//!     #[handler]
//!     async fn buy(&self, ctx: &Context) -> HandlerResult<u32> {
//!         // Outside of `ctx.run`: each attempt does it again.
//!         let receipt = self.charged.fetch_add(1, Ordering::SeqCst);
//!         ctx.sleep(Duration::from_secs(1)).await?;
//!         Ok(receipt)
//!     }
//! }
//!
//! // In a `#[test]`: fails with "a cut changes the outcome: the scenario returned Ok(1) with the cut, and Ok(0) without it".
//! explore(
//!     || Endpoint::builder().bind(Shop { charged: Arc::default() }).build().unwrap(),
//!     |runtime| runtime.call(service::<ShopClient>().buy()),
//! );
//! ```
//!
//! The report says where the run was cut, shows where its journal parts from that of the uncut one, and names the run,
//! for [`Explore::only`]. It finds iteration over a `HashMap`, clocks and random numbers that reach commands, awaits that are not durable,
//! forks under `tokio::join!` or an unbiased `tokio::select!`, effects outside of `ctx.run`, closures that must
//! not execute twice, values that are kept in memory, and races. [`Explore`] has the options, and says exactly what is tried and what is
//! compared.

/// 2026-01-01, in milliseconds since the Unix epoch: when the time of tests begins.
const BEGINNING: u64 = 1_767_225_600_000;

mod client;
pub(crate) mod explore;
#[cfg(feature = "testing")]
mod mock;
#[cfg(feature = "testing")]
mod recorded;
mod runtime;

#[cfg(feature = "testing")]
pub use self::mock::{
    ANY_KEY, CallScript, FailureKind, MockContext, MockFailure, Recorded, ResultScript, Running,
};
#[cfg(all(feature = "testing", feature = "admin"))]
pub use self::recorded::ExportError;
#[cfg(feature = "testing")]
pub use self::recorded::{
    RecordedJournal, RecordedJournalError, ReplayFailure, ReplayFailureKind, Replayed,
};
pub use self::{
    client::{object, request, service, workflow},
    explore::{
        EndpointSource, Explore, ExploreFailure, ExploreFailureKind, ExploreReport, explore,
    },
    runtime::{
        InScope, InvocationStatus, InvocationSummary, Journal, JournalEvent, JournalEventKind,
        TestRuntime, TestRuntimeBuilder,
    },
};
