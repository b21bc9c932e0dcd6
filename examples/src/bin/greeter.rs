//! A service: handlers without a key and without state.
//!
//! `cargo run -p durably-examples --bin greeter` shows it at work; with the argument `serve` it only
//! serves.

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
        // A timer: the server keeps it, also while this process is not there.
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

// What follows calls the handlers from outside, as any client of the server would.

use anyhow::ensure;
use durably_examples::Demo;

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    let ingress = demo.ingress();

    demo.step("Call it, and wait for the result");
    let greeting: String = ingress.call("Greeter", "greet", "Ada").await?;
    demo.say(format!("Greeter/greet \"Ada\"    → {greeting:?}"));
    ensure!(greeting == "Hello, Countess Ada!", "got {greeting:?}");

    demo.step("Send it, do something else, and fetch the result later");
    let sent = ingress.send("Greeter", "greet", "Grace").await?;
    demo.say(format!(
        "Greeter/greet \"Grace\"  → accepted as {}",
        sent.invocation_id
    ));
    let early: Option<String> = ingress.output(&sent.invocation_id).await?;
    demo.say(format!("its result now         → {early:?}"));
    let greeting: String = ingress.attach(&sent.invocation_id).await?;
    demo.say(format!("its result, awaited    → {greeting:?}"));
    ensure!(greeting == "Hello, Rear Admiral Grace!", "got {greeting:?}");

    demo.step("Call it twice with the same idempotency key: that is one invocation");
    let request = ingress
        .service("Greeter", "greet")
        .idempotency_key("click-1")
        .json("Alan");
    let (first, second) = tokio::try_join!(request.clone().call_raw(), request.call_raw())?;
    let ids = (first.invocation_id(), second.invocation_id());
    demo.say(format!("the first call         → {}", ids.0.unwrap_or("?")));
    demo.say(format!("the second call        → {}", ids.1.unwrap_or("?")));
    ensure!(
        ids.0.is_some() && ids.0 == ids.1,
        "two invocations: {ids:?}"
    );

    demo.step("Call it with an input that it refuses");
    let refused = ingress.call::<String>("Greeter", "greet", "").await;
    let Err(error) = refused else {
        anyhow::bail!("it was accepted")
    };
    demo.say(format!("Greeter/greet \"\"       → {error}"));
    ensure!(
        error.status() == Some(400),
        "not the status of a bad request"
    );
    Ok(())
}
