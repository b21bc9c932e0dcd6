//! Each sort of mistake is found, and the report says what it is.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use durably::{
    prelude::*,
    testing::{Explore, ExploreFailure, ExploreFailureKind as Kind, TestRuntime, object, service},
};
use futures::FutureExt as _;

use crate::secs;

/// What the doubles of the outside world remember.
#[derive(Default)]
struct World {
    count: AtomicU64,
    emails: Mutex<Vec<String>>,
    cache: Mutex<Option<u64>>,
}

impl World {
    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst)
    }

    fn has(&self, done: &str) -> bool {
        self.emails.lock().unwrap().iter().any(|it| it == done)
    }

    fn add(&self, done: &str) {
        self.emails.lock().unwrap().push(done.to_owned());
    }
}

struct Bad {
    world: Arc<World>,
}

#[durably::service]
impl Bad {
    #[handler]
    async fn hash_map(&self, ctx: &Context) -> HandlerResult<()> {
        let cart: HashMap<u32, u32> = (0..12).map(|n| (n, n)).collect();
        for item in cart.keys() {
            step(ctx, format!("pack {item}")).await?;
        }
        Ok(())
    }

    #[handler]
    async fn clock(&self, ctx: &Context) -> HandlerResult<()> {
        step(ctx, "first".into()).await?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        ctx.service_client::<GoodClient>()
            .echo(now.as_nanos() as u64)
            .send();
        Ok(())
    }

    #[handler]
    async fn random(&self, ctx: &Context) -> HandlerResult<()> {
        step(ctx, "first".into()).await?;
        if self.world.next().is_multiple_of(2) {
            step(ctx, "heads".into()).await?;
        } else {
            step(ctx, "tails".into()).await?;
        }
        Ok(())
    }

    #[handler]
    async fn bare_sleep(&self, ctx: &Context) -> HandlerResult<()> {
        step(ctx, "first".into()).await?;
        tokio::time::sleep(secs(1)).await;
        Ok(())
    }

    #[handler]
    async fn bare_yield(&self, ctx: &Context) -> HandlerResult<()> {
        step(ctx, "first".into()).await?;
        tokio::task::yield_now().await;
        step(ctx, "second".into()).await?;
        Ok(())
    }

    #[handler]
    async fn bare_thread(&self, ctx: &Context) -> HandlerResult<()> {
        step(ctx, "first".into()).await?;
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // Long after it is awaited; nobody waits for the thread.
            std::thread::sleep(secs(1));
            tell.send(7u64)
        });
        ctx.service_client::<GoodClient>().echo(told.await?).send();
        Ok(())
    }

    #[handler]
    async fn tokio_join(&self, ctx: &Context) -> HandlerResult<()> {
        let shared = ctx
            .run("both wait", async || Ok::<_, std::io::Error>(()))
            .shared();
        let branch = async |name: &str| {
            let _ = shared.clone().await;
            step(ctx, name.to_owned()).await
        };
        let (left, right) = tokio::join!(branch("left"), branch("right"));
        left?;
        Ok(right?)
    }

    #[handler]
    async fn tokio_select(&self, ctx: &Context) -> HandlerResult<()> {
        let (tell, told) = tokio::sync::watch::channel(0);
        let wait = async |mut told: tokio::sync::watch::Receiver<i32>| {
            let _ = told.changed().await;
        };
        let other = told.clone();
        let tells = async {
            step(ctx, "tell".into()).await?;
            tell.send_replace(1);
            Ok::<_, TerminalError>(())
        };
        let waits = async {
            let name = tokio::select! {
                () = wait(told) => "left",
                () = wait(other) => "right",
            };
            step(ctx, name.to_owned()).await
        };
        let (told, waited) = durably::join!(tells, waits);
        told?;
        Ok(waited?)
    }

    #[handler]
    async fn effect_outside(&self, ctx: &Context) -> HandlerResult<()> {
        self.world.emails.lock().unwrap().push("welcome".to_owned());
        ctx.sleep(secs(1)).await?;
        Ok(())
    }

    #[handler]
    async fn effect_twice(&self, ctx: &Context) -> HandlerResult<u64> {
        let number = ctx.run("number", async || {
            Ok::<_, std::io::Error>(self.world.next())
        });
        Ok(number.await?)
    }

    /// Bears a crash at the first await of its closure, and at its end, but not at the second.
    #[handler]
    async fn half_way(&self, ctx: &Context) -> HandlerResult<()> {
        let shipped = ctx.run("ship", async || {
            if self.world.has("shipped") {
                return Ok::<_, std::io::Error>(());
            }
            if !self.world.has("reserved") {
                self.world.add("reserved");
            }
            tokio::task::yield_now().await;
            self.world.add("charged");
            tokio::task::yield_now().await;
            self.world.add("shipped");
            Ok(())
        });
        Ok(shipped.await?)
    }

    #[handler]
    async fn kept_in_memory(&self, ctx: &Context) -> HandlerResult<u64> {
        ctx.run("load", async || {
            *self.world.cache.lock().unwrap() = Some(7);
            Ok::<_, std::io::Error>(())
        })
        .await?;
        let kept = self.world.cache.lock().unwrap().take();
        step(ctx, "first".into()).await?;
        Ok(kept.unwrap_or_default())
    }
}

