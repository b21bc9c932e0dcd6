//! Interceptors: their order, what they see and change, and when they are called.

use std::time::Duration;

use bytes::Bytes;
use durably::{
    AttemptEnd, AttemptInfo, AttemptOutcome, HandlerNext, Interceptor, OutgoingRequest, RunInfo,
    RunNext, Service as _, Target,
    prelude::*,
    testing::{TestRuntime, object, request, service},
};
use futures::future::Either;

use crate::{Log, in_all_modes};

struct Desk {
    log: Log,
}

#[durably::service]
impl Desk {
    #[handler]
    async fn work(&self, ctx: &Context, n: u64) -> HandlerResult<u64> {
        self.log.add("handler");
        let n = ctx.run("double", async || {
            self.log.add("closure");
            HandlerResult::Ok(2 * n)
        });
        Ok(n.await? + 1)
    }

    /// Headers and idempotency key of the call, as the callee sees them.
    #[handler]
    async fn callee(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let headers = ctx.headers().iter();
        let mut seen: Vec<_> = headers
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        seen.extend(ctx.idempotency_key().map(str::to_owned));
        Ok(seen)
    }

    /// Two calls, with a suspension in between.
    #[handler]
    async fn caller(&self, ctx: &Context) -> HandlerResult<Vec<Vec<String>>> {
        let client = ctx.service_client::<DeskClient>();
        let one = client.callee().header("x-own", "1").await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        let two = client.callee().idempotency_key("mine").await?;
        let sent = client.callee().send_after(Duration::from_secs(2)).await?;
        Ok(vec![one, two, sent.attach().await?])
    }

    #[handler]
    async fn fails(&self, ctx: &Context) -> HandlerResult<()> {
        if ctx.retry_count() == 0 {
            return Err("not yet".into());
        }
        ctx.sleep(Duration::from_secs(1)).await?;
        Err(TerminalError::new("never").into())
    }

    #[handler]
    async fn many(&self, ctx: &Context, n: u64) -> HandlerResult<u64> {
        let runs = (0..n).map(|n| {
            ctx.run("one", async move || {
                self.log.add("begins");
                tokio::task::yield_now().await;
                self.log.add("ends");
                HandlerResult::Ok(n)
            })
        });
        Ok(futures::future::try_join_all(runs).await?.iter().sum())
    }
}

struct Vault;

#[durably::object]
impl Vault {
    #[handler]
    async fn open(&self, ctx: &ObjectContext) -> HandlerResult<String> {
        Ok(ctx.key().to_owned())
    }
}

/// Writes down whatever passes.
struct Scribe(&'static str, Log);

impl Interceptor for Scribe {
    async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
        self.1.add(format!("{} handle", self.0));
        let result = next.run().await;
        self.1
            .add(format!("{} handled {:?}", self.0, result.as_ref().ok()));
        result
    }

    async fn run(&self, run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
        self.1.add(format!("{} run {}", self.0, run.name()));
        let (name, log) = (self.0, self.1.clone());
        let next = next.within(move |poll| {
            log.add(format!("{name} enter"));
            poll();
            log.add(format!("{name} exit"));
        });
        let result = next.run().await;
        self.1
            .add(format!("{} ran {:?}", self.0, result.as_ref().ok()));
        result
    }
}

fn desk(log: &Log) -> durably::ServiceDefinition {
    Desk { log: log.clone() }.definition()
}

fn client() -> DeskClient<&'static Context> {
    service::<DeskClient>()
}

