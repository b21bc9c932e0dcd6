//! Events delayed, postponed and called off: reminders that come when nothing has happened for a while.
//!
//! It ends the trouble of time in event streams: delay topics with one fixed delay each, a table of due dates
//! with a job that polls it, and reminders that go out although they were called off a moment before.
//!
//! `cargo run -p durably-examples --bin postpone` shows it at work; with the argument `serve` it only
//! serves.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum CartEvent {
    Filled { item: String },
    Ordered { item: String },
}

/// A customer's shopping cart; the key is the customer.
struct Cart {
    mail: Mail,
    /// A reminder goes out when nothing has happened for so long.
    quiet: Duration,
    /// So long after an order we ask how it was.
    review_after: Duration,
}

#[durably::object]
impl Cart {
    /// Invoked for each record of the topic; its key is the customer.
    #[handler]
    async fn on_event(&self, ctx: &ObjectContext, event: CartEvent) -> HandlerResult<()> {
        // Whatever has happened, the reminders that are on their way are obsolete. The number is kept
        // for good: were it to begin anew, an old reminder could take itself for a new one.
        let version = ctx.get::<u64>("version").await?.unwrap_or_default() + 1;
        ctx.set("version", &version);

        let later = ctx.object_client::<CartClient>(ctx.key());
        match event {
            // Postponed: only the reminder with the last version will find that it is meant.
            CartEvent::Filled { .. } => later.remind(version).send_after(self.quiet),
            // Delayed: it comes in any case. (And there is no reminder of this version: called off.)
            CartEvent::Ordered { item } => later.ask_for_review(item).send_after(self.review_after),
        };
        Ok(())
    }

    /// Sent to oneself, for later. It waits its turn behind a running `on_event`, so nothing can come
    /// between the look at the version and the mail.
    #[handler(ingress_private)]
    async fn remind(&self, ctx: &ObjectContext, version: u64) -> HandlerResult<()> {
        if ctx.get::<u64>("version").await? == Some(version) {
            let customer = ctx.key();
            ctx.run("mail", || self.mail.send(customer, "your cart is waiting"))
                .await?;
        }
        Ok(())
    }

    #[handler(ingress_private)]
    async fn ask_for_review(&self, ctx: &ObjectContext, item: String) -> HandlerResult<()> {
        let (customer, text) = (ctx.key(), format!("how do you like the {item}?"));
        ctx.run("mail", || self.mail.send(customer, &text)).await?;
        Ok(())
    }

    /// How many events have come.
    #[handler]
    async fn events(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(ctx.get("version").await?.unwrap_or_default())
    }
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let mail = Mail::default();
    let cart = Cart {
        mail: mail.clone(),
        quiet: unhurried(QUIET),
        review_after: unhurried(REVIEW_AFTER),
    };
    let endpoint = Endpoint::builder().bind(cart).build();
    durably_examples::run_with_server(endpoint, async |demo| demonstrate(demo, &mail).await).await
}

// What follows stands for the mail service, produces the records, and looks at what was mailed when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use durably_examples::{ServerDemo, eventually, record, unhurried};

/// Longer than the story takes until the server is killed, also on a slow machine.
const QUIET: Duration = Duration::from_secs(6);
const REVIEW_AFTER: Duration = Duration::from_secs(4);

/// Stands for the mail service: to whom, what and when.
#[derive(Clone, Default)]
struct Mail(Arc<Mutex<Vec<(String, String, Instant)>>>);

impl Mail {
    async fn send(&self, to: &str, text: &str) -> std::io::Result<()> {
        let mail = (to.to_owned(), text.to_owned(), Instant::now());
        self.sent().push(mail);
        Ok(())
    }

    fn sent(&self) -> MutexGuard<'_, Vec<(String, String, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To whom, and what.
    fn texts(&self) -> Vec<(String, String)> {
        let texts = self.sent();
        let texts = texts.iter().map(|(to, text, _)| (to.clone(), text.clone()));
        texts.collect()
    }
}

fn filled(item: &str) -> CartEvent {
    let item = item.to_owned();
    CartEvent::Filled { item }
}

fn ordered(item: &str) -> CartEvent {
    let item = item.to_owned();
    CartEvent::Ordered { item }
}

