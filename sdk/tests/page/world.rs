//! Handlers that stand in all ways in which an invocation can stand, and a runtime that serves them.

use durably::{
    Endpoint, RetryableError,
    local::{Fsync, LocalRuntime},
    prelude::*,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Result, patience::eventually};

struct Clerk;

#[durably::service]
impl Clerk {
    /// Ends with a few entries.
    #[handler]
    async fn charge(&self, ctx: &Context, amount: u64) -> HandlerResult<u64> {
        let fee = ctx
            .run("fee", async || Ok::<_, HandlerError>(amount / 10))
            .await?;
        ctx.sleep(Duration::from_millis(300)).await?;
        let sum = ctx
            .service_client::<ClerkClient>()
            .add((amount, fee))
            .await?;
        Ok(sum)
    }

    #[handler]
    async fn add(&self, _ctx: &Context, (a, b): (u64, u64)) -> HandlerResult<u64> {
        Ok(a + b)
    }

    /// Is at work for ever.
    #[handler]
    async fn work(&self, ctx: &Context) -> HandlerResult<()> {
        ctx.run("dig", std::future::pending::<HandlerResult<()>>)
            .await?;
        Ok(())
    }

    /// Waits without executing anything, and is attempted meanwhile.
    #[handler]
    async fn linger(&self, ctx: &Context) -> HandlerResult<()> {
        Ok(ctx.signal("go").await?)
    }

    #[handler]
    async fn fail(&self, _ctx: &Context) -> HandlerResult<()> {
        let later = RetryableError::new("the card reader is out of order");
        Err(later.after(Duration::from_secs(3600)))?
    }

    #[handler]
    async fn refuse(&self, _ctx: &Context) -> HandlerResult<()> {
        Err(TerminalError::new("no money").with_code(402))?
    }
}

struct Desk;

#[durably::object(inactivity_timeout = "50ms")]
impl Desk {
    /// Waits, suspended.
    #[handler]
    async fn wait(&self, ctx: &ObjectContext, note: String) -> HandlerResult<String> {
        ctx.set("note", &note);
        ctx.set("raw", &durably::Raw(vec![0xff, 0xfe].into()));
        Ok(ctx.signal("go").await?)
    }

    #[handler]
    async fn look(&self, ctx: &SharedObjectContext) -> HandlerResult<Option<String>> {
        Ok(ctx.get("note").await?)
    }
}

/// A runtime, and a client of its ports.
pub(crate) struct World {
    pub(crate) client: reqwest::Client,
    pub(crate) runtime: LocalRuntime,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start() -> Result<Self> {
        let endpoint = Endpoint::builder().bind(Clerk).bind(Desk).build()?;
        let folder = tempfile::tempdir()?;
        let runtime = LocalRuntime::builder(endpoint)
            .path(folder.path())
            .ingress(([127, 0, 0, 1], 0))
            .admin(([127, 0, 0, 1], 0))
            .admin_host("ops.example")
            .fsync(Fsync::Never)
            .start()
            .await?;
        Ok(Self {
            client: reqwest::Client::builder().no_proxy().build()?,
            runtime,
            _folder: folder,
        })
    }

    /// Sends something to a handler, and gives the id.
    pub(crate) async fn send(&self, target: &str, input: impl Into<Value>) -> Result<String> {
        let url = format!("{}/{target}/send", self.runtime.ingress_url());
        let mut request = self.client.post(url);
        let input = input.into();
        if !input.is_null() {
            request = request.json(&input);
        }
        let answer = request.send().await?.error_for_status()?;
        let sent: Value = answer.json().await?;
        Ok(sent["invocationId"].as_str().ok_or("no id")?.to_owned())
    }

    /// A request to the admin port: the status, and the body if there is one.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Value)> {
        let url = format!("{}{path}", self.runtime.admin_url());
        let answer = self.client.request(method, url).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)?
        };
        Ok((status, body))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.ask(Method::GET, path).await?;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        Ok(body)
    }

    pub(crate) async fn tell(&self, id: &str, what: &str) -> Result<(StatusCode, Value)> {
        self.ask(Method::PATCH, &format!("/invocations/{id}/{what}"))
            .await
    }

    /// Waits until an invocation stands so, and gives it with its journal.
    pub(crate) async fn reaches(&self, id: &str, status: &str) -> Result<Value> {
        eventually(&format!("{id} is {status}"), async || {
            let found = self.get(&format!("/invocations/{id}")).await?;
            if found["status"] == status {
                return Ok(Some(found));
            }
            // Said at the end, if it never does.
            Err(format!("{id} is not {status}: {found:#}").into())
        })
        .await
    }
}

/// A text without how long a sleep was when it came to be journaled: a moment less than it was asked for.
pub(crate) fn without_length(text: &str) -> String {
    let is_sleep = |line: &&str| line.starts_with("sleep ");
    text.split('\n')
        .map(|line| Some(line).filter(is_sleep).map_or(line, |_| "sleep …"))
        .collect::<Vec<_>>()
        .join("\n")
}
