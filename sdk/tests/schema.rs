//! JSON schemas in the endpoint manifest: for types that have one, and no bound for those that have not.

#![cfg(feature = "schemars")]
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use durably::{Endpoint, prelude::*};
use http_body_util::{BodyExt as _, Empty};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
struct Described {
    /// How many.
    count: u32,
}

#[derive(Serialize, Deserialize)]
struct Plain {
    count: u32,
}

struct Shop;

#[durably::service]
impl Shop {
    #[handler]
    async fn described(&self, _ctx: &Context, order: Described) -> HandlerResult<Plain> {
        Ok(Plain { count: order.count })
    }

    #[handler]
    async fn plain(&self, _ctx: &Context, order: Plain) -> HandlerResult<Described> {
        Ok(Described { count: order.count })
    }

    #[handler]
    async fn event(&self, _ctx: &Context, _event: KafkaEvent<Described>) -> HandlerResult<()> {
        Ok(())
    }
}

#[tokio::test]
async fn types_with_a_schema_show_it() {
    let endpoint = Endpoint::builder().bind(Shop).build().unwrap();
    let request = http::Request::get("/discover")
        .header("accept", "application/vnd.restate.endpointmanifest.v4+json")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let manifest = endpoint
        .handle(request)
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let schema = |handler: &str, side: &str| {
        let handlers = manifest["services"][0]["handlers"].as_array().unwrap();
        let found = handlers.iter().find(|h| h["name"] == handler).unwrap();
        found[side]["jsonSchema"]["properties"]["count"]["description"].clone()
    };
    for (handler, side) in [
        ("described", "input"),
        ("plain", "output"),
        ("event", "input"),
    ] {
        assert_eq!(schema(handler, side), "How many.", "{handler} {side}");
    }
    for (handler, side) in [
        ("described", "output"),
        ("plain", "input"),
        ("event", "output"),
    ] {
        assert_eq!(schema(handler, side), Value::Null, "{handler} {side}");
    }
}
