//! Crash exploration: a scenario is run again and again, cut wherever it can be cut and in each order in
//! which a runtime may do things, and must come to the same each time. See [`Explore`].
//!
//! [`Course`] is what the driver asks in each step of a run; `search` decides which runs are made and
//! compares what they came to (`outcome`); `report` says what went wrong.

mod course;
mod outcome;
mod plan;
mod progress;
mod report;
mod search;
mod simplify;

use std::fmt::{self, Debug};

use futures::FutureExt as _;

pub use self::report::{ExploreFailure, ExploreFailureKind};
pub(crate) use self::{
    course::{Course, Event, Next, Said, Stopped, words},
    plan::CutKind,
};
use self::{plan::Plan, search::Search};
use super::{TestRuntime, TestRuntimeBuilder};
use crate::Endpoint;

/// Where an exploration gets the endpoint of each run from: an [`Endpoint`], or a closure that makes one.
///
/// With a closure each run has an endpoint of its own, and with it fresh doubles of the outside world. An
/// [`Endpoint`] is shared by all runs, as are the services in it.
///
/// # Examples
///
/// See [`Explore`].
pub trait EndpointSource {
    /// The endpoint of the next run.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Endpoint, testing::EndpointSource};
    ///
    /// let endpoint = Endpoint::builder().build()?;
    /// let _of_the_next_run = endpoint.endpoint();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn endpoint(&self) -> Endpoint;
}

impl EndpointSource for Endpoint {
    fn endpoint(&self) -> Endpoint {
        self.clone()
    }
}

impl<F: Fn() -> Endpoint> EndpointSource for F {
    fn endpoint(&self) -> Endpoint {
        self()
    }
}

/// Explores a scenario with default options: see [`Explore`].
///
/// # Panics
///
/// With a report, if something is wrong.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{explore, object}};
///
/// struct Counter;
///
/// #[durably::object]
/// impl Counter {
///     #[handler]
///     async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
///         let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
///         ctx.sleep(Duration::from_secs(60)).await?;
///         ctx.set("sum", &sum);
///         Ok(sum)
///     }
/// }
///
/// // In a `#[test]`:
/// explore(
///     || Endpoint::builder().bind(Counter).build().unwrap(),
///     |runtime| runtime.call(object::<CounterClient>("ada").add(3)),
/// );
/// ```
#[track_caller]
pub fn explore<R: PartialEq + Debug>(
    endpoint: impl EndpointSource + 'static,
    scenario: impl Fn(&mut TestRuntime) -> R,
) {
    Explore::new(endpoint).run(scenario);
}

/// What an exploration has done; from [`Explore::check`].
///
/// # Examples
///
/// See [`Explore::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExploreReport {
    /// Runs of the scenario, with and without a cut.
    pub runs: u64,
    /// Orders in which things happened.
    pub orders: u64,
    /// Runs that were cut.
    pub cuts: u64,
    /// Those of them, with [`order_may_matter`](Explore::order_may_matter), that came to something else in another order
    /// than that of the uncut run, and so prove nothing but that nobody failed.
    pub strayed: u64,
    /// Whether that was everything: each order, and each of them cut everywhere. Else the budget or the bound on
    /// orders was used up, and some were drawn by the seed.
    pub complete: bool,
}

