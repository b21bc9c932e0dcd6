//! Durable handlers: plain `async fn`s with exactly-once effect on the
//! [Restate](https://restate.dev) server, or on a runtime in your own process (feature `local`).
//!
//! Each step of a handler is journaled. After a crash, a redeployment or a month of waiting the
//! handler is run again from the start, its recorded steps answer from the journal, and it goes on
//! where it was.
//!
//! ```
//! use durably::prelude::*;
//!
//! struct Counter;
//!
//! /// Counts, per key.
//! #[durably::object]
//! impl Counter {
//!     /// Adds to the count of this key; one writer at a time.
//!     #[handler]
//!     async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
//!         let sum = ctx.get::<u64>("count").await?.unwrap_or_default() + n;
//!         ctx.set("count", &sum);
//!         Ok(sum)
//!     }
//!
//!     /// Reads the count, beside writers.
//!     #[handler]
//!     async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
//!         Ok(ctx.get::<u64>("count").await?.unwrap_or_default())
//!     }
//! }
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::builder().bind(Counter).build()?;
//! HttpServer::new(endpoint).listen("0.0.0.0:9080").await?;
//! # Ok(())
//! # }
//! ```
//!
//! That serves the handlers for a Restate server. With the feature `local`,
//! `LocalRuntime::builder(endpoint).run().await?` in its place calls them by itself.
//!
//! # Handlers
//!
//! A handler takes `&self` (the service's dependencies), a context by reference, and at most one
//! input; it returns a [`HandlerResult`]. The context's type says what it may do:
//!
//! | attribute | context | the handler |
//! | --- | --- | --- |
//! | [`#[durably::service]`](macro@service) | [`&Context`](Context) | runs whenever it is called |
//! | [`#[durably::object]`](macro@object) | [`&ObjectContext`](ObjectContext) | has a key and state; alone for its key |
//! | | [`&SharedObjectContext`](SharedObjectContext) | reads the state, beside others |
//! | [`#[durably::workflow]`](macro@workflow) | [`&WorkflowContext`](WorkflowContext) | runs once per key |
//! | | [`&SharedWorkflowContext`](SharedWorkflowContext) | talks to the running workflow |
//!
//! Each context derefs to the smaller one, so helper functions take `&Context`. What a context makes
//! are *durable futures*: their command is recorded when they are created, they borrow the context,
//! and they are ordinary futures for everything else.
//!
//! # Callers
//!
//! The attributes make a client of each service, here `CounterClient`, with one method a handler. Handlers
//! get it from their context, as in `ctx.object_client::<CounterClient>("ada").add(1).await?`; programs
//! outside from an `ingress::IngressClient` (feature `client`), tests from `testing` (feature `testing`).
//! Where callers shall not depend on the code of a service, write its [contract](macro@service): a trait with
//! the same attribute, which an `impl` is checked against.
//!
//! # Determinism
//!
//! On replay a handler must issue the same commands. What differs from run to run — the time,
//! randomness, the network, the order of a `HashMap` — belongs into [`Context::run`], or comes from
//! the context: [`Context::now`], [`Context::random`].
//!
//! Sequential code, `join!`, `try_join!` and `select!` of tokio and of futures, `FuturesUnordered`,
//! `join_all`, `buffer_unordered`, streams, channels between branches and concurrent runs replay
//! deterministically, as long as one result moves one branch on. When one result wakes several
//! branches (a `Shared` future, a `watch` or `broadcast` channel, a cancellation token) their order is
//! the combinator's. [`join!`], [`try_join!`] and [`select!`] of this crate, with tokio's syntax,
//! keep the order in which the branches are written; `tokio::join!` rotates, and an unbiased
//! `tokio::select!` draws at random, also for the first poll of branches that are `async` blocks.
//!
//! A handler that awaits something that is not durable outside of a run (a timer of the async
//! runtime, a socket, a lock) is reported once per attempt as a warning.
//!
//! # Payloads
//!
//! Any serde type is JSON, without a wrapper. `()` is an empty body. [`Raw`] is bytes untouched
//! (**a `Vec<u8>` is a JSON array of numbers**), [`Proto`] a protobuf message, and your own formats
//! implement [`Encode`] and [`Decode`]. On replay the bytes of a payload are compared: put types that
//! serialize in varying order, such as those with a `HashMap`, into [`Unstable`].
//!
//! # Errors
//!
//! `?` works on any error. A [`TerminalError`] anywhere in its chain of sources ends the invocation
//! with it; anything else ends the attempt, and the runtime tries again. A [`RetryableError`] asks for
//! a delay, a pause, or a failure without another try. A panic fails its own attempt.
//!
//! A retryable failure of a step is the step's affair: [`Run::retry`], [`Run::attempt_timeout`]. What to do when a
//! step fails for good, and others have been done before it, is a [`Saga`]'s.
//!
//! # Cancellation
//!
//! When somebody cancels an invocation, the calls that it awaits are cancelled, then whatever it awaits
//! fails with a [`TerminalError`] of code 409; after that it may go on, and clean up. While a saga undoes, a
//! further cancellation waits. A handler with
//! [`explicit_cancellation`](HandlerDefinition::explicit_cancellation) gets no failures: it learns of the
//! cancellation by [`Context::cancellation`], and decides.
//!
//! # Interceptors
//!
//! An [`Interceptor`] lies around handlers, runs, calls and sends of an endpoint, a service or a handler: to
//! authorise, to set headers and idempotency keys, to time, to limit. `Metrics` and `OpenTelemetry` (features
//! of those names) are two. A handler without interceptors pays nothing for them.
//!
//! # Logs
//!
//! Everything is said through `tracing`. Each attempt has one span, `attempt` (level INFO), in which the
//! handler runs, so that its own events are told apart:
//!
//! | field | meaning |
//! | --- | --- |
//! | `invocation.id` | the invocation, as the runtime names it |
//! | `invocation.target` | `service/handler`, or `service/key/handler` |
//! | `attempt` | which attempt this is since the runtime last stored something of the invocation, from 1 |
//! | `replaying` | whether what the handler does happened before; a `true` is recorded over with `false` when the last recorded command was issued |
//!
//! Subscribers that keep the fields of a span as text, as `tracing_subscriber::fmt` does by default, show
//! both values of `replaying` from there on; its JSON format shows the last.
//!
//! Handlers that replay say again what they have said before. `ReplayFilter` (feature `tracing-subscriber`)
//! drops that.
//!
//! A failed attempt, and a handler that waits for what is not durable, are warnings; they name the
//! invocation, the command and what comes next by themselves, also where a filter drops the span. A
//! suspension is no failure, and is said at level DEBUG. No byte of a payload is ever logged by this crate;
//! the texts of your own errors are.
//!
//! # Limits
//!
//! Whatever a peer can make grow has a limit, and each is an option:
//!
//! | option | limits | default | what happens there |
//! | --- | --- | --- | --- |
//! | [`EndpointBuilder::max_message_size`] | one message from the runtime | 64 MiB | the attempt fails (571), before anything is allocated |
//! | [`EndpointBuilder::max_outgoing_message_size`] | one message to the runtime | 32 MiB − 64 KiB | the attempt fails, before anything is sent |
//! | [`EndpointBuilder::max_journal_size`] | what an attempt keeps: its journal and eager state | 1 GiB | the attempt fails (571) |
//! | [`HttpServer::max_connections`] | connections | 8192 | further ones wait |
//! | [`HttpServer::max_concurrent_streams`] | streams, so attempts, of an HTTP/2 connection | 8192 | further ones are refused, and may be tried again |
//! | [`HttpServer::max_header_size`] | headers of a request | 256 KiB, over HTTP/1.1 also 100 of them | 431, or the connection is closed |
//! | [`HttpServer::header_read_timeout`] | time for the head of a connection's first request, over HTTP/1.1 of each | 2 min | the connection is closed |
//! | [`HttpServer::request_idle_timeout`] | a pause of a request that nothing can go on without | 2 min | the attempt is given up |
//! | [`HttpServer::stream_window`] | what an HTTP/2 stream sends before the attempt takes it | 256 KiB | the peer waits |
//! | [`HttpServer::connection_window`] | the same for all streams of a connection | 1 GiB | the peer waits |
//! | [`HttpServer::send_buffer`] | output that the peer of a stream does not read | 256 KiB | the handler waits |
//! | [`HttpServer::max_early_resets`] | streams reset before anybody has looked at them | 4096 | the connection is closed |
//! | [`HttpServer::keep_alive_interval`], [`keep_alive_timeout`](HttpServer::keep_alive_timeout) | time without a sign of life, over HTTP/2 | 30 s and 20 s | the connection is closed |
//! | `HttpServer::tls_handshake_timeout` | time for a TLS handshake | 10 s | the connection is closed |
//! | `LambdaEndpoint::max_body_size` | a request once unpacked, a response before it is packed | 64 MiB | 400; the attempt fails |
//! | [`HttpServer::drain_deadline`] | time to end at shutdown | 8 s | what is open is cut off |
//!
//! They are for accidents, and for a peer that is trusted and errs: multiplied, they are more than a
//! machine has. Whoever is not trusted must not reach the port, or gets no further than the head of
//! a request: see `EndpointBuilder::identity_key`.
//!
//! # Guides
//!
//! The [`guide`] has pages on the local runtime, on testing handlers, on Kafka, on contracts, on mounting an endpoint beside
//! other routes and on TLS, on AWS Lambda, and one for those who come from `restate-sdk`.
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `http-server` | yes | [`HttpServer`]: hyper, tokio's network I/O |
//! | `identity` | yes | request identity: `EndpointBuilder::identity_key` |
//! | `tls` | no | `HttpServer::tls`: HTTPS with rustls (*ring* needs a C compiler) |
//! | `lambda` | no | `lambda`: an endpoint as a function of AWS Lambda |
//! | `local` | no | `local::LocalRuntime`: the embedded runtime, durable on disk (SQLite needs a C compiler) |
//! | `local-kafka` | no | `local::KafkaSource`: the embedded runtime consumes topics of Kafka; adds `local` |
//! | `schemars` | no | JSON schemas in the endpoint manifest, for types that implement `JsonSchema` |
//! | `uuid` | no | conversion of [`Uuid`] from and to the `uuid` crate's |
//! | `admin` | no | `admin`: a client of the server's admin API: deployments, Kafka, invocations, SQL |
//! | `client` | no | `ingress::IngressClient`: calls handlers from outside, typed |
//! | `tracing-subscriber` | no | `ReplayFilter`: a subscriber's filter for what a replay says again |
//! | `opentelemetry` | no | `OpenTelemetry`: a span for each attempt and each executed run, the trace context of calls |
//! | `metrics` | no | `Metrics`: attempts, suspensions, lengths of replays, durations of runs |
//! | `testing` | no | `testing`: tests of handlers without a server, see there |
//! | `test-server` | no | `test_server`: a real Restate server and Kafka broker on loopback (Unix) |
//!
//! No feature changes what a journal holds or a replay gives.
//!
//! # Known limits
//!
//! `buffer_unordered` over *borrowed* items mapped to durable futures does not compile: rustc cannot
//! prove the handler's future to be `Send`. Map owned items, or collect the futures first:
//!
//! ```
//! use durably::prelude::*;
//! use futures::{StreamExt, stream};
//!
//! # async fn load(name: &str) -> Result<u64, std::io::Error> { Ok(name.len() as u64) }
//! async fn load_all(ctx: &Context, names: Vec<String>) -> HandlerResult<u64> {
//!     let runs: Vec<_> = names.iter().map(|name| ctx.run("load", || load(name))).collect();
//!     let mut results = stream::iter(runs).buffer_unordered(8);
//!     let mut sum = 0;
//!     while let Some(result) = results.next().await {
//!         sum += result?;
//!     }
//!     Ok(sum)
//! }
//! ```
#![forbid(unsafe_code)]

