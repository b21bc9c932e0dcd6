//! The process that consumes is killed (SIGKILL) again and again: nothing is lost, nothing is there twice.

use std::{
    collections::BTreeMap, env, fs::OpenOptions, io::Write as _, path::PathBuf, time::Duration,
};

use durably::{
    local::{KafkaSource, LocalRuntime, OffsetReset},
    prelude::*,
    test_server::{KafkaBroker, ProcessUnderTest},
};

use crate::harness::{Result, Total, eventually, folder, numbered, totals};

/// Where the other process finds its folder, and its broker.
const FOLDER: &str = "DURABLY_TEST_LOCAL_KAFKA_FOLDER";
const BROKER: &str = "DURABLY_TEST_LOCAL_KAFKA_BROKER";

const RECORDS: u64 = 6_000;
const KEYS: u64 = 50;
const KILLS: u64 = 12;

/// Sums up, and says so in a file: one line for each record, or more if an attempt was cut off.
#[derive(Debug)]
struct Ledger(PathBuf);

#[durably::object]
impl Ledger {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        let mut total = ctx.get::<Total>("total").await?.unwrap_or_default();
        total.add(*event.value().unwrap_or(&0));
        ctx.set("total", &total);
        let line = format!("{}\t{}\n", ctx.key(), serde_json::to_string(&total)?);
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0)?;
        file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Not a test of its own: the process that is killed. Without its variables it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn process() -> Result {
    let (Some(folder), Ok(broker)) = (env::var_os(FOLDER), env::var(BROKER)) else {
        return Ok(());
    };
    let folder = PathBuf::from(folder);
    let endpoint = Endpoint::builder()
        .bind(Ledger(folder.join("ledger")))
        .build()?;
    let source = KafkaSource::new(broker, "crashes", "Ledger/add")
        .offset_reset(OffsetReset::Earliest)
        .max_in_flight(30);
    LocalRuntime::builder(endpoint)
        .path(folder.join("data"))
        .ingress(([127, 0, 0, 1], 0))
        .admin(([127, 0, 0, 1], 0))
        .subscribe(source)
        .run()
        .await?;
    Ok(())
}

/// The last word on each key, and how many words there were.
fn read(folder: &std::path::Path) -> (BTreeMap<String, Total>, usize) {
    let text = std::fs::read_to_string(folder.join("ledger")).unwrap_or_default();
    let mut last = BTreeMap::<String, Total>::new();
    let mut lines = 0;
    for line in text.lines() {
        let (key, total) = line.split_once('\t').unwrap();
        let total: Total = serde_json::from_str(total).unwrap();
        let known = last.entry(key.to_owned()).or_default();
        // An attempt that was cut off says it again; nobody ever goes back further, or leaves one out.
        assert!(
            total == *known || total.count == known.count + 1,
            "{key}: {known:?}, then {total:?}"
        );
        *known = total;
        lines += 1;
    }
    (last, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_counts_once_over_kill_9() -> Result {
    let broker = KafkaBroker::start().await?;
    broker.create_topic("crashes", 3).await?;
    broker
        .produce_all("crashes", numbered(1, RECORDS + 1, KEYS))
        .await?;
    let folder = folder();
    let process = ProcessUnderTest::builder(env::current_exe()?)
        .arg("--exact")
        .arg("crash::process")
        .arg("--nocapture")
        .env(FOLDER, folder.path())
        .env(BROKER, broker.bootstrap_servers())
        .spawn()?;
    let consumed = || {
        read(folder.path())
            .0
            .values()
            .map(|total| total.count)
            .sum::<u64>()
    };
    let mut in_the_middle = 0;
    for kill in 1..=KILLS {
        let before = consumed();
        // At least a little each time, and never the same.
        let enough = (before + 100 + 61 * (kill % 5)).min(RECORDS);
        eventually("it goes on", || consumed() >= enough).await;
        tokio::time::sleep(Duration::from_millis(kill * 7 % 23)).await;
        process.kill9();
        in_the_middle += u64::from(consumed() < RECORDS);
        process.restart()?;
    }
    eventually("all are consumed", || consumed() >= RECORDS).await;
    // What is there twice would come now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (last, lines) = read(folder.path());
    println!(
        "{in_the_middle} of {KILLS} kills in the middle; {lines} attempts for {RECORDS} records"
    );
    assert_eq!(last, totals(1, RECORDS + 1, KEYS));
    assert!(
        in_the_middle >= 5,
        "only {in_the_middle} kills came in the middle"
    );
    process.kill9();
    Ok(())
}