/// An exploration: a scenario is run uncut, and then again for each point at which it can be cut.
///
/// **Points.** After each frame between the runtime and a handler, in both directions; whenever a handler waits;
/// while a run's closure executes, each time that it waits (the first 32 times of a closure), and when it has ended and
/// its result is not stored yet. A closure that is woken before it has given the thread back goes on without a point. At each the
/// attempt *crashes* (what it has not said is lost; the next attempt begins at once, which counts for no
/// retry policy), or its request *ends*, so that it suspends as soon as it can.
///
/// **Orders.** A runtime may let any of several invocations go on first, and let what is due at the same time
/// happen in any order. The exploration tries these orders, the simplest ones first, up to [`orders`](Self::orders); if there
/// are more, half of them are drawn by the [`seed`](Self::seed).
///
/// **What must hold.** No attempt may differ from its journal, nobody may wait for ever or for something that is not
/// durable, and each run must come to the same: what the scenario returns, the state of all objects and workflows,
/// the promises, the invocations (target, input, headers, result) and the signals sent. What waits for the time when the
/// scenario is over is compared as it stands: let the scenario wait for what matters. The virtual time is the same with and
/// without a cut: it does not move on where that would only let attempts suspend.
///
/// Handlers may race on purpose, as two writers of the same object, and then the order decides: say so with
/// [`order_may_matter`](Self::order_may_matter).
///
/// **Doubles.** What a run's closure does to the outside world happens again if the crash comes before its result is stored. So
/// the doubles of a test must bear that, as the real world must: record by a key, not in a list, and return the same
/// for the same request. Give a closure that makes the endpoint with its doubles, and let the scenario
/// return what they have recorded only if it may not happen twice.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{Explore, object}};
///
/// struct Account;
///
/// #[durably::object]
/// impl Account {
///     #[handler]
///     async fn deposit(&self, ctx: &ObjectContext, amount: i64) -> HandlerResult<i64> {
///         let balance = ctx.get::<i64>("balance").await?.unwrap_or_default() + amount;
///         ctx.set("balance", &balance);
///         Ok(balance)
///     }
/// }
///
/// // In a `#[test]`: two deposits at once. Which comes first may be seen in what they return, not in what is there after both.
/// Explore::new(|| Endpoint::builder().bind(Account).build().unwrap())
///     .seed(7)
///     .run(|runtime| {
///         let account = object::<AccountClient>("ada");
///         let ids = [3, 4].map(|amount| runtime.send(account.deposit(amount)).unwrap());
///         ids.each_ref().map(|id| runtime.attach::<i64>(id).unwrap());
///         runtime.state::<i64>("Account", "ada", "balance")
///     });
/// ```
#[must_use = "nothing is explored before `run` or `check`"]
pub struct Explore {
    endpoint: Box<dyn EndpointSource>,
    options: Box<dyn Fn(TestRuntimeBuilder) -> TestRuntimeBuilder>,
    seed: u64,
    budget: u64,
    orders: u64,
    order_may_matter: bool,
    progress: bool,
    only: Option<Plan>,
}

impl Explore {
    /// An exploration with default options.
    ///
    /// # Examples
    ///
    /// See [`Explore`].
    pub fn new(endpoint: impl EndpointSource + 'static) -> Self {
        Self {
            endpoint: Box::new(endpoint),
            options: Box::new(|builder| builder),
            seed: 1,
            budget: 10_000,
            orders: 100,
            order_may_matter: false,
            progress: true,
            only: None,
        }
    }

    /// The seed of everything that is left open, and of what is drawn. Default: 1.
    ///
    /// # Examples
    ///
    /// See [`Explore`].
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many runs there are at most. Default: 10,000, which covers a scenario of some dozens of steps
    /// fully. If there are more points than that, those to be cut are drawn by the seed.
    ///
    /// # Examples
    ///
    /// See [`check`](Self::check).
    pub fn budget(mut self, runs: u64) -> Self {
        self.budget = runs;
        self
    }

    /// How many orders are tried at most. Default: 100. With 1 only cuts are explored.
    ///
    /// # Examples
    ///
    /// See [`check`](Self::check).
    pub fn orders(mut self, orders: u64) -> Self {
        self.orders = orders;
        self
    }