#[doc(hidden)]
#[path = "private.rs"]
#[allow(missing_docs)]
pub mod __private;
#[cfg(any(feature = "admin", feature = "client"))]
mod client;
mod combinators;
mod context;
mod endpoint;
#[cfg(any(test, feature = "testing", feature = "local"))]
#[cfg_attr(
    not(all(feature = "testing", feature = "local")),
    allow(dead_code, unused_imports, reason = "each runtime uses its part")
)]
mod engine;
mod error;
mod executor;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(any(doc, doctest))]
pub mod guide;
mod interceptor;
mod journal;
mod kafka;
#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "local")]
pub mod local;
#[cfg(any(
    feature = "metrics",
    feature = "opentelemetry",
    feature = "tracing-subscriber"
))]
mod observe;
mod payload;
pub mod prelude;
mod protocol;
mod random;
mod retry;
#[cfg(feature = "http-server")]
mod server;
mod service;
#[cfg(feature = "test-server")]
pub mod test_server;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(any(test, feature = "testing", feature = "local"))]
#[cfg_attr(
    not(all(feature = "testing", feature = "local")),
    allow(dead_code, unused_imports, reason = "each runtime uses its part")
)]
mod wire;

#[cfg(feature = "admin")]
pub use client::admin;
#[cfg(feature = "client")]
pub use client::ingress;
pub use context::{
    AttachHandle, AttemptEnding, AttemptFinished, Awakeable, Call, Caller, Context, DurableFuture,
    EphemeralGet, InvocationHandle, InvocationId, Key, ObjectClient, ObjectContext, OrTimeout,
    Promise, Random, Request, Run, Saga, Sent, ServiceClient, SharedObjectContext,
    SharedWorkflowContext, StateKey, Target, WorkflowClient, WorkflowContext,
};
pub use durably_macros::{handler, object, service, workflow};
pub use endpoint::{
    BuildError, BuildProblem, Endpoint, EndpointBody, EndpointBuilder, EndpointFuture,
};
pub use error::{BoxError, HandlerError, HandlerResult, RetryableError, TerminalError};
pub use interceptor::{
    AttemptEnd, AttemptInfo, AttemptOutcome, HandlerNext, Interceptor, OutgoingRequest, RunInfo,
    RunNext,
};
pub use kafka::{
    DeadLetter, KafkaEvent, KafkaEventBuilder, KafkaPolicy, KafkaRecord, RecordFailure,
};
#[cfg(feature = "metrics")]
pub use observe::Metrics;
#[cfg(feature = "tracing-subscriber")]
pub use observe::ReplayFilter;
#[cfg(feature = "opentelemetry")]
pub use observe::{OpenTelemetry, inject_trace_context};
pub use payload::{Decode, Encode, FromInput, Headers, Input, Proto, Raw, Unstable};
pub use random::{ParseUuidError, Uuid};
pub use retry::RetryPolicy;
#[cfg(feature = "http-server")]
pub use server::HttpServer;
#[cfg(feature = "tls")]
pub use server::{TlsConfig, TlsError};
pub use service::{
    HandlerDefinition, HandlerKind, InputMetadata, InvocationRetryPolicy, OnMaxAttempts,
    OutputMetadata, Service, ServiceDefinition, ServiceKind,
};
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use tokio_rustls::rustls;

/// The README's example compiles too.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
