//! What operators do to invocations: kill, pause, resume, restart, purge, cancel before the start.

use durably::prelude::*;

use crate::harness::{Env, Result, effect, effects, endpoint, eventually, ms, serve_in};
use crate::suite::{ALL, Mode, SERVER, Suite};

pub(crate) struct Life;

#[durably::object]
impl Life {
    /// Holds its object, and by a call to itself as many others, until a signal comes.
    #[handler]
    async fn hold(&self, ctx: &ObjectContext, depth: u32) -> HandlerResult<u32> {
        let id = ctx.invocation_id();
        let finished = ctx.attempt_finished();
        let attempt = effect(format!("{id} attempts"), "");
        let note = format!("{id} ends");
        tokio::spawn(async move {
            finished.await;
            effect(note, attempt);
        });
        ctx.set("held by", id);
        effect(ctx.key(), id);
        if depth > 0 {
            let next = format!("{} {depth}", ctx.key());
            let held = ctx.object_client::<LifeClient>(next).hold(depth - 1);
            return Ok(held.await? + 1);
        }
        Ok(ctx.signal::<u32>("go").await?)
    }

    /// Gets its turn once nobody holds the object.
    #[handler]
    async fn touch(&self, ctx: &ObjectContext) -> HandlerResult<Option<String>> {
        effect(format!("{} touched", ctx.key()), "");
        Ok(ctx.get("held by").await?)
    }

    #[handler]
    async fn go(&self, ctx: &SharedObjectContext, id: String) -> HandlerResult<()> {
        ctx.invocation(&id)?.resolve_signal("go", &7);
        Ok(())
    }

    /// Takes a step, one that lasts until `{key} go on` is noted, and another; then waits.
    #[handler]
    async fn work(&self, ctx: &ObjectContext) -> HandlerResult<Vec<usize>> {
        let key = ctx.key();
        let step = |name: &'static str| {
            let note = format!("{key} {name}");
            let slow = name == "slow";
            ctx.run(name, async move || {
                let nth = effect(note.clone(), "");
                let guard = Guard(format!("{note} dropped"));
                while slow && effects(&format!("{key} go on")).is_empty() {
                    tokio::time::sleep(ms(10)).await;
                }
                std::mem::forget(guard);
                Ok::<_, std::io::Error>(nth)
            })
        };
        let mut seen = vec![step("first").await?];
        ctx.set("seen", &seen);
        seen.push(step("slow").await?);
        seen.push(step("last").await?);
        effect(format!("{key} waits"), "");
        seen.push(ctx.signal::<usize>("go").await?);
        assert_eq!(
            ctx.get::<Vec<usize>>("seen").await?.as_deref(),
            Some(&seen[..1])
        );
        Ok(seen)
    }
}

/// Notes that it was dropped.
struct Guard(String);

impl Drop for Guard {
    fn drop(&mut self) {
        effect(&self.0, "");
    }
}

/// Waits until something has been noted, and gives it.
async fn noted(key: &str) -> Result<String> {
    eventually(key, async || Ok(effects(key).first().cloned())).await
}

async fn has_status(env: &Env, id: &str, status: &str) -> Result {
    eventually(&format!("{id} is {status}"), async || {
        Ok((env.invocation(id, "status").await? == status).then_some(()))
    })
    .await
}

