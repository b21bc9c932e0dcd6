//! What `compare --costs` builds: the smallest service that there is.

use durably::prelude::*;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Hello, {name}!"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = format!("127.0.0.1:{}", std::env::var("PORT")?);
    let endpoint = Endpoint::builder().bind(Greeter).build()?;
    HttpServer::new(endpoint).listen(address).await?;
    Ok(())
}
