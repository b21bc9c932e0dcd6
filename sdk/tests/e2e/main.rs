//! End-to-end tests against the real server.

use durably::{Endpoint, HttpServer, prelude::*, test_server::RestateServer};

struct Greeter;

#[durably::service]
impl Greeter {
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

#[tokio::test]
async fn a_service_is_called() {
    for v7 in [false, true] {
        for suspend in [false, true] {
            tracing_subscriber::fmt().try_init().ok();
            let mut builder = RestateServer::builder();
            if v7 {
                builder = builder.protocol_v7();
            }
            if suspend {
                builder = builder.always_suspend();
            }
            let server = builder.start().await.unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let uri = format!("http://{}", listener.local_addr().unwrap());
            let endpoint = Endpoint::builder().bind(Greeter).build().unwrap();
            tokio::spawn(
                HttpServer::new(endpoint)
                    .handle_signals(false)
                    .serve(listener),
            );
            server.register(&uri).await.unwrap();
            let greeting: String = server
                .ingress()
                .call("Greeter", "greet", "Ada")
                .await
                .unwrap();
            assert_eq!(greeting, "Hello, Ada!");
            println!(
                "{}",
                server
                    .log()
                    .lines()
                    .filter(|l| l.contains("WARN") || l.contains("ERROR"))
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
    }
}
