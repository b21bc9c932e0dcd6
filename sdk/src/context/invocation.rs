//! Handles of other invocations: attach, output, cancel, signals; and one's own named signals.

use std::{fmt, str::FromStr, sync::Arc};

use super::{
    Context, Target,
    awakeable::encode,
    call,
    future::{self, DurableFuture},
};
use crate::{
    error::TerminalError,
    executor::Cell,
    journal::{AttachTarget, Command, Completion, SignalId, Source},
    payload::{Decode, Encode},
    protocol::ids::base_62,
};

/// The id of an invocation: `inv_1` and 33 letters and digits, which are two numbers of base 62.
///
/// # Examples
///
/// ```
/// use durably::InvocationId;
///
/// let id: InvocationId = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz".parse()?;
/// assert_eq!(id.as_str().len(), 38);
/// assert!("inv_1".parse::<InvocationId>().is_err());
/// # Ok::<(), durably::TerminalError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId(String);

/// Digits behind `inv_1`: those of the partition key, which has 64 bits, and those of the invocation's own
/// number, which has 128.
const PARTITION_DIGITS: usize = 11;
const NUMBER_DIGITS: usize = 22;

/// Whether the server can read what stands behind `inv_1`. The digits have room for larger numbers than
/// there are.
fn are_digits(digits: &str) -> bool {
    let Some((partition, number)) = digits.split_at_checked(PARTITION_DIGITS) else {
        return false;
    };
    number.len() == NUMBER_DIGITS
        && base_62(partition).is_some_and(|key| u64::try_from(key).is_ok())
        && base_62(number).is_some()
}

impl InvocationId {
    /// An id that the runtime gave.
    pub(crate) fn known(id: String) -> Self {
        Self(id)
    }

    /// The id as text.
    ///
    /// # Examples
    ///
    /// See [`InvocationId`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for InvocationId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for InvocationId {
    type Err = TerminalError;

    /// The server fails the attempt, at each retry, on an id that it cannot parse: refuse it here.
    fn from_str(id: &str) -> Result<Self, TerminalError> {
        match id.strip_prefix("inv_1") {
            Some(digits) if are_digits(digits) => Ok(Self(id.to_owned())),
            _ => Err(TerminalError::new(format!(
                "`{}` is not an invocation id: those begin with `inv_1`, followed by {PARTITION_DIGITS} and \
                 {NUMBER_DIGITS} letters and digits, which are numbers of base 62 with 64 and 128 bits",
                id.escape_debug()
            ))
            .with_code(400)),
        }
    }
}

/// Another invocation, by its id; made by [`Context::invocation`] or by awaiting a
/// [`Sent`](super::Sent).
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn wait_for(ctx: &Context, id: String) -> HandlerResult<u64> {
///     let invocation = ctx.invocation(&id)?;
///     if let Some(done) = invocation.output::<u64>().await? {
///         return Ok(done);
///     }
///     Ok(invocation.attach::<u64>().await?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct InvocationHandle<'a> {
    cell: &'a Cell,
    id: InvocationId,
}

impl<'a> InvocationHandle<'a> {
    pub(crate) fn new(cell: &'a Cell, id: InvocationId) -> Self {
        Self { cell, id }
    }

    /// The invocation's id.
    ///
    /// # Examples
    ///
    /// See [`Sent`](super::Sent).
    #[must_use]
    pub fn id(&self) -> &InvocationId {
        &self.id
    }

