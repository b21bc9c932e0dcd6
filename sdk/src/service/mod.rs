//! Services as values: names, handlers, options and how they are described to the runtime.
//!
//! The attribute macros turn an `impl` block into a [`ServiceDefinition`]; this module owns those
//! definitions, the table of options (`options`) and the endpoint manifest made of both
//! (`manifest`). Definitions flow in when an endpoint is built; manifest bytes and
//! handler functions flow out to the endpoint. This module does not check definitions (the
//! endpoint's builder does) and does not run handlers (the executor does).

pub(crate) mod manifest;
mod metadata;
pub(crate) mod options;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::HandlerError;
use crate::executor::AttemptHandle;
use crate::interceptor::{Interceptor, Stack};
use crate::kafka::KafkaPolicy;
use crate::payload::Input;

pub use metadata::{InputMetadata, OutputMetadata};
use options::Options;
pub use options::{InvocationRetryPolicy, OnMaxAttempts};

/// What a handler's attempt resolves to: the encoded output, or why there is none.
#[doc(hidden)]
pub type HandlerFuture = Pin<Box<dyn Future<Output = Result<Bytes, HandlerError>> + Send>>;

/// The erased form of a handler: the attempt it runs in and the invocation's input go in.
#[doc(hidden)]
pub type HandlerFn = Arc<dyn Fn(AttemptHandle, Input) -> HandlerFuture + Send + Sync>;

/// Something that can be bound to an endpoint.
///
/// `#[durably::service]`, `#[durably::object]` and `#[durably::workflow]` implement it for the
/// type of the `impl` block they stand on. A [`ServiceDefinition`] is a `Service` too, so options
/// can be set on it first: `.bind(greeter.definition().inactivity_timeout(…))`.
///
/// # Examples
///
/// ```
/// use durably::{Endpoint, Service, ServiceDefinition, ServiceKind};
/// # struct Greeter;
/// # impl Service for Greeter {
/// #     fn definition(self) -> ServiceDefinition {
/// #         ServiceDefinition::new(ServiceKind::Service, "Greeter")
/// #     }
/// # }
/// let definition = Greeter.definition().documentation("Greets people by name.");
/// let endpoint = Endpoint::builder().bind(definition).build()?;
/// # Ok::<(), durably::BuildError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "not a service",
    note = "put `#[durably::service]`, `#[durably::object]` or `#[durably::workflow]` on an `impl` block of it"
)]
pub trait Service: Send + Sync + Sized + 'static {
    /// The service's name, options and handlers; the handlers own what the service owned.
    fn definition(self) -> ServiceDefinition;
}

impl Service for ServiceDefinition {
    fn definition(self) -> ServiceDefinition {
        self
    }
}

/// Which of the three kinds a service is.
///
/// # Examples
///
/// ```
/// use durably::{ServiceDefinition, ServiceKind};
///
/// let definition = ServiceDefinition::new(ServiceKind::Object, "Counter");
/// assert_eq!(definition.kind(), ServiceKind::Object);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// Handlers without a key and without state.
    Service,
    /// A virtual object: handlers with a key and state; exclusive ones run one at a time for a key.
    Object,
    /// A workflow: one handler runs once for a key, shared handlers talk to it.
    Workflow,
}

impl ServiceKind {
    /// The `ty` of a service in the endpoint manifest.
    pub(crate) const fn manifest_name(self) -> &'static str {
        match self {
            Self::Service => "SERVICE",
            Self::Object => "VIRTUAL_OBJECT",
            Self::Workflow => "WORKFLOW",
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Object => "virtual object",
            Self::Workflow => "workflow",
        })
    }
}

/// How a handler of a service runs, and what its context may do.
///
/// # Examples
///
/// ```
/// use durably::{HandlerDefinition, HandlerKind};
/// # use std::sync::Arc;
/// let handler = HandlerDefinition::new(
///     HandlerKind::Shared,
///     "get",
///     Arc::new(|_, _| Box::pin(async { Ok(bytes::Bytes::new()) })),
/// );
/// assert_eq!(handler.kind(), HandlerKind::Shared);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandlerKind {
    /// A handler of a plain service.
    Service,
    /// A handler of a virtual object that runs alone for its key and may write state.
    Exclusive,
    /// A handler of a virtual object or workflow that runs beside others and only reads state.
    Shared,
    /// The one handler of a workflow that runs once for a key.
    Workflow,
}

impl HandlerKind {
    /// The `ty` of a handler in the endpoint manifest; handlers of plain services have none.
    pub(crate) const fn manifest_name(self) -> Option<&'static str> {
        match self {
            Self::Service => None,
            Self::Exclusive => Some("EXCLUSIVE"),
            Self::Shared => Some("SHARED"),
            Self::Workflow => Some("WORKFLOW"),
        }
    }

    /// Whether a service of this kind may have such a handler.
    pub(crate) const fn belongs_to(self, service: ServiceKind) -> bool {
        matches!(
            (service, self),
            (ServiceKind::Service, Self::Service)
                | (ServiceKind::Object, Self::Exclusive | Self::Shared)
                | (ServiceKind::Workflow, Self::Workflow | Self::Shared)
        )
    }
}

