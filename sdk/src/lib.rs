//! durably
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod combinators;
mod context;
mod error;
mod executor;
mod journal;
mod kafka;
mod payload;
pub mod prelude;
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod protocol;
mod random;
mod retry;
mod service;

pub use context::{
    AttachHandle, AttemptFinished, Awakeable, Call, Context, DurableFuture, InvocationHandle, InvocationId, Key,
    ObjectClient, ObjectContext, OrTimeout, Promise, Random, Request, Run, Sent, ServiceClient,
    SharedObjectContext, SharedWorkflowContext, StateKey, Target, WorkflowClient, WorkflowContext,
};
pub use error::{BoxError, HandlerError, HandlerResult, RetryableError, TerminalError};
pub use kafka::{KafkaEvent, KafkaEventBuilder, KafkaRecord};
pub use payload::{Decode, Encode, FromInput, Headers, Input, Proto, Raw, Unstable};
pub use random::{ParseUuidError, Uuid};
pub use retry::RetryPolicy;
