//! Going away in an orderly manner, and coming back with many long journals at once.

use std::path::PathBuf;

use durably::prelude::*;

use crate::crash::{Child, trace};
use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms};
use crate::suite::{ALL, Mode, Suite};

pub(crate) struct Drained {
    pub(crate) traces: PathBuf,
}

#[durably::service]
impl Drained {
    /// Blocks in one of several ways.
    #[handler]
    async fn block(&self, ctx: &Context, how: String) -> HandlerResult<String> {
        ctx.run("begin", async || Ok::<_, std::io::Error>(()))
            .await?;
        trace(&self.traces, &format!("{how} begins"))?;
        match how.as_str() {
            "signal" => ctx.signal::<()>("go").await?,
            "call" => ctx
                .service_client::<DrainedClient>()
                .block("signal".into())
                .await
                .map(drop)?,
            "select" => tokio::select! {
                go = ctx.signal::<()>("go") => go?,
                _ = ctx.sleep(ms(3_600_000)) => {}
                _ = ctx.awakeable::<()>() => {}
            },
            _ => {
                ctx.run("slow", async || {
                    trace(&self.traces, "slow step begins")?;
                    tokio::time::sleep(ms(600)).await;
                    trace(&self.traces, "slow step ends")
                })
                .await?;
            }
        }
        Ok(format!("{how} done"))
    }

    #[handler]
    async fn go(&self, ctx: &Context, id: String) -> HandlerResult<()> {
        ctx.invocation(&id)?.resolve_signal("go", &());
        Ok(())
    }
}

/// No attempt of these invocations has failed.
fn assert_unfailed(env: &Env, ids: &[String]) {
    let log = env.server.log();
    for id in ids {
        let failure = log.split("Invocation error").skip(1).find(|entry| {
            entry
                .lines()
                .take(20)
                .any(|line| line.contains(id.as_str()))
        });
        assert!(failure.is_none(), "{id}: {failure:?}");
    }
}

/// Its journals are long.
struct Long;

#[durably::object]
impl Long {
    #[handler]
    async fn write(&self, ctx: &ObjectContext, entries: u32) -> HandlerResult<u32> {
        for n in 0..entries {
            ctx.set("n", &n);
        }
        effect(format!("{} awaits", ctx.invocation_id()), "");
        let more = ctx.signal::<u32>("more").await?;
        Ok(ctx.get::<u32>("n").await?.unwrap_or_default() + more)
    }

    #[handler]
    async fn go_on(&self, ctx: &SharedObjectContext, ids: Vec<String>) -> HandlerResult<()> {
        for id in ids {
            ctx.invocation(&id)?.resolve_signal("more", &1);
        }
        Ok(())
    }
}

/// Waits, and tells when its attempts end.
struct Stopped;

#[durably::service]
impl Stopped {
    #[handler]
    async fn wait(&self, ctx: &Context) -> HandlerResult<u32> {
        let id = ctx.invocation_id().to_owned();
        let finished = ctx.attempt_finished();
        tokio::spawn(async move {
            finished.await;
            effect(format!("{id} finished"), "");
        });
        effect(format!("{} begins", ctx.invocation_id()), "");
        Ok(ctx.signal::<u32>("go").await?)
    }

    #[handler]
    async fn go(&self, ctx: &Context, id: String) -> HandlerResult<()> {
        ctx.invocation(&id)?.resolve_signal("go", &7);
        Ok(())
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a_process_drains_on_sigterm", ALL, async |env| {
        let child = Child::start(env, "Drained").await?;
        let blocked = ["signal", "call", "select"];
        let mut ids = Vec::new();
        for how in blocked {
            let sent = env.ingress().send("Drained", "block", how).await?;
            ids.push(sent.invocation_id);
            child.traced(&format!("{how} begins")).await?;
        }
        let running = env
            .ingress()
            .send("Drained", "block", "run")
            .await?
            .invocation_id;
        child.traced("slow step begins").await?;
        let status = child
            .process
            .terminate()
            .await?
            .ok_or("it had to be killed")?;
        assert!(status.success(), "{status}");
        // What was executing has ended and is recorded. (Its invocation is resumed at once, and
        // finds nobody.)
        child.traced("slow step ends").await?;
        for (how, id) in blocked.iter().zip(&ids) {
            let what = format!("{how} is suspended");
            eventually(&what, async || {
                Ok((env.invocation(id, "status").await? == "suspended").then_some(()))
            })
            .await?;
        }

        child.process.restart()?;
        let open = "SELECT id FROM sys_invocation WHERE target = 'Drained/block' \
                    AND status <> 'completed'";
        for row in env.server.query(open).await? {
            let id = row["id"].as_str().unwrap_or_default();
            env.ingress().call::<()>("Drained", "go", id).await?;
        }
        for (how, id) in blocked.iter().zip(&ids).chain([(&"run", &running)]) {
            let done: String = env.ingress().attach(id).await?;
            assert_eq!(done, format!("{how} done"));
        }
        assert_unfailed(env, &ids);
        let slow = child
            .traces()
            .iter()
            .filter(|trace| *trace == "slow step begins")
            .count();
        assert_eq!(slow, 1);
        Ok(())
    });

    const JOURNALS: usize = 12;
    const ENTRIES: u32 = 2_700;
    suite.case("long_journals_replay_at_once", ALL, async |env| {
        let mut served = env
            .server
            .serve(endpoint(|builder| builder.bind(Long)))
            .await?;
        let mut ids = Vec::new();
        for n in 0..JOURNALS {
            let key = n.to_string();
            let sent = env
                .ingress()
                .send_object("Long", &key, "write", &ENTRIES)
                .await?;
            ids.push(sent.invocation_id);
        }
        let awaits = async |id: &str| -> Result {
            let key = format!("{id} awaits");
            eventually("it awaits", async || Ok(effects(&key).first().map(|_| ()))).await
        };
        for id in &ids {
            awaits(id).await?;
        }
        served.drain().await;
        for id in &ids {
            eventually("it is suspended", async || {
                Ok((env.invocation(id, "status").await? == "suspended").then_some(()))
            })
            .await?;
        }
        // All on the one connection that is new.
        served.restart().await?;
        env.ingress()
            .call_object::<()>("Long", "0", "go_on", &ids)
            .await?;
        for id in &ids {
            assert_eq!(env.ingress().attach::<u32>(id).await?, ENTRIES);
        }
        assert_unfailed(env, &ids);
        Ok(())
    });

    suite.case(
        "a_served_endpoint_stops_as_if_it_had_crashed",
        &[Mode::Default, Mode::V7],
        async |env| {
            let services = endpoint(|builder| builder.bind(Stopped));
            let mut served = env.server.serve(services).await?;
            let id = env
                .ingress()
                .send("Stopped", "wait", &())
                .await?
                .invocation_id;
            let noted = async |what: &str, times: usize| -> Result {
                let key = format!("{id} {what}");
                eventually(&key, async || {
                    Ok((effects(&key).len() >= times).then_some(()))
                })
                .await
            };
            noted("begins", 1).await?;
            served.stop().await;
            noted("finished", 1).await?;
            served.restart().await?;
            noted("begins", 2).await?;
            env.ingress().call::<()>("Stopped", "go", &id).await?;
            assert_eq!(env.ingress().attach::<u32>(&id).await?, 7);
            Ok(())
        },
    );
}
