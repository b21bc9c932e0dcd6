//! Requests to other handlers, as interceptors see and change them.

use std::{fmt, time::Duration};

use super::AttemptInfo;
use crate::Target;

/// A call or a send that is about to be recorded, with what the handler has set already.
///
/// # Examples
///
/// ```
/// use durably::{Interceptor, OutgoingRequest};
///
/// /// Says in a header who sends.
/// struct Sender;
///
/// impl Interceptor for Sender {
///     fn send(&self, request: &mut OutgoingRequest<'_>) {
///         let sender = request.caller().invocation_id().to_owned();
///         request.add_header("x-sender", sender);
///     }
/// }
/// # let _ = Sender;
/// ```
pub struct OutgoingRequest<'a> {
    pub(crate) caller: &'a AttemptInfo,
    pub(crate) index: u32,
    pub(crate) target: &'a Target,
    pub(crate) headers: &'a mut Vec<(String, String)>,
    pub(crate) idempotency_key: &'a mut Option<String>,
    pub(crate) send: Option<Duration>,
}

impl OutgoingRequest<'_> {
    /// Whom it is for.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::OutgoingRequest;
    ///
    /// fn is_for_payments(request: &OutgoingRequest<'_>) -> bool {
    ///     request.target().service_name() == "Payments"
    /// }
    /// # let _ = is_for_payments;
    /// ```
    #[must_use]
    pub fn target(&self) -> &Target {
        self.target
    }

    /// The attempt that makes it.
    ///
    /// # Examples
    ///
    /// See [`AttemptInfo`].
    #[must_use]
    pub fn caller(&self) -> &AttemptInfo {
        self.caller
    }

    /// The place of the request among the commands of its invocation: different for each request, and
    /// the same in every attempt.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`](crate::Interceptor).
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// After how long the handler is to be invoked, for a send; `None` for a call.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::OutgoingRequest;
    ///
    /// fn is_send(request: &OutgoingRequest<'_>) -> bool {
    ///     request.delay().is_some()
    /// }
    /// # let _ = is_send;
    /// ```
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.send
    }

    /// The headers so far, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::OutgoingRequest;
    ///
    /// fn has_tenant(request: &OutgoingRequest<'_>) -> bool {
    ///     request.headers().any(|(name, _)| name == "x-tenant")
    /// }
    /// # let _ = has_tenant;
    /// ```
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Adds a header behind those that are there.
    ///
    /// # Examples
    ///
    /// See [`OutgoingRequest`].
    pub fn add_header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }

    /// Sets a header in place of those of the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Interceptor, OutgoingRequest};
    ///
    /// struct Version;
    ///
    /// impl Interceptor for Version {
    ///     fn call(&self, request: &mut OutgoingRequest<'_>) {
    ///         request.set_header("x-version", "2");
    ///     }
    /// }
    /// # let _ = Version;
    /// ```
    pub fn set_header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        self.headers.push((name, value.into()));
    }

    /// The idempotency key, if it has one.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`](crate::Interceptor).
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Sets the idempotency key, which must not be empty.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`](crate::Interceptor).
    pub fn set_idempotency_key(&mut self, key: impl Into<String>) {
        *self.idempotency_key = Some(key.into());
    }
}

impl fmt::Debug for OutgoingRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingRequest")
            .field("target", &self.target)
            .field("delay", &self.send)
            .finish_non_exhaustive()
    }
}
