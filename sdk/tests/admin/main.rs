//! The admin client against a real server: what it changes is seen there, doing it twice changes nothing, and refusals
//! are typed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod invocations;
mod kafka;
#[path = "../suite/patience.rs"]
mod patience;
mod registration;

use std::time::Duration;

use durably::{
    Endpoint, HttpServer,
    admin::{AdminError, Change, NewDeployment, ServiceChange},
    prelude::*,
    test_server::{RestateServer, free_port},
};
use patience::{eventually, in_time};
use tokio::{net::TcpListener, task::JoinHandle};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Hello, {name}!"))
    }
}

/// The next version of it.
struct Politer;

#[durably::service(name = "Greeter")]
impl Politer {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Good evening, {name}."))
    }

    #[handler]
    async fn part(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Good night, {name}."))
    }
}

/// One that is of another kind.
struct Keyed;

#[durably::object(name = "Greeter")]
impl Keyed {
    #[handler]
    async fn greet(&self, _ctx: &ObjectContext, name: String) -> HandlerResult<String> {
        Ok(name)
    }
}

/// Serves an endpoint at a port until it is aborted.
async fn serve(port: u16, endpoint: Endpoint) -> Result<JoinHandle<()>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let server = HttpServer::new(endpoint).handle_signals(false);
    Ok(tokio::spawn(async {
        server.serve(listener).await.unwrap()
    }))
}

#[track_caller]
fn refused(error: &AdminError, status: u16, code: Option<&str>) {
    let AdminError::Refused {
        status: found,
        code: found_code,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((*found, found_code.as_deref()), (status, code), "{error}");
}

#[tokio::test]
async fn deployments_are_registered_and_ensured() -> Result {
    in_time(deployments()).await
}

async fn deployments() -> Result {
    let server = RestateServer::builder().start().await?;
    let admin = server.admin();
    let port = free_port()?;
    let uri = format!("http://127.0.0.1:{port}");
    let plain = NewDeployment::at(&uri);

    let error = admin.register(&plain).await.unwrap_err();
    refused(&error, 500, Some("META0003"));
    refused(
        &admin
            .register(&NewDeployment::at("home"))
            .await
            .unwrap_err(),
        400,
        None,
    );
    assert_eq!(admin.deployments().await?, []);

    let serving = serve(port, Endpoint::builder().bind(Greeter).build()?).await?;
    let first = admin.ensure_deployment(&plain).await?;
    assert_eq!(first.change, Change::Created);
    let first = first.value;
    assert_eq!(first.uri.as_deref(), Some(&*format!("{uri}/")));
    assert_eq!(
        first.sdk_version.as_deref(),
        Some(concat!("durably/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(
        (&*first.services[0].name, first.services[0].revision),
        ("Greeter", 1)
    );

    // Again, and again: nothing, unless by force.
    assert_eq!(admin.register(&plain).await?, first);
    for _ in 0..2 {
        let ensured = admin.ensure_deployment(&plain).await?;
        assert_eq!((ensured.change, &ensured.value), (Change::Nothing, &first));
    }
    let forced = admin.register(&plain.clone().force()).await?;
    assert_eq!((&forced.id, forced.services[0].revision), (&first.id, 2));

    // The program is replaced by its next version.
    serving.abort();
    drop(serving.await);
    let _serving = serve(port, Endpoint::builder().bind(Politer).build()?).await?;
    assert_eq!(admin.service("Greeter").await?.handlers.len(), 1);
    let ensured = admin.ensure_deployment(&plain).await?;
    assert_eq!(
        (ensured.change, &ensured.value.id),
        (Change::Updated, &first.id)
    );
    let service = admin.service("Greeter").await?;
    let mut handlers: Vec<_> = service
        .handlers
        .iter()
        .map(|handler| &*handler.name)
        .collect();
    handlers.sort_unstable();
    assert_eq!(handlers, ["greet", "part"]);
    assert_eq!(
        admin.ensure_deployment(&plain).await?.change,
        Change::Nothing
    );

    // A version elsewhere is of another kind.
    let elsewhere = free_port()?;
    let _other = serve(elsewhere, Endpoint::builder().bind(Keyed).build()?).await?;
    let keyed = NewDeployment::at(format!("http://127.0.0.1:{elsewhere}"));
    let error = admin.ensure_deployment(&keyed).await.unwrap_err();
    refused(&error, 409, Some("META0006"));
    let keyed = admin.ensure_deployment(&keyed.breaking()).await?;
    assert_eq!(keyed.change, Change::Created);
    assert_eq!(
        admin.service("Greeter").await?.deployment_id,
        keyed.value.id
    );
    admin.delete_deployment(&keyed.value.id).await?;

    // How it is called counts too.
    let other = plain
        .http1()
        .header("X-Tenant", "acme")
        .metadata("commit", "1");
    assert_eq!(
        admin.ensure_deployment(&other).await?.change,
        Change::Updated
    );
    let found = admin.ensure_deployment(&other).await?;
    assert_eq!(found.change, Change::Nothing);
    assert_eq!(found.value.http_version.as_deref(), Some("HTTP/1.1"));
    assert_eq!(found.value.additional_headers["x-tenant"], "acme");
    assert_eq!(found.value.metadata["commit"], "1");
    let greeting: String = server.ingress().call("Greeter", "greet", "Ada").await?;
    assert_eq!(greeting, "Good evening, Ada.");

    let listed = admin.deployments().await?;
    assert_eq!(
        listed.iter().map(|one| &*one.id).collect::<Vec<_>>(),
        [&*first.id]
    );
    admin.delete_deployment(&first.id).await?;
    assert_eq!(admin.deployments().await?, []);
    refused(&admin.deployment(&first.id).await.unwrap_err(), 404, None);
    refused(
        &admin.delete_deployment(&first.id).await.unwrap_err(),
        404,
        None,
    );
    refused(&admin.service("Greeter").await.unwrap_err(), 404, None);
    Ok(())
}

#[tokio::test]
async fn services_are_listed_and_changed() -> Result {
    in_time(services()).await
}

async fn services() -> Result {
    let server = RestateServer::builder().start().await?;
    let admin = server.admin();
    let served = server
        .serve(Endpoint::builder().bind(Greeter).build()?)
        .await?;
    let services = admin.services().await?;
    assert_eq!(services, [admin.service("Greeter").await?]);
    let greeter = &services[0];
    assert_eq!((&*greeter.kind, greeter.public), ("Service", true));
    assert_eq!(greeter.deployment_id, served.deployment().id);
    assert_eq!(greeter.handlers[0].kind, None);

    let change = ServiceChange::default()
        .public(false)
        .journal_retention(Duration::from_secs(2 * 24 * 3600))
        .inactivity_timeout(Duration::from_millis(1_500));
    let changed = admin.change_service("Greeter", &change).await?;
    assert!(!changed.public);
    assert_eq!(admin.service("Greeter").await?, changed);
    assert_eq!(changed.other["journal_retention"], "2d");
    assert_eq!(changed.other["inactivity_timeout"], "1s 500ms");
    let error = server
        .ingress()
        .call::<String>("Greeter", "greet", "Ada")
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    let nobody = admin.change_service("Nobody", &change).await.unwrap_err();
    refused(&nobody, 404, None);
    Ok(())
}
