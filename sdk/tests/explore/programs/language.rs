//! A small language whose statements are what handlers are made of, and its interpreter.

use std::{
    io,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use durably::{Awakeable, prelude::*};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all, select_all},
    stream::FuturesUnordered,
};
use serde::{Deserialize, Serialize};

use super::handlers::{FlowClient, HelperClient, ShelfClient, WorkerClient};
use crate::secs;

/// Whom a program is sent to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum To {
    Service,
    /// The exclusive handler of an object.
    Object(String),
    Shared(String),
    Workflow(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) to: To,
    pub(super) program: Vec<Stmt>,
}

/// One durable operation that is awaited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Leaf {
    Sleep(u64),
    Call(Request),
    /// Sent, then attached to.
    Attach(Request, Option<String>),
    /// Sent, cancelled, and attached to.
    Cancel(Request),
    Run {
        yields: u32,
        fails: Fails,
    },
    /// An awakeable that another service resolves, later or at once.
    Awakeable(u64),
    /// A signal to an invocation that waits for it.
    Signal,
    Now,
    Get(u8),
    GetKeys,
    /// Of workflows: a promise that a request to itself resolves.
    Promise(u64),
    Timeout(Box<Leaf>),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Fails {
    Never,
    Terminally,
    /// Until it may not be tried again.
    Always,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Stmt {
    Await(Leaf),
    Set(u8),
    Clear(u8),
    /// A request that nobody waits for.
    Send(Request, u64),
    Join(Vec<Vec<Stmt>>, Join),
    Select(Vec<Stmt>, Vec<Stmt>),
    SelectAll(Vec<Vec<Stmt>>),
    /// A loop over a `FuturesUnordered` whose body awaits.
    Unordered(Vec<Vec<Stmt>>, Vec<Stmt>),
    /// One result wakes several branches.
    Fork(Leaf, Vec<Vec<Stmt>>),
    /// One branch sends through a channel, the other receives and goes on.
    Channel(Vec<Stmt>, Vec<Stmt>),
    /// Made, maybe polled, and dropped.
    Drop(Leaf, bool),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Join {
    Durably,
    Try,
    Futures,
    All,
    /// Only where no result wakes several branches.
    Tokio,
}

/// The context that a program runs in.
#[derive(Clone, Copy)]
pub(super) enum Ctx<'a> {
    Plain(&'a Context),
    Object(&'a ObjectContext),
    Shared(&'a SharedObjectContext),
    Workflow(&'a WorkflowContext),
}

struct Env<'a> {
    ctx: Ctx<'a>,
    trace: Mutex<Vec<String>>,
}

/// Runs a program; its result is what happened, in order.
pub(super) async fn run(ctx: Ctx<'_>, program: &[Stmt]) -> Vec<String> {
    let env = Env {
        ctx,
        trace: Mutex::default(),
    };
    env.all(program).await;
    env.trace.into_inner().unwrap()
}

type Leafed<'a> = BoxFuture<'a, Result<String, TerminalError>>;

impl<'a> Env<'a> {
    fn note(&self, text: impl Into<String>) {
        self.trace.lock().unwrap().push(text.into());
    }

    fn plain(&self) -> &'a Context {
        match self.ctx {
            Ctx::Plain(ctx) => ctx,
            Ctx::Object(ctx) => ctx,
            Ctx::Shared(ctx) => ctx,
            Ctx::Workflow(ctx) => ctx,
        }
    }

    fn call(&self, request: &Request) -> durably::Request<'a, Vec<Stmt>, Vec<String>> {
        let ctx = self.plain();
        let program = request.program.clone();
        match &request.to {
            To::Service => ctx.service_client::<WorkerClient>().work(program),
            To::Object(key) => ctx.object_client::<ShelfClient>(key).work(program),
            To::Shared(key) => ctx.object_client::<ShelfClient>(key).look(program),
            To::Workflow(key) => ctx.workflow_client::<FlowClient>(key).run(program),
        }
    }

    /// Makes the durable future: its command is recorded now.
    fn make(&'a self, leaf: &'a Leaf) -> Leafed<'a> {
        let ctx = self.plain();
        let texts = |texts: Vec<String>| format!("[{}]", texts.join(" "));
        match leaf {
            Leaf::Sleep(seconds) => {
                let sleep = ctx.sleep(secs(*seconds));
                sleep.map(|slept| slept.map(|()| "slept".into())).boxed()
            }
            Leaf::Call(request) => {
                let call = self.call(request).call();
                call.map(move |result| result.map(texts)).boxed()
            }
            Leaf::Attach(request, key) => {
                let request = self.call(request);
                let sent = match key {
                    Some(key) => request.idempotency_key(key).send(),
                    None => request.send(),
                };
                async move {
                    let handle = sent.await?;
                    self.note(handle.id().as_str());
                    handle.attach::<Vec<String>>().await.map(texts)
                }
                .boxed()
            }
            Leaf::Cancel(request) => {
                let sent = self.call(request).send();
                async move {
                    let handle = sent.await?;
                    handle.cancel();
                    handle.attach::<Vec<String>>().await.map(texts)
                }
                .boxed()
            }
            Leaf::Run { yields, fails } => {
                let (yields, fails) = (*yields, *fails);
                let closure = async move || {
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                    match fails {
                        Fails::Never => Ok(format!("ran {yields}")),
                        Fails::Terminally => Err(TerminalError::new("no").with_code(418).into()),
                        Fails::Always => Err(HandlerError::from(io::Error::other("flaky"))),
                    }
                };
                let policy = RetryPolicy::fixed(Duration::from_millis(300)).max_attempts(2);
                ctx.run("step", closure).retry(policy).boxed()
            }
            Leaf::Awakeable(seconds) => {
                let awakeable: Awakeable<'_, String> = ctx.awakeable();
                let id = awakeable.id().to_owned();
                let helper = ctx.service_client::<HelperClient>();
                helper.resolve((id, *seconds)).send();
                awakeable.boxed()
            }
            Leaf::Signal => {
                let sent = ctx.service_client::<HelperClient>().wait().send();
                async move {
                    let handle = sent.await?;
                    handle.resolve_signal("go", "went");
                    handle.attach::<String>().await
                }
                .boxed()
            }
            Leaf::Now => {
                let now = ctx.now();
                let text = |now: SystemTime| format!("{:?}", now.duration_since(UNIX_EPOCH));
                now.map(move |now| now.map(text)).boxed()
            }
            Leaf::Get(key) => {
                let name = format!("k{key}");
                let get = match self.ctx {
                    Ctx::Plain(_) => return self.make(&Leaf::Sleep(0)),
                    Ctx::Object(ctx) => ctx.get::<String>(name),
                    Ctx::Shared(ctx) => ctx.get::<String>(name),
                    Ctx::Workflow(ctx) => ctx.get::<String>(name),
                };
                get.map(|value| value.map(|value| format!("{value:?}")))
                    .boxed()
            }
            Leaf::GetKeys => {
                let keys = match self.ctx {
                    Ctx::Plain(_) => return self.make(&Leaf::Now),
                    Ctx::Object(ctx) => ctx.get_keys(),
                    Ctx::Shared(ctx) => ctx.get_keys(),
                    Ctx::Workflow(ctx) => ctx.get_keys(),
                };
                keys.map(move |keys| keys.map(texts)).boxed()
            }
            Leaf::Promise(seconds) => match self.ctx {
                Ctx::Workflow(ctx) => {
                    let own = ctx.workflow_client::<FlowClient>(ctx.key());
                    own.resolve(()).send_after(secs(*seconds));
                    ctx.promise::<String>("p").get().boxed()
                }
                _ => self.make(&Leaf::Awakeable(0)),
            },
            Leaf::Timeout(leaf) => {
                let made = self.make(leaf);
                let timeout = ctx.sleep(secs(2));
                async move {
                    durably::select! {
                        result = made => result,
                        slept = timeout => slept.map(|()| "too late".into()),
                    }
                }
                .boxed()
            }
        }
    }

    fn end(&self, result: Result<String, TerminalError>) {
        self.note(match result {
            Ok(text) => text,
            Err(error) => format!("error {} {}", error.code(), error.message()),
        });
    }

    async fn all(&'a self, program: &'a [Stmt]) {
        for stmt in program {
            self.one(stmt).await;
        }
    }

    fn branches(&'a self, programs: &'a [Vec<Stmt>]) -> Vec<BoxFuture<'a, ()>> {
        let branches = programs.iter();
        branches.map(|program| self.all(program).boxed()).collect()
    }

    fn one(&'a self, stmt: &'a Stmt) -> BoxFuture<'a, ()> {
        async move {
            match stmt {
                Stmt::Await(leaf) => self.end(self.make(leaf).await),
                Stmt::Set(key) => {
                    let value = format!("v{}", self.trace.lock().unwrap().len());
                    match self.ctx {
                        Ctx::Object(ctx) => ctx.set(format!("k{key}"), &value),
                        Ctx::Workflow(ctx) => ctx.set(format!("k{key}"), &value),
                        Ctx::Plain(_) | Ctx::Shared(_) => {}
                    }
                }
                Stmt::Clear(key) => match self.ctx {
                    Ctx::Object(ctx) => ctx.clear(format!("k{key}")),
                    Ctx::Workflow(ctx) => ctx.clear_all(),
                    Ctx::Plain(_) | Ctx::Shared(_) => {}
                },
                Stmt::Send(request, seconds) => {
                    self.call(request).send_after(secs(*seconds));
                }
                Stmt::Join(programs, join) => self.join(programs, *join).await,
                Stmt::Select(a, b) => {
                    let (a, b) = (self.all(a), self.all(b));
                    let first = durably::select! { () = a => 0, () = b => 1 };
                    self.note(format!("first {first}"));
                }
                Stmt::SelectAll(programs) => {
                    let (_, first, rest) = select_all(self.branches(programs)).await;
                    drop(rest);
                    self.note(format!("first {first}"));
                }
                Stmt::Unordered(programs, body) => {
                    let branches = self.branches(programs).into_iter().enumerate();
                    let items = branches.map(|(at, branch)| branch.map(move |()| at));
                    let mut items: FuturesUnordered<_> = items.collect();
                    while let Some(at) = items.next().await {
                        self.note(format!("item {at}"));
                        self.all(body).await;
                    }
                }
                Stmt::Fork(leaf, programs) => {
                    let shared = self.make(leaf).shared();
                    let branches = programs.iter().map(|program| {
                        let shared = shared.clone();
                        async move {
                            self.end(shared.await);
                            self.all(program).await;
                        }
                        .boxed()
                    });
                    join_all(branches.collect::<Vec<_>>()).await;
                }
                Stmt::Channel(sender, receiver) => {
                    let (tx, mut rx) = tokio::sync::mpsc::channel(1);
                    let send = async move {
                        for number in 1..=2 {
                            self.all(sender).await;
                            let _ = tx.send(number).await;
                        }
                    };
                    let receive = async {
                        while let Some(number) = rx.recv().await {
                            self.note(format!("got {number}"));
                            self.all(receiver).await;
                        }
                    };
                    durably::join!(receive, send);
                }
                Stmt::Drop(leaf, polled) => {
                    let mut made = self.make(leaf);
                    if *polled {
                        let _ = futures::poll!(&mut made);
                    }
                }
            }
        }
        .boxed()
    }

    async fn join(&'a self, programs: &'a [Vec<Stmt>], join: Join) {
        let mut branches = self.branches(programs);
        let ok = |()| Ok::<(), ()>(());
        match (join, branches.pop(), branches.pop()) {
            (Join::Durably, Some(a), Some(b)) => {
                durably::join!(a, b);
            }
            (Join::Try, Some(a), Some(b)) => {
                let _ = durably::try_join!(a.map(ok), b.map(ok));
            }
            (Join::Futures, Some(a), Some(b)) => {
                futures::join!(a, b);
            }
            (Join::Tokio, Some(a), Some(b)) => {
                tokio::join!(a, b);
            }
            (_, a, b) => branches.extend([a, b].into_iter().flatten()),
        }
        join_all(branches).await;
        self.note("joined");
    }
}
