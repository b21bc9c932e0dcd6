//! `Proxy`: calls whatever handler the input names, with bytes as they are.

use durably::{Raw, Request, Target, prelude::*};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

pub(crate) struct Proxy;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyRequest {
    service_name: String,
    virtual_object_key: Option<String>,
    handler_name: String,
    message: Vec<u8>,
    delay_millis: Option<u64>,
    idempotency_key: Option<String>,
    scope: Option<String>,
    limit_key: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ManyCallRequest {
    proxy_request: ProxyRequest,
    one_way_call: bool,
    await_at_the_end: bool,
}

impl ProxyRequest {
    fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_millis.unwrap_or_default())
    }

    fn prepare(self, ctx: &Context) -> Request<'_, Raw, Raw> {
        let target = match self.virtual_object_key {
            Some(key) => Target::object(self.service_name, key, self.handler_name),
            None => Target::service(self.service_name, self.handler_name),
        };
        let mut request = ctx.request(target, Raw::from(self.message));
        if let Some(key) = self.idempotency_key {
            request = request.idempotency_key(key);
        }
        if let Some(scope) = self.scope {
            request = request.scope(scope);
        }
        if let Some(key) = self.limit_key {
            request = request.limit_key(key);
        }
        request
    }
}

#[durably::service]
impl Proxy {
    #[handler]
    async fn call(&self, ctx: &Context, request: ProxyRequest) -> HandlerResult<Vec<u8>> {
        Ok(request.prepare(ctx).await?.to_vec())
    }

    #[handler(name = "oneWayCall")]
    async fn one_way_call(&self, ctx: &Context, request: ProxyRequest) -> HandlerResult<String> {
        let delay = request.delay();
        let sent = request.prepare(ctx).send_after(delay);
        Ok(sent.invocation_id().await?.to_string())
    }

    #[handler(name = "manyCalls")]
    async fn many_calls(&self, ctx: &Context, requests: Vec<ManyCallRequest>) -> HandlerResult<()> {
        let mut awaited = Vec::new();
        for request in requests {
            let delay = request.proxy_request.delay();
            let prepared = request.proxy_request.prepare(ctx);
            if request.one_way_call {
                prepared.send_after(delay);
            } else {
                let call = prepared.call();
                if request.await_at_the_end {
                    awaited.push(call);
                }
            }
        }
        try_join_all(awaited).await?;
        Ok(())
    }
}
