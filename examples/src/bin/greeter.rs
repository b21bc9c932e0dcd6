//! A service: handlers without a key and without state.

use durably::{Endpoint, HttpServer, prelude::*};

struct Greeter;

/// Greets people.
#[durably::service]
impl Greeter {
    /// Greets somebody by name, after a nap.
    #[handler]
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String> {
        ctx.sleep(Duration::from_millis(100)).await?;
        let greeting = ctx
            .run("choose a greeting", async || {
                Ok::<_, std::io::Error>(format!("Hello, {name}!"))
            })
            .await?;
        Ok(greeting)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let endpoint = Endpoint::builder().bind(Greeter).build()?;
    HttpServer::new(endpoint).run().await?;
    Ok(())
}
