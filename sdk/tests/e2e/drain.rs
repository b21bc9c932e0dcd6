//! Going away in an orderly manner, and coming back with many long journals at once.

use std::path::PathBuf;
use std::time::Instant;

use durably::prelude::*;
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, TryStreamExt as _};

use crate::crash::{Child, trace};
use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms, serve_in};
use crate::suite::{Mode, SERVER, Suite};

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
    let log = env.server().log();
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

/// Waits until an invocation is suspended.
async fn suspended(env: &Env, what: &str, id: &str) -> Result {
    eventually(&format!("{what} is suspended"), async || {
        Ok((env.invocation(id, "status").await? == "suspended").then_some(()))
    })
    .await
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

/// Rests in each way there is.
struct Rested;

const WAYS: [&str; 9] = [
    "signal",
    "timeout",
    "awakeable",
    "join",
    "unordered",
    "beside a run",
    "sleep",
    "call",
    "attach",
];

#[durably::service]
impl Rested {
    #[handler]
    async fn rest(&self, ctx: &Context, how: String) -> HandlerResult<String> {
        let id = ctx.invocation_id();
        ctx.run("begin", async || Ok::<_, std::io::Error>(()))
            .await?;
        let awakeable = ctx.awakeable::<()>();
        effect(format!("{id} rests"), awakeable.id());
        let go = || ctx.signal::<()>("go");
        let client = ctx.service_client::<RestedClient>();
        match how.as_str() {
            "signal" => go().await?,
            "timeout" => go().or_timeout(ms(3_600_000)).await?,
            "awakeable" => awakeable.await?,
            "join" => {
                durably::try_join!(go(), ctx.sleep(ms(5)), awakeable)?;
            }
            "unordered" => {
                let both: FuturesUnordered<_> =
                    [go().boxed(), awakeable.boxed()].into_iter().collect();
                both.try_collect().await?
            }
            "beside a run" => {
                let slow = ctx.run("slow", async || {
                    tokio::time::sleep(ms(300)).await;
                    Ok::<_, std::io::Error>(())
                });
                durably::try_join!(slow, go())?;
            }
            "sleep" => ctx.sleep(ms(1_500)).await?,
            "call" => drop(client.rest("sleep".into()).await?),
            _ => {
                let sent = client.rest("sleep".into()).send().await?;
                sent.attach::<String>().await?;
            }
        }
        Ok(how)
    }

    #[handler]
    async fn go(&self, ctx: &Context, (id, awakeable): (String, String)) -> HandlerResult<()> {
        ctx.invocation(&id)?.resolve_signal("go", &());
        Ok(ctx.resolve_awakeable(&awakeable, &())?)
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a_process_drains_on_sigterm", SERVER, async |env| {
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
            suspended(env, how, id).await?;
        }

        child.process.restart()?;
        let open = "SELECT id FROM sys_invocation WHERE target = 'Drained/block' \
                    AND status <> 'completed'";
        for row in env.server().query(open).await? {
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
    suite.case("whatever_waits_suspends_on_a_drain", SERVER, async |env| {
        let services = endpoint(|builder| builder.bind(Rested));
        let mut served = serve_in(env.mode, env.server(), services).await?;
        let ingress = env.ingress();
        let mut rests = Vec::new();
        for how in WAYS {
            let id = ingress.send("Rested", "rest", how).await?.invocation_id;
            let rests_at = format!("{id} rests");
            let awakeable = eventually(how, async || Ok(effects(&rests_at).first().cloned()));
            let awakeable = awakeable.await?;
            if how == "join" {
                // Its sleep is over, and will not wake it up while nobody is there.
                env.has_entries(&id, "Notification: Sleep", 1).await?;
                if !matches!(env.mode, Mode::Default | Mode::V7) {
                    suspended(env, how, &id).await?;
                }
            }
            rests.push((how, id, awakeable));
        }
        // It does not wait for them, nor cut them off, which it would do after a minute.
        let start = Instant::now();
        served.drain().await;
        assert!(start.elapsed() < ms(30_000), "{:?}", start.elapsed());
        // Those in whose way there is a sleep may have woken up, and found nobody.
        let (quiet, _) = rests.split_at(5);
        for (how, id, _) in quiet {
            suspended(env, how, id).await?;
        }
        served.restart().await?;
        for (how, id, awakeable) in &rests {
            ingress.call::<()>("Rested", "go", &(id, awakeable)).await?;
            assert_eq!(ingress.attach::<String>(id).await?, *how);
        }
        let ids: Vec<_> = quiet.iter().map(|(_, id, _)| id.clone()).collect();
        assert_unfailed(env, &ids);
        Ok(())
    });

    suite.case("long_journals_replay_at_once", SERVER, async |env| {
        let mut served = env
            .server()
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
            // All that it has written is with the server: a drain has a deadline.
            let recorded = format!("SELECT COUNT(1) AS n FROM sys_journal WHERE id = '{id}'");
            eventually("its journal is recorded", async || {
                let rows = env.server().query(&recorded).await?;
                let entries = rows.first().and_then(|row| row["n"].as_u64());
                Ok((entries >= Some(u64::from(ENTRIES))).then_some(()))
            })
            .await?;
        }
        served.drain().await;
        for id in &ids {
            suspended(env, "it", id).await?;
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
            let mut served = env.server().serve(services).await?;
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
