//! Failure tests: the test services under load, while processes are killed, the network between them
//! and the server is bad, or processes are told to end. Afterwards every value is exact, and every
//! invocation has ended once.
//!
//! In: `DURABLY_FAILURE_SECONDS`, the time of all scenarios together (default 20; the time to start
//! and to check comes on top), and `DURABLY_FAILURE_SEED`. Out: a line of counts for each scenario.
//! Kills, cuts and load follow from the seed; how they meet depends on the machine. The logs of a
//! scenario that fails are kept under `target/tmp`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ledger;
mod load;
mod ports;
mod proxy;
mod random;
mod world;

use std::{
    env,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use durably::test_server::{RestateServer, RestateServerBuilder};
use futures::future::{join_all, try_join_all};
use tokio::sync::Mutex;

use crate::{
    ledger::{Records, check, failed_attempts, matches_of, warnings_of},
    load::{Blocked, Driver, Load, Stuck, block},
    random::Random,
    world::World,
};

/// How many scenarios share the time.
const SCENARIOS: u32 = 9;

/// How long the load may take to its end once nothing is hurt any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// How long the checks may take after that.
const CHECK_LIMIT: Duration = Duration::from_secs(180);

/// How many jobs are at work at any moment.
const WORKERS: u64 = 48;

/// How many handlers are blocked, besides the load, when a process is told to end.
const BLOCKED: usize = 40;

/// How the names of these begin.
const BLOCKED_PREFIX: &str = "blocked-";

/// How many attempts fail at the most when a process ends. The server opens streams on a connection until
/// it has read that it goes away, and then drops the connection; that is a handful, as such an attempt has
/// only just begun, and they are tried again at once. On a machine that is busy it may read late now and
/// then, so this holds for half of the processes.
const TURNED_AWAY: u64 = 12;

/// How long a connection of a process that ends waits for a moment in which nothing executes. One that finds
/// none goes away all the same, and takes with it what executes just then.
const QUIET_LIMIT: Duration = Duration::from_secs(4);

/// How many attempts may fail when any process ends: no more than execute at once. That is an attempt for each
/// worker's job, and a few for those jobs that have made calls. (What has called and waits has suspended.)
const AT_WORK: u64 = 3 * WORKERS;

/// How many processes are replaced at the least, however short the time: so that half of them are not the one
/// that had bad luck.
const LEAST_ROLLS: usize = 3;

/// Scenarios run one at a time: two at once would only slow each other down.
static TURN: Mutex<()> = Mutex::const_new(());

/// What is done to the world.
#[derive(Clone, Copy, Default)]
struct Plan {
    kill_services: bool,
    kill_server: bool,
    /// The server talks to the services through a proxy that is no good.
    bad_network: bool,
    /// The server uses HTTP/1.1.
    http1: bool,
    /// Processes are replaced in an orderly manner.
    roll: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_killed() {
    let plan = Plan {
        kill_services: true,
        ..Plan::default()
    };
    run("services killed", soon_suspending(), plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed() {
    let plan = Plan {
        kill_server: true,
        ..Plan::default()
    };
    run("server killed, v7", soon_suspending().protocol_v7(), plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_killed() {
    let plan = Plan {
        kill_services: true,
        kill_server: true,
        ..Plan::default()
    };
    let server = RestateServer::builder().always_suspend();
    run("both killed, always suspending", server, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_bad() {
    let plan = Plan {
        bad_network: true,
        ..Plan::default()
    };
    run("bad network", soon_suspending(), plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_bad_on_protocol_v7() {
    let plan = Plan {
        bad_network: true,
        ..Plan::default()
    };
    let server = RestateServer::builder().protocol_v7();
    run("bad network, v7", server, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_bad_and_services_are_killed() {
    let plan = Plan {
        bad_network: true,
        kill_services: true,
        ..Plan::default()
    };
    let server = RestateServer::builder().protocol_v7().always_suspend();
    let name = "bad network, services killed, v7, always suspending";
    run(name, server, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_bad_over_http1() {
    let plan = Plan {
        bad_network: true,
        http1: true,
        ..Plan::default()
    };
    run("bad network, HTTP/1.1", RestateServer::builder(), plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_replaced() {
    let plan = Plan {
        roll: true,
        ..Plan::default()
    };
    run("services replaced", RestateServer::builder(), plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_replaced_on_protocol_v7() {
    let plan = Plan {
        roll: true,
        ..Plan::default()
    };
    let server = RestateServer::builder().protocol_v7();
    run("services replaced, v7", server, plan).await;
}

/// A server that lets some awaits go on where they are, and suspends others.
fn soon_suspending() -> RestateServerBuilder {
    RestateServer::builder().env("RESTATE_WORKER__INVOKER__INACTIVITY_TIMEOUT", "150ms")
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let value = env::var(variable).ok()?;
    let Ok(number) = value.parse() else {
        panic!("{variable} is {value}, not a number");
    };
    Some(number)
}

/// Runs a scenario to its end, prints its counts, and fails if anything is not as it must be.
async fn run(name: &str, server: RestateServerBuilder, plan: Plan) {
    let _turn = TURN.lock().await;
    let seconds: f64 = number("DURABLY_FAILURE_SECONDS").unwrap_or(20.0);
    let time = Duration::from_secs_f64(seconds) / SCENARIOS;
    let seed = number("DURABLY_FAILURE_SEED").unwrap_or_else(Random::any_seed);
    println!("{name}: {time:.1?}, seed {seed} …");
    let mut random = Random::new(seed);

    // What has failed is to be tried again soon, so that it can fail again, however often.
    let mut server = server
        .env("RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL", "250ms")
        .env("RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS", "unlimited");
    if plan.bad_network {
        // A connection that has become a black hole is to be noticed soon. (Where there are none, a process
        // that is only slow must not be taken for one.)
        server = server
            .env("RESTATE_WORKER__INVOKER__HTTP2_KEEP_ALIVE_INTERVAL", "2s")
            .env("RESTATE_WORKER__INVOKER__HTTP2_KEEP_ALIVE_TIMEOUT", "3s");
    }
    let proxy = (plan.bad_network || plan.roll).then(|| random.next());
    let world = World::start(server, proxy, plan.http1).await;
    let give_up = Instant::now() + time + SETTLE_LIMIT;
    let orderly = plan.roll;
    let driver = Arc::new(Driver::new(world.server.ingress(), !orderly, give_up));

    let scenario = scenario(name, &world, &driver, plan, time, &mut random);
    let limit = time + SETTLE_LIMIT + CHECK_LIMIT;
    let (problems, counts) = match tokio::time::timeout(limit, scenario).await {
        Ok(ended) => ended,
        Err(_) => (vec![format!("not at its end after {limit:?}")], "".into()),
    };
    println!("{name}: {time:.1?}, seed {seed}, {counts}");
    if !problems.is_empty() {
        let logs = world.keep_logs(&format!(
            "failures-{}-{seed}",
            name.replace([' ', ','], "-")
        ));
        for problem in problems.iter().take(30) {
            println!("  {}", problem.chars().take(2_000).collect::<String>());
        }
        panic!(
            "{name}, seed {seed}: {} problems; the logs are in {}",
            problems.len(),
            logs.display()
        );
    }
}

async fn scenario(
    name: &str,
    world: &World,
    driver: &Arc<Driver>,
    plan: Plan,
    time: Duration,
    random: &mut Random,
) -> (Vec<String>, String) {
    let started = Instant::now();
    let end = started + time;
    let load = Load::start(driver, WORKERS, random);
    let proxy = world.proxy.as_ref().filter(|_| plan.bad_network);
    proxy.inspect(|proxy| proxy.turn_foul());
    let (mut for_services, mut for_server, mut for_rolls) =
        (random.fork(), random.fork(), random.fork());
    let trouble = async {
        let (_, _, rolled, ()) = tokio::join!(
            async {
                if plan.kill_services {
                    kill_services(world, &mut for_services, end).await;
                }
            },
            async {
                if plan.kill_server {
                    kill_server(world, &mut for_server, end).await;
                }
            },
            async {
                if plan.roll {
                    roll(world, driver, &mut for_rolls, end).await
                } else {
                    (Vec::new(), Vec::new())
                }
            },
            tokio::time::sleep_until(end.into()),
        );
        proxy.inspect(|proxy| proxy.turn_fair());
        driver.stop();
        let (blocked, mut problems) = rolled;
        let released = blocked.into_iter().map(|blocked| blocked.release(driver));
        let released = join_all(released).await.into_iter();
        problems.extend(released.filter_map(|released| Some(format!("{:?}", released.err()?))));
        load.finish().await;
        problems
    };
    let told = || {
        format!(
            "kills {} + {}, {}",
            world.services_killed.load(Relaxed),
            world.server_killed.load(Relaxed),
            network(world)
        )
    };
    let mut problems = driver.with_progress(name, told, trouble).await;
    let settled = started.elapsed();

    problems.extend(Records::all_ended(&world.server).await);
    let mut ledger = std::mem::take(&mut *driver.ledger());
    let (wrong, asked_again) = check(driver, &mut ledger, random).await;
    problems.extend(wrong);
    let records = Records::of(&world.server, &ledger).await;
    problems.extend(records.problems);
    world.count_attempts().await;
    problems.extend(world.end().await);

    let logs = world.logs();
    let sum = |parts: &[&str]| -> u64 { logs.iter().map(|log| matches_of(log, parts)).sum() };
    let server_log = world.server.log();
    let failed = failed_attempts(&server_log);
    let mismatches = records.mismatches
        + failed.get("RT0016").copied().unwrap_or_default()
        + failed.get("RT0012").copied().unwrap_or_default()
        + sum(&["error=[570]"])
        + sum(&["error=[571]"]);
    let mut expect_none = |what: &str, count: u64| {
        if count > 0 {
            problems.push(format!("{what}: {count}"));
        }
    };
    expect_none("mismatches", mismatches);
    expect_none(
        "attempts that wait for something foreign",
        sum(&["not durable"]),
    );
    expect_none("panics", sum(&["panicked"]));
    expect_none("errors in the services' logs", sum(&[" ERROR "]));
    expect_none(
        "warnings in the services' logs",
        logs.iter().map(|log| warnings_of(log)).sum(),
    );
    let drains = world.drains();
    let slowest_drain = drains.iter().map(|(took, _)| *took).max();
    let slowest_drain = slowest_drain.unwrap_or_default();
    if plan.roll {
        let target = format!("target=BlockAndWaitWorkflow/{BLOCKED_PREFIX}");
        let blocked = matches_of(&server_log, &["restate.error.code", &target]);
        expect_none("failed attempts of blocked handlers", blocked);
        let all: u64 = failed.values().sum();
        let turned_away = failed.get("RT0010").copied().unwrap_or_default();
        expect_none("attempts that failed in another way", all - turned_away);
        let worst = drains.iter().map(|(_, count)| *count).max();
        expect_none(
            "too many failed attempts when a process ended",
            worst.unwrap_or_default().saturating_sub(AT_WORK),
        );
        // The last process was told to when nothing was at work any more.
        let replaced = drains.iter().rev().skip(1);
        let quiet = replaced.filter(|(took, _)| *took < QUIET_LIMIT);
        let mut counts: Vec<u64> = quiet.map(|(_, count)| *count).collect();
        counts.sort_unstable();
        let usual = counts.get(counts.len().saturating_sub(1) / 2);
        expect_none(
            "too many failed attempts when most processes ended",
            usual
                .copied()
                .unwrap_or_default()
                .saturating_sub(TURNED_AWAY),
        );
    }
    let mut at_least_once = |what: &str, wanted: bool, count: u64| {
        if wanted && count == 0 {
            problems.push(format!("{what}: none"));
        }
    };
    let services_killed = world.services_killed.load(Relaxed);
    let server_killed = world.server_killed.load(Relaxed);
    at_least_once("kills of the services", plan.kill_services, services_killed);
    at_least_once("kills of the server", plan.kill_server, server_killed);
    at_least_once("replaced processes", plan.roll, drains.len() as u64 - 1);
    let cut = world.proxy.as_ref().map_or(0, |proxy| proxy.counts().cut());
    at_least_once("cut connections", plan.bad_network, cut);

    let counts = format!(
        "kills of the services {services_killed}, of the server {server_killed}, \
         drains {} (slowest {slowest_drain:.0?}), {}\
         jobs {}, invocations {} (failed by design {}), retries by the driver {}, asked again {asked_again}, \
         attempts {} (suspended {}, failed {failed:?}), settled after {settled:.1?}, \
         checked after {:.1?}, problems {}, mismatches = {mismatches}",
        drains.len(),
        network(world),
        driver.jobs(),
        records.invocations,
        records.failed,
        driver.retries(),
        world.attempts("started"),
        world.attempts("suspended"),
        started.elapsed(),
        problems.len(),
    );
    (problems, counts)
}

/// What the proxy has counted.
fn network(world: &World) -> String {
    let Some(proxy) = &world.proxy else {
        return String::new();
    };
    let counts = proxy.counts();
    format!(
        "connections {} (reset {}, closed {}, half closed {}, stalled {}, black holes {}), bytes {}, ",
        counts.connections.load(Relaxed),
        counts.resets.load(Relaxed),
        counts.closes.load(Relaxed),
        counts.half_closes.load(Relaxed),
        counts.stalls.load(Relaxed),
        counts.holes.load(Relaxed),
        counts.bytes.load(Relaxed),
    )
}

/// Waits, and says whether there is time left.
async fn wait(pause: Duration, end: Instant) -> bool {
    tokio::time::sleep_until((Instant::now() + pause).min(end).into()).await;
    Instant::now() < end
}

async fn kill_services(world: &World, random: &mut Random, end: Instant) {
    let mut pause = random.millis(300, 600);
    // Once at the least, however late it is.
    while wait(pause, end).await || world.services_killed.load(Relaxed) == 0 {
        world.kill_services();
        pause = random.millis(300, 2_000);
    }
    world.services_serve().await;
}

async fn kill_server(world: &World, random: &mut Random, end: Instant) {
    let mut pause = random.millis(300, 1_000);
    while wait(pause, end).await || world.server_killed.load(Relaxed) == 0 {
        world.kill_server(random.millis(0, 300)).await;
        pause = random.millis(500, 3_000);
    }
}

/// Replaces the process again and again, each time with many handlers blocked in it. Gives these
/// handlers, and what went wrong.
async fn roll(
    world: &World,
    driver: &Driver,
    random: &mut Random,
    end: Instant,
) -> (Vec<Blocked>, Vec<String>) {
    let mut all_blocked = Vec::new();
    let mut problems = Vec::new();
    let mut pause = random.millis(100, 300);
    let mut rolls = 0;
    while wait(pause, end).await || rolls < LEAST_ROLLS {
        rolls += 1;
        let blocking = (0..BLOCKED).map(|_| async {
            let blocked = block(driver, BLOCKED_PREFIX).await?;
            blocked.has_begun(driver).await?;
            Ok(blocked)
        });
        match try_join_all(blocking).await {
            Ok(blocked) => all_blocked.extend(blocked),
            Err::<_, Stuck>(stuck) => problems.push(format!("{stuck:?}")),
        }
        problems.extend(world.roll().await);
        pause = random.millis(300, 1_500);
    }
    (all_blocked, problems)
}
