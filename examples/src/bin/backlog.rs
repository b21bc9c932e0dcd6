//! A backlog in a Kafka topic, worked off a few records at a time.
//!
//! The Restate server takes a topic in as fast as it can, and nothing holds it back: a backlog turns into
//! as many invocations, and the handlers' own dependencies get all of them at once. Here a bank bears no
//! more than 16 requests at a time. So the handler that is subscribed does nothing but hand each record to
//! one of 16 *lanes*, virtual objects that work off what they are given one after the other.
//!
//! `cargo run -p durably-examples --bin backlog` compares this with the bare handler, and with two limits
//! that are set at the server; with a number it does so for as many records, with the argument `serve` it
//! only serves.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

const LANES: u64 = 16;

/// Invoked for each record of the topic; the record's key is the account.
struct Intake;

#[durably::object]
impl Intake {
    /// Hands a record on. The records of an account stay in order: they arrive here in order, and they
    /// take the same lane.
    #[handler]
    async fn on_payment(
        &self,
        ctx: &ObjectContext,
        event: KafkaEvent<Payment>,
    ) -> HandlerResult<()> {
        if let Some(payment) = event.into_value() {
            let lane = ctx.object_client::<LaneClient>(lane_of(ctx.key()));
            lane.pay(payment).send();
        }
        Ok(())
    }
}

/// Works off payments one after the other, so that as many are on their way as there are lanes.
struct Lane {
    bank: Bank,
}

#[durably::object]
impl Lane {
    /// Pays, whatever that takes: a lane stays taken while its handler sleeps, is tried again or is
    /// suspended.
    #[handler]
    async fn pay(&self, ctx: &ObjectContext, payment: Payment) -> HandlerResult<()> {
        ctx.run("pay", || self.bank.pay(&payment)).await?;
        Ok(())
    }
}

