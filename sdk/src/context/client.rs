//! What generated clients are, and how a context makes them.

use super::{Context, Request, Target};

/// The client of a service, as the macros generate it; see [`Context::service_client`].
///
/// # Examples
///
/// ```
/// use durably::{Request, ServiceClient, Target, prelude::*};
///
/// struct GreeterClient<'a>(&'a Context);
///
/// impl<'a> ServiceClient<'a> for GreeterClient<'a> {
///     fn new(ctx: &'a Context) -> Self {
///         Self(ctx)
///     }
/// }
///
/// impl<'a> GreeterClient<'a> {
///     fn greet(&self, name: String) -> Request<'a, String, String> {
///         Request::new(self.0, Target::service("Greeter", "greet"), name)
///     }
/// }
///
/// async fn greet(ctx: &Context) -> HandlerResult<String> {
///     Ok(ctx.service_client::<GreeterClient>().greet("Ada".to_owned()).await?)
/// }
/// ```
pub trait ServiceClient<'a>: Sized {
    /// The client whose requests are made through `ctx`.
    ///
    /// # Examples
    ///
    /// See [`ServiceClient`].
    fn new(ctx: &'a Context) -> Self;
}

/// The client of a virtual object, as the macros generate it; see [`Context::object_client`].
///
/// # Examples
///
/// ```
/// use durably::{ObjectClient, Request, Target, prelude::*};
///
/// struct CounterClient<'a>(&'a Context, String);
///
/// impl<'a> ObjectClient<'a> for CounterClient<'a> {
///     fn new(ctx: &'a Context, key: String) -> Self {
///         Self(ctx, key)
///     }
/// }
///
/// impl<'a> CounterClient<'a> {
///     fn add(&self, n: u64) -> Request<'a, u64, u64> {
///         Request::new(self.0, Target::object("Counter", &self.1, "add"), n)
///     }
/// }
///
/// async fn add(ctx: &Context) -> HandlerResult<u64> {
///     Ok(ctx.object_client::<CounterClient>("mine").add(1).await?)
/// }
/// ```
pub trait ObjectClient<'a>: Sized {
    /// The client of the object with this key, whose requests are made through `ctx`.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`].
    fn new(ctx: &'a Context, key: String) -> Self;
}

/// The client of a workflow, as the macros generate it; see [`Context::workflow_client`].
///
/// # Examples
///
/// Like [`ObjectClient`]'s.
pub trait WorkflowClient<'a>: Sized {
    /// The client of the workflow with this key, whose requests are made through `ctx`.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`].
    fn new(ctx: &'a Context, key: String) -> Self;
}

impl Context {
    /// The typed client of a service.
    ///
    /// # Examples
    ///
    /// See [`ServiceClient`]; the macros write the client.
    pub fn service_client<'a, C: ServiceClient<'a>>(&'a self) -> C {
        C::new(self)
    }

    /// The typed client of the virtual object with this key.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`]; the macros write the client.
    pub fn object_client<'a, C: ObjectClient<'a>>(&'a self, key: impl Into<String>) -> C {
        C::new(self, key.into())
    }

    /// The typed client of the workflow with this key.
    ///
    /// # Examples
    ///
    /// See [`ObjectClient`]; the macros write the client.
    pub fn workflow_client<'a, C: WorkflowClient<'a>>(&'a self, key: impl Into<String>) -> C {
        C::new(self, key.into())
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
