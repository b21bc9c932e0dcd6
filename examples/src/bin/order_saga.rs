//! An order from its event to its parcel, over calls and Kafka, with everything undone if it fails.
//!
//! It ends the trouble of sagas that are spread over topics: a consumer and a state table for each step, a second
//! chain of events for the way back, and orders that hang in the middle because that chain broke.
//!
//! `cargo run -p durably-examples --bin order_saga` shows it at work; with the argument `serve` it only serves
//! (`BANK_URL` names the bank).

use std::collections::BTreeMap;

use durably::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    article: String,
    pieces: u32,
    cents: u64,
}

/// What the carrier says about an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Shipment {
    Shipped { parcel: String },
    Lost,
}

/// Fulfils an order; the key is the order.
struct Fulfilment<B> {
    bank: B,
    /// How long the carrier has.
    patience: Duration,
}

#[durably::workflow]
impl<B: Bank> Fulfilment<B> {
    /// Invoked for each record of the topic `orders`, or by HTTP. Gives the parcel's number.
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, order: Order) -> HandlerResult<String> {
        let (id, cents) = (ctx.key(), order.cents);
        ctx.set("invocation", ctx.invocation_id()); // for those who call it off
        let stock = ctx.object_client::<StockroomClient>(&order.article);
        let hold = Hold {
            order: id.to_owned(),
            pieces: order.pieces,
        };

        let saga = ctx.saga();
        saga.scope(async {
            // Each way back is said before its step: if that is cut short by a cancellation, nobody knows how
            // far it came. So the way back must bear that there is nothing to undo.
            saga.undo(|| stock.release(id.to_owned()));
            stock.reserve(hold).await?;

            saga.undo(|| ctx.run("refund", || self.bank.refund(id)));
            ctx.run("charge", || self.bank.charge(id, cents)).await?;

            let shipped = ctx.promise::<String>("shipped").get();
            Ok(shipped.or_timeout(self.patience).await?)
        })
        .await
    }

    /// Invoked for each record of the topic `shipments`; its key is the order. The promise keeps what it is
    /// told first, also if `run` does not wait for it yet.
    #[handler]
    async fn on_shipment(
        &self,
        ctx: &SharedWorkflowContext,
        shipment: Shipment,
    ) -> HandlerResult<()> {
        let promise = ctx.promise::<String>("shipped");
        match shipment {
            Shipment::Shipped { parcel } => promise.resolve(&parcel).await?,
            Shipment::Lost => {
                let lost = TerminalError::new("the carrier has lost it").with_code(410);
                promise.reject(lost).await?;
            }
        }
        Ok(())
    }

    /// Cancels the order, wherever it is. What has ended stays as it is.
    #[handler]
    async fn call_off(&self, ctx: &SharedWorkflowContext) -> HandlerResult<()> {
        let Some(invocation) = ctx.get::<String>("invocation").await? else {
            return Err(TerminalError::new("no such order").with_code(404).into());
        };
        ctx.invocation(invocation)?.cancel();
        Ok(())
    }
}

/// So many pieces for an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hold {
    order: String,
    pieces: u32,
}

/// What there is of an article; the key is the article.
struct Stockroom;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Shelf {
    free: u32,
    /// What orders have, or have had.
    sold: BTreeMap<String, u32>,
}

#[durably::object]
impl Stockroom {
    #[handler]
    async fn deliver(&self, ctx: &ObjectContext, pieces: u32) -> HandlerResult<()> {
        let mut shelf = ctx.get::<Shelf>("shelf").await?.unwrap_or_default();
        shelf.free = shelf.free.saturating_add(pieces);
        ctx.set("shelf", &shelf);
        Ok(())
    }

    #[handler]
    async fn reserve(&self, ctx: &ObjectContext, hold: Hold) -> HandlerResult<()> {
        let mut shelf = ctx.get::<Shelf>("shelf").await?.unwrap_or_default();
        let Some(free) = shelf.free.checked_sub(hold.pieces) else {
            let short = format!("there are only {} of {}", shelf.free, ctx.key());
            return Err(TerminalError::new(short).with_code(410).into());
        };
        shelf.free = free;
        shelf.sold.insert(hold.order, hold.pieces);
        ctx.set("shelf", &shelf);
        Ok(())
    }

