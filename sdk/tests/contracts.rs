//! Contracts and their implementations: what the endpoint manifest says of them, and that the same client
//! reaches whoever implements one.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use durably::testing::{InvocationStatus, MockContext, TestRuntime, object};
use durably::{Endpoint, prelude::*};
use http_body_util::{BodyExt as _, Empty};
use serde_json::{Value, json};

/// Counts.
#[durably::object(name = "shop.Counter", journal_retention = "1d", metadata("by" = "contract"))]
trait Counter {
    /// Adds.
    #[handler(name = "plus", inactivity_timeout = "1m", lazy_state)]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64>;

    /// Reads.
    #[handler(abort_timeout = "2m")]
    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<u64>;
}

/// What is said here is nobody's business.
struct Stored;

#[durably::object(journal_retention = "2d", retry(max_attempts = 3))]
impl Counter for Stored {
    /// Nor is this.
    #[handler(inactivity_timeout = "3m", idempotency_retention = "1h")]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let sum = self.get(ctx).await? + n;
        ctx.set("sum", &sum);
        Ok(sum)
    }

    async fn get(&self, ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(ctx.get("sum").await?.unwrap_or_default())
    }
}

/// Another, with a type parameter and no option.
struct Fixed<T>(T);

#[durably::object]
impl<T: Into<u64> + Copy + Send + Sync + 'static> Counter for Fixed<T> {
    async fn add(&self, _ctx: &ObjectContext, _n: u64) -> HandlerResult<u64> {
        Ok(self.0.into())
    }

    async fn get(&self, _ctx: &SharedObjectContext) -> HandlerResult<u64> {
        Ok(self.0.into())
    }
}

/// Takes numbers; a record that it cannot take is handed on.
#[durably::service]
trait Intake {
    #[handler(kafka(dead_letter = "Dead/record"))]
    async fn take(&self, ctx: &Context, event: KafkaEvent<u64>) -> HandlerResult<()>;
}

/// Here it waits for a repair instead.
struct Patient;

#[durably::service]
impl Intake for Patient {
    #[handler(kafka(on_decode_failure = "pause", on_terminal_failure = "pause"))]
    async fn take(&self, _ctx: &Context, _event: KafkaEvent<u64>) -> HandlerResult<()> {
        Err(TerminalError::new("no room").into())
    }
}

async fn described(service: impl durably::Service) -> Value {
    let endpoint = Endpoint::builder().bind(service).build().unwrap();
    let request = http::Request::get("/discover")
        .header("accept", "application/vnd.restate.endpointmanifest.v4+json")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let body = endpoint.handle(request).into_body();
    let manifest: Value =
        serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    manifest["services"][0].clone()
}

#[tokio::test]
async fn names_are_the_contracts_and_options_anybodys() {
    let stored = described(Stored).await;
    let fixed = described(Fixed(7_u32)).await;
    for service in [&stored, &fixed] {
        assert_eq!(service["name"], "shop.Counter");
        assert_eq!(service["ty"], "VIRTUAL_OBJECT");
        assert_eq!(service["documentation"], "Counts.");
        assert_eq!(service["metadata"], json!({ "by": "contract" }));
        let [plus, get] = [0, 1].map(|at| &service["handlers"][at]);
        assert_eq!(
            (&plus["name"], &plus["ty"]),
            (&json!("plus"), &json!("EXCLUSIVE"))
        );
        assert_eq!(
            (&get["name"], &get["ty"]),
            (&json!("get"), &json!("SHARED"))
        );
        assert_eq!(plus["documentation"], "Adds.");
        assert_eq!(plus["enableLazyState"], true);
        assert_eq!(plus["input"]["contentType"], "application/json");
        assert_eq!(get["abortTimeout"], 120_000);
    }
    let day = 86_400_000;
    assert_eq!(fixed["journalRetention"], day);
    assert_eq!(stored["journalRetention"], 2 * day);
    assert_eq!(stored["retryPolicyMaxAttempts"], 3);
    assert_eq!(fixed["handlers"][0]["inactivityTimeout"], 60_000);
    assert_eq!(stored["handlers"][0]["inactivityTimeout"], 180_000);
    assert_eq!(stored["handlers"][0]["idempotencyRetention"], 3_600_000);
}

#[test]
fn one_client_reaches_them_all() {
    let serve = |endpoint: Result<Endpoint, _>| TestRuntime::new(endpoint.unwrap());
    let mut stored = serve(Endpoint::builder().bind(Stored).build());
    assert_eq!(stored.call(object::<CounterClient>("a").add(3)), Ok(3));
    assert_eq!(stored.call(object::<CounterClient>("a").add(4)), Ok(7));
    assert_eq!(stored.call(object::<CounterClient>("a").get()), Ok(7));
    let mut fixed = serve(Endpoint::builder().bind(Fixed(9_u8)).build());
    assert_eq!(fixed.call(object::<CounterClient>("a").add(3)), Ok(9));
}

#[test]
fn the_policy_for_records_is_that_of_the_impl() {
    let endpoint = Endpoint::builder().bind(Patient).build().unwrap();
    let mut runtime = TestRuntime::new(endpoint);
    runtime.subscribe("numbers", "Intake/take");
    let taken = runtime.produce("numbers", "ada", &7);
    runtime.run_until_idle();
    assert_eq!(runtime.status(&taken[0]), InvocationStatus::Paused);
}

/// Handlers that know only the contract are tested without anybody who implements it.
#[tokio::test]
async fn callers_need_no_implementation() {
    let mock = MockContext::service();
    mock.on(object::<CounterClient>("a").add(1)).returns(&5);
    let sum = mock
        .call(async |ctx| ctx.object_client::<CounterClient>("a").add(1).await)
        .await;
    assert_eq!(sum.unwrap(), 5);
}