    /// The outcome may depend on the order in which things happen, since handlers race on purpose: a run that is
    /// cut is compared with the uncut run of the same order, and uncut runs not with each other.
    ///
    /// A run that is cut goes on in the order of the uncut one as far as that is possible: what would come too early is
    /// held back. Where it is not (the next attempt knows what the last one did not, and does things in another
    /// order), a run is not accused of what it comes to, but of mismatches and of waiting for ever as always;
    /// [`ExploreReport::strayed`] counts them.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{Explore, object}};
    ///
    /// struct Seat;
    ///
    /// #[durably::object]
    /// impl Seat {
    ///     #[handler]
    ///     async fn take(&self, ctx: &ObjectContext, name: String) -> HandlerResult<String> {
    ///         let owner = ctx.get::<String>("owner").await?.unwrap_or(name);
    ///         ctx.set("owner", &owner);
    ///         Ok(owner)
    ///     }
    /// }
    ///
    /// #[durably::service]
    /// impl Guest {
    ///     #[handler]
    ///     async fn sit(&self, ctx: &Context, name: String) -> HandlerResult<String> {
    ///         Ok(ctx.object_client::<SeatClient>("1a").take(name).await?)
    ///     }
    /// }
    ///
    /// struct Guest;
    ///
    /// use durably::testing::service;
    /// let endpoint = || Endpoint::builder().bind(Seat).bind(Guest).build().unwrap();
    /// Explore::new(endpoint).order_may_matter().run(|runtime| {
    ///     let guests = ["ada", "bob"].map(|name| service::<GuestClient>().sit(name.to_owned()));
    ///     let ids = guests.map(|guest| runtime.send(guest).unwrap());
    ///     ids.each_ref().map(|id| runtime.attach::<String>(id).unwrap())
    /// });
    /// ```
    pub fn order_may_matter(mut self) -> Self {
        self.order_may_matter = true;
        self
    }

    /// Whether a line on the standard error says now and then how far a long exploration is. Default:
    /// yes, every five seconds.
    ///
    /// # Examples
    ///
    /// See [`check`](Self::check).
    pub fn progress(mut self, shown: bool) -> Self {
        self.progress = shown;
        self
    }

    /// Options of each run's [`TestRuntime`]: the protocol's version, suspension, time. The seed is that of the
    /// exploration.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{Explore, service}};
    ///
    /// struct Echo;
    ///
    /// #[durably::service]
    /// impl Echo {
    ///     #[handler]
    ///     async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> { Ok(n) }
    /// }
    ///
    /// Explore::new(|| Endpoint::builder().bind(Echo).build().unwrap())
    ///     .runtime(|builder| builder.protocol(6).always_suspend())
    ///     .run(|runtime| runtime.call(service::<EchoClient>().echo(7)));
    /// ```
    pub fn runtime(
        mut self,
        options: impl Fn(TestRuntimeBuilder) -> TestRuntimeBuilder + 'static,
    ) -> Self {
        self.options = Box::new(options);
        self
    }

    /// Makes one run only, as a report names it, with the uncut run that it is compared with.
    ///
    /// # Panics
    ///
    /// If the text names no run.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{Explore, service}};
    ///
    /// struct Echo;
    ///
    /// #[durably::service]
    /// impl Echo {
    ///     #[handler]
    ///     async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> { Ok(n) }
    /// }
    ///
    /// Explore::new(|| Endpoint::builder().bind(Echo).build().unwrap())
    ///     .only("seed=1 crash=2")
    ///     .run(|runtime| runtime.call(service::<EchoClient>().echo(7)));
    /// ```
    #[track_caller]
    pub fn only(mut self, run: &str) -> Self {
        match run.parse::<Plan>() {
            Ok(plan) => {
                self.seed = plan.seed;
                self.only = Some(plan);
            }
            Err(reason) => panic!("`{run}` names no run of an exploration: {reason}"),
        }
        self
    }

    /// Explores the scenario.
    ///
    /// # Panics
    ///
    /// With a report, if something is wrong.
    ///
    /// # Examples
    ///
    /// See [`Explore`].
    #[track_caller]
    pub fn run<R: PartialEq + Debug>(self, scenario: impl Fn(&mut TestRuntime) -> R) {
        if let Err(failure) = self.check(scenario) {
            panic!("{failure}");
        }
    }

