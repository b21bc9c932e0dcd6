//! Every option, and what arrives in the definition.

use durably::prelude::*;
use durably::{HandlerKind, Service as _, ServiceKind};

struct Checkout;

/// Takes an order
/// through payment.
///
///   * indented
#[durably::workflow(
    name = "shop.Checkout-v2",
    metadata("team" = "payments", "tier" = "1"),
    inactivity_timeout = "30s",
    abort_timeout = "1m 30s",
    journal_retention = "7d",
    idempotency_retention = "12h",
    lazy_state,
    ingress_private = false,
    retry(
        initial_interval = "100ms",
        max_interval = "10s",
        factor = 2.0,
        max_attempts = 5,
        on_max_attempts = "pause"
    ),
    crate = "::durably",
)]
impl Checkout {
    /// The whole order.
    #[handler(name = "start", workflow_retention = "1d", lazy_state = false)]
    async fn run(&self, _: &WorkflowContext) -> HandlerResult<u64> {
        Ok(1)
    }

    #[handler(
        metadata("a" = "b"),
        inactivity_timeout = "1s",
        abort_timeout = "2s",
        journal_retention = "3s",
        idempotency_retention = "4s",
        ingress_private,
        retry(max_attempts = 1, on_max_attempts = "kill"),
    )]
    async fn status(&self, _: &SharedWorkflowContext, verbose: bool) -> HandlerResult<()> {
        let _ = verbose;
        Ok(())
    }
}

struct Orders;

#[durably::object]
impl Orders {
    #[handler(kafka(dead_letter = "DeadLetters/record"))]
    async fn kept(&self, _: &ObjectContext, _event: KafkaEvent<u64>) -> HandlerResult<u64> {
        Ok(1)
    }

    #[handler(kafka(dead_letter = "dead.Letters/by/topic/record", on_decode_failure = "fail"))]
    async fn rejected(&self, _: &ObjectContext, _event: u64) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(on_decode_failure = "pause", on_terminal_failure = "pause",))]
    async fn paused(&self, _: &SharedObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {
    let _ = Orders.definition();
    let definition = Checkout.definition();
    let _: &durably::ServiceDefinition = &definition;
    let _ = (HandlerKind::Workflow, ServiceKind::Workflow);
}
