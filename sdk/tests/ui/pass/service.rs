//! A service with its dependencies in the struct, helper methods and several handlers.

use durably::prelude::*;

struct Greeter {
    greeting: String,
}

#[durably::service]
impl Greeter {
    fn new(greeting: &str) -> Self {
        Self {
            greeting: greeting.to_owned(),
        }
    }

    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(self.compose(&name).await)
    }

    #[handler]
    pub async fn ping(&self, _: &Context) -> Result<(), TerminalError> {
        Ok(())
    }

    #[durably::handler]
    async fn sum(&self, _ctx: &durably::Context, (a, b): (u32, u32)) -> Result<u32, TerminalError> {
        a.checked_add(b)
            .ok_or_else(|| TerminalError::new("overflow"))
    }

    async fn compose(&self, name: &str) -> String {
        format!("{}, {name}!", self.greeting)
    }
}

struct Caller;

#[durably::service]
impl Caller {
    #[handler]
    async fn call(&self, ctx: &Context) -> HandlerResult<u32> {
        let client = ctx.service_client::<GreeterClient>();
        client.greet("you".to_owned()).send();
        client.ping().await?;
        Ok(client.sum((1, 2)).call().await?)
    }
}

fn assert_service(_: impl durably::Service) {}

fn main() {
    assert_service(Greeter::new("Hello"));
    assert_service(Caller);
}
