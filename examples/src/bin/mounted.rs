//! An axum program with durable handlers in it, beside its own routes, one of which is a webhook that wakes a
//! workflow. The handlers are mounted for a Restate server; or the local runtime is in the program as well.
//!
//! `cargo run -p durably-examples --bin mounted` shows it with the local runtime, and with the argument `--server`
//! mounted; with `serve` it only serves.

use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing};
use durably::local::LocalRuntimeBuilder;
use durably::prelude::*;
use reqwest::Url;
use serde::{Deserialize, Serialize};

struct Checkout;

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    cents: u64,
    /// How long the buyer may take to pay.
    patience_seconds: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Payment {
    cents: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Paid(Payment),
    TimedOut,
}

/// Sells something; the key is the order's number.
#[durably::workflow]
impl Checkout {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, order: Order) -> HandlerResult<Outcome> {
        ctx.run("ask for payment", || {
            ask_for_payment(ctx.key(), order.cents)
        })
        .await?;
        Ok(durably::select! {
            payment = ctx.promise::<Payment>("paid") => Outcome::Paid(payment?),
            _ = ctx.sleep(Duration::from_secs(order.patience_seconds)) => Outcome::TimedOut,
        })
    }

    /// The provider says that somebody has paid.
    #[handler]
    async fn paid(&self, ctx: &SharedWorkflowContext, payment: Payment) -> HandlerResult<()> {
        ctx.promise::<Payment>("paid").resolve(&payment).await?;
        Ok(())
    }
}

/// Stands for a request to a payment provider, which is told our webhook.
async fn ask_for_payment(_order: &str, _cents: u64) -> std::io::Result<()> {
    Ok(())
}

/// What the routes of the program need.
#[derive(Clone)]
struct Shop {
    http: reqwest::Client,
    /// Where handlers are called.
    ingress: Url,
    /// What only the payment provider and we know.
    secret: String,
}

/// What the provider sends to the webhook: at least once.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PaymentEvent {
    id: String,
    order: String,
    cents: u64,
}

/// `POST /webhooks/payments`: passes the event on to the workflow that waits for it.
///
/// The answer is 202 once the server has it; then it is not lost any more. An event that comes again has the
/// same id, which is the idempotency key, and changes nothing. When the server cannot be reached, the
/// provider hears so and tries again, as providers do.
async fn webhook(
    State(shop): State<Shop>,
    headers: HeaderMap,
    Json(event): Json<PaymentEvent>,
) -> StatusCode {
    if headers.get("x-secret").map(|value| value.as_bytes()) != Some(shop.secret.as_bytes()) {
        return StatusCode::UNAUTHORIZED;
    }
    let mut url = shop.ingress;
    let Ok(mut path) = url.path_segments_mut() else {
        return StatusCode::INTERNAL_SERVER_ERROR;
    };
    path.pop_if_empty()
        .extend(["Checkout", &event.order, "paid", "send"]);
    drop(path);
    let request = shop.http.post(url).header("idempotency-key", &event.id);
    let payment = Payment { cents: event.cents };
    let sent = request.json(&payment).send().await;
    match sent.and_then(reqwest::Response::error_for_status) {
        Ok(_) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn endpoint() -> Result<Endpoint, durably::BuildError> {
    Endpoint::builder().bind(Checkout).build()
}

/// What the program serves besides handlers.
fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/", routing::get(async || "welcome to the shop"))
        .route("/webhooks/payments", routing::post(webhook))
        .with_state(shop)
}

/// The whole program, until it is told to stop: a Restate server calls the handlers under `/durable`.
async fn program(
    listener: TcpListener,
    shop: Shop,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let endpoint = endpoint()?;
    let routes = routes(shop).nest_service("/durable", endpoint.clone());
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            stop.await;
            // Without this it would take until the workflows that wait are done with it.
            endpoint.drain();
        })
        .await?;
    Ok(())
}

/// The same program with the local runtime in it, which calls the handlers itself: they need no route, and what
/// waits when the program stops goes on when it is started again.
async fn program_with_runtime(
    listener: TcpListener,
    shop: Shop,
    runtime: LocalRuntimeBuilder,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let runtime = runtime.start().await?;
    axum::serve(listener, routes(shop))
        .with_graceful_shutdown(stop)
        .await?;
    runtime.shutdown().await?;
    Ok(())
}

// That was the program. What follows runs it, and plays the buyers and the payment provider.

use std::env;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use durably_examples::{Demo, print};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SECRET: &str = "open sesame";

#[tokio::main]
async fn main() -> ExitCode {
    durably_examples::run_program(endpoint(), serve, demonstrate).await
}

async fn serve() -> anyhow::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "9080".to_owned());
    let port: u16 = port.parse().context("PORT")?;
    let ingress = env::var("RESTATE_INGRESS_URL");
    let ingress = ingress.as_deref().unwrap_or("http://localhost:8080");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    // From here on, not only once the first request is there.
    let stop = stop_signal()?;
    print(format_args!("listening on {}", listener.local_addr()?));
    program(listener, shop(ingress)?, stop).await
}

/// Ends at ctrl-c, or when the process shall end.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

fn shop(ingress: &str) -> anyhow::Result<Shop> {
    Ok(Shop {
        http: reqwest::Client::new(),
        ingress: ingress.parse().context("the ingress is no URL")?,
        secret: SECRET.to_owned(),
    })
}

