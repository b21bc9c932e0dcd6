//! What the output of the macros names, and nothing else. No part of the public API.

pub use tokio;

pub use crate::{
    context::{FromAttempt, ObjectClient, Request, ServiceClient, Target, WorkflowClient},
    executor::AttemptHandle,
};