    /// Puts back what is reserved for an order, if there is anything.
    #[handler]
    async fn release(&self, ctx: &ObjectContext, order: String) -> HandlerResult<()> {
        let mut shelf = ctx.get::<Shelf>("shelf").await?.unwrap_or_default();
        let pieces = shelf.sold.remove(&order).unwrap_or_default();
        shelf.free = shelf.free.saturating_add(pieces);
        ctx.set("shelf", &shelf);
        Ok(())
    }

    #[handler]
    async fn shelf(&self, ctx: &SharedObjectContext) -> HandlerResult<Shelf> {
        Ok(ctx.get("shelf").await?.unwrap_or_default())
    }
}

/// What moves the money. Both may be asked for again after a crash, and count once for an order; what is refunded
/// is closed: a charge that was still on its way is refused.
trait Bank: Send + Sync + 'static {
    fn charge(&self, order: &str, cents: u64) -> impl Future<Output = HandlerResult<()>> + Send;
    fn refund(&self, order: &str) -> impl Future<Output = HandlerResult<()>> + Send;
}

struct HttpBank {
    http: reqwest::Client,
    url: String,
}

impl Bank for HttpBank {
    async fn charge(&self, order: &str, cents: u64) -> HandlerResult<()> {
        let url = format!("{}/charges/{order}", self.url);
        let answer = self.http.put(url).json(&cents).send().await?;
        if answer.status() == StatusCode::PAYMENT_REQUIRED {
            // For good. Anything else that goes wrong is tried again.
            return Err(TerminalError::new(answer.text().await?)
                .with_code(402)
                .into());
        }
        Ok(answer.error_for_status().map(drop)?)
    }

    async fn refund(&self, order: &str) -> HandlerResult<()> {
        let url = format!("{}/charges/{order}", self.url);
        let answer = self.http.delete(url).send().await?;
        Ok(answer.error_for_status().map(drop)?)
    }
}

fn endpoint(bank: impl Bank) -> Result<Endpoint, durably::BuildError> {
    let patience = Duration::from_secs(14 * 24 * 60 * 60);
    let fulfilment = Fulfilment { bank, patience };
    Endpoint::builder().bind(fulfilment).bind(Stockroom).build()
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let url = std::env::var("BANK_URL").unwrap_or_else(|_| "http://localhost:9090".to_owned());
    let http = reqwest::Client::new();
    durably_examples::run_apart_with_server(endpoint(HttpBank { http, url }), demonstrate).await
}

// What follows stands for the bank, and tells the story.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail, ensure};
use axum::{Json, Router, extract::Path, http::StatusCode, routing::put};
use durably::ingress::{IngressError, IngressFuture};
use durably_examples::{ServerDemo, eventually, record};
use tokio::net::TcpListener;

/// No card is good for more.
const LIMIT: u64 = 9_000;

/// The bank's books.
#[derive(Clone, Default)]
struct Books {
    accounts: Arc<Mutex<BTreeMap<String, Account>>>,
    /// It takes its time to answer: until this is over.
    busy: Arc<AtomicBool>,
}

/// Of an order.
#[derive(Clone, Default)]
struct Account {
    /// What was charged, and was refunded.
    charged: u64,
    refunded: u64,
    /// How often a refund was asked for.
    asked: u32,
}

