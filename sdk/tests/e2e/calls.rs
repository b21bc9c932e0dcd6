//! Calls, sends and handles of other invocations.

use std::time::{Instant, SystemTime, SystemTimeError};

use durably::{Target, prelude::*};

use crate::harness::{Result, effect, effects, eventually, ms};
use crate::suite::{ALL, Suite};

/// The milliseconds since 1970.
fn millis_now() -> Result<u128, SystemTimeError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(now.as_millis())
}

pub(crate) struct Callee;

#[durably::service]
impl Callee {
    #[handler]
    async fn double(&self, ctx: &Context, n: u64) -> HandlerResult<u64> {
        ctx.sleep(ms(5)).await?;
        Ok(2 * n)
    }

    /// What the caller's headers say, in order.
    #[handler]
    async fn headers(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let own = ctx
            .headers()
            .iter()
            .filter(|(name, _)| name.starts_with("x-"));
        Ok(own
            .map(|(name, value)| format!("{name}: {value}"))
            .collect())
    }

    #[handler]
    async fn ticket(&self, ctx: &Context) -> HandlerResult<String> {
        Ok(ctx.invocation_id().to_owned())
    }

    #[handler]
    async fn refuse(&self, _ctx: &Context) -> HandlerResult<u64> {
        Err(TerminalError::new("refused").with_code(418).into())
    }

    /// Notes when it runs.
    #[handler]
    async fn note(&self, ctx: &Context, note: String) -> HandlerResult<String> {
        ctx.run("note", async || {
            effect(note.clone(), millis_now()?);
            Ok::<_, SystemTimeError>(())
        })
        .await?;
        Ok(note)
    }

    #[handler]
    async fn wait(&self, ctx: &Context) -> HandlerResult<()> {
        ctx.sleep(ms(3_600_000)).await?;
        Ok(())
    }
}

pub(crate) struct Adder;

#[durably::object]
impl Adder {
    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
        ctx.set("sum", &sum);
        Ok(sum)
    }

    #[handler]
    async fn sum(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(ctx.get::<u64>("sum").await?.unwrap_or_default())
    }
}

pub(crate) struct Flow;

#[durably::workflow]
impl Flow {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, n: u64) -> HandlerResult<String> {
        if n == 0 {
            ctx.promise::<()>("go").await?;
        }
        Ok(format!("{} {n}", ctx.key()))
    }

    #[handler]
    async fn go(&self, ctx: &SharedWorkflowContext) -> HandlerResult<()> {
        Ok(ctx.promise::<()>("go").resolve(&()).await?)
    }
}

pub(crate) struct Caller;

#[durably::service]
impl Caller {
    /// Calls itself `depth` times, and at each level a service and an object.
    #[handler]
    async fn nested(&self, ctx: &Context, (depth, key): (u64, String)) -> HandlerResult<u64> {
        let doubled = ctx.service_client::<CalleeClient>().double(depth).await?;
        ctx.object_client::<AdderClient>(&key).add(doubled).await?;
        if depth > 1 {
            let next = ctx
                .service_client::<CallerClient>()
                .nested((depth - 1, key.clone()));
            next.await?;
        }
        Ok(ctx.object_client::<AdderClient>(key).sum().await?)
    }

    /// Makes a call and reads its id, before and after its result.
    #[handler]
    async fn ids(&self, ctx: &Context) -> HandlerResult<(String, String, String)> {
        let call = ctx.service_client::<CalleeClient>().ticket().call();
        let before = call.invocation_id().await?;
        let again = call.invocation_id();
        let ticket = call.await?;
        Ok((before.to_string(), ticket, again.await?.to_string()))
    }

    #[handler]
    async fn headers(&self, ctx: &Context) -> HandlerResult<Vec<String>> {
        let callee = ctx.service_client::<CalleeClient>();
        let seen = callee
            .headers()
            .header("x-a", "1")
            .header("x-b", "2")
            .header("x-a", "3");
        Ok(seen.name("a named call").await?)
    }

