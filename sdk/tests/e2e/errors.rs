//! Failures: terminal, retried, paused; panics, and misuse of the context.

use std::time::Instant;

use anyhow::Context as _;
use durably::{Target, prelude::*};
use serde_json::Value;

use crate::harness::{Env, Result, effect, effects, eventually, ms};
use crate::suite::{ALL, BEFORE_V7, SINCE_V7, Suite};

#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("the shop refused")]
    Refused(#[from] TerminalError),
    #[error("the shop burns on purpose")]
    Burns,
}

fn refuse() -> Result<u64, TerminalError> {
    let refusal = TerminalError::new("out of stock").with_code(418);
    Err(refusal
        .with_metadata("sku", "A-1")
        .with_metadata("left", "0"))
}

pub(crate) struct Errors;

#[durably::service]
impl Errors {
    /// The same terminal error, wrapped in all ways.
    #[handler]
    async fn terminal(&self, ctx: &Context, how: String) -> HandlerResult<u64> {
        match how.as_str() {
            "plain" => Ok(refuse()?),
            "anyhow" => {
                let result: anyhow::Result<u64> = refuse().context("while shopping");
                Ok(result.context("on a Monday")?)
            }
            "thiserror" => Ok(refuse().map_err(ShopError::from)?),
            "both" => {
                let result = refuse().map_err(ShopError::from);
                Ok(anyhow::Context::context(result, "while shopping")?)
            }
            "run" => Ok(ctx
                .run("refuse", async || refuse().map_err(ShopError::from))
                .await?),
            _ => Err(TerminalError::new("how?").with_code(400).into()),
        }
    }

    /// What a caller sees of it.
    #[handler]
    async fn caller(&self, ctx: &Context, how: String) -> HandlerResult<(u16, String, String)> {
        let call = ctx.service_client::<ErrorsClient>().terminal(how).await;
        let error = call.err().unwrap_or_else(|| TerminalError::new("none"));
        let metadata = format!("{:?}", error.metadata());
        Ok((error.code(), error.message().to_owned(), metadata))
    }

    /// Fails once with an error of this kind, then succeeds.
    #[handler]
    async fn once(&self, ctx: &Context, how: String) -> HandlerResult<u32> {
        if effect(ctx.invocation_id(), &how) == 1 {
            match how.as_str() {
                "error" => return Err(ShopError::Burns.into()),
                "anyhow" => return Err(anyhow::anyhow!("this fails on purpose").into()),
                "delay" => {
                    return Err(RetryableError::new("later, on purpose")
                        .after(ms(700))
                        .into());
                }
                "pause" => return Err(RetryableError::new("pause, on purpose").pause().into()),
                "overruled" => {
                    let overruled = TerminalError::new("not terminal, on purpose");
                    return Err(RetryableError::new(overruled).into());
                }
                "panic" => panic!("this panics on purpose"),
                _ => return Err(RetryableError::new("fail, on purpose").fail().into()),
            }
        }
        Ok(ctx.retry_count())
    }

    #[handler]
    async fn panic_in_run(&self, ctx: &Context) -> HandlerResult<usize> {
        let run = ctx.run("panic", async || {
            let executions = effect(ctx.invocation_id(), "run");
            if executions == 1 {
                panic!("this panics in a run on purpose");
            }
            Ok::<_, std::io::Error>(executions)
        });
        Ok(run.await?)
    }

