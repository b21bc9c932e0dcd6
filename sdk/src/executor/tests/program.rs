//! Random handler programs: a small language whose statements are what handlers are made of.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all, select_all},
    stream::{self, FuturesUnordered},
};

use crate::{
    HandlerError, OrTimeout, TerminalError, WorkflowContext,
    context::{Shield, Target},
    random::Rng,
};
use std::future::IntoFuture as _;

/// How a run's closure ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fails {
    Never,
    Terminally,
    /// Every other time, so that the attempt fails and another follows.
    Retryably,
}

/// One durable operation.
#[derive(Clone, Debug)]
pub(super) enum Leaf {
    Sleep,
    Call,
    CallAndId,
    SendAndId,
    Run { gates: u8, fails: Fails },
    Awakeable,
    Signal(u8),
    Promise,
    Get(u8),
    GetKeys,
    Timeout(Box<Leaf>),
}

/// Combinators that keep the order of branches, and those that need not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Join {
    Durably,
    Try,
    Futures,
    All,
    Tokio,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Select {
    Durably,
    FuturesAll,
}

#[derive(Clone, Debug)]
pub(super) enum Stmt {
    Await(Leaf),
    /// A command without a result.
    Mark,
    Set(u8),
    Seq(Vec<Stmt>),
    Join(Join, Box<Stmt>, Box<Stmt>),
    JoinMany(Vec<Stmt>),
    Select(Select, Box<Stmt>, Box<Stmt>),
    /// tokio's own: its branches are first polled at random, so they are durable futures that are
    /// made before, not blocks that issue commands when they are polled.
    SelectTokio(Leaf, Leaf),
    /// A loop over a `FuturesUnordered` whose body awaits.
    Unordered(Vec<Stmt>, Box<Stmt>),
    /// A stream of futures, buffered in order or not.
    Buffered {
        items: Vec<Stmt>,
        at_once: usize,
        ordered: bool,
        body: Box<Stmt>,
    },
    /// One branch sends through a channel, the other receives and goes on.
    Channel(Box<Stmt>, Box<Stmt>),
    /// One result wakes all branches.
    Fork(Leaf, Vec<Stmt>),
    /// One result wakes all tasks of a `FuturesUnordered`, each of which waits for one of its own as
    /// well, and the loop's body awaits: the tasks go on in the order in which they were woken.
    ForkUnordered(Leaf, Vec<Leaf>, Box<Stmt>),
    /// A durable future that is dropped, before or after its first poll.
    Drop(Leaf, bool),
    /// A select in a loop over a future that is kept.
    KeptSelect(Leaf, Vec<Stmt>),
    /// Cancellations wait, as while a saga undoes.
    Shield(Box<Stmt>),
    /// Waits for a cancellation, or for a durable future.
    Token(Leaf),
}

/// What the generator may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taste {
    pub(super) forks: bool,
    pub(super) unordered: bool,
}

pub(super) fn generate(rng: &mut Rng, budget: &mut u32, depth: u32, taste: Taste) -> Stmt {
    let pick = if depth == 0 || *budget == 0 {
        rng.below(6)
    } else {
        rng.below(25)
    };
    *budget = budget.saturating_sub(1);
    let mut sub = |rng: &mut Rng| Box::new(generate(rng, budget, depth.saturating_sub(1), taste));
    match pick {
        0..=3 => Stmt::Await(leaf(rng)),
        4 => Stmt::Mark,
        5 => Stmt::Set(rng.below(3) as u8),
        6..=9 => Stmt::Seq((0..2 + rng.below(3)).map(|_| *sub(rng)).collect()),
        10 | 11 => {
            let join = match rng.below(if taste.unordered { 5 } else { 4 }) {
                0 => Join::Durably,
                1 => Join::Try,
                2 => Join::Futures,
                3 => Join::All,
                _ => Join::Tokio,
            };
            Stmt::Join(join, sub(rng), sub(rng))
        }
        12 => Stmt::JoinMany((0..2 + rng.below(3)).map(|_| *sub(rng)).collect()),
        13 | 14 => {
            let select = match rng.below(if taste.unordered { 3 } else { 2 }) {
                0 => Select::Durably,
                1 => Select::FuturesAll,
                _ => return Stmt::SelectTokio(leaf(rng), leaf(rng)),
            };
            Stmt::Select(select, sub(rng), sub(rng))
        }
        15 | 16 => {
            let items = (0..2 + rng.below(3)).map(|_| *sub(rng)).collect();
            Stmt::Unordered(items, sub(rng))
        }
        17 => {
            let items = (0..2 + rng.below(3)).map(|_| *sub(rng)).collect();
            let at_once = 1 + rng.below(3) as usize;
            Stmt::Buffered {
                items,
                at_once,
                ordered: rng.below(2) == 0,
                body: sub(rng),
            }
        }
        18 => Stmt::Channel(sub(rng), sub(rng)),
        19 if taste.forks && rng.below(2) == 0 => {
            let shared = leaf(rng);
            let own = (0..2 + rng.below(2)).map(|_| without_run(rng)).collect();
            Stmt::ForkUnordered(shared, own, sub(rng))
        }
        19 if taste.forks => {
            let leaf = leaf(rng);
            Stmt::Fork(leaf, (0..2 + rng.below(2)).map(|_| *sub(rng)).collect())
        }
        19 | 20 => Stmt::Drop(leaf(rng), rng.below(2) == 0),
        21 | 22 => Stmt::Shield(sub(rng)),
        23 => Stmt::Token(leaf(rng)),
        _ => Stmt::KeptSelect(
            leaf(rng),
            (0..1 + rng.below(3)).map(|_| *sub(rng)).collect(),
        ),
    }
}

