//! A Kafka event, the webhook that answers it some time later, and a limit to that time.
//!
//! It ends the trouble of the table of pending requests: written by a consumer, looked up by the webhook's
//! handler, swept by a timer job, and wrong whenever one of the three was away or was faster than the others.
//!
//! `cargo run -p durably-examples --bin webhook` shows it at work; with the argument `serve` it only serves
//! (`PROVIDER_URL`, `RESTATE_INGRESS_URL` and `PATIENCE_SECONDS` say with whom and for how long).

use durably::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    cents: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Paid { receipt: String },
    Declined { reason: String },
    TimedOut,
}

/// Gets an order paid; the key is the order.
struct Payment {
    provider: Provider,
    /// How long the customer has.
    patience: Duration,
}

#[durably::workflow]
impl Payment {
    /// Invoked for each record of the topic; the record's key is the workflow's. A workflow runs once for
    /// its key, so an event that comes twice asks for one payment.
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, order: Order) -> HandlerResult<Outcome> {
        // Whoever knows its id completes it at the server: also while this process is away, and also
        // before the provider's answer to the request is here.
        let payment = ctx.awakeable::<String>();
        let (key, id) = (ctx.key(), payment.id().to_owned());

        let saga = ctx.saga();
        let outcome = saga.scope(async {
            // When it is too late, or somebody has cancelled this, at whatever moment: nobody waits for the
            // customer any more.
            saga.undo(|| ctx.run("withdraw", || self.provider.withdraw(key)));
            ctx.run("ask", || self.provider.ask(key, &order, &id))
                .await?;
            match payment.or_timeout(self.patience).await {
                Ok(receipt) => Ok(Outcome::Paid { receipt }),
                Err(error) if error.is_timeout() || error.is_cancelled() => Err(error.into()),
                Err(rejection) => Ok(Outcome::Declined {
                    reason: rejection.message().to_owned(),
                }),
            }
        });
        match outcome.await {
            Err(error) if error.as_terminal().is_some_and(TerminalError::is_timeout) => {
                Ok(Outcome::TimedOut)
            }
            outcome => outcome,
        }
    }
}

/// A payment provider: takes requests, and calls back when the customer has decided.
struct Provider {
    http: reqwest::Client,
    url: String,
    /// Where the server takes calls, as the provider can reach it.
    ingress: String,
}

/// A request to the provider. It calls `{callback}/resolve` with the receipt as JSON, or
/// `{callback}/reject` with the reason as text.
#[derive(Serialize, Deserialize)]
struct PaymentRequest {
    cents: u64,
    callback: String,
}

impl Provider {
    /// Made again after a crash, it is the same request: `PUT`, under the order's name.
    async fn ask(&self, key: &str, order: &Order, awakeable: &str) -> reqwest::Result<()> {
        let request = PaymentRequest {
            cents: order.cents,
            callback: format!("{}/restate/awakeables/{awakeable}", self.ingress),
        };
        let url = format!("{}/payments/{key}", self.url);
        let answer = self.http.put(url).json(&request).send().await?;
        answer.error_for_status().map(drop)
    }

    /// Made again after a crash, it changes nothing more. The provider takes no request behind its withdrawal, and
    /// pays back what the customer has paid meanwhile.
    async fn withdraw(&self, key: &str) -> reqwest::Result<()> {
        let url = format!("{}/payments/{key}", self.url);
        let answer = self.http.delete(url).send().await?;
        answer.error_for_status().map(drop)
    }
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let Ok(seconds) = variable("PATIENCE_SECONDS", "86400").parse() else {
        eprintln!("PATIENCE_SECONDS is no number of seconds");
        return std::process::ExitCode::FAILURE;
    };
    let payment = Payment {
        provider: Provider {
            http: reqwest::Client::new(),
            url: variable("PROVIDER_URL", "http://localhost:9090"),
            ingress: variable("RESTATE_INGRESS_URL", "http://localhost:8080"),
        },
        patience: Duration::from_secs(seconds),
    };
    let endpoint = Endpoint::builder().bind(payment).build();
    durably_examples::run_apart_with_server(endpoint, demonstrate).await
}

// What follows stands for the provider, and tells the story.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use axum::{Json, Router, extract::Path, routing::put};
use durably_examples::{ServerDemo, eventually, record, unhurried};
use tokio::net::TcpListener;

/// Longer than the story takes to ask for a payment again and to decline it, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The provider's books.
#[derive(Clone, Default)]
struct Books {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// It takes its time to answer: until this is over.
    busy: Arc<AtomicBool>,
}

struct Entry {
    request: PaymentRequest,
    asked: u32,
    withdrawn: bool,
}

