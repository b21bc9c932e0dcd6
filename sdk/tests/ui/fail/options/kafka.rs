//! What becomes of a record that a handler cannot take, said in ways that make no sense.

use durably::prelude::*;

struct Orders;

#[durably::object(kafka(on_decode_failure = "pause"))]
impl Orders {
    #[handler(kafka)]
    async fn bare(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka())]
    async fn empty(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka = "pause")]
    async fn assigned(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(on_failure = "pause", on_decode_failure = "retry", on_decode_failure = "fail"))]
    async fn unknown(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(on_decode_failure = pause, on_terminal_failure))]
    async fn values(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(on_decode_failure = "dead_letter"))]
    async fn nobody(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(
        dead_letter = "DeadLetters/record",
        on_decode_failure = "pause",
        on_terminal_failure = "fail"
    ))]
    async fn nothing(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(dead_letter = "DeadLetters"))]
    async fn service_alone(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(dead_letter = "Dead Letters/record"))]
    async fn no_name(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(dead_letter = DeadLetters))]
    async fn no_text(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }

    #[handler(kafka(dead_letter = "Orders/all/own"))]
    async fn own(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Ok(())
    }
}

fn main() {}
