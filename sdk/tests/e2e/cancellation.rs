//! Cancelled invocations: what they await ends with 409, their calls are cancelled, and they may
//! clean up.

use durably::prelude::*;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::calls::CalleeClient;
use crate::harness::{Env, Result, effect, effects, eventually, ms};
use crate::suite::{ALL, Mode, Suite};
use crate::workflows::PilgrimageClient;

pub(crate) struct Cancelled;

#[durably::service]
impl Cancelled {
    /// Waits for something that does not come, in one of several ways, then cleans up.
    #[handler]
    async fn wait(&self, ctx: &Context, how: String) -> HandlerResult<String> {
        let id = ctx.invocation_id();
        // Past the journal: a run would be awaited, and the cancellation could come upon that.
        effect(format!("{id} waits"), "");
        let result = match how.as_str() {
            "sleep" => ctx.sleep(ms(3_600_000)).await,
            "awakeable" => ctx.awakeable::<()>().await,
            "signal" => ctx.signal::<()>("never").await,
            "call" => {
                ctx.service_client::<CancelledClient>()
                    .child(id.to_owned())
                    .await
            }
            "run" => {
                ctx.run("endless", async || {
                    // Where nothing comes in meanwhile, the cancellation is seen once this has ended;
                    // it stands first in the journal all the same, as the case has seen by then.
                    while effects(&format!("{id} cancelled")).is_empty() {
                        tokio::time::sleep(ms(10)).await;
                    }
                    Ok::<_, std::io::Error>(())
                })
                .await
            }
            "timeout" => ctx.signal::<()>("never").or_timeout(ms(3_600_000)).await,
            "attach" => {
                let flow = ctx.workflow_client::<PilgrimageClient>(id);
                // Not awaited: the cancellation could come upon that.
                flow.run(1).send();
                let attached = ctx
                    .workflow_invocation("Pilgrimage", id)
                    .attach::<()>()
                    .await;
                // Who is only attached to is not cancelled.
                flow.let_on((0, 1)).await?;
                attached
            }
            "select" => durably::select! {
                slept = ctx.sleep(ms(3_600_000)) => slept,
                signal = ctx.signal::<()>("never") => signal,
            },
            "tokio select" => tokio::select! {
                slept = ctx.sleep(ms(3_600_000)) => slept,
                signal = ctx.signal::<()>("never") => signal,
            },
            // Each of them is told.
            "join" => {
                let (slept, awakeable, signal) = durably::join!(
                    ctx.sleep(ms(3_600_000)),
                    ctx.awakeable::<()>(),
                    ctx.signal::<()>("never").or_timeout(ms(3_600_000)),
                );
                all_cancelled([slept, awakeable, signal])
            }
            "unordered" => {
                let sleeps = (0..5).map(|_| ctx.sleep(ms(3_600_000)));
                let sleeps: FuturesUnordered<_> = sleeps.collect();
                all_cancelled(sleeps.collect::<Vec<_>>().await)
            }
            // Nobody polls the others while the loop body awaits: they are told nothing, and go on.
            "loop" => {
                let id = id.to_owned();
                let sleeps = (0..3).map(|n| ctx.sleep(ms(n * 1_000)));
                let mut sleeps: FuturesUnordered<_> = sleeps.collect();
                let mut results = Vec::new();
                while let Some(slept) = sleeps.next().await {
                    slept?;
                    if results.is_empty() {
                        effect(format!("{id} loops"), "");
                        results.push(ctx.signal::<()>("never").await);
                    }
                }
                all_cancelled(results)
            }
            _ => {
                let both = durably::try_join!(
                    ctx.sleep(ms(3_600_000)),
                    ctx.service_client::<CancelledClient>().child(id.to_owned())
                );
                both.map(|_| ())
            }
        };
        // Awaits work again.
        ctx.sleep(ms(5)).await?;
        let doubled = ctx.service_client::<CalleeClient>().double(4).await?;
        let compensate = async || {
            effect(id, "compensated");
            Ok::<_, std::io::Error>(())
        };
        ctx.run("compensate", compensate).await?;
        match result {
            Ok(()) => Ok(format!("ended {doubled}")),
            Err(error) if error.is_cancelled() => Ok(format!("cancelled {doubled}")),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells what becomes of it.
    #[handler]
    async fn child(&self, ctx: &Context, parent: String) -> HandlerResult<()> {
        let id = ctx.invocation_id().to_owned();
        let key = format!("{parent} child");
        if effects(&key).is_empty() {
            effect(key.clone(), id);
        }
        let result = ctx.sleep(ms(3_600_000)).await;
        let end = async || {
            let code = result.as_ref().err().map_or(0, TerminalError::code);
            effect(key.clone(), code);
            Ok::<_, std::io::Error>(())
        };
        ctx.run("end", end).await?;
        Ok(result?)
    }

    /// Sends one child and calls another.
    #[handler]
    async fn parent(&self, ctx: &Context) -> HandlerResult<()> {
        let id = ctx.invocation_id();
        let client = ctx.service_client::<CancelledClient>();
        client.child(format!("{id} sent")).send();
        let done = client.parented().call();
        done.await?;
        client.child(format!("{id} called")).await?;
        Ok(())
    }

    #[handler]
    async fn parented(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    /// Waits in its clean-up.
    #[handler]
    async fn patient(&self, ctx: &Context) -> HandlerResult<()> {
        let key = format!("{} is here", ctx.invocation_id());
        effect(key, "");
        let cancelled = ctx.signal::<()>("never").await;
        effect(format!("{} cleans up", ctx.invocation_id()), "");
        ctx.sleep(ms(500)).await?;
        Ok(cancelled?)
    }

    /// Is cancelled twice.
    #[handler]
    async fn twice(&self, ctx: &Context) -> HandlerResult<Vec<u16>> {
        let id = ctx.invocation_id();
        let mut codes = Vec::new();
        for time in ["first", "second"] {
            let result = ctx
                .service_client::<CancelledClient>()
                .child(format!("{id} {time}"))
                .await;
            codes.push(result.err().map_or(0, |error| error.code()));
        }
        Ok(codes)
    }
}

/// The first of the results, if each is a cancellation.
fn all_cancelled(
    results: impl IntoIterator<Item = Result<(), TerminalError>>,
) -> Result<(), TerminalError> {
    let mut results: Vec<_> = results.into_iter().collect();
    let cancelled = |result: &Result<(), TerminalError>| {
        result.as_ref().is_err_and(TerminalError::is_cancelled)
    };
    if !results.iter().all(cancelled) {
        return Err(TerminalError::new(format!(
            "not all are cancelled: {results:?}"
        )));
    }
    results.swap_remove(0)
}

/// Waits until something has been noted so often.
async fn noted(key: &str, times: usize) -> Result<Vec<String>> {
    let what = format!("`{key}` {times} times");
    eventually(&what, async || {
        Ok(Some(effects(key)).filter(|list| list.len() >= times))
    })
    .await
}

async fn cancel_waiting(env: &Env, how: &str) -> Result<String> {
    let sent = env.ingress().send("Cancelled", "wait", how).await?;
    let id = &sent.invocation_id;
    noted(&format!("{id} waits"), 1).await?;
    if how == "loop" {
        noted(&format!("{id} loops"), 1).await?;
    }
    if ["call", "both"].contains(&how) {
        noted(&format!("{id} child"), 1).await?;
    }
    env.admin().cancel(id).await?;
    if how == "run" {
        env.has_entries(id, "Notification: Signal", 1).await?;
        effect(format!("{id} cancelled"), "");
    }
    let result: String = env.ingress().attach(id).await?;
    assert_eq!(effects(id), ["compensated"], "{how}");
    if ["call", "both"].contains(&how) {
        assert_eq!(noted(&format!("{id} child"), 2).await?[1], "409", "{how}");
    }
    Ok(result)
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "a_cancelled_wait_ends_and_may_be_cleaned_up_after",
        ALL,
        async |env| {
            let waits = [
                "sleep",
                "awakeable",
                "signal",
                "call",
                "both",
                "timeout",
                "attach",
                "select",
                "tokio select",
                "join",
                "unordered",
                "loop",
            ];
            let results = waits.map(|how| cancel_waiting(env, how));
            for (how, result) in waits.iter().zip(futures::future::join_all(results).await) {
                assert_eq!(result?, "cancelled 8", "{how}");
            }
            Ok(())
        },
    );

    suite.case("a_cancelled_run_ends", ALL, async |env| {
        assert_eq!(cancel_waiting(env, "run").await?, "cancelled 8");
        Ok(())
    });

    suite.case("calls_are_cancelled_and_sends_are_not", ALL, async |env| {
        let sent = env.ingress().send("Cancelled", "parent", &()).await?;
        let id = &sent.invocation_id;
        let child_sent = noted(&format!("{id} sent child"), 1).await?;
        noted(&format!("{id} called child"), 1).await?;
        env.admin().cancel(id).await?;
        let error = env.ingress().attach::<()>(id).await.unwrap_err();
        assert_eq!(error.status(), Some(409), "{error}");
        assert_eq!(noted(&format!("{id} called child"), 2).await?[1], "409");
        tokio::time::sleep(ms(100)).await;
        // Between two attempts it may be something else for a moment.
        eventually("what was sent goes on", async || {
            let status = env.invocation(&child_sent[0], "status").await?;
            assert_ne!(status, "completed");
            let status = status.as_str().unwrap_or_default();
            Ok(["running", "suspended"].contains(&status).then_some(()))
        })
        .await?;
        env.admin().kill(&child_sent[0]).await?;
        Ok(())
    });

    // The CANCEL is in the journal by then: were it awaited, the invocation would be attempted without end.
    suite.case("a_cancelled_invocation_suspends", ALL, async |env| {
        let sent = env.ingress().send("Cancelled", "patient", &()).await?;
        let id = &sent.invocation_id;
        noted(&format!("{id} is here"), 1).await?;
        env.admin().cancel(id).await?;
        let error = env.ingress().attach::<()>(id).await.unwrap_err();
        assert_eq!(error.status(), Some(409), "{error}");
        let attempts = effects(&format!("{id} cleans up")).len();
        assert!(attempts <= 3, "{attempts} attempts for one sleep");
        Ok(())
    });

    // One that is suspended in its clean-up hears of another CANCEL when it goes on: not in these modes.
    let streaming = &[Mode::Default, Mode::V7, Mode::Local];
    suite.case("an_invocation_is_cancelled_twice", streaming, async |env| {
        let sent = env.ingress().send("Cancelled", "twice", &()).await?;
        let id = &sent.invocation_id;
        for time in ["first", "second"] {
            noted(&format!("{id} {time} child"), 1).await?;
            env.admin().cancel(id).await?;
            assert_eq!(noted(&format!("{id} {time} child"), 2).await?[1], "409");
        }
        let codes: Vec<u16> = env.ingress().attach(id).await?;
        assert_eq!(codes, [409, 409]);
        Ok(())
    });

    suite.case(
        "a_cancelled_workflow_ends_waiting_for_its_promise",
        ALL,
        async |env| {
            let ingress = env.ingress();
            let key = &format!("cancelled {:?}", env.mode);
            let sent = ingress.send_object("Pilgrimage", key, "run", &2).await?;
            noted(&format!("{key} at 0"), 1).await?;
            env.admin().cancel(&sent.invocation_id).await?;
            let error = ingress
                .attach_workflow::<()>("Pilgrimage", key)
                .await
                .unwrap_err();
            assert_eq!(error.status(), Some(409), "{error}");
            // It is over, and its promise is still there for others.
            let won: bool = ingress
                .call_object("Pilgrimage", key, "let_on", &(0, 1))
                .await?;
            assert!(won);
            Ok(())
        },
    );
}