/// Asks for a pause. Only what is being attempted can be paused (server 1.7.12), and how soon that is
/// so is the server's affair.
async fn pause(env: &Env, id: &str) -> Result {
    eventually("the pause is accepted", async || {
        match env.admin().pause(id).await {
            Err(error) if error.status() == Some(409) => Ok(None),
            other => Ok(Some(other?)),
        }
    })
    .await
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "a_killed_invocation_leaves_nothing_behind",
        ALL,
        async |env| {
            let ingress = env.ingress();
            let root = format!("kill {:?}", env.mode);
            let keys = [root.clone(), format!("{root} 2"), format!("{root} 2 1")];
            let id = ingress
                .send_object("Life", &root, "hold", &2)
                .await?
                .invocation_id;
            let mut ids = Vec::new();
            for key in &keys {
                ids.push(noted(key).await?);
            }
            assert_eq!(ids[0], id);
            let mut waiting = Vec::new();
            for key in &keys {
                waiting.push(
                    ingress
                        .send_object("Life", key, "touch", &())
                        .await?
                        .invocation_id,
                );
            }
            tokio::time::sleep(ms(50)).await;
            assert!(effects(&format!("{root} touched")).is_empty());

            env.admin().kill(&id).await?;
            let error = ingress.attach::<u32>(&id).await.unwrap_err();
            assert_eq!(
                (error.status(), error.message()),
                (Some(409), Some("killed"))
            );
            // Those that it called, too; and whoever waited has its turn, and sees what was done.
            for (waiting, id) in waiting.iter().zip(&ids) {
                let held_by: Option<String> = ingress.attach(waiting).await?;
                assert_eq!(held_by.as_deref(), Some(id.as_str()));
                has_status(env, id, "completed").await?;
                assert_eq!(env.invocation(id, "completion_result").await?, "failure");
                // No attempt goes on.
                let (attempts, ends) = (format!("{id} attempts"), format!("{id} ends"));
                eventually(&ends, async || {
                    Ok((effects(&ends).len() == effects(&attempts).len()).then_some(()))
                })
                .await?;
            }
            Ok(())
        },
    );

    suite.case("a_killed_invocation_stops_its_run", ALL, async |env| {
        let ingress = env.ingress();
        let key = format!("kill a run {:?}", env.mode);
        let id = ingress
            .send_object("Life", &key, "work", &())
            .await?
            .invocation_id;
        noted(&format!("{key} slow")).await?;
        env.admin().kill(&id).await?;
        noted(&format!("{key} slow dropped")).await?;
        ingress
            .call_object::<Option<String>>("Life", &key, "touch", &())
            .await?;
        assert!(effects(&format!("{key} last")).is_empty());
        Ok(())
    });

    // Where something is always being attempted.
    let attempting = &[Mode::Default, Mode::V7, Mode::Local];
    suite.case("a_pause_keeps_what_was_done", attempting, async |env| {
        let ingress = env.ingress();
        let key = format!("pause {:?}", env.mode);
        effect(format!("{key} go on"), "");
        let id = ingress
            .send_object("Life", &key, "work", &())
            .await?
            .invocation_id;
        noted(&format!("{key} waits")).await?;
        pause(env, &id).await?;
        has_status(env, &id, "paused").await?;
        // What it waited for comes, and does not wake it.
        ingress.call_object::<()>("Life", &key, "go", &id).await?;
        tokio::time::sleep(ms(300)).await;
        assert_eq!(env.invocation(&id, "status").await?, "paused");
        assert_eq!(effects(&format!("{key} waits")).len(), 1);
        env.admin().resume(&id).await?;
        assert_eq!(ingress.attach::<Vec<usize>>(&id).await?, [1, 1, 1, 7]);
        Ok(())
    });

    suite.case("a_pause_lets_a_run_end", ALL, async |env| {
        let ingress = env.ingress();
        let key = format!("pause a run {:?}", env.mode);
        let id = ingress
            .send_object("Life", &key, "work", &())
            .await?
            .invocation_id;
        noted(&format!("{key} slow")).await?;
        pause(env, &id).await?;
        ingress.call_object::<()>("Life", &key, "go", &id).await?;
        tokio::time::sleep(ms(200)).await;
        effect(format!("{key} go on"), "");
        has_status(env, &id, "paused").await?;
        tokio::time::sleep(ms(200)).await;
        assert_eq!(env.invocation(&id, "status").await?, "paused");
        assert!(effects(&format!("{key} last")).is_empty());
        env.admin().resume(&id).await?;
        // What is recorded is not done again.
        assert_eq!(ingress.attach::<Vec<usize>>(&id).await?, [1, 1, 1, 7]);
        assert!(effects(&format!("{key} slow dropped")).is_empty());
        Ok(())
    });

    suite.case("one_is_cancelled_before_it_starts", ALL, async |env| {
        let ingress = env.ingress();
        let key = format!("early {:?}", env.mode);
        let holder = ingress
            .send_object("Life", &key, "hold", &0)
            .await?
            .invocation_id;
        noted(&key).await?;
        for delayed in [false, true] {
            // Who asks after the cancellation learns nothing: there is no trace of it. Should that
            // happen, another one is left more time.
            for pause in [100, 2_000, 15_000] {
                let request = ingress.object("Life", &key, "touch").json(&());
                let sent = if delayed {
                    request.send_after(ms(3_600_000)).await?
                } else {
                    request.send().await?
                };
                let id = &sent.invocation_id;
                let cancel = async {
                    tokio::time::sleep(ms(pause)).await;
                    env.admin().cancel(id).await
                };
                let (attached, cancelled) = futures::join!(ingress.attach::<()>(id), cancel);
                cancelled?;
                assert!(env.invocation(id, "id").await?.is_null());
                let error = attached.unwrap_err();
                if error.status() == Some(404) && pause < 15_000 {
                    continue;
                }
                assert_eq!(error.status(), Some(409), "{error}");
                break;
            }
        }
        ingress
            .call_object::<()>("Life", &key, "go", &holder)
            .await?;
        assert_eq!(ingress.attach::<u32>(&holder).await?, 7);
        assert!(effects(&format!("{key} touched")).is_empty());
        Ok(())
    });

    suite.case("an_invocation_is_purged", ALL, async |env| {
        let ingress = env.ingress();
        let request = ingress
            .service("Callee", "ticket")
            .idempotency_key("purged");
        let first: String = request.clone().call().await?;
        assert_eq!(request.clone().call::<String>().await?, first);
        env.admin().purge(&first).await?;
        let error = ingress.attach::<String>(&first).await.unwrap_err();
        assert_eq!(error.status(), Some(404), "{error}");
        // Its key is free: the same request is carried out again.
        assert!(env.invocation(&first, "id").await?.is_null());
        assert_eq!(request.call::<String>().await?, first);
        Ok(())
    });

    suite.case(
        "an_invocation_is_restarted_as_a_new_one",
        SERVER,
        async |env| {
            let ingress = env.ingress();
            let key = format!("restart {:?}", env.mode);
            effect(format!("{key} go on"), "");
            let run = async |id: &str| -> Result<Vec<usize>> {
                // Each waits for a signal of its own.
                let signalled = ingress
                    .object("Life", "another", "go")
                    .json(id)
                    .send()
                    .await?;
                ingress.attach::<()>(&signalled.invocation_id).await?;
                Ok(ingress.attach(id).await?)
            };
            let id = ingress
                .send_object("Life", &key, "work", &())
                .await?
                .invocation_id;
            assert_eq!(run(&id).await?, [1, 1, 1, 7]);
            // From its input on, everything is done again.
            let again = env.server().restart_as_new(&id, 0).await?;
            assert_ne!(again, id);
            assert_eq!(run(&again).await?, [2, 2, 2, 7]);
            // From the second run on: the first one's result is still there.
            let sql = format!("SELECT index FROM sys_journal WHERE id = '{id}' AND name = 'slow'");
            let rows = env.server().query(&sql).await?;
            let from = rows[0]["index"].as_u64().ok_or("no index")?;
            let again = env
                .server()
                .restart_as_new(&id, u32::try_from(from)?)
                .await?;
            let seen = run(&again).await?;
            assert_eq!((seen[0], seen[2]), (1, 3), "{seen:?}");
            Ok(())
        },
    );

    suite.case(
        "a_paused_invocation_goes_on_with_other_code",
        SERVER,
        async |env| {
            let repaired =
                |builder: durably::EndpointBuilder| builder.bind(Broken { repaired: true });
            let broken =
                |builder: durably::EndpointBuilder| builder.bind(Broken { repaired: false });
            let _broken = serve_in(env.mode, env.server(), endpoint(broken)).await?;
            let ingress = env.ingress();
            let id = ingress.send("Broken", "work", &()).await?.invocation_id;
            has_status(env, &id, "paused").await?;
            let _repaired = serve_in(env.mode, env.server(), endpoint(repaired)).await?;
            env.server().resume_on_latest(&id).await?;
            assert_eq!(ingress.attach::<(usize, usize)>(&id).await?, (1, 1));
            Ok(())
        },
    );
}

/// Of two versions, one of which cannot go on.
struct Broken {
    repaired: bool,
}

#[durably::service]
impl Broken {
    #[handler(retry(initial_interval = "10ms", max_attempts = 2, on_max_attempts = "pause"))]
    async fn work(&self, ctx: &Context) -> HandlerResult<(usize, usize)> {
        let note = |name: &'static str| {
            let note = format!("{} {name}", ctx.invocation_id());
            ctx.run(name, async move || {
                Ok::<_, std::io::Error>(effect(note.clone(), ""))
            })
        };
        let first = note("first").await?;
        if !self.repaired {
            return Err("this fails on purpose".into());
        }
        Ok((first, note("second").await?))
    }
}