async fn demonstrate(demo: &ServerDemo, mail: &Mail) -> anyhow::Result<()> {
    let (quiet, review_after) = (unhurried(QUIET), unhurried(REVIEW_AFTER));
    let broker = demo.start_kafka().await?;
    // One partition, so that what is produced together comes together: the time of quiet begins for all.
    broker.create_topic("carts", 1).await?;
    demo.subscribe("carts", "Cart/on_event").await?;
    let server = demo.server();
    // Produces events, each of its customer's own number, and waits until they have come.
    let produce = async |number: u64, events: &[(&str, CartEvent)]| -> anyhow::Result<_> {
        let records = events.iter().map(|(to, event)| record(to, event));
        let records = records.collect::<anyhow::Result<Vec<_>>>()?;
        let produced = Instant::now();
        broker.produce_all("carts", records).await?;
        for (customer, event) in events {
            eventually(format!("event {number} of {customer}"), async || {
                let cart = demo.client().object::<CartClient>(*customer);
                let events = cart.events().await?;
                Ok((events == number).then_some(()))
            })
            .await?;
            demo.say_when(format!("{customer:4}  {event:?}"));
        }
        Ok(produced)
    };

    demo.step(format!(
        "Three customers fill their carts; a reminder is due after {quiet:?} of quiet"
    ));
    let first = [
        ("ada", filled("tea")),
        ("bob", filled("cup")),
        ("cleo", filled("kettle")),
    ];
    let first = produce(1, &first).await?;

    demo.step(format!(
        "A second later one goes on, and one orders (how was it, after {review_after:?}?)"
    ));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = [("ada", filled("pot")), ("bob", ordered("cup"))];
    let second = produce(2, &second).await?;

    demo.step("Kill the server (kill -9) until something is due, and start it again");
    server.kill9();
    demo.say_when("the server is gone");
    tokio::time::sleep(quiet.saturating_sub(first.elapsed())).await;
    ensure!(
        mail.sent().is_empty(),
        "mail came before the server was killed, since this machine is so slow (see EXAMPLES_SLOWNESS): {:?}",
        mail.texts()
    );
    server.restart().await?;
    demo.say_when("the server is back, with everything that it has to remember");
    let mut told = 0;
    while told < 3 {
        let (to, text, _) = eventually(format!("mail number {}", told + 1), async || {
            Ok(mail.sent().get(told).cloned())
        })
        .await?;
        demo.say_when(format!("mail to {to:4}  {text:?}"));
        told += 1;
    }

    demo.step("Check it");
    let since = |to: &str, begin: Instant| -> anyhow::Result<Duration> {
        let sent = mail.sent();
        let found = sent.iter().find(|(of, ..)| of == to);
        let (_, _, at) = found.with_context(|| format!("no mail to {to}"))?;
        Ok(at.saturating_duration_since(begin))
    };
    for (customer, begin, due) in [
        ("cleo", first, quiet),
        ("bob", second, review_after),
        ("ada", second, quiet),
    ] {
        let took = since(customer, begin)?;
        demo.say(format!(
            "{customer:4}  {:.1}s after the last event; due after {due:?}",
            took.as_secs_f64()
        ));
        ensure!(took >= due, "the mail to {customer} came too early");
    }
    // Those that were postponed and called off are due by now.
    tokio::time::sleep(quiet.saturating_sub(second.elapsed()) + Duration::from_millis(500)).await;
    let mut sent = mail.texts();
    sent.sort();
    let wanted = [
        ("ada", "your cart is waiting"),
        ("bob", "how do you like the cup?"),
        ("cleo", "your cart is waiting"),
    ];
    let wanted = wanted.map(|(to, text)| (to.to_owned(), text.to_owned()));
    ensure!(sent == wanted, "other mail than expected: {sent:?}");
    demo.say("one mail each: ada's first reminder was postponed, bob's was called off");
    Ok(())
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, object};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn cart(mail: &Mail) -> Cart {
        Cart {
            mail: mail.clone(),
            quiet: DAY,
            review_after: 7 * DAY,
        }
    }

    #[tokio::test]
    async fn an_event_sends_a_reminder_for_later() -> Result {
        let cart = cart(&Mail::default());
        let mock = MockContext::object("ada").state("version", &41_u64);
        mock.call(async |ctx| cart.on_event(ctx, filled("tea")).await)
            .await?;

        assert_eq!(mock.get::<u64>("version"), Some(42));
        let sent = mock.sends(object::<CartClient>("ada").remind(0));
        assert_eq!((sent[0].input, sent[0].delay), (42, Some(DAY)));
        Ok(())
    }

    #[tokio::test]
    async fn an_obsolete_reminder_does_nothing() -> Result {
        let cart = cart(&Mail::default());
        let mock = MockContext::object("ada").state("version", &42_u64);
        mock.call(async |ctx| cart.remind(ctx, 41).await).await?;
        assert_eq!(mock.runs(), [""; 0]);
        mock.call(async |ctx| cart.remind(ctx, 42).await).await?;
        assert_eq!(mock.runs(), ["mail"]);
        Ok(())
    }

    fn runtime(mail: &Mail) -> Result<TestRuntime> {
        let endpoint = Endpoint::builder().bind(cart(mail)).build()?;
        let mut runtime = TestRuntime::new(endpoint);
        runtime.subscribe("carts", "Cart/on_event");
        Ok(runtime)
    }

    /// Three days pass, in no time.
    #[test]
    fn each_event_postpones_the_reminder() -> Result {
        let mail = Mail::default();
        let mut runtime = runtime(&mail)?;
        for item in ["tea", "pot", "cup"] {
            runtime.produce("carts", "ada", &filled(item));
            runtime.advance(DAY - HOUR);
            assert!(mail.texts().is_empty());
        }
        runtime.advance(HOUR);
        let text = "your cart is waiting".to_owned();
        assert_eq!(mail.texts(), [("ada".to_owned(), text)]);

        runtime.advance(30 * DAY);
        assert_eq!(mail.texts().len(), 1, "once is enough");
        Ok(())
    }

    #[test]
    fn an_order_calls_it_off_and_asks_for_a_review() -> Result {
        let mail = Mail::default();
        let mut runtime = runtime(&mail)?;
        runtime.produce("carts", "ada", &filled("tea"));
        runtime.advance(HOUR);
        runtime.produce("carts", "ada", &ordered("tea"));
        runtime.advance(7 * DAY - HOUR);
        assert!(mail.texts().is_empty());
        runtime.advance(HOUR);
        let text = "how do you like the tea?".to_owned();
        assert_eq!(mail.texts(), [("ada".to_owned(), text)]);
        Ok(())
    }

    /// What is sent for later is no entrance for strangers.
    #[test]
    fn nobody_else_sends_reminders() -> Result {
        let mut runtime = runtime(&Mail::default())?;
        let refused = runtime.call(object::<CartClient>("ada").remind(1));
        assert_eq!(refused.unwrap_err().code(), 400);
        Ok(())
    }
}
