//! A service: handlers without a key and without state.
//!
//! `cargo run -p durably-examples --bin greeter` shows it at work on the local runtime, with the argument `--server` on a
//! real Restate server; with `local` or `serve` it only runs or serves the handlers.

use durably::prelude::*;

struct Greeter;

/// Greets people.
#[durably::service]
impl Greeter {
    /// Greets somebody, after a nap.
    #[handler]
    async fn greet(&self, ctx: &Context, name: String) -> HandlerResult<String> {
        if name.is_empty() {
            // Terminal: trying again would not help, so the caller gets this error.
            return Err(TerminalError::new("whom shall I greet?")
                .with_code(400)
                .into());
        }
        // A step: its result is recorded, so it is not repeated after a crash.
        let title = ctx
            .run("look up the title", || look_up_title(&name))
            .await?;
        // A timer: the runtime keeps it, also while this process is not there.
        ctx.sleep(Duration::from_millis(500)).await?;
        Ok(format!("Hello, {title} {name}!"))
    }
}

/// Stands for a request to another system. If it fails, it is tried again.
async fn look_up_title(name: &str) -> std::io::Result<String> {
    let title = match name {
        "Ada" => "Countess",
        "Grace" => "Rear Admiral",
        _ => "dear",
    };
    Ok(title.to_owned())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let endpoint = Endpoint::builder().bind(Greeter).build();
    durably_examples::run(endpoint, demonstrate).await
}

// What follows calls the handlers from outside, as any client would.

use anyhow::{Context as _, ensure};
use durably_examples::Demo;

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    let greeter = demo.client().service::<GreeterClient>();

    demo.step("Call it, and wait for the result");
    let greeting = greeter.greet("Ada".to_owned()).await?;
    demo.say(format!("Greeter/greet \"Ada\"    → {greeting:?}"));
    ensure!(greeting == "Hello, Countess Ada!", "got {greeting:?}");

    demo.step("Send it, do something else, and fetch the result later");
    let sent = greeter.greet("Grace".to_owned()).send().await?;
    demo.say(format!(
        "Greeter/greet \"Grace\"  → accepted as {}",
        sent.id()
    ));
    let early = sent.output().await?;
    demo.say(format!("its result now         → {early:?}"));
    let greeting = sent.attach().await?;
    demo.say(format!("its result, awaited    → {greeting:?}"));
    ensure!(greeting == "Hello, Rear Admiral Grace!", "got {greeting:?}");

    demo.step("Call it twice with the same idempotency key: that is one invocation");
    let call = async || {
        let request = greeter.greet("Alan".to_owned()).idempotency_key("click-1");
        let response = request.call_with_response().await?;
        response.invocation_id().context("the answer has no id")
    };
    let (first, second) = tokio::try_join!(call(), call())?;
    demo.say(format!("the first call         → {first}"));
    demo.say(format!("the second call        → {second}"));
    ensure!(first == second, "two invocations");

    demo.step("Call it with an input that it refuses");
    let Err(error) = greeter.greet(String::new()).await else {
        anyhow::bail!("it was accepted")
    };
    demo.say(format!("Greeter/greet \"\"       → {error}"));
    ensure!(
        error.as_terminal().is_some_and(|error| error.code() == 400),
        "not the status of a bad request"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, service};

    use super::*;

    /// The handler alone: its step runs for real, its nap takes no time.
    #[tokio::test]
    async fn greets_by_title() {
        let mock = MockContext::service();
        let greeting = mock
            .call(async |ctx| Greeter.greet(ctx, "Ada".to_owned()).await)
            .await;
        assert_eq!(greeting.unwrap(), "Hello, Countess Ada!");
        assert_eq!(mock.sleeps(), [Duration::from_millis(500)]);
    }

    /// The step replaced by its result: nobody is asked.
    #[tokio::test]
    async fn uses_whatever_title_it_finds() {
        let mock = MockContext::service().forbid_runs();
        mock.run("look up the title").returns("Captain");
        let greeting = mock
            .call(async |ctx| Greeter.greet(ctx, "Alan".to_owned()).await)
            .await;
        assert_eq!(greeting.unwrap(), "Hello, Captain Alan!");
    }

    #[tokio::test]
    async fn greets_nobody_without_a_name() {
        let mock = MockContext::service();
        let refused = mock
            .call(async |ctx| Greeter.greet(ctx, String::new()).await)
            .await;
        assert!(refused.unwrap_err().is_terminal());
        assert!(mock.runs().is_empty());
    }

    /// Through the endpoint, as a caller sees it.
    #[test]
    fn one_idempotency_key_is_one_invocation() -> Result<(), Box<dyn std::error::Error>> {
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(Greeter).build()?);
        let greet = || {
            service::<GreeterClient>()
                .greet("Alan".to_owned())
                .idempotency_key("click-1")
        };
        let first = runtime.send(greet())?;
        assert_eq!(runtime.send(greet())?, first);
        assert_eq!(runtime.attach::<String>(&first)?, "Hello, dear Alan!");
        assert_eq!(runtime.invocations().len(), 1);
        Ok(())
    }

    #[test]
    fn a_caller_gets_the_reason() -> Result<(), Box<dyn std::error::Error>> {
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(Greeter).build()?);
        let refused = runtime.call(service::<GreeterClient>().greet(String::new()));
        let error = refused.unwrap_err();
        assert_eq!(error.code(), 400);
        assert_eq!(error.message(), "whom shall I greet?");
        Ok(())
    }
}
