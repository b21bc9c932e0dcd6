//! What makes a workflow: it runs once per key, is asked and told things meanwhile, and is remembered.

use durably::prelude::*;
use futures::future::join_all;

use crate::harness::{Env, Result, effect, effects, eventually};
use crate::suite::{ALL, Suite};

pub(crate) struct Pilgrimage;

#[durably::workflow]
impl Pilgrimage {
    /// Goes through its stations; at each it waits until it is let on.
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, stations: u64) -> HandlerResult<Vec<u64>> {
        let mut seen = Vec::new();
        for n in 0..stations {
            ctx.set("station", &n);
            effect(format!("{} at {n}", ctx.key()), "");
            seen.push(ctx.promise::<u64>(format!("station {n}")).await?);
        }
        ctx.clear("station");
        ctx.set("arrived", &true);
        let key = format!("{} runs", ctx.key());
        ctx.run("arrive", async || Ok::<_, std::io::Error>(effect(key, "")))
            .await?;
        Ok(seen)
    }

    /// Where it is.
    #[handler]
    async fn station(&self, ctx: &SharedWorkflowContext) -> HandlerResult<(Option<u64>, bool)> {
        let arrived = ctx.get::<bool>("arrived").await?.unwrap_or_default();
        Ok((ctx.get("station").await?, arrived))
    }

    /// Lets it on; says whether somebody had already.
    #[handler]
    async fn let_on(
        &self,
        ctx: &SharedWorkflowContext,
        (station, ticket): (u64, u64),
    ) -> HandlerResult<bool> {
        let promise = ctx.promise::<u64>(format!("station {station}"));
        match promise.resolve(&ticket).await {
            Ok(()) => Ok(true),
            Err(error) if error.code() == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the same promise as `run`.
    #[handler]
    async fn watch(&self, ctx: &SharedWorkflowContext, station: u64) -> HandlerResult<u64> {
        let promise = ctx.promise::<u64>(format!("station {station}"));
        assert_eq!(promise.peek().await?, None);
        effect(format!("{} watched", ctx.key()), "");
        Ok(promise.await?)
    }

    #[handler]
    async fn derail(&self, ctx: &SharedWorkflowContext, station: u64) -> HandlerResult<()> {
        let error = TerminalError::new("derailed")
            .with_code(410)
            .with_metadata("by", "a cow");
        Ok(ctx
            .promise::<u64>(format!("station {station}"))
            .reject(error)
            .await?)
    }
}

/// Speaks to workflows from a handler.
pub(crate) struct Relay;

#[durably::service]
impl Relay {
    #[handler]
    async fn tell(&self, ctx: &Context, (key, ticket): (String, u64)) -> HandlerResult<bool> {
        let journey = ctx.workflow_client::<PilgrimageClient>(key);
        Ok(journey.let_on((0, ticket)).await?)
    }
}

async fn noted(key: &str, times: usize) -> Result {
    eventually(
        key,
        async || Ok((effects(key).len() >= times).then_some(())),
    )
    .await
}

async fn let_on(env: &Env, key: &str, station: u64, ticket: u64) -> Result<bool> {
    let ingress = env.ingress();
    Ok(ingress
        .call_object("Pilgrimage", key, "let_on", &(station, ticket))
        .await?)
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a_workflow_runs_once_per_key", ALL, async |env| {
        let ingress = env.ingress();
        let key = &format!("once {:?}", env.mode);
        let first = ingress.send_object("Pilgrimage", key, "run", &1).await?;
        let second = ingress.send_object("Pilgrimage", key, "run", &2).await?;
        assert!(!first.already && second.already);
        assert_eq!(first.invocation_id, second.invocation_id);
        assert_eq!(
            ingress
                .output_workflow::<Vec<u64>>("Pilgrimage", key)
                .await?,
            None
        );
        noted(&format!("{key} at 0"), 1).await?;
        assert!(let_on(env, key, 0, 5).await?);
        let output = vec![5];
        assert_eq!(
            ingress
                .attach_workflow::<Vec<u64>>("Pilgrimage", key)
                .await?,
            output
        );
        // Over, and remembered: a second one gets no run.
        let again = ingress
            .call_object::<Vec<u64>>("Pilgrimage", key, "run", &3)
            .await;
        assert_eq!(again.unwrap_err().status(), Some(409));
        let again = ingress.send_object("Pilgrimage", key, "run", &3).await?;
        assert!(again.already);
        assert_eq!(
            ingress.output_workflow("Pilgrimage", key).await?,
            Some(output.clone())
        );
        assert_eq!(
            ingress.attach::<Vec<u64>>(&first.invocation_id).await?,
            output
        );
        assert_eq!(effects(&format!("{key} runs")).len(), 1);
        // Once it is forgotten, the key is free.
        env.admin().purge(&first.invocation_id).await?;
        let error = ingress
            .attach_workflow::<Vec<u64>>("Pilgrimage", key)
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
        let afresh = ingress.send_object("Pilgrimage", key, "run", &0).await?;
        assert!(!afresh.already);
        assert!(
            ingress
                .attach::<Vec<u64>>(&afresh.invocation_id)
                .await?
                .is_empty()
        );
        Ok(())
    });

    suite.case(
        "a_workflow_is_asked_and_told_while_it_runs",
        ALL,
        async |env| {
            let ingress = env.ingress();
            let key = &format!("told {:?}", env.mode);
            let station = async || -> Result<(Option<u64>, bool)> {
                Ok(ingress
                    .call_object("Pilgrimage", key, "station", &())
                    .await?)
            };
            // Before it starts there is nothing, and it may be told things all the same.
            assert_eq!(station().await?, (None, false));
            assert!(let_on(env, key, 1, 11).await?);
            let watchers = [(); 4].map(|()| ingress.send_object("Pilgrimage", key, "watch", &2));
            let watchers = futures::future::try_join_all(watchers).await?;
            noted(&format!("{key} watched"), watchers.len()).await?;

            let run = ingress.send_object("Pilgrimage", key, "run", &3).await?;
            noted(&format!("{key} at 0"), 1).await?;
            eventually("the first station", async || {
                Ok((station().await? == (Some(0), false)).then_some(()))
            })
            .await?;
            assert!(let_on(env, key, 0, 10).await?);
            // The second promise was resolved long ago.
            noted(&format!("{key} at 2"), 1).await?;
            eventually("the third station", async || {
                Ok((station().await? == (Some(2), false)).then_some(()))
            })
            .await?;
            // Of many who try at once, one succeeds.
            let tickets = (20..24).map(|ticket| let_on(env, key, 2, ticket));
            let tickets = join_all(tickets).await;
            let mut winners = Vec::new();
            for (ticket, won) in (20..24).zip(tickets) {
                if won? {
                    winners.push(ticket);
                }
            }
            assert_eq!(winners.len(), 1, "{winners:?}");
            let output: Vec<u64> = ingress.attach(&run.invocation_id).await?;
            assert_eq!(output, [10, 11, winners[0]]);
            for watcher in watchers {
                assert_eq!(
                    ingress.attach::<u64>(&watcher.invocation_id).await?,
                    winners[0]
                );
            }
            assert_eq!(station().await?, (None, true));
            Ok(())
        },
    );

    suite.case("a_rejected_promise_fails_the_workflow", ALL, async |env| {
        let ingress = env.ingress();
        let key = &format!("rejected {:?}", env.mode);
        let run = ingress.send_object("Pilgrimage", key, "run", &1).await?;
        let watched = ingress.send_object("Pilgrimage", key, "watch", &0).await?;
        noted(&format!("{key} watched"), 1).await?;
        ingress
            .call_object::<()>("Pilgrimage", key, "derail", &0)
            .await?;
        for id in [run.invocation_id, watched.invocation_id] {
            let error = ingress.attach::<()>(&id).await.unwrap_err();
            assert_eq!(
                (error.status(), error.message()),
                (Some(410), Some("derailed"))
            );
            assert_eq!(error.metadata(), [("by".to_owned(), "a cow".to_owned())]);
        }
        let error = ingress
            .attach_workflow::<()>("Pilgrimage", key)
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(410), "{error}");
        Ok(())
    });

    suite.case("workflows_of_other_keys_are_others", ALL, async |env| {
        let ingress = env.ingress();
        let keys: Vec<_> = (0..8)
            .map(|n| format!("others {:?} {n}", env.mode))
            .collect();
        for key in &keys {
            ingress.send_object("Pilgrimage", key, "run", &1).await?;
        }
        for (n, key) in (0..).zip(&keys) {
            let told: bool = ingress.call("Relay", "tell", &(key, n)).await?;
            assert!(told, "{key}");
        }
        for (n, key) in (0..).zip(&keys) {
            let output: Vec<u64> = ingress.attach_workflow("Pilgrimage", key).await?;
            assert_eq!(output, [n]);
        }
        Ok(())
    });
}
