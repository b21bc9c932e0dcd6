//! Calls and sends.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Context, Target,
    awakeable::encode,
    future::{self, DurableFuture, unexpected},
    invocation::{InvocationHandle, InvocationId},
    timeout::OrTimeout,
};
use crate::{
    error::{BoxError, TerminalError},
    executor::Cell,
    interceptor::{AttemptInfo, OutgoingRequest},
    journal::{AttemptError, CANCEL, CallFields, Command, Completion, SignalId, Source},
    payload::{Decode, Encode},
    protocol::message::NotificationResult,
};

/// A request to a handler, about to be made: [`call`](Self::call) it (or `.await` it), or
/// [`send`](Self::send) it. Nothing is recorded before that.
///
/// Generated clients return it, and [`Context::request`] makes an untyped one.
///
/// # Examples
///
/// ```
/// use durably::{Target, prelude::*};
///
/// async fn greet(ctx: &Context) -> HandlerResult<String> {
///     let request = ctx.request::<_, String>(Target::service("Greeter", "greet"), "Ada".to_owned());
///     Ok(request.idempotency_key("greet-ada").header("x-tenant", "7").await?)
/// }
/// ```
#[must_use = "a request does nothing by itself: call, await or send it"]
pub struct Request<'a, In, Out> {
    cell: &'a Arc<Cell>,
    target: Target,
    input: In,
    headers: Vec<(String, String)>,
    idempotency_key: Option<String>,
    name: String,
    scope: Option<String>,
    limit_key: Option<String>,
    marker: PhantomData<fn() -> Out>,
}

