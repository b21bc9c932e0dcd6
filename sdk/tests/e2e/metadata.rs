//! Terminal errors with metadata, both ways: from a handler through its callers, and from whoever
//! completes something to the one that waits.

use durably::prelude::*;

use crate::harness::{effect, effects, eventually, ms};
use crate::suite::{ALL, Suite};

pub(crate) struct Chain;

type Told = (u16, String, Vec<(String, String)>);

fn told(error: &TerminalError) -> Told {
    (
        error.code(),
        error.message().to_owned(),
        error.metadata().to_vec(),
    )
}

/// The metadata that each failure here has, besides what is added on its way.
fn refusal(message: &str) -> TerminalError {
    TerminalError::new(message)
        .with_code(422)
        .with_metadata("field", "quantity")
        .with_metadata("größe", "zwölf \u{1F6D2} \"quoted\"")
        .with_metadata("empty", "")
}

#[durably::object]
impl Chain {
    /// Calls itself under other keys; the last one refuses, and each on the way back says that it
    /// was there.
    #[handler]
    async fn link(&self, ctx: &ObjectContext, depth: u32) -> HandlerResult<()> {
        if depth == 0 {
            ctx.run("refuse", async || Err::<(), _>(refusal("refused")))
                .await?;
        }
        let next = format!("{} {depth}", ctx.key());
        let called = ctx.object_client::<ChainClient>(next).link(depth - 1).await;
        let error = called.err().unwrap_or_else(|| TerminalError::new("none"));
        // More is done in between, so that it comes from the journal.
        ctx.sleep(ms(1)).await?;
        Err(error
            .with_metadata(format!("level {depth}"), ctx.key())
            .into())
    }

    /// Waits for results of each kind that are failures.
    #[handler]
    async fn wait(&self, ctx: &ObjectContext) -> HandlerResult<Vec<Told>> {
        let awakeable = ctx.awakeable::<()>();
        effect(format!("{} awakeable", ctx.key()), awakeable.id());
        effect(ctx.key(), ctx.invocation_id());
        let mut seen = Vec::new();
        let signal = ctx.signal::<()>("signal");
        let (awakeable, signal) = durably::join!(awakeable, signal);
        for result in [awakeable, signal] {
            seen.extend(result.err().as_ref().map(told));
        }
        let failing = ctx.object_client::<ChainClient>(format!("{} sent", ctx.key()));
        let sent = failing.link(0).send().await?;
        seen.extend(sent.attach::<()>().await.err().as_ref().map(told));
        seen.extend(sent.output::<()>().await.err().as_ref().map(told));
        Ok(seen)
    }

    #[handler]
    async fn reject(
        &self,
        ctx: &ObjectContext,
        (id, awakeable): (String, String),
    ) -> HandlerResult<()> {
        ctx.reject_awakeable(&awakeable, refusal("rejected awakeable"))?;
        ctx.invocation(&id)?
            .reject_signal("signal", refusal("rejected signal"));
        Ok(())
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("metadata_travels_through_all_callers", ALL, async |env| {
        let key = &format!("chain {:?}", env.mode);
        let call = env
            .ingress()
            .call_object::<()>("Chain", key, "link", &3)
            .await;
        let error = call.unwrap_err();
        assert_eq!(
            (error.status(), error.message()),
            (Some(422), Some("refused"))
        );
        let due = [
            ("empty", String::new()),
            ("field", "quantity".into()),
            ("größe", "zwölf \u{1F6D2} \"quoted\"".into()),
            ("level 1", format!("{key} 3 2")),
            ("level 2", format!("{key} 3")),
            ("level 3", key.clone()),
        ];
        let due: Vec<_> = due.map(|(key, value)| (key.to_owned(), value)).into();
        assert_eq!(error.metadata(), due);
        Ok(())
    });

    suite.case("metadata_comes_with_whatever_fails", ALL, async |env| {
        let ingress = env.ingress();
        let key = &format!("wait {:?}", env.mode);
        let sent = ingress.send_object("Chain", key, "wait", &()).await?;
        let noted =
            async |key: &str| eventually(key, async || Ok(effects(key).first().cloned())).await;
        let input = (noted(key).await?, noted(&format!("{key} awakeable")).await?);
        ingress
            .call_object::<()>("Chain", &format!("{key} rejects"), "reject", &input)
            .await?;
        let seen: Vec<Told> = ingress.attach(&sent.invocation_id).await?;
        let due = [
            "rejected awakeable",
            "rejected signal",
            "refused",
            "refused",
        ];
        assert_eq!(seen, due.map(|message| told(&refusal(message))));
        Ok(())
    });
}
