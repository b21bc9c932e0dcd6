//! A subscription: a state machine whose transitions take days and months.
//!
//! It ends the trouble of the nightly job: a status column, a query for whoever is due, a lock against the job's
//! second instance, mails that go out twice when it is started again, and no way to test a year.
//!
//! `cargo run -p durably-examples --bin subscription` shows it at work, with days of 70 ms; with the argument
//! `serve` it only serves (`DAY_SECONDS` says how long a day is).

use durably::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Phase {
    #[default]
    New,
    Trial,
    Active,
    /// So many charges in a row were refused.
    PastDue {
        refused: u32,
    },
    Suspended,
    Cancelled,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Account {
    phase: Phase,
    card: String,
    /// How many months are paid.
    months: u32,
    /// How many transitions there were.
    version: u64,
}

/// A customer's subscription; the key is the customer. Nothing runs between two transitions. Each is an
/// invocation of its own, so new code takes over with the next one, also within a month.
struct Subscription {
    provider: Provider,
    day: Duration,
}

#[durably::object]
impl Subscription {
    #[handler]
    async fn start(&self, ctx: &ObjectContext, card: String) -> HandlerResult<()> {
        let mut account = account(ctx).await?;
        if !matches!(account.phase, Phase::New | Phase::Cancelled) {
            return Err(TerminalError::new("there is one").with_code(409).into());
        }
        account.card = card;
        self.enter(ctx, account, Phase::Trial).await
    }

    /// Invoked for each record of the topic, or called: the customer has a new card.
    #[handler]
    async fn on_card(&self, ctx: &ObjectContext, card: String) -> HandlerResult<()> {
        let mut account = account(ctx).await?;
        account.card = card;
        ctx.set("account", &account);
        match account.phase {
            Phase::PastDue { .. } | Phase::Suspended => self.collect(ctx, account).await,
            _ => Ok(()),
        }
    }

    #[handler]
    async fn cancel(&self, ctx: &ObjectContext) -> HandlerResult<()> {
        let account = account(ctx).await?;
        match account.phase {
            Phase::New | Phase::Cancelled => Ok(()),
            _ => self.enter(ctx, account, Phase::Cancelled).await,
        }
    }

    #[handler]
    async fn account(&self, ctx: &SharedObjectContext) -> HandlerResult<Account> {
        Ok(ctx.get("account").await?.unwrap_or_default())
    }

    /// The time of a phase is over. Sent to oneself, for later.
    #[handler(ingress_private)]
    async fn due(&self, ctx: &ObjectContext, version: u64) -> HandlerResult<()> {
        let account = account(ctx).await?;
        match account.phase {
            // Something else has happened in the meantime, and has set its own time.
            _ if account.version != version => Ok(()),
            Phase::Suspended => self.enter(ctx, account, Phase::Cancelled).await,
            _ => self.collect(ctx, account).await,
        }
    }
}

impl Subscription {
    /// Charges for the next month, and goes on from there.
    async fn collect(&self, ctx: &ObjectContext, mut account: Account) -> HandlerResult<()> {
        // The invocation's id stays the same in each attempt: it names the payment.
        let (id, customer) = (ctx.invocation_id(), ctx.key());
        let charge = ctx.run("charge", || {
            self.provider.charge(id, customer, &account.card)
        });
        let next = match (charge.await, account.phase) {
            (Ok(()), _) => Phase::Active,
            (Err(error), _) if error.code() != 402 => return Err(error.into()),
            // One more bad card wins no time.
            (Err(_), Phase::Suspended) => return Ok(()),
            (Err(_), Phase::PastDue { refused: 2.. }) => Phase::Suspended,
            (Err(_), Phase::PastDue { .. }) => Phase::PastDue { refused: 2 },
            (Err(_), _) => Phase::PastDue { refused: 1 },
        };
        account.months += u32::from(next == Phase::Active);
        self.enter(ctx, account, next).await
    }

    /// Enters a phase, tells the customer, and sets the time at which it is over.
    async fn enter(
        &self,
        ctx: &ObjectContext,
        mut account: Account,
        phase: Phase,
    ) -> HandlerResult<()> {
        account.phase = phase;
        account.version += 1;
        ctx.set("account", &account);
        let (days, mail) = match phase {
            Phase::Trial => (Some(14), "welcome"),
            Phase::Active => (Some(30), "your receipt"),
            Phase::PastDue { refused: 1 } => (Some(3), "your card was refused"),
            Phase::PastDue { .. } => (Some(7), "your card was refused again"),
            Phase::Suspended => (Some(30), "your subscription is suspended"),
            Phase::New | Phase::Cancelled => (None, "your subscription has ended"),
        };
        if let Some(days) = days {
            let later = ctx.object_client::<SubscriptionClient>(ctx.key());
            later.due(account.version).send_after(self.day * days);
        }
        let (id, customer) = (ctx.invocation_id(), ctx.key());
        ctx.run("mail", || self.provider.mail(id, customer, mail))
            .await?;
        Ok(())
    }
}

async fn account(ctx: &ObjectContext) -> Result<Account, TerminalError> {
    Ok(ctx.get("account").await?.unwrap_or_default())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let seconds = std::env::var("DAY_SECONDS").unwrap_or_else(|_| "0.07".to_owned());
    let day = seconds.parse().ok().map(Duration::try_from_secs_f64);
    let Some(Ok(day)) = day else {
        eprintln!("DAY_SECONDS is no number of seconds");
        return std::process::ExitCode::FAILURE;
    };
    let day = unhurried(day);
    let provider = Provider::default();
    let subscription = Subscription {
        provider: provider.clone(),
        day,
    };
    let endpoint = Endpoint::builder().bind(subscription).build();
    durably_examples::run_with_server(endpoint, async |demo| {
        demonstrate(demo, &provider, day).await
    })
    .await
}

// What follows stands for who takes payments and sends mail, and looks at what was paid when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::ensure;
use durably_examples::{ServerDemo, eventually, record, unhurried};

/// Takes payments and sends mail. It knows what it has done by its name: done again after a crash, it is the same.
#[derive(Clone, Default)]
struct Provider(Arc<Mutex<Vec<Entry>>>);

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    customer: String,
    /// `paid`, `refused`, or the mail.
    what: String,
    at: Instant,
}