impl<In, Out> fmt::Debug for Request<'_, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl<'a, In, Out> Request<'a, In, Out> {
    /// A request to `target`. Generated clients call it; by hand, [`Context::request`] reads better.
    ///
    /// # Examples
    ///
    /// See [`Request`].
    pub fn new(ctx: &'a Context, target: Target, input: In) -> Self {
        Self {
            cell: ctx.cell(),
            target,
            input,
            headers: Vec::new(),
            idempotency_key: None,
            name: String::new(),
            scope: None,
            limit_key: None,
            marker: PhantomData,
        }
    }

    /// Whom it is for.
    #[cfg(feature = "testing")]
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Adds a header that the called handler sees; the order is kept, and names may repeat.
    ///
    /// # Examples
    ///
    /// See [`Request`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Requests with the same idempotency key to the same handler are one invocation. It must not
    /// be empty.
    ///
    /// # Examples
    ///
    /// See [`Request`].
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// A name for the journal entry, which the server's introspection shows.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn greet(ctx: &Context) -> HandlerResult<String> {
    ///     let request = ctx.request::<_, String>(Target::service("Greeter", "greet"), "Ada".to_owned());
    ///     Ok(request.name("say hello").await?)
    /// }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The scope in which the invocation runs. Needs protocol v7: on an earlier one the attempt
    /// fails with an error that says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn greet(ctx: &Context) -> HandlerResult<String> {
    ///     let request = ctx.request::<_, String>(Target::service("Greeter", "greet"), "Ada".to_owned());
    ///     Ok(request.scope("tenant-7").limit_key("greetings").await?)
    /// }
    /// ```
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// The key, within the scope, whose concurrency limit applies. Needs a scope, and protocol v7.
    ///
    /// # Examples
    ///
    /// See [`scope`](Self::scope).
    pub fn limit_key(mut self, key: impl Into<String>) -> Self {
        self.limit_key = Some(key.into());
        self
    }

    /// Makes the call. Its result is awaited through the future returned; not awaiting it does not
    /// stop the call.
    ///
    /// # Journal
    ///
    /// A Call command, two completion ids (invocation id, result).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn both(ctx: &Context) -> HandlerResult<(String, String)> {
    ///     let greet = |name: &str| {
    ///         ctx.request::<_, String>(Target::service("Greeter", "greet"), name.to_owned()).call()
    ///     };
    ///     Ok(durably::try_join!(greet("Ada"), greet("Grace"))?)
    /// }
    /// ```
    pub fn call(self) -> Call<'a, Out>
    where
        In: Encode,
        Out: Decode,
    {
        let cell = self.cell;
        let issued = self.issue(None, |cell, call, name| {
            cell.issue_call(Command::Call(call), name)
        });
        let (invocation_id, leaf) = issued.unzip();
        Call {
            cell,
            invocation_id,
            result: DurableFuture::new(cell, leaf, future::value),
        }
    }

    /// Sends the request without waiting for its result. The invocation's handle can be awaited
    /// from what is returned, or not.
    ///
    /// # Journal
    ///
    /// A OneWayCall command, one completion id (invocation id).
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn audit(ctx: &Context) -> HandlerResult<()> {
    ///     ctx.request::<_, ()>(Target::service("Audit", "record"), "entry".to_owned()).send();
    ///     Ok(())
    /// }
    /// ```
    pub fn send(self) -> Sent<'a>
    where
        In: Encode,
    {
        self.send_at(0, Duration::ZERO)
    }

    /// Sends the request for later: the runtime invokes the handler after `delay`, counted from
    /// this call. Resolution: milliseconds.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn remind(ctx: &Context) -> HandlerResult<()> {
    ///     let reminder = ctx.request::<_, ()>(Target::service("Mail", "remind"), "ada".to_owned());
    ///     reminder.send_after(Duration::from_secs(24 * 60 * 60));
    ///     Ok(())
    /// }
    /// ```
    pub fn send_after(self, delay: Duration) -> Sent<'a>
    where
        In: Encode,
    {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let invoke_time = if millis == 0 {
            0
        } else {
            self.cell.now().saturating_add(millis)
        };
        self.send_at(invoke_time, delay)
    }

    fn send_at(self, invoke_time: u64, delay: Duration) -> Sent<'a>
    where
        In: Encode,
    {
        let cell = self.cell;
        let issued = self.issue(Some(delay), |cell, call, name| {
            cell.issue(Command::OneWayCall { call, invoke_time }, name)
        });
        Sent {
            cell,
            invocation_id: issued.map(|issued| issued.first),
        }
    }

    /// Issues the command; `send` is the delay of what is sent.
    fn issue<R>(
        mut self,
        send: Option<Duration>,
        issue: impl FnOnce(&Cell, CallFields<'_>, &str) -> Option<R>,
    ) -> Option<R>
    where
        In: Encode,
    {
        #[cfg(any(test, feature = "testing"))]
        assert!(
            !self.cell.request.service.is_empty(),
            "the request to {} was made outside of a handler: hand it to `TestRuntime::call` or `send` \
             instead of calling, sending or awaiting it",
            self.target
        );
        if let Some(layers) = &self.cell.request.setting.layers {
            let index = self.cell.journal(|state| Ok(state.journal.index()))?;
            let mut request = OutgoingRequest {
                caller: &AttemptInfo::new(self.cell),
                index,
                target: &self.target,
                headers: &mut self.headers,
                idempotency_key: &mut self.idempotency_key,
                send,
            };
            match send {
                None => layers.call(&mut request),
                Some(_) => layers.send(&mut request),
            }
        }
        if self.idempotency_key.as_deref() == Some("") {
            self.cell.fault(AttemptError::internal(format!(
                "the idempotency key of the request to {} is empty: leave it out, or make it a real one",
                self.target
            )));
            return None;
        }
        let parameter: Bytes = encode(self.cell, &self.input, || {
            format!("the input of {}", self.target)
        })?;
        let call = CallFields {
            service: self.target.service_name(),
            handler: self.target.handler_name(),
            key: self.target.key().unwrap_or_default(),
            parameter: &parameter,
            headers: &self.headers,
            idempotency_key: self.idempotency_key.as_deref(),
            scope: self.scope.as_deref(),
            limit_key: self.limit_key.as_deref(),
            stable: In::STABLE,
        };
        issue(self.cell, call, &self.name)
    }
}

/// A request as data: for the test kit, which makes it from outside.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub(crate) struct RequestParts {
    pub(crate) target: Target,
    pub(crate) input: Result<Bytes, BoxError>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) limit_key: Option<String>,
}

#[cfg(any(test, feature = "testing"))]
impl<In: Encode, Out> Request<'_, In, Out> {
    pub(crate) fn into_parts(self) -> RequestParts {
        RequestParts {
            input: self.input.encode(),
            target: self.target,
            headers: self.headers,
            idempotency_key: self.idempotency_key,
            scope: self.scope,
            limit_key: self.limit_key,
        }
    }
}

impl<'a, In: Encode, Out: Decode> IntoFuture for Request<'a, In, Out> {
    type Output = Result<Out, TerminalError>;
    type IntoFuture = Call<'a, Out>;

    fn into_future(self) -> Self::IntoFuture {
        self.call()
    }
}

fn decode_id(
    _: &Cell,
    result: NotificationResult,
) -> Result<Result<InvocationId, TerminalError>, BoxError> {
    match result {
        NotificationResult::InvocationId(id) => Ok(Ok(InvocationId::known(
            std::str::from_utf8(&id)?.to_owned(),
        ))),
        other => Err(unexpected(&other)),
    }
}

