//! Results that others deliver: awakeables, promises and named signals.

use durably::prelude::*;

use crate::harness::{Env, Result, effect, effects, eventually, ms};
use crate::suite::{ALL, Suite};

pub(crate) struct Waiter;

#[durably::service]
impl Waiter {
    /// Waits for an awakeable whose id it leaves under `note`.
    #[handler]
    async fn awakeable(&self, ctx: &Context, note: String) -> HandlerResult<Vec<u64>> {
        let awakeable = ctx.awakeable::<Vec<u64>>();
        effect(note, awakeable.id());
        Ok(awakeable.await?)
    }

    /// Two awakeables that another handler completes, the second one first.
    #[handler]
    async fn served(&self, ctx: &Context) -> HandlerResult<(String, u16, String)> {
        let (first, second) = (ctx.awakeable::<String>(), ctx.awakeable::<u64>());
        let waiter = ctx.service_client::<WaiterClient>();
        waiter
            .serve((first.id().to_owned(), second.id().to_owned()))
            .send();
        let error = second
            .await
            .err()
            .unwrap_or_else(|| TerminalError::new("none"));
        Ok((first.await?, error.code(), error.message().to_owned()))
    }

    #[handler]
    async fn serve(&self, ctx: &Context, (first, second): (String, String)) -> HandlerResult<()> {
        ctx.reject_awakeable(&second, TerminalError::new("no").with_code(403))?;
        ctx.sleep(ms(10)).await?;
        ctx.resolve_awakeable(&first, "yes")?;
        // What is no id is refused here; the server would fail the attempt.
        assert_eq!(
            ctx.resolve_awakeable("sign_1", &()).err().map(|e| e.code()),
            Some(400)
        );
        Ok(())
    }

    /// Takes three signals of one name; two may have come before it looks.
    #[handler]
    async fn signals(&self, ctx: &Context) -> HandlerResult<(Vec<u64>, u16)> {
        let first = ctx.signal::<u64>("go").await?;
        ctx.sleep(ms(30)).await?;
        let second = ctx.signal::<u64>("go").await?;
        let stop = ctx
            .signal::<u64>("stop")
            .await
            .err()
            .map_or(0, |error| error.code());
        Ok((vec![first, second], stop))
    }

    #[handler]
    async fn signal(&self, ctx: &Context, id: String) -> HandlerResult<()> {
        let waiter = ctx.invocation(&id)?;
        waiter.resolve_signal("go", &1);
        waiter.resolve_signal("go", &2);
        waiter.reject_signal("stop", TerminalError::new("enough").with_code(410));
        Ok(())
    }

    /// One wait that is served in time and one that is not.
    #[handler]
    async fn timeouts(&self, ctx: &Context) -> HandlerResult<(bool, Option<u64>, bool)> {
        let late = ctx.signal::<u64>("never").or_timeout(ms(30)).await;
        let awakeable = ctx.awakeable::<u64>();
        ctx.resolve_awakeable(awakeable.id(), &7)?;
        let served = awakeable.or_timeout(ms(3_600_000)).await.ok();
        let id = ctx.invocation_id();
        let slow = ctx
            .run("slow", async || {
                // Until the case has seen that its time is over.
                while effects(&format!("{id} is late")).is_empty() {
                    tokio::time::sleep(ms(10)).await;
                }
                Ok::<_, std::io::Error>(1)
            })
            .or_timeout(ms(30))
            .await;
        let timed_out =
            |result: Result<u64, TerminalError>| result.is_err_and(|error| error.is_timeout());
        Ok((timed_out(late), served, timed_out(slow)))
    }
}

pub(crate) struct Approval;

#[durably::workflow]
impl Approval {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<(Option<u64>, u64, u16)> {
        let before = ctx.promise::<u64>("decision").peek().await?;
        ctx.set("status", "waiting");
        let decision = ctx.promise::<u64>("decision").await?;
        let refused = ctx.promise::<u64>("veto").get().await.err();
        ctx.set("status", "done");
        Ok((before, decision, refused.map_or(0, |error| error.code())))
    }