    /// Waits for the invocation's result.
    ///
    /// # Errors
    ///
    /// The terminal failure of the invocation.
    ///
    /// # Journal
    ///
    /// An AttachInvocation command, one completion id.
    ///
    /// # Examples
    ///
    /// See [`InvocationHandle`].
    pub fn attach<T: Decode>(&self) -> DurableFuture<'a, T> {
        attach(self.cell, AttachTarget::Invocation(self.id.as_str()))
    }

    /// The invocation's result if it has ended, `None` if not; does not wait.
    ///
    /// # Errors
    ///
    /// The terminal failure of the invocation.
    ///
    /// # Journal
    ///
    /// A GetInvocationOutput command, one completion id.
    ///
    /// # Examples
    ///
    /// See [`InvocationHandle`].
    pub fn output<T: Decode>(&self) -> DurableFuture<'a, Option<T>> {
        output(self.cell, AttachTarget::Invocation(self.id.as_str()))
    }

    /// Cancels the invocation: what it awaits fails with code 409, and it may clean up.
    ///
    /// # Journal
    ///
    /// A SendSignal command, no completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn stop(ctx: &Context, id: String) -> HandlerResult<()> {
    ///     ctx.invocation(&id)?.cancel();
    ///     Ok(())
    /// }
    /// ```
    pub fn cancel(&self) {
        call::cancel(self.cell, self.id.as_str());
    }

    /// Sends a named signal with a value; [`Context::signal`] awaits it there. Signals of the same
    /// name queue up in order.
    ///
    /// # Journal
    ///
    /// A SendSignal command, no completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn go(ctx: &Context, id: String) -> HandlerResult<()> {
    ///     ctx.invocation(&id)?.resolve_signal("go", &42);
    ///     Ok(())
    /// }
    /// ```
    pub fn resolve_signal<T: Encode + ?Sized>(&self, name: &str, value: &T) {
        if let Some(payload) = encode(self.cell, value, || {
            format!("the value for signal `{name}`")
        }) {
            self.send_signal(
                name,
                Completion::Value {
                    payload: &payload,
                    stable: T::STABLE,
                },
            );
        }
    }

    /// Sends a named signal with a failure.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn stop(ctx: &Context, id: String) -> HandlerResult<()> {
    ///     ctx.invocation(&id)?.reject_signal("go", TerminalError::new("not today"));
    ///     Ok(())
    /// }
    /// ```
    pub fn reject_signal(&self, name: &str, error: TerminalError) {
        self.send_signal(name, Completion::Failure(&error));
    }

    fn send_signal(&self, name: &str, completion: Completion<'_>) {
        let target = self.id.as_str();
        self.cell.issue(
            Command::SendSignal {
                target,
                signal: SignalId::Name(name),
                completion,
            },
            "",
        );
    }
}

/// The invocation of a workflow, or the one with an idempotency key: its result can be had without
/// knowing its id. Made by [`Context::workflow_invocation`] and [`Context::idempotent_invocation`].
///
/// # Examples
///
/// ```
/// use durably::{Target, prelude::*};
///
/// async fn results(ctx: &Context) -> HandlerResult<(u64, Option<String>)> {
///     let signup = ctx.workflow_invocation("Signup", "user-7").attach::<u64>();
///     let greeting = ctx
///         .idempotent_invocation(Target::service("Greeter", "greet"), "greet-ada")
///         .output::<String>();
///     Ok(durably::try_join!(signup, greeting)?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AttachHandle<'a> {
    cell: &'a Cell,
    target: Target,
    /// None: the workflow handler.
    idempotency_key: Option<String>,
    scope: Option<String>,
}

impl<'a> AttachHandle<'a> {
    /// The scope of the invocation; needs protocol v7.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn result(ctx: &Context) -> HandlerResult<u64> {
    ///     Ok(ctx.workflow_invocation("Signup", "user-7").scope("tenant-7").attach().await?)
    /// }
    /// ```
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Waits for the invocation's result.
    ///
    /// # Errors
    ///
    /// The terminal failure of the invocation; 404 if there is no such invocation.
    ///
    /// # Examples
    ///
    /// See [`AttachHandle`].
    pub fn attach<T: Decode>(&self) -> DurableFuture<'a, T> {
        attach(self.cell, self.target())
    }

    /// The invocation's result if it has ended, `None` if not; does not wait.
    ///
    /// # Errors
    ///
    /// The terminal failure of the invocation; 404 if there is no such invocation.
    ///
    /// # Examples
    ///
    /// See [`AttachHandle`].
    pub fn output<T: Decode>(&self) -> DurableFuture<'a, Option<T>> {
        output(self.cell, self.target())
    }

    fn target(&self) -> AttachTarget<'_> {
        let scope = self.scope.as_deref();
        match &self.idempotency_key {
            Some(idempotency_key) => AttachTarget::Idempotent {
                service: self.target.service_name(),
                key: self.target.key(),
                handler: self.target.handler_name(),
                idempotency_key,
                scope,
            },
            None => AttachTarget::Workflow {
                name: self.target.service_name(),
                key: self.target.key().unwrap_or_default(),
                scope,
            },
        }
    }
}

