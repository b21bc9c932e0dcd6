//! Awakeables: results that somebody outside delivers.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::{
    Context,
    future::{self, DurableFuture},
    timeout::OrTimeout,
};
use crate::{
    error::TerminalError,
    executor::Cell,
    journal::{AttemptError, Command, Completion, Source},
    payload::{Decode, Encode},
    protocol::ids::base_64,
};

/// A result that somebody outside delivers, by its id; made by [`Context::awakeable`].
///
/// # Examples
///
/// ```
/// use durably::prelude::*;
///
/// async fn approve(ctx: &Context) -> HandlerResult<bool> {
///     let approval = ctx.awakeable::<bool>();
///     let id = approval.id().to_owned();
///     ctx.run("ask", async || Ok::<_, std::io::Error>(println!("approve {id}?"))).await?;
///     Ok(approval.await?)
/// }
/// ```
#[must_use = "await it, or its result is lost"]
pub struct Awakeable<'a, T> {
    cell: &'a Cell,
    id: String,
    future: DurableFuture<'a, T>,
}

impl<'a, T> Awakeable<'a, T> {
    /// The id by which it is completed: through a context
    /// ([`resolve_awakeable`](Context::resolve_awakeable)) or the server's HTTP API.
    ///
    /// # Examples
    ///
    /// See [`Awakeable`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits at most `duration`, like [`DurableFuture::or_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn approve(ctx: &Context) -> HandlerResult<bool> {
    ///     Ok(ctx.awakeable::<bool>().or_timeout(Duration::from_secs(60)).await?)
    /// }
    /// ```
    pub fn or_timeout(self, duration: Duration) -> OrTimeout<'a, Self> {
        OrTimeout::new(self.cell, self, duration)
    }
}

impl<T> Future for Awakeable<'_, T> {
    type Output = Result<T, TerminalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(cx)
    }
}

impl<T> fmt::Debug for Awakeable<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awakeable")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Bytes of an invocation's raw id within an awakeable id.
const RAW_ID_LEN: usize = 24;

/// `sign_1` and the base64url, without padding, of the invocation's raw id and the signal id.
fn awakeable_id(raw_id: &[u8], signal: u32) -> String {
    let mut bytes = Vec::with_capacity(raw_id.len() + 4);
    bytes.extend_from_slice(raw_id);
    bytes.extend_from_slice(&signal.to_be_bytes());
    let mut id = "sign_1".to_owned();
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, &mut id);
    id
}

/// The server fails the attempt, at each retry, on an id that it cannot parse: refuse it here.
/// Ids of the older form `prom_1` pass; the server takes padding or none, but no more than there can be.
fn check_awakeable_id(id: &str) -> Result<(), TerminalError> {
    let encoded = id
        .strip_prefix("sign_1")
        .or_else(|| id.strip_prefix("prom_1"));
    let decoded = encoded.and_then(|encoded| base_64(encoded).ok());
    if decoded.is_some_and(|bytes| bytes.len() == RAW_ID_LEN + 4) {
        return Ok(());
    }
    Err(TerminalError::new(format!(
        "`{}` is not the id of an awakeable: those begin with `sign_1` and have 44 characters",
        id.escape_debug()
    ))
    .with_code(400))
}

impl Context {
    /// Creates an awakeable: a result that somebody outside delivers, exactly once. Its
    /// [`id`](Awakeable::id) goes to whoever completes it.
    ///
    /// # Journal
    ///
    /// No command, no completion id: it takes the next signal id of the invocation, from 17 on.
    ///
    /// # Examples
    ///
    /// See [`Awakeable`].
    pub fn awakeable<T: Decode>(&self) -> Awakeable<'_, T> {
        let cell = self.cell();
        let signal = cell.next_awakeable();
        Awakeable {
            cell,
            id: awakeable_id(&cell.info().raw_id, signal.unwrap_or_default()),
            future: DurableFuture::of(cell, signal.map(Source::Signal), future::value),
        }
    }

    /// Completes an awakeable of any invocation with a value. Completing it a second time has no
    /// effect.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] with code 400 if `id` is not the id of an awakeable.
    ///
    /// # Journal
    ///
    /// A CompleteAwakeable command, no completion id.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn approve(ctx: &Context, id: String) -> HandlerResult<()> {
    ///     ctx.resolve_awakeable(&id, &true)?;
    ///     Ok(())
    /// }
    /// ```
    pub fn resolve_awakeable<T: Encode + ?Sized>(
        &self,
        id: &str,
        value: &T,
    ) -> Result<(), TerminalError> {
        check_awakeable_id(id)?;
        if let Some(payload) = encode(self.cell(), value, || "the value for an awakeable".into()) {
            let completion = Completion::Value {
                payload: &payload,
                stable: T::STABLE,
            };
            self.cell()
                .issue(Command::CompleteAwakeable { id, completion }, "");
        }
        Ok(())
    }

    /// Completes an awakeable of any invocation with a failure: whoever awaits it gets `error`.
    ///
    /// # Errors
    ///
    /// A [`TerminalError`] with code 400 if `id` is not the id of an awakeable.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::prelude::*;
    ///
    /// async fn refuse(ctx: &Context, id: String) -> HandlerResult<()> {
    ///     ctx.reject_awakeable(&id, TerminalError::new("not today"))?;
    ///     Ok(())
    /// }
    /// ```
    pub fn reject_awakeable(&self, id: &str, error: TerminalError) -> Result<(), TerminalError> {
        check_awakeable_id(id)?;
        self.cell().issue(
            Command::CompleteAwakeable {
                id,
                completion: Completion::Failure(&error),
            },
            "",
        );
        Ok(())
    }
}

/// Encodes a payload of the handler's; one that cannot be encoded ends the attempt.
pub(crate) fn encode<T: Encode + ?Sized>(
    cell: &Cell,
    value: &T,
    what: impl FnOnce() -> String,
) -> Option<Bytes> {
    match value.encode() {
        Ok(payload) => Some(payload),
        Err(error) => {
            let fault = AttemptError::internal(format!("{} cannot be encoded", what()));
            cell.fault(fault.quoting(&error));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_that_the_server_reads() {
        let id = awakeable_id(&[0xFF; RAW_ID_LEN], 17);
        assert_eq!(id, "sign_1________________________________AAAAEQ");
        assert_eq!(id.len(), 6 + 38);
        assert!(check_awakeable_id(&id).is_ok());
        assert!(check_awakeable_id(&format!("{id}=")).is_ok());
        assert!(check_awakeable_id(&format!("{id}==")).is_ok());
        let padded_too_far = format!("{id}===");
        assert!(check_awakeable_id(&id.replace("sign_1", "prom_1")).is_ok());
        for wrong in [
            "",
            "sign_1",
            "sign_1AAAA",
            "sign_2",
            "inv_1abc",
            "sign_1ä",
            &id[..43],
            padded_too_far.as_str(),
        ] {
            let error = check_awakeable_id(wrong).unwrap_err();
            assert_eq!(error.code(), 400, "{wrong}");
        }
    }
}
