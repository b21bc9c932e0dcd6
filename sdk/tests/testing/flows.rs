//! Services: calls, sends, idempotency, awakeables, signals, runs, headers, and the caller's errors.

use durably::{
    Raw, Target,
    prelude::*,
    testing::{InvocationStatus, TestRuntime, request, service},
};

use crate::{endpoint, in_all_modes, secs};

pub(crate) struct Flow;

#[durably::service]
impl Flow {
    #[handler]
    async fn double(&self, ctx: &Context, n: u64) -> HandlerResult<u64> {
        ctx.sleep(secs(1)).await?;
        Ok(2 * n)
    }

    #[handler]
    async fn sum(&self, ctx: &Context, n: u64) -> HandlerResult<u64> {
        let calls: Vec<_> = (0..n)
            .map(|i| ctx.service_client::<FlowClient>().double(i).call())
            .collect();
        let mut sum = 0;
        for result in futures::future::join_all(calls).await {
            sum += result?;
        }
        Ok(sum)
    }

    #[handler]
    async fn send_later(&self, ctx: &Context) -> HandlerResult<u64> {
        let sent = ctx
            .service_client::<FlowClient>()
            .double(4)
            .send_after(secs(3600))
            .await?;
        Ok(sent.attach::<u64>().await?)
    }

    #[handler]
    async fn runs(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let mut all = Vec::new();
        for name in ["a", "b", "c"] {
            all.push(
                ctx.run(name, async || Ok::<_, std::io::Error>(name.to_owned()))
                    .await?,
            );
        }
        Ok(all)
    }

    #[handler]
    async fn waits(&self, ctx: &Context) -> HandlerResult<String> {
        Ok(durably::select! {
            got = ctx.signal::<String>("go") => got?,
            slept = ctx.sleep(secs(600)) => { slept?; "too late".to_owned() }
        })
    }

    #[handler]
    async fn refuses(&self, _ctx: &Context) -> HandlerResult<()> {
        Err(TerminalError::new("no").with_code(418).into())
    }

    #[handler]
    async fn explains(&self, _ctx: &Context) -> HandlerResult<()> {
        let error = TerminalError::new("no").with_code(418);
        Err(error.with_metadata("why", "tea").into())
    }

    #[handler]
    async fn asks_who_refuses(&self, ctx: &Context) -> HandlerResult<(u16, String)> {
        let error = ctx.service_client::<FlowClient>().refuses().await;
        let error = error.err().ok_or(TerminalError::new("it did not"))?;
        Ok((error.code(), error.message().to_owned()))
    }

    #[handler]
    async fn header(&self, ctx: &Context) -> HandlerResult<Option<String>> {
        Ok(ctx.headers().get("x-tenant").map(str::to_owned))
    }

    #[handler(ingress_private = true)]
    async fn private(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn foreign(&self, _ctx: &Context) -> HandlerResult<()> {
        futures::future::pending::<()>().await;
        Ok(())
    }

    #[handler]
    async fn awaits_nobody(&self, ctx: &Context) -> HandlerResult<()> {
        Ok(ctx.signal::<()>("never").await?)
    }

    #[handler]
    async fn real(&self, ctx: &Context) -> HandlerResult<u64> {
        let slow = ctx.run("real", async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>(7)
        });
        // The virtual time stands still meanwhile.
        Ok(durably::select! {
            n = slow => n?,
            slept = ctx.sleep(secs(1)) => { slept?; 0 }
        })
    }
}

fn client() -> FlowClient<&'static Context> {
    service::<FlowClient>()
}

fn flow() -> Endpoint {
    endpoint(Flow)
}

#[test]
fn calls_sends_and_runs_give_what_they_should() {
    in_all_modes(flow, |runtime| {
        let begun = runtime.now();
        assert_eq!(runtime.call(client().sum(10)), Ok(90));
        assert_eq!(runtime.now() - begun, secs(1), "at the same time");
        assert_eq!(runtime.call(client().send_later()), Ok(8));
        assert!(runtime.now() - begun >= secs(3602));
        assert_eq!(runtime.call(client().runs()).unwrap(), ["a", "b", "c"]);
        let who = runtime.call(client().asks_who_refuses()).unwrap();
        assert_eq!(who, (418, "no".to_owned()));
        let with_header = client().header().header("x-tenant", "7");
        assert_eq!(runtime.call(with_header).unwrap().as_deref(), Some("7"));
    });
}

#[test]
fn a_signal_or_the_time_ends_a_wait() {
    in_all_modes(flow, |runtime| {
        let id = runtime.send(client().waits()).unwrap();
        runtime.settle();
        runtime.signal(&id, "go", "now").unwrap();
        assert_eq!(runtime.attach::<String>(&id).unwrap(), "now");
        assert_eq!(runtime.call(client().waits()).unwrap(), "too late");
        let id = runtime.send(client().waits()).unwrap();
        runtime
            .reject_signal(&id, "go", &TerminalError::new("never").with_code(410))
            .unwrap();
        assert_eq!(runtime.attach::<String>(&id).unwrap_err().code(), 410);
    });
}

