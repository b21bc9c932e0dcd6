//! The typed ingress client against the server: every operation, what comes back when it fails, and what a
//! server that is killed in the middle costs. The services are implementations of contracts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use durably::ingress::{IngressClient, IngressError, SendStatus};
use durably::{Raw, RetryPolicy, Target, prelude::*};
use http_body_util::Full;
use hyper_util::{client::legacy, rt::TokioExecutor};

use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms, serve_in};
use crate::suite::{ALL, Column as _, DEFAULT, LOCAL, Mode, PLAIN, Suite, V7};

/// What another crate would have of the services here.
mod contract {
    use durably::prelude::*;

    /// Answers from outside.
    #[durably::service(name = "ingress.Desk")]
    pub(crate) trait Desk {
        /// Says who asks, by a header.
        async fn ask(&self, ctx: &Context, what: String) -> HandlerResult<String>;
        /// Fails for good, with this code.
        async fn refuse(&self, ctx: &Context, code: u16) -> HandlerResult<()>;
        /// Waits for an awakeable, and leaves its id as a trace.
        async fn wait(&self, ctx: &Context, trace: String) -> HandlerResult<String>;
        /// Leaves a trace, and takes its time, unless somebody completes the awakeable that it leaves.
        #[handler(name = "takeTime", idempotency_retention = "1h")]
        async fn take_time(&self, ctx: &Context, trace: (String, u64)) -> HandlerResult<usize>;
        /// Not for the ingress.
        #[handler(ingress_private)]
        async fn private(&self, ctx: &Context) -> HandlerResult<()>;
    }

    /// A list for each key.
    #[durably::object(name = "ingress.List")]
    pub(crate) trait List {
        /// Adds to it.
        async fn push(&self, ctx: &ObjectContext, item: String) -> HandlerResult<usize>;
        /// What is in it.
        async fn items(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<String>>;
    }

    /// Ends when it is told to.
    #[durably::workflow(name = "ingress.Trip")]
    pub(crate) trait Trip {
        /// The trip.
        #[handler(workflow_retention = "1h")]
        async fn run(&self, ctx: &WorkflowContext, to: String) -> HandlerResult<String>;
        /// Its end.
        async fn arrive(&self, ctx: &SharedWorkflowContext, at: String) -> HandlerResult<()>;
    }
}

use contract::{Desk, DeskClient, List, ListClient, Trip, TripClient};

/// Longer than anybody here waits, in milliseconds.
const HOUR: u64 = 3_600_000;

pub(crate) struct MyDesk;

#[durably::service]
impl Desk for MyDesk {
    async fn ask(&self, ctx: &Context, what: String) -> HandlerResult<String> {
        let who = ctx.headers().get("x-who").unwrap_or("nobody");
        Ok(format!("{what} of {who}"))
    }

    async fn refuse(&self, _ctx: &Context, code: u16) -> HandlerResult<()> {
        let error = TerminalError::new("on purpose").with_code(code);
        Err(error.with_metadata("desk", "closed").into())
    }

    async fn wait(&self, ctx: &Context, trace: String) -> HandlerResult<String> {
        let awakeable = ctx.awakeable::<String>();
        effect(trace, awakeable.id());
        Ok(awakeable.await?)
    }

    async fn take_time(
        &self,
        ctx: &Context,
        (trace, millis): (String, u64),
    ) -> HandlerResult<usize> {
        let times = ctx
            .run("trace", async || {
                Ok::<_, std::io::Error>(effect(&trace, "taken"))
            })
            .await?;
        // From here on the server has it.
        let enough = ctx.awakeable::<String>();
        effect(format!("{trace}, stored"), enough.id());
        durably::select! {
            said = enough => drop(said?),
            slept = ctx.sleep(ms(millis)) => slept?,
        }
        Ok(times)
    }

