//! Observability beyond the log: each is an optional feature, and an interceptor or a filter like any that
//! users write.
//!
//! In: what interceptors are told, and the spans of attempts. Out: spans (`telemetry`), metrics (`meter`), and
//! a verdict on events that a replay says again (`replay`).

#[cfg(feature = "metrics")]
mod meter;
#[cfg(feature = "tracing-subscriber")]
mod replay;
#[cfg(feature = "opentelemetry")]
mod telemetry;

#[cfg(feature = "metrics")]
pub use meter::Metrics;
#[cfg(feature = "tracing-subscriber")]
pub use replay::ReplayFilter;
#[cfg(feature = "opentelemetry")]
pub use telemetry::{OpenTelemetry, inject_trace_context};
