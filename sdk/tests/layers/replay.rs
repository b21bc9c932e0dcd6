//! The filter for replays: what is said once is heard once.

use std::time::Duration;

use durably::{
    ReplayFilter,
    prelude::*,
    testing::{TestRuntime, service},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::FilterExt as _,
    layer::{Context as LayerContext, SubscriberExt as _},
};

use crate::Log;

struct Talk;

#[durably::service]
impl Talk {
    #[handler]
    async fn talk(&self, ctx: &Context) -> HandlerResult<()> {
        tracing::info!("begin");
        tracing::debug!("whisper");
        ctx.run("one", async || {
            tracing::info!("run");
            HandlerResult::Ok(())
        })
        .await?;
        tracing::info!("one");
        tracing::info_span!("inner").in_scope(|| tracing::info!("within"));
        ctx.sleep(Duration::from_secs(1)).await?;
        tracing::info!("slept");
        if ctx.retry_count() == 0 && ctx.attempt_headers().is_empty() {
            tracing::info!("never");
        }
        Ok(())
    }

    /// What its last attempt replays ends with the signal by which its cancellation cancels the call.
    #[handler]
    async fn stop(&self, ctx: &Context) -> HandlerResult<()> {
        let go = ctx.signal::<()>("go");
        let client = ctx.service_client::<TalkClient>();
        if client.idle().await.is_err() {
            go.await?;
            tracing::info!("stopped");
        }
        Ok(())
    }

    #[handler]
    async fn idle(&self, ctx: &Context) -> HandlerResult<()> {
        Ok(ctx.signal::<()>("never").await?)
    }
}

/// Writes the messages of events down.
struct Ear(Log);

impl<S: tracing::Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.add(message.0);
    }
}

fn hear(subscriber: impl tracing::Subscriber + Send + Sync, log: &Log) -> Vec<String> {
    tracing::subscriber::with_default(subscriber, || {
        let endpoint = Endpoint::builder().bind(Talk).build().unwrap();
        let mut runtime = TestRuntime::builder(endpoint).always_suspend().build();
        tracing::info!("outside");
        runtime.call(service::<TalkClient>().talk()).unwrap();
        let stopped = runtime.send(service::<TalkClient>().stop()).unwrap();
        runtime.run_until_idle();
        runtime.cancel(&stopped).unwrap();
        runtime.run_until_idle();
        runtime.signal(&stopped, "go", &()).unwrap();
        runtime.attach::<()>(&stopped).unwrap();
    });
    log.take()
}

/// One test, since the cache of callsites is the process's.
#[test]
fn what_is_said_once_is_heard_once() {
    const SAID: [&str; 7] = [
        "outside", "begin", "run", "one", "within", "slept", "stopped",
    ];
    let log = Log::default();
    let ear = || Ear(log.clone());

    let all = hear(Registry::default().with(ear()), &log);
    assert!(
        all.iter().filter(|line| *line == "begin").count() > 1,
        "{all:?}"
    );
    let ours = |line: &String| line.starts_with("the attempt");
    let ends = all.iter().filter(|line| ours(line)).count();
    assert_eq!(ends, 8, "{all:?}");

    let told = |heard: Vec<String>| {
        // What this crate says of its attempts stays.
        assert_eq!(heard.iter().filter(|line| ours(line)).count(), ends);
        let quiet = heard
            .into_iter()
            .filter(|line| !ours(line) && line != "whisper");
        quiet.collect::<Vec<_>>()
    };
    let one = Registry::default().with(ear().with_filter(ReplayFilter::new()));
    assert_eq!(told(hear(one, &log)), SAID);
    let global = Registry::default().with(ReplayFilter::new()).with(ear());
    assert_eq!(told(hear(global, &log)), SAID);
    let combined = ReplayFilter::new().and(EnvFilter::new("info,durably=debug"));
    let combined = Registry::default().with(ear().with_filter(combined));
    assert_eq!(told(hear(combined, &log)), SAID);
    // Twice, for two layers.
    let twice = Registry::default()
        .with(ear().with_filter(ReplayFilter::new()))
        .with(tracing_subscriber::layer::Identity::new().with_filter(ReplayFilter::new()));
    assert_eq!(told(hear(twice, &log)), SAID);
}
