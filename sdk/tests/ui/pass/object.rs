//! A virtual object: exclusive and shared handlers, a Kafka event as input.

use durably::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
struct OrderEvent {
    quantity: u64,
}

struct Orders;

#[durably::object]
impl Orders {
    #[handler]
    async fn on_event(
        &self,
        ctx: &ObjectContext,
        event: KafkaEvent<OrderEvent>,
    ) -> HandlerResult<()> {
        let left = ctx
            .object_client::<InventoryClient>("sku")
            .reserve(event.value().map_or(0, |event| event.quantity))
            .await?;
        ctx.object_client::<OrdersClient>("other")
            .on_event(OrderEvent { quantity: left })
            .send();
        Ok(())
    }
}

struct Inventory;

#[durably::object]
impl Inventory {
    #[handler]
    async fn reserve(&self, _ctx: &ObjectContext, quantity: u64) -> HandlerResult<u64> {
        Ok(quantity)
    }

    #[handler]
    async fn available(&self, _ctx: &SharedObjectContext) -> HandlerResult<Option<u64>> {
        Ok(None)
    }
}

fn main() {
    fn clients(ctx: &durably::Context) {
        let client = ctx.object_client::<InventoryClient>("sku".to_owned());
        let copy = client.clone();
        drop(client.available());
        assert_eq!(format!("{copy:?}"), "InventoryClient { key: \"sku\", .. }");
    }
    let _ = clients;
}
