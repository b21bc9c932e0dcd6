//! Handlers for the `attempt` target, one of each kind of use. None of them panics.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, pending},
    stream::FuturesUnordered,
};

use crate::{
    HandlerError, HandlerResult, KafkaEvent, Raw, RetryPolicy, RetryableError, Target,
    TerminalError, WorkflowContext,
    context::FromAttempt as _,
    payload::{FromInput as _, Input},
    service::HandlerFn,
};

type Handler = for<'a> fn(&'a WorkflowContext, Input) -> BoxFuture<'a, HandlerResult<Bytes>>;

/// By number; the last one may wait for what is no part of the journal.
pub(super) const HANDLERS: [Handler; 8] = [
    |ctx, _| everything(ctx).boxed(),
    |ctx, _| state(ctx).boxed(),
    |ctx, _| race(ctx).boxed(),
    |ctx, _| runs(ctx).boxed(),
    |ctx, input| typed(ctx, input).boxed(),
    |ctx, _| saga(ctx).boxed(),
    |ctx, _| ephemeral(ctx).boxed(),
    |ctx, _| foreign(ctx).boxed(),
];

pub(super) const EPHEMERAL: usize = 6;
pub(super) const FOREIGN: usize = 7;

/// The handler as an endpoint has it.
pub(super) fn function(number: usize) -> HandlerFn {
    let handler = HANDLERS[number];
    Arc::new(move |attempt, input| {
        Box::pin(async move {
            let ctx = WorkflowContext::from_attempt(attempt);
            handler(&ctx, input).await
        })
    })
}

const DAY: Duration = Duration::from_secs(86_400);

/// A bit of everything; the seeds know its journal.
async fn everything(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    ctx.set("k", &1);
    let call = ctx
        .request::<_, String>(Target::service("S", "h"), 1)
        .call();
    let id = call.invocation_id().await?;
    let awakeable = ctx.awakeable::<String>();
    let (called, awoken, slept) = crate::join!(call, awakeable, ctx.sleep(Duration::ZERO));
    slept?;
    let ran = ctx
        .run("r", async || Ok::<_, TerminalError>("ran".to_owned()))
        .await?;
    let went = ctx.signal::<String>("go").await?;
    let keys = ctx.get_keys().await?;
    Ok(format!("{id} {} {} {ran} {went} {}", called?, awoken?, keys.len()).into())
}

/// Reads and writes of the state, one after the other.
async fn state(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    let a = ctx.get::<u64>("a").await?.unwrap_or_default();
    ctx.set("a", &a.wrapping_add(1));
    let keys = ctx.get_keys().await?;
    for key in keys.iter().take(8) {
        ctx.clear(key);
    }
    let (b, c) = crate::join!(ctx.get::<String>("b"), ctx.get::<Raw>("c"));
    if b?.is_some() {
        ctx.clear_all();
    }
    ctx.set("d", &c?.unwrap_or_default());
    let d = ctx.get::<Raw>("d").await?.unwrap_or_default();
    Ok(d.0)
}

/// Branches that race, are dropped, and wait again.
async fn race(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    let mut calls: FuturesUnordered<_> = (0..4)
        .map(|n| {
            ctx.request::<_, Raw>(Target::object("O", n.to_string(), "h"), n)
                .call()
        })
        .collect();
    let mut stop = ctx.signal::<Raw>("stop");
    let mut seen = 0;
    loop {
        crate::select! {
            stopped = &mut stop => {
                stopped?;
                break;
            },
            called = calls.next() => match called {
                // The body awaits while the others are not polled.
                Some(Ok(_)) => {
                    seen += 1;
                    ctx.sleep(DAY).await?;
                },
                Some(Err(error)) if error.code() == 409 => break,
                Some(Err(_)) => seen += 100,
                None => break,
            },
        }
    }
    let late = ctx.awakeable::<Raw>().or_timeout(DAY).await;
    let code = late.map_or_else(|error| error.code(), |_| 0);
    Ok(format!("{seen} {code}").into())
}

