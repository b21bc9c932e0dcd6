//! What interceptors may know of an attempt, and of its end.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{executor::Cell, payload::Headers};

/// An attempt, as interceptors see it.
///
/// # Examples
///
/// ```
/// use durably::{Interceptor, OutgoingRequest};
///
/// /// Hands the tenant of an invocation on to whom it calls.
/// struct Tenant;
///
/// impl Interceptor for Tenant {
///     fn call(&self, request: &mut OutgoingRequest<'_>) {
///         let tenant = request.caller().headers().get("x-tenant").map(str::to_owned);
///         if let Some(tenant) = tenant {
///             request.add_header("x-tenant", tenant);
///         }
///     }
/// }
/// # let _ = Tenant;
/// ```
#[derive(Clone)]
pub struct AttemptInfo(Arc<Cell>);

impl AttemptInfo {
    pub(crate) fn new(cell: &Arc<Cell>) -> Self {
        Self(Arc::clone(cell))
    }

    /// The names of service and handler, to be kept.
    #[cfg(any(feature = "metrics", feature = "opentelemetry"))]
    pub(crate) fn shared_names(&self) -> (Arc<str>, Arc<str>) {
        let request = &self.0.request;
        (Arc::clone(&request.service), Arc::clone(&request.handler))
    }

    pub(super) fn cell(&self) -> &Arc<Cell> {
        &self.0
    }

    /// The id of the invocation.
    ///
    /// # Examples
    ///
    /// See [`Interceptor`](crate::Interceptor).
    #[must_use]
    pub fn invocation_id(&self) -> &str {
        &self.0.info().id
    }

    /// The name of the service that was invoked.
    ///
    /// # Examples
    ///
    /// See [`AttemptEnd`].
    #[must_use]
    pub fn service_name(&self) -> &str {
        &self.0.request.service
    }

    /// The name of the handler that was invoked.
    ///
    /// # Examples
    ///
    /// See [`AttemptEnd`].
    #[must_use]
    pub fn handler_name(&self) -> &str {
        &self.0.request.handler
    }

    /// The key of the virtual object or workflow; `None` for a service, and for the empty key, which is
    /// that of Kafka records without one.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::AttemptInfo;
    ///
    /// fn name(attempt: &AttemptInfo) -> String {
    ///     format!("{}/{}", attempt.service_name(), attempt.key().unwrap_or("-"))
    /// }
    /// # let _ = name;
    /// ```
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        Some(&*self.0.info().key).filter(|key| !key.is_empty())
    }

    /// The headers that the invocation was made with; the same in every attempt.
    ///
    /// # Examples
    ///
    /// See [`AttemptInfo`].
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.0.info().headers
    }

    /// The HTTP headers of this attempt's request. They differ from attempt to attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::AttemptInfo;
    ///
    /// fn trace(attempt: &AttemptInfo) -> Option<&str> {
    ///     attempt.attempt_headers().get("traceparent")?.to_str().ok()
    /// }
    /// # let _ = trace;
    /// ```
    #[must_use]
    pub fn attempt_headers(&self) -> &http::HeaderMap {
        &self.0.request.attempt_headers
    }

    /// How often the runtime has tried since it last stored something of this invocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::AttemptInfo;
    ///
    /// fn is_retry(attempt: &AttemptInfo) -> bool {
    ///     attempt.retry_count() > 0
    /// }
    /// # let _ = is_retry;
    /// ```
    #[must_use]
    pub fn retry_count(&self) -> u32 {
        self.0.info().retry_count
    }

    /// Keeps a value for as long as the attempt lives, one of each type, for the other methods of an
    /// interceptor, and for other interceptors. What was there before is returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// use bytes::Bytes;
    /// use durably::{AttemptEnd, AttemptInfo, HandlerNext, Interceptor, prelude::*};
    ///
    /// struct Stopwatch;
    ///
    /// impl Interceptor for Stopwatch {
    ///     async fn handle(&self, _ctx: &Context, next: HandlerNext) -> HandlerResult<Bytes> {
    ///         next.attempt().insert(Instant::now());
    ///         next.run().await
    ///     }
    ///
    ///     fn ended(&self, attempt: &AttemptInfo, _: &AttemptEnd<'_>) {
    ///         if let Some(begun) = attempt.get::<Instant>() {
    ///             println!("{} took {:?}", attempt.handler_name(), begun.elapsed());
    ///         }
    ///     }
    /// }
    /// # let _ = Stopwatch;
    /// ```
    pub fn insert<T: Clone + Send + Sync + 'static>(&self, value: T) -> Option<T> {
        self.extensions().insert(value)
    }

    /// The value of this type that was [kept](Self::insert).
    ///
    /// # Examples
    ///
    /// See [`insert`](Self::insert).
    #[must_use]
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.extensions().get().cloned()
    }

    fn extensions(&self) -> MutexGuard<'_, http::Extensions> {
        let extensions = self.0.extensions.get_or_init(Mutex::default);
        extensions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AttemptInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AttemptInfo").field(&self.0).finish()
    }
}

