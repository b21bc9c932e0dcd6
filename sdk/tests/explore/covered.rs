//! What an exploration covers, and what it leaves in peace.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use durably::{
    prelude::*,
    testing::{Explore, TestRuntime, object, service, workflow},
};

use crate::secs;

/// Notes in which attempts each handler got how far.
#[derive(Default)]
struct Notes {
    attempts: AtomicU64,
    executed: AtomicU64,
}

struct Order {
    notes: Arc<Notes>,
}

#[durably::workflow]
impl Order {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, item: String) -> HandlerResult<String> {
        self.notes.attempts.fetch_add(1, Ordering::SeqCst);
        ctx.set("status", "new");
        let stock = ctx.object_client::<StockClient>(&item);
        let taken = stock.take(2u64).await?;
        let paid = ctx
            .run("charge", async || {
                self.notes.executed.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(format!("paid {taken}"))
            })
            .await?;
        ctx.set("status", "paid");
        let label = durably::select! {
            label = ctx.promise::<String>("label") => label?,
            slept = ctx.sleep(secs(3600)) => { slept?; "no label".to_owned() }
        };
        ctx.object_client::<StockClient>(&item).note(paid).send();
        Ok(label)
    }

    #[handler]
    async fn label(&self, ctx: &SharedWorkflowContext, label: String) -> HandlerResult<()> {
        Ok(ctx.promise::<String>("label").resolve(&label).await?)
    }
}

struct Stock;

#[durably::object]
impl Stock {
    #[handler]
    async fn take(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let left = ctx.get::<u64>("left").await?.unwrap_or(10);
        ctx.set("left", &(left - n));
        Ok(n)
    }

    #[handler]
    async fn note(&self, ctx: &ObjectContext, note: String) -> HandlerResult<()> {
        ctx.set("note", &note);
        Ok(())
    }
}

fn order(notes: &Arc<Notes>) -> Endpoint {
    let notes = Arc::clone(notes);
    Endpoint::builder()
        .bind(Order { notes })
        .bind(Stock)
        .build()
        .unwrap()
}

fn scenario(runtime: &mut TestRuntime) -> (String, Option<u64>, Option<String>) {
    let id = runtime
        .send(workflow::<OrderClient>("o1").run("tea".to_owned()))
        .unwrap();
    runtime.settle();
    runtime
        .call(workflow::<OrderClient>("o1").label("L7".to_owned()))
        .unwrap();
    let label = runtime.attach::<String>(&id).unwrap();
    runtime.run_until_idle();
    let left = runtime.state::<u64>("Stock", "tea", "left");
    (label, left, runtime.state("Stock", "tea", "note"))
}

#[test]
fn an_ordinary_scenario_is_covered_fully() {
    for version in [5, 6, 7] {
        let notes = Arc::new(Notes::default());
        let report = {
            let notes = Arc::clone(&notes);
            Explore::new(move || order(&notes))
                .runtime(move |builder| builder.protocol(version))
                .check(scenario)
                .unwrap_or_else(|failure| panic!("{failure}"))
        };
        println!("{report:?}");
        assert!(report.complete, "{report:?}");
        assert!(report.cuts > 30, "{report:?}");
        // Closures were executed again, since their results were lost.
        assert!(notes.executed.load(Ordering::SeqCst) > report.orders + 5);
        assert!(notes.attempts.load(Ordering::SeqCst) > report.runs);
    }
}

#[test]
fn handlers_that_always_suspend_are_explored_too() {
    Explore::new(|| order(&Arc::default()))
        .runtime(|builder| builder.always_suspend())
        .run(scenario);
}

struct Nap;

#[durably::service]
impl Nap {
    #[handler]
    async fn nap(&self, ctx: &Context, names: Vec<String>) -> HandlerResult<()> {
        let naps = names.iter().map(|name| async move {
            ctx.sleep(secs(1)).await?;
            ctx.object_client::<ListClient>("l").add(name.clone()).await
        });
        futures::future::try_join_all(naps).await?;
        Ok(())
    }
}

struct List;

#[durably::object]
impl List {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, name: String) -> HandlerResult<()> {
        let mut names = ctx.get::<Vec<String>>("names").await?.unwrap_or_default();
        names.push(name);
        ctx.set("names", &names);
        Ok(())
    }
}

#[test]
fn timers_of_the_same_instant_come_in_each_order() {
    let seen = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let noted = Arc::clone(&seen);
    let report = Explore::new(|| Endpoint::builder().bind(Nap).bind(List).build().unwrap())
        .order_may_matter()
        .budget(3000)
        .orders(400)
        .check(move |runtime| {
            let names = ["a", "b", "c"].map(str::to_owned).to_vec();
            runtime.call(service::<NapClient>().nap(names)).unwrap();
            let names = runtime.state::<Vec<String>>("List", "l", "names").unwrap();
            noted.lock().unwrap().insert(names.concat());
            names
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report:?}");
    let seen = seen.lock().unwrap();
    let seen: Vec<_> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, ["abc", "acb", "bac", "bca", "cab", "cba"]);
}