fn leaf(rng: &mut Rng) -> Leaf {
    match rng.below(13) {
        0 => Leaf::Sleep,
        1 => Leaf::Call,
        2 => Leaf::CallAndId,
        3 => Leaf::SendAndId,
        4..=6 => Leaf::Run {
            gates: rng.below(3) as u8,
            fails: match rng.below(8) {
                0 => Fails::Terminally,
                1 => Fails::Retryably,
                _ => Fails::Never,
            },
        },
        7 => Leaf::Awakeable,
        8 => Leaf::Signal(rng.below(2) as u8),
        9 => Leaf::Promise,
        10 => Leaf::Get(rng.below(3) as u8),
        11 => Leaf::GetKeys,
        _ => match leaf(rng) {
            nested @ Leaf::Timeout(_) => nested,
            other => Leaf::Timeout(Box::new(other)),
        },
    }
}

/// The message of a retryable failure.
pub(super) const FLAKY: &str = "flaky";

/// A closure is woken at any time, and with it the task that its run is in: the order of wakes within
/// a `FuturesUnordered` is another one in each replay then.
fn without_run(rng: &mut Rng) -> Leaf {
    loop {
        match leaf(rng) {
            Leaf::Run { .. } | Leaf::Timeout(_) => {}
            other => return other,
        }
    }
}

/// What the program and the runtime share besides the wire.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Signal ids of awakeables that were created.
    pub(super) awakeables: Mutex<BTreeSet<String>>,
    /// Named signals that were waited for, once for each wait.
    pub(super) signals: Mutex<Vec<String>>,
    /// Closed gates within run closures.
    gates: Mutex<Vec<(Arc<AtomicBool>, Waker)>>,
    executions: AtomicU64,
    /// Whether runs fail retryably.
    pub(super) flaky: AtomicBool,
}

impl World {
    /// A new attempt begins.
    pub(super) fn reset(&self) {
        self.gates.lock().unwrap().clear();
        self.signals.lock().unwrap().clear();
    }

    pub(super) fn gates(&self) -> usize {
        self.gates.lock().unwrap().len()
    }

    /// Opens a gate, or wakes the closure behind it for nothing.
    pub(super) fn nudge(&self, at: usize, open: bool) {
        let mut gates = self.gates.lock().unwrap();
        let waker = if open {
            let (flag, waker) = gates.swap_remove(at);
            flag.store(true, Ordering::SeqCst);
            waker
        } else {
            gates[at].1.clone()
        };
        drop(gates);
        waker.wake();
    }
}

/// A point within a run's closure that the runtime of the test opens.
struct Gate {
    world: Arc<World>,
    open: Option<Arc<AtomicBool>>,
}

impl Future for Gate {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let open = match &self.open {
            Some(open) if open.load(Ordering::SeqCst) => return Poll::Ready(()),
            Some(open) => Arc::clone(open),
            None => Arc::default(),
        };
        let mut gates = self.world.gates.lock().unwrap();
        gates.retain(|(other, _)| !Arc::ptr_eq(other, &open));
        gates.push((Arc::clone(&open), cx.waker().clone()));
        drop(gates);
        self.open = Some(open);
        Poll::Pending
    }
}

struct Env<'a> {
    ctx: &'a WorkflowContext,
    world: &'a Arc<World>,
    trace: Mutex<Vec<String>>,
}

/// Runs a program; its result is the trace of what happened, in order.
pub(super) async fn run(
    ctx: &WorkflowContext,
    world: &Arc<World>,
    program: &Stmt,
) -> Result<String, HandlerError> {
    let env = Env {
        ctx,
        world,
        trace: Mutex::default(),
    };
    exec(&env, program).await;
    Ok(env.trace.into_inner().unwrap().join(" "))
}

