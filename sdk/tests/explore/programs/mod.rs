//! Correct random programs are never accused.
//!
//! A scenario is some requests to services, objects and workflows whose inputs are programs
//! (`language`), which call and send each other further programs, and race for the same objects.

mod generate;
mod handlers;
mod language;

use std::{
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use durably::{
    Endpoint,
    testing::{Explore, ExploreReport, TestRuntime, object, service, workflow},
};

use self::{
    generate::{Scenario, Source},
    handlers::{Flow, FlowClient, Helper, Shelf, ShelfClient, Worker, WorkerClient},
    language::{Request, To},
};
use crate::secs;

/// Runs of each program's exploration, and orders.
const BUDGET: u64 = 6;
const ORDERS: u64 = 2;

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |number| number.parse().unwrap())
}

/// Its services hold nothing, so that all runs may share it.
static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
    let bound = Endpoint::builder().bind(Worker).bind(Shelf);
    bound.bind(Flow).bind(Helper).build().unwrap()
});

fn send(runtime: &mut TestRuntime, request: &Request) -> durably::InvocationId {
    let program = request.program.clone();
    let sent = match &request.to {
        To::Service => runtime.send(service::<WorkerClient>().work(program)),
        To::Object(key) => runtime.send(object::<ShelfClient>(key).work(program)),
        To::Shared(key) => runtime.send(object::<ShelfClient>(key).look(program)),
        To::Workflow(key) => runtime.send(workflow::<FlowClient>(key).run(program)),
    };
    sent.unwrap()
}

/// What the scenario gives: the results of the requests.
fn play(runtime: &mut TestRuntime, scenario: &Scenario) -> Vec<Result<Vec<String>, String>> {
    let mut ids = Vec::new();
    for request in &scenario.requests {
        ids.push(send(runtime, request));
        if scenario.one_by_one {
            runtime.advance(secs(1));
        }
    }
    if let Some(cancelled) = scenario.cancelled {
        runtime.advance(secs(1));
        // It may be over.
        let _ = runtime.cancel(&ids[cancelled]);
    }
    runtime.run_until_idle();
    let end = |id| {
        runtime
            .attach::<Vec<String>>(id)
            .map_err(|error| error.to_string())
    };
    ids.iter().map(end).collect()
}

/// Explores one program; the report if it is accused.
fn explore(seed: u64) -> Result<ExploreReport, String> {
    let scenario = Scenario::generate(&mut Source::new(seed));
    let version = 5 + (seed % 3) as u32;
    let always_suspend = seed.is_multiple_of(5);
    let explore = Explore::new(ENDPOINT.clone())
        .order_may_matter()
        .seed(seed)
        .budget(number("DURABLY_BUDGET", BUDGET))
        .orders(number("DURABLY_ORDERS", ORDERS))
        .progress(false);
    let explore = match std::env::var("DURABLY_ONLY") {
        Ok(only) => explore.only(&only),
        Err(_) => explore,
    };
    let explore = explore.runtime(move |builder| {
        let builder = builder.protocol(version);
        if always_suspend {
            builder.always_suspend()
        } else {
            builder
        }
    });
    let checked = explore.check(|runtime| play(runtime, &scenario));
    checked.map_err(|failure| format!("{failure}\n\nseed {seed}: {scenario:?}"))
}

/// `DURABLY_PROGRAMS` tries another number, `DURABLY_SEED` begins elsewhere, `DURABLY_BUDGET` and `DURABLY_ORDERS` try
/// more of each, `DURABLY_ONLY` makes the run that a report names.
#[test]
fn correct_programs_are_never_accused() {
    let programs = number("DURABLY_PROGRAMS", 10_000);
    let first = number("DURABLY_SEED", 0);
    let next = AtomicU64::new(first);
    let [runs, cuts, strayed] = [const { AtomicU64::new(0) }; 3];
    let accused = Mutex::new(Vec::new());
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + programs || !accused.lock().unwrap().is_empty() {
                return;
            }
            match explore(seed) {
                Ok(report) => {
                    runs.fetch_add(report.runs, Ordering::SeqCst);
                    cuts.fetch_add(report.cuts, Ordering::SeqCst);
                    strayed.fetch_add(report.strayed, Ordering::SeqCst);
                }
                Err(report) => accused.lock().unwrap().push(report),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    println!(
        "{programs} programs, {runs:?} runs, {cuts:?} cuts, {strayed:?} of them strayed, {:?}",
        begun.elapsed()
    );
    let accused = accused.into_inner().unwrap();
    assert!(accused.is_empty(), "{}", accused.join("\n\n"));
    // Runs that prove little are few.
    assert!(strayed.into_inner() * 50 <= cuts.into_inner() || programs < 100);
}