    /// Keeps the metadata of a run's failure over a replay, and puts it into a command.
    #[handler]
    async fn metadata(&self, ctx: &Context) -> HandlerResult<()> {
        let error = ctx
            .run::<_, _, (), _>("fail", async || {
                // A key that came twice, or ended at a NUL, would end the server.
                let entries = [
                    ("z", "1"),
                    ("a\0b", "2"),
                    ("m", "3"),
                    ("a\0c", "4"),
                    ("z", "5"),
                ];
                let entries = entries.into_iter();
                Err(
                    entries.fold(TerminalError::new("no"), |error, (key, value)| {
                        error.with_metadata(key, value)
                    }),
                )
            })
            .await
            .err()
            .unwrap_or_else(|| TerminalError::new("none"));
        effect(
            format!("{} metadata", ctx.invocation_id()),
            format!("{:?}", error.metadata()),
        );
        let awakeable = ctx.awakeable::<()>();
        ctx.reject_awakeable(awakeable.id(), error)?;
        let error = awakeable
            .await
            .err()
            .unwrap_or_else(|| TerminalError::new("none"));
        ctx.sleep(ms(1)).await?;
        effect(
            format!("{} rejected", ctx.invocation_id()),
            format!("{:?}", error.metadata()),
        );
        if effect(ctx.invocation_id(), "") == 1 {
            return Err("this fails on purpose".into());
        }
        Err(error.into())
    }

    /// Uses what cannot be used there.
    #[handler]
    async fn misuse(&self, ctx: &Context, how: String) -> HandlerResult<()> {
        match how.as_str() {
            "sleep in a run" => {
                ctx.run("on purpose", async || ctx.sleep(ms(1)).await)
                    .await?;
            }
            "random in a run" => {
                ctx.run("on purpose", async || {
                    Ok::<_, TerminalError>(ctx.random().u64())
                })
                .await?;
            }
            "scope" => {
                let target = Target::service("Errors", "once");
                ctx.request::<_, u32>(target, "on purpose")
                    .scope("s")
                    .name("on purpose")
                    .await?;
            }
            "limit key" => {
                let target = Target::service("Errors", "once");
                let request = ctx
                    .request::<_, u32>(target, "on purpose")
                    .name("on purpose");
                request.limit_key("k").send();
            }
            _ => {
                ctx.idempotent_invocation(Target::service("Errors", "once"), "k")
                    .scope("s")
                    .attach::<()>()
                    .await?;
            }
        }
        Ok(())
    }
}

/// Calls `Errors.once`: the invocation's id, and the retry count that the last attempt saw.
async fn once(env: &Env, how: &str) -> Result<(String, u32)> {
    let reply = env
        .ingress()
        .service("Errors", "once")
        .json(how)
        .call_raw()
        .await?;
    let id = reply.invocation_id().ok_or("no id")?.to_owned();
    Ok((id, reply.decode()?))
}

/// Waits until an invocation is paused.
pub(crate) async fn paused(env: &Env, id: &str) -> Result {
    eventually("the invocation is paused", async || {
        Ok((env.invocation(id, "status").await? == "paused").then_some(()))
    })
    .await
}