/// How an attempt has ended.
///
/// # Examples
///
/// ```
/// use durably::{AttemptOutcome, AttemptEnd};
///
/// fn is_progress(end: &AttemptEnd<'_>) -> bool {
///     matches!(end.outcome(), AttemptOutcome::Succeeded | AttemptOutcome::Suspended)
/// }
/// # let _ = is_progress;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The handler has returned a value: so the invocation ends.
    Succeeded,
    /// The handler has failed terminally: so the invocation ends.
    Failed,
    /// The handler waits: the runtime begins another attempt when what it waits for has come.
    Suspended,
    /// The attempt has failed: the runtime tries again, pauses the invocation, or ends it.
    Errored,
    /// The request broke off, or the server went away.
    Aborted,
}

impl AttemptOutcome {
    /// A word for labels and logs: `succeeded`, `failed`, `suspended`, `errored`, `aborted`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(durably::AttemptOutcome::Suspended.as_str(), "suspended");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
            Self::Errored => "errored",
            Self::Aborted => "aborted",
        }
    }
}

/// The end of an attempt, as [`Interceptor::ended`](crate::Interceptor::ended) is told of it.
///
/// # Examples
///
/// ```
/// use durably::{AttemptEnd, AttemptInfo, Interceptor};
///
/// struct Journals;
///
/// impl Interceptor for Journals {
///     fn ended(&self, attempt: &AttemptInfo, end: &AttemptEnd<'_>) {
///         let (service, handler) = (attempt.service_name(), attempt.handler_name());
///         println!("{service}/{handler} {} after {} commands", end.outcome().as_str(), end.replayed());
///         if let Some(error) = end.error() {
///             println!("  {error}");
///         }
///     }
/// }
/// # let _ = Journals;
/// ```
pub struct AttemptEnd<'a> {
    outcome: AttemptOutcome,
    replayed: usize,
    error: Option<&'a dyn fmt::Display>,
}

impl fmt::Debug for AttemptEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptEnd")
            .field("outcome", &self.outcome)
            .field("replayed", &self.replayed)
            .finish_non_exhaustive()
    }
}

impl<'a> AttemptEnd<'a> {
    pub(crate) fn new(
        outcome: AttemptOutcome,
        replayed: usize,
        error: Option<&'a dyn fmt::Display>,
    ) -> Self {
        Self {
            outcome,
            replayed,
            error,
        }
    }

    /// What became of it.
    ///
    /// # Examples
    ///
    /// See [`AttemptEnd`].
    #[must_use]
    pub fn outcome(&self) -> AttemptOutcome {
        self.outcome
    }

    /// How many commands the journal held when the attempt began, its input left out: the length of the
    /// replay.
    ///
    /// # Examples
    ///
    /// See [`AttemptEnd`].
    #[must_use]
    pub fn replayed(&self) -> usize {
        self.replayed
    }

    /// Why it has failed.
    ///
    /// # Examples
    ///
    /// See [`AttemptEnd`].
    #[must_use]
    pub fn error(&self) -> Option<&dyn fmt::Display> {
        self.error
    }
}