fn decode_handle<'a>(
    cell: &'a Cell,
    result: NotificationResult,
) -> Result<Result<InvocationHandle<'a>, TerminalError>, BoxError> {
    Ok(decode_id(cell, result)?.map(|id| InvocationHandle::new(cell, id)))
}

/// A call that was made: awaits its result.
///
/// # Errors
///
/// The terminal failure of the called handler, with its code, message and metadata; 409 if this
/// invocation is cancelled meanwhile, which cancels the call as well.
///
/// # Examples
///
/// ```
/// use durably::{Target, prelude::*};
///
/// async fn first(ctx: &Context) -> HandlerResult<Option<String>> {
///     let mut call = ctx.request::<_, String>(Target::service("Slow", "work"), ()).call();
///     durably::select! {
///         result = &mut call => Ok(Some(result?)),
///         _ = ctx.sleep(Duration::from_secs(10)) => {
///             call.cancel().await?;
///             Ok(None)
///         }
///     }
/// }
/// ```
#[must_use = "the call is made, but nobody waits for its result: await it, or use `send`"]
pub struct Call<'a, T> {
    cell: &'a Cell,
    invocation_id: Option<u32>,
    result: DurableFuture<'a, T>,
}

impl<'a, T> Call<'a, T> {
    /// The id of the called invocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn id(ctx: &Context) -> HandlerResult<String> {
    ///     let call = ctx.request::<_, String>(Target::service("Slow", "work"), ()).call();
    ///     Ok(call.invocation_id().await?.to_string())
    /// }
    /// ```
    pub fn invocation_id(&self) -> DurableFuture<'a, InvocationId> {
        DurableFuture::of(
            self.cell,
            self.invocation_id.map(Source::Completion),
            decode_id,
        )
    }

    /// Cancels the called invocation; the call then usually fails with code 409.
    ///
    /// # Errors
    ///
    /// 409 if this invocation is cancelled while the id of the called one is awaited.
    ///
    /// # Examples
    ///
    /// See [`Call`].
    pub async fn cancel(&self) -> Result<(), TerminalError> {
        let id = self.invocation_id().await?;
        InvocationHandle::new(self.cell, id).cancel();
        Ok(())
    }

    /// Waits at most `duration`, like [`DurableFuture::or_timeout`]. The called invocation goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn quick(ctx: &Context) -> HandlerResult<String> {
    ///     let call = ctx.request::<_, String>(Target::service("Slow", "work"), ()).call();
    ///     Ok(call.or_timeout(Duration::from_secs(10)).await?)
    /// }
    /// ```
    pub fn or_timeout(self, duration: Duration) -> OrTimeout<'a, Self> {
        OrTimeout::new(self.cell, self, duration)
    }
}

impl<T> Future for Call<'_, T> {
    type Output = Result<T, TerminalError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx)
    }
}

impl<T> fmt::Debug for Call<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// A request that was sent. Awaiting it gives the handle of the invocation; dropping it is fine.
///
/// # Examples
///
/// ```
/// use durably::{Target, prelude::*};
///
/// async fn start(ctx: &Context) -> HandlerResult<String> {
///     let sent = ctx.request::<_, ()>(Target::service("Slow", "work"), ()).send();
///     Ok(sent.await?.id().to_string())
/// }
/// ```
#[derive(Debug)]
pub struct Sent<'a> {
    cell: &'a Cell,
    invocation_id: Option<u32>,
}

impl<'a> Sent<'a> {
    /// The id of the invocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*};
    ///
    /// async fn start(ctx: &Context) -> HandlerResult<String> {
    ///     let sent = ctx.request::<_, ()>(Target::service("Slow", "work"), ()).send();
    ///     Ok(sent.invocation_id().await?.to_string())
    /// }
    /// ```
    pub fn invocation_id(&self) -> DurableFuture<'a, InvocationId> {
        DurableFuture::of(
            self.cell,
            self.invocation_id.map(Source::Completion),
            decode_id,
        )
    }
}

impl<'a> IntoFuture for Sent<'a> {
    type Output = Result<InvocationHandle<'a>, TerminalError>;
    type IntoFuture = DurableFuture<'a, InvocationHandle<'a>>;

    fn into_future(self) -> Self::IntoFuture {
        DurableFuture::of(
            self.cell,
            self.invocation_id.map(Source::Completion),
            decode_handle,
        )
    }
}

/// Sends CANCEL to an invocation.
pub(crate) fn cancel(cell: &Cell, target: &str) {
    let command = Command::SendSignal {
        target,
        signal: SignalId::Index(CANCEL),
        completion: Completion::Void,
    };
    cell.issue(command, "");
}
