//! What a file of handlers imports: `use durably::prelude::*;`.
//!
//! # Examples
//!
//! ```
//! use durably::prelude::*;
//!
//! async fn greet(ctx: &Context, name: String) -> HandlerResult<String> {
//!     ctx.sleep(Duration::from_millis(10)).await?;
//!     Ok(format!("Hello, {name}!"))
//! }
//! ```

pub use std::time::Duration;

#[cfg(feature = "http-server")]
pub use crate::HttpServer;
pub use crate::{
    Context, Endpoint, HandlerError, HandlerResult, KafkaEvent, ObjectContext, RetryPolicy,
    RetryableError, SharedObjectContext, SharedWorkflowContext, TerminalError, WorkflowContext,
    handler,
};