    /// Explores the scenario, and says what was found.
    ///
    /// # Errors
    ///
    /// The first failure that was found, made as simple as that was possible in some hundred runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{collections::HashMap, fmt::Write};
    /// use durably::{prelude::*, testing::{Explore, ExploreFailureKind, service}};
    ///
    /// struct Shop;
    ///
    /// #[durably::service]
    /// impl Shop {
    ///     #[handler]
    ///     async fn order(&self, ctx: &Context) -> HandlerResult<()> {
    ///         // Never do that: a `HashMap` has another order in each attempt.
    ///         let cart: HashMap<u32, u32> = (0..8).map(|n| (n, n)).collect();
    ///         for item in cart.keys() {
    ///             ctx.run(format!("pack {item}"), async || Ok::<_, std::io::Error>(())).await?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let failure = Explore::new(|| Endpoint::builder().bind(Shop).build().unwrap())
    ///     .budget(1000)
    ///     .orders(10)
    ///     .progress(false)
    ///     .check(|runtime| runtime.call(service::<ShopClient>().order()))
    ///     .unwrap_err();
    /// assert!(failure.to_string().contains("HashMap"), "{failure}");
    /// ```
    pub fn check<R: PartialEq + Debug>(
        &self,
        scenario: impl Fn(&mut TestRuntime) -> R,
    ) -> Result<ExploreReport, ExploreFailure> {
        let play = async |runtime: &mut TestRuntime| {
            let value = scenario(runtime);
            runtime.settle();
            value
        };
        match self.explore(play).now_or_never() {
            Some(checked) => checked,
            // Nothing in there waits.
            None => unreachable!("a blocking scenario gave the thread back"),
        }
    }

    /// As [`check`](Self::check), for async tests: the scenario uses the methods of [`TestRuntime`] that end in
    /// `_async`, and the closures of runs may use what belongs to tokio.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{Explore, service}};
    ///
    /// struct Slow;
    ///
    /// #[durably::service]
    /// impl Slow {
    ///     #[handler]
    ///     async fn fetch(&self, ctx: &Context) -> HandlerResult<u64> {
    ///         Ok(ctx.run("fetch", async || {
    ///             tokio::time::sleep(Duration::from_millis(1)).await;
    ///             Ok::<_, std::io::Error>(7)
    ///         }).await?)
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // In a `#[tokio::test]`:
    /// let explore = Explore::new(|| Endpoint::builder().bind(Slow).build().unwrap());
    /// let checked = explore.check_async(async |runtime| {
    ///     runtime.call_async(service::<SlowClient>().fetch()).await
    /// });
    /// assert!(checked.await.is_ok_and(|report| report.complete));
    /// # }
    /// ```
    pub async fn check_async<R: PartialEq + Debug>(
        &self,
        scenario: impl AsyncFn(&mut TestRuntime) -> R,
    ) -> Result<ExploreReport, ExploreFailure> {
        let play = async |runtime: &mut TestRuntime| {
            let value = scenario(runtime).await;
            runtime.settle_async().await;
            value
        };
        self.explore(play).await
    }

    async fn explore<R: PartialEq + Debug>(
        &self,
        play: impl AsyncFn(&mut TestRuntime) -> R,
    ) -> Result<ExploreReport, ExploreFailure> {
        let mut search = Search::new(self, play);
        match &self.only {
            Some(plan) => search.only(plan).await,
            None => search.search().await,
        }
    }

    /// The runtime of the next run.
    fn runtime_of_run(&self) -> TestRuntime {
        let builder = TestRuntime::builder(self.endpoint.endpoint());
        (self.options)(builder).seed(self.seed).build()
    }
}

impl Debug for Explore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explore")
            .field("seed", &self.seed)
            .field("budget", &self.budget)
            .field("orders", &self.orders)
            .field("order_may_matter", &self.order_may_matter)
            .finish_non_exhaustive()
    }
}