#[test]
fn an_idempotency_key_is_one_invocation_until_it_is_forgotten() {
    let mut runtime = TestRuntime::new(flow());
    let request = || client().double(2).idempotency_key("once");
    let first = runtime.send(request()).unwrap();
    let again = runtime.send(request()).unwrap();
    assert_eq!(first, again);
    assert_eq!(runtime.call(request()), Ok(4));
    assert_eq!(runtime.invocations().len(), 1);
    let other = runtime.send(client().double(2).idempotency_key("twice"));
    assert_ne!(other.unwrap(), first);
    runtime.advance(secs(25 * 3600));
    assert_eq!(runtime.attach::<u64>(&first).unwrap_err().code(), 404);
    // It is another one, by the same id, as on the server.
    assert_eq!(runtime.send(request()).unwrap(), first);
    assert_eq!(runtime.attach::<u64>(&first), Ok(4));
    assert_eq!(runtime.invocations().len(), 3);
}

#[test]
fn errors_of_the_caller_are_the_server_s() {
    let mut runtime = TestRuntime::new(flow());
    let mut code = |target: Target, body: &'static str| {
        let bytes = Raw(body.into());
        runtime
            .call(request::<_, Raw>(target, bytes))
            .unwrap_err()
            .code()
    };
    assert_eq!(code(Target::service("Nobody", "home"), ""), 404);
    assert_eq!(code(Target::service("Flow", "nothing"), ""), 404);
    assert_eq!(code(Target::object("Flow", "k", "double"), "1"), 400);
    assert_eq!(code(Target::service("Flow", "double"), "{}"), 400);
    assert_eq!(code(Target::service("Flow", "double"), ""), 400);
    assert_eq!(code(Target::service("Flow", "private"), ""), 400);
    let error = runtime.call(client().explains()).unwrap_err();
    let metadata = [("why".to_owned(), "tea".to_owned())];
    assert_eq!((error.code(), error.message()), (418, "no"));
    assert_eq!(error.metadata(), metadata);
}

#[test]
#[should_panic(expected = "`Flow/foreign` waits for something that is not durable")]
fn waiting_for_something_foreign_fails_the_test() {
    let mut runtime = TestRuntime::new(flow());
    let _ = runtime.call(client().foreign());
}

#[test]
#[should_panic(expected = "Flow/awaits_nobody: suspended on signal `never`")]
fn an_answer_that_cannot_come_fails_the_test() {
    let mut runtime = TestRuntime::new(flow());
    let _ = runtime.call(client().awaits_nobody());
}

#[test]
#[should_panic(expected = "the request to Flow/runs was made outside of a handler")]
fn a_request_from_outside_cannot_be_made_without_the_runtime() {
    client().runs().send();
}

#[tokio::test]
async fn closures_run_for_real_in_an_async_test() {
    for always_suspend in [false, true] {
        let mut builder = TestRuntime::builder(flow());
        if always_suspend {
            builder = builder.always_suspend();
        }
        let mut runtime = builder.build();
        assert_eq!(runtime.call_async(client().real()).await, Ok(7));
    }
}

#[test]
fn closures_run_for_real_beside_a_runtime_with_threads() {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _entered = tokio.enter();
    let mut runtime = TestRuntime::new(flow());
    assert_eq!(runtime.call(client().real()), Ok(7));
}

#[tokio::test]
#[should_panic(expected = "use the methods that end in `_async`")]
async fn blocking_where_nothing_can_go_on_fails_the_test() {
    let mut runtime = TestRuntime::new(flow());
    let _ = runtime.call(client().real());
}

#[test]
fn inactivity_suspends_and_the_journal_tells() {
    let mut runtime = TestRuntime::builder(flow()).manual_time().build();
    let id = runtime.send(client().waits()).unwrap();
    runtime.advance(secs(59));
    assert_eq!(runtime.status(&id), InvocationStatus::Running);
    runtime.advance(secs(1));
    assert_eq!(runtime.status(&id), InvocationStatus::Suspended);
    runtime.signal(&id, "go", "now").unwrap();
    assert_eq!(runtime.attach::<String>(&id).unwrap(), "now");
    let story = runtime.journal(&id).to_string();
    let story: Vec<_> = story.lines().skip(1).map(str::trim).collect();
    assert_eq!(
        story,
        [
            "attempt 1",
            "0ns · the attempt begins",
            "0ns → sleep 600s",
            "60s · the request ends, to let it suspend",
            "60s · suspended on sleep, or signal `go`",
            "60s ← signal `go`: \"now\"",
            "attempt 2",
            "60s · the attempt begins",
            "60s → output \"now\"",
            "60s · ended with \"now\"",
        ]
    );
}

#[test]
fn one_seed_is_one_run() {
    let play = |seed| {
        let mut runtime = TestRuntime::builder(flow()).seed(seed).build();
        runtime.call(client().sum(5)).unwrap();
        let stories: Vec<_> = runtime
            .invocations()
            .iter()
            .map(|invocation| runtime.journal(&invocation.id).to_string())
            .collect();
        stories
    };
    assert_eq!(play(7), play(7));
    assert_ne!(play(7), play(8));
}
