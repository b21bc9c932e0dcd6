//! What is sent.

use std::time::Duration;

use serde_json::json;

use super::super::{IngressClient, IngressError, SendStatus};
use super::{ID, Script, greet, outputs, says};
use crate::{Raw, RetryPolicy, Target};
use handlers::{AuditClient, CounterClient, SignupClient};

#[allow(dead_code, reason = "only their clients are used")]
mod handlers {
    use crate::prelude::*;

    struct Counter;

    #[crate::object(name = "shop.Counter", crate = "crate")]
    impl Counter {
        #[handler(name = "plus")]
        async fn add(&self, _ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
            Ok(n)
        }

        #[handler]
        async fn reset(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
            Ok(())
        }
    }

    struct Audit;

    #[crate::service(crate = "crate")]
    impl Audit {
        #[handler]
        async fn on_event(&self, _ctx: &Context, event: KafkaEvent<String>) -> HandlerResult<()> {
            let _ = event;
            Ok(())
        }
    }

    struct Signup;

    #[crate::workflow(crate = "crate")]
    impl Signup {
        #[handler]
        async fn run(&self, _ctx: &WorkflowContext, email: String) -> HandlerResult<bool> {
            Ok(email.is_empty())
        }
    }
}

#[tokio::test]
async fn generated_clients_say_path_and_payload() {
    let script = Script::new([outputs("7")]);
    let client = script.client();
    let counter = client.object::<CounterClient>("a/b ?é");
    assert_eq!(counter.add(3).call().await.unwrap(), 7);
    assert_eq!(counter.clone().add(4).await.unwrap(), 7);
    counter.reset().await.unwrap();
    let audit = client.service::<AuditClient>();
    audit.on_event("an event".to_owned()).await.unwrap();

    let seen = script.seen();
    let path = "POST http://ingress:8080/restate/call/shop.Counter/a%2Fb%20%3F%C3%A9";
    assert_eq!(seen[0].line(), format!("{path}/plus"));
    assert_eq!(seen[0].body(), "3");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[1].body(), "4");
    assert_eq!(seen[2].line(), format!("{path}/reset"));
    assert_eq!((seen[2].body(), seen[2].header("content-type")), ("", None));
    assert_eq!(
        seen[3].line(),
        "POST http://ingress:8080/restate/call/Audit/on_event"
    );
    assert_eq!(seen[3].body(), "\"an event\"");
}

#[tokio::test]
async fn requests_say_what_was_said_of_them() {
    let script = Script::new([outputs("\"hi\"")]);
    let client = script
        .builder()
        .bearer_token("s3cr3t")
        .header("x-tenant", "acme")
        .header("x-via", "a")
        .build()
        .unwrap();
    let request = greet(&client)
        .idempotency_key("k 1")
        .scope("tenant/7")
        .limit_key("mail")
        .header("x-via", "b")
        .header("x-via", "c");
    request.clone().call().await.unwrap();
    request
        .header("content-type", "text/plain")
        .call()
        .await
        .unwrap();

    let seen = script.seen();
    assert_eq!(
        seen[0].line(),
        "POST http://ingress:8080/restate/scope/tenant%2F7/call/Greeter/greet"
    );
    assert_eq!(seen[0].header("authorization"), Some("Bearer s3cr3t"));
    assert_eq!(seen[0].header("x-tenant"), Some("acme"));
    assert_eq!(seen[0].header("idempotency-key"), Some("k 1"));
    assert_eq!(seen[0].header("x-restate-limit-key"), Some("mail"));
    let via: Vec<_> = seen[0].request.headers().get_all("x-via").iter().collect();
    assert_eq!(via, ["b", "c"]);
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[1].header("content-type"), Some("text/plain"));
}

#[tokio::test]
async fn sends_say_when_and_tell_what_came_of_them() {
    let answer = |status: &str| {
        let body = json!({ "invocationId": ID, "status": status }).to_string();
        says(202, &[], &body)
    };
    let answers = [
        answer("Accepted"),
        answer("PreviouslyAccepted"),
        outputs("\"hi\""),
    ];
    let script = Script::new(answers);
    let client = script.client();
    let sent = greet(&client).send().await.unwrap();
    assert_eq!(
        (sent.id().as_str(), sent.status()),
        (ID, SendStatus::Accepted)
    );
    let delay = Duration::from_millis(1500);
    let again = greet(&client).send_after(delay).await.unwrap();
    assert_eq!(again.status(), SendStatus::PreviouslyAccepted);
    assert_eq!(again.attach().await.unwrap(), "hi");
    assert_eq!(sent.output().await.unwrap().as_deref(), Some("hi"));

    let lines: Vec<_> = script.seen().iter().map(super::Seen::line).collect();
    assert_eq!(
        lines,
        [
            "POST http://ingress:8080/restate/send/Greeter/greet".to_owned(),
            "POST http://ingress:8080/restate/send/Greeter/greet?delay=1500ms".to_owned(),
            format!("GET http://ingress:8080/restate/attach/{ID}"),
            format!("GET http://ingress:8080/restate/output/{ID}"),
        ]
    );
}