impl fmt::Display for HandlerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Workflow => "workflow",
        })
    }
}

/// The setters that services and handlers share; `$what` is the word for the docs.
macro_rules! shared_setters {
    ($what:literal) => {
        #[doc = concat!("Documents this ", $what, "; the server's UI and API show the text (Markdown).")]
        #[must_use]
        pub fn documentation(mut self, text: impl Into<String>) -> Self {
            self.options.documentation = Some(text.into());
            self
        }

        #[doc = concat!("Adds one pair to the metadata of this ", $what, "; a later value replaces an earlier one.")]
        #[must_use]
        pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
            self.options.metadata.insert(key.into(), value.into());
            self
        }

        /// How long an attempt may wait without progress before the runtime asks it to suspend.
        ///
        /// Zero makes the runtime use the request/response mode.
        #[must_use]
        pub fn inactivity_timeout(mut self, timeout: Duration) -> Self {
            self.options.inactivity_timeout = Some(timeout);
            self
        }

        /// How long an attempt may stay silent after it was asked to suspend, before the runtime
        /// aborts it.
        #[must_use]
        pub fn abort_timeout(mut self, timeout: Duration) -> Self {
            self.options.abort_timeout = Some(timeout);
            self
        }

        /// How long the runtime keeps the journal of a completed invocation.
        #[must_use]
        pub fn journal_retention(mut self, retention: Duration) -> Self {
            self.options.journal_retention = Some(retention);
            self
        }

        /// How long the runtime keeps the result of an invocation that had an idempotency key.
        ///
        /// The handler that runs a workflow takes
        /// [`HandlerDefinition::workflow_retention`] in its place.
        #[must_use]
        pub fn idempotency_retention(mut self, retention: Duration) -> Self {
            self.options.idempotency_retention = Some(retention);
            self
        }

        /// `true`: state is not sent along with each attempt but read when the handler asks.
        #[must_use]
        pub fn lazy_state(mut self, lazy: bool) -> Self {
            self.options.lazy_state = Some(lazy);
            self
        }

        #[doc = concat!("`true`: this ", $what, " cannot be invoked through the ingress or Kafka, only by other handlers.")]
        #[must_use]
        pub fn ingress_private(mut self, private: bool) -> Self {
            self.options.ingress_private = Some(private);
            self
        }

        /// How the runtime retries failing invocations.
        #[must_use]
        pub fn retry_policy(mut self, policy: InvocationRetryPolicy) -> Self {
            self.options.retry_policy = policy;
            self
        }

        #[doc = concat!("Adds an interceptor around this ", $what, ". Those that were added before lie around it.")]
        ///
        /// # Examples
        ///
        /// See [`Interceptor`].
        #[must_use]
        pub fn intercept(mut self, interceptor: impl Interceptor) -> Self {
            self.interceptors.push(interceptor);
            self
        }

        /// `true`: when an invocation is cancelled, nothing that it awaits fails, and no call that it has
        /// made is cancelled. It learns of it by [`Context::cancellation`](crate::Context::cancellation),
        /// and decides what to do: to end, with a [`TerminalError`](crate::TerminalError) or without; to
        /// come to an orderly end of what it does first; to cancel its calls
        /// ([`Call::cancel`](crate::Call::cancel)); or nothing at all. The runtime is not told of this; a
        /// kill ends the invocation as ever.
        ///
        /// # Examples
        ///
        /// See [`Context::cancellation`](crate::Context::cancellation).
        #[must_use]
        pub fn explicit_cancellation(mut self, explicit: bool) -> Self {
            self.explicit_cancellation = Some(explicit);
            self
        }
    };
}

/// A service as the runtime is told of it: kind, name, options and handlers.
///
/// Usually made by the macros. Options that are not set keep the server's defaults.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use durably::{HandlerDefinition, HandlerKind, ServiceDefinition, ServiceKind};
///
/// let greet = HandlerDefinition::new(
///     HandlerKind::Service,
///     "greet",
///     Arc::new(|_attempt, input| Box::pin(async move { Ok(input.body().clone()) })),
/// );
/// let greeter = ServiceDefinition::new(ServiceKind::Service, "Greeter")
///     .documentation("Greets people by name.")
///     .metadata("team", "welcome")
///     .inactivity_timeout(Duration::from_secs(30))
///     .abort_timeout(Duration::from_secs(60))
///     .journal_retention(Duration::from_secs(86_400))
///     .idempotency_retention(Duration::from_secs(3_600))
///     .lazy_state(true)
///     .ingress_private(true)
///     .handler(greet);
/// assert_eq!(greeter.name(), "Greeter");
/// ```
#[derive(Clone)]
pub struct ServiceDefinition {
    kind: ServiceKind,
    name: String,
    pub(crate) options: Options,
    pub(crate) interceptors: Stack,
    pub(crate) explicit_cancellation: Option<bool>,
    pub(crate) handlers: Vec<HandlerDefinition>,
    /// Handlers that were to be configured and are not there.
    pub(crate) missing: Vec<String>,
}

