//! The embedded runtime as its user has it: handlers in this process, asked over HTTP, a journal that outlives
//! the runtime.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use durably::{
    ingress::IngressClient,
    local::{Fsync, LocalError, LocalRuntime, LocalRuntimeBuilder, StoreError},
    prelude::*,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// How often closures were executed.
static DONE: AtomicUsize = AtomicUsize::new(0);

struct Steps;

#[durably::object]
impl Steps {
    #[handler]
    async fn three(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let first = ctx.run("first", async || step(n)).await?;
        ctx.sleep(Duration::from_millis(5)).await?;
        let second = ctx.run("second", async || step(first)).await?;
        let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + second;
        ctx.set("sum", &sum);
        Ok(sum)
    }

    /// Goes on when somebody says so.
    #[handler]
    async fn wait(&self, ctx: &ObjectContext) -> HandlerResult<u64> {
        ctx.run("before", async || step(0)).await?;
        let awakeable = ctx.awakeable::<u64>();
        ctx.set("awakeable", awakeable.id());
        Ok(awakeable.await?)
    }

    #[handler]
    async fn awakeable(&self, ctx: &SharedObjectContext) -> HandlerResult<Option<String>> {
        Ok(ctx.get("awakeable").await?)
    }

    #[handler]
    async fn nap(&self, ctx: &ObjectContext, millis: u64) -> HandlerResult<()> {
        Ok(ctx.sleep(Duration::from_millis(millis)).await?)
    }
}

fn step(n: u64) -> Result<u64, std::io::Error> {
    DONE.fetch_add(1, Ordering::SeqCst);
    Ok(n + 1)
}

fn builder(path: &Path) -> LocalRuntimeBuilder {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = Endpoint::builder().bind(Steps).build().unwrap();
    let builder = LocalRuntime::builder(endpoint).path(path);
    builder.ingress(free).admin(free)
}

async fn start(path: &Path) -> Result<(LocalRuntime, IngressClient)> {
    let runtime = builder(path).start().await?;
    let client = IngressClient::new(runtime.ingress_url())?;
    Ok((runtime, client))
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_there_after_a_restart() -> Result {
    let folder = tempfile::tempdir()?;
    for sum in [3, 6, 9] {
        let (runtime, client) = start(folder.path()).await?;
        let steps = client.object::<StepsClient<_>>("ada");
        assert_eq!(steps.three(1).call().await?, sum);
        runtime.shutdown().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_goes_on_after_a_restart() -> Result {
    let folder = tempfile::tempdir()?;
    let (runtime, client) = start(folder.path()).await?;
    let steps = client.object::<StepsClient<_>>("bob");
    let id = steps.wait().send().await?;
    let awakeable = loop {
        match steps.awakeable().call().await? {
            Some(id) => break id,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let executed = DONE.load(Ordering::SeqCst);
    assert!(executed > 0);
    runtime.shutdown().await?;
    let (runtime, client) = start(folder.path()).await?;
    client.resolve_awakeable(&awakeable, &7).await?;
    let outcome: u64 = client.invocation(id.id()).attach().await?;
    assert_eq!(outcome, 7);
    runtime.shutdown().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_that_fell_due_fire_at_the_start() -> Result {
    let folder = tempfile::tempdir()?;
    let (runtime, client) = start(folder.path()).await?;
    let steps = client.object::<StepsClient<_>>("eve");
    let id = steps.nap(300).send().await?;
    while !look(&runtime, id.id().as_str())
        .await?
        .contains("\"Sleep\"")
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    runtime.shutdown().await?;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (runtime, client) = start(folder.path()).await?;
    client.invocation(id.id()).attach::<()>().await?;
    runtime.shutdown().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_belongs_to_one_process() -> Result {
    let folder = tempfile::tempdir()?;
    let (runtime, _) = start(folder.path()).await?;
    let second = builder(folder.path()).fsync(Fsync::Never).start().await;
    assert!(matches!(second, Err(LocalError::Store(_))), "{second:?}");
    runtime.shutdown().await?;
    builder(folder.path()).start().await?.shutdown().await?;
    Ok(())
}

/// On one thread, where who lets go of the folder comes only when who waits for it lets them.
#[tokio::test]
async fn one_that_is_dropped_makes_room_for_the_next() -> Result {
    let folder = tempfile::tempdir()?;
    for sum in [3, 6] {
        let mut tries = 0;
        let runtime = loop {
            match builder(folder.path()).start().await {
                // A slow disk takes its time to close the files.
                Err(LocalError::Store(StoreError::InUse { .. })) if tries < 10 => tries += 1,
                started => break started?,
            }
        };
        let client = IngressClient::new(runtime.ingress_url())?;
        let steps = client.object::<StepsClient<_>>("fay");
        assert_eq!(steps.three(1).call().await?, sum);
        drop(runtime);
    }
    Ok(())
}

/// As [`Steps`], after somebody has changed what came before the wait.
struct Changed;

#[durably::object(name = "Steps")]
impl Changed {
    #[handler]
    async fn wait(&self, ctx: &ObjectContext) -> HandlerResult<u64> {
        ctx.run("something else", async || step(0)).await?;
        Ok(ctx.awakeable::<u64>().await?)
    }
}

/// What the guide says of code that no longer fits its journals.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_waits_for_code_that_fits_it() -> Result {
    let folder = tempfile::tempdir()?;
    let (runtime, client) = start(folder.path()).await?;
    let steps = client.object::<StepsClient<_>>("dora");
    let id = steps.wait().send().await?;
    let awakeable = loop {
        match steps.awakeable().call().await? {
            Some(id) => break id,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    runtime.shutdown().await?;

    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = Endpoint::builder().bind(Changed).build()?;
    let changed = LocalRuntime::builder(endpoint).path(folder.path());
    let runtime = changed.ingress(free).admin(free).start().await?;
    let client = IngressClient::new(runtime.ingress_url())?;
    client.resolve_awakeable(&awakeable, &7).await?;
    let row = loop {
        let row = look(&runtime, id.id().as_str()).await?;
        if row.contains("backing-off") {
            break row;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(
        row.contains("570") && row.contains("something else"),
        "{row}"
    );
    runtime.shutdown().await?;

    let (runtime, client) = start(folder.path()).await?;
    let outcome: u64 = client.invocation(id.id()).attach().await?;
    assert_eq!(outcome, 7);
    runtime.shutdown().await?;
    Ok(())
}

/// What operators see of an invocation.
async fn look(runtime: &LocalRuntime, id: &str) -> Result<String> {
    let admin = runtime.admin_url();
    let address = admin.strip_prefix("http://").ok_or("no address")?;
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET /invocations/{id} HTTP/1.0\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
