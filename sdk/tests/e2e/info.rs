//! What a handler learns of its invocation and of the attempt.

use std::collections::BTreeMap;

use durably::prelude::*;

use crate::harness::{effect, effects, eventually, ms};
use crate::suite::{ALL, Suite};

type Facts = BTreeMap<String, String>;

fn facts(ctx: &Context) -> Facts {
    let text = |text: Option<&str>| text.unwrap_or("none").to_owned();
    let header = |name| {
        text(
            ctx.attempt_headers()
                .get(name)
                .and_then(|value| value.to_str().ok()),
        )
    };
    let own = ctx
        .headers()
        .iter()
        .filter(|(name, _)| name.starts_with("x-"));
    let own: Vec<_> = own.map(|(name, value)| format!("{name}={value}")).collect();
    [
        ("id", ctx.invocation_id().to_owned()),
        ("service", ctx.service_name().to_owned()),
        ("handler", ctx.handler_name().to_owned()),
        ("headers", own.join(" ")),
        ("id header", header("x-restate-invocation-id")),
        ("content type", header("content-type")),
        ("idempotency key", text(ctx.idempotency_key())),
        ("scope", text(ctx.scope())),
        ("limit key", text(ctx.limit_key())),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

pub(crate) struct Info;

#[durably::service]
impl Info {
    #[handler(name = "tellAll")]
    async fn tell(&self, ctx: &Context) -> HandlerResult<Facts> {
        // What is told after a suspension is what counts.
        ctx.sleep(ms(5)).await?;
        Ok(facts(ctx))
    }

    /// Fails twice; leaves the retry counts that it saw.
    #[handler]
    async fn retries(&self, ctx: &Context) -> HandlerResult<()> {
        let key = format!("{} retries", ctx.invocation_id());
        if effect(key, ctx.retry_count()) < 3 {
            return Err("this fails on purpose".into());
        }
        Ok(())
    }

    /// Spawns a task that sees the attempt end, though nobody awaits it.
    #[handler]
    async fn finished(&self, ctx: &Context, note: String) -> HandlerResult<()> {
        let finished = ctx.attempt_finished();
        ctx.run("spawn", async || {
            tokio::spawn(async move {
                finished.await;
                effect(note, "finished");
            });
            Ok::<_, std::io::Error>(())
        })
        .await?;
        Ok(())
    }
}

pub(crate) struct InfoObject;

#[durably::object(name = "info.Object")]
impl InfoObject {
    #[handler]
    async fn tell(&self, ctx: &ObjectContext) -> HandlerResult<Facts> {
        let mut facts = facts(ctx);
        facts.insert("key".to_owned(), ctx.key().to_owned());
        Ok(facts)
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("a_handler_knows_its_invocation", ALL, async |env| {
        let request = env.ingress().service("Info", "tellAll");
        let request = request
            .header("x-one", "1")
            .header("x-two", "2")
            .header("x-one", "3");
        let reply = request.idempotency_key("my key").call_raw().await?;
        let id = reply.invocation_id().ok_or("no id")?.to_owned();
        let facts: Facts = reply.decode()?;
        let version = if env.mode.is_v7() { 7 } else { 6 };
        let expected = [
            ("id", id.as_str()),
            ("service", "Info"),
            ("handler", "tellAll"),
            // Of headers of one name the ingress (1.7.12) passes on the first; calls keep them all.
            (
                "headers",
                "x-restate-ingress-path=/restate/call/Info/tellAll x-one=1 x-two=2",
            ),
            ("id header", &id),
            (
                "content type",
                &format!("application/vnd.restate.invocation.v{version}"),
            ),
            // A v7 server without scopes (1.7.12) does not tell it; see `scopes`.
            (
                "idempotency key",
                if env.mode.is_local() {
                    "my key"
                } else {
                    "none"
                },
            ),
            ("scope", "none"),
            ("limit key", "none"),
        ];
        for (name, value) in expected {
            assert_eq!(facts[name], value, "{name}");
        }

        let key = "a/key with ä, & and \"";
        let facts: Facts = env
            .ingress()
            .call_object("info.Object", key, "tell", &())
            .await?;
        assert_eq!((&*facts["service"], &*facts["key"]), ("info.Object", key));
        Ok(())
    });

    suite.case("retries_are_counted", ALL, async |env| {
        let reply = env.ingress().service("Info", "retries").call_raw().await?;
        let id = reply.invocation_id().ok_or("no id")?;
        assert_eq!(effects(&format!("{id} retries")), ["0", "1", "2"]);
        Ok(())
    });

    suite.case("the_end_of_an_attempt_is_seen", ALL, async |env| {
        let note = format!("finished {:?}", env.mode);
        env.ingress().call::<()>("Info", "finished", &note).await?;
        eventually("the end is seen", async || {
            Ok(effects(&note).first().cloned())
        })
        .await?;
        Ok(())
    });
}
