//! What scopes have of their own: objects, workflows and idempotency keys.

use super::TestRuntime;
use crate::{Decode, Encode, InvocationId, Target, TerminalError, engine::keyed::KeyedId};

/// The objects, workflows and idempotency keys of a scope: each has its own of a key, apart from those of
/// other scopes and of requests without one, as on the server.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{TestRuntime, object}};
///
/// struct Counter;
///
/// #[durably::object]
/// impl Counter {
///     #[handler]
///     async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
///         let sum = ctx.get::<u64>("sum").await?.unwrap_or_default() + n;
///         ctx.set("sum", &sum);
///         Ok(sum)
///     }
/// }
///
/// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Counter).build()?);
/// runtime.call(object::<CounterClient>("ada").add(2))?;
/// runtime.call(object::<CounterClient>("ada").add(5).scope("acme"))?;
/// assert_eq!(runtime.state::<u64>("Counter", "ada", "sum"), Some(2));
/// assert_eq!(runtime.in_scope("acme").state::<u64>("Counter", "ada", "sum"), Some(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct InScope<'a> {
    runtime: &'a mut TestRuntime,
    scope: String,
}

impl TestRuntime {
    /// The objects, workflows and idempotency keys of a scope.
    ///
    /// # Examples
    ///
    /// See [`InScope`].
    pub fn in_scope(&mut self, scope: impl Into<String>) -> InScope<'_> {
        InScope {
            scope: scope.into(),
            runtime: self,
        }
    }
}

impl InScope<'_> {
    fn id(&self, service: &str, key: &str) -> KeyedId {
        KeyedId::new(service, key, Some(&self.scope))
    }

    /// As [`TestRuntime::state`].
    ///
    /// # Panics
    ///
    /// If it cannot be decoded.
    ///
    /// # Examples
    ///
    /// See [`InScope`].
    #[track_caller]
    pub fn state<T: Decode>(&mut self, service: &str, key: &str, name: &str) -> Option<T> {
        self.runtime.state_of(&self.id(service, key), name)
    }

    /// As [`TestRuntime::state_keys`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, testing::TestRuntime};
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().build()?);
    /// let mut acme = runtime.in_scope("acme");
    /// acme.set_state("Counter", "ada", "sum", &7);
    /// assert_eq!(acme.state_keys("Counter", "ada"), ["sum"]);
    /// assert_eq!(runtime.state_keys("Counter", "ada"), [""; 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state_keys(&mut self, service: &str, key: &str) -> Vec<String> {
        self.runtime.state_keys_of(&self.id(service, key))
    }

    /// As [`TestRuntime::describe_state`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, testing::TestRuntime};
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().build()?);
    /// let mut acme = runtime.in_scope("acme");
    /// acme.set_state("Counter", "ada", "sum", &7);
    /// let state = acme.describe_state("Counter", "ada");
    /// assert_eq!(state, "Counter/ada in the scope acme\n  sum = 7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn describe_state(&mut self, service: &str, key: &str) -> String {
        let id = self.id(service, key);
        self.runtime.describe_state_of(&id)
    }

    /// As [`TestRuntime::set_state`].
    ///
    /// # Examples
    ///
    /// See [`state_keys`](Self::state_keys).
    #[track_caller]
    pub fn set_state<T: Encode + ?Sized>(
        &mut self,
        service: &str,
        key: &str,
        name: &str,
        value: &T,
    ) {
        let id = self.id(service, key);
        self.runtime.set_state_of(&id, name, value);
    }

    /// As [`TestRuntime::clear_state`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, testing::TestRuntime};
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().build()?);
    /// let mut acme = runtime.in_scope("acme");
    /// acme.set_state("Counter", "ada", "sum", &7);
    /// acme.clear_state("Counter", "ada");
    /// assert_eq!(acme.state::<u64>("Counter", "ada", "sum"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_state(&mut self, service: &str, key: &str) {
        let id = self.id(service, key);
        self.runtime.clear_state_of(&id);
    }

    /// As [`TestRuntime::workflow_invocation`].
    ///
    /// # Errors
    ///
    /// 404 if it was not run in this scope, or is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{prelude::*, testing::{TestRuntime, workflow}};
    /// # struct Signup;
    /// # #[durably::workflow]
    /// # impl Signup {
    /// #     #[handler]
    /// #     async fn run(&self, _ctx: &WorkflowContext) -> HandlerResult<u64> { Ok(7) }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Signup).build()?);
    /// let sent = runtime.send(workflow::<SignupClient>("ada").run().scope("acme"))?;
    /// assert_eq!(runtime.in_scope("acme").workflow_invocation("Signup", "ada")?, sent);
    /// assert!(runtime.workflow_invocation("Signup", "ada").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn workflow_invocation(
        &mut self,
        workflow: &str,
        key: &str,
    ) -> Result<InvocationId, TerminalError> {
        let id = self.id(workflow, key);
        self.runtime.run_of(&id)
    }

    /// As [`TestRuntime::idempotent_invocation`].
    ///
    /// # Errors
    ///
    /// 404 if there was none in this scope, or it is forgotten.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Target, prelude::*, testing::{TestRuntime, service}};
    /// # struct Echo;
    /// # #[durably::service]
    /// # impl Echo {
    /// #     #[handler]
    /// #     async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> { Ok(n) }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Echo).build()?);
    /// let click = service::<EchoClient>().echo(7).idempotency_key("click-1");
    /// let sent = runtime.send(click.scope("acme"))?;
    /// let target = Target::service("Echo", "echo");
    /// assert_eq!(runtime.in_scope("acme").idempotent_invocation(&target, "click-1")?, sent);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idempotent_invocation(
        &mut self,
        target: &Target,
        idempotency_key: &str,
    ) -> Result<InvocationId, TerminalError> {
        let scope = Some(&*self.scope);
        self.runtime.idempotent_in(target, idempotency_key, scope)
    }
}
