//! From definitions to an [`Endpoint`]: everything that can be wrong is found here, at once.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::drain::Drain;
use super::error::{BuildError, BuildProblem};
use super::{Endpoint, Handler, ManifestModes, Manifests, Registry, Shared};
use super::{clock, timer};
use crate::executor::{Clock, Setting};
use crate::interceptor::{Interceptor, Stack, layers};
use crate::protocol::{ProtocolVersion, frame::Limits};
use crate::service::manifest::{ManifestVersion, ProtocolMode, ProtocolRange, render};
use crate::service::options::Options;
use crate::service::{HandlerDefinition, HandlerKind, Service, ServiceDefinition, ServiceKind};

/// Collects services and options for an [`Endpoint`].
///
/// # Examples
///
/// ```
/// use durably::{Endpoint, ServiceDefinition, ServiceKind};
///
/// let endpoint = Endpoint::builder()
///     .bind(ServiceDefinition::new(ServiceKind::Service, "Greeter"))
///     .bind(ServiceDefinition::new(ServiceKind::Object, "Counter"))
///     .max_message_size(16 * 1024 * 1024)
///     .build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
#[must_use = "an endpoint is made by `build`"]
pub struct EndpointBuilder {
    services: Vec<ServiceDefinition>,
    problems: Vec<BuildProblem>,
    limits: Limits,
    max_version: ProtocolVersion,
    clock: Clock,
    interceptors: Stack,
    explicit_cancellation: bool,
    #[cfg(feature = "identity")]
    identity: super::identity::Identity,
}

impl EndpointBuilder {
    pub(super) fn new() -> Self {
        Self {
            services: Vec::new(),
            problems: Vec::new(),
            limits: Limits::default(),
            max_version: ProtocolVersion::MAX,
            clock: clock::system(),
            interceptors: Stack::default(),
            explicit_cancellation: false,
            #[cfg(feature = "identity")]
            identity: super::identity::Identity::default(),
        }
    }

    /// Serves this service, too.
    ///
    /// Takes what the macros made, or a [`ServiceDefinition`] with options set on it.
    pub fn bind(mut self, service: impl Service) -> Self {
        self.services.push(service.definition());
        self
    }