impl Books {
    /// The provider's side of the requests.
    fn router(&self) -> Router {
        let (asked, withdrawn) = (self.clone(), self.clone());
        let ask = async move |Path(order): Path<String>, Json(request): Json<PaymentRequest>| {
            let new = Entry {
                request,
                asked: 0,
                withdrawn: false,
            };
            asked.lock().entry(order).or_insert(new).asked += 1;
            while asked.busy.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let withdraw = async move |Path(order): Path<String>| {
            if let Some(entry) = withdrawn.lock().get_mut(&order) {
                entry.withdrawn = true;
            }
        };
        Router::new().route("/payments/{order}", put(ask).delete(withdraw))
    }

    /// The customer has decided: calls back.
    async fn call_back(&self, order: &str, decision: Result<&str, &str>) -> anyhow::Result<u16> {
        let callback = self
            .lock()
            .get(order)
            .map(|entry| entry.request.callback.clone());
        let callback = callback.with_context(|| format!("nobody has asked about {order}"))?;
        let http = reqwest::Client::new();
        let request = match decision {
            Ok(receipt) => http.post(format!("{callback}/resolve")).json(receipt),
            Err(reason) => http
                .post(format!("{callback}/reject"))
                .header("content-type", "text/plain")
                .body(reason.to_owned()),
        };
        Ok(request.send().await?.error_for_status()?.status().as_u16())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    let patience = unhurried(PATIENCE);
    demo.step("Start the provider, and the handlers in a process of their own");
    let books = Books::default();
    books.busy.store(true, Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let provider = format!("http://{}", listener.local_addr()?);
    demo.say(format!("provider   {provider}"));
    let server = axum::serve(listener, books.router());
    // Ends with the demonstration.
    let _provider = tokio::spawn(server.into_future());
    let handlers = demo
        .serve_apart(&[
            ("PROVIDER_URL", &provider),
            ("RESTATE_INGRESS_URL", demo.server().ingress_url()),
            ("PATIENCE_SECONDS", &patience.as_secs().to_string()),
        ])
        .await?;
    let broker = demo.start_kafka().await?;
    broker.create_topic("orders", 2).await?;
    demo.subscribe("orders", "Payment/run").await?;

    demo.step(
        "Produce four events for three orders, and kill the handlers (kill -9) while they ask",
    );
    let orders = ["order-1", "order-2", "order-3", "order-1"];
    let records = orders.map(|order| record(order, &Order { cents: 499 }));
    let records = records.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    broker.produce_all("orders", records).await?;
    eventually("the provider has three requests", async || {
        Ok((books.lock().len() == 3).then_some(()))
    })
    .await?;
    handlers.kill9();
    demo.say_when("the provider has three requests, and nobody is there to hear its answers");
    let status = books.call_back("order-1", Ok("receipt 77")).await?;
    demo.say_when(format!(
        "provider: order-1 is paid (webhook → {status}, the server keeps it)"
    ));

    demo.step("Start the handlers again");
    books.busy.store(false, Ordering::Relaxed);
    handlers.restart()?;
    let outcome = outcome_of(demo, "order-1").await?;
    demo.say_when(format!("Payment/order-1 → {outcome:?}"));
    let receipt = "receipt 77".to_owned();
    ensure!(outcome == Outcome::Paid { receipt });
    eventually("all have asked again", async || {
        Ok(books
            .lock()
            .values()
            .all(|entry| entry.asked >= 2)
            .then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(500)).await; // for the answers to arrive
    demo.say_when("what was interrupted was asked again: the same request, by its name");

    demo.step("Kill them once more, while two wait for their customers");
    handlers.kill9();
    let begin = Instant::now();
    demo.say_when("the handlers are gone");
    books.call_back("order-2", Err("no funds")).await?;
    demo.say_when("provider: order-2 is declined");
    tokio::time::sleep(patience.saturating_sub(begin.elapsed())).await;
    demo.say_when(format!(
        "{patience:?} later: the time is up, and order-3 is not paid"
    ));
    handlers.restart()?;
    demo.say_when("the handlers are back");
    for (order, expected) in [
        (
            "order-2",
            Outcome::Declined {
                reason: "no funds".to_owned(),
            },
        ),
        ("order-3", Outcome::TimedOut),
    ] {
        let outcome = outcome_of(demo, order).await?;
        demo.say_when(format!("Payment/{order} → {outcome:?}"));
        ensure!(outcome == expected, "{expected:?} was expected");
    }

    demo.step("A webhook that comes too late");
    let status = books.call_back("order-3", Ok("receipt 78")).await?;
    demo.say_when(format!(
        "provider: order-3 is paid after all (webhook → {status})"
    ));
    let late = outcome_of(demo, "order-3").await?;
    demo.say_when(format!("Payment/order-3 → {late:?}, as before"));
    ensure!(late == Outcome::TimedOut);
    let books = books.lock();
    for (order, entry) in books.iter() {
        let withdrawn = if entry.withdrawn { ", withdrawn" } else { "" };
        demo.say(format!("the provider's books: {order}{withdrawn}"));
        ensure!(entry.withdrawn == (order == "order-3"));
    }
    ensure!(
        books.len() == 3,
        "there are requests for {} orders",
        books.len()
    );
    Ok(())
}

/// How a payment went, as soon as it is known.
async fn outcome_of(demo: &ServerDemo, order: &str) -> anyhow::Result<Outcome> {
    let payment = demo.client().workflow_invocation("Payment", order);
    let payment = payment.timeout(Duration::from_secs(60));
    let outcome = payment.attach().await;
    outcome.with_context(|| format!("the payment of {order} does not end"))
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// Nobody is at home at this provider: its requests are scripted, or fail.
    fn payment() -> Payment {
        Payment {
            provider: Provider {
                http: reqwest::Client::new(),
                url: "http://provider.invalid".to_owned(),
                ingress: "http://ingress.invalid".to_owned(),
            },
            patience: DAY,
        }
    }

    fn mock() -> MockContext<WorkflowContext> {
        let mock = MockContext::workflow("order-1").forbid_runs();
        mock.run("ask").returns(&());
        mock
    }

    async fn run(mock: &MockContext<WorkflowContext>) -> HandlerResult<Outcome> {
        let payment = payment();
        mock.call(async |ctx| payment.run(ctx, Order { cents: 499 }).await)
            .await
    }

    #[tokio::test]
    async fn is_paid_when_the_webhook_comes() -> Result {
        let mock = mock();
        mock.awakeable(0).after(DAY / 2).returns("receipt 77");
        let receipt = "receipt 77".to_owned();
        assert_eq!(run(&mock).await?, Outcome::Paid { receipt });
        assert_eq!(mock.runs(), ["ask"]);
        Ok(())
    }

    #[tokio::test]
    async fn is_declined_when_the_webhook_says_so() -> Result {
        let mock = mock();
        mock.awakeable(0).fails(TerminalError::new("no funds"));
        let reason = "no funds".to_owned();
        assert_eq!(run(&mock).await?, Outcome::Declined { reason });
        Ok(())
    }

    #[tokio::test]
    async fn withdraws_its_request_when_nobody_answers() -> Result {
        let mock = mock();
        mock.awakeable(0).never();
        mock.run("withdraw").returns(&());
        assert_eq!(run(&mock).await?, Outcome::TimedOut);
        assert_eq!(mock.sleeps(), [DAY]);
        assert_eq!(mock.runs(), ["ask", "withdraw"]);
        Ok(())
    }

    /// Else it could be paid, and nobody would know.
    #[tokio::test]
    async fn withdraws_its_request_when_it_is_cancelled() -> Result {
        let mock = mock().manual_time();
        mock.run("withdraw").returns(&());
        let payment = payment();
        let mut running = mock.start(async |ctx| payment.run(ctx, Order { cents: 499 }).await);
        running.cancel();
        let cancelled = running.finish().await.unwrap_err();
        assert!(cancelled.as_terminal().unwrap().is_cancelled());
        assert_eq!(mock.runs(), ["ask", "withdraw"]);
        Ok(())
    }

    /// With a provider on loopback: two events for the same order, and a webhook.
    #[tokio::test]
    async fn an_event_that_comes_twice_asks_once() -> Result {
        let books = Books::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut payment = payment();
        payment.provider.url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(axum::serve(listener, books.router()).into_future());

        let endpoint = Endpoint::builder().bind(payment).build()?;
        let mut runtime = TestRuntime::builder(endpoint).always_suspend().build();
        runtime.subscribe("orders", "Payment/run");
        runtime.produce("orders", "order-1", &Order { cents: 499 });
        runtime.produce("orders", "order-1", &Order { cents: 499 });
        runtime.settle_async().await;
        assert_eq!(books.lock()["order-1"].asked, 1);

        let callback = books.lock()["order-1"].request.callback.clone();
        let awakeable = callback.rsplit('/').next().unwrap_or_default();
        runtime.resolve_awakeable(awakeable, "receipt 77")?;
        let id = runtime.workflow_invocation("Payment", "order-1")?;
        let receipt = "receipt 77".to_owned();
        assert_eq!(runtime.attach::<Outcome>(&id)?, Outcome::Paid { receipt });
        Ok(())
    }
}
