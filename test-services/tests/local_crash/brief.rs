//! The scenario of what is forgotten soon: much goes through the journal, and little stays on disk, also when the
//! process is killed while it forgets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    SETTLE_LIMIT, least_kills,
    load::{Driver, Result},
    random::Random,
    services::THREE,
    traces::Traces,
    world::World,
};

const WORKERS: u64 = 6;

/// The content of a parcel, and how often its journal has it: as the input, for each step, and as the output.
const CONTENT: usize = 300_000;
const COPIES: u64 = 5;

/// As much must have gone through, so that what stays can be told from it.
const LEAST: u64 = 160 << 20;

/// What may stay when all is forgotten: a log that was not cut off, and room for what comes next.
const STAYS: u64 = 64 << 20;

/// How long it may take to forget all, and to give the space back: that is copied a piece at a time, and a disk may
/// be slow.
const LIMIT: Duration = Duration::from_secs(180);

pub(crate) async fn scenario(
    world: &World,
    time: Duration,
    random: &mut Random,
) -> (Vec<String>, String) {
    let end = Instant::now() + time;
    let driver = Arc::new(Driver::new(world.ingress(), false, end + SETTLE_LIMIT));
    let traces = Arc::new(Traces::of(world));
    let carried = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (driver, traces) = (Arc::clone(&driver), Arc::clone(&traces));
        let carried = Arc::clone(&carried);
        workers.spawn(async move {
            while !driver.is_stopped() || carried.load(Relaxed) < LEAST {
                if let Err(stuck) = carry(&driver, &traces).await {
                    return driver.problem(format!("{stuck:?}"));
                }
                carried.fetch_add(CONTENT as u64 * COPIES, Relaxed);
            }
        });
    }
    let mut for_kills = random.fork();
    let mut most = 0;
    let trouble = async {
        world
            .kill_again_and_again(&mut for_kills, end, least_kills(time))
            .await;
        driver.stop();
        workers.join_all().await;
    };
    let mut trouble = std::pin::pin!(trouble);
    loop {
        tokio::select! {
            () = &mut trouble => break,
            () = tokio::time::sleep(Duration::from_millis(200)) => most = most.max(world.size()),
        }
    }
    let mut problems = std::mem::take(&mut driver.ledger().problems);

    let start = Instant::now();
    let left = loop {
        let known = world.invocations("").await.map(|known| known.len());
        let size = world.size();
        if known == Ok(0) && size <= STAYS {
            break size;
        }
        if start.elapsed() > LIMIT {
            problems.push(format!(
                "still there: {known:?} invocations, {} KiB",
                size / 1024
            ));
            break size;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let forgotten_after = start.elapsed();
    world.kill_and_wait().await;
    if world.invocations("").await.map(|known| known.len()) != Ok(0) {
        problems.push("what was forgotten is there again".to_owned());
    }
    let (wrong, found) = traces.check(&driver, &world.diary()).await;
    problems.extend(wrong);
    problems.extend(world.end().await);
    let carried = carried.load(Relaxed);
    let counts = format!(
        "kills {}, carried {} MiB, at most {} MiB on disk, {} MiB left, forgotten after {forgotten_after:.1?}, {found}",
        world.kills.load(Relaxed),
        carried >> 20,
        most >> 20,
        left >> 20,
    );
    (problems, counts)
}

/// A parcel that is carried once. No key: what is asked again has a token of its own.
async fn carry(driver: &Driver, traces: &Traces) -> Result {
    let token = driver.name("parcel-");
    let parcel = json!({ "token": token, "content": "x".repeat(CONTENT) });
    let request = driver.ingress.service("Brief", "carry").json(&parcel);
    let tried = tokio::time::timeout(Duration::from_secs(10), request.call::<String>()).await;
    match tried {
        Ok(Ok(content)) => {
            traces.acknowledged(&token, &THREE);
            if content.len() != CONTENT {
                driver.problem(format!("{token} came with {} bytes", content.len()));
            }
        }
        _ => traces.perhaps(),
    }
    driver.check_time(&token)
}
