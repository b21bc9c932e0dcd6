//! What the output of the macros names, and nothing else. No part of the public API.

use std::{fmt, marker::PhantomData};

use crate::error::TerminalError;

pub use tokio;

pub use crate::{
    context::{Caller, Context, FromAttempt, ObjectClient, ServiceClient, Target, WorkflowClient},
    error::HandlerError,
    executor::AttemptHandle,
    kafka::{KafkaPolicy, RecordFailure},
    payload::{Encode, FromInput, Input},
    service::{
        HandlerDefinition, HandlerFn, HandlerFuture, HandlerKind, InputMetadata,
        InvocationRetryPolicy, OnMaxAttempts, OutputMetadata, Service, ServiceDefinition,
        ServiceKind,
    },
};

/// What a handler may return: a `Result` whose error becomes a [`HandlerError`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not the result of a handler",
    note = "a handler returns a `Result<T, E>`; write `HandlerResult<T>`"
)]
pub trait HandlerReturn {
    type Value;
    fn into_result(self) -> Result<Self::Value, HandlerError>;
}

impl<T, E: IntoHandlerError> HandlerReturn for Result<T, E> {
    type Value = T;
    fn into_result(self) -> Result<T, HandlerError> {
        self.map_err(IntoHandlerError::into_handler_error)
    }
}

/// The error of an input that cannot be decoded, so that the handler is not called.
pub fn decode_failure(error: TerminalError) -> HandlerError {
    HandlerError::from_decoding(error)
}

/// `Into<HandlerError>` with an error message of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "not the error of a handler",
    note = "a handler fails with `HandlerError`, `TerminalError` or any `std::error::Error` that is `Send + Sync + 'static`"
)]
pub trait IntoHandlerError {
    fn into_handler_error(self) -> HandlerError;
}

#[diagnostic::do_not_recommend]
impl<E: Into<HandlerError>> IntoHandlerError for E {
    fn into_handler_error(self) -> HandlerError {
        self.into()
    }
}

/// Metadata of a handler's input, with the schema found by [`SchemaProbe`].
pub fn input_metadata(
    required: bool,
    content_type: &str,
    json_schema: Option<serde_json::Value>,
) -> InputMetadata {
    InputMetadata {
        required,
        content_type: Some(content_type.to_owned()),
        json_schema,
    }
}

/// Metadata of a handler without input: a body that is there is ignored, whatever it is.
pub fn no_input_metadata() -> InputMetadata {
    InputMetadata::optional("*/*")
}

/// Metadata of a handler's output, with the schema found by [`SchemaProbe`].
pub fn output_metadata(
    content_type: &str,
    json_schema: Option<serde_json::Value>,
) -> OutputMetadata {
    OutputMetadata {
        content_type: Some(content_type.to_owned()),
        set_content_type_if_empty: false,
        json_schema,
    }
}

/// Compiles only if the handler result `R` holds a `T`: the type that the client promises.
pub fn assert_value<R: HandlerReturn<Value = T>, T>() {}

/// The kinds of services as types: what the `impl` of a contract says it is.
pub mod kind {
    #[derive(Debug)]
    pub struct Service;
    #[derive(Debug)]
    pub struct Object;
    #[derive(Debug)]
    pub struct Workflow;
}

/// Bounds the kind of whatever implements a service's contract.
#[diagnostic::on_unimplemented(
    message = "a service's contract is implemented as something else",
    label = "the contract of a service",
    note = "write `#[durably::service]` on its `impl`, as on the contract"
)]
pub trait OfService {}
impl OfService for kind::Service {}

/// Bounds the kind of whatever implements a virtual object's contract.
#[diagnostic::on_unimplemented(
    message = "a virtual object's contract is implemented as something else",
    label = "the contract of a virtual object",
    note = "write `#[durably::object]` on its `impl`, as on the contract"
)]
pub trait OfObject {}
impl OfObject for kind::Object {}

/// Bounds the kind of whatever implements a workflow's contract.
#[diagnostic::on_unimplemented(
    message = "a workflow's contract is implemented as something else",
    label = "the contract of a workflow",
    note = "write `#[durably::workflow]` on its `impl`, as on the contract"
)]
pub trait OfWorkflow {}
impl OfWorkflow for kind::Workflow {}

/// Finds the JSON schema of `T` where there is one, without a bound on `T`.
///
/// `(&&SchemaProbe::<T>::new()).json_schema()` with both traits in scope: method lookup tries
/// [`SchemaPresent`] on `&SchemaProbe<T>` first and falls back to [`SchemaAbsent`] on
/// `SchemaProbe<T>`.
pub struct SchemaProbe<T>(PhantomData<fn() -> T>);

impl<T> SchemaProbe<T> {
    #[expect(clippy::new_without_default, reason = "named by macro output only")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for SchemaProbe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SchemaProbe")
    }
}

/// The probe's answer for a type with a schema.
pub trait SchemaPresent {
    fn json_schema(&self) -> Option<serde_json::Value>;
}

/// The probe's answer for a type without one, and for all types without the feature `schemars`.
pub trait SchemaAbsent {
    fn json_schema(&self) -> Option<serde_json::Value> {
        None
    }
}

#[cfg(feature = "schemars")]
impl<T: schemars::JsonSchema> SchemaPresent for &SchemaProbe<T> {
    fn json_schema(&self) -> Option<serde_json::Value> {
        Some(schemars::schema_for!(T).to_value())
    }
}

impl<T> SchemaAbsent for SchemaProbe<T> {}