#[test]
fn the_endpoint_s_lie_outermost_and_the_handler_s_innermost() {
    let log = Log::default();
    let scribe = |name| Scribe(name, log.clone());
    let service = desk(&log)
        .with_handler("work", |work| {
            work.intercept(scribe("c")).intercept(scribe("d"))
        })
        .intercept(scribe("b"));
    let endpoint = Endpoint::builder()
        .bind(service)
        .intercept(scribe("a"))
        .build()
        .unwrap();
    let mut runtime = TestRuntime::new(endpoint);
    assert_eq!(runtime.call(client().work(20)).unwrap(), 41);
    let lines = "a handle, b handle, c handle, d handle, handler, \
        a run double, b run double, c run double, d run double, \
        a enter, b enter, c enter, d enter, closure, d exit, c exit, b exit, a exit, \
        d ran Some(b\"40\"), c ran Some(b\"40\"), b ran Some(b\"40\"), a ran Some(b\"40\"), \
        d handled Some(b\"41\"), c handled Some(b\"41\"), b handled Some(b\"41\"), \
        a handled Some(b\"41\")";
    assert_eq!(log.take().join(", "), lines);
}

#[test]
fn runs_pass_only_when_their_closures_are_executed() {
    let log = Log::default();
    let endpoint = || {
        let scribe = Scribe("a", log.clone());
        Endpoint::builder()
            .bind(desk(&log))
            .intercept(scribe)
            .build()
            .unwrap()
    };
    in_all_modes(endpoint, |runtime| {
        assert_eq!(runtime.call(client().work(20)).unwrap(), 41);
        let lines = log.take();
        assert_eq!(
            lines.iter().filter(|line| *line == "a run double").count(),
            1
        );
        let attempts = lines.iter().filter(|line| *line == "a handle").count();
        assert_eq!(
            lines.iter().filter(|line| *line == "handler").count(),
            attempts
        );
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.starts_with("a handled"))
                .count(),
            1
        );
    });
}

/// Lets in who knows the word.
struct Password;

impl Interceptor for Password {
    async fn handle(&self, ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
        if ctx.headers().get("x-password") != Some("sesame") {
            let key = next.attempt().key().unwrap_or("nobody").to_owned();
            return Err(TerminalError::new(format!("not for {key}"))
                .with_code(403)
                .into());
        }
        next.run().await
    }
}

#[test]
fn whom_an_interceptor_does_not_let_in_gets_403() {
    let endpoint = Endpoint::builder()
        .bind(Vault.definition().intercept(Password))
        .build()
        .unwrap();
    let mut runtime = TestRuntime::new(endpoint);
    let client = || object::<VaultClient>("ada");
    let error = runtime.call(client().open()).unwrap_err();
    assert_eq!((error.code(), error.message()), (403, "not for ada"));
    let known = client().open().header("x-password", "sesame");
    assert_eq!(runtime.call(known).unwrap(), "ada");
}

/// A key for all that has none, and the tenant handed on.
struct OnceOnly;

impl Interceptor for OnceOnly {
    fn call(&self, request: &mut OutgoingRequest<'_>) {
        assert_eq!(request.target().service_name(), "Desk");
        if request.idempotency_key().is_none() {
            request.set_idempotency_key(format!("{}", request.index()));
        }
        let tenant = request
            .caller()
            .headers()
            .get("x-tenant")
            .map(str::to_owned);
        request.set_header("x-tenant", tenant.unwrap_or_default());
        if let Some(delay) = request.delay() {
            request.add_header("x-delay", format!("{delay:?}"));
        }
        if request.headers().any(|(name, _)| name == "x-own") {
            request.set_header("X-Own", "2");
        }
    }
}

#[test]
fn calls_and_sends_get_headers_and_idempotency_keys() {
    let log = Log::default();
    let endpoint = || {
        Endpoint::builder()
            .bind(desk(&log))
            .intercept(OnceOnly)
            .build()
            .unwrap()
    };
    in_all_modes(endpoint, |runtime| {
        let request = client().caller().header("x-tenant", "7");
        let seen = runtime.call(request).unwrap();
        let seen: Vec<_> = seen.iter().map(|seen| seen.join(" ")).collect();
        // The key is told from protocol v7 on.
        let strip = |seen: &str, key: &str| seen.trim_end_matches(key).trim_end().to_owned();
        assert_eq!(strip(&seen[0], "1"), "x-tenant=7 X-Own=2");
        assert_eq!(strip(&seen[1], "mine"), "x-tenant=7");
        assert_eq!(strip(&seen[2], "4"), "x-tenant=7 x-delay=2s");
    });
    let mut runtime = TestRuntime::new(endpoint());
    let seen = runtime.call(client().caller()).unwrap();
    let keys: Vec<_> = seen
        .iter()
        .map(|seen| seen.last().unwrap().as_str())
        .collect();
    assert_eq!(keys, ["1", "mine", "4"]);
}