    async fn private(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

pub(crate) struct MyList;

#[durably::object]
impl List for MyList {
    async fn push(&self, ctx: &ObjectContext, item: String) -> HandlerResult<usize> {
        let mut items = self.items(ctx).await?;
        items.push(item);
        ctx.set("items", &items);
        Ok(items.len())
    }

    #[handler(lazy_state)]
    async fn items(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<String>> {
        Ok(ctx.get("items").await?.unwrap_or_default())
    }
}

pub(crate) struct MyTrip;

#[durably::workflow]
impl Trip for MyTrip {
    async fn run(&self, ctx: &WorkflowContext, to: String) -> HandlerResult<String> {
        let at = ctx.promise::<String>("arrived").await?;
        Ok(format!("to {to}, at {at}"))
    }

    async fn arrive(&self, ctx: &SharedWorkflowContext, at: String) -> HandlerResult<()> {
        Ok(ctx.promise("arrived").resolve(&at).await?)
    }
}

fn client(env: &Env) -> Result<IngressClient> {
    Ok(IngressClient::new(env.ingress_url())?)
}

/// Names that no other mode uses: the traces are those of all modes.
fn name(env: &Env, what: &str) -> String {
    format!("{} {what}", env.mode.name())
}

/// Ends what takes its time, once its trace is stored.
async fn is_enough(ingress: &IngressClient, trace: &str) -> Result {
    let stored = format!("{trace}, stored");
    let id = eventually(&stored, async || Ok(effects(&stored).first().cloned())).await?;
    Ok(ingress.resolve_awakeable(&id, "enough").await?)
}

async fn calls(env: &Env) -> Result {
    let ingress = IngressClient::builder(env.ingress_url())
        .header("x-who", "Ada")
        .build()?;
    let desk = ingress.service::<DeskClient>();
    assert_eq!(desk.ask("a letter".to_owned()).await?, "a letter of Ada");
    let request = desk.ask("a letter".to_owned()).header("x-who", "Grace");
    let response = request.call_with_response().await?;
    assert_eq!(response.output, "a letter of Grace");
    let id = response.invocation_id().ok_or("no id")?;
    let target = env.invocation(id.as_str(), "target").await?;
    assert_eq!(target, "ingress.Desk/ask");

    let key = name(env, "a/b ?#%+é");
    let list = ingress.object::<ListClient>(&key);
    assert_eq!(list.push("one".to_owned()).await?, 1);
    assert_eq!(list.push("two".to_owned()).call().await?, 2);
    assert_eq!(list.items().repeatable().await?, ["one", "two"]);

    // By name, and as bytes.
    let push = Target::object("ingress.List", &key, "push");
    let request = ingress.request::<_, Raw>(push, Raw::from("\"three\""));
    let count = request.header("content-type", "application/json").await?;
    assert_eq!(count, Raw::from("3"));
    Ok(())
}

async fn failures(env: &Env) -> Result {
    let ingress = client(env)?;
    let desk = ingress.service::<DeskClient>();
    for code in [409, 429, 500, 503] {
        let key = name(env, &format!("refused {code}"));
        let error = desk.refuse(code).idempotency_key(key).await.unwrap_err();
        let terminal = error.as_terminal().ok_or_else(|| error.to_string())?;
        assert_eq!((terminal.code(), terminal.message()), (code, "on purpose"));
        let metadata = [("desk".to_owned(), "closed".to_owned())];
        assert_eq!(terminal.metadata(), metadata);
        assert!(error.invocation_id().is_some());
    }
    let unknown = |service: &'static str, handler| {
        ingress.request::<_, ()>(Target::service(service, handler), ())
    };
    for (request, status) in [
        (unknown("ingress.Desk", "nothing"), 404),
        (unknown("ingress.Nobody", "nothing"), 404),
        (desk.private(), 400),
    ] {
        let error = request.await.unwrap_err();
        assert!(matches!(error, IngressError::Refused { .. }), "{error:?}");
        assert_eq!(error.status(), Some(status), "{error}");
    }
    // An input that the handler cannot read is the handler's failure.
    let bad = ingress.request::<_, String>(Target::service("ingress.Desk", "ask"), 17);
    let error = bad.await.unwrap_err();
    assert_eq!(
        error.as_terminal().map(TerminalError::code),
        Some(400),
        "{error}"
    );
    // And an output that the caller cannot read is neither's.
    let bad = ingress.request::<_, u64>(Target::service("ingress.Desk", "ask"), "x");
    let error = bad.await.unwrap_err();
    assert!(matches!(error, IngressError::Decode { .. }), "{error:?}");
    Ok(())
}

async fn sends(env: &Env) -> Result {
    let ingress = client(env)?;
    let trace = name(env, "sent");
    let take = |millis| {
        let desk = ingress.service::<DeskClient>();
        desk.take_time((trace.clone(), millis))
    };
    let key = name(env, "k/1 ?%+");
    let sent = take(HOUR).idempotency_key(&key).send().await?;
    assert_eq!(sent.status(), SendStatus::Accepted);
    let again = take(HOUR).idempotency_key(&key).send().await?;
    assert_eq!(again.status(), SendStatus::PreviouslyAccepted);
    assert_eq!(again.id(), sent.id());

    // By id, and by idempotency key.
    assert_eq!(sent.output().await?, None);
    assert_eq!(take(0).idempotency_key(&key).output().await?, None);
    is_enough(&ingress, &trace).await?;
    assert_eq!(sent.attach().await?, 1);
    assert_eq!(take(0).idempotency_key(&key).attach().await?, 1);
    assert_eq!(sent.output().await?, Some(1));
    let target = Target::service("ingress.Desk", "takeTime");
    let by_key = ingress.idempotent_invocation(target, &key);
    assert_eq!(by_key.output::<usize>().await?, Some(1));
    assert_eq!(by_key.id().await?, *sent.id());
    assert_eq!(ingress.invocation(sent.id()).id().await?, *sent.id());

    // None such.
    let error = take(0)
        .idempotency_key("never used")
        .attach()
        .await
        .unwrap_err();
    assert_eq!((error.status(), error.as_terminal()), (Some(404), None));
    let error = ingress
        .invocation("inv_nonsense")
        .attach::<()>()
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");

    let started = Instant::now();
    let later = take(0).send_after(ms(400)).await?;
    assert_eq!(later.attach().await?, 2);
    assert!(started.elapsed() >= ms(400));
    assert_eq!(effects(&trace).len(), 2);
    Ok(())
}

async fn workflows(env: &Env) -> Result {
    let ingress = client(env)?;
    let key = name(env, "trip/1");
    let trip = ingress.workflow::<TripClient>(&key);
    let run = || trip.run("Rome".to_owned());
    let sent = run().send().await?;
    assert_eq!(sent.status(), SendStatus::Accepted);
    assert_eq!(run().send().await?.status(), SendStatus::PreviouslyAccepted);
    assert_eq!(run().output().await?, None);
    let handle = ingress.workflow_invocation("ingress.Trip", &key);
    assert_eq!(handle.id().await?, *sent.id());
    trip.arrive("noon".to_owned()).await?;
    assert_eq!(run().attach().await?, "to Rome, at noon");
    assert_eq!(
        handle.output::<String>().await?.as_deref(),
        Some("to Rome, at noon")
    );

    // Idempotency keys are not for the workflow itself.
    let error = run().idempotency_key("k").await.unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    let error = run().await.unwrap_err();
    assert_eq!(error.status(), Some(409), "{error}");
    let elsewhere = ingress.workflow::<TripClient>("nowhere").run(String::new());
    let error = elsewhere.attach().await.unwrap_err();
    assert_eq!((error.status(), error.as_terminal()), (Some(404), None));
    Ok(())
}

async fn awakeables(env: &Env) -> Result {
    let ingress = client(env)?;
    let waiting = async |what: &str| {
        let trace = name(env, what);
        let sent = ingress
            .service::<DeskClient>()
            .wait(trace.clone())
            .send()
            .await?;
        let id = eventually("the awakeable", async || {
            Ok(effects(&trace).into_iter().next())
        })
        .await?;
        Ok::<_, crate::harness::Failure>((sent, id))
    };
    let (sent, id) = waiting("resolved").await?;
    ingress.resolve_awakeable(&id, "yes").await?;
    // The first counts, so that it may be repeated.
    ingress.resolve_awakeable(&id, "no").await?;
    ingress.reject_awakeable(&id, "no").await?;
    assert_eq!(sent.attach().await?, "yes");

    let (sent, id) = waiting("rejected").await?;
    ingress.reject_awakeable(&id, "on purpose").await?;
    let error = sent.attach().await.unwrap_err();
    let terminal = error.as_terminal().ok_or_else(|| error.to_string())?;
    assert_eq!((terminal.code(), terminal.message()), (500, "on purpose"));
    // The output of a failure is that failure.
    assert!(
        sent.output()
            .await
            .is_err_and(|error| error.as_terminal().is_some())
    );

    let error = ingress
        .resolve_awakeable("sign_1nonsense", &())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    Ok(())
}

async fn patience(env: &Env) -> Result {
    let ingress = client(env)?;
    let trace = name(env, "slow");
    let key = name(env, "slow key");
    let slow = || {
        let desk = ingress.service::<DeskClient>();
        desk.take_time((trace.clone(), HOUR)).idempotency_key(&key)
    };
    let error = slow().timeout(ms(300)).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    // It went on.
    let invocation = ingress.invocation(slow().send().await?.id());
    let error = invocation
        .timeout(ms(100))
        .attach::<usize>()
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    is_enough(&ingress, &trace).await?;
    assert_eq!(slow().await?, 1);
    assert_eq!(effects(&trace).len(), 1);
    Ok(())
}

async fn another_transport(env: &Env) -> Result {
    let hyper: legacy::Client<_, Full<Bytes>> =
        legacy::Client::builder(TokioExecutor::new()).build_http();
    let ingress = IngressClient::with_transport(env.ingress_url(), hyper.clone())?;
    let key = name(env, "hyper");
    let list = ingress.object::<ListClient>(&key);
    assert_eq!(list.push("one".to_owned()).await?, 1);
    let sent = list.push("two".to_owned()).send().await?;
    assert_eq!(sent.attach().await?, 2);

    // Nobody listens: nothing was sent, so it is tried again even without a key. (The port is held, so
    // that nobody else gets it meanwhile.)
    let held = tokio::net::TcpSocket::new_v4()?;
    held.bind(([127, 0, 0, 1], 0).into())?;
    let nobody = IngressClient::builder(format!("http://{}", held.local_addr()?))
        .transport(hyper)
        .retry(RetryPolicy::fixed(ms(100)).max_attempts(4))
        .build()?;
    let started = Instant::now();
    let error = nobody.object::<ListClient>("a").items().await.unwrap_err();
    assert!(matches!(error, IngressError::Transport { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(started.elapsed() >= ms(150));
    Ok(())
}

/// What the client cannot do, since the ingress cannot: when it can, this case says so.
async fn neither_signals_nor_promises(env: &Env) -> Result {
    let ingress = client(env)?;
    let sent = ingress
        .service::<DeskClient>()
        .wait(name(env, "left"))
        .send()
        .await?;
    let hyper: legacy::Client<_, Full<Bytes>> =
        legacy::Client::builder(TokioExecutor::new()).build_http();
    for path in [
        format!("signals/{}/go/resolve", sent.id()),
        format!("signal/{}/go/resolve", sent.id()),
        format!("invocation/{}/signals/go/resolve", sent.id()),
        format!("invocation/{}/signal/go", sent.id()),
        "workflow/ingress.Trip/key/promises/arrived/resolve".to_owned(),
        "workflow/ingress.Trip/key/promise/arrived/resolve".to_owned(),
        "promises/ingress.Trip/key/arrived/resolve".to_owned(),
    ] {
        let url = format!("{}/restate/{path}", env.ingress_url());
        let request = http::Request::post(url).body(Full::from("1"))?;
        let status = hyper.request(request).await?.status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    Ok(())
}

async fn scopes(mode: Mode, ingress: IngressClient) -> Result {
    let desk = ingress.service::<DeskClient>();
    let trace = || (format!("{} scoped", mode.name()), 0);

    let scoped = || {
        desk.take_time(trace())
            .idempotency_key("k")
            .scope("tenant 7")
    };
    let error = scoped().await.unwrap_err();
    assert_eq!(error.status(), Some(400), "a scope without blanks: {error}");
    let scoped = || {
        desk.take_time(trace())
            .idempotency_key("k")
            .scope("tenant-7")
    };
    let sent = scoped().limit_key("mail/ada").send().await?;
    assert_eq!(scoped().attach().await?, 1);
    assert_eq!(scoped().output().await?, Some(1));
    let target = Target::service("ingress.Desk", "takeTime");
    let by_key = ingress.idempotent_invocation(target, "k");
    assert_eq!(by_key.clone().scope("tenant-7").id().await?, *sent.id());
    // Out of the scope it is another one.
    assert_eq!(
        by_key.attach::<usize>().await.unwrap_err().status(),
        Some(404)
    );

    let trip = ingress.workflow::<TripClient>("trip");
    let run = || trip.run("Rome".to_owned()).scope("tenant-7");
    run().send().await?;
    trip.arrive("noon".to_owned()).scope("tenant-7").await?;
    assert_eq!(run().attach().await?, "to Rome, at noon");

    let error = desk.ask(String::new()).limit_key("a").await.unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    Ok(())
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("calls", ALL, calls);
    suite.case("failures", ALL, failures);
    suite.case("sends", ALL, sends);
    suite.case("workflows", ALL, workflows);
    suite.case("awakeables", ALL, awakeables);
    suite.case("patience", PLAIN, patience);
    suite.case("another_transport", PLAIN, another_transport);
    suite.case(
        "neither_signals_nor_promises",
        DEFAULT,
        neither_signals_nor_promises,
    );

    suite.alone("scopes", V7, async |mode| {
        let server = mode.server().scopes().start().await?;
        let services = endpoint(|builder| builder.bind(MyDesk).bind(MyTrip));
        let _served = server.serve(services).await?;
        scopes(mode, IngressClient::new(server.ingress_url())?).await
    });
    suite.case("scopes_without_a_server", LOCAL, async |env| {
        scopes(env.mode, client(env)?).await
    });

    suite.alone("the_server_is_killed_in_a_call", DEFAULT, async |mode| {
        let server = mode.server().start().await?;
        let _served = serve_in(mode, &server, endpoint(|builder| builder.bind(MyDesk))).await?;
        // It is away for as long as it takes.
        let ingress = IngressClient::builder(server.ingress_url())
            .retry(RetryPolicy::fixed(ms(200)).max_duration(Duration::from_secs(240)))
            .build()?;
        let desk = ingress.service::<DeskClient>();
        let trace = |what: &str| (format!("killed {what}"), HOUR);
        let keyed = desk.take_time(trace("keyed")).idempotency_key("k");
        let bare = desk.take_time(trace("bare"));
        let kill = async {
            for what in ["killed keyed, stored", "killed bare, stored"] {
                eventually("the result of the run", async || {
                    Ok((!effects(what).is_empty()).then_some(()))
                })
                .await?;
            }
            server.kill9();
            // Not sent, so sent again until there is somebody.
            let ask = tokio::spawn(desk.ask("a letter".to_owned()).call());
            tokio::time::sleep(ms(300)).await;
            server.restart().await?;
            is_enough(&ingress, "killed keyed").await?;
            Ok::<_, crate::harness::Failure>(ask.await??)
        };
        let (keyed, bare, asked) = tokio::join!(keyed.call(), bare.call(), kill);
        assert_eq!(asked?, "a letter of nobody");
        assert_eq!(keyed?, 1);
        assert_eq!(effects("killed keyed").len(), 1);
        // Whether it was taken on nobody knows, so it is not started again.
        let error = bare.unwrap_err();
        assert!(matches!(error, IngressError::Transport { .. }), "{error:?}");
        assert_eq!(effects("killed bare").len(), 1);
        Ok(())
    });
}