impl Books {
    fn charge(&self, order: &str, cents: u64) -> Result<(), &'static str> {
        let mut accounts = self.lock();
        let account = accounts.entry(order.to_owned()).or_default();
        if cents > LIMIT {
            return Err("the card is not good for that");
        }
        if account.asked > 0 {
            return Err("the order is closed");
        }
        account.charged = cents;
        Ok(())
    }

    fn refund(&self, order: &str) {
        let mut accounts = self.lock();
        let account = accounts.entry(order.to_owned()).or_default();
        account.asked += 1;
        account.refunded = account.charged;
    }

    fn account(&self, order: &str) -> Account {
        self.lock().get(order).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bank's side of the requests.
    fn router(&self) -> Router {
        let (charging, refunding) = (self.clone(), self.clone());
        let charge = async move |Path(order): Path<String>, Json(cents): Json<u64>| {
            charging
                .charge(&order, cents)
                .map_err(|refusal| (StatusCode::PAYMENT_REQUIRED, refusal))
        };
        let refund = async move |Path(order): Path<String>| {
            refunding.refund(&order);
            while refunding.busy.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        Router::new().route("/charges/{order}", put(charge).delete(refund))
    }
}

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    demo.step("Start the bank, the handlers in a process of their own, and a Kafka broker");
    let books = Books::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let bank = format!("http://{}", listener.local_addr()?);
    demo.say(format!("bank       {bank}"));
    // Ends with the demonstration.
    let _bank = tokio::spawn(axum::serve(listener, books.router()).into_future());
    let handlers = demo.serve_apart(&[("BANK_URL", &bank)]).await?;
    let broker = demo.start_kafka().await?;
    for (topic, handler) in [("orders", "run"), ("shipments", "on_shipment")] {
        broker.create_topic(topic, 2).await?;
        demo.subscribe(topic, &format!("Fulfilment/{handler}"))
            .await?;
    }
    let stock = demo.client().object::<StockroomClient>("teapot");
    stock.deliver(10).await?;
    demo.say("10 teapots on the shelf");
    let expect = async |teapots: u32, charged: u64| -> anyhow::Result<()> {
        let free = stock.shelf().await?.free;
        let accounts = books.lock().clone();
        let kept: u64 = accounts
            .values()
            .map(|account| account.charged - account.refunded)
            .sum();
        demo.say(format!("{free} teapots on the shelf, {kept} cents charged"));
        ensure!(
            (free, kept) == (teapots, charged),
            "{teapots} and {charged} were expected"
        );
        Ok(())
    };
    let charged = async |id: &str| {
        eventually(format!("{id} is charged"), async || {
            Ok((books.account(id).charged > 0).then_some(()))
        })
        .await?;
        demo.say_when(format!("{id}  reserved and charged; waits for its parcel"));
        anyhow::Ok(())
    };
    let teapots = |pieces: u32| Order {
        article: "teapot".to_owned(),
        pieces,
        cents: 1200 * u64::from(pieces),
    };

    demo.step("An order by Kafka, and its parcel by Kafka");
    let event = record("order-1", &teapots(2))?;
    broker.produce_all("orders", [event]).await?;
    charged("order-1").await?;
    let parcel = "parcel 77".to_owned();
    let event = record("order-1", &Shipment::Shipped { parcel })?;
    broker.produce_all("shipments", [event]).await?;
    let parcel = outcome_of(demo, "order-1").await.context("order-1 fails")?;
    demo.say_when(format!("order-1  → {parcel}"));
    expect(8, 2400).await?;

    demo.step("An order by HTTP, and a card that is not good for it");
    let order = demo.client().workflow::<FulfilmentClient>("order-2");
    tell_failure(demo, "order-2", 402, order.run(teapots(8)).call().await)?;
    expect(8, 2400).await?;

    demo.step("An order by Kafka that is cancelled while it waits");
    let event = record("order-3", &teapots(3))?;
    broker.produce_all("orders", [event]).await?;
    charged("order-3").await?;
    expect(5, 6000).await?;
    let order = demo.client().workflow::<FulfilmentClient>("order-3");
    order.call_off().await?;
    tell_failure(demo, "order-3", 409, outcome_of(demo, "order-3").await)?;
    expect(8, 2400).await?;

    demo.step("A parcel that is lost, and handlers that are killed (kill -9) on the way back");
    let event = record("order-4", &teapots(4))?;
    broker.produce_all("orders", [event]).await?;
    charged("order-4").await?;
    books.busy.store(true, Ordering::Relaxed);
    let event = record("order-4", &Shipment::Lost)?;
    broker.produce_all("shipments", [event]).await?;
    eventually("the refund is asked for", async || {
        Ok((books.account("order-4").asked > 0).then_some(()))
    })
    .await?;
    handlers.kill9();
    demo.say_when("killed: the bank has refunded, and nobody is there to hear it");
    books.busy.store(false, Ordering::Relaxed);
    handlers.restart()?;
    demo.say_when("the handlers are back");
    tell_failure(demo, "order-4", 410, outcome_of(demo, "order-4").await)?;
    let Account {
        charged,
        refunded,
        asked,
    } = books.account("order-4");
    demo.say(format!(
        "the bank was asked {asked} times for the refund of {charged}, and paid {refunded}"
    ));
    ensure!(asked > 1 && refunded == charged);
    expect(8, 2400).await?;

    let sold = stock.shelf().await?.sold;
    ensure!(
        sold == BTreeMap::from([("order-1".to_owned(), 2)]),
        "{sold:?} are sold"
    );
    demo.say("order-1 is fulfilled; of the others nothing is left, and nothing was undone twice");
    Ok(())
}