struct Spinner;

#[durably::service]
impl Spinner {
    /// The closure wakes itself again and again.
    #[handler]
    async fn spin(&self, ctx: &Context, times: u64) -> HandlerResult<u64> {
        let spins = ctx.run("spin", async || {
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
            Ok::<_, std::io::Error>(times)
        });
        Ok(spins.await?)
    }

    /// The same beside something else that is awaited.
    #[handler]
    async fn spin_beside(&self, ctx: &Context, times: u64) -> HandlerResult<u64> {
        let spins = ctx.run("spin", async || {
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
            Ok::<_, std::io::Error>(times)
        });
        let (slept, spun) = durably::join!(ctx.sleep(secs(1)), spins);
        slept?;
        Ok(spun?)
    }
}

fn spinner() -> Endpoint {
    Endpoint::builder().bind(Spinner).build().unwrap()
}

#[test]
fn a_closure_may_wake_itself_as_often_as_it_likes() {
    const TIMES: u64 = 120_000;
    for always_suspend in [false, true] {
        let mut builder = TestRuntime::builder(spinner());
        if always_suspend {
            builder = builder.always_suspend();
        }
        let mut runtime = builder.build();
        let spinner = service::<SpinnerClient>();
        assert_eq!(runtime.call(spinner.spin(TIMES)), Ok(TIMES));
        assert_eq!(runtime.call(spinner.spin_beside(TIMES)), Ok(TIMES));
    }
}

#[tokio::test]
async fn a_closure_may_give_the_thread_back_as_often_as_it_likes() {
    const TIMES: u64 = 20_000;
    let mut runtime = TestRuntime::new(spinner());
    let spinner = service::<SpinnerClient>();
    assert_eq!(runtime.call_async(spinner.spin(TIMES)).await, Ok(TIMES));
    assert_eq!(
        runtime.call_async(spinner.spin_beside(TIMES)).await,
        Ok(TIMES)
    );
}

#[tokio::test]
async fn closures_run_for_real_in_an_async_exploration() {
    let report = Explore::new(spinner)
        .check_async(async |runtime| {
            runtime
                .call_async(service::<SpinnerClient>().spin_beside(3))
                .await
        })
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.complete, "{report:?}");
}

#[test]
fn one_object_and_many_callers() {
    let report = Explore::new(|| Endpoint::builder().bind(Stock).build().unwrap())
        .check(|runtime| {
            let stock = object::<StockClient>("tea");
            let ids = [1, 2, 3].map(|n| runtime.send(stock.take(n)).unwrap());
            for id in &ids {
                runtime.attach::<u64>(id).unwrap();
            }
            runtime.state::<u64>("Stock", "tea", "left")
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report:?}");
}

struct Steps;

#[durably::service]
impl Steps {
    #[handler]
    async fn sleep(&self, ctx: &Context, times: u64) -> HandlerResult<()> {
        for _ in 0..times {
            ctx.sleep(secs(1)).await?;
        }
        Ok(())
    }

    #[handler]
    async fn wait(&self, ctx: &Context) -> HandlerResult<u64> {
        Ok(ctx.signal::<u64>("go").await?)
    }

    #[handler]
    async fn now(&self, ctx: &Context) -> HandlerResult<Duration> {
        Ok(ctx.now().await?.duration_since(std::time::UNIX_EPOCH)?)
    }
}

fn steps() -> Endpoint {
    Endpoint::builder().bind(Steps).build().unwrap()
}

#[test]
fn the_whole_budget_goes_to_the_cuts_if_there_is_one_order() {
    let check = |explore: Explore| {
        let checked = explore.check(|runtime| runtime.call(service::<StepsClient>().sleep(10)));
        checked.unwrap_or_else(|failure| panic!("{failure}"))
    };
    let report = check(Explore::new(steps));
    assert_eq!((report.orders, report.complete), (1, true), "{report:?}");
    let again = check(Explore::new(steps).budget(report.runs));
    assert_eq!(again, report);
    let less = check(Explore::new(steps).budget(report.runs - 1));
    assert_eq!((less.runs, less.complete), (report.runs - 1, false));
}

#[test]
fn the_time_does_not_depend_on_when_an_attempt_suspends() {
    let report = Explore::new(steps)
        .check(|runtime| {
            let id = runtime.send(service::<StepsClient>().wait()).unwrap();
            // Uncut it waits for its inactivity timeout; cut it may have suspended before.
            runtime.run_until_idle();
            let now = runtime.call(service::<StepsClient>().now()).unwrap();
            assert_eq!(now, runtime.now());
            runtime.signal(&id, "go", &7).unwrap();
            (now, runtime.attach::<u64>(&id))
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.complete, "{report:?}");
}