#[tokio::test]
async fn invocations_are_found_by_id_and_by_key() {
    let script = Script::new([outputs("true")]);
    let client = script.client();
    let signup = || client.workflow::<SignupClient>("ada").run(String::new());
    assert!(signup().attach().await.unwrap());
    signup().scope("s").output().await.unwrap();
    let add = Target::object("Counter", "ada", "add");
    let sum = client.idempotent_invocation(add, "k/1");
    sum.attach::<bool>().await.unwrap();
    let sum = || client.object::<CounterClient>("ada").add(0);
    let _ = sum().idempotency_key("k/1").output().await;
    let greeting = greet(&client).idempotency_key("g").header("x-tenant", "7");
    let _ = greeting.attach().await;

    let seen = script.seen();
    let read = |at: usize| {
        let body: serde_json::Value = serde_json::from_str(seen[at].body()).unwrap();
        let path = seen[at].request.uri().path();
        (path.trim_start_matches("/restate/").to_owned(), body)
    };
    let workflow = json!({ "target": "workflow", "workflowName": "Signup", "workflowKey": "ada" });
    assert_eq!(read(0), ("attach".to_owned(), workflow.clone()));
    let mut scoped = workflow;
    scoped["scope"] = json!("s");
    assert_eq!(read(1), ("output".to_owned(), scoped));
    let mut idempotent = json!({
        "target": "idempotentInvocation", "service": "Counter", "key": "ada", "handler": "add",
        "idempotencyKey": "k/1",
    });
    assert_eq!(read(2), ("attach".to_owned(), idempotent.clone()));
    idempotent["service"] = json!("shop.Counter");
    idempotent["handler"] = json!("plus");
    assert_eq!(read(3), ("output".to_owned(), idempotent));
    let greeting = json!({
        "target": "idempotentInvocation", "service": "Greeter", "handler": "greet",
        "idempotencyKey": "g",
    });
    assert_eq!(read(4), ("attach".to_owned(), greeting.clone()));
    assert_eq!(seen[4].header("x-tenant"), Some("7"));
    let by_header = greet(&client).header("Idempotency-Key", "g");
    let _ = by_header.attach().await;
    let body: serde_json::Value = serde_json::from_str(script.seen()[5].body()).unwrap();
    assert_eq!(body, greeting);

    let error = greet(&client).attach().await.unwrap_err();
    let text = "Greeter/greet cannot be sent: without an idempotency key nobody knows which invocation it is";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn ids_are_looked_up() {
    let body = json!({ "invocationId": ID }).to_string();
    let script = Script::new([says(200, &[], &body)]);
    let client = script.client();
    for invocation in [
        client.workflow_invocation("Signup", "ada"),
        client.invocation(ID),
    ] {
        assert_eq!(invocation.id().await.unwrap().as_str(), ID);
    }
    let seen = script.seen();
    assert_eq!(seen[0].line(), "POST http://ingress:8080/restate/lookup");
    assert_eq!(
        seen[1].body(),
        format!(r#"{{"target":"invocation","invocationId":"{ID}"}}"#)
    );
}

#[tokio::test]
async fn awakeables_are_completed() {
    let script = Script::new([says(202, &[], "")]);
    let client = script.client();
    client.resolve_awakeable("sign_1a", "yes").await.unwrap();
    client
        .resolve_awakeable("sign_1a", &Raw::from("b"))
        .await
        .unwrap();
    client
        .reject_awakeable("sign_1a", "no, really")
        .await
        .unwrap();

    let seen = script.seen();
    let base = "POST http://ingress:8080/restate/awakeables/sign_1a";
    assert_eq!(seen[0].line(), format!("{base}/resolve"));
    assert_eq!(seen[0].body(), "\"yes\"");
    let content_types: Vec<_> = seen
        .iter()
        .map(|seen| seen.header("content-type"))
        .collect();
    assert_eq!(
        content_types,
        ["application/json", "application/octet-stream", "text/plain"].map(Some)
    );
    assert_eq!(seen[2].line(), format!("{base}/reject"));
    assert_eq!(seen[2].body(), "no, really");
}

#[tokio::test]
async fn impossible_requests_are_not_sent() {
    let script = Script::new([outputs("null")]);
    let client = script.client();
    let counter = client.object::<CounterClient>("..");
    let upside_down = std::collections::BTreeMap::from([((1, 2), 3)]);
    let errors = [
        counter.add(1).call().await.unwrap_err(),
        counter.add(1).send().await.unwrap_err(),
        greet(&client).header("x y", "z").call().await.unwrap_err(),
        greet(&client).idempotency_key("").call().await.unwrap_err(),
        greet(&client)
            .header("Idempotency-Key", "")
            .call()
            .await
            .unwrap_err(),
        greet(&client)
            .idempotency_key("schlüssel")
            .call()
            .await
            .unwrap_err(),
        greet(&client)
            .idempotency_key("k ")
            .call()
            .await
            .unwrap_err(),
        greet(&client)
            .idempotency_key(" k")
            .send()
            .await
            .unwrap_err(),
        client.resolve_awakeable(".", &()).await.unwrap_err(),
        client
            .resolve_awakeable("a", &upside_down)
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, IngressError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("cannot be sent"), "{error}");
    }
    assert_eq!(script.count(), 0);
    for builder in [
        IngressClient::builder("localhost:8080"),
        IngressClient::builder("http://localhost").header("x", "a\nb"),
        IngressClient::builder("http://localhost").bearer_token("a\nb"),
    ] {
        assert!(matches!(builder.build(), Err(IngressError::Invalid { .. })));
    }
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let script = Script::new([outputs("null")]);
    let builder = script
        .builder()
        .bearer_token("s3cr3t")
        .header("x-key", "s3cr3t");
    assert!(!format!("{builder:?}").contains("s3cr3t"));
    let client = builder.build().unwrap();
    assert!(!format!("{client:?}").contains("s3cr3t"));
    let request = client
        .request::<_, ()>(Target::service("A", "b"), "s3cr3t")
        .header("x", "s3cr3t");
    assert!(!format!("{request:?}").contains("s3cr3t"));
    let builder = IngressClient::builder("http://ada:s3cr3t@ingress:8080");
    assert!(!format!("{builder:?}").contains("s3cr3t"));
    let error = builder.build().unwrap_err();
    assert!(!format!("{error:?} {error}").contains("s3cr3t"));
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_not_tried_again() {
    // Without TLS, that is. Another try would come after half a minute at the earliest.
    let policy = RetryPolicy::fixed(Duration::from_secs(60)).max_attempts(2);
    let client = IngressClient::builder("https://127.0.0.1:1").retry(policy);
    let client = client.build().unwrap();
    let started = std::time::Instant::now();
    let error = greet(&client).repeatable().call().await.unwrap_err();
    assert!(matches!(error, IngressError::Invalid { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    // The port is held, so that nobody else gets it meanwhile; but nobody listens.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = held.local_addr().unwrap();
    let policy = RetryPolicy::fixed(Duration::from_millis(60)).max_attempts(3);
    let client = IngressClient::builder(format!("http://{address}")).retry(policy);
    let started = std::time::Instant::now();
    let error = greet(&client.build().unwrap()).call().await.unwrap_err();
    assert!(matches!(error, IngressError::Transport { .. }), "{error:?}");
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[cfg(feature = "opentelemetry")]
#[tokio::test]
async fn requests_carry_the_trace_context() {
    use opentelemetry::{
        Context,
        trace::{
            FutureExt as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId,
            TraceState,
        },
    };

    let span = SpanContext::new(
        TraceId::from(0xabc),
        SpanId::from(0xdef),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let context = Context::new().with_remote_span_context(span);
    let script = Script::new([outputs("\"hi\"")]);
    let ingress = script.client();
    let plain = greet(&ingress).call();
    plain.with_context(context.clone()).await.unwrap();
    let own = "00-00000000000000000000000000000001-0000000000000002-01";
    let traced = greet(&ingress).header("traceparent", own).call();
    traced.with_context(context).await.unwrap();
    greet(&ingress).call().await.unwrap();

    let seen = script.seen();
    let traceparent = |n: usize| seen[n].request.headers().get("traceparent").cloned();
    let expected = "00-00000000000000000000000000000abc-0000000000000def-01";
    assert_eq!(traceparent(0).unwrap(), expected);
    assert_eq!(traceparent(1).unwrap(), own);
    assert_eq!(traceparent(2), None);
}