fn attach<'a, T: Decode>(cell: &'a Cell, target: AttachTarget<'_>) -> DurableFuture<'a, T> {
    let leaf = cell.issue_awaited(Command::Attach(target), "");
    DurableFuture::new(cell, leaf, future::value)
}

fn output<'a, T: Decode>(cell: &'a Cell, target: AttachTarget<'_>) -> DurableFuture<'a, Option<T>> {
    let leaf = cell.issue_awaited(Command::GetOutput(target), "");
    DurableFuture::new(cell, leaf, future::optional)
}

impl Context {
    /// Another invocation, by its id.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] with code 400 if `id` is not an invocation id.
    ///
    /// # Examples
    ///
    /// See [`InvocationHandle`].
    pub fn invocation(&self, id: impl AsRef<str>) -> Result<InvocationHandle<'_>, TerminalError> {
        Ok(InvocationHandle::new(self.cell(), id.as_ref().parse()?))
    }

    /// The invocation of a workflow with this name and key.
    ///
    /// # Examples
    ///
    /// See [`AttachHandle`].
    pub fn workflow_invocation(
        &self,
        name: impl Into<String>,
        key: impl Into<String>,
    ) -> AttachHandle<'_> {
        AttachHandle {
            cell: self.cell(),
            target: Target::workflow(name.into(), key, ""),
            idempotency_key: None,
            scope: None,
        }
    }

    /// The invocation of this handler with this idempotency key.
    ///
    /// # Examples
    ///
    /// See [`AttachHandle`].
    pub fn idempotent_invocation(
        &self,
        target: Target,
        idempotency_key: impl Into<String>,
    ) -> AttachHandle<'_> {
        AttachHandle {
            cell: self.cell(),
            target,
            idempotency_key: Some(idempotency_key.into()),
            scope: None,
        }
    }

    /// Waits for a signal of this name, which other handlers
    /// ([`InvocationHandle::resolve_signal`]) or the server's HTTP API send to this invocation.
    /// Signals that come early are kept; each serves one wait, in order.
    ///
    /// An invocation that waits for a name of which a signal has come before does not stay suspended: the
    /// server (1.7.12) knows signals by their names alone, takes the earlier one for what is awaited, and
    /// begins the next attempt at once, until the next signal comes. Where that may take long, above all
    /// where each attempt is paid for (AWS Lambda), give each wait a name of its own, or use an
    /// [`awakeable`](Self::awakeable).
    ///
    /// # Errors
    ///
    /// The failure that the signal was sent with.
    ///
    /// # Journal
    ///
    /// No command, no completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn wait(ctx: &Context) -> HandlerResult<u64> {
    ///     Ok(ctx.signal::<u64>("go").await?)
    /// }
    /// ```
    pub fn signal<T: Decode>(&self, name: &str) -> DurableFuture<'_, T> {
        let cell = self.cell();
        let source = cell.journal(|_| Ok(Source::NamedSignal(Arc::from(name))));
        DurableFuture::of(cell, source, future::value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_the_server_can_read() {
        let zero = format!("inv_1{}", "0".repeat(33));
        for id in [
            zero.as_str(),
            "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz",
            // The largest of both numbers.
            "inv_1lYGhA16ahyf7N42dgm5tFLK9N8MT7fHC7",
        ] {
            assert_eq!(id.parse::<InvocationId>().unwrap().as_str(), id);
        }
        let all = |digit: &str| format!("inv_1{}", digit.repeat(33));
        let split = format!("inv_1{}é{}", "0".repeat(10), "0".repeat(21));
        for wrong in [
            "",
            "inv_1",
            "inv_1abc",
            "inv_2gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz",
            "sign_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz",
            "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hb",
            "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbzz",
            "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hb!",
            // One more than the largest, in each part.
            "inv_1lYGhA16ahyg7N42dgm5tFLK9N8MT7fHC7",
            "inv_1lYGhA16ahyf7N42dgm5tFLK9N8MT7fHC8",
            all("z").as_str(),
            all("ä").as_str(),
            split.as_str(),
        ] {
            let error = wrong.parse::<InvocationId>().unwrap_err();
            assert_eq!(error.code(), 400, "{wrong}");
        }
    }
}
