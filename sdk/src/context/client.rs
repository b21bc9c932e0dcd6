//! What generated clients are, and how a context makes them.

use super::{Context, Request, Target};

/// Who makes requests: a context, from within a handler, or something outside of handlers, such as an
/// ingress client (feature `client`).
///
/// A generated client is generic over it, so one definition serves all of them: what its methods
/// return is the caller's kind of request.
///
/// # Examples
///
/// ```
/// use durably::{Caller, Target, prelude::*};
///
/// /// Makes requests that only say whom they are for.
/// struct Names;
///
/// impl Caller for Names {
///     type Request<In, Out> = String;
///
///     fn request<In, Out>(&self, target: Target, _input: In) -> String {
///         target.to_string()
///     }
/// }
///
/// struct Greeter;
///
/// #[durably::service]
/// impl Greeter {
///     #[handler]
///     async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
///         Ok(format!("Hello, {name}!"))
///     }
/// }
///
/// let client = <GreeterClient as durably::ServiceClient>::with(Names);
/// assert_eq!(client.greet("Ada".to_owned()), "Greeter/greet");
/// ```
pub trait Caller {
    /// What a client's methods return: a request with this input, whose output is an `Out`.
    type Request<In, Out>;

    /// Makes the request. Nothing happens before the caller's own methods say so.
    fn request<In, Out>(&self, target: Target, input: In) -> Self::Request<In, Out>;
}

impl<'a> Caller for &'a Context {
    type Request<In, Out> = Request<'a, In, Out>;

    fn request<In, Out>(&self, target: Target, input: In) -> Request<'a, In, Out> {
        Request::new(self, target, input)
    }
}

/// The client of a service, as the macros generate it; see [`Context::service_client`].
///
/// It stands for a family of types, one for each [`Caller`].
///
/// # Examples
///
/// ```
/// use durably::{Caller, ServiceClient, Target, prelude::*};
///
/// struct GreeterClient<C = ()>(C);
///
/// impl ServiceClient for GreeterClient {
///     type With<C: Caller> = GreeterClient<C>;
///
///     fn with<C: Caller>(caller: C) -> GreeterClient<C> {
///         GreeterClient(caller)
///     }
/// }
///
/// impl<C: Caller> GreeterClient<C> {
///     fn greet(&self, name: String) -> C::Request<String, String> {
///         self.0.request(Target::service("Greeter", "greet"), name)
///     }
/// }
///
/// async fn greet(ctx: &Context) -> HandlerResult<String> {
///     Ok(ctx.service_client::<GreeterClient>().greet("Ada".to_owned()).await?)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the client of a service",
    note = "`#[durably::service]` makes one; objects have `object_client(key)`, workflows `workflow_client(key)`"
)]
pub trait ServiceClient {
    /// The client whose requests this caller makes.
    type With<C: Caller>;

    /// Makes that client.
    ///
    /// # Examples
    ///
    /// See [`Caller`].
    fn with<C: Caller>(caller: C) -> Self::With<C>;
}

/// The client of a virtual object, as the macros generate it; see [`Context::object_client`].
///
/// # Examples
///
/// ```
/// use durably::{Caller, ObjectClient, Target, prelude::*};
///
/// struct CounterClient<C = ()>(C, String);
///
/// impl ObjectClient for CounterClient {
///     type With<C: Caller> = CounterClient<C>;
///
///     fn with<C: Caller>(caller: C, key: String) -> CounterClient<C> {
///         CounterClient(caller, key)
///     }
/// }
///
/// impl<C: Caller> CounterClient<C> {
///     fn add(&self, n: u64) -> C::Request<u64, u64> {
///         self.0.request(Target::object("Counter", &self.1, "add"), n)
///     }
/// }
///
/// async fn add(ctx: &Context) -> HandlerResult<u64> {
///     Ok(ctx.object_client::<CounterClient>("mine").add(1).await?)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the client of a virtual object",
    note = "`#[durably::object]` makes one; services have `service_client()`, workflows `workflow_client(key)`"
)]
pub trait ObjectClient {
    /// The client whose requests this caller makes.
    type With<C: Caller>;

    /// Makes that client, for the object with this key.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`].
    fn with<C: Caller>(caller: C, key: String) -> Self::With<C>;
}

/// The client of a workflow, as the macros generate it; see [`Context::workflow_client`].
///
/// # Examples
///
/// Like [`ObjectClient`]'s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the client of a workflow",
    note = "`#[durably::workflow]` makes one; services have `service_client()`, objects `object_client(key)`"
)]
pub trait WorkflowClient {
    /// The client whose requests this caller makes.
    type With<C: Caller>;

    /// Makes that client, for the workflow with this key.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`].
    fn with<C: Caller>(caller: C, key: String) -> Self::With<C>;
}

impl Context {
    /// The typed client of a service.
    ///
    /// # Examples
    ///
    /// See [`ServiceClient`]; the macros write the client.
    pub fn service_client<C: ServiceClient>(&self) -> C::With<&Self> {
        C::with(self)
    }

    /// The typed client of the virtual object with this key.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`]; the macros write the client.
    pub fn object_client<C: ObjectClient>(&self, key: impl Into<String>) -> C::With<&Self> {
        C::with(self, key.into())
    }

    /// The typed client of the workflow with this key.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`]; the macros write the client.
    pub fn workflow_client<C: WorkflowClient>(&self, key: impl Into<String>) -> C::With<&Self> {
        C::with(self, key.into())
    }

    /// A request to a handler known only by name. [`Raw`](crate::Raw) as input and output passes
    /// bytes through untouched.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Raw, Target, prelude::*};
    ///
    /// async fn forward(ctx: &Context, body: Raw) -> HandlerResult<Raw> {
    ///     Ok(ctx.request::<_, Raw>(Target::service("Echo", "echo"), body).await?)
    /// }
    /// ```
    pub fn request<In, Out>(&self, target: Target, input: In) -> Request<'_, In, Out> {
        Request::new(self, target, input)
    }
}
