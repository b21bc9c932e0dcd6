//! What can be wrong with an endpoint ([`BuildError`]) and with a request to it ([`RequestError`]).

use std::fmt;

use http::StatusCode;

use crate::service::{HandlerKind, ServiceKind};

/// Why an endpoint cannot be built: everything that is wrong, not only the first thing.
///
/// # Examples
///
/// ```
/// use durably::{BuildProblem, Endpoint, ServiceDefinition, ServiceKind};
///
/// let error = Endpoint::builder()
///     .bind(ServiceDefinition::new(ServiceKind::Service, "restate-like"))
///     .bind(ServiceDefinition::new(ServiceKind::Service, "9lives"))
///     .build()
///     .unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// assert!(matches!(error.problems()[0], BuildProblem::ReservedServiceName { .. }));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct BuildError {
    problems: Vec<BuildProblem>,
}

impl BuildError {
    pub(crate) fn new(problems: Vec<BuildProblem>) -> Self {
        Self { problems }
    }

    /// Each thing that is wrong, in the order in which it was bound.
    #[must_use]
    pub fn problems(&self) -> &[BuildProblem] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the endpoint cannot be built: ")?;
        for (i, problem) in self.problems.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// One thing that is wrong with an endpoint.
///
/// # Examples
///
/// ```
/// use durably::{BuildProblem, Endpoint, ServiceDefinition, ServiceKind};
///
/// let error = Endpoint::builder()
///     .bind(ServiceDefinition::new(ServiceKind::Workflow, "SignUp"))
///     .build()
///     .unwrap_err();
/// let missing = BuildProblem::NoWorkflowHandler { service: "SignUp".into() };
/// assert_eq!(error.problems(), [missing]);
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildProblem {
    /// Two services have one name.
    #[error("two services are named `{service}`: bind it once, or give one of them another name")]
    DuplicateService {
        /// The name.
        service: String,
    },
    /// Two handlers of a service have one name.
    #[error("service `{service}` has two handlers named `{handler}`: rename one of them")]
    DuplicateHandler {
        /// The service.
        service: String,
        /// The name.
        handler: String,
    },
    /// A handler was to be configured that the service does not have.
    #[error("service `{service}` has no handler `{handler}` that `with_handler` could change")]
    NoSuchHandler {
        /// The service.
        service: String,
        /// The name.
        handler: String,
    },
    /// The name of a service is none that the server takes.
    #[error(
        "`{service}` is no service name: it must start with a letter (or an underscore and a \
         letter or digit), then letters, digits, `.`, `_` and `-`"
    )]
    InvalidServiceName {
        /// The name.
        service: String,
    },
    /// The name of a service is reserved by the server.
    #[error(
        "the service name `{service}` is reserved: names that start with `restate`, and `openapi`, \
         belong to the server"
    )]
    ReservedServiceName {
        /// The name.
        service: String,
    },
    /// The name of a handler is none that the server takes.
    #[error(
        "`{handler}` (in service `{service}`) is no handler name: it must start with a letter (or an \
         underscore and a letter or digit), then letters, digits and `_`"
    )]
    InvalidHandlerName {
        /// The service.
        service: String,
        /// The name.
        handler: String,
    },
    /// A handler is of a kind that its service cannot have.
    #[error("the {service_kind} `{service}` cannot have the {handler_kind} handler `{handler}`")]
    WrongHandlerKind {
        /// The service.
        service: String,
        /// Its kind.
        service_kind: ServiceKind,
        /// The handler.
        handler: String,
        /// Its kind.
        handler_kind: HandlerKind,
    },
    /// A workflow has no handler that runs it.
    #[error("the workflow `{service}` has no workflow handler: one handler must run it")]
    NoWorkflowHandler {
        /// The service.
        service: String,
    },
    /// A workflow has several handlers that run it.
    #[error(
        "the workflow `{service}` has several workflow handlers ({}): one runs it, make the others \
         shared", .handlers.join(", ")
    )]
    SeveralWorkflowHandlers {
        /// The service.
        service: String,
        /// The handlers.
        handlers: Vec<String>,
    },
    /// A handler is public although its service is private.
    #[error(
        "handler `{service}/{handler}` sets `ingressPrivate: false`, but its service is private: a \
         handler can only be more private than its service"
    )]
    PublicHandlerInPrivateService {
        /// The service.
        service: String,
        /// The handler.
        handler: String,
    },
    /// A workflow retention on a handler that runs no workflow.
    #[error(
        "handler `{service}/{handler}` sets `workflowCompletionRetention`, which only the handler \
         that runs a workflow has"
    )]
    WorkflowRetentionElsewhere {
        /// The service.
        service: String,
        /// The handler.
        handler: String,
    },
    /// An idempotency retention on the handler that runs a workflow.
    #[error(
        "handler `{service}/{handler}` sets `idempotencyRetention`, but it runs a workflow: set \
         `workflowCompletionRetention`"
    )]
    IdempotencyRetentionOnWorkflow {
        /// The service.
        service: String,
        /// The handler.
        handler: String,
    },
    /// A retry policy whose factor is no positive, finite number.
    #[error(
        "the retry policy of `{owner}` has the factor {factor}: it must be finite and above zero"
    )]
    InvalidRetryFactor {
        /// The service, or `service/handler`.
        owner: String,
        /// The factor.
        factor: f64,
    },
    /// A request identity key that is none.
    #[error("`{key}` is no request identity key: {reason}")]
    InvalidIdentityKey {
        /// The key as it was given.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A request that gets no attempt: a status and one line of text that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[cfg(feature = "identity")]
    #[error(
        "request identity check failed: the request must be signed by the server that this endpoint trusts"
    )]
    Unauthorized,
    #[error(
        "no such path: use GET …/discover, GET …/health or POST …/invoke/{{service}}/{{handler}}"
    )]
    NoSuchPath,
    #[error("{path} takes {method} requests")]
    WrongMethod {
        path: &'static str,
        method: &'static str,
    },
    #[error(
        "no service named `{service}` is bound to this endpoint: if it has gone, register the deployment again"
    )]
    NoSuchService { service: String },
    #[error(
        "service `{service}` has no handler named `{handler}`: if it has gone, register the deployment again"
    )]
    NoSuchHandler { service: String, handler: String },
    #[error("{0}")]
    UnsupportedManifest(String),
    #[error("{0}")]
    UnsupportedProtocol(String),
}

impl RequestError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            #[cfg(feature = "identity")]
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            // The wrong method on a known path too: there is nothing at that path for it.
            Self::NoSuchPath
            | Self::WrongMethod { .. }
            | Self::NoSuchService { .. }
            | Self::NoSuchHandler { .. } => StatusCode::NOT_FOUND,
            Self::UnsupportedManifest(_) | Self::UnsupportedProtocol(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
        }
    }
}

/// At most so much of a request is repeated in an answer.
const QUOTED: usize = 200;

/// The text as one line of bounded length.
pub(crate) fn printable(text: &str) -> String {
    let mut line: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(QUOTED)
        .collect();
    if text.chars().nth(QUOTED).is_some() {
        line.push('…');
    }
    line
}
