//! The services that the requests go to.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use durably::{BoxError, Decode, Encode, Raw, prelude::*};
use serde::Deserialize;
use serde_json::Value;

/// All of them.
pub(crate) fn services() -> Endpoint {
    let builder = Endpoint::builder().bind(Plain).bind(Hidden).bind(Dotted);
    let builder = builder.bind(Obj).bind(Flow).bind(Brief).bind(Typed);
    builder.build().unwrap()
}

/// What handlers tell the test, by names that the test chooses.
static NOTES: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

fn note(name: &str, text: &str) {
    let mut notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
    notes.insert(name.to_owned(), text.to_owned());
}

/// What a handler has noted; waits until it has.
pub(crate) async fn noted(name: &str) -> String {
    for _ in 0..6000 {
        let noted = {
            let notes = NOTES.lock().unwrap_or_else(PoisonError::into_inner);
            notes.get(name).cloned()
        };
        if let Some(text) = noted {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no handler has noted anything as `{name}`")
}

#[derive(Deserialize)]
struct Fail {
    code: u16,
    message: String,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

impl Fail {
    fn into_error(self) -> TerminalError {
        let error = TerminalError::new(self.message).with_code(self.code);
        let metadata = self.metadata.into_iter();
        metadata.fold(error, |error, (name, value)| {
            error.with_metadata(name, value)
        })
    }
}

pub(crate) struct Plain;

#[durably::service]
impl Plain {
    /// The bytes as they came.
    #[handler]
    async fn echo(&self, _ctx: &Context, bytes: Raw) -> HandlerResult<Raw> {
        Ok(bytes)
    }

    #[handler]
    async fn json(&self, _ctx: &Context, value: Value) -> HandlerResult<Value> {
        Ok(value)
    }

    #[handler]
    async fn hello(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Hello, {name}!"))
    }

    #[handler]
    async fn nothing(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    #[handler]
    async fn maybe(&self, _ctx: &Context, n: Option<u64>) -> HandlerResult<Option<u64>> {
        Ok(n)
    }

    #[handler(ingress_private)]
    async fn private(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    /// The headers that came with the request, in their order.
    #[handler]
    async fn headers(&self, ctx: &Context) -> HandlerResult<Vec<(String, String)>> {
        let headers = ctx.headers().iter();
        Ok(headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// What else it knows of the request.
    #[handler]
    async fn about(&self, ctx: &Context) -> HandlerResult<Value> {
        Ok(serde_json::json!({
            "scope": ctx.scope(),
            "limit_key": ctx.limit_key(),
            "traceparent": ctx.attempt_headers().get("traceparent").is_some(),
        }))
    }

    #[handler]
    async fn fail(&self, _ctx: &Context, fail: Fail) -> HandlerResult<()> {
        Err(fail.into_error().into())
    }

    /// Waits for an awakeable, whose id it notes under the name.
    #[handler]
    async fn wait(&self, ctx: &Context, name: String) -> HandlerResult<Raw> {
        wait(ctx, &name).await
    }

    /// Waits for a signal. That it has begun is noted under its id.
    #[handler]
    async fn listen(&self, ctx: &Context, name: String) -> HandlerResult<Raw> {
        note(ctx.invocation_id(), "begun");
        Ok(ctx.signal::<Raw>(&name).await?)
    }
}

async fn wait(ctx: &Context, name: &str) -> HandlerResult<Raw> {
    let awakeable = ctx.awakeable::<Raw>();
    note(name, awakeable.id());
    Ok(awakeable.await?)
}

/// Reachable only for handlers.
pub(crate) struct Hidden;

#[durably::service(ingress_private)]
impl Hidden {
    #[handler]
    async fn nothing(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }
}

pub(crate) struct Dotted;

#[durably::service(name = "names.with-Dots_2")]
impl Dotted {
    #[handler]
    async fn nothing(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    /// A handler whose name is also a word of paths.
    #[handler]
    async fn send(&self, _ctx: &Context) -> HandlerResult<String> {
        Ok("this is the handler".to_owned())
    }
}

pub(crate) struct Obj;

#[durably::object]
impl Obj {
    #[handler]
    async fn key(&self, ctx: &ObjectContext) -> HandlerResult<String> {
        Ok(ctx.key().to_owned())
    }

    /// How often this key was asked for it.
    #[handler]
    async fn count(&self, ctx: &ObjectContext) -> HandlerResult<u64> {
        let n = ctx.get::<u64>("n").await?.unwrap_or_default() + 1;
        ctx.set("n", &n);
        Ok(n)
    }

    #[handler]
    async fn shared(&self, ctx: &SharedObjectContext) -> HandlerResult<String> {
        Ok(ctx.key().to_owned())
    }

    #[handler]
    async fn send(&self, ctx: &ObjectContext) -> HandlerResult<String> {
        Ok(format!("{}, by send", ctx.key()))
    }

    #[handler]
    async fn wait(&self, ctx: &ObjectContext, name: String) -> HandlerResult<Raw> {
        wait(ctx, &name).await
    }

    #[handler]
    async fn fail(&self, _ctx: &ObjectContext, fail: Fail) -> HandlerResult<()> {
        Err(fail.into_error().into())
    }
}

pub(crate) struct Flow;

#[durably::workflow]
impl Flow {
    /// Waits for its promise.
    #[handler]
    async fn run(&self, ctx: &WorkflowContext, end: String) -> HandlerResult<String> {
        let came = ctx.promise::<String>("go").await?;
        Ok(format!("{came}, {end}"))
    }

    #[handler]
    async fn go(&self, ctx: &SharedWorkflowContext, text: String) -> HandlerResult<()> {
        Ok(ctx.promise::<String>("go").resolve(&text).await?)
    }

    #[handler]
    async fn fail(&self, ctx: &SharedWorkflowContext, fail: Fail) -> HandlerResult<()> {
        let promise = ctx.promise::<String>("go");
        Ok(promise.reject(fail.into_error()).await?)
    }
}

/// A workflow that ends at once.
pub(crate) struct Brief;

#[durably::workflow]
impl Brief {
    #[handler]
    async fn run(&self, ctx: &WorkflowContext) -> HandlerResult<String> {
        Ok(ctx.key().to_owned())
    }
}

/// Any image.
pub(crate) struct Image(Bytes);

impl Encode for Image {
    const CONTENT_TYPE: &'static str = "image/png";
    const STABLE: bool = true;

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(self.0.clone())
    }
}

impl Decode for Image {
    const CONTENT_TYPE: &'static str = "image/*";

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        Ok(Self(bytes))
    }
}

/// Takes a kind of content.
pub(crate) struct Typed;

#[durably::service]
impl Typed {
    #[handler]
    async fn size(&self, _ctx: &Context, image: Image) -> HandlerResult<usize> {
        Ok(image.0.len())
    }
}