async fn step(ctx: &Context, name: String) -> Result<(), TerminalError> {
    ctx.run(name, async || Ok::<_, std::io::Error>(())).await
}

struct Good;

#[durably::service]
impl Good {
    #[handler]
    async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> {
        Ok(n)
    }
}

struct Cell;

#[durably::object]
impl Cell {
    /// Reads here and writes there: two at once lose what one has written.
    #[handler]
    async fn read(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(ctx.get::<u64>("n").await?.unwrap_or_default())
    }

    #[handler]
    async fn write(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<()> {
        ctx.set("n", &n);
        Ok(())
    }
}

struct Clerk;

#[durably::service]
impl Clerk {
    #[handler]
    async fn add(&self, ctx: &Context) -> HandlerResult<()> {
        let cell = ctx.object_client::<CellClient>("c");
        let n = cell.read().await?;
        Ok(cell.write(n + 1).await?)
    }
}

fn endpoint(world: &Arc<World>) -> Endpoint {
    let world = Arc::clone(world);
    let bound = Endpoint::builder().bind(Bad { world }).bind(Good);
    bound.bind(Cell).bind(Clerk).build().unwrap()
}

fn explore() -> Explore {
    Explore::new(|| endpoint(&Arc::default()))
}

fn found<R: PartialEq + std::fmt::Debug>(
    explore: Explore,
    scenario: impl Fn(&mut TestRuntime) -> R,
) -> (ExploreFailure, String) {
    let failure = explore.check(scenario).unwrap_err();
    let text = failure.to_string();
    println!("{text}\n");
    (failure, text)
}

/// The report holds all these, in this order.
#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => panic!("no `{part}` (any more) in\n{text}"),
        }
    }
}

#[test]
fn the_order_of_a_hash_map() {
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().hash_map())
    });
    assert_eq!(failure.kind(), Kind::Unrepeatable);
    holds(
        &text,
        &["the same run comes out otherwise", "pack", "HashMap"],
    );
}

#[test]
fn a_clock() {
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().clock())
    });
    assert_eq!(failure.kind(), Kind::Unrepeatable);
    holds(&text, &["Good/echo", "a clock"]);
}

