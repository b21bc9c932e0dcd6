//! OpenTelemetry: spans of attempts and runs, and the W3C trace context in and out.

use std::{fmt, str::FromStr as _};

use ::opentelemetry::{
    Context as TraceContext, KeyValue, SpanId, TraceFlags, TraceId,
    context::FutureExt as _,
    global::{self, BoxedTracer},
    trace::{Link, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, Tracer},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::{
    AttemptEnd, AttemptInfo, AttemptOutcome, Context, HandlerNext, HandlerResult, Interceptor,
    OutgoingRequest, RunInfo, RunNext,
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// An interceptor that makes OpenTelemetry spans (feature `opentelemetry`): one for each attempt, and
/// within it one for each run whose closure is executed. A result that is replayed makes none, so nothing
/// is told twice.
///
/// | span | kind | parent | attributes |
/// | --- | --- | --- | --- |
/// | `{service}/{handler}` | server | the W3C trace context of the attempt's HTTP headers, which the runtime sends; else that of the invocation's headers | `rpc.system` = `restate`, `rpc.service`, `rpc.method`, `invocation.id`, `attempt` (from 1), at its end `attempt.outcome` ([`AttemptOutcome::as_str`]) and `attempt.replayed` (commands) |
/// | the run's name | internal | what is current where the run is awaited, usually the attempt | `invocation.id` |
///
/// A failure gives its span the status `Error`. If the caller of the invocation has sent a trace context in its
/// headers and the runtime another one, the attempt's span is linked to the caller's. The span of the attempt
/// is current in the handler, that of a run in its closure: what is made there, with the API of the crate
/// `opentelemetry` or by a bridge to it, lies within. What a handler makes outside of runs by itself it makes
/// in each attempt.
///
/// Calls and sends carry the current trace context in their headers `traceparent` and `tracestate`. Those are
/// new in each attempt, and the only ones that are not compared on replay; what was sent first stays.
///
/// # Examples
///
/// ```
/// use durably::{OpenTelemetry, prelude::*};
/// use opentelemetry_sdk::trace::SdkTracerProvider;
///
/// opentelemetry::global::set_tracer_provider(SdkTracerProvider::builder().build());
/// let endpoint = Endpoint::builder().intercept(OpenTelemetry::new()).build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
pub struct OpenTelemetry<T = BoxedTracer> {
    tracer: T,
}

impl OpenTelemetry {
    /// With a tracer of the global provider, which must have been set before.
    ///
    /// # Examples
    ///
    /// See [`OpenTelemetry`].
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it asks the global provider")]
    pub fn new() -> Self {
        Self::with_tracer(global::tracer("durably"))
    }
}

impl<T> OpenTelemetry<T>
where
    T: Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    /// With this tracer.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::OpenTelemetry;
    /// use opentelemetry::trace::TracerProvider as _;
    /// use opentelemetry_sdk::trace::SdkTracerProvider;
    ///
    /// let provider = SdkTracerProvider::builder().build();
    /// let spans = OpenTelemetry::with_tracer(provider.tracer("orders"));
    /// # let _ = spans;
    /// ```
    #[must_use]
    pub fn with_tracer(tracer: T) -> Self {
        Self { tracer }
    }

    fn begin_attempt(&self, attempt: &AttemptInfo) -> TraceContext {
        let from_runtime = extract(|name| attempt.attempt_headers().get(name)?.to_str().ok());
        let from_caller = extract(|name| attempt.headers().get(name));
        let parent = match from_runtime.as_ref().or(from_caller.as_ref()) {
            Some(parent) => TraceContext::new().with_remote_span_context(parent.clone()),
            None => TraceContext::new(),
        };
        let (service, handler) = attempt.shared_names();
        let mut builder = self
            .tracer
            .span_builder(format!("{service}/{handler}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("rpc.system", "restate"),
                KeyValue::new("rpc.service", service),
                KeyValue::new("rpc.method", handler),
                KeyValue::new("invocation.id", attempt.invocation_id().to_owned()),
                KeyValue::new("attempt", i64::from(attempt.retry_count()) + 1),
            ]);
        if let (Some(_), Some(caller)) = (&from_runtime, from_caller)
            && from_runtime.as_ref() != Some(&caller)
        {
            builder = builder.with_links(vec![Link::with_context(caller)]);
        }
        let span = builder.start_with_context(&self.tracer, &parent);
        parent.with_span(span)
    }
}

impl<T> fmt::Debug for OpenTelemetry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetry").finish_non_exhaustive()
    }
}

/// The trace context of an attempt.
#[derive(Clone)]
struct OfAttempt(TraceContext);

/// What is current, or the attempt's if nothing is.
fn current(attempt: &AttemptInfo) -> TraceContext {
    let current = TraceContext::current();
    if current.has_active_span() {
        return current;
    }
    attempt.get().map_or(current, |OfAttempt(attempt)| attempt)
}

