//! The crash test of the embedded runtime: its process is killed with SIGKILL at random moments, again and again,
//! under load over services, objects and workflows. Afterwards every value is exact, nothing was carried out twice
//! that had been stored, and nothing hangs.
//!
//! In: `DURABLY_CRASH_SECONDS`, the time of the load (default 10; the time to start and to check comes on top), and
//! `DURABLY_CRASH_SEED`. Out: a line of counts for each scenario. Kills and load follow from the seed; how they meet
//! depends on the machine. Log and diary of a scenario that fails are kept under `target/tmp`.
//!
//! The load and what is checked of it are shared with the failure tests; `jobs`, `services` and `traces` add what
//! leaves a trace outside of the journal.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod brief;
mod jobs;
#[allow(dead_code, reason = "some of it is about the real server")]
#[path = "../failures/ledger/mod.rs"]
mod ledger;
#[allow(dead_code, reason = "some of it is about the real server")]
#[path = "../failures/load/mod.rs"]
mod load;
#[path = "../failures/ports.rs"]
mod ports;
#[path = "../failures/random.rs"]
mod random;
mod records;
mod services;
#[path = "../../src/services/mod.rs"]
mod test_services;
mod traces;
mod world;

use std::{
    env,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use durably::admin::AdminClient;
use libtest_mimic::{Arguments, Trial};
use tokio::task::JoinSet;

use crate::{
    jobs::Jobs,
    ledger::{check, matches_of, warnings_of},
    load::{Driver, Load, Stuck},
    random::Random,
    traces::Traces,
    world::{Settings, World},
};

/// How many jobs are at work at any moment, of the shared load and of ours.
const WORKERS: u64 = 24;
const OWN_WORKERS: u64 = 24;

/// How long the load may take to its end once nothing is killed any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// How long the checks may take after that.
const CHECK_LIMIT: Duration = Duration::from_secs(300);

/// One kill in this time, at least: a slow machine gets more time.
const SECONDS_A_KILL: f64 = 3.0;

#[derive(Clone, Copy)]
enum Kind {
    /// Everything at once.
    Mixed,
    /// Much that is forgotten soon.
    Brief,
}

fn main() -> ExitCode {
    if world::is_runtime() {
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments {
        // Two at once would only slow each other down.
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    let trial = |name: &'static str, share: f64, kind: Kind, settings| {
        Trial::test(name, move || {
            let seconds: f64 = number("DURABLY_CRASH_SECONDS").unwrap_or(10.0);
            let seed = number("DURABLY_CRASH_SEED").unwrap_or_else(Random::any_seed);
            let time = Duration::from_secs_f64(seconds * share);
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(run(name, kind, settings, time, seed))?;
            Ok(())
        })
    };
    let always = Settings {
        fsync: true,
        always_suspend: false,
    };
    let never = Settings {
        fsync: false,
        always_suspend: true,
    };
    let trials = vec![
        trial("killed_with_fsync_always", 1.0, Kind::Mixed, always),
        trial(
            "killed_with_fsync_never_and_always_suspending",
            0.4,
            Kind::Mixed,
            never,
        ),
        trial("killed_while_it_forgets", 0.4, Kind::Brief, always),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let value = env::var(variable).ok()?;
    let Ok(number) = value.parse() else {
        panic!("{variable} is {value}, not a number");
    };
    Some(number)
}

/// Runs a scenario to its end, prints its counts, and fails if anything is not as it must be.
async fn run(
    name: &str,
    kind: Kind,
    settings: Settings,
    time: Duration,
    seed: u64,
) -> Result<(), String> {
    println!("{name}: {time:.1?}, seed {seed} …");
    let mut random = Random::new(seed);
    let world = World::start(settings).await;
    let limit = time + SETTLE_LIMIT + CHECK_LIMIT;
    let scenario = async {
        match kind {
            Kind::Mixed => mixed(name, &world, time, &mut random).await,
            Kind::Brief => brief::scenario(&world, time, &mut random).await,
        }
    };
    let (problems, counts) = match tokio::time::timeout(limit, scenario).await {
        Ok(ended) => ended,
        Err(_) => (
            vec![format!("not at its end after {limit:?}")],
            String::new(),
        ),
    };
    println!("{name}: {time:.1?}, seed {seed}, {counts}");
    if problems.is_empty() {
        return Ok(());
    }
    let kept = world.keep(&format!("local-crash-{name}-{seed}"));
    for problem in problems.iter().take(30) {
        println!("  {}", problem.chars().take(2_000).collect::<String>());
    }
    Err(format!(
        "{name}, seed {seed}: {} problems; log and diary are in {}",
        problems.len(),
        kept.display()
    ))
}

async fn mixed(
    name: &str,
    world: &World,
    time: Duration,
    random: &mut Random,
) -> (Vec<String>, String) {
    let started = Instant::now();
    let end = started + time;
    let driver = Arc::new(Driver::new(world.ingress(), true, end + SETTLE_LIMIT));
    let traces = Arc::new(Traces::of(world));
    let load = Load::start(&driver, WORKERS, random);
    let own = start_own(&driver, &traces, &world.admin_url(), random);
    let mut for_kills = random.fork();
    let trouble = async {
        world
            .kill_again_and_again(&mut for_kills, end, least_kills(time))
            .await;
        driver.stop();
        load.finish().await;
        own.join_all().await;
    };
    let told = || format!("kills {}, ", world.kills.load(Relaxed));
    driver.with_progress(name, told, trouble).await;
    let settled = started.elapsed();

    let mut problems = records::all_ended(world).await;
    let mut ledger = std::mem::take(&mut *driver.ledger());
    let (wrong, invocations, failed) = records::compare(world, &ledger).await;
    problems.extend(wrong);
    // Once more from the disk: it must all be there, and the diary must not grow.
    let diary = world.diary();
    world.kill_and_wait().await;
    let (wrong, asked_again) = check(&driver, &mut ledger, random).await;
    problems.extend(wrong);
    let (wrong, found) = traces.check(&driver, &diary).await;
    problems.extend(wrong);
    if world.diary() != diary {
        problems.push("something was carried out after all had ended".to_owned());
    }
    problems.extend(world.end().await);

    let log = world.log();
    let kills = world.kills.load(Relaxed);
    let mut expect_none = |what: &str, count: u64| {
        if count > 0 {
            problems.push(format!("{what}: {count}"));
        }
    };
    let lines = |parts: &[&str]| matches_of(&log, parts);
    expect_none(
        "mismatches",
        lines(&["error=[570]"]) + lines(&["error=[571]"]),
    );
    expect_none(
        "attempts that wait for something foreign",
        lines(&["not durable"]),
    );
    expect_none("panics", lines(&["panicked"]));
    expect_none("errors in the log", lines(&[" ERROR "]));
    expect_none("warnings in the log", warnings_of(&log));
    if kills < least_kills(time) {
        problems.push(format!("only {kills} kills"));
    }
    let counts = format!(
        "kills {kills} ({} while it started), jobs {}, invocations {invocations} (failed by design {failed}), \
         retries by the driver {}, asked again {asked_again}, {found}, journal of {} KiB, \
         settled after {settled:.1?}, checked after {:.1?}, problems {}",
        world.early_kills.load(Relaxed),
        driver.jobs(),
        driver.retries(),
        world.size() / 1024,
        started.elapsed(),
        problems.len(),
    );
    (problems, counts)
}

/// How often the process is to be killed in this time.
fn least_kills(time: Duration) -> u64 {
    (time.as_secs_f64() / SECONDS_A_KILL).ceil() as u64
}

/// Our own workers; they end when the driver is stopped and their jobs are done.
fn start_own(
    driver: &Arc<Driver>,
    traces: &Arc<Traces>,
    admin_url: &str,
    random: &mut Random,
) -> JoinSet<()> {
    let mut workers = JoinSet::new();
    for _ in 0..OWN_WORKERS {
        let (driver, traces) = (Arc::clone(driver), Arc::clone(traces));
        let (admin, mut random) = (AdminClient::new(admin_url), random.fork());
        workers.spawn(async move {
            let jobs = Jobs {
                t: &driver,
                traces: &traces,
                admin: &admin,
            };
            while !driver.is_stopped() {
                if let Err(Stuck(what)) = jobs.any(&mut random).await {
                    return driver.problem(format!("never answered: {what}"));
                }
                driver.count_job();
            }
        });
    }
    workers
}