/// Sends a request that fails in each attempt, gives what the server says of the last failure, and
/// ends it.
async fn failure(env: &Env, handler: &str, how: &str, code: u64) -> Result<String> {
    let sent = env.ingress().send("Errors", handler, how).await?;
    let id = &sent.invocation_id;
    let what = format!("{how}: a failure with code {code}");
    let failure = eventually(&what, async || {
        // One look: both are of the same failure.
        let row = env.row(id).await?;
        let failure = text(&row["last_failure"]);
        // Errors of the server's own have codes that are no numbers.
        let matches = text(&row["last_failure_error_code"]) == code.to_string()
            || failure.contains(&format!("[{code}"));
        Ok(matches.then_some(failure))
    });
    let failure = failure.await;
    env.admin().kill(id).await?;
    failure
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "terminal_errors_stay_terminal_through_wrappers",
        ALL,
        async |env| {
            for how in ["plain", "anyhow", "thiserror", "both", "run"] {
                let error = env
                    .ingress()
                    .call::<u64>("Errors", "terminal", how)
                    .await
                    .unwrap_err();
                assert_eq!(error.status(), Some(418), "{how}: {error}");
                assert_eq!(error.message(), Some("out of stock"), "{how}");
                let metadata = error.metadata().iter();
                let metadata: Vec<_> = metadata.map(|(k, v)| (k.as_str(), v.as_str())).collect();
                assert_eq!(metadata, [("left", "0"), ("sku", "A-1")], "{how}");
                let seen: (u16, String, String) =
                    env.ingress().call("Errors", "caller", how).await?;
                let metadata = r#"[("left", "0"), ("sku", "A-1")]"#;
                assert_eq!(
                    seen,
                    (418, "out of stock".to_owned(), metadata.to_owned()),
                    "{how}"
                );
            }
            Ok(())
        },
    );

    suite.case("other_errors_are_retried", ALL, async |env| {
        for how in ["error", "anyhow", "overruled", "panic"] {
            let (id, retries) = once(env, how).await?;
            assert_eq!((effects(&id).len(), retries), (2, 1), "{how}");
        }
        let panicked: usize = env.ingress().call("Errors", "panic_in_run", &()).await?;
        assert_eq!(panicked, 2);
        Ok(())
    });

    suite.case("a_retry_delay_is_honoured", ALL, async |env| {
        let start = Instant::now();
        let (id, _) = once(env, "delay").await?;
        assert!(start.elapsed() >= ms(695), "{:?}", start.elapsed());
        assert_eq!(effects(&id).len(), 2);
        Ok(())
    });

    suite.case("an_error_may_ask_for_the_end", ALL, async |env| {
        let ingress = env.ingress();
        let error = ingress
            .call::<u32>("Errors", "once", "fail")
            .await
            .unwrap_err();
        assert_eq!(error.status(), Some(500), "{error}");
        assert!(error.to_string().contains("fail, on purpose"), "{error}");
        Ok(())
    });

    suite.case("metadata_is_the_same_after_a_replay", ALL, async |env| {
        let sent = env.ingress().send("Errors", "metadata", &()).await?;
        let id = &sent.invocation_id;
        let error = env.ingress().attach::<()>(id).await.unwrap_err();
        assert_eq!(error.message(), Some("no"), "{error}");
        let seen = effects(&format!("{id} metadata"));
        assert!(
            seen.len() > 1 && seen.iter().all(|metadata| *metadata == seen[0]),
            "{seen:?}"
        );
        assert_eq!(effects(&format!("{id} rejected")), [&*seen[0], &*seen[0]]);
        Ok(())
    });

    suite.case("an_error_may_ask_for_a_pause", SINCE_V7, async |env| {
        let sent = env.ingress().send("Errors", "once", "pause").await?;
        let id = &sent.invocation_id;
        paused(env, id).await?;
        tokio::time::sleep(ms(300)).await;
        assert_eq!(effects(id).len(), 1);
        env.admin().resume(id).await?;
        env.ingress().attach::<u32>(id).await?;
        assert_eq!(effects(id).len(), 2);
        Ok(())
    });

    suite.case(
        "before_v7_an_error_cannot_ask_for_a_pause",
        BEFORE_V7,
        async |env| {
            let (id, _) = once(env, "pause").await?;
            assert_eq!(effects(&id).len(), 2);
            Ok(())
        },
    );

    suite.case("the_context_cannot_be_used_in_a_run", ALL, async |env| {
        for how in ["sleep in a run", "random in a run"] {
            let failure = failure(env, "misuse", how, 500).await?;
            assert!(
                failure.contains("closure of run `on purpose` used the context"),
                "{failure}"
            );
        }
        Ok(())
    });

    suite.case(
        "scopes_are_refused_where_they_cannot_travel",
        BEFORE_V7,
        async |env| {
            for (how, what) in [
                ("scope", "a scope"),
                ("limit key", "a limit key"),
                ("", "a scope"),
            ] {
                let failure = failure(env, "misuse", how, 500).await?;
                assert!(
                    failure.contains(what) && failure.contains("later version"),
                    "{failure}"
                );
            }
            Ok(())
        },
    );
}
