//! Crashes: handler processes and servers that are killed in the middle of their work. No step is
//! lost, and none that was recorded is taken again.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use durably::test_server::{ProcessUnderTest, free_port};
use durably::{HttpServer, prelude::*};

use crate::calls::{Adder, AdderClient};
use crate::drain::Drained;
use crate::harness::{Env, Result, endpoint, eventually, ms, serve_in};
use crate::suite::{SERVER, Suite, block_on};

/// Tells this binary, run once more, to serve: the port, the service and the file for traces.
const CHILD: &str = "DURABLY_E2E_CHILD";

/// A process that serves the handlers that are killed.
pub(crate) struct Child {
    pub(crate) process: ProcessUnderTest,
    traces: tempfile::TempDir,
}

impl Child {
    /// Starts this binary once more, to [`serve_child`], and registers it.
    ///
    /// A service is at home in one deployment: tests that run side by side must not register the same
    /// one on the same server.
    pub(crate) async fn start(env: &Env, service: &str) -> Result<Self> {
        let traces = tempfile::tempdir()?;
        let port = free_port()?;
        let role = format!(
            "{port} {service} {}",
            traces.path().join("traces").display()
        );
        let process = ProcessUnderTest::builder(std::env::current_exe()?)
            .env(CHILD, role)
            .spawn()?;
        let uri = format!("http://127.0.0.1:{port}");
        env.mode.register(env.server(), &uri).await?;
        Ok(Self { process, traces })
    }

    /// All lines traced so far, over all runs of the process.
    pub(crate) fn traces(&self) -> Vec<String> {
        traces(&self.traces.path().join("traces"))
    }

    /// Waits until a line has been traced.
    pub(crate) async fn traced(&self, line: &str) -> Result {
        traced(&self.traces.path().join("traces"), line).await
    }
}

fn traces(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn traced(file: &Path, line: &str) -> Result {
    let what = format!("the trace `{line}`");
    eventually(&what, async || {
        Ok(traces(file).iter().any(|trace| trace == line).then_some(()))
    })
    .await
}

/// What this binary does when [`Child`] starts it again; none if it is not such a process.
pub(crate) fn serve_child() -> Option<ExitCode> {
    let role = std::env::var(CHILD).ok()?;
    let Ok(()) = block_on(serve(&role));
    Some(ExitCode::SUCCESS)
}

async fn serve(role: &str) -> Result {
    tracing_subscriber::fmt()
        .with_env_filter("durably=debug")
        .with_ansi(false)
        .init();
    let mut words = role.splitn(3, ' ');
    let mut word = || words.next().ok_or("no port, service and file");
    let (port, service, traces) = (word()?, word()?, PathBuf::from(word()?));
    let services = endpoint(|builder| match service {
        "Journey" => builder.bind(Journey { traces }),
        _ => builder.bind(Drained { traces }),
    });
    HttpServer::new(services)
        .listen(format!("127.0.0.1:{port}"))
        .await?;
    Ok(())
}

/// Appends a line to the traces, past the journal.
pub(crate) fn trace(file: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    // One write, so that no line is torn.
    file.write_all(format!("{line}\n").as_bytes())
}

struct Journey {
    traces: PathBuf,
}

#[durably::service]
impl Journey {
    /// Takes steps; each leaves a trace when it is taken, and one when it is known to be recorded.
    #[handler]
    async fn travel(&self, ctx: &Context, (key, steps): (String, u64)) -> HandlerResult<Vec<u64>> {
        let mut lucky = Vec::new();
        for n in 0..steps {
            let number = ctx
                .run(format!("step {n}"), async || {
                    trace(&self.traces, &format!("{key} step {n}"))?;
                    Ok::<_, std::io::Error>(n * n)
                })
                .await?;
            trace(&self.traces, &format!("{key} recorded {n}"))?;
            lucky.push(number);
            durably::try_join!(
                ctx.sleep(ms(10)),
                ctx.object_client::<AdderClient>(&key).add(number),
            )?;
        }
        Ok(lucky)
    }
}

const STEPS: u64 = 12;

fn squares() -> Vec<u64> {
    (0..STEPS).map(|n| n * n).collect()
}

/// Every step was taken, and none again once it was known to be recorded. (One that is cut off before
/// that is taken again.)
fn assert_recorded_once(traces: &[String], key: &str) {
    for n in 0..STEPS {
        let taken = traces
            .iter()
            .rposition(|trace| *trace == format!("{key} step {n}"));
        let recorded = traces
            .iter()
            .position(|trace| *trace == format!("{key} recorded {n}"));
        assert!(
            taken.is_some() && taken < recorded,
            "{key}, step {n}: {traces:?}"
        );
    }
}

async fn kill_between_steps(env: &Env, child: &Child) -> Result {
    let ingress = env.ingress();
    let input = ("between", STEPS);
    let sent = ingress.send("Journey", "travel", &input).await?;
    for step in [1, 4, 5, 9] {
        child.traced(&format!("between recorded {step}")).await?;
        child.process.kill9();
        child.process.restart()?;
    }
    arrived(env, child, "between", &sent.invocation_id).await
}

async fn kill_at_any_time(env: &Env, child: &Child) -> Result {
    let ingress = env.ingress();
    let mut sent = Vec::new();
    for n in 0..5 {
        let key = format!("any {n}");
        let id = ingress
            .send("Journey", "travel", &(&key, STEPS))
            .await?
            .invocation_id;
        sent.push((key, id));
    }
    for round in 0..4 {
        tokio::time::sleep(ms(110 + 13 * round)).await;
        child.process.kill9();
        child.process.restart()?;
    }
    for (key, id) in &sent {
        arrived(env, child, key, id).await?;
    }
    Ok(())
}

/// What was called was called once, however often the caller was killed.
async fn arrived(env: &Env, child: &Child, key: &str, id: &str) -> Result {
    let lucky: Vec<u64> = env.ingress().attach(id).await?;
    assert_eq!(lucky, squares());
    let sum: u64 = env.ingress().call_object("Adder", key, "sum", &()).await?;
    assert_eq!(sum, squares().iter().sum::<u64>());
    assert_recorded_once(&child.traces(), key);
    Ok(())
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("the_handlers_process_is_killed", SERVER, async |env| {
        let child = Child::start(env, "Journey").await?;
        kill_between_steps(env, &child).await?;
        kill_at_any_time(env, &child).await
    });

    suite.alone("the_server_is_killed", SERVER, async |mode| {
        let server = mode.server().start().await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("traces");
        let journey = Journey {
            traces: file.clone(),
        };
        let services = endpoint(|builder| builder.bind(Adder).bind(journey));
        let _served = serve_in(mode, &server, services).await?;
        let sent = server
            .ingress()
            .send("Journey", "travel", &("server", STEPS))
            .await?;
        for step in [2, 7] {
            traced(&file, &format!("server recorded {step}")).await?;
            server.kill9();
            server.restart().await?;
        }
        let lucky: Vec<u64> = server.ingress().attach(&sent.invocation_id).await?;
        assert_eq!(lucky, squares());
        let sum: u64 = server
            .ingress()
            .call_object("Adder", "server", "sum", &())
            .await?;
        assert_eq!(sum, squares().iter().sum::<u64>());
        assert_recorded_once(&traces(&file), "server");
        Ok(())
    });
}
