//! `VirtualObjectCommandInterpreter`: executes little programs of awaits and combinators.

use durably::{StateKey, prelude::*};
use futures::future::{BoxFuture, join_all, select_all, select_ok, try_join_all};
use serde::{Deserialize, Serialize};

const RESULTS: StateKey<Vec<String>> = StateKey::new("results");

pub(crate) struct VirtualObjectCommandInterpreter;

#[derive(Deserialize, Serialize)]
pub(crate) struct Program {
    commands: Vec<Command>,
}

#[derive(Deserialize, Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Command {
    AwaitOne {
        command: Awaitable,
    },
    #[serde(alias = "awaitFirstCompleted")]
    AwaitAny {
        commands: Vec<Awaitable>,
    },
    #[serde(alias = "awaitFirstSucceededOrAllFailed")]
    AwaitAnySuccessful {
        commands: Vec<Awaitable>,
    },
    AwaitAllSucceededOrFirstFailed {
        commands: Vec<Awaitable>,
    },
    AwaitAllCompleted {
        commands: Vec<Awaitable>,
    },
    AwaitAwakeableOrTimeout {
        awakeable_key: String,
        timeout_millis: u64,
    },
    ResolveAwakeable(ResolveAwakeable),
    RejectAwakeable(RejectAwakeable),
    GetEnvVariable {
        env_name: String,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum Awaitable {
    CreateAwakeable { awakeable_key: String },
    CreateSignal { signal_name: String },
    Sleep { timeout_millis: u64 },
    RunReturns { value: String },
    RunThrowTerminalException { reason: String },
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResolveAwakeable {
    awakeable_key: String,
    value: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RejectAwakeable {
    awakeable_key: String,
    reason: String,
}

/// What an awaitable command comes to, whatever it waits for.
type Started<'a> = BoxFuture<'a, Result<String, TerminalError>>;

#[durably::object]
impl VirtualObjectCommandInterpreter {
    #[handler(name = "interpretCommands")]
    async fn interpret_commands(
        &self,
        ctx: &ObjectContext,
        program: Program,
    ) -> HandlerResult<String> {
        let mut last = String::new();
        for command in program.commands {
            last = execute(ctx, command).await?;
            let mut results = self.get_results(ctx).await?;
            results.push(last.clone());
            ctx.set(RESULTS, &results);
        }
        Ok(last)
    }

    #[handler(name = "resolveAwakeable")]
    async fn resolve_awakeable(
        &self,
        ctx: &SharedObjectContext,
        input: ResolveAwakeable,
    ) -> HandlerResult<()> {
        Ok(resolve(ctx, input).await?)
    }

    #[handler(name = "rejectAwakeable")]
    async fn reject_awakeable(
        &self,
        ctx: &SharedObjectContext,
        input: RejectAwakeable,
    ) -> HandlerResult<()> {
        Ok(reject(ctx, input).await?)
    }

    #[handler(name = "hasAwakeable")]
    async fn has_awakeable(
        &self,
        ctx: &SharedObjectContext,
        awakeable_key: String,
    ) -> HandlerResult<bool> {
        let id = ctx.get::<String>(awakeable_state(&awakeable_key)).await?;
        Ok(id.is_some())
    }

    #[handler(name = "getResults")]
    async fn get_results(&self, ctx: &SharedObjectContext) -> HandlerResult<Vec<String>> {
        Ok(ctx.get(RESULTS).await?.unwrap_or_default())
    }
}

async fn execute(ctx: &ObjectContext, command: Command) -> Result<String, TerminalError> {
    match command {
        Command::AwaitOne { command } => start(ctx, command).await,
        Command::AwaitAny { commands } => select_all(start_some(ctx, commands)?).await.0,
        Command::AwaitAnySuccessful { commands } => {
            let (value, _) = select_ok(start_some(ctx, commands)?).await?;
            Ok(value)
        }
        Command::AwaitAllSucceededOrFirstFailed { commands } => {
            let values = try_join_all(start_all(ctx, commands)).await?;
            Ok(values.join("|"))
        }
        Command::AwaitAllCompleted { commands } => {
            let results = join_all(start_all(ctx, commands)).await;
            let results = results.into_iter().map(|result| match result {
                Ok(value) => format!("ok:{value}"),
                Err(error) => format!("err:{}", error.message()),
            });
            Ok(results.collect::<Vec<_>>().join("|"))
        }
        Command::AwaitAwakeableOrTimeout {
            awakeable_key,
            timeout_millis,
        } => {
            let awakeable = start(ctx, Awaitable::CreateAwakeable { awakeable_key });
            let timeout = ctx.sleep(Duration::from_millis(timeout_millis));
            durably::select! {
                result = awakeable => result,
                slept = timeout => {
                    slept?;
                    Err(TerminalError::new("await-timeout"))
                }
            }
        }
        Command::ResolveAwakeable(input) => {
            resolve(ctx, input).await?;
            Ok(String::new())
        }
        Command::RejectAwakeable(input) => {
            reject(ctx, input).await?;
            Ok(String::new())
        }
        Command::GetEnvVariable { env_name } => {
            ctx.run("read the environment", async || {
                let value = std::env::var_os(env_name).unwrap_or_default();
                HandlerResult::Ok(value.to_string_lossy().into_owned())
            })
            .await
        }
    }
}

/// Starts a command now; what it comes to is awaited later, or never.
fn start(ctx: &ObjectContext, command: Awaitable) -> Started<'_> {
    match command {
        Awaitable::CreateAwakeable { awakeable_key } => {
            let awakeable = ctx.awakeable::<String>();
            ctx.set(awakeable_state(&awakeable_key), awakeable.id());
            Box::pin(awakeable)
        }
        Awaitable::CreateSignal { signal_name } => Box::pin(ctx.signal::<String>(&signal_name)),
        Awaitable::Sleep { timeout_millis } => {
            let sleep = ctx.sleep(Duration::from_millis(timeout_millis));
            Box::pin(async { sleep.await.map(|()| "sleep".to_owned()) })
        }
        Awaitable::RunReturns { value } => Box::pin(ctx.run("return", async || {
            tokio::time::sleep(Duration::from_millis(1)).await;
            HandlerResult::Ok(value)
        })),
        Awaitable::RunThrowTerminalException { reason } => {
            Box::pin(ctx.run("throw", async || Err(TerminalError::new(reason))))
        }
    }
}

fn start_all(ctx: &ObjectContext, commands: Vec<Awaitable>) -> Vec<Started<'_>> {
    commands
        .into_iter()
        .map(|command| start(ctx, command))
        .collect()
}

/// [`start_all`] for what cannot come to an end without at least one command.
fn start_some(
    ctx: &ObjectContext,
    commands: Vec<Awaitable>,
) -> Result<Vec<Started<'_>>, TerminalError> {
    if commands.is_empty() {
        return Err(TerminalError::new("there is nothing to await").with_code(400));
    }
    Ok(start_all(ctx, commands))
}

async fn resolve(ctx: &SharedObjectContext, input: ResolveAwakeable) -> Result<(), TerminalError> {
    let id = registered_awakeable(ctx, &input.awakeable_key).await?;
    ctx.resolve_awakeable(&id, &input.value)
}

async fn reject(ctx: &SharedObjectContext, input: RejectAwakeable) -> Result<(), TerminalError> {
    let id = registered_awakeable(ctx, &input.awakeable_key).await?;
    ctx.reject_awakeable(&id, TerminalError::new(input.reason))
}

async fn registered_awakeable(
    ctx: &SharedObjectContext,
    awakeable_key: &str,
) -> Result<String, TerminalError> {
    let id = ctx.get::<String>(awakeable_state(awakeable_key)).await?;
    id.ok_or_else(|| TerminalError::new("Awakeable is not registered yet"))
}

fn awakeable_state(awakeable_key: &str) -> String {
    format!("awk-{awakeable_key}")
}