    /// Adds an interceptor around all services. Those that were added before lie around it.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`].
    pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
        self.interceptors.push(interceptor);
        self
    }

    /// Whether handlers decide by themselves what a cancellation means, where neither they nor their
    /// services say so: see [`HandlerDefinition::explicit_cancellation`].
    ///
    /// # Examples
    ///
    /// ```
    /// let endpoint = durably::Endpoint::builder().explicit_cancellation(true).build()?;
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    pub fn explicit_cancellation(mut self, explicit: bool) -> Self {
        self.explicit_cancellation = explicit;
        self
    }

    /// Serves only requests that a server signed with the private key to this public key.
    ///
    /// Keys are written `publickeyv1_…`; the server prints its own when it is told to sign. With
    /// several keys, any of them may match, so keys can be exchanged without a gap. Every request
    /// must then be signed, those to `/discover` and `/health` among them.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Endpoint;
    ///
    /// let key = "publickeyv1_w7YHemBctH5Ck2nQRQ47iBBqhNHy4FV7t2Usbye2A6f";
    /// let endpoint = Endpoint::builder().identity_key(key).build()?;
    ///
    /// let error = Endpoint::builder().identity_key("w7YHemBctH5Ck2").build().unwrap_err();
    /// assert!(error.to_string().contains("does not start with `publickeyv1_`"));
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    #[cfg(feature = "identity")]
    pub fn identity_key(mut self, key: impl AsRef<str>) -> Self {
        let key = key.as_ref();
        if let Err(reason) = self.identity.add(key) {
            let problem = BuildProblem::InvalidIdentityKey {
                key: key.to_owned(),
                reason,
            };
            self.problems.push(problem);
        }
        self
    }

    /// The largest message of the service protocol, in bytes, that is taken from the runtime.
    ///
    /// An attempt that is announced a larger one fails before anything is allocated for it. The
    /// default is 64 MiB, twice what a server sends unless it is told otherwise.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.limits.incoming = bytes;
        self
    }

    /// The largest message of the service protocol, in bytes, that is sent to the runtime: a command
    /// with its payload, the result of a run, the handler's output.
    ///
    /// An attempt that would send a larger one fails with an error that names the command, before
    /// any of it is sent. It is retried as the invocation's retry policy says, so that a handler
    /// that is mended goes on where it was.
    ///
    /// The default is 32 MiB − 64 KiB (33,488,896 bytes, a frame's header not counted), a little below
    /// the server's own limit of 32 MiB. Between the two, server 1.7.12 takes a message but cannot
    /// send its content back, for lack of memory for the invocation: the result of a run or of a call
    /// then never arrives, without an error. Raise this together with the server's
    /// `message-size-limit` and the memory that it gives to an invocation.
    pub fn max_outgoing_message_size(mut self, bytes: usize) -> Self {
        self.limits.outgoing = bytes;
        self
    }

    /// The largest journal of one invocation, in bytes, that is taken from the runtime: its messages
    /// and the eager state, recorded or arriving while the attempt runs.
    ///
    /// An attempt keeps its journal in memory until it ends. One whose journal is larger fails, again
    /// at each retry; the server's limit on a journal, if it has one, should be below. The default is
    /// 1 GiB, far above what a handler should let its journal grow to, so that a single invocation
    /// does not take a process down with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Endpoint;
    ///
    /// // In a container with little memory.
    /// let endpoint = Endpoint::builder().max_journal_size(32 * 1024 * 1024).build()?;
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    pub fn max_journal_size(mut self, bytes: usize) -> Self {
        self.limits.journal = bytes;
        self
    }

    /// Offers version 8 of the service protocol, which no released server speaks yet.
    ///
    /// What it brings may change until one does.
    pub fn experimental_protocol_v8(mut self, offer: bool) -> Self {
        self.max_version = if offer {
            ProtocolVersion::V8
        } else {
            ProtocolVersion::MAX
        };
        self
    }

    /// Another clock than the system's.
    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks everything and makes the endpoint.
    ///
    /// # Errors
    ///
    /// Names that are invalid, reserved or taken, options that the server would refuse and bad
    /// identity keys, all in one [`BuildError`].
    pub fn build(self) -> Result<Endpoint, BuildError> {
        let Self {
            services,
            mut problems,
            ..
        } = self;
        check(&services, &mut problems);
        if !problems.is_empty() {
            return Err(BuildError::new(problems));
        }
        let protocol = ProtocolRange {
            min: ProtocolVersion::MIN.number(),
            max: self.max_version.number(),
        };
        let manifests = Manifests::new(|version, mode| render(&services, version, mode, protocol));
        Ok(Endpoint {
            shared: Arc::new(Shared {
                services: registry(services, &self.interceptors, self.explicit_cancellation),
                manifests,
                limits: self.limits,
                max_version: self.max_version,
                clock: self.clock,
                drain: Drain::default(),
                #[cfg(feature = "identity")]
                identity: self.identity,
            }),
        })
    }
}

impl fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl Manifests {
    fn new(render: impl Fn(ManifestVersion, ProtocolMode) -> Result<Vec<u8>, String>) -> Self {
        Self(ManifestVersion::ALL.map(|version| {
            let manifest = |mode| render(version, mode).map(bytes::Bytes::from);
            ManifestModes {
                bidi_stream: manifest(ProtocolMode::BidiStream),
                request_response: manifest(ProtocolMode::RequestResponse),
                #[cfg(feature = "lambda")]
                lambda: manifest(ProtocolMode::Lambda),
            }
        }))
    }
}

fn registry(
    services: Vec<ServiceDefinition>,
    interceptors: &Stack,
    explicit_cancellation: bool,
) -> Registry {
    let mut registry = Registry::with_capacity(services.len());
    for service in services {
        let name: Arc<str> = service.name().into();
        let (outer, explicit) = (service.interceptors, service.explicit_cancellation);
        let handlers = service.handlers.into_iter().map(|handler| {
            let layers = layers([interceptors, &outer, &handler.interceptors]);
            let explicit = handler.explicit_cancellation.or(explicit);
            let (kind, handler_name) = (handler.kind(), handler.name().into());
            let mut function = handler.function;
            if let Some(layers) = &layers {
                function = layers.around(function);
            }
            if let Some(policy) = handler.kafka {
                function = policy.around(function, kind);
            }
            let entry = Handler {
                service: Arc::clone(&name),
                name: handler_name,
                function,
                setting: Setting {
                    timer: timer::system(),
                    layers,
                    explicit_cancellation: explicit.unwrap_or(explicit_cancellation),
                },
            };
            (Arc::clone(&entry.name), entry)
        });
        let handlers: HashMap<_, _> = handlers.collect();
        registry.insert(name, handlers);
    }
    registry
}