#[test]
fn a_random_number() {
    // One world for all runs: heads and tails take turns.
    let world = Arc::default();
    let explore = Explore::new(move || endpoint(&world));
    let (failure, text) = found(explore, |runtime| {
        runtime.call(service::<BadClient>().random())
    });
    assert_eq!(failure.kind(), Kind::Unrepeatable);
    holds(&text, &["run `tails`", "run `heads`", "a random number"]);
    // A world for each run: the first toss is the same in each, a replay tosses again.
    let (failure, text) = found(self::explore(), |runtime| {
        runtime.call(service::<BadClient>().random())
    });
    assert_eq!(failure.kind(), Kind::Mismatch);
    holds(
        &text,
        &[
            "Bad/random does not replay",
            "the journal holds: Run",
            "heads",
            "tails",
            "the cut: Bad/random: the request ended after the result of a run was stored",
            "the order: the plain one",
            ".only(\"seed=1 suspend=",
            "  → run `first`",
            "+ · CUT: the request ends",
            ">> → run `heads`",
            "+ · failed: [570]",
            "a random number",
        ],
    );
}

#[test]
fn bare_awaits() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = tokio.enter();
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().bare_sleep())
    });
    is_foreign(&failure, &text);
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().bare_thread())
    });
    is_foreign(&failure, &text);
}

#[tokio::test]
async fn a_bare_await_that_gives_the_thread_back() {
    let explore = explore();
    let checked = explore.check_async(async |runtime| {
        runtime
            .call_async(service::<BadClient>().bare_yield())
            .await
    });
    let failure = checked.await.unwrap_err();
    is_foreign(&failure, &failure.to_string());
}

fn is_foreign(failure: &ExploreFailure, text: &str) {
    assert_eq!(failure.kind(), Kind::Stuck);
    holds(
        text,
        &[
            "waits for something that is not durable, after",
            "likely causes",
        ],
    );
}

#[test]
fn a_fork_under_tokio_join() {
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().tokio_join())
    });
    assert_eq!(failure.kind(), Kind::Mismatch);
    holds(
        &text,
        &[
            "Bad/tokio_join does not replay",
            "`both wait`",
            "tokio::join!",
        ],
    );
}

#[test]
fn a_fork_under_an_unbiased_select() {
    let (_, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().tokio_select())
    });
    holds(&text, &["run `tell`", "`tokio::select!` without `biased`"]);
}

#[test]
fn an_effect_outside_of_a_run() {
    let worlds = Arc::new(Mutex::new(Arc::<World>::default()));
    let fresh = Arc::clone(&worlds);
    let explore = Explore::new(move || {
        let world = Arc::default();
        *fresh.lock().unwrap() = Arc::clone(&world);
        endpoint(&world)
    });
    let (failure, text) = found(explore, |runtime| {
        runtime
            .call(service::<BadClient>().effect_outside())
            .unwrap();
        worlds.lock().unwrap().emails.lock().unwrap().clone()
    });
    assert_eq!(failure.kind(), Kind::Outcome);
    holds(
        &text,
        &[
            "the scenario returned [\"welcome\", \"welcome\"] with the cut, and [\"welcome\"] without it",
            "an effect outside of `ctx.run`",
        ],
    );
}

#[test]
fn a_closure_that_executes_twice() {
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().effect_twice())
    });
    assert_eq!(failure.kind(), Kind::Outcome);
    holds(
        &text,
        &[
            "the scenario returned Ok(1) with the cut, and Ok(0) without it",
            "lost: ",
            "the result of a run",
            ">- ← run `number`: 0",
            ">+ ← run `number`: 1",
            "a run's closure that must not execute twice",
        ],
    );
}

#[tokio::test]
async fn a_closure_that_must_not_stop_half_way() {
    let worlds = Arc::new(Mutex::new(Arc::<World>::default()));
    let fresh = Arc::clone(&worlds);
    let explore = Explore::new(move || {
        let world = Arc::default();
        *fresh.lock().unwrap() = Arc::clone(&world);
        endpoint(&world)
    });
    let checked = explore.check_async(async |runtime| {
        let shipped = runtime.call_async(service::<BadClient>().half_way()).await;
        let world = worlds.lock().unwrap().clone();
        let done = world.emails.lock().unwrap().join(" ");
        (shipped, done)
    });
    let failure = checked.await.unwrap_err();
    assert_eq!(failure.kind(), Kind::Outcome);
    holds(
        &failure.to_string(),
        &[
            "reserved charged charged shipped",
            "with the cut",
            "the attempt crashed while a run's closure executed",
        ],
    );
}