    /// One idempotency key, three times: a call, a send, and a handle by the key.
    #[handler]
    async fn idempotent(&self, ctx: &Context, key: String) -> HandlerResult<Vec<String>> {
        let callee = ctx.service_client::<CalleeClient>();
        let first = callee.ticket().idempotency_key(&key).await?;
        let sent = callee.ticket().idempotency_key(&key).send().await?;
        let handle = ctx.idempotent_invocation(Target::service("Callee", "ticket"), &key);
        let output = handle.output::<String>().await?;
        let other = callee.ticket().idempotency_key(format!("{key}!")).await?;
        assert_ne!(first, other);
        Ok(vec![
            first,
            sent.id().to_string(),
            sent.attach::<String>().await?,
            handle.attach::<String>().await?,
            output.unwrap_or_default(),
        ])
    }

    /// A request without a typed client, and one to an object.
    #[handler]
    async fn untyped(&self, ctx: &Context, key: String) -> HandlerResult<(u64, u64)> {
        let doubled = ctx
            .request::<u64, u64>(Target::service("Callee", "double"), 21)
            .await?;
        let target = Target::object("Adder", key, "add");
        Ok((doubled, ctx.request::<u64, u64>(target, doubled).await?))
    }

    /// Sends now and later, and reads outputs without waiting.
    #[handler]
    async fn send(&self, ctx: &Context, note: String) -> HandlerResult<Vec<Option<String>>> {
        let callee = ctx.service_client::<CalleeClient>();
        callee.note(format!("{note} unwatched")).send();
        let now = callee.note(format!("{note} now")).send().await?;
        // This one has no output, however long it takes to ask; nobody waits for it.
        let never = callee
            .note(format!("{note} never"))
            .send_after(ms(3_600_000))
            .await?;
        let early = never.output::<String>().await?;
        // The first of these comes before the send, whatever is replayed.
        effect(format!("{note} asked"), millis_now()?);
        let later = callee
            .note(format!("{note} later"))
            .send_after(ms(400))
            .await?;
        let now = now.attach::<String>().await?;
        let later = later.attach::<String>().await?;
        Ok(vec![early, Some(now), Some(later)])
    }

    /// Cancels a send and a call, each by its handle.
    #[handler]
    async fn cancel(&self, ctx: &Context) -> HandlerResult<(u16, u16)> {
        let callee = ctx.service_client::<CalleeClient>();
        let sent = callee.wait().send().await?;
        sent.cancel();
        let sent = sent
            .attach::<()>()
            .await
            .map_or_else(|error| error.code(), |()| 0);
        let call = callee.wait().call();
        call.cancel().await?;
        let called = call.await.map_or_else(|error| error.code(), |()| 0);
        Ok((sent, called))
    }

    /// A failing callee: by call, by attach and by output.
    #[handler]
    async fn refused(&self, ctx: &Context) -> HandlerResult<Vec<(u16, String)>> {
        let callee = ctx.service_client::<CalleeClient>();
        let called = callee.refuse().await.err();
        let sent = callee.refuse().send().await?;
        let attached = sent.attach::<u64>().await.err();
        let output = sent.output::<u64>().await.err();
        let unknown = ctx
            .workflow_invocation("Flow", "never started")
            .attach::<()>()
            .await
            .err();
        let nonsense = ctx.invocation("inv_1nonsense").err();
        Ok([called, attached, output, unknown, nonsense]
            .into_iter()
            .flatten()
            .map(|error| (error.code(), error.message().to_owned()))
            .collect())
    }