/// Runs that end in every way.
async fn runs(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    let policy = RetryPolicy::exponential(Duration::from_millis(5), 2.0).max_attempts(3);
    let terminal = ctx.run("terminal", async || {
        Err::<u8, _>(TerminalError::new("no").with_code(418))
    });
    let fine = ctx.run("fine", async || HandlerResult::Ok(7_u8));
    let (terminal, fine) = crate::join!(terminal, fine);
    let retried = ctx
        .run("retried", async || {
            Err::<u8, _>(RetryableError::new("busy").after(Duration::from_millis(3)))
        })
        .retry(policy);
    let guarded = ctx
        .run("guarded", async || {
            HandlerResult::Ok(Raw::from("large".repeat(2000)))
        })
        .or_timeout(DAY);
    let guarded = guarded.await;
    let (code, fine) = (terminal.err().map(|error| error.code()), fine?);
    if ctx.random().below(2) == 0 {
        return Err(RetryableError::new("again").pause().into());
    }
    let retried = retried.await?;
    let length = guarded.map(|raw| raw.len()).unwrap_or_default();
    Ok(format!("{code:?} {fine} {retried} {length}").into())
}

/// Typed inputs and results; promises, and what other invocations come to.
async fn typed(ctx: &WorkflowContext, input: Input) -> HandlerResult<Bytes> {
    let event = KafkaEvent::<u32>::from_input(input)?;
    let _ = (event.key_str(), event.timestamp(), ctx.scope());
    let promise = ctx.promise::<Vec<u32>>("p");
    if promise.peek().await?.is_none() {
        promise.resolve(&vec![1]).await?;
    }
    let numbers = promise.await?;
    let other = ctx.workflow_invocation("W", "key");
    let output = other.output::<String>().await?;
    let attached = match output {
        Some(output) => output,
        None => other.attach().await?,
    };
    let sent = ctx
        .request::<_, Raw>(Target::service("S", "h"), attached)
        .idempotency_key("i")
        .send_after(DAY);
    let id = sent.invocation_id().await?;
    let handle = ctx.invocation(&id)?;
    handle.resolve_signal("s", &numbers);
    handle.cancel();
    ctx.resolve_awakeable("sign_1", &7)?;
    let now = ctx.now().await?;
    Ok(format!("{now:?}").into())
}

/// Compensates when it is cancelled.
async fn saga(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    let mut done = Vec::new();
    for step in 0..3_u8 {
        let call = ctx
            .request::<_, Raw>(Target::service("S", "book"), step)
            .call();
        let checked = ctx.run("check", async || HandlerResult::Ok(1_u8));
        match crate::try_join!(call, checked) {
            Ok(_) => done.push(step),
            Err(error) if error.code() == 409 => {
                for step in done.into_iter().rev() {
                    ctx.request::<_, Raw>(Target::service("S", "cancel"), step)
                        .send();
                    ctx.run("undo", async || HandlerResult::Ok(2_u8)).await?;
                }
                return Err(error.into());
            }
            Err(error) => return Err(error.with_metadata("step", step.to_string()).into()),
        }
    }
    Ok(Bytes::from(done))
}

/// Reads of the state within a run.
async fn ephemeral(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    let read = ctx.run("read", async || {
        let (a, b) = crate::join!(
            ctx.get_ephemeral::<Raw>("a"),
            ctx.get_ephemeral::<String>("b")
        );
        let dropped = ctx.get_ephemeral::<Raw>("c");
        drop(dropped);
        Ok::<_, HandlerError>((a?.map(|raw| raw.len()), b?))
    });
    let timer = ctx.sleep(DAY);
    crate::select! {
        read = read => Ok(format!("{:?}", read?).into()),
        slept = timer => {
            slept?;
            Ok(Bytes::new())
        },
    }
}

/// Waits for something that the journal does not know, beside something that it knows.
async fn foreign(ctx: &WorkflowContext) -> HandlerResult<Bytes> {
    let signal = ctx.signal::<Raw>("go");
    crate::select! {
        gone = signal => { gone?; },
        () = pending() => {},
    }
    pending::<()>().await;
    Ok(Bytes::new())
}