/// Finds everything in the definitions that is wrong in itself or that the server refuses.
fn check(services: &[ServiceDefinition], problems: &mut Vec<BuildProblem>) {
    let mut names = HashSet::new();
    for service in services {
        let name = service.name();
        if !names.insert(name) {
            problems.push(BuildProblem::DuplicateService {
                service: name.to_owned(),
            });
        }
        if !is_name(name, |byte| matches!(byte, b'.' | b'_' | b'-')) {
            problems.push(BuildProblem::InvalidServiceName {
                service: name.to_owned(),
            });
        } else if is_reserved(name) {
            problems.push(BuildProblem::ReservedServiceName {
                service: name.to_owned(),
            });
        }
        check_factor(&service.options, || name.to_owned(), problems);
        check_handlers(service, problems);
    }
}

fn check_handlers(service: &ServiceDefinition, problems: &mut Vec<BuildProblem>) {
    problems.extend(
        service
            .missing
            .iter()
            .map(|handler| BuildProblem::NoSuchHandler {
                service: service.name().to_owned(),
                handler: handler.clone(),
            }),
    );
    let mut names = HashSet::new();
    for handler in service.handlers() {
        let (service_name, handler_name) = (service.name(), handler.name());
        let owned = || (service_name.to_owned(), handler_name.to_owned());
        if !names.insert(handler_name) {
            let (service, handler) = owned();
            problems.push(BuildProblem::DuplicateHandler { service, handler });
        }
        if !is_name(handler_name, |byte| byte == b'_') {
            let (service, handler) = owned();
            problems.push(BuildProblem::InvalidHandlerName { service, handler });
        }
        if !handler.kind().belongs_to(service.kind()) {
            problems.push(BuildProblem::WrongHandlerKind {
                service: service_name.to_owned(),
                service_kind: service.kind(),
                handler: handler_name.to_owned(),
                handler_kind: handler.kind(),
            });
        }
        check_factor(
            &handler.options,
            || format!("{service_name}/{handler_name}"),
            problems,
        );
        check_options(service, handler, problems);
    }
    if service.kind() == ServiceKind::Workflow {
        let runs = |handler: &&HandlerDefinition| handler.kind() == HandlerKind::Workflow;
        let handlers: Vec<String> = service
            .handlers()
            .iter()
            .filter(runs)
            .map(|handler| handler.name().into())
            .collect();
        let service = service.name().to_owned();
        match handlers.len() {
            0 => problems.push(BuildProblem::NoWorkflowHandler { service }),
            1 => {}
            _ => problems.push(BuildProblem::SeveralWorkflowHandlers { service, handlers }),
        }
    }
}

/// The combinations that the server refuses when a deployment is registered.
fn check_options(
    service: &ServiceDefinition,
    handler: &HandlerDefinition,
    problems: &mut Vec<BuildProblem>,
) {
    let owned = || (service.name().to_owned(), handler.name().to_owned());
    if service.options.ingress_private == Some(true)
        && handler.options.ingress_private == Some(false)
    {
        let (service, handler) = owned();
        problems.push(BuildProblem::PublicHandlerInPrivateService { service, handler });
    }
    let runs_workflow = handler.kind() == HandlerKind::Workflow;
    if handler.options.workflow_retention.is_some() && !runs_workflow {
        let (service, handler) = owned();
        problems.push(BuildProblem::WorkflowRetentionElsewhere { service, handler });
    }
    if handler.options.idempotency_retention.is_some() && runs_workflow {
        let (service, handler) = owned();
        problems.push(BuildProblem::IdempotencyRetentionOnWorkflow { service, handler });
    }
}

fn check_factor(options: &Options, owner: impl Fn() -> String, problems: &mut Vec<BuildProblem>) {
    if let Some(factor) = options.retry_policy.invalid_factor() {
        problems.push(BuildProblem::InvalidRetryFactor {
            owner: owner(),
            factor,
        });
    }
}

/// `([a-zA-Z]|_[a-zA-Z0-9])` and then letters, digits and whatever `more` allows.
fn is_name(name: &str, more: impl Fn(u8) -> bool) -> bool {
    let rest = match name.as_bytes() {
        [b'_', second, rest @ ..] if second.is_ascii_alphanumeric() => rest,
        [first, rest @ ..] if first.is_ascii_alphabetic() => rest,
        _ => return false,
    };
    rest.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || more(*byte))
}

fn is_reserved(name: &str) -> bool {
    let prefix = name.as_bytes().get(.."restate".len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"restate"))
        || name.eq_ignore_ascii_case("openapi")
}

#[cfg(test)]
mod tests;
