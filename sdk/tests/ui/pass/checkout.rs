//! A workflow and an object as the documentation shows them, with everything that they use.

use durably::{Endpoint, HttpServer, prelude::*};
use serde::{Deserialize, Serialize};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Serialize, Deserialize)]
struct Order {
    sku: String,
    quantity: u32,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    charge: u64,
    stock: u32,
    label: String,
    approved: Decision,
}

#[derive(Serialize, Deserialize)]
enum Decision {
    Approved,
    TimedOut,
}

struct PaymentClient;

impl PaymentClient {
    async fn charge(&self, order: &Order) -> anyhow::Result<u64> {
        Ok(order.quantity.into())
    }
}

async fn print_label(order: &Order) -> anyhow::Result<String> {
    Ok(order.sku.clone())
}

struct Inventory;

#[durably::object]
impl Inventory {
    #[handler]
    async fn reserve(&self, _ctx: &ObjectContext, quantity: u32) -> HandlerResult<u32> {
        Ok(quantity)
    }
}

struct Checkout {
    payments: PaymentClient,
}

#[durably::workflow]
impl Checkout {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, order: Order) -> HandlerResult<Receipt> {
        let charge = ctx
            .run("charge card", || self.payments.charge(&order))
            .retry(RetryPolicy::exponential(ms(100), 2.0).max_attempts(5))
            .await?;

        // any two durable things at once
        let (stock, label) = durably::try_join!(
            ctx.object_client::<InventoryClient>(&order.sku).reserve(order.quantity),
            ctx.run("print label", || print_label(&order)),
        )?;

        let approved = durably::select! {
            decision = ctx.promise::<Decision>("approval") => decision?,
            _ = ctx.sleep(Duration::from_secs(86_400)) => Decision::TimedOut,
        };
        ctx.set("status", &approved);
        Ok(Receipt { charge, stock, label, approved })
    }

    #[handler]
    async fn approve(&self, ctx: &SharedWorkflowContext) -> HandlerResult<()> {
        Ok(ctx.promise::<Decision>("approval").resolve(&Decision::Approved).await?)
    }
}

#[derive(Serialize, Deserialize)]
struct OrderEvent {
    what: String,
}

#[derive(Serialize, Deserialize)]
struct AuditEntry {
    what: Option<String>,
    offset: Option<i64>,
}

impl From<&KafkaEvent<OrderEvent>> for AuditEntry {
    fn from(event: &KafkaEvent<OrderEvent>) -> Self {
        Self { what: event.value().map(|event| event.what.clone()), offset: event.offset() }
    }
}

struct Audit;

#[durably::service]
impl Audit {
    #[handler]
    async fn record(&self, _ctx: &Context, _entry: AuditEntry) -> HandlerResult<()> {
        Ok(())
    }
}

struct Orders;

#[durably::object]
impl Orders {
    /// Invoked for each record of a Kafka topic; the record key is the object key.
    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: KafkaEvent<OrderEvent>) -> HandlerResult<()> {
        let seen = ctx.get::<u64>("seen").await?.unwrap_or_default();
        ctx.set("seen", &(seen + 1));
        ctx.service_client::<AuditClient>().record(AuditEntry::from(&event)).send();
        Ok(())
    }
}

async fn serve() -> anyhow::Result<()> {
    let endpoint = Endpoint::builder()
        .bind(Checkout { payments: PaymentClient })
        .bind(Orders)
        .bind(Inventory)
        .bind(Audit)
        .build()?;
    HttpServer::new(endpoint).listen("0.0.0.0:9080").await?;
    Ok(())
}

fn main() {
    let _ = serve;
}
