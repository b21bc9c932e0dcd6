//! Golden documents, one per manifest version, and what a version refuses.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::service::{HandlerFn, HandlerKind, InvocationRetryPolicy, OnMaxAttempts, ServiceKind};

const PROTOCOL: ProtocolRange = ProtocolRange { min: 5, max: 7 };

fn nop() -> HandlerFn {
    Arc::new(|_, _| Box::pin(async { Ok(bytes::Bytes::new()) }))
}

fn handler(kind: HandlerKind, name: &str) -> HandlerDefinition {
    HandlerDefinition::new(kind, name, nop())
}

fn manifest(services: &[ServiceDefinition], version: ManifestVersion) -> Result<Value, String> {
    let bytes = render(services, version, ProtocolMode::BidiStream, PROTOCOL)?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

/// One service of each kind, with nothing that v2 lacks.
fn plain() -> Vec<ServiceDefinition> {
    vec![
        ServiceDefinition::new(ServiceKind::Service, "Greeter")
            .documentation("Greets.")
            .metadata("team", "welcome")
            .metadata("since", "2024")
            .handler(
                handler(HandlerKind::Service, "greet")
                    .documentation("Greets one.")
                    .metadata("slow", "no")
                    .input(
                        InputMetadata::required("application/json")
                            .with_json_schema(json!({"type": "string"})),
                    )
                    .output(
                        OutputMetadata::of("application/json")
                            .with_json_schema(json!({"type": "string"})),
                    ),
            )
            .handler(
                handler(HandlerKind::Service, "raw")
                    .input(InputMetadata::optional("*/*"))
                    .output(
                        OutputMetadata::of("application/octet-stream")
                            .set_content_type_if_empty(true),
                    ),
            ),
        ServiceDefinition::new(ServiceKind::Object, "Counter")
            .handler(
                handler(HandlerKind::Exclusive, "reset")
                    .input(InputMetadata::none())
                    .output(OutputMetadata::none()),
            )
            .handler(handler(HandlerKind::Shared, "get")),
        ServiceDefinition::new(ServiceKind::Workflow, "SignUp")
            .handler(handler(HandlerKind::Workflow, "run"))
            .handler(handler(HandlerKind::Shared, "status")),
    ]
}

fn plain_golden() -> Value {
    json!({
        "protocolMode": "BIDI_STREAM",
        "minProtocolVersion": 5,
        "maxProtocolVersion": 7,
        "services": [
            {
                "name": "Greeter",
                "ty": "SERVICE",
                "documentation": "Greets.",
                "metadata": { "since": "2024", "team": "welcome" },
                "handlers": [
                    {
                        "name": "greet",
                        "documentation": "Greets one.",
                        "metadata": { "slow": "no" },
                        "input": {
                            "required": true,
                            "contentType": "application/json",
                            "jsonSchema": { "type": "string" }
                        },
                        "output": {
                            "contentType": "application/json",
                            "setContentTypeIfEmpty": false,
                            "jsonSchema": { "type": "string" }
                        }
                    },
                    {
                        "name": "raw",
                        "input": { "required": false, "contentType": "*/*" },
                        "output": {
                            "contentType": "application/octet-stream",
                            "setContentTypeIfEmpty": true
                        }
                    }
                ]
            },
            {
                "name": "Counter",
                "ty": "VIRTUAL_OBJECT",
                "handlers": [
                    {
                        "name": "reset",
                        "ty": "EXCLUSIVE",
                        "input": {},
                        "output": { "setContentTypeIfEmpty": false }
                    },
                    { "name": "get", "ty": "SHARED" }
                ]
            },
            {
                "name": "SignUp",
                "ty": "WORKFLOW",
                "handlers": [
                    { "name": "run", "ty": "WORKFLOW" },
                    { "name": "status", "ty": "SHARED" }
                ]
            }
        ]
    })
}

/// A service with every option of v3 on both levels.
fn with_v3_options() -> ServiceDefinition {
    let minute = Duration::from_secs(60);
    ServiceDefinition::new(ServiceKind::Workflow, "Order")
        .inactivity_timeout(minute)
        .abort_timeout(2 * minute)
        .journal_retention(3 * minute)
        .idempotency_retention(4 * minute)
        .lazy_state(true)
        .ingress_private(false)
        .handler(
            handler(HandlerKind::Workflow, "run")
                .workflow_retention(Duration::from_millis(1))
                .journal_retention(Duration::ZERO),
        )
        .handler(
            handler(HandlerKind::Shared, "status")
                .inactivity_timeout(Duration::from_millis(5))
                .abort_timeout(Duration::from_millis(6))
                .idempotency_retention(Duration::from_millis(7))
                .lazy_state(false)
                .ingress_private(true),
        )
}

fn v3_golden() -> Value {
    json!({
        "name": "Order",
        "ty": "WORKFLOW",
        "inactivityTimeout": 60_000,
        "abortTimeout": 120_000,
        "journalRetention": 180_000,
        "idempotencyRetention": 240_000,
        "enableLazyState": true,
        "ingressPrivate": false,
        "handlers": [
            {
                "name": "run",
                "ty": "WORKFLOW",
                "journalRetention": 0,
                "workflowCompletionRetention": 1
            },
            {
                "name": "status",
                "ty": "SHARED",
                "inactivityTimeout": 5,
                "abortTimeout": 6,
                "idempotencyRetention": 7,
                "enableLazyState": false,
                "ingressPrivate": true
            }
        ]
    })
}

fn with_v4_options() -> ServiceDefinition {
    ServiceDefinition::new(ServiceKind::Service, "Payments")
        .retry_policy(
            InvocationRetryPolicy::new()
                .initial_interval(Duration::from_millis(100))
                .max_interval(Duration::from_secs(10))
                .factor(1.5)
                .max_attempts(7)
                .on_max_attempts(OnMaxAttempts::Pause),
        )
        .handler(
            handler(HandlerKind::Service, "charge").retry_policy(
                InvocationRetryPolicy::new()
                    .max_attempts(1)
                    .on_max_attempts(OnMaxAttempts::Kill),
            ),
        )
}

#[test]
fn v2() {
    assert_eq!(
        manifest(&plain(), ManifestVersion::V2).unwrap(),
        plain_golden()
    );
}

#[test]
fn later_versions_say_the_same_where_nothing_new_is_set() {
    for version in [ManifestVersion::V3, ManifestVersion::V4] {
        assert_eq!(manifest(&plain(), version).unwrap(), plain_golden());
    }
}

#[test]
fn v3() {
    let document = manifest(&[with_v3_options()], ManifestVersion::V3).unwrap();
    assert_eq!(document["services"], json!([v3_golden()]));
}

#[test]
fn v4() {
    let document = manifest(&[with_v3_options(), with_v4_options()], ManifestVersion::V4).unwrap();
    let payments = json!({
        "name": "Payments",
        "ty": "SERVICE",
        "retryPolicyInitialInterval": 100,
        "retryPolicyMaxInterval": 10_000,
        "retryPolicyMaxAttempts": 7,
        "retryPolicyExponentiationFactor": 1.5,
        "retryPolicyOnMaxAttempts": "PAUSE",
        "handlers": [
            {
                "name": "charge",
                "retryPolicyMaxAttempts": 1,
                "retryPolicyOnMaxAttempts": "KILL"
            }
        ]
    });
    assert_eq!(document["services"], json!([v3_golden(), payments]));
}

#[test]
fn the_text_is_stable() {
    let service = ServiceDefinition::new(ServiceKind::Service, "A")
        .handler(handler(HandlerKind::Service, "b"));
    let bytes = render(
        &[service],
        ManifestVersion::V4,
        ProtocolMode::RequestResponse,
        PROTOCOL,
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        r#"{"protocolMode":"REQUEST_RESPONSE","minProtocolVersion":5,"maxProtocolVersion":7,"services":[{"name":"A","ty":"SERVICE","handlers":[{"name":"b"}]}]}"#
    );
}

#[test]
fn an_option_that_the_version_lacks_is_named() {
    let error = manifest(&[with_v3_options()], ManifestVersion::V2).unwrap_err();
    assert!(
        error.starts_with(
            "service `Order` sets `inactivityTimeout`, which needs endpoint manifest v3"
        ),
        "{error}"
    );
    let error = manifest(&[with_v4_options()], ManifestVersion::V3).unwrap_err();
    assert!(
        error.starts_with(
            "service `Payments` sets `retryPolicyInitialInterval`, which needs endpoint manifest v4"
        ),
        "{error}"
    );
    let only_handler = ServiceDefinition::new(ServiceKind::Service, "A")
        .handler(handler(HandlerKind::Service, "b").abort_timeout(Duration::ZERO));
    let error = manifest(&[only_handler], ManifestVersion::V2).unwrap_err();
    assert!(
        error.starts_with("handler `A/b` sets `abortTimeout`"),
        "{error}"
    );
}

#[test]
fn flags_that_change_nothing_are_left_out_of_v2() {
    let service = ServiceDefinition::new(ServiceKind::Service, "A")
        .lazy_state(false)
        .ingress_private(false)
        .handler(handler(HandlerKind::Service, "b").lazy_state(false));
    let document = manifest(&[service], ManifestVersion::V2).unwrap();
    assert_eq!(
        document["services"],
        json!([{ "name": "A", "ty": "SERVICE", "handlers": [{ "name": "b" }] }])
    );
}
