//! What a handler holds: its context, and the durable futures that it makes.
//!
//! Contexts come by shared reference and deref to the smaller kinds:
//! [`ObjectContext`] → [`SharedObjectContext`] → [`Context`] ← [`SharedWorkflowContext`] ←
//! [`WorkflowContext`]. Each file of this module is one family of operations.

mod awakeable;
mod call;
mod client;
mod ephemeral;
mod future;
mod info;
mod invocation;
mod promise;
mod run;
mod state;
mod target;
mod timeout;
mod timer;

use std::{ops::Deref, sync::Arc};

pub use self::{
    awakeable::Awakeable,
    call::{Call, Request, Sent},
    client::{Caller, ObjectClient, ServiceClient, WorkflowClient},
    ephemeral::EphemeralGet,
    future::DurableFuture,
    info::{AttemptFinished, Random},
    invocation::{AttachHandle, InvocationHandle, InvocationId},
    promise::Promise,
    run::Run,
    state::{Key, StateKey},
    target::Target,
    timeout::OrTimeout,
};
#[cfg(any(test, feature = "testing"))]
pub(crate) use self::{call::RequestParts, future::terminal};
use crate::executor::{AttemptHandle, Cell};

/// The context of a handler of a service, and what every context can do.
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn greet(ctx: &Context, name: String) -> HandlerResult<String> {
///     ctx.sleep(Duration::from_millis(100)).await?;
///     Ok(format!("Hello, {name}!"))
/// }
/// ```
#[derive(Debug)]
pub struct Context {
    attempt: AttemptHandle,
}

impl Context {
    pub(crate) fn cell(&self) -> &Arc<Cell> {
        &self.attempt.0
    }
}

/// Made from an attempt's handle; the macros' output uses it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a context of `durably`",
    label = "not a context",
    note = "a handler takes `&Context`, `&ObjectContext`, `&SharedObjectContext`, `&WorkflowContext` or `&SharedWorkflowContext` of the `durably` crate"
)]
#[allow(missing_docs)]
pub trait FromAttempt {
    fn from_attempt(attempt: AttemptHandle) -> Self;
}

impl FromAttempt for Context {
    fn from_attempt(attempt: AttemptHandle) -> Self {
        Self { attempt }
    }
}

macro_rules! keyed_context {
    ($(#[$doc:meta])* $name:ident => $target:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            inner: $target,
        }

        impl Deref for $name {
            type Target = $target;

            fn deref(&self) -> &$target {
                &self.inner
            }
        }

        impl FromAttempt for $name {
            fn from_attempt(attempt: AttemptHandle) -> Self {
                Self { inner: $target::from_attempt(attempt) }
            }
        }
    };
}

keyed_context! {
    /// The context of a shared handler of a virtual object: it runs beside others and may read the
    /// state, not write it.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn get(ctx: &SharedObjectContext) -> HandlerResult<u64> {
    ///     Ok(ctx.get::<u64>("count").await?.unwrap_or_default())
    /// }
    /// ```
    SharedObjectContext => Context
}

keyed_context! {
    /// The context of an exclusive handler of a virtual object: the only one at a time for its key,
    /// so that it may write the state.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn add(ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
    ///     let sum = ctx.get::<u64>("count").await?.unwrap_or_default() + n;
    ///     ctx.set("count", &sum);
    ///     Ok(sum)
    /// }
    /// ```
    ObjectContext => SharedObjectContext
}

keyed_context! {
    /// The context of a workflow's other handlers: they run beside the workflow handler, read its
    /// state, and await and complete its promises.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn approve(ctx: &SharedWorkflowContext) -> HandlerResult<()> {
    ///     Ok(ctx.promise::<bool>("approval").resolve(&true).await?)
    /// }
    /// ```
    SharedWorkflowContext => Context
}

keyed_context! {
    /// The context of the workflow handler: it runs once per key, and may write the state.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn run(ctx: &WorkflowContext) -> HandlerResult<bool> {
    ///     ctx.set("status", "waiting");
    ///     Ok(ctx.promise::<bool>("approval").await?)
    /// }
    /// ```
    WorkflowContext => SharedWorkflowContext
}

macro_rules! key {
    ($context:ident, $what:literal) => {
        impl $context {
            #[doc = concat!("The key of this ", $what, ".")]
            ///
            /// # Examples
            ///
            /// ```
            /// use durably::prelude::*;
            ///
            #[doc = concat!("fn key(ctx: &", stringify!($context), ") -> &str {")]
            ///     ctx.key()
            /// }
            /// ```
            #[must_use]
            pub fn key(&self) -> &str {
                &self.cell().info().key
            }
        }
    };
}

key!(SharedObjectContext, "virtual object");
key!(SharedWorkflowContext, "workflow");
