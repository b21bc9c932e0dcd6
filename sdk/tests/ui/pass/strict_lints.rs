//! The output passes lints that its users may deny, whatever is private and whatever is unused.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    unused_results,
    single_use_lifetimes,
    clippy::all,
    clippy::pedantic
)]
#![forbid(unsafe_code)]

use durably::prelude::*;

mod shop {
    //! Private payloads in a private module.

    use super::*;
    use durably::{Encode, FromInput, HandlerDefinition, Request, Service, ServiceDefinition};

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Order;

    struct Cart<T>(T);

    pub(crate) struct Orders;

    #[durably::object]
    impl Orders {
        /// Takes an [`Order`].
        #[handler]
        async fn place(&self, _ctx: &ObjectContext, order: Order) -> HandlerResult<Order> {
            let _: Option<(HandlerDefinition, ServiceDefinition)> = None;
            let _: Option<Request<'_, (), ()>> = None;
            Ok(payload(order))
        }

        #[handler]
        #[deprecated = "orders are final"]
        async fn cancel(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
            Ok(())
        }
    }

    trait Private: Send + Sync + 'static {}

    impl Private for u8 {}

    #[durably::service]
    impl<T: Private> Cart<T> {
        #[handler]
        async fn add(&self, _ctx: &Context, order: Order) -> HandlerResult<()> {
            let _ = (&self.0, order);
            Ok(())
        }
    }

    pub(crate) fn bind() {
        assert_service(Orders);
        assert_service(Cart(1_u8));
    }

    fn assert_service(_: impl Service) {}

    fn payload<T: Encode + FromInput>(value: T) -> T {
        value
    }
}

mod old {
    //! What is deprecated, and allowed where it is written.

    use durably::prelude::*;

    #[deprecated = "amounts are in cents"]
    pub(crate) type Euros = u64;

    struct Till;

    #[allow(deprecated, reason = "old callers send it")]
    #[durably::object]
    impl Till {
        #[handler]
        async fn pay(&self, _ctx: &ObjectContext, amount: Euros) -> HandlerResult<Euros> {
            Ok(amount)
        }
    }

    #[deprecated = "nobody greets any more"]
    #[durably::service]
    pub(crate) trait Greeter {
        async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String>;
    }

    struct MyGreeter;

    #[allow(deprecated, reason = "old callers call it")]
    #[durably::service]
    impl Greeter for MyGreeter {
        async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
            Ok(name)
        }
    }

    pub(crate) fn bind() {
        let _ = Endpoint::builder().bind(Till).bind(MyGreeter);
    }
}

fn main() {
    shop::bind();
    old::bind();
}
