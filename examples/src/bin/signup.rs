//! A workflow: it runs once for each key, and other handlers talk to it while it does.
//!
//! `cargo run -p durably-examples --bin signup` shows it at work on the local runtime, with the argument `--server` on a
//! real Restate server; with `local` or `serve` it only runs or serves the handlers.

use durably::prelude::*;
use serde::{Deserialize, Serialize};

struct Signup;

#[derive(Debug, Serialize, Deserialize)]
struct Application {
    email: String,
    /// How long somebody may take to approve it.
    patience_seconds: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Approved { by: String },
    TimedOut,
}

/// Signs somebody up as soon as it is approved; the key is the user's name.
#[durably::workflow]
impl Signup {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, application: Application) -> HandlerResult<Outcome> {
        let Application {
            email,
            patience_seconds,
        } = application;
        ctx.run("ask for approval", || {
            send_mail("approver@example.com", &email)
        })
        .await?;
        ctx.set("status", "waiting for approval");

        let outcome = durably::select! {
            by = ctx.promise::<String>("approved") => Outcome::Approved { by: by? },
            _ = ctx.sleep(Duration::from_secs(patience_seconds)) => Outcome::TimedOut,
        };

        ctx.run("tell the user", || send_mail(&email, "your sign-up"))
            .await?;
        ctx.set("status", "done");
        Ok(outcome)
    }

    /// Approves the sign-up. Called from outside while `run` waits.
    #[handler]
    async fn approve(&self, ctx: &SharedWorkflowContext, by: String) -> HandlerResult<()> {
        ctx.promise::<String>("approved").resolve(&by).await?;
        Ok(())
    }

    /// How far it is.
    #[handler]
    async fn status(&self, ctx: &SharedWorkflowContext) -> HandlerResult<String> {
        Ok(ctx
            .get::<String>("status")
            .await?
            .unwrap_or_else(|| "not started".to_owned()))
    }
}

/// Stands for a request to a mail service.
async fn send_mail(_to: &str, _about: &str) -> std::io::Result<()> {
    Ok(())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let endpoint = Endpoint::builder().bind(Signup).build();
    durably_examples::run(endpoint, demonstrate).await
}

// What follows calls the handlers from outside, as any client would.

use anyhow::ensure;
use durably::ingress::SendStatus;
use durably_examples::Demo;

async fn demonstrate(demo: &Demo) -> anyhow::Result<()> {
    let signup = |name: &str| demo.client().workflow::<SignupClient>(name);
    let application = |email: &str, patience_seconds| Application {
        email: email.to_owned(),
        patience_seconds,
    };

    demo.step("Start a sign-up that may wait for a day");
    let ada = || signup("ada").run(application("ada@example.com", 24 * 60 * 60));
    ada().send().await?;
    wait_for_status(demo, "ada", "waiting for approval").await?;
    demo.say_when("Signup/ada/status           → \"waiting for approval\"");

    demo.step("Approve it, by another handler of the same workflow");
    signup("ada").approve("Grace".to_owned()).await?;
    demo.say_when("Signup/ada/approve \"Grace\"");
    let outcome = ada().attach().await?;
    demo.say_when(format!("Signup/ada                  → {outcome:?}"));
    ensure!(
        outcome
            == Outcome::Approved {
                by: "Grace".to_owned()
            },
        "not approved by Grace"
    );

    demo.step("Start it once more: a workflow runs once for its key");
    let again = ada().send().await?.status() == SendStatus::PreviouslyAccepted;
    let word = if again {
        "it has run already"
    } else {
        "it was started anew"
    };
    demo.say_when(format!("Signup/ada/run              → {word}"));
    ensure!(again, "the workflow ran twice");

    demo.step("Start a sign-up that nobody approves");
    let bob = application("bob@example.com", 2);
    let sent = signup("bob").run(bob).send().await?;
    let outcome = sent.attach().await?;
    demo.say_when(format!("Signup/bob                  → {outcome:?}"));
    ensure!(outcome == Outcome::TimedOut, "it did not time out");
    wait_for_status(demo, "bob", "done").await?;
    demo.say_when("Signup/bob/status           → \"done\"");
    Ok(())
}