impl ServiceDefinition {
    /// A service without handlers and options.
    ///
    /// The name is checked when the endpoint is built.
    pub fn new(kind: ServiceKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            options: Options::default(),
            interceptors: Stack::default(),
            explicit_cancellation: None,
            handlers: Vec::new(),
            missing: Vec::new(),
        }
    }

    shared_setters!("service");

    /// Adds a handler.
    #[must_use]
    pub fn handler(mut self, handler: HandlerDefinition) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Changes a handler that is there: for options of one handler that the macros have made. That there is
    /// none of this name is an error when the endpoint is built.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Service as _, prelude::*};
    ///
    /// struct Reports;
    ///
    /// #[durably::service]
    /// impl Reports {
    ///     #[handler]
    ///     async fn daily(&self, _ctx: &Context) -> HandlerResult<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let reports = Reports
    ///     .definition()
    ///     .with_handler("daily", |daily| daily.explicit_cancellation(true));
    /// let endpoint = Endpoint::builder().bind(reports).build()?;
    /// # Ok::<(), durably::BuildError>(())
    /// ```
    #[must_use]
    pub fn with_handler(
        mut self,
        name: &str,
        change: impl FnOnce(HandlerDefinition) -> HandlerDefinition,
    ) -> Self {
        match self
            .handlers
            .iter_mut()
            .find(|handler| handler.name == name)
        {
            Some(handler) => *handler = change(handler.clone()),
            None => self.missing.push(name.to_owned()),
        }
        self
    }

    /// The name under which the service is registered.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Service, virtual object or workflow.
    #[must_use]
    pub fn kind(&self) -> ServiceKind {
        self.kind
    }

    /// The handlers, in the order in which they were added.
    #[must_use]
    pub fn handlers(&self) -> &[HandlerDefinition] {
        &self.handlers
    }
}

impl fmt::Debug for ServiceDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceDefinition")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

/// A handler as the runtime is told of it: kind, name, options, what goes in and what comes out.
///
/// An option set here wins over the same option of the service.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use durably::{
///     HandlerDefinition, HandlerKind, InputMetadata, InvocationRetryPolicy, OutputMetadata,
/// };
///
/// let run = HandlerDefinition::new(
///     HandlerKind::Workflow,
///     "run",
///     Arc::new(|_attempt, input| Box::pin(async move { Ok(input.body().clone()) })),
/// )
/// .workflow_retention(Duration::from_secs(86_400))
/// .retry_policy(InvocationRetryPolicy::new().max_attempts(10))
/// .input(InputMetadata::required("application/json"))
/// .output(OutputMetadata::of("application/json"));
/// assert_eq!(run.name(), "run");
/// ```
#[derive(Clone)]
pub struct HandlerDefinition {
    kind: HandlerKind,
    name: String,
    pub(crate) options: Options,
    pub(crate) input: Option<InputMetadata>,
    pub(crate) output: Option<OutputMetadata>,
    pub(crate) interceptors: Stack,
    /// Lies around the interceptors of all levels.
    pub(crate) kafka: Option<KafkaPolicy>,
    pub(crate) explicit_cancellation: Option<bool>,
    pub(crate) function: HandlerFn,
}

impl HandlerDefinition {
    /// A handler without options that takes any input and gives JSON.
    ///
    /// The name is checked when the endpoint is built.
    pub fn new(kind: HandlerKind, name: impl Into<String>, handler: HandlerFn) -> Self {
        Self {
            kind,
            name: name.into(),
            options: Options::default(),
            input: None,
            output: None,
            interceptors: Stack::default(),
            kafka: None,
            explicit_cancellation: None,
            function: handler,
        }
    }

    shared_setters!("handler");

    /// How long the runtime keeps the state, promises and result of a completed workflow.
    ///
    /// Only for the handler that runs the workflow ([`HandlerKind::Workflow`]).
    #[must_use]
    pub fn workflow_retention(mut self, retention: Duration) -> Self {
        self.options.workflow_retention = Some(retention);
        self
    }

    /// What the handler takes; without it, any body of any content type, or none.
    #[must_use]
    pub fn input(mut self, input: InputMetadata) -> Self {
        self.input = Some(input);
        self
    }

    /// What the handler gives; without it, `application/json`.
    #[must_use]
    pub fn output(mut self, output: OutputMetadata) -> Self {
        self.output = Some(output);
        self
    }

    /// The name under which the handler is invoked.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the handler runs.
    #[must_use]
    pub fn kind(&self) -> HandlerKind {
        self.kind
    }
}

impl fmt::Debug for HandlerDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerDefinition")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