impl Provider {
    async fn charge(&self, id: &str, customer: &str, card: &str) -> HandlerResult<()> {
        let good = card.starts_with("good");
        let what = if good { "paid" } else { "refused" };
        self.note(format!("{id} charge"), customer, what);
        if !good {
            return Err(TerminalError::new("the card is refused")
                .with_code(402)
                .into());
        }
        Ok(())
    }

    async fn mail(&self, id: &str, customer: &str, text: &str) -> HandlerResult<()> {
        self.note(format!("{id} mail"), customer, text);
        Ok(())
    }

    fn note(&self, id: String, customer: &str, what: &str) {
        let mut entries = self.lock();
        if entries.iter().all(|entry| entry.id != id) {
            entries.push(Entry {
                id,
                customer: customer.to_owned(),
                what: what.to_owned(),
                at: Instant::now(),
            });
        }
    }

    /// When this happened to a customer.
    fn times(&self, customer: &str, what: &str) -> Vec<Instant> {
        let entries = self.lock();
        let found = entries
            .iter()
            .filter(|entry| entry.customer == customer && entry.what == what);
        found.map(|entry| entry.at).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn demonstrate(demo: &ServerDemo, provider: &Provider, day: Duration) -> anyhow::Result<()> {
    let broker = demo.start_kafka().await?;
    broker.create_topic("cards", 2).await?;
    demo.subscribe("cards", "Subscription/on_card").await?;
    let of = |customer: &str| demo.client().object::<SubscriptionClient>(customer);
    let reaches = async |customer: &str, what: &str, wanted: fn(&Account) -> bool| {
        let account = eventually(format!("{customer} {what}"), async || {
            let account = of(customer).account().await?;
            Ok(wanted(&account).then_some(account))
        })
        .await?;
        demo.say_when(format!(
            "{customer:5} {:?}, months paid: {}",
            account.phase, account.months
        ));
        anyhow::Ok(())
    };

    demo.step(format!(
        "Four customers subscribe; a day takes {day:?}, the trial 14 of them"
    ));
    let begin = Instant::now();
    for (customer, card) in [
        ("dora", "good"),
        ("ada", "good"),
        ("cleo", "empty"),
        ("bob", "stolen"),
    ] {
        of(customer).start(card.to_owned()).await?;
        demo.say_when(format!("{customer:5} with a card that is {card}"));
        if customer == "dora" {
            of(customer).cancel().await?;
            reaches(customer, "ends", |account| {
                account.phase == Phase::Cancelled
            })
            .await?;
        }
    }
    reaches("bob", "is refused", |account| {
        matches!(account.phase, Phase::PastDue { .. } | Phase::Suspended)
    })
    .await?;

    demo.step("A new card comes by Kafka");
    let card = record("bob", "good, and new")?;
    broker.produce_all("cards", [card]).await?;
    for customer in ["bob", "ada"] {
        reaches(customer, "pays", |account| account.months >= 1).await?;
    }

    demo.step("Kill the server (kill -9) for some days, and start it again");
    demo.server().kill9();
    demo.say_when("the server is gone");
    tokio::time::sleep(day * 10).await;
    demo.server().restart().await?;
    demo.say_when("the server is back, with everything that is due");
    reaches("cleo", "ends", |account| account.phase == Phase::Cancelled).await?;
    reaches("ada", "pays on", |account| account.months >= 2).await?;

    demo.step("Two cancel, and a month later nothing has happened");
    for customer in ["ada", "bob"] {
        of(customer).cancel().await?;
        reaches(customer, "ends", |account| {
            account.phase == Phase::Cancelled
        })
        .await?;
    }
    let before = provider.lock().len();
    tokio::time::sleep(day * 31).await;
    let after = provider.lock().len();
    ensure!(before == after, "something has happened after the end");

    demo.step("Check it");
    let days = |from: Instant, to: Instant| {
        to.saturating_duration_since(from).as_secs_f64() / day.as_secs_f64()
    };
    for entry in provider.lock().iter() {
        let Entry {
            customer, what, at, ..
        } = entry;
        demo.say(format!("day {:4.0}  {customer:5} {what}", days(begin, *at)));
    }
    for customer in ["ada", "bob", "cleo", "dora"] {
        let paid = provider.times(customer, "paid");
        let account = of(customer).account().await?;
        ensure!(
            paid.len() == usize::try_from(account.months)?,
            "{customer} has paid {} times",
            paid.len()
        );
        for pair in paid.windows(2) {
            ensure!(
                days(pair[0], pair[1]) >= 29.0,
                "{customer} has paid too early"
            );
        }
    }
    let refused = provider.times("cleo", "refused");
    let ended = provider.times("cleo", "your subscription has ended");
    ensure!(
        (refused.len(), ended.len()) == (3, 1),
        "cleo: {refused:?}, {ended:?}"
    );
    ensure!(days(refused[0], refused[1]) >= 2.9 && days(refused[1], refused[2]) >= 6.9);
    ensure!(days(refused[2], ended[0]) >= 29.0);
    demo.say("each month was paid once, and none too early; cleo was asked 3 times");
    Ok(())
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, explore, object};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn endpoint(provider: &Provider) -> Endpoint {
        let subscription = Subscription {
            provider: provider.clone(),
            day: DAY,
        };
        Endpoint::builder().bind(subscription).build().unwrap()
    }

    /// A customer, and the world around her.
    struct Ada {
        provider: Provider,
        runtime: TestRuntime,
    }

    impl Ada {
        fn start(card: &str) -> Result<Self> {
            let provider = Provider::default();
            let runtime = TestRuntime::builder(endpoint(&provider)).manual_time();
            let mut runtime = runtime.build();
            runtime.subscribe("cards", "Subscription/on_card");
            let start = object::<SubscriptionClient>("ada").start(card.to_owned());
            runtime.call(start)?;
            Ok(Self { provider, runtime })
        }

        fn after(&mut self, days: u32) -> Result<Phase> {
            self.runtime.advance(days * DAY);
            let account = object::<SubscriptionClient>("ada").account();
            Ok(self.runtime.call(account)?.phase)
        }

        fn new_card(&mut self, card: &str) {
            self.runtime.produce("cards", "ada", card);
        }

        fn count(&self, what: &str) -> usize {
            self.provider.times("ada", what).len()
        }
    }

    #[tokio::test]
    async fn a_refusal_sets_the_time_of_the_next_try() -> Result {
        let subscription = Subscription {
            provider: Provider::default(),
            day: DAY,
        };
        let account = Account {
            phase: Phase::Active,
            card: "good".to_owned(),
            months: 5,
            version: 41,
        };
        let mock = MockContext::object("ada")
            .state("account", &account)
            .forbid_runs();
        mock.run("charge")
            .fails(TerminalError::new("no").with_code(402));
        mock.run("mail").returns(&());
        mock.call(async |ctx| subscription.due(ctx, 41).await)
            .await?;

        let account = mock.get::<Account>("account").unwrap_or_default();
        assert_eq!(
            (account.phase, account.months),
            (Phase::PastDue { refused: 1 }, 5)
        );
        let sent = mock.sends(object::<SubscriptionClient>("ada").due(0));
        assert_eq!((sent[0].input, sent[0].delay), (42, Some(3 * DAY)));

        // What was due before is obsolete.
        mock.call(async |ctx| subscription.due(ctx, 41).await)
            .await?;
        assert_eq!(mock.runs(), ["charge", "mail"]);
        Ok(())
    }

    /// In no time.
    #[test]
    fn ten_years_pass() -> Result {
        let mut ada = Ada::start("good")?;
        assert_eq!(ada.after(13)?, Phase::Trial);
        assert_eq!(ada.count("paid"), 0);
        assert_eq!(ada.after(1)?, Phase::Active);
        assert_eq!(ada.count("paid"), 1);
        assert_eq!(ada.after(29)?, Phase::Active);
        assert_eq!(ada.count("paid"), 1);
        assert_eq!(ada.after(3600 - 29)?, Phase::Active);
        assert_eq!(ada.count("paid"), 121);
        Ok(())
    }

    #[test]
    fn who_never_pays_is_reminded_suspended_and_cancelled() -> Result {
        let mut ada = Ada::start("empty")?;
        for (days, phase, refused) in [
            (13, Phase::Trial, 0),
            (1, Phase::PastDue { refused: 1 }, 1),
            (2, Phase::PastDue { refused: 1 }, 1),
            (1, Phase::PastDue { refused: 2 }, 2),
            (6, Phase::PastDue { refused: 2 }, 2),
            (1, Phase::Suspended, 3),
            (29, Phase::Suspended, 3),
            (1, Phase::Cancelled, 3),
            (365, Phase::Cancelled, 3),
        ] {
            assert_eq!(ada.after(days)?, phase);
            assert_eq!(ada.count("refused"), refused);
        }
        assert_eq!(ada.count("your subscription has ended"), 1);
        Ok(())
    }

    #[test]
    fn a_new_card_is_charged_at_once() -> Result {
        for (days, phase) in [(15, Phase::PastDue { refused: 1 }), (40, Phase::Suspended)] {
            let mut ada = Ada::start("stolen")?;
            assert_eq!(ada.after(days)?, phase);
            ada.new_card("good, and new");
            assert_eq!(ada.after(0)?, Phase::Active);
            assert_eq!(ada.count("paid"), 1);
            // The month begins now, and what was due before is not.
            assert_eq!(ada.after(29)?, Phase::Active);
            assert_eq!(ada.count("paid"), 1);
            assert_eq!(ada.after(1)?, Phase::Active);
            assert_eq!(ada.count("paid"), 2);
        }
        Ok(())
    }

    #[test]
    fn a_bad_card_wins_no_time() -> Result {
        let mut ada = Ada::start("stolen")?;
        assert_eq!(ada.after(24)?, Phase::Suspended);
        assert_eq!(ada.after(29)?, Phase::Suspended);
        ada.new_card("stolen, too");
        assert_eq!(ada.after(0)?, Phase::Suspended);
        assert_eq!(ada.after(1)?, Phase::Cancelled);
        Ok(())
    }

    #[test]
    fn who_cancels_may_come_back() -> Result {
        let mut ada = Ada::start("good")?;
        let start = || object::<SubscriptionClient>("ada").start("good".to_owned());
        assert_eq!(ada.runtime.call(start()).unwrap_err().code(), 409);
        ada.runtime
            .call(object::<SubscriptionClient>("ada").cancel())?;
        assert_eq!(ada.after(7)?, Phase::Cancelled);
        ada.runtime.call(start())?;
        // The first trial would have ended today.
        assert_eq!(ada.after(7)?, Phase::Trial);
        assert_eq!(ada.after(7)?, Phase::Active);
        assert_eq!(ada.count("paid"), 1);
        Ok(())
    }

    #[test]
    fn nobody_else_says_what_is_due() -> Result {
        let mut ada = Ada::start("good")?;
        let refused = ada.runtime.call(object::<SubscriptionClient>("ada").due(1));
        assert_eq!(refused.unwrap_err().code(), 400);
        Ok(())
    }

    /// From the trial to the end, with a crash at each point there is.
    #[test]
    fn a_crash_anywhere_changes_nothing() {
        let provider = Provider::default();
        let fresh = provider.clone();
        let endpoint = move || {
            fresh.lock().clear();
            endpoint(&fresh)
        };
        explore(endpoint, |runtime| {
            let ada = || object::<SubscriptionClient>("ada");
            runtime.call(ada().start("empty".to_owned())).unwrap();
            runtime.advance(16 * DAY);
            runtime.call(ada().on_card("good".to_owned())).unwrap();
            runtime.call(ada().on_card("empty".to_owned())).unwrap();
            runtime.run_until_idle();
            let told = provider.lock().clone();
            let told: Vec<String> = told.into_iter().map(|entry| entry.what).collect();
            assert_eq!(told.iter().filter(|what| *what == "paid").count(), 1);
            (told, runtime.call(ada().account()).unwrap().phase)
        });
    }
}
