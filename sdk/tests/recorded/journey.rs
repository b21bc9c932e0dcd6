//! A workflow that issues commands of every kind, then waits, then ends; and what it talks to. [`Change`] is what an
//! edit of its code does.

use std::time::Duration;

use durably::{Target, prelude::*};

/// How today's code differs from the code that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    Nothing,
    RenamedStep,
    SwappedSteps,
    RemovedStep,
    /// A step was put in front of the others.
    AddedStep,
    /// A promise's value has another type.
    ResultType,
    /// The input has another type.
    InputType,
    /// A step was added behind the wait.
    MoreAtTheEnd,
    /// It waits for another signal, of which no command tells.
    OtherSignal,
    OtherOutput,
}

pub(crate) struct Journey(pub(crate) Change);

#[durably::workflow]
impl Journey {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, name: serde_json::Value) -> HandlerResult<String> {
        let change = self.0;
        let name = match name {
            serde_json::Value::String(name) if change != Change::InputType => name,
            _ => return Err(TerminalError::new("no such name").with_code(400).into()),
        };
        if change == Change::AddedStep {
            step(ctx, "find the passport", 0).await?;
        }

        // State.
        let visits = ctx.get::<u64>("visits").await?.unwrap_or_default();
        ctx.set("visits", &(visits + 1));
        ctx.set("luggage", "a trunk");
        ctx.clear("luggage");
        let keys = ctx.get_keys().await?;

        // Steps.
        let pack = match change {
            Change::RenamedStep => "pack everything",
            _ => "pack",
        };
        let packed = if change == Change::SwappedSteps {
            step(ctx, "lock", 2).await?;
            step(ctx, pack, 1).await?
        } else {
            let packed = step(ctx, pack, 1).await?;
            if change != Change::RemovedStep {
                step(ctx, "lock", 2).await?;
            }
            packed
        };
        let no = || TerminalError::new("no").with_code(403);
        let bribe = ctx.run("bribe", async || Err::<u64, _>(no()));
        let refused = bribe.await.err();

        // Calls, sends, a timer; a key that is random and the same in each attempt.
        let guide = ctx.service_client::<GuideClient>();
        let advice = guide.advise(name).await?;
        let key = ctx.random().uuid().to_string();
        let sent = guide
            .advise("later".to_owned())
            .idempotency_key(&key)
            .send();
        let tomorrow = Duration::from_secs(86_400);
        guide.advise("tomorrow".to_owned()).send_after(tomorrow);
        let (rested, hint) = durably::join!(
            ctx.sleep(Duration::from_millis(20)),
            guide.advise("rest".to_owned()).call(),
        );
        rested?;

        // Handles of other invocations.
        let attached: String = sent.await?.attach().await?;
        let target = Target::service("Guide", "advise");
        let by_key = ctx.idempotent_invocation(target, &key);
        let output = by_key.output::<String>().await?;

        // An awakeable that it completes itself, a promise, a signal to itself.
        let awakeable = ctx.awakeable::<u64>();
        ctx.resolve_awakeable(awakeable.id(), &7)?;
        let woken = awakeable.await?;
        let ticket = ctx.promise::<u64>("ticket");
        let before = ticket.peek().await?;
        ticket.resolve(&4711).await?;
        let number = match change {
            Change::ResultType => ctx.promise::<Vec<u64>>("ticket").await?.len() as u64,
            _ => ticket.await?,
        };
        let own = ctx.invocation(ctx.invocation_id())?;
        own.resolve_signal("whistle", "tweet");
        let heard = ctx.signal::<String>("whistle").await?;

        // A call that it gives up.
        let slow = guide.ponder().call();
        slow.cancel().await?;
        let given_up = slow.await.err();

        // The wait, for a promise or a signal.
        ctx.set("status", "waiting");
        let signal = match change {
            Change::OtherSignal => "gong",
            _ => "bell",
        };
        let decision = durably::select! {
            decision = ctx.promise::<String>("decision") => decision?,
            _ = ctx.signal::<()>(signal) => signal.to_owned(),
        };
        if change == Change::MoreAtTheEnd {
            step(ctx, "unpack", 9).await?;
        }
        let status = ctx.get::<String>("status").await?;
        ctx.clear_all();
        let (refused, given_up) = (code(refused), code(given_up));
        let hint = hint?;
        let end = match change {
            Change::OtherOutput => "!",
            _ => ".",
        };
        Ok(format!(
            "{decision} after {status:?}: visit {visits} with {keys:?} and {packed}, refused {refused}; {advice}, {hint}, \
             {attached}, {output:?}; woken {woken}, ticket {before:?} {number}, {heard}, given up {given_up}{end}"
        ))
    }

    #[handler]
    async fn decide(&self, ctx: &SharedWorkflowContext, how: String) -> HandlerResult<()> {
        Ok(ctx.promise::<String>("decision").resolve(&how).await?)
    }
}

fn code(error: Option<TerminalError>) -> u16 {
    error.map_or(0, |error| error.code())
}

async fn step(ctx: &Context, name: &str, value: u64) -> Result<u64, TerminalError> {
    let work = async || Ok::<_, std::io::Error>(value);
    ctx.run(name, work).await
}

pub(crate) struct Guide;

#[durably::service]
impl Guide {
    #[handler]
    async fn advise(&self, _ctx: &Context, about: String) -> HandlerResult<String> {
        Ok(format!("take care of {about}"))
    }

    /// Takes for ever.
    #[handler]
    async fn ponder(&self, ctx: &Context) -> HandlerResult<()> {
        Ok(ctx.awakeable::<()>().await?)
    }

    /// Steps with random names.
    #[handler]
    async fn guess(&self, ctx: &Context) -> HandlerResult<u64> {
        let first = step(ctx, &ctx.random().uuid().to_string(), 1).await?;
        let second = step(ctx, &ctx.random().uuid().to_string(), 2).await?;
        Ok(first + second)
    }
}
