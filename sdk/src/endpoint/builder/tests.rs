//! Every refusal, and that all of them are told at once.

use std::time::Duration;

use super::*;
use crate::service::InvocationRetryPolicy;

fn handler(kind: HandlerKind, name: &str) -> HandlerDefinition {
    HandlerDefinition::new(
        kind,
        name,
        Arc::new(|_, _| Box::pin(async { Ok(bytes::Bytes::new()) })),
    )
}

fn service(kind: ServiceKind, name: &str) -> ServiceDefinition {
    ServiceDefinition::new(kind, name)
}

/// A plain service with one handler.
fn plain(name: &str, handler_name: &str) -> ServiceDefinition {
    service(ServiceKind::Service, name).handler(handler(HandlerKind::Service, handler_name))
}

fn problems(services: impl IntoIterator<Item = ServiceDefinition>) -> Vec<BuildProblem> {
    let builder = services
        .into_iter()
        .fold(Endpoint::builder(), EndpointBuilder::bind);
    match builder.build() {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().to_vec(),
    }
}

#[test]
fn service_names() {
    for good in [
        "A",
        "a",
        "a1",
        "_a",
        "_1",
        "a.b-c_d",
        "Z9",
        "openapis",
        "restat",
        "a-restate",
    ] {
        assert_eq!(problems([plain(good, "h")]), [], "{good}");
    }
    for bad in [
        "", "_", "__", "_.", "1a", ".a", "-a", "a b", "a/b", "ä", "aä", "a\n",
    ] {
        let expected = BuildProblem::InvalidServiceName {
            service: bad.into(),
        };
        assert_eq!(problems([plain(bad, "h")]), [expected], "{bad}");
    }
    for reserved in [
        "restate",
        "Restate",
        "RESTATE.x",
        "restatement",
        "openapi",
        "OpenAPI",
    ] {
        let expected = BuildProblem::ReservedServiceName {
            service: reserved.into(),
        };
        assert_eq!(problems([plain(reserved, "h")]), [expected], "{reserved}");
    }
}

#[test]
fn handler_names() {
    for good in [
        "h", "_h", "_1", "a_b", "getAll", "restate", "openapi", "discover",
    ] {
        assert_eq!(problems([plain("S", good)]), [], "{good}");
    }
    for bad in ["", "_", "a.b", "a-b", "1", "a b", "é"] {
        let expected = BuildProblem::InvalidHandlerName {
            service: "S".into(),
            handler: bad.into(),
        };
        assert_eq!(problems([plain("S", bad)]), [expected], "{bad}");
    }
}

#[test]
fn names_are_unique() {
    let twice = plain("S", "h").handler(handler(HandlerKind::Service, "h"));
    assert_eq!(
        problems([twice, plain("S", "h"), plain("s", "h")]),
        [
            BuildProblem::DuplicateHandler {
                service: "S".into(),
                handler: "h".into()
            },
            BuildProblem::DuplicateService {
                service: "S".into()
            },
        ]
    );
}

#[test]
fn handlers_fit_their_service() {
    use HandlerKind::{Exclusive, Service as Plain, Shared, Workflow};
    for (kind, wrong) in [
        (ServiceKind::Service, vec![Exclusive, Shared, Workflow]),
        (ServiceKind::Object, vec![Plain, Workflow]),
        (ServiceKind::Workflow, vec![Plain, Exclusive]),
    ] {
        for handler_kind in wrong {
            let found = problems([service(kind, "S").handler(handler(handler_kind, "h"))]);
            let expected = BuildProblem::WrongHandlerKind {
                service: "S".into(),
                service_kind: kind,
                handler: "h".into(),
                handler_kind,
            };
            assert!(
                found.contains(&expected),
                "{kind} {handler_kind}: {found:?}"
            );
        }
    }
}

#[test]
fn a_workflow_has_one_workflow_handler() {
    let workflow = || service(ServiceKind::Workflow, "W");
    let run = |name| handler(HandlerKind::Workflow, name);
    let shared = handler(HandlerKind::Shared, "s");
    assert_eq!(
        problems([workflow().handler(run("run")).handler(shared.clone())]),
        []
    );
    assert_eq!(
        problems([workflow().handler(shared)]),
        [BuildProblem::NoWorkflowHandler {
            service: "W".into()
        }]
    );
    assert_eq!(
        problems([workflow().handler(run("a")).handler(run("b"))]),
        [BuildProblem::SeveralWorkflowHandlers {
            service: "W".into(),
            handlers: vec!["a".into(), "b".into()],
        }]
    );
}

#[test]
fn options_that_the_server_refuses() {
    let names = || ("S".to_owned(), "h".to_owned());
    let public = handler(HandlerKind::Service, "h").ingress_private(false);
    let private = service(ServiceKind::Service, "S").ingress_private(true);
    let (service_name, handler_name) = names();
    assert_eq!(
        problems([private.handler(public.clone())]),
        [BuildProblem::PublicHandlerInPrivateService {
            service: service_name,
            handler: handler_name
        }]
    );
    assert_eq!(
        problems([service(ServiceKind::Service, "S").handler(public)]),
        []
    );

    let hour = Duration::from_secs(3600);
    let shared = handler(HandlerKind::Shared, "h").workflow_retention(hour);
    let (service_name, handler_name) = names();
    assert_eq!(
        problems([service(ServiceKind::Object, "S").handler(shared)]),
        [BuildProblem::WorkflowRetentionElsewhere {
            service: service_name,
            handler: handler_name
        }]
    );

    let run = handler(HandlerKind::Workflow, "h").workflow_retention(hour);
    let workflow = service(ServiceKind::Workflow, "S").idempotency_retention(hour);
    assert_eq!(problems([workflow.clone().handler(run.clone())]), []);
    let (service_name, handler_name) = names();
    assert_eq!(
        problems([workflow.handler(run.idempotency_retention(hour))]),
        [BuildProblem::IdempotencyRetentionOnWorkflow {
            service: service_name,
            handler: handler_name
        }]
    );
}

#[test]
fn retry_factors() {
    let policy = InvocationRetryPolicy::new().factor(0.0);
    let found = problems([service(ServiceKind::Service, "S")
        .retry_policy(policy)
        .handler(handler(HandlerKind::Service, "h").retry_policy(policy))]);
    let wrong = |owner: &str| BuildProblem::InvalidRetryFactor {
        owner: owner.to_owned(),
        factor: 0.0,
    };
    assert_eq!(found, [wrong("S"), wrong("S/h")]);
}

#[test]
#[cfg(feature = "identity")]
fn everything_is_told_at_once() {
    let error = Endpoint::builder()
        .identity_key("nonsense")
        .bind(plain("1", "-"))
        .bind(plain("restate", "h"))
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 4);
    let text = error.to_string();
    for part in ["`nonsense`", "`1`", "`-`", "`restate`"] {
        assert!(text.contains(part), "{text}");
    }
}