impl<T> Interceptor for OpenTelemetry<T>
where
    T: Tracer + Send + Sync + 'static,
    T::Span: Send + Sync + 'static,
{
    async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
        let context = self.begin_attempt(next.attempt());
        next.attempt().insert(OfAttempt(context.clone()));
        next.run().with_context(context).await
    }

    async fn run(&self, run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
        let parent = current(run.attempt());
        let span = self
            .tracer
            .span_builder(run.name().to_owned())
            .with_kind(SpanKind::Internal)
            .with_attributes([KeyValue::new(
                "invocation.id",
                run.attempt().invocation_id().to_owned(),
            )])
            .start_with_context(&self.tracer, &parent);
        let context = parent.with_span(span);
        let within = context.clone();
        let next = next.within(move |poll| {
            let _current = within.clone().attach();
            poll();
        });
        let result = next.run().with_context(context.clone()).await;
        if let Err(error) = &result {
            context.span().set_status(Status::error(error.to_string()));
        }
        context.span().end();
        result
    }

    fn call(&self, request: &mut OutgoingRequest<'_>) {
        if let Some((traceparent, tracestate)) = headers(&current(request.caller())) {
            request.set_header(TRACEPARENT, traceparent);
            // One that stands there belongs to the context that was just replaced.
            request
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case(TRACESTATE));
            if let Some(tracestate) = tracestate {
                request.set_header(TRACESTATE, tracestate);
            }
        }
    }

    fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        let Some(OfAttempt(context)) = attempt.get() else {
            return;
        };
        let span = context.span();
        span.set_attribute(KeyValue::new("attempt.outcome", end.outcome().as_str()));
        let replayed = i64::try_from(end.replayed()).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("attempt.replayed", replayed));
        if let (AttemptOutcome::Failed | AttemptOutcome::Errored, Some(error)) =
            (end.outcome(), end.error())
        {
            span.set_status(Status::error(error.to_string()));
        }
        span.end();
    }
}

/// Puts the current trace context into the headers of a request, as W3C has it: `traceparent`, and
/// `tracestate` if there is one. For requests to the runtime's ingress and to other services, from a run's
/// closure or from outside of handlers. Nothing is put where no span is current (feature `opentelemetry`).
///
/// # Examples
///
/// ```
/// let mut request = http::Request::post("http://localhost:8080/Greeter/greet").body("\"Ada\"")?;
/// durably::inject_trace_context(request.headers_mut());
/// # Ok::<(), http::Error>(())
/// ```
pub fn inject_trace_context(into: &mut HeaderMap) {
    let Some((traceparent, tracestate)) = headers(&TraceContext::current()) else {
        return;
    };
    if let Ok(traceparent) = HeaderValue::try_from(traceparent) {
        into.insert(TRACEPARENT, traceparent);
        into.remove(TRACESTATE);
        if let Some(Ok(tracestate)) = tracestate.map(HeaderValue::try_from) {
            into.insert(TRACESTATE, tracestate);
        }
    }
}

/// The values of `traceparent` and `tracestate`.
fn headers(context: &TraceContext) -> Option<(String, Option<String>)> {
    let span = context.span();
    let context = span.span_context();
    if !context.is_valid() {
        return None;
    }
    let traceparent = format!(
        "00-{}-{}-{:02x}",
        context.trace_id(),
        context.span_id(),
        context.trace_flags() & TraceFlags::SAMPLED
    );
    let tracestate = Some(context.trace_state().header()).filter(|state| !state.is_empty());
    Some((traceparent, tracestate))
}

/// Reads a trace context, if there is a good one. A bad `tracestate` is left out.
fn extract<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<SpanContext> {
    let traceparent = get(TRACEPARENT)?.trim();
    let mut parts = traceparent.split('-');
    let mut part = |length: usize| {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let part = parts.next()?;
        (part.len() == length && part.bytes().all(hex)).then_some(part)
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // Later versions may have more behind.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let state = get(TRACESTATE).and_then(|state| TraceState::from_str(state).ok());
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        state.unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(traceparent: &str, tracestate: &str) -> Option<SpanContext> {
        extract(|name| {
            Some(if name == TRACEPARENT {
                traceparent
            } else {
                tracestate
            })
        })
    }

    #[test]
    fn what_is_read_is_written() {
        let context = read(GOOD, "a=1,b=2").unwrap();
        assert!(context.is_remote() && context.is_sampled());
        let context = TraceContext::new().with_remote_span_context(context);
        let written = headers(&context).unwrap();
        assert_eq!(written, (GOOD.to_owned(), Some("a=1,b=2".to_owned())));

        let _current = context.attach();
        let mut map = HeaderMap::new();
        map.insert(TRACESTATE, HeaderValue::from_static("old=1"));
        inject_trace_context(&mut map);
        assert_eq!(
            (&map[TRACEPARENT], &map[TRACESTATE]),
            (&GOOD.parse().unwrap(), &"a=1,b=2".parse().unwrap())
        );
    }

    #[test]
    fn without_a_current_span_nothing_is_put() {
        let mut map = HeaderMap::new();
        inject_trace_context(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn bad_contexts_are_none() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &GOOD.to_uppercase(),
            &GOOD.replace("00-", "ff-"),
            &format!("{GOOD}-more"),
            zeros,
        ] {
            assert!(read(bad, "").is_none(), "{bad}");
        }
        let later = format!("{}-more", GOOD.replace("00-", "01-"));
        assert!(read(&later, "").is_some());
        // All is well but the state.
        let context = read(GOOD, "no pair").unwrap();
        assert_eq!(context.trace_state().header(), "");
        assert!(!read(&GOOD.replace("-01", "-02"), "").unwrap().is_sampled());
    }
}
