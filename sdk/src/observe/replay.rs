//! A filter for subscribers: what a handler says while it replays was said before.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// Drops the events of handlers that replay: each was told in an earlier attempt (feature
/// `tracing-subscriber`).
///
/// It is a filter for one layer (`layer.with_filter(ReplayFilter::new())`, alone or combined with others by
/// `FilterExt::and`), or a layer that holds for all (`registry().with(ReplayFilter::new())`). It goes by the
/// field `replaying` of the span `attempt`, which must be enabled (level INFO, target `durably`): where it is
/// not, nothing is dropped. Events outside of attempts, those of this crate, and all spans pass.
///
/// # Examples
///
/// ```
/// use durably::ReplayFilter;
/// use tracing_subscriber::{EnvFilter, filter::FilterExt as _, prelude::*};
///
/// let filter = ReplayFilter::new().and(EnvFilter::new("info"));
/// let subscriber = tracing_subscriber::registry()
///     .with(tracing_subscriber::fmt::layer().with_filter(filter));
/// # let _ = subscriber;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayFilter(());

/// Kept with the span of an attempt.
struct Replaying(AtomicBool);

impl ReplayFilter {
    /// The filter.
    ///
    /// # Examples
    ///
    /// See [`ReplayFilter`].
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

/// Whether it is of this crate.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let rest = metadata.target().strip_prefix("durably");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether an event is to pass that is said now.
fn passes<S>(metadata: &Metadata<'_>, ctx: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if !metadata.is_event() || is_ours(metadata) {
        return true;
    }
    let replays = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
        let extensions = span.extensions();
        let replaying = extensions.get::<Replaying>();
        replaying.is_some_and(|replaying| replaying.0.load(Ordering::Relaxed))
    };
    // The innermost attempt decides; there is never one within another, but for tests.
    match ctx.lookup_current() {
        Some(current) => !current.scope().any(replays),
        None => true,
    }
}

fn begun<S>(attributes: &Attributes<'_>, id: &Id, ctx: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let metadata = attributes.metadata();
    if metadata.name() == "attempt"
        && is_ours(metadata)
        && let Some(span) = ctx.span(id)
    {
        let mut replaying = Look(None);
        attributes.record(&mut replaying);
        let replaying = Replaying(AtomicBool::new(replaying.0.unwrap_or(false)));
        span.extensions_mut().replace(replaying);
    }
}

fn recorded<S>(id: &Id, values: &Record<'_>, ctx: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if let Some(span) = ctx.span(id)
        && let Some(replaying) = span.extensions().get::<Replaying>()
    {
        let mut now = Look(None);
        values.record(&mut now);
        if let Some(now) = now.0 {
            replaying.0.store(now, Ordering::Relaxed);
        }
    }
}

/// Looks for the field `replaying`.
struct Look(Option<bool>);

impl Visit for Look {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "replaying" {
            self.0 = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<S> Filter<S> for ReplayFilter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, ctx: &Context<'_, S>) -> bool {
        passes(metadata, ctx)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        interest(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        begun(attributes, id, &ctx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        recorded(id, values, &ctx);
    }
}

impl<S> Layer<S> for ReplayFilter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // Another layer's wish to see a callsite must not be overruled: events are looked at one by one.
        Interest::always()
    }

    fn event_enabled(&self, event: &Event<'_>, ctx: Context<'_, S>) -> bool {
        passes(event.metadata(), &ctx)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        begun(attributes, id, &ctx);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        recorded(id, values, &ctx);
    }
}

/// What passes in any case need not be asked about again.
fn interest(metadata: &Metadata<'_>) -> Interest {
    if !metadata.is_event() || is_ours(metadata) {
        Interest::always()
    } else {
        Interest::sometimes()
    }
}
