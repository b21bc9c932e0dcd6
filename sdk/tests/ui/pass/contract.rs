//! Contracts: traits with handlers and no code, their clients, and what implements them.

#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic
)]
#![forbid(unsafe_code)]

use std::fmt;

use durably::prelude::*;
use durably::{HandlerKind, Service as _, ServiceKind};

use self::shop::{Checkout, CheckoutClient, Greeter, GreeterClient};

/// What a shared crate would hold.
pub mod shop {
    use durably::prelude::*;

    /// Greets people.
    #[durably::service]
    pub trait Greeter {
        /// Greets one person.
        async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String>;

        /// Takes notice.
        #[handler(name = "onEvent")]
        async fn on_event(&self, _ctx: &Context, event: KafkaEvent<u64>) -> HandlerResult<()>;

        /// For another platform.
        #[cfg(any())]
        async fn absent(&self, ctx: &Context) -> Missing;

        /// Was here once.
        #[deprecated]
        async fn r#move(&self, ctx: &Context) -> Result<(), TerminalError>;
    }

    /// A cart.
    #[durably::object(name = "shop.Cart", journal_retention = "1d")]
    pub trait Cart: Send {
        /// Adds an item.
        async fn add(&self, ctx: &ObjectContext, item: String) -> HandlerResult<()>;
        /// What is in it.
        async fn items(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<String>>;
    }

    /// A checkout.
    #[durably::workflow]
    pub trait Checkout {
        /// The workflow itself.
        #[handler(workflow_retention = "1d")]
        async fn run(&self, ctx: &WorkflowContext, total: u64) -> HandlerResult<bool>;
        /// Pays.
        async fn pay(&self, ctx: &SharedWorkflowContext, cents: u64) -> HandlerResult<()>;
    }

    /// Nobody implements it here.
    #[durably::service]
    trait Elsewhere {
        async fn work(&self, ctx: &Context, work: C) -> HandlerResult<C>;
    }

    /// Called like a type parameter might be.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct C;
}

struct MyGreeter<S> {
    greeting: S,
}

/// How it is done here.
#[durably::service(inactivity_timeout = "1m")]
impl<S: fmt::Display + Send + Sync + 'static> Greeter for MyGreeter<S> {
    #[handler(retry(max_attempts = 3), lazy_state)]
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String> {
        ctx.sleep(Duration::from_millis(1)).await?;
        Ok(format!("{}, {name}!", self.greeting))
    }

    async fn on_event(&self, ctx: &Context, event: KafkaEvent<u64>) -> HandlerResult<()> {
        ctx.workflow_client::<CheckoutClient>("7").pay(event.into_value().unwrap_or_default()).send();
        Ok(())
    }

    async fn r#move(&self, _ctx: &Context) -> Result<(), TerminalError> {
        Ok(())
    }
}

struct MyCart;

#[durably::object]
impl shop::Cart for MyCart {
    async fn add(&self, ctx: &ObjectContext, item: String) -> HandlerResult<()> {
        let mut items = self.items(ctx).await?;
        items.push(item);
        ctx.set("items", &items);
        Ok(())
    }

    async fn items(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<String>> {
        Ok(ctx.get("items").await?.unwrap_or_default())
    }
}

struct MyCheckout;

#[durably::workflow]
impl Checkout for MyCheckout {
    async fn run(&self, ctx: &WorkflowContext, total: u64) -> HandlerResult<bool> {
        let greeting = ctx.service_client::<GreeterClient>().greet("Ada".to_owned()).await?;
        ctx.set("greeting", &greeting);
        Ok(ctx.promise::<u64>("paid").await? >= total)
    }

    async fn pay(&self, ctx: &SharedWorkflowContext, cents: u64) -> HandlerResult<()> {
        Ok(ctx.promise("paid").resolve(&cents).await?)
    }
}

fn main() {
    let definition = MyGreeter { greeting: "Hello" }.definition();
    assert_eq!((definition.name(), definition.kind()), ("Greeter", ServiceKind::Service));
    let names: Vec<&str> = definition.handlers().iter().map(durably::HandlerDefinition::name).collect();
    assert_eq!(names, ["greet", "onEvent", "move"]);
    let cart = MyCart.definition();
    assert_eq!((cart.name(), cart.kind()), ("shop.Cart", ServiceKind::Object));
    let kinds: Vec<_> = cart.handlers().iter().map(durably::HandlerDefinition::kind).collect();
    assert_eq!(kinds, [HandlerKind::Exclusive, HandlerKind::Shared]);
    let endpoint = Endpoint::builder().bind(definition).bind(cart).bind(MyCheckout).build();
    assert!(endpoint.is_ok());
}
