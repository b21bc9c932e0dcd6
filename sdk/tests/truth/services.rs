//! The services of the scenarios. Most of their handlers run a program that comes as their input.

use durably::{Raw, prelude::*};
use serde_json::{Value, json};

use crate::program::{Place, Step, note, run};

/// All of them.
pub(crate) fn services() -> Endpoint {
    let builder = Endpoint::builder().bind(Free).bind(Obj).bind(Flow);
    let builder = builder.bind(Events).bind(EventFlow).bind(Listener);
    let builder = builder.bind(Hidden).bind(Brief);
    builder.build().unwrap()
}

pub(crate) struct Free;

#[durably::service]
impl Free {
    #[handler]
    async fn run(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler]
    async fn double(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n * 2)
    }

    #[handler]
    async fn nothing(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    /// The bytes as they came.
    #[handler]
    async fn bytes(&self, _ctx: &Context, bytes: Raw) -> HandlerResult<Raw> {
        Ok(bytes)
    }

    #[handler]
    async fn maybe(&self, _ctx: &Context, n: Option<u64>) -> HandlerResult<Option<u64>> {
        Ok(n)
    }

    #[handler(ingress_private)]
    async fn private(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }

    #[handler(retry(initial_interval = "20ms", max_attempts = 3, on_max_attempts = "pause"))]
    async fn pausing(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(retry(initial_interval = "20ms", max_attempts = 3, on_max_attempts = "kill"))]
    async fn killed(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// The same, and suspends when it has waited for a moment.
    #[handler(
        inactivity_timeout = "100ms",
        retry(initial_interval = "20ms", max_attempts = 3, on_max_attempts = "kill")
    )]
    async fn killed_soon(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// Is forgotten soon, though not before it is looked at.
    #[handler(idempotency_retention = "4s")]
    async fn brief(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(journal_retention = "1s")]
    async fn brief_journal(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    #[handler(journal_retention = "0s")]
    async fn no_journal(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// A long back-off.
    #[handler(retry(initial_interval = "1h"))]
    async fn patient(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// Suspends whenever it waits.
    #[handler(inactivity_timeout = "0s")]
    async fn suspending(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }

    /// Suspends when it has waited for a moment.
    #[handler(inactivity_timeout = "100ms")]
    async fn soon(&self, ctx: &Context, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Free, steps).await
    }
}

/// Reachable only for handlers.
pub(crate) struct Hidden;

#[durably::service(ingress_private)]
impl Hidden {
    #[handler]
    async fn double(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n * 2)
    }
}

pub(crate) struct Obj;

#[durably::object]
impl Obj {
    #[handler]
    async fn run(&self, ctx: &ObjectContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Object(ctx), steps).await
    }

    #[handler(lazy_state)]
    async fn lazily(&self, ctx: &ObjectContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Object(ctx), steps).await
    }

    #[handler]
    async fn shared(&self, ctx: &SharedObjectContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::SharedObject(ctx), steps).await
    }

    #[handler]
    async fn double(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        Ok(n * 2)
    }
}

pub(crate) struct Flow;

#[durably::workflow]
impl Flow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::Workflow(ctx), steps).await
    }

    #[handler]
    async fn shared(&self, ctx: &SharedWorkflowContext, steps: Vec<Step>) -> HandlerResult<Value> {
        run(ctx, Place::SharedWorkflow(ctx), steps).await
    }
}

/// Keeps what comes, by key.
pub(crate) struct Events;

/// An id; on the embedded runtime a subscription has a name.
fn is_subscription(id: &str) -> bool {
    id.starts_with("sub_1") || id.ends_with(":Events/on_event")
}

#[durably::object]
impl Events {
    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<Value>) -> HandlerResult<()> {
        let mut seen = ctx.get::<Vec<Value>>("seen").await?.unwrap_or_default();
        seen.push(json!({
            "value": event.value(),
            "tombstone": event.is_tombstone(),
            "key": event.key_str(),
            "topic": event.topic(),
            "partition": event.partition(),
            "offset": event.offset(),
            "timestamp": event.timestamp().is_some(),
            "subscription": event.subscription_id().map(is_subscription),
        }));
        ctx.set("seen", &seen);
        Ok(())
    }

    #[handler]
    async fn seen(&self, ctx: &SharedObjectContext) -> HandlerResult<Value> {
        Ok(json!(ctx.get::<Value>("seen").await?))
    }

    /// Fails once for each record.
    #[handler(retry(initial_interval = "20ms"))]
    async fn stumbling(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        if note(ctx.invocation_id(), "") == 1 {
            return Err("this fails on purpose".into());
        }
        let mut values = ctx.get::<Vec<u64>>("values").await?.unwrap_or_default();
        values.extend(event.value());
        ctx.set("values", &values);
        Ok(())
    }

    /// The names of the headers that come with a record, in order.
    #[handler]
    async fn headers(&self, ctx: &ObjectContext, _event: KafkaEvent<Value>) -> HandlerResult<()> {
        let names: Vec<_> = ctx.headers().iter().map(|(name, _)| name).collect();
        ctx.set("names", &names);
        Ok(())
    }
}

/// Is run by records.
pub(crate) struct EventFlow;

#[durably::workflow]
impl EventFlow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, event: KafkaEvent<Value>) -> HandlerResult<()> {
        ctx.set("value", &event.value());
        Ok(())
    }
}

/// Notes what comes, under the topic.
pub(crate) struct Listener;

#[durably::service]
impl Listener {
    #[handler]
    async fn on_event(&self, _ctx: &Context, event: KafkaEvent<Value>) -> HandlerResult<()> {
        let line = format!("{:?} {:?}", event.key_str(), event.value());
        note(event.topic().unwrap_or_default(), line);
        Ok(())
    }

    #[handler(ingress_private)]
    async fn unseen(&self, _ctx: &Context, event: KafkaEvent<Value>) -> HandlerResult<()> {
        let line = format!("unseen {:?}", event.value());
        note(event.topic().unwrap_or_default(), line);
        Ok(())
    }

    /// Takes no record as such.
    #[handler]
    async fn number(&self, ctx: &Context, n: u64) -> HandlerResult<()> {
        let topic = ctx.headers().get("kafka.topic").unwrap_or_default();
        note(topic, format!("number {n}"));
        Ok(())
    }
}

/// Is forgotten soon, though not before it is looked at.
pub(crate) struct Brief;

#[durably::workflow]
impl Brief {
    #[handler(workflow_retention = "4s")]
    async fn run(&self, _ctx: &WorkflowContext, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }
}