    /// Resolves, rejects, and tries both again.
    #[handler]
    async fn decide(&self, ctx: &SharedWorkflowContext) -> HandlerResult<Vec<(u16, String)>> {
        let (decision, veto) = (ctx.promise::<u64>("decision"), ctx.promise::<u64>("veto"));
        decision.resolve(&7).await?;
        assert_eq!(decision.peek().await?, Some(7));
        let resolved = decision.resolve(&8).await.err();
        let rejected = decision.reject(TerminalError::new("late")).await.err();
        veto.reject(TerminalError::new("no").with_code(403)).await?;
        let vetoed = veto.resolve(&1).await.err();
        let peeked = veto.peek().await.err();
        Ok([resolved, rejected, vetoed, peeked]
            .into_iter()
            .flatten()
            .map(|error| (error.code(), error.message().to_owned()))
            .collect())
    }

    #[handler]
    async fn status(&self, ctx: &SharedWorkflowContext) -> HandlerResult<Option<String>> {
        Ok(ctx.get("status").await?)
    }
}

/// The id that `Waiter.awakeable` left.
async fn awakeable_id(note: &str) -> Result<String> {
    eventually("the awakeable", async || Ok(effects(note).first().cloned())).await
}

async fn status(env: &Env, key: &str) -> Result<Option<String>> {
    Ok(env
        .ingress()
        .call_object("Approval", key, "status", &())
        .await?)
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("awakeables_are_completed_over_http", ALL, async |env| {
        let note = format!("resolve {:?}", env.mode);
        let sent = env.ingress().send("Waiter", "awakeable", &note).await?;
        let id = awakeable_id(&note).await?;
        env.ingress().resolve_awakeable(&id, &[1, 2]).await?;
        let seen: Vec<u64> = env.ingress().attach(&sent.invocation_id).await?;
        assert_eq!(seen, [1, 2]);

        let note = format!("reject {:?}", env.mode);
        let sent = env.ingress().send("Waiter", "awakeable", &note).await?;
        let id = awakeable_id(&note).await?;
        env.ingress().reject_awakeable(&id, "not today").await?;
        let error = env
            .ingress()
            .attach::<Vec<u64>>(&sent.invocation_id)
            .await
            .unwrap_err();
        assert_eq!(error.message(), Some("not today"), "{error}");
        assert_eq!(error.status(), Some(500), "{error}");
        Ok(())
    });

    suite.case("awakeables_are_completed_by_handlers", ALL, async |env| {
        let seen: (String, u16, String) = env.ingress().call("Waiter", "served", &()).await?;
        assert_eq!(seen, ("yes".to_owned(), 403, "no".to_owned()));
        Ok(())
    });

    suite.case("signals_of_one_name_come_in_order", ALL, async |env| {
        let sent = env.ingress().send("Waiter", "signals", &()).await?;
        env.ingress()
            .call::<()>("Waiter", "signal", &sent.invocation_id)
            .await?;
        let seen: (Vec<u64>, u16) = env.ingress().attach(&sent.invocation_id).await?;
        assert_eq!(seen, (vec![1, 2], 410));
        Ok(())
    });

    suite.case("waits_time_out", ALL, async |env| {
        let sent = env.ingress().send("Waiter", "timeouts", &()).await?;
        let id = &sent.invocation_id;
        // Of the three limits the first and the last come to their end.
        env.has_entries(id, "Notification: Sleep", 2).await?;
        effect(format!("{id} is late"), "");
        let seen: (bool, Option<u64>, bool) = env.ingress().attach(id).await?;
        assert_eq!(seen, (true, Some(7), true));
        Ok(())
    });

    suite.case("promises_are_completed_once", ALL, async |env| {
        let sent = env
            .ingress()
            .send_object("Approval", "key", "run", &())
            .await?;
        eventually("the workflow waits", async || status(env, "key").await).await?;
        let errors: Vec<(u16, String)> = env
            .ingress()
            .call_object("Approval", "key", "decide", &())
            .await?;
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(
            errors[..3].iter().all(|(code, _)| *code == 409),
            "{errors:?}"
        );
        assert_eq!(errors[3], (403, "no".to_owned()));
        let result: (Option<u64>, u64, u16) =
            env.ingress().attach_workflow("Approval", "key").await?;
        assert_eq!(result, (None, 7, 403));
        assert_eq!(
            env.ingress()
                .attach::<(Option<u64>, u64, u16)>(&sent.invocation_id)
                .await?,
            result
        );
        assert_eq!(status(env, "key").await?.as_deref(), Some("done"));
        Ok(())
    });
}
