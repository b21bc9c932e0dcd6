//! Inputs, outputs and values in all their forms.

use bytes::Bytes;
use durably::{BoxError, Decode, Encode, Proto, Raw, Target, Unstable, prelude::*};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::harness::ms;
use crate::suite::{ALL, Suite};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<Line>,
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Point {
    #[prost(int32, tag = "1")]
    x: i32,
    #[prost(int32, tag = "2")]
    y: i32,
}

/// A format of its own: words between commas.
#[derive(Debug, PartialEq)]
struct Words(Vec<String>);

impl Encode for Words {
    const CONTENT_TYPE: &'static str = "text/csv";
    const STABLE: bool = true;

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(self.0.join(",").into())
    }
}

impl Decode for Words {
    const CONTENT_TYPE: &'static str = "text/csv";

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        let text = std::str::from_utf8(&bytes)?;
        Ok(Self(text.split(',').map(str::to_owned).collect()))
    }
}

pub(crate) struct Payloads;

#[durably::service]
impl Payloads {
    #[handler]
    async fn order(&self, _ctx: &Context, order: Order) -> HandlerResult<Order> {
        Ok(order)
    }

    #[handler]
    async fn raw(&self, ctx: &Context, body: Raw) -> HandlerResult<Raw> {
        let passed = ctx
            .run("pass", async || {
                Ok::<_, std::io::Error>(Raw(body.0.clone()))
            })
            .await?;
        ctx.sleep(ms(5)).await?;
        Ok(passed)
    }

    #[handler]
    async fn mirror(&self, _ctx: &Context, point: Proto<Point>) -> HandlerResult<Proto<Point>> {
        Ok(Proto(Point {
            x: point.0.y,
            y: point.0.x,
        }))
    }

    #[handler]
    async fn words(&self, _ctx: &Context, words: Words) -> HandlerResult<Words> {
        Ok(Words(words.0.into_iter().rev().collect()))
    }

    #[handler]
    async fn option(&self, _ctx: &Context, value: Option<u64>) -> HandlerResult<Option<u64>> {
        Ok(value)
    }

    #[handler]
    async fn nothing(&self, _ctx: &Context) -> HandlerResult<()> {
        Ok(())
    }

    /// A Kafka handler: what it was given, and where it came from.
    #[handler]
    async fn event(&self, _ctx: &Context, event: KafkaEvent<u64>) -> HandlerResult<String> {
        Ok(format!(
            "{:?} {:?} {}",
            event.value(),
            event.topic(),
            event.is_tombstone()
        ))
    }

    /// Every kind through a call, with a replay in most modes.
    #[handler]
    async fn all(&self, ctx: &Context, order: Order) -> HandlerResult<()> {
        let payloads = ctx.service_client::<PayloadsClient>();
        assert_eq!(payloads.order(order.clone()).await?, order);
        let point = payloads.mirror(Proto(Point { x: 1, y: -2 })).await?;
        assert_eq!((point.0.x, point.0.y), (-2, 1));
        let words = payloads.words(Words(vec!["a".into(), "b".into()])).await?;
        assert_eq!(words.0, ["b", "a"]);
        for value in [None, Some(3)] {
            assert_eq!(payloads.option(value).await?, value);
        }
        payloads.nothing().await?;
        assert_eq!(payloads.event(7).await?, "Some(7) None false");
        let big = Bytes::from(vec![7; 300_000]);
        assert_eq!(payloads.raw(Raw(big.clone())).await?.0, big);
        // A map that serializes differently each time.
        let map: std::collections::HashMap<_, _> = (0..20).map(|n| (n.to_string(), n)).collect();
        let target = Target::service("Payloads", "raw");
        let raw = ctx.request::<_, Raw>(target, Unstable(map.clone())).await?;
        let back: std::collections::HashMap<String, i32> = serde_json::from_slice(&raw.0)?;
        ctx.sleep(ms(5)).await?;
        assert_eq!(back.len(), map.len());
        Ok(())
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case("payloads_have_their_formats", ALL, async |env| {
        let ingress = env.ingress();
        let post = |handler, body: Bytes, content_type| {
            ingress.service("Payloads", handler).raw(content_type, body)
        };
        let body = Bytes::from_static(b"\0\xFF any bytes");
        let reply = post("raw", body.clone(), "application/octet-stream")
            .call_raw()
            .await?;
        assert_eq!(reply.body, body);
        assert_eq!(reply.headers["content-type"], "application/octet-stream");

        let point = Point { x: 3, y: 4 }.encode_to_vec().into();
        let reply = post("mirror", point, "application/protobuf")
            .call_raw()
            .await?;
        assert_eq!(Point::decode(reply.body.clone())?, Point { x: 4, y: 3 });
        assert_eq!(reply.headers["content-type"], "application/protobuf");

        let reply = post("words", "a,b,c".into(), "text/csv").call_raw().await?;
        assert_eq!(reply.body, "c,b,a");
        assert_eq!(reply.headers["content-type"], "text/csv");

        let reply = ingress.service("Payloads", "nothing").call_raw().await?;
        assert!(reply.body.is_empty());
        // What nobody asked for is ignored.
        post("nothing", "{}".into(), "application/json")
            .call::<()>()
            .await?;

        for (value, json) in [(None, "null"), (Some(5), "5")] {
            let reply = ingress
                .service("Payloads", "option")
                .json(&value)
                .call_raw()
                .await?;
            assert_eq!(reply.body, json);
            assert_eq!(reply.headers["content-type"], "application/json");
        }
        let event: String = ingress.call("Payloads", "event", &7).await?;
        assert_eq!(event, "Some(7) None false");
        Ok(())
    });

    suite.case("payloads_travel_between_handlers", ALL, async |env| {
        let lines = vec![Line {
            sku: "A-1".into(),
            quantity: 2,
        }];
        let order = Order {
            id: 1 << 60,
            lines,
            note: None,
        };
        env.ingress().call::<()>("Payloads", "all", &order).await?;
        Ok(())
    });

    suite.case(
        "bad_input_is_refused_and_the_field_named",
        ALL,
        async |env| {
            let order =
                serde_json::json!({ "id": 1, "lines": [{ "sku": "A", "quantity": "two" }] });
            let error = env
                .ingress()
                .call::<Order>("Payloads", "order", &order)
                .await
                .unwrap_err();
            assert_eq!(error.status(), Some(400), "{error}");
            assert!(error.to_string().contains("lines[0].quantity"), "{error}");

            let request = env
                .ingress()
                .service("Payloads", "order")
                .raw("application/json", "{");
            let error = request.call::<Order>().await.unwrap_err();
            assert_eq!(error.status(), Some(400), "{error}");

            let request = env.ingress().service("Payloads", "mirror");
            let request = request.raw("application/protobuf", &b"\xFF\xFF"[..]);
            let error = request.call_raw().await.unwrap_err();
            assert_eq!(error.status(), Some(400), "{error}");
            Ok(())
        },
    );
}