/// Times handlers and tells how attempts end.
struct Ends(Log);

impl Interceptor for Ends {
    async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
        next.attempt().insert(std::time::Instant::now());
        next.run().await
    }

    fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
        let took = attempt.get::<std::time::Instant>().unwrap().elapsed();
        assert!(took < Duration::from_secs(60));
        let error = end
            .error()
            .map(|error| format!(": {error}"))
            .unwrap_or_default();
        self.0.add(format!(
            "{}/{} {} {}{error}",
            attempt.service_name(),
            attempt.handler_name(),
            end.outcome().as_str(),
            end.replayed()
        ));
    }
}

#[test]
fn each_end_of_an_attempt_is_told_once() {
    let log = Log::default();
    let endpoint = || {
        let ends = Ends(log.clone());
        Endpoint::builder()
            .bind(Desk {
                log: Log::default(),
            })
            .intercept(ends)
            .build()
            .unwrap()
    };
    let mut runtime = TestRuntime::builder(endpoint()).always_suspend().build();
    runtime.call(client().fails()).unwrap_err();
    runtime.call(client().work(1)).unwrap();
    assert_eq!(
        log.take(),
        [
            "Desk/fails errored 0: [500] not yet",
            "Desk/fails suspended 0",
            "Desk/fails errored 1: [500] not yet",
            "Desk/fails failed 1: never",
            "Desk/work suspended 0",
            "Desk/work succeeded 1",
        ]
    );
    // Killed while it waits: the request breaks off.
    let mut runtime = TestRuntime::builder(endpoint()).manual_time().build();
    let id = runtime.send(client().caller()).unwrap();
    runtime.settle();
    assert_eq!(log.take(), ["Desk/callee succeeded 0"]);
    runtime.kill(&id).unwrap();
    runtime.settle();
    assert_eq!(log.take(), ["Desk/caller aborted 0"]);
    assert_eq!(AttemptOutcome::Aborted.as_str(), "aborted");
}

/// One closure at a time, over all of them.
struct Turnstile(tokio::sync::Semaphore);

impl Interceptor for Turnstile {
    async fn run(&self, _run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
        let _permit = self.0.acquire().await?;
        next.run().await
    }
}

#[test]
fn an_interceptor_may_wait_before_a_closure_begins() {
    let log = Log::default();
    let endpoint = || {
        let turnstile = Turnstile(tokio::sync::Semaphore::new(1));
        Endpoint::builder()
            .bind(desk(&log))
            .intercept(turnstile)
            .build()
            .unwrap()
    };
    in_all_modes(endpoint, |runtime| {
        assert_eq!(runtime.call(client().many(4)).unwrap(), 6);
        assert_eq!(log.take(), ["begins", "ends"].repeat(4));
    });
}

/// Gives up on closures, in several ways, and makes their failures terminal.
struct Impatient;

impl Interceptor for Impatient {
    async fn run(&self, run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
        match run.name() {
            "never called" => Ok(Bytes::from_static(b"1")),
            "given up" => {
                let running = Box::pin(next.run());
                let timer = Box::pin(tokio::task::yield_now());
                match futures::future::select(running, timer).await {
                    Either::Left((result, _)) => result,
                    Either::Right(_) => Ok(Bytes::from_static(b"2")),
                }
            }
            "in a group" => {
                use futures::StreamExt as _;
                let mut group = futures::stream::FuturesUnordered::new();
                group.push(next.run());
                group.next().await.unwrap_or_else(|| Err("nothing".into()))
            }
            _ => next
                .run()
                .await
                .map_err(|error| TerminalError::new(error).into()),
        }
    }
}