/// The lane of an account, the same one in every build: a replay must find it again, and the standard
/// library's hashes promise no such thing. (This is FNV-1a.)
fn lane_of(account: &str) -> String {
    let hash = account
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("lane-{}", (hash ^ (hash >> 32)) % LANES)
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Payment {
    account: String,
    /// Counts the payments of the account.
    number: u32,
}

/// The handler that it would be without lanes.
struct Direct {
    bank: Bank,
}

#[durably::object]
impl Direct {
    /// Pays at once.
    #[handler]
    async fn on_payment(
        &self,
        ctx: &ObjectContext,
        event: KafkaEvent<Payment>,
    ) -> HandlerResult<()> {
        if let Some(payment) = event.into_value() {
            ctx.run("pay", || self.bank.pay(&payment)).await?;
        }
        Ok(())
    }
}

fn endpoint(bank: &Bank) -> Result<Endpoint, durably::BuildError> {
    let (lane, direct) = (bank.clone(), bank.clone());
    Endpoint::builder()
        .bind(Intake)
        .bind(Lane { bank: lane })
        .bind(Direct { bank: direct })
        .build()
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    durably_examples::exit_code(async {
        let argument = std::env::args().nth(1);
        match argument.as_deref() {
            Some("serve" | "--serve") => durably_examples::serve(endpoint(&Bank::default())?).await,
            None => or_ctrl_c(demonstrate(1_000)).await,
            Some(number) => {
                let number = number.parse().with_context(|| {
                    format!("unknown argument `{number}`: give a number of records, or `serve`")
                })?;
                or_ctrl_c(demonstrate(number)).await
            }
        }
    })
    .await
}

// What follows is the bank, and what the demonstration needs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use durably::test_server::{KafkaBroker, KafkaRecord, RestateServer, RestateServerBuilder};
use durably_examples::{or_ctrl_c, or_say_why_it_takes_long, print};

/// How long the bank takes for a payment.
const PAYMENT: Duration = Duration::from_millis(50);
const PARTITIONS: i32 = 4;
const PAYMENTS_PER_ACCOUNT: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(600);

/// Counts what happens at the bank.
#[derive(Clone, Default)]
struct Bank(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    open: usize,
    most_open: usize,
    /// The next payment of each account.
    next: BTreeMap<String, u32>,
    paid: usize,
    out_of_order: usize,
}

impl Bank {
    async fn pay(&self, payment: &Payment) -> Result<(), std::io::Error> {
        self.look(|books| {
            books.open += 1;
            books.most_open = books.most_open.max(books.open);
        });
        tokio::time::sleep(PAYMENT).await;
        self.look(|books| {
            books.open -= 1;
            books.paid += 1;
            let next = books.next.entry(payment.account.clone()).or_default();
            if *next != payment.number {
                books.out_of_order += 1;
            }
            *next = payment.number + 1;
        });
        Ok(())
    }

    fn look<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One way to work the backlog off.
struct Way {
    title: &'static str,
    handler: &'static str,
    server: RestateServerBuilder,
    /// The records' scope has a limit at the server.
    limited_scope: bool,
}

async fn demonstrate(records: u32) -> anyhow::Result<()> {
    print(format_args!(
        "\n{records} payments wait in a topic; the bank takes {} ms for each, and bears {LANES} at a time.\n",
        PAYMENT.as_millis(),
    ));
    let broker =
        or_say_why_it_takes_long("a small Kafka broker (pip, 5 MB)", KafkaBroker::start()).await?;
    broker.create_topic("payments", PARTITIONS).await?;
    for payments in backlog(records)?.chunks(2_000) {
        broker.produce_all("payments", payments.to_vec()).await?;
    }

    let way = |title, handler| Way {
        title,
        handler,
        server: RestateServer::builder(),
        limited_scope: false,
    };
    let direct = way("the bare handler", "Direct/on_payment");
    let lanes = way("with lanes", "Intake/on_payment");
    // The server has two partitions here, and each counts for itself.
    let half = (LANES / 2).to_string();
    let mut attempts = way("server: few attempts", "Direct/on_payment");
    attempts.server = attempts.server.env(
        "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT",
        half,
    );
    // An experiment of server 1.7: the records' header `x-restate-scope` says which limit is theirs.
    let mut scope = way("server: limited scope", "Direct/on_payment");
    scope.server = scope
        .server
        .scopes()
        .env("RESTATE_EXPERIMENTAL_ENABLE_KAFKA_SCOPE", "true");
    scope.limited_scope = true;

    print("                        taken in  worked off  at once  server memory");
    for way in [direct, lanes, attempts, scope] {
        let (title, bare) = (way.title, way.title == "the bare handler");
        let report = work_off(way, &broker, records as usize).await?;
        print(format_args!(
            "{title:22} {:7.1} s {:9.1} s  {:7}  {:>10}",
            report.taken_in.as_secs_f64(),
            report.worked_off.as_secs_f64(),
            report.most_open,
            report.memory,
        ));
        ensure!(
            bare || report.most_open <= usize::try_from(LANES)?,
            "{} requests reached the bank at once",
            report.most_open
        );
    }
    print("\nEach payment was made once, and those of an account in their order.");
    Ok(())
}

fn backlog(records: u32) -> anyhow::Result<Vec<KafkaRecord>> {
    let accounts = records.div_ceil(PAYMENTS_PER_ACCOUNT).max(1);
    let payment = |n: u32| {
        let payment = Payment {
            account: format!("account-{}", n % accounts),
            number: n / accounts,
        };
        let record = KafkaRecord::new().key(payment.account.clone());
        let record = record.header("x-restate-scope", "bank");
        Ok(record.value(serde_json::to_vec(&payment)?))
    };
    (0..records).map(payment).collect()
}

struct Report {
    taken_in: Duration,
    worked_off: Duration,
    most_open: usize,
    memory: String,
}

/// Lets a new server take the topic in from its beginning, and waits until all is paid.
async fn work_off(way: Way, broker: &KafkaBroker, records: usize) -> anyhow::Result<Report> {
    let bank = Bank::default();
    let start = way.server.start();
    let server = or_say_why_it_takes_long("the Restate server (npm, 80 MB)", start).await?;
    let _served = server.serve(endpoint(&bank)?).await?;
    if way.limited_scope {
        let most = u32::try_from(LANES)?;
        server.limit_concurrency("bank", most).await?;
    }
    server
        .create_kafka_cluster("broker", broker.bootstrap_servers())
        .await?;
    let begin = Instant::now();
    let sink = format!("service://{}", way.handler);
    let earliest = [("auto.offset.reset", "earliest")];
    server
        .subscribe("kafka://broker/payments", &sink, &earliest)
        .await?;

    let (mut taken_in, mut memory) = (None, 0);
    let taken = "SELECT COUNT(1) AS n FROM sys_invocation WHERE target_handler_name = 'on_payment'";
    while bank.look(|books| books.paid) < records {
        ensure!(
            begin.elapsed() < PATIENCE,
            "{} of {records} payments are made after {PATIENCE:?}",
            bank.look(|books| books.paid)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        memory = memory.max(megabytes(&server));
        if taken_in.is_none() {
            let n = server.query(taken).await?;
            let all = n.first().and_then(|row| row["n"].as_u64()) >= Some(records as u64);
            taken_in = all.then(|| begin.elapsed());
        }
    }
    let worked_off = begin.elapsed();
    let (most_open, out_of_order) = bank.look(|books| (books.most_open, books.out_of_order));
    ensure!(
        out_of_order == 0,
        "{out_of_order} payments were out of order"
    );
    Ok(Report {
        taken_in: taken_in.unwrap_or(worked_off),
        worked_off,
        most_open,
        memory: match memory {
            0 => "unknown".to_owned(),
            megabytes => format!("{megabytes} MB"),
        },
    })
}

/// What the server has in memory now; 0 where that cannot be told.
fn megabytes(server: &RestateServer) -> u64 {
    let status = |id| std::fs::read_to_string(format!("/proc/{id}/status")).ok();
    let status = server.id().and_then(status).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use durably::testing::{MockContext, TestRuntime, object};

    use super::*;

    fn payment(account: &str, number: u32) -> Payment {
        Payment {
            account: account.to_owned(),
            number,
        }
    }

    #[tokio::test]
    async fn a_record_is_handed_to_the_lane_of_its_account() {
        let event = KafkaEvent::builder(payment("ada", 7)).key("ada").build();
        let mock = MockContext::object("ada");
        mock.call(async |ctx| Intake.on_payment(ctx, event).await)
            .await
            .unwrap();
        let lane = object::<LaneClient>(lane_of("ada"));
        let sent = mock.sends(lane.pay(payment("", 0)));
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].input, payment("ada", 7));
    }

    #[tokio::test]
    async fn a_tombstone_costs_nothing() {
        let mock = MockContext::object("ada");
        mock.call(async |ctx| {
            Intake
                .on_payment(ctx, KafkaEvent::tombstone().build())
                .await
        })
        .await
        .unwrap();
        assert!(mock.all_sends().is_empty());
    }

    #[test]
    fn accounts_spread_over_all_lanes() {
        let lanes: BTreeSet<_> = (0..1_000)
            .map(|n| lane_of(&format!("account-{n}")))
            .collect();
        assert_eq!(lanes.len(), 16);
        assert_eq!(lane_of("account-7"), lane_of("account-7"));
    }

    /// Few at a time, each once, and those of an account in order.
    #[tokio::test]
    async fn a_backlog_takes_its_lanes() -> Result<(), Box<dyn std::error::Error>> {
        let bank = Bank::default();
        let mut runtime = TestRuntime::new(endpoint(&bank)?);
        runtime.subscribe("payments", "Intake/on_payment");
        for number in 0..3 {
            for n in 0..20 {
                let account = format!("account-{n}");
                runtime.produce("payments", &account, &payment(&account, number));
            }
        }
        runtime.run_until_idle_async().await;
        bank.look(|books| {
            assert_eq!((books.paid, books.out_of_order), (60, 0));
            assert!((2..=16).contains(&books.most_open), "{}", books.most_open);
        });
        Ok(())
    }
}
