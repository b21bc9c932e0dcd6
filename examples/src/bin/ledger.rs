//! A PostgreSQL table that is updated exactly once for each record of a topic.
//!
//! It ends the trouble of "at least once": a consumer that dies between its transaction and its offset
//! books a transfer twice, and the tables against that have to be thought of, joined in and swept.
//!
//! `cargo run -p durably-examples --bin ledger` shows it at work (PostgreSQL is installed with apt-get if
//! need be); with the argument `serve` it only serves, with the database in `DATABASE_URL`.

use deadpool_postgres::{Manager, Pool};
use durably::prelude::*;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Error, NoTls, Transaction, error::SqlState};

const TABLES: &str = "
    CREATE TABLE accounts (
        name  text PRIMARY KEY,
        cents bigint NOT NULL CHECK (cents >= 0)
    );
    -- The steps that have been done. Rows of invocations that have ended are of no use.
    CREATE TABLE processed (
        invocation text NOT NULL,
        step       text NOT NULL,
        at         timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (invocation, step)
    );";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transfer {
    from: String,
    to: String,
    cents: u32,
}

struct Ledger {
    database: Pool,
}

#[durably::service(retry(initial_interval = "50ms", max_interval = "500ms"))]
impl Ledger {
    /// Invoked for each record of the topic, side by side; there is one invocation for each record,
    /// and its id stays the same in each attempt.
    #[handler]
    async fn on_transfer(&self, ctx: &Context, transfer: Transfer) -> HandlerResult<()> {
        let id = ctx.invocation_id();
        ctx.run("book", || self.book(id, "book", &transfer)).await?;
        Ok(())
    }
}