/// The program at work.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(demo: &Demo, address: SocketAddr, shop: Shop) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let ended = match demo.local_runtime(endpoint()?) {
            Some(runtime) => tokio::spawn(program_with_runtime(listener, shop, runtime, stopped)),
            None => tokio::spawn(program(listener, shop, stopped)),
        };
        Ok(Self {
            address,
            stop,
            ended,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.ended.await?
    }
}

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    let ingress = demo.ingress();
    let http = reqwest::Client::new();

    demo.step("Run the axum program, with the handlers in it");
    let shop = shop(&demo.ingress_url())?;
    let running = Running::start(demo, (Ipv4Addr::LOCALHOST, 0).into(), shop.clone()).await?;
    let address = running.address;
    if let Some(server) = demo.server() {
        let registered = format!("http://{address}/durable");
        server.register(&registered).await?;
        demo.say(format!("registered {registered}"));
    } else {
        demo.say_where();
    }
    let page = http.get(format!("http://{address}/")).send().await?;
    let line = format!("{} {}", page.status().as_u16(), page.text().await?);
    demo.say(format!("GET /                        → {line}"));

    let call_webhook = async |secret: &str, id: &str, order: &str, cents| {
        let event = PaymentEvent {
            id: id.to_owned(),
            order: order.to_owned(),
            cents,
        };
        let url = format!("http://{address}/webhooks/payments");
        let request = http.post(url).header("x-secret", secret).json(&event);
        anyhow::Ok(request.send().await?.status().as_u16())
    };
    let order = |cents, patience_seconds| Order {
        cents,
        patience_seconds,
    };

    demo.step("Ada orders, and pays: the provider calls our webhook, twice");
    let ada = order(1200, 24 * 60 * 60);
    ingress.send_object("Checkout", "ada", "run", &ada).await?;
    let status = call_webhook("guessed", "event-1", "ada", 1).await?;
    demo.say(format!("without the secret           → {status}"));
    ensure!(status == 401, "anybody may say that somebody has paid");
    for what in [
        "the provider calls           ",
        "and once more, to be sure    ",
    ] {
        let status = call_webhook(SECRET, "event-2", "ada", 1200).await?;
        demo.say(format!("{what}→ {status}"));
        ensure!(status == 202, "the webhook failed");
    }
    let outcome: Outcome = ingress.attach_workflow("Checkout", "ada").await?;
    demo.say(format!("Checkout/ada                 → {outcome:?}"));
    ensure!(outcome == Outcome::Paid(Payment { cents: 1200 }));

    demo.step("Bob orders, and does not pay");
    let bob = order(500, 1);
    ingress.send_object("Checkout", "bob", "run", &bob).await?;
    let outcome: Outcome = ingress.attach_workflow("Checkout", "bob").await?;
    demo.say(format!("Checkout/bob                 → {outcome:?}"));
    ensure!(outcome == Outcome::TimedOut);

    demo.step("Eve orders; while the shop waits for her, the program is rolled out anew");
    let eve = order(700, 24 * 60 * 60);
    ingress.send_object("Checkout", "eve", "run", &eve).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.stop().await?;
    demo.say("the old program has ended");
    let running = Running::start(demo, address, shop).await?;
    demo.say("the new one is there");
    let status = call_webhook(SECRET, "event-3", "eve", 700).await?;
    ensure!(status == 202, "the webhook failed");
    let outcome: Outcome = ingress.attach_workflow("Checkout", "eve").await?;
    demo.say(format!("Checkout/eve                 → {outcome:?}"));
    ensure!(outcome == Outcome::Paid(Payment { cents: 700 }));
    running.stop().await
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, workflow};

    use super::*;

    fn order() -> Order {
        Order {
            cents: 100,
            patience_seconds: 60,
        }
    }

    #[tokio::test]
    async fn nobody_pays() {
        let mock = MockContext::workflow("ada").forbid_runs();
        mock.run("ask for payment").returns(&());
        mock.promise("paid").never();
        let outcome = mock
            .call(async |ctx| Checkout.run(ctx, order()).await)
            .await;
        assert_eq!(outcome.unwrap(), Outcome::TimedOut);
    }

    #[test]
    fn a_payment_comes_while_it_waits() -> Result<(), Box<dyn std::error::Error>> {
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(Checkout).build()?);
        let ada = || workflow::<CheckoutClient>("ada");
        let id = runtime.send(ada().run(order()))?;
        runtime.advance(Duration::from_secs(59));
        runtime.call(ada().paid(Payment { cents: 100 }))?;
        let outcome = runtime.attach::<Outcome>(&id)?;
        assert_eq!(outcome, Outcome::Paid(Payment { cents: 100 }));
        Ok(())
    }

    /// The routes alone: who does not know the secret gets no further.
    #[tokio::test]
    async fn strangers_do_not_reach_the_server() -> anyhow::Result<()> {
        // Nobody listens there.
        let shop = shop("http://127.0.0.1:1")?;
        let event = || {
            Json(PaymentEvent {
                id: "1".to_owned(),
                order: "a/b".to_owned(),
                cents: 1,
            })
        };
        let mut headers = HeaderMap::new();
        let status = webhook(State(shop.clone()), headers.clone(), event()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        headers.insert("x-secret", SECRET.parse()?);
        let status = webhook(State(shop), headers, event()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        Ok(())
    }
}