impl<'a> Env<'a> {
    fn note(&self, what: String) {
        self.trace.lock().unwrap().push(what);
    }

    /// Makes the durable future, recording its command now.
    fn make(&'a self, leaf: &'a Leaf) -> BoxFuture<'a, Result<String, TerminalError>> {
        let ctx = self.ctx;
        match leaf {
            Leaf::Sleep => {
                let sleep = ctx.sleep(Duration::from_secs(1));
                async move { sleep.await.map(|()| "slept".into()) }.boxed()
            }
            Leaf::Call => ctx
                .request::<_, String>(Target::service("S", "h"), 1u32)
                .call()
                .boxed(),
            Leaf::CallAndId => {
                let call = ctx
                    .request::<_, String>(Target::object("O", "k", "h"), 2u32)
                    .call();
                async move {
                    let id = call.invocation_id().await?;
                    let again = call.invocation_id().await?;
                    assert_eq!(id, again);
                    self.note(format!("id:{id}"));
                    call.await
                }
                .boxed()
            }
            Leaf::SendAndId => {
                let sent = ctx
                    .request::<_, String>(Target::service("S", "send"), 3u32)
                    .send();
                let id = sent.into_future();
                async move { id.await.map(|handle| handle.id().to_string()) }.boxed()
            }
            Leaf::Run { gates, fails } => {
                let world = Arc::clone(self.world);
                ctx.run("step", async move || {
                    for _ in 0..*gates {
                        Gate {
                            world: Arc::clone(&world),
                            open: None,
                        }
                        .await;
                    }
                    // Different each time: only a recorded result may count.
                    let value = world.executions.fetch_add(1, Ordering::SeqCst);
                    match fails {
                        Fails::Terminally => {
                            Err(TerminalError::new(format!("fail {value}")).into())
                        }
                        Fails::Retryably
                            if value.is_multiple_of(2) && world.flaky.load(Ordering::SeqCst) =>
                        {
                            Err(HandlerError::from(FLAKY))
                        }
                        _ => Ok(format!("run {value}")),
                    }
                })
                .boxed()
            }
            Leaf::Awakeable => {
                let awakeable = ctx.awakeable::<String>();
                self.world
                    .awakeables
                    .lock()
                    .unwrap()
                    .insert(awakeable.id().to_owned());
                awakeable.boxed()
            }
            Leaf::Signal(name) => {
                let name = format!("s{name}");
                let signal = ctx.signal::<String>(&name);
                self.world.signals.lock().unwrap().push(name);
                signal.boxed()
            }
            Leaf::Promise => ctx.promise::<String>("p").get().boxed(),
            Leaf::Get(key) => {
                let get = ctx.get::<String>(format!("k{key}"));
                async move { get.await.map(|value| format!("{value:?}")) }.boxed()
            }
            Leaf::GetKeys => {
                let keys = ctx.get_keys();
                async move { keys.await.map(|keys| keys.join(",")) }.boxed()
            }
            // As `or_timeout` of the leaf itself would.
            Leaf::Timeout(leaf) => {
                OrTimeout::new(ctx.cell(), self.make(leaf), Duration::from_secs(5)).boxed()
            }
        }
    }

    fn end(&self, result: Result<String, TerminalError>) -> String {
        let text = match result {
            Ok(value) => value,
            Err(error) => format!("error {} {}", error.code(), error.message()),
        };
        self.note(text.clone());
        text
    }

    fn mark(&self) {
        let at = self.trace.lock().unwrap().len() as u32;
        self.ctx
            .request::<_, ()>(Target::service("Log", "mark"), at)
            .send();
    }
}