impl Ledger {
    /// One step, in one transaction: it marks itself as done there. After a crash it either has not
    /// happened at all, or it finds its mark.
    async fn book(&self, invocation: &str, step: &str, transfer: &Transfer) -> HandlerResult<()> {
        let mut connection = self.database.get().await?;
        let transaction = connection.transaction().await?;
        if !is_first(&transaction, invocation, step).await? {
            tracing::info!("{step} of {invocation} had been done before a crash");
            return Ok(());
        }
        let cents = i64::from(transfer.cents);
        let mut changes = [(&transfer.from, -cents), (&transfer.to, cents)];
        changes.sort(); // all in the same order, or they wait for each other
        for (account, change) in changes {
            let update = "UPDATE accounts SET cents = cents + $2 WHERE name = $1";
            let update = transaction.execute(update, &[account, &change]).await;
            if update.map_err(refusal)? == 0 {
                let unknown = format!("there is no account {account}");
                return Err(TerminalError::new(unknown).with_code(404).into());
            }
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Marks a step as done, unless it is. While another attempt at the same step has its transaction open,
/// this waits for its end.
async fn is_first(
    transaction: &Transaction<'_>,
    invocation: &str,
    step: &str,
) -> Result<bool, Error> {
    let mark = "INSERT INTO processed (invocation, step) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(transaction.execute(mark, &[&invocation, &step]).await? == 1)
}

/// What the rules of the table forbid is forbidden for good; anything else (a lost connection, a
/// deadlock, a server that restarts) is tried again.
fn refusal(error: Error) -> HandlerError {
    match error.code() {
        Some(&SqlState::CHECK_VIOLATION) => {
            TerminalError::new("not enough money").with_code(409).into()
        }
        _ => error.into(),
    }
}

fn pool(database: &str) -> anyhow::Result<Pool> {
    let manager = Manager::new(database.parse()?, NoTls);
    // However many records come at once: so many transactions are open.
    Ok(Pool::builder(manager).max_size(8).build()?)
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let database = std::env::var("DATABASE_URL")
        .unwrap_or_else(|_| "postgresql://postgres@localhost/postgres".to_owned());
    let database = match pool(&database) {
        Ok(database) => database,
        Err(error) => {
            eprintln!("DATABASE_URL is of no use: {error}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let endpoint = Endpoint::builder().bind(Ledger { database }).build();
    durably_examples::run_apart_with_server(endpoint, demonstrate).await
}

// What follows produces the records, kills the handlers again and again, and reckons.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use durably_examples::{Postgres, ServerDemo, eventually, record};
use tokio_postgres::Client;

const ACCOUNTS: usize = 10;
const TRANSFERS: usize = 300;
const KILLS: usize = 6;

/// More than anything takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each account holds in the beginning.
const CENTS: i64 = 1_000_000;

/// The database of a busy shop: transactions take long enough to be killed in the middle.
const SLOWNESS: &str = "
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END';
    CREATE TRIGGER dawdle BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION dawdle();";

async fn demonstrate(demo: &ServerDemo) -> anyhow::Result<()> {
    demo.step("Start PostgreSQL");
    let postgres = Postgres::start().await?;
    let database = postgres.connect().await?;
    database.batch_execute(TABLES).await?;
    database.batch_execute(SLOWNESS).await?;
    let mut balances = BTreeMap::new();
    for n in 0..ACCOUNTS {
        let open = "INSERT INTO accounts VALUES ($1, $2)";
        database.execute(open, &[&account(n), &CENTS]).await?;
        balances.insert(account(n), CENTS);
    }
    demo.say(format!("database   {}", postgres.url()));
    demo.say(format!("{ACCOUNTS} accounts with {CENTS} cents each"));

    demo.step("Start the handlers in a process of their own, and a Kafka broker");
    let url = postgres.url();
    let handlers = demo.serve_apart(&[("DATABASE_URL", &url)]).await?;
    let broker = demo.start_kafka().await?;
    broker.create_topic("transfers", 4).await?;
    demo.subscribe("transfers", "Ledger/on_transfer").await?;

    demo.step(format!(
        "Produce {TRANSFERS} transfers, and one of more than there is"
    ));
    let mut records = Vec::new();
    for n in 0..TRANSFERS {
        let transfer = transfer(n);
        *balances.entry(transfer.from.clone()).or_default() -= i64::from(transfer.cents);
        *balances.entry(transfer.to.clone()).or_default() += i64::from(transfer.cents);
        records.push(record(&transfer.from, &transfer)?);
    }
    let mut too_much = transfer(0);
    too_much.cents = u32::MAX;
    records.push(record(&too_much.from, &too_much)?);
    broker.produce_all("transfers", records).await?;
    demo.say_when(format!("{} records in the topic", TRANSFERS + 1));

    demo.step("Kill the handlers (kill -9) again and again, in the middle of transactions");
    let mut booked = 0;
    for kill in 1..=KILLS {
        let enough = TRANSFERS.min(booked + TRANSFERS / (KILLS + 2));
        // Looked at often, to be as close behind a commit as can be: the server has not heard of it yet.
        let begin = Instant::now();
        while booked < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
            booked = processed(&database).await?;
            ensure!(begin.elapsed() < PATIENCE, "nothing is booked any more");
        }
        handlers.kill9();
        demo.say_when(format!("kill {kill:2}  some {booked} transfers are booked"));
        handlers.restart()?;
    }
    eventually("all transfers are booked", async || {
        let open = "select count(1) as open from sys_invocation where status <> 'completed'";
        let open = demo.server().query(open).await?;
        let open = open.first().and_then(|row| row["open"].as_u64());
        Ok((processed(&database).await? >= TRANSFERS && open == Some(0)).then_some(()))
    })
    .await?;
    demo.say_when("nothing is left to do");
    let count = |log: String, text: &str| log.matches(text).count();
    let cut_off = count(postgres.log(), "with an open transaction");
    demo.say(format!(
        "transactions cut off in the middle, rolled back and begun again: {cut_off}"
    ));
    let repeated = count(handlers.log(), "had been done before a crash");
    demo.say(format!(
        "done before the crash that kept it from the server, and repeated without effect: {repeated}"
    ));

    demo.step("Check it");
    let rows = database
        .query("SELECT name, cents FROM accounts ORDER BY name", &[])
        .await?;
    let found: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for (name, cents) in &balances {
        let is = found.get(name).copied().unwrap_or_default();
        demo.say(format!("{name}  {is:8}  expected {cents:8}"));
    }
    ensure!(found == balances, "the balances are not exact");
    let sum: i64 = found.values().sum();
    let marks = processed(&database).await?;
    demo.say(format!(
        "the sum is {sum}; {marks} transfers took effect, each exactly once"
    ));
    demo.say("and the one of more than there is was refused, once and for all");
    ensure!(sum == CENTS * i64::try_from(ACCOUNTS)?);
    ensure!(marks == TRANSFERS, "{TRANSFERS} should have taken effect");
    Ok(())
}

fn account(n: usize) -> String {
    format!("account-{}", n % ACCOUNTS)
}

/// Some transfer or other.
fn transfer(n: usize) -> Transfer {
    Transfer {
        from: account(n),
        to: account(n * 7 % ACCOUNTS + 1 + n % 3),
        cents: u32::try_from(n * 31 % 499 + 1).unwrap_or(1),
    }
}

/// How many steps have been done.
async fn processed(database: &Client) -> anyhow::Result<usize> {
    let row = database
        .query_one("SELECT count(*) FROM processed", &[])
        .await?;
    Ok(usize::try_from(row.get::<_, i64>(0))?)
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime};

    use super::*;

    type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

    fn transfer(cents: u32) -> Transfer {
        Transfer {
            from: "ada".to_owned(),
            to: "bob".to_owned(),
            cents,
        }
    }

    /// No database: the step is scripted.
    #[tokio::test]
    async fn a_refusal_ends_the_invocation() -> Result {
        let database = pool("postgresql://nobody.invalid")?;
        let ledger = Ledger { database };
        let mock = MockContext::service().forbid_runs();
        mock.run("book")
            .fails(TerminalError::new("not enough money").with_code(409));
        let refused = mock.call(async |ctx| ledger.on_transfer(ctx, transfer(1)).await);
        let refused = refused.await.unwrap_err();
        assert_eq!(refused.as_terminal().unwrap().code(), 409);
        Ok(())
    }

    /// A database with two accounts of 100 cents each.
    async fn database() -> Result<(Postgres, Ledger)> {
        let postgres = Postgres::start().await?;
        let client = postgres.connect().await?;
        client.batch_execute(TABLES).await?;
        let open = "INSERT INTO accounts VALUES ('ada', 100), ('bob', 100)";
        client.batch_execute(open).await?;
        let database = pool(&postgres.url())?;
        Ok((postgres, Ledger { database }))
    }

    /// What Ada and Bob have.
    async fn balances(ledger: &Ledger) -> Result<[i64; 2]> {
        let client = ledger.database.get().await?;
        let rows = client
            .query("SELECT cents FROM accounts ORDER BY name", &[])
            .await?;
        Ok([rows[0].get(0), rows[1].get(0)])
    }

    /// Two attempts that know nothing of each other: a crash came before the result was recorded.
    #[tokio::test]
    async fn an_attempt_that_is_repeated_has_no_effect() -> Result {
        let (_postgres, ledger) = database().await?;
        for (id, expected) in [
            ("inv_1", [70, 130]),
            ("inv_1", [70, 130]),
            ("inv_2", [40, 160]),
        ] {
            let mock = MockContext::service().invocation_id(id);
            mock.call(async |ctx| ledger.on_transfer(ctx, transfer(30)).await)
                .await?;
            assert_eq!(balances(&ledger).await?, expected);
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_is_refused_leaves_nothing_behind() -> Result {
        let (_postgres, ledger) = database().await?;
        let mut unknown = transfer(1);
        unknown.to = "zoe".to_owned();
        for (wrong, code) in [(transfer(101), 409), (unknown, 404)] {
            let refused = ledger.book("inv_1", "book", &wrong).await.unwrap_err();
            assert_eq!(refused.as_terminal().unwrap().code(), code);
        }
        assert_eq!(balances(&ledger).await?, [100, 100]);
        // Not even the mark of the step.
        ledger.book("inv_1", "book", &transfer(100)).await?;
        assert_eq!(balances(&ledger).await?, [0, 200]);
        Ok(())
    }

    /// An attempt whose process is cut off is still there for the database, for a while.
    #[tokio::test]
    async fn waits_for_an_attempt_that_is_still_at_it() -> Result {
        let (_postgres, ledger) = database().await?;
        for (step, commit, expected) in [("first", true, [100, 100]), ("second", false, [70, 130])]
        {
            let mut other = ledger.database.get().await?;
            let other = other.transaction().await?;
            assert!(is_first(&other, "inv_1", step).await?);
            let transfer = transfer(30);
            let booked = ledger.book("inv_1", step, &transfer);
            let mut booked = std::pin::pin!(booked);
            let soon = tokio::time::timeout(Duration::from_millis(100), &mut booked);
            assert!(soon.await.is_err(), "it did not wait");
            if commit {
                other.commit().await?;
            } else {
                other.rollback().await?;
            }
            booked.await?;
            assert_eq!(balances(&ledger).await?, expected);
        }
        Ok(())
    }

    /// The same transfer in two records is two transfers.
    #[tokio::test]
    async fn each_record_is_booked() -> Result {
        let (_postgres, ledger) = database().await?;
        let database = ledger.database.clone();
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(ledger).build()?);
        runtime.subscribe("transfers", "Ledger/on_transfer");
        runtime.produce("transfers", "ada", &transfer(30));
        runtime.produce("transfers", "ada", &transfer(30));
        runtime.run_until_idle_async().await;
        assert_eq!(balances(&Ledger { database }).await?, [40, 160]);
        Ok(())
    }
}