struct Guard(Log);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.add("dropped");
    }
}

struct Runs(Log);

#[durably::service]
impl Runs {
    #[handler]
    async fn all(&self, ctx: &Context) -> HandlerResult<(u8, u8, u8, String)> {
        let never = ctx
            .run("never called", async || HandlerResult::Ok(7u8))
            .await?;
        let guard = Guard(self.0.clone());
        let given_up = ctx.run("given up", async move || {
            let _guard = guard;
            futures::future::pending::<()>().await;
            HandlerResult::Ok(7u8)
        });
        let given_up = given_up.await?;
        let group = ctx.run("in a group", async || {
            tokio::task::yield_now().await;
            HandlerResult::Ok(3u8)
        });
        let group = group.await?;
        let failed = ctx.run("failed", async || Err::<(), _>("oh no")).await;
        Ok((never, given_up, group, failed.unwrap_err().to_string()))
    }
}

#[test]
fn an_interceptor_decides_what_becomes_of_a_closure() {
    let log = Log::default();
    let endpoint = || {
        let runs = Runs(log.clone());
        Endpoint::builder()
            .bind(runs)
            .intercept(Impatient)
            .build()
            .unwrap()
    };
    in_all_modes(endpoint, |runtime| {
        let target = Target::service("Runs", "all");
        let all: (u8, u8, u8, String) = runtime.call(request(target, ())).unwrap();
        assert_eq!((all.0, all.1, all.2), (1, 2, 3));
        assert!(all.3.contains("oh no"), "{}", all.3);
        // Once in each attempt: on replay it is not even called.
        let attempts = log.take();
        assert!(
            attempts.iter().all(|line| line == "dropped"),
            "{attempts:?}"
        );
        assert!(!attempts.is_empty());
    });
}

#[test]
fn a_handler_that_is_not_there_cannot_be_configured() {
    let desk = desk(&Log::default()).with_handler("wrok", |work| work.intercept(Password));
    let error = Endpoint::builder().bind(desk).build().unwrap_err();
    assert!(error.to_string().contains("no handler `wrok`"), "{error}");
}

/// Panics wherever it may.
struct Panics(&'static str);

impl Panics {
    fn may(&self, place: &str) {
        assert_ne!(self.0, place, "on purpose");
    }
}

impl Interceptor for Panics {
    async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
        self.may("handle");
        next.run().await
    }

    async fn run(&self, _run: &RunInfo, next: RunNext) -> HandlerResult<Bytes> {
        self.may("run");
        next.run().await
    }

    fn call(&self, _request: &mut OutgoingRequest<'_>) {
        self.may("call");
    }

    fn ended(&self, _attempt: &AttemptInfo, _end: &AttemptEnd<'_>) {
        self.may("ended");
    }
}

#[test]
fn a_panic_fails_its_own_attempt() {
    for place in ["handle", "run", "call", "ended"] {
        let log = Log::default();
        let once = durably::InvocationRetryPolicy::new().max_attempts(1);
        let desk = desk(&log).retry_policy(once).intercept(Panics(place));
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(desk).build().unwrap());
        let work = runtime.send(client().work(1)).unwrap();
        let caller = runtime.send(client().caller()).unwrap();
        runtime.run_until_idle();
        let worked = runtime.output::<u64>(&work).unwrap() == Some(3);
        let called = runtime
            .output::<Vec<Vec<String>>>(&caller)
            .unwrap()
            .is_some();
        assert_eq!(worked, matches!(place, "call" | "ended"), "{place}");
        assert_eq!(called, matches!(place, "run" | "ended"), "{place}");
    }
}