#[test]
fn a_value_that_is_kept_in_memory() {
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().kept_in_memory())
    });
    assert_eq!(failure.kind(), Kind::Outcome);
    holds(
        &text,
        &["a cut changes the outcome", "kept outside of the journal"],
    );
}

/// Two clerks at once: one sum is lost if both read before one writes.
fn two_clerks(runtime: &mut TestRuntime) -> Option<u64> {
    let ids = [(); 2].map(|()| runtime.send(service::<ClerkClient>().add()).unwrap());
    for id in &ids {
        runtime.attach::<()>(id).unwrap();
    }
    runtime.state("Cell", "c", "n")
}

#[test]
fn a_race() {
    let (failure, text) = found(explore(), two_clerks);
    assert_eq!(failure.kind(), Kind::Order);
    holds(
        &text,
        &[
            "the outcome depends on the order",
            "decision",
            "handlers that race",
        ],
    );
    let report = explore().order_may_matter().check(two_clerks).unwrap();
    assert!(report.orders > 10);
}

#[test]
fn a_failure_is_run_again_by_its_name() {
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<BadClient>().effect_twice())
    });
    let (again, same) = found(explore().only(failure.rerun()), |runtime| {
        runtime.call(service::<BadClient>().effect_twice())
    });
    assert_eq!(again.kind(), failure.kind());
    let without_count = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("found in"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_count(&same), without_count(&text));

    let (failure, _) = found(explore(), two_clerks);
    let (again, _) = found(explore().only(failure.rerun()), two_clerks);
    assert_eq!(again.rerun(), failure.rerun());
    assert_eq!(again.kind(), Kind::Order);
}

#[test]
#[should_panic(expected = "a cut changes the outcome")]
fn a_test_fails_with_the_report() {
    durably::testing::explore(
        || endpoint(&Arc::default()),
        |runtime| runtime.call(service::<BadClient>().effect_twice()),
    );
}

#[test]
#[should_panic(expected = "names no run of an exploration")]
fn nonsense_is_no_name_of_a_run() {
    let _ = explore().only("seed=7 jump=3");
}

#[test]
fn a_scenario_that_panics_is_said_so() {
    let (failure, text) = found(explore(), |runtime| {
        let n = runtime.call(service::<GoodClient>().echo(3)).unwrap();
        assert_eq!(n, 4, "three is not four");
    });
    assert_eq!(failure.kind(), Kind::Stuck);
    holds(
        &text,
        &["the scenario does not come to its end", "three is not four"],
    );
    let _ = object::<CellClient>("c");
}

#[test]
fn what_changes_from_run_to_run_is_no_matter_of_order() {
    // The same three times, then something else: the fourth run is the first in another order.
    let runs = AtomicU64::new(0);
    let (failure, text) = found(explore().budget(4), |runtime| {
        two_clerks(runtime);
        runs.fetch_add(1, Ordering::SeqCst) >= 3
    });
    assert_eq!(failure.kind(), Kind::Unrepeatable);
    assert_eq!(failure.rerun(), "seed=1");
    holds(
        &text,
        &[
            "the same run comes out otherwise when it is made again",
            "the scenario returned true the second time, and false the first time",
            "the order: the plain one",
        ],
    );
}

#[test]
fn the_second_of_two_runs_is_shown_beside_the_first() {
    let runs = AtomicU64::new(0);
    let (failure, text) = found(explore(), |runtime| {
        runtime.call(service::<GoodClient>().echo(3)).unwrap();
        assert_eq!(runs.fetch_add(1, Ordering::SeqCst), 0, "once only");
    });
    assert_eq!(failure.kind(), Kind::Stuck);
    holds(
        &text,
        &[
            "once only",
            "the journal of Good/echo: `-` the first time, `+` the second time",
        ],
    );
}