/// How an order went, as soon as it is known.
fn outcome_of(demo: &ServerDemo, order: &str) -> IngressFuture<String> {
    let order = demo.client().workflow_invocation("Fulfilment", order);
    order.timeout(Duration::from_secs(60)).attach()
}

fn tell_failure(
    demo: &ServerDemo,
    order: &str,
    code: u16,
    outcome: Result<String, IngressError>,
) -> anyhow::Result<()> {
    let error = match outcome {
        Ok(parcel) => bail!("{order} is fulfilled: {parcel}"),
        Err(error) => error,
    };
    let Some(failure) = error.as_terminal() else {
        bail!(error);
    };
    demo.say_when(format!(
        "{order}  → {}: {}",
        failure.code(),
        failure.message()
    ));
    ensure!(failure.code() == code, "code {code} was expected");
    Ok(())
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, explore, object, workflow};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// The bank itself, without the way to it.
    impl Bank for Books {
        async fn charge(&self, order: &str, cents: u64) -> HandlerResult<()> {
            let charged = Books::charge(self, order, cents);
            Ok(charged.map_err(|refusal| TerminalError::new(refusal).with_code(402))?)
        }

        async fn refund(&self, order: &str) -> HandlerResult<()> {
            Books::refund(self, order);
            Ok(())
        }
    }

    fn order(pieces: u32) -> Order {
        Order {
            article: "teapot".to_owned(),
            pieces,
            cents: 1200 * u64::from(pieces),
        }
    }

    fn of(code: u16, outcome: std::result::Result<String, TerminalError>) -> bool {
        outcome.is_err_and(|failure| failure.code() == code)
    }

    /// With a stockroom and a bank that are scripted: what is undone, and in which order.
    #[tokio::test]
    async fn goes_back_the_way_it_came() -> Result {
        let stock = || object::<StockroomClient>("teapot");
        let mock = MockContext::workflow("order-1").forbid_runs();
        let hold = Hold {
            order: "order-1".to_owned(),
            pieces: 2,
        };
        mock.on(stock().reserve(hold)).returns(&());
        mock.run("charge").returns(&());
        mock.promise("shipped").never();
        mock.run("refund").returns(&());
        mock.on(stock().release("order-1".to_owned())).returns(&());

        let fulfilment = Fulfilment {
            bank: Books::default(),
            patience: WEEK,
        };
        let outcome = mock.call(async |ctx| fulfilment.run(ctx, order(2)).await);
        let outcome = outcome.await.unwrap_err();
        assert!(outcome.as_terminal().unwrap().is_timeout());
        assert_eq!(mock.sleeps(), [WEEK]);
        let story = mock.story();
        let mut rest = &*story;
        for step in ["reserve", "charge", "shipped", "refund", "release"] {
            let at = rest
                .find(step)
                .ok_or_else(|| format!("no {step} in\n{story}"))?;
            rest = &rest[at..];
        }
        assert_eq!(mock.unused(), [""; 0]);
        Ok(())
    }

    #[tokio::test]
    async fn what_is_not_reserved_is_not_released() -> Result {
        let shelf = Shelf {
            free: 8,
            sold: BTreeMap::from([("order-1".to_owned(), 2)]),
        };
        let mock = MockContext::object("teapot").state("shelf", &shelf);
        let release = async |order: &str| {
            let order = order.to_owned();
            mock.call(async |ctx| Stockroom.release(ctx, order).await)
                .await?;
            HandlerResult::Ok(mock.get::<Shelf>("shelf").unwrap_or_default().free)
        };
        assert_eq!(release("order-2").await?, 8);
        assert_eq!(release("order-1").await?, 10);
        assert_eq!(release("order-1").await?, 10);
        Ok(())
    }

    /// Everything but the servers: an order and its parcel come as records, the parcel's first.
    #[test]
    fn a_parcel_may_be_announced_before_its_order() -> Result {
        let books = Books::default();
        let mut runtime = TestRuntime::new(endpoint(books.clone())?);
        runtime.subscribe("orders", "Fulfilment/run");
        runtime.subscribe("shipments", "Fulfilment/on_shipment");
        runtime.call(object::<StockroomClient>("teapot").deliver(10))?;
        let parcel = "parcel 77".to_owned();
        runtime.produce("shipments", "order-1", &Shipment::Shipped { parcel });
        runtime.produce("orders", "order-1", &order(2));
        runtime.settle();

        let id = runtime.workflow_invocation("Fulfilment", "order-1")?;
        assert_eq!(runtime.attach::<String>(&id)?, "parcel 77");
        let shelf = runtime.call(object::<StockroomClient>("teapot").shelf())?;
        assert_eq!((shelf.free, shelf.sold["order-1"]), (8, 2));
        let account = books.account("order-1");
        assert_eq!((account.charged, account.refunded), (2400, 0));
        Ok(())
    }

    #[test]
    fn waits_for_its_parcel_for_two_weeks() -> Result {
        let mut runtime = TestRuntime::new(endpoint(Books::default())?);
        runtime.call(object::<StockroomClient>("teapot").deliver(10))?;
        let outcome = runtime.call(workflow::<FulfilmentClient>("order-1").run(order(2)));
        assert!(of(408, outcome));
        runtime.run_until_idle();
        let shelf = runtime.call(object::<StockroomClient>("teapot").shelf())?;
        assert_eq!((shelf.free, shelf.sold.len()), (10, 0));
        Ok(())
    }

    #[test]
    fn nobody_calls_off_what_was_never_ordered() -> Result {
        let mut runtime = TestRuntime::new(endpoint(Books::default())?);
        let refused = runtime.call(workflow::<FulfilmentClient>("order-1").call_off());
        assert_eq!(refused.unwrap_err().code(), 404);
        Ok(())
    }

    /// Explores a story of one order, which fails with this code: cut everywhere (each point at which a process can
    /// crash), and in each order in which things may happen, all of it must be undone, and once.
    fn comes_to_nothing(code: u16, story: fn(&mut TestRuntime)) {
        let books = Books::default();
        let fresh = books.clone();
        let endpoint = move || {
            fresh.lock().clear();
            endpoint(fresh.clone()).unwrap()
        };
        explore(endpoint, |runtime| {
            let stock = || object::<StockroomClient>("teapot");
            runtime.call(stock().deliver(10)).unwrap();
            story(runtime);
            let id = runtime.workflow_invocation("Fulfilment", "order-1");
            let outcome = runtime.attach::<String>(&id.unwrap());
            assert!(of(code, outcome));
            assert_eq!(runtime.call(stock().shelf()).unwrap().free, 10);
            // How often the bank was asked is not the same in each run: that is why it keeps books.
            let account = books.account("order-1");
            assert_eq!(account.refunded, account.charged);
            account.charged
        });
    }

    #[test]
    fn a_refused_charge_leaves_nothing_behind() {
        comes_to_nothing(402, |runtime| {
            let order = workflow::<FulfilmentClient>("order-1").run(order(9));
            runtime.send(order).unwrap();
        });
    }

    #[test]
    fn a_lost_parcel_is_paid_back_once() {
        comes_to_nothing(410, |runtime| {
            let order = workflow::<FulfilmentClient>("order-1").run(order(2));
            runtime.send(order).unwrap();
            let order = workflow::<FulfilmentClient>("order-1");
            runtime.call(order.on_shipment(Shipment::Lost)).unwrap();
        });
    }

    #[test]
    fn an_order_that_is_called_off_is_paid_back_once() {
        comes_to_nothing(409, |runtime| {
            let order = workflow::<FulfilmentClient>("order-1").run(order(2));
            runtime.send(order).unwrap();
            runtime.settle(); // it waits for its parcel
            let order = workflow::<FulfilmentClient>("order-1");
            runtime.call(order.call_off()).unwrap();
        });
    }
}
