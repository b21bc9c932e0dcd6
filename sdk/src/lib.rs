//! durably
#![forbid(unsafe_code)]

#[doc(hidden)]
#[path = "private.rs"]
#[allow(missing_docs)]
pub mod __private;
mod combinators;
mod context;
mod endpoint;
mod error;
mod executor;
mod journal;
mod kafka;
mod payload;
pub mod prelude;
mod protocol;
mod random;
mod retry;
#[cfg(feature = "http-server")]
mod server;
mod service;
#[cfg(feature = "test-server")]
pub mod test_server;

pub use context::{
    AttachHandle, AttemptFinished, Awakeable, Call, Context, DurableFuture, InvocationHandle,
    InvocationId, Key, ObjectClient, ObjectContext, OrTimeout, Promise, Random, Request, Run, Sent,
    ServiceClient, SharedObjectContext, SharedWorkflowContext, StateKey, Target, WorkflowClient,
    WorkflowContext,
};
pub use durably_macros::{handler, object, service, workflow};
pub use endpoint::{
    BuildError, BuildProblem, Endpoint, EndpointBody, EndpointBuilder, EndpointFuture,
};
pub use error::{BoxError, HandlerError, HandlerResult, RetryableError, TerminalError};
pub use kafka::{KafkaEvent, KafkaEventBuilder, KafkaRecord};
pub use payload::{Decode, Encode, FromInput, Headers, Input, Proto, Raw, Unstable};
pub use random::{ParseUuidError, Uuid};
pub use retry::RetryPolicy;
#[cfg(feature = "http-server")]
pub use server::HttpServer;
pub use service::{
    HandlerDefinition, HandlerKind, InputMetadata, InvocationRetryPolicy, OnMaxAttempts,
    OutputMetadata, Service, ServiceDefinition, ServiceKind,
};