async fn wait_for_status(demo: &Demo, key: &str, wanted: &str) -> anyhow::Result<()> {
    let wait = async {
        loop {
            let signup = demo.client().workflow::<SignupClient>(key);
            let status = signup.status().await?;
            if status == wanted {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), wait).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("Signup/{key} does not reach the status {wanted:?}"),
    }
}

#[cfg(test)]
mod tests {
    use durably::testing::{MockContext, TestRuntime, workflow};

    use super::*;

    fn application() -> Application {
        Application {
            email: "ada@example.com".to_owned(),
            patience_seconds: 24 * 60 * 60,
        }
    }

    #[tokio::test]
    async fn is_done_when_somebody_approves() {
        let mock = MockContext::workflow("ada").forbid_runs();
        mock.run("ask for approval").returns(&());
        mock.run("tell the user").returns(&());
        mock.promise("approved").returns("Grace");

        let outcome = mock
            .call(async |ctx| Signup.run(ctx, application()).await)
            .await;

        let by = "Grace".to_owned();
        assert_eq!(outcome.unwrap(), Outcome::Approved { by });
        assert_eq!(mock.runs(), ["ask for approval", "tell the user"]);
        assert_eq!(mock.get::<String>("status").as_deref(), Some("done"));
    }

    /// A day passes in no time.
    #[tokio::test]
    async fn gives_up_after_the_time_that_was_set() {
        let mock = MockContext::workflow("ada");
        mock.promise("approved").never();

        let outcome = mock
            .call(async |ctx| Signup.run(ctx, application()).await)
            .await;

        assert_eq!(outcome.unwrap(), Outcome::TimedOut);
        assert_eq!(mock.sleeps(), [Duration::from_secs(24 * 60 * 60)]);
    }

    /// Step by step: what the handler has done while it waits.
    #[tokio::test]
    async fn tells_its_status_while_it_waits() {
        let mock = MockContext::workflow("ada").manual_time();
        let mut running = mock.start(async |ctx| Signup.run(ctx, application()).await);

        running.advance(Duration::from_secs(60 * 60));
        let status = mock.get::<String>("status");
        assert_eq!(status.as_deref(), Some("waiting for approval"));

        running.resolve_promise("approved", "Grace");
        assert!(running.finish().await.is_ok());
    }

    #[tokio::test]
    async fn an_approval_resolves_the_promise() {
        let mock = MockContext::shared_workflow("ada");
        let approved = mock
            .call(async |ctx| Signup.approve(ctx, "Grace".to_owned()).await)
            .await;
        assert!(approved.is_ok());
        assert_eq!(
            mock.promise_result("approved"),
            Some(Ok("Grace".to_owned()))
        );
    }

    /// All handlers together: one waits, the others talk to it.
    #[test]
    fn runs_once_whoever_approves() -> Result<(), Box<dyn std::error::Error>> {
        let mut runtime = TestRuntime::new(Endpoint::builder().bind(Signup).build()?);
        let ada = || workflow::<SignupClient>("ada");
        let id = runtime.send(ada().run(application()))?;
        runtime.advance(Duration::from_secs(60 * 60));
        assert_eq!(runtime.call(ada().status())?, "waiting for approval");

        runtime.call(ada().approve("Grace".to_owned()))?;
        let by = "Grace".to_owned();
        assert_eq!(runtime.attach::<Outcome>(&id)?, Outcome::Approved { by });
        assert_eq!(runtime.call(ada().status())?, "done");

        // It has run; and the promise is resolved for good.
        let again = runtime.call(ada().run(application()));
        assert_eq!(again.unwrap_err().code(), 409);
        let late = runtime.call(ada().approve("Alan".to_owned()));
        assert_eq!(late.unwrap_err().code(), 409);
        Ok(())
    }
}
