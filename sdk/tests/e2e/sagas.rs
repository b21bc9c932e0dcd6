//! Sagas and cancellation by hand on the real server: a cancellation that waits must neither interrupt
//! nor resume an attempt again and again.

use durably::{Service as _, ServiceDefinition, prelude::*};

use crate::harness::{Result, effect, effects, eventually, ms};
use crate::suite::{ALL, Suite};

pub(crate) struct Sagas;

#[durably::service]
impl Sagas {
    /// Books, waits to be cancelled, and undoes with waits in between.
    #[handler]
    async fn book(&self, ctx: &Context) -> HandlerResult<()> {
        let id = ctx.invocation_id();
        let saga = ctx.saga();
        saga.scope(async {
            for name in ["flight", "hotel"] {
                ctx.run("book", async || note(id, format!("book {name}")))
                    .await?;
                saga.undo(move || async move {
                    effect(format!("{id} undoing"), name);
                    if name == "hotel" {
                        // The case has cancelled it once more by then.
                        ctx.signal::<()>("go").await?;
                    }
                    ctx.sleep(ms(700)).await?;
                    ctx.run("cancel", async || note(id, format!("cancel {name}")))
                        .await
                });
            }
            effect(format!("{id} waits"), "");
            Ok(ctx.signal::<()>("never").await?)
        })
        .await
    }

    /// Is told of the cancellation, and ends in its own time.
    #[handler]
    async fn orderly(&self, ctx: &Context) -> HandlerResult<String> {
        let id = ctx.invocation_id();
        effect(format!("{id} waits"), "");
        ctx.cancellation().await?;
        effect(format!("{id} winds up"), "");
        ctx.signal::<()>("go").await?;
        ctx.sleep(ms(700)).await?;
        ctx.run("wind up", async || note(id, "wound up".to_owned()))
            .await?;
        Ok("in order".to_owned())
    }

    #[handler]
    async fn go_on(&self, ctx: &Context, id: String) -> HandlerResult<()> {
        ctx.invocation(&id)?.resolve_signal("go", &());
        Ok(())
    }
}

fn note(id: &str, what: String) -> HandlerResult<()> {
    effect(id, what);
    Ok(())
}

pub(crate) fn sagas() -> ServiceDefinition {
    Sagas
        .definition()
        .with_handler("orderly", |orderly| orderly.explicit_cancellation(true))
}

async fn noted(key: &str, times: usize) -> Result<Vec<String>> {
    eventually(&format!("`{key}` {times} times"), async || {
        Ok(Some(effects(key)).filter(|list| list.len() >= times))
    })
    .await
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "a_saga_undoes_though_it_is_cancelled_again",
        ALL,
        async |env| {
            let sent = env.ingress().send("Sagas", "book", &()).await?;
            let id = &sent.invocation_id;
            noted(&format!("{id} waits"), 1).await?;
            env.admin().cancel(id).await?;
            noted(&format!("{id} undoing"), 1).await?;
            env.admin().cancel(id).await?;
            env.ingress().call::<()>("Sagas", "go_on", id).await?;
            let error = env.ingress().attach::<()>(id).await.unwrap_err();
            assert_eq!(error.status(), Some(409), "{error}");
            let all = ["book flight", "book hotel", "cancel hotel", "cancel flight"];
            assert_eq!(effects(id), all);
            // Each attempt tells of it again: a few times, not hundreds.
            let attempts = effects(&format!("{id} undoing")).len();
            assert!(attempts < 30, "{attempts} times in all attempts");
            Ok(())
        },
    );

    suite.case(
        "a_handler_decides_about_its_cancellation",
        ALL,
        async |env| {
            let sent = env.ingress().send("Sagas", "orderly", &()).await?;
            let id = &sent.invocation_id;
            noted(&format!("{id} waits"), 1).await?;
            env.admin().cancel(id).await?;
            noted(&format!("{id} winds up"), 1).await?;
            env.admin().cancel(id).await?;
            env.ingress().call::<()>("Sagas", "go_on", id).await?;
            let result: String = env.ingress().attach(id).await?;
            assert_eq!(result, "in order");
            assert_eq!(effects(id), ["wound up"]);
            let attempts = effects(&format!("{id} winds up")).len();
            assert!(attempts < 15, "{attempts} attempts");
            Ok(())
        },
    );
}