fn exec<'a>(env: &'a Env<'a>, stmt: &'a Stmt) -> BoxFuture<'a, ()> {
    async move {
        match stmt {
            Stmt::Await(leaf) => {
                let result = env.make(leaf).await;
                let cancelled = result.as_ref().is_err_and(TerminalError::is_cancelled);
                env.end(result);
                if cancelled {
                    // Compensation after a cancellation.
                    env.mark();
                    let after = env.make(&Leaf::Sleep).await;
                    env.end(after);
                }
            }
            Stmt::Mark => env.mark(),
            Stmt::Set(key) => {
                let at = env.trace.lock().unwrap().len();
                env.ctx.set(format!("k{key}"), &format!("v{at}"));
            }
            Stmt::Seq(stmts) => {
                for stmt in stmts {
                    exec(env, stmt).await;
                }
            }
            Stmt::Join(join, a, b) => {
                let (a, b) = (exec(env, a), exec(env, b));
                match join {
                    Join::Durably => {
                        crate::join!(a, b);
                    }
                    Join::Try => {
                        let ok = |()| Ok::<(), ()>(());
                        let _ = crate::try_join!(a.map(ok), b.map(ok));
                    }
                    Join::Futures => {
                        futures::join!(a, b);
                    }
                    Join::All => {
                        join_all([a, b]).await;
                    }
                    Join::Tokio => {
                        tokio::join!(a, b);
                    }
                }
                env.mark();
            }
            Stmt::JoinMany(stmts) => {
                join_all(stmts.iter().map(|stmt| exec(env, stmt))).await;
            }
            Stmt::Select(select, a, b) => {
                let (a, b) = (exec(env, a), exec(env, b));
                let first = match select {
                    Select::Durably => crate::select! { () = a => 0, () = b => 1 },
                    Select::FuturesAll => {
                        let (_, first, rest) = select_all([a, b]).await;
                        drop(rest);
                        first
                    }
                };
                env.note(format!("first {first}"));
                env.mark();
            }
            Stmt::SelectTokio(a, b) => {
                let (a, b) = (env.make(a), env.make(b));
                let result = tokio::select! { result = a => result, result = b => result };
                env.end(result);
                env.mark();
            }
            Stmt::Unordered(items, body) => {
                let mut unordered: FuturesUnordered<_> = items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| exec(env, item).map(move |()| at))
                    .collect();
                while let Some(at) = unordered.next().await {
                    env.note(format!("item {at}"));
                    env.mark();
                    exec(env, body).await;
                }
            }
            Stmt::Buffered {
                items,
                at_once,
                ordered,
                body,
            } => {
                let futures = stream::iter(
                    items
                        .iter()
                        .enumerate()
                        .map(|(at, item)| exec(env, item).map(move |()| at).boxed()),
                );
                let mut results = if *ordered {
                    futures.buffered(*at_once).boxed()
                } else {
                    futures.buffer_unordered(*at_once).boxed()
                };
                while let Some(at) = results.next().await {
                    env.note(format!("item {at}"));
                    exec(env, body).await;
                }
            }
            Stmt::Channel(sender, receiver) => {
                let (tx, mut rx) = tokio::sync::mpsc::channel(1);
                let send = async {
                    exec(env, sender).await;
                    let _ = tx.send(1).await;
                    env.note("sent".into());
                    env.mark();
                    exec(env, &Stmt::Await(Leaf::Sleep)).await;
                    let _ = tx.send(2).await;
                    drop(tx);
                };
                let receive = async {
                    while let Some(got) = rx.recv().await {
                        env.note(format!("got {got}"));
                        env.mark();
                        exec(env, receiver).await;
                    }
                };
                crate::join!(receive, send);
            }
            Stmt::Fork(leaf, branches) => {
                let shared = env.make(leaf).shared();
                let branches = branches.iter().enumerate().map(|(at, branch)| {
                    let shared = shared.clone();
                    async move {
                        let text = env.end(shared.await);
                        env.note(format!("fork {at} {text}"));
                        env.mark();
                        exec(env, branch).await;
                    }
                    .boxed()
                });
                join_all(branches).await;
            }
            Stmt::ForkUnordered(leaf, own, body) => {
                // Made the other way round, so that the order of leaves is not that of tasks.
                let own: Vec<_> = own.iter().rev().map(|own| env.make(own)).collect();
                let shared = env.make(leaf).shared();
                let tasks = own.into_iter().rev().enumerate().map(|(at, own)| {
                    let shared = shared.clone();
                    async move {
                        let first =
                            crate::select! { first = shared => first, first = own => first };
                        env.end(first);
                        env.mark();
                        at
                    }
                    .boxed()
                });
                let mut tasks: FuturesUnordered<_> = tasks.collect();
                while let Some(at) = tasks.next().await {
                    env.note(format!("task {at}"));
                    exec(env, body).await;
                }
            }
            Stmt::Drop(leaf, polled) => {
                let mut future = env.make(leaf);
                if *polled {
                    let _ = futures::poll!(&mut future);
                }
                drop(future);
                env.mark();
            }
            Stmt::Shield(stmt) => {
                let shield = Shield::new(env.ctx.cell());
                exec(env, stmt).await;
                drop(shield);
                env.mark();
            }
            Stmt::Token(leaf) => {
                let result = crate::select! {
                    token = env.ctx.cancellation() => token.map(|()| "token".to_owned()),
                    result = env.make(leaf) => result,
                };
                env.end(result);
                env.mark();
            }
            Stmt::KeptSelect(leaf, others) => {
                let mut kept = env.make(leaf);
                for other in others {
                    let done = crate::select! {
                        result = &mut kept => Some(result),
                        () = exec(env, other) => None,
                    };
                    if let Some(result) = done {
                        env.end(result);
                        break;
                    }
                    env.mark();
                    exec(env, &Stmt::Await(Leaf::Sleep)).await;
                }
            }
        }
    }
    .boxed()
}
