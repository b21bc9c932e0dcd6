//! OpenTelemetry: which spans there are, how they hang together, and that a replay adds none.

use std::time::Duration;

use durably::{
    OpenTelemetry,
    prelude::*,
    testing::{TestRuntime, service},
};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};

struct Shop;

#[durably::service]
impl Shop {
    #[handler]
    async fn order(&self, ctx: &Context) -> HandlerResult<String> {
        ctx.run("charge", async || {
            // Whoever asks within the closure is within its span.
            let mut headers = http::HeaderMap::new();
            durably::inject_trace_context(&mut headers);
            let current = opentelemetry::Context::current()
                .span()
                .span_context()
                .span_id();
            let header = headers["traceparent"].to_str()?.to_owned();
            assert!(header.contains(&current.to_string()));
            HandlerResult::Ok(())
        })
        .await?;
        let client = ctx.service_client::<ShopClient>();
        let traceparent = client.trace().await?;
        client.trace().send();
        let policy = RetryPolicy::fixed(Duration::from_secs(1)).max_attempts(2);
        let refused = ctx.run("refuse", async || Err::<(), _>("no")).retry(policy);
        refused.await.unwrap_err();
        Ok(traceparent)
    }

    #[handler]
    async fn trace(&self, ctx: &Context) -> HandlerResult<String> {
        Ok(ctx
            .headers()
            .get("traceparent")
            .unwrap_or_default()
            .to_owned())
    }

    /// Sets a trace state, as who hands on all headers does.
    #[handler]
    async fn forward(&self, ctx: &Context) -> HandlerResult<bool> {
        let client = ctx.service_client::<ShopClient>();
        Ok(client.has_state().header("TraceState", "old=1").await?)
    }

    #[handler]
    async fn has_state(&self, ctx: &Context) -> HandlerResult<bool> {
        let mut names = ctx.headers().iter().map(|(name, _)| name);
        Ok(names.any(|name| name.eq_ignore_ascii_case("tracestate")))
    }

    #[handler]
    async fn refuse(&self, _ctx: &Context) -> HandlerResult<()> {
        Err(TerminalError::new("no").into())
    }
}

fn play<T>(suspend: bool, play: impl FnOnce(&mut TestRuntime) -> T) -> (T, Vec<SpanData>) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let spans = OpenTelemetry::with_tracer(provider.tracer("test"));
    let endpoint = Endpoint::builder()
        .bind(Shop)
        .intercept(spans)
        .build()
        .unwrap();
    let builder = TestRuntime::builder(endpoint);
    let mut runtime = if suspend {
        builder.always_suspend()
    } else {
        builder
    }
    .build();
    let played = play(&mut runtime);
    runtime.run_until_idle();
    (played, exporter.get_finished_spans().unwrap())
}

fn named<'s>(spans: &'s [SpanData], name: &str) -> Vec<&'s SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == key)?;
    Some(found.value.to_string())
}

fn client() -> ShopClient<&'static Context> {
    service::<ShopClient>()
}

#[test]
fn attempts_and_executed_runs_have_one_span_each() {
    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for suspend in [false, true] {
        let order = || client().order().header("traceparent", CALLER);
        let (traceparent, spans) = play(suspend, |runtime| runtime.call(order()).unwrap());

        let attempts = named(&spans, "Shop/order");
        // Without suspensions: the one whose run fails first, and the one after it.
        assert_eq!(attempts.len(), if suspend { 5 } else { 2 }, "{spans:#?}");
        for attempt in &attempts {
            assert_eq!(attempt.span_kind, SpanKind::Server);
            assert_eq!(attempt.parent_span_id.to_string(), "b7ad6b7169203331");
            assert!(attempt.parent_span_is_remote);
            let trace = attempt.span_context.trace_id().to_string();
            assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(attribute(attempt, "rpc.method").unwrap(), "order");
        }
        let outcomes: Vec<_> = attempts
            .iter()
            .filter_map(|span| attribute(span, "attempt.outcome"))
            .collect();
        assert_eq!(outcomes.len(), attempts.len());
        assert_eq!(outcomes.last().unwrap(), "succeeded");
        let errored = outcomes
            .iter()
            .position(|outcome| outcome == "errored")
            .unwrap();
        assert!(matches!(attempts[errored].status, Status::Error { .. }));

        // The replays have none.
        let [charge] = named(&spans, "charge")[..] else {
            panic!("{spans:#?}")
        };
        assert_eq!(charge.parent_span_id, attempts[0].span_context.span_id());
        assert_eq!(charge.status, Status::Unset);
        let refused = named(&spans, "refuse");
        assert_eq!(refused.len(), 2);
        assert!(
            refused
                .iter()
                .all(|span| matches!(span.status, Status::Error { .. }))
        );

        // Both callees belong to an attempt of the caller, and know it by their headers.
        let callees = named(&spans, "Shop/trace");
        assert_eq!(callees.len(), 2);
        let ids: Vec<SpanId> = attempts
            .iter()
            .map(|attempt| attempt.span_context.span_id())
            .collect();
        assert!(
            callees
                .iter()
                .all(|callee| ids.contains(&callee.parent_span_id))
        );
        assert!(
            ids.iter().any(|id| traceparent.contains(&id.to_string())),
            "{traceparent}"
        );
    }
}

#[test]
fn terminal_failures_are_errors_and_traces_begin_where_nobody_sends_one() {
    let (_, spans) = play(false, |runtime| {
        runtime.call(client().refuse()).unwrap_err()
    });
    let [span] = &spans[..] else {
        panic!("{spans:#?}")
    };
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert_eq!(attribute(span, "attempt.outcome").unwrap(), "failed");
    assert_eq!(attribute(span, "attempt.replayed").unwrap(), "0");
    assert!(matches!(&span.status, Status::Error { description } if description.contains("no")));
}

/// It would go with a `traceparent` that it does not belong to.
#[test]
fn a_trace_state_that_is_there_does_not_stay() {
    let (has_state, _) = play(false, |runtime| runtime.call(client().forward()).unwrap());
    assert!(!has_state);
}
