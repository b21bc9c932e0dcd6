//! A program that registers itself.

use std::{io, time::Duration};

use durably::{
    Endpoint, HttpServer,
    admin::{Change, KafkaCluster, Registration, Subscription},
    test_server::{RestateServer, free_port},
};

use crate::{Greeter, Result, eventually, in_time};

fn registration(server: &RestateServer, port: u16) -> Registration {
    Registration::at(server.admin_url())
        .advertise(format!("http://127.0.0.1:{port}"))
        .kafka_cluster(KafkaCluster::new("events", "127.0.0.1:1"))
        .subscription(Subscription::new("kafka://events/names", "Greeter/greet"))
}

async fn listen(port: u16, registration: Registration) -> io::Result<()> {
    let endpoint = Endpoint::builder().bind(Greeter).build();
    let server = HttpServer::new(endpoint.map_err(io::Error::other)?).handle_signals(false);
    server
        .register(registration)
        .listen(("127.0.0.1", port))
        .await
}

#[tokio::test]
async fn a_program_registers_itself_once_the_server_is_up() -> Result {
    in_time(registers_itself()).await
}

async fn registers_itself() -> Result {
    let server = RestateServer::builder().start().await?;
    let admin = server.admin();
    server.kill9();
    let port = free_port()?;
    let program = tokio::spawn(listen(port, registration(&server, port)));
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.restart().await?;
    let subscribed = eventually("the subscription", async || {
        Ok(admin.subscriptions().await?.pop())
    });
    let subscribed = subscribed.await?;
    assert_eq!(subscribed.sink, "service://Greeter/greet");
    let greeting: String = server.ingress().call("Greeter", "greet", "Ada").await?;
    assert_eq!(greeting, "Hello, Ada!");

    // The next start changes nothing.
    program.abort();
    drop(program.await);
    let program = tokio::spawn(listen(port, registration(&server, port)));
    let registered = registration(&server, port).ensure().await?;
    assert!(!program.is_finished());
    let deployment = registered.deployment.ok_or("no deployment")?;
    assert_eq!(
        (deployment.change, deployment.value.services[0].revision),
        (Change::Nothing, 1)
    );
    assert_eq!(registered.kafka_clusters[0].change, Change::Nothing);
    assert_eq!(registered.subscriptions[0].change, Change::Nothing);
    assert_eq!(admin.subscriptions().await?, [subscribed]);
    program.abort();
    Ok(())
}

#[tokio::test]
async fn a_refusal_ends_the_program() -> Result {
    in_time(refusal()).await
}

async fn refusal() -> Result {
    let server = RestateServer::builder().start().await?;
    let port = free_port()?;
    let wrong = Subscription::new("kafka://events/names", "Greeter/nobody");
    let error = listen(port, registration(&server, port).subscription(wrong))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("META0009"), "{error}");
    Ok(())
}