    /// A workflow by its client and by its key.
    #[handler]
    async fn workflow(&self, ctx: &Context, key: String) -> HandlerResult<Vec<Option<String>>> {
        let flow = ctx.workflow_client::<FlowClient>(&key);
        let sent = flow.run(0).send().await?;
        let by_key = ctx.workflow_invocation("Flow", &key);
        let early = by_key.output::<String>().await?;
        flow.go().await?;
        let attached = by_key.attach::<String>().await?;
        let output = by_key.output::<String>().await?;
        let again = flow
            .run(1)
            .await
            .err()
            .map(|error| error.code().to_string());
        Ok(vec![
            early,
            Some(attached),
            output,
            Some(sent.attach().await?),
            again,
        ])
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("calls_nest", ALL, async |env| {
        let sum: u64 = env
            .ingress()
            .call("Caller", "nested", &(4, "nested"))
            .await?;
        assert_eq!(sum, 2 * (4 + 3 + 2 + 1));
        let (doubled, sum): (u64, u64) = env
            .ingress()
            .call("Caller", "untyped", "a/key with ä&?")
            .await?;
        assert_eq!((doubled, sum), (42, 42));
        let sum: u64 = env
            .ingress()
            .call_object("Adder", "a/key with ä&?", "sum", &())
            .await?;
        assert_eq!(sum, 42);
        Ok(())
    });

    suite.case(
        "the_id_of_a_call_is_known_before_its_result",
        ALL,
        async |env| {
            let (before, ticket, again): (String, String, String) =
                env.ingress().call("Caller", "ids", &()).await?;
            assert_eq!((&before, &again), (&ticket, &ticket));
            Ok(())
        },
    );

    suite.case("calls_carry_headers_and_names", ALL, async |env| {
        let reply = env
            .ingress()
            .service("Caller", "headers")
            .call_raw()
            .await?;
        let id = reply.invocation_id().ok_or("no id")?.to_owned();
        assert_eq!(
            reply.decode::<Vec<String>>()?,
            ["x-a: 1", "x-b: 2", "x-a: 3"]
        );
        let mut journal = env.journal(&id).await?;
        journal.retain(|entry| !entry.name.is_empty());
        let names: Vec<_> = journal.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["a named call"]);
        Ok(())
    });

    suite.case(
        "an_idempotency_key_names_one_invocation",
        ALL,
        async |env| {
            let seen: Vec<String> = env.ingress().call("Caller", "idempotent", "once").await?;
            assert!(
                seen.iter()
                    .all(|id| *id == seen[0] && id.starts_with("inv_1")),
                "{seen:?}"
            );
            Ok(())
        },
    );

    suite.case("sends_happen_now_and_later", ALL, async |env| {
        let note = format!("send {:?}", env.mode);
        let start = Instant::now();
        let seen: Vec<Option<String>> = env.ingress().call("Caller", "send", &note).await?;
        assert!(start.elapsed() >= ms(395), "{:?}", start.elapsed());
        assert_eq!(
            seen,
            [
                None,
                Some(format!("{note} now")),
                Some(format!("{note} later"))
            ]
        );
        let time = async |which: &str| -> Result<u64> {
            let key = format!("{note} {which}");
            let times = eventually("the note", async || {
                Ok(Some(effects(&key)).filter(|times| !times.is_empty()))
            });
            let times = times.await?;
            assert_eq!(times.len(), 1);
            Ok(times[0].parse()?)
        };
        time("unwatched").await?;
        time("now").await?;
        let asked: u64 = effects(&format!("{note} asked"))[0].parse()?;
        let later = time("later").await?;
        assert!(later + 5 >= asked + 400, "{asked} {later}");
        Ok(())
    });

    suite.case("handles_cancel", ALL, async |env| {
        let codes: (u16, u16) = env.ingress().call("Caller", "cancel", &()).await?;
        assert_eq!(codes, (409, 409));
        Ok(())
    });

    suite.case("failures_of_others_are_terminal_errors", ALL, async |env| {
        let seen: Vec<(u16, String)> = env.ingress().call("Caller", "refused", &()).await?;
        let refused = (418, "refused".to_owned());
        assert_eq!(seen[..3], [refused.clone(), refused.clone(), refused]);
        assert_eq!(seen[3].0, 404, "{seen:?}");
        assert_eq!(seen[4].0, 400, "{seen:?}");
        Ok(())
    });

    suite.case("workflows_are_found_by_key", ALL, async |env| {
        let seen: Vec<Option<String>> = env.ingress().call("Caller", "workflow", "by key").await?;
        let result = Some("by key 0".to_owned());
        let again = Some("409".to_owned());
        assert_eq!(seen, [None, result.clone(), result.clone(), result, again]);
        Ok(())
    });
}
