//! The process that consumes is killed (SIGKILL) again and again: nothing is lost, nothing is there twice.

use std::{
    collections::BTreeMap,
    env,
    fs::OpenOptions,
    io::Write as _,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
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

/// One process sums up no more records than these, unless there is the file [`OPEN`]: so each kill comes in the
/// middle, however late it comes.
const OF_ONE: u64 = 480;
const _: () = assert!(KILLS * OF_ONE < RECORDS);

/// Lets the process sum up all that are left.
const OPEN: &str = "open";

/// Sums up, and says so in a file: one line for each record, or more if an attempt was cut off.
#[derive(Debug)]
struct Ledger {
    folder: PathBuf,
    /// How many records this process has begun to sum up.
    begun: AtomicU64,
}

#[durably::object]
impl Ledger {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, event: KafkaEvent<u64>) -> HandlerResult<()> {
        if self.begun.fetch_add(1, Ordering::Relaxed) >= OF_ONE {
            while !self.folder.join(OPEN).exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let mut total = ctx.get::<Total>("total").await?.unwrap_or_default();
        total.add(*event.value().unwrap_or(&0));
        ctx.set("total", &total);
        // The end of the line comes first: a kill may have cut off the last one.
        let line = format!("\n{}\t{}", ctx.key(), serde_json::to_string(&total)?);
        let path = self.folder.join("ledger");
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
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
    let ledger = Ledger {
        folder: folder.clone(),
        begun: AtomicU64::new(0),
    };
    let endpoint = Endpoint::builder().bind(ledger).build()?;
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
        // One without its end is being written, or was cut off by a kill: then it is said again.
        let whole = line.split_once('\t').filter(|_| line.ends_with('}'));
        let Some((key, total)) = whole else {
            continue;
        };
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
    for kill in 1..=KILLS {
        let before = consumed();
        // At least a little each time, and never the same; and less than one process sums up, also where it
        // begins with attempts that are made again.
        let enough = before + 100 + 61 * (kill % 5);
        eventually("it goes on", || consumed() >= enough).await;
        tokio::time::sleep(Duration::from_millis(kill * 7 % 23)).await;
        process.kill9();
        assert!(consumed() < RECORDS, "this kill is none in the middle");
        process.restart()?;
    }
    std::fs::write(folder.path().join(OPEN), "")?;
    eventually("all are consumed", || consumed() >= RECORDS).await;
    // What is there twice would come now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (last, lines) = read(folder.path());
    println!("{KILLS} kills; {lines} attempts for {RECORDS} records");
    assert_eq!(last, totals(1, RECORDS + 1, KEYS));
    process.kill9();
    Ok(())
}
