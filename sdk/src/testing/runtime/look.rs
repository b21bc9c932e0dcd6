//! Looking at invocations, state and journals; and what operators and outsiders do.

use bytes::Bytes;

use super::{TestRuntime, encoded, story::Journal};
use crate::{
    Decode, Encode, InvocationId, TerminalError,
    context::terminal,
    engine::{
        does_not_exist,
        invocation::{Index, Outcome, Status},
        keyed::KeyedId,
    },
};

/// How an invocation stands.
///
/// # Examples
///
/// See [`TestRuntime::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvocationStatus {
    /// It begins later.
    Scheduled,
    /// It waits for its turn at its key.
    Queued,
    /// An attempt runs, or waits without having suspended yet.
    Running,
    /// It waits, and no attempt runs.
    Suspended,
    /// An attempt has failed; the next one begins later.
    BackingOff,
    /// It waits for somebody to [`resume`](TestRuntime::resume) it.
    Paused,
    /// It has ended with a value.
    Succeeded,
    /// It has ended with a failure: its own, or cancelled, or killed.
    Failed,
}

/// An invocation at a glance; from [`TestRuntime::invocations`].
///
/// # Examples
///
/// See [`TestRuntime::invocations`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvocationSummary {
    /// Its id.
    pub id: InvocationId,
    /// `Service/handler`, or `Service/key/handler`.
    pub target: String,
    /// How it stands.
    pub status: InvocationStatus,
    /// Attempts so far.
    pub attempts: u32,
}

impl TestRuntime {
    /// All invocations that there ever were, in the order in which they were made. What was forgotten and is
    /// requested again with the same idempotency key, or of the same workflow, has the same id as before.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{prelude::*, testing::{InvocationStatus, TestRuntime, service}};
    /// # struct Echo;
    /// # #[durably::service]
    /// # impl Echo {
    /// #     #[handler]
    /// #     async fn echo(&self, _ctx: &Context, n: u64) -> HandlerResult<u64> { Ok(n) }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Echo).build()?);
    /// runtime.call(service::<EchoClient>().echo(7))?;
    /// let all = runtime.invocations();
    /// assert_eq!((all[0].target.as_str(), all[0].status), ("Echo/echo", InvocationStatus::Succeeded));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn invocations(&self) -> Vec<InvocationSummary> {
        let invocations = &self.driver.engine.invocations;
        invocations
            .values()
            .map(|invocation| InvocationSummary {
                id: InvocationId::known(invocation.id.clone()),
                target: invocation.target(),
                status: status_of(&invocation.status),
                attempts: invocation.attempts,
            })
            .collect()
    }

    /// How an invocation stands.
    ///
    /// # Panics
    ///
    /// If there never was one with this id.
    ///
    /// # Examples
    ///
    /// See [`cancel`](Self::cancel).
    #[track_caller]
    #[must_use]
    pub fn status(&self, id: &InvocationId) -> InvocationStatus {
        status_of(&self.driver.engine.invocations[self.any(id)].status)
    }

    /// What happened to an invocation, in order: of several with one id, to the last.
    ///
    /// # Panics
    ///
    /// If there never was one with this id.
    ///
    /// # Examples
    ///
    /// See [`Journal`].
    #[track_caller]
    #[must_use]
    pub fn journal(&self, id: &InvocationId) -> Journal {
        Journal::of(&self.driver.engine.invocations[self.any(id)])
    }

    #[track_caller]
    fn any(&self, id: &InvocationId) -> Index {
        match self.driver.engine.find_any(id.as_str()) {
            Some(index) => index,
            None => self.fail(&format!("there is no invocation {id}")),
        }
    }

    // ---- state -------------------------------------------------------------------------------

    /// The state of an object or workflow under a name; `None` if it is not set.
    ///
    /// # Panics
    ///
    /// If it cannot be decoded.
    ///
    /// # Examples
    ///
    /// See [`TestRuntime`].
    #[track_caller]
    pub fn state<T: Decode>(&mut self, service: &str, key: &str, name: &str) -> Option<T> {
        self.state_of(&KeyedId::new(service, key, None), name)
    }

    #[track_caller]
    pub(super) fn state_of<T: Decode>(&mut self, of: &KeyedId, name: &str) -> Option<T> {
        let engine = &mut self.driver.engine;
        let place = engine.find_place(of)?;
        let value = engine.keyed(place).state.get(name.as_bytes())?.clone();
        match T::decode(value) {
            Ok(value) => Some(value),
            Err(error) => self.fail(&format!(
                "the state `{name}` of {of} cannot be decoded: {error}"
            )),
        }
    }

    /// The names under which an object or workflow has state, sorted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, testing::TestRuntime};
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().build()?);
    /// runtime.set_state("Counter", "ada", "sum", &7);
    /// assert_eq!(runtime.state_keys("Counter", "ada"), ["sum"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state_keys(&mut self, service: &str, key: &str) -> Vec<String> {
        self.state_keys_of(&KeyedId::new(service, key, None))
    }

    pub(super) fn state_keys_of(&mut self, of: &KeyedId) -> Vec<String> {
        let engine = &mut self.driver.engine;
        let Some(place) = engine.find_place(of) else {
            return Vec::new();
        };
        let names = engine.keyed(place).state.keys();
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// Sets the state of an object or workflow. An attempt that runs may not see it.
    ///
    /// # Examples
    ///
    /// See [`TestRuntime`].
    #[track_caller]
    pub fn set_state<T: Encode + ?Sized>(
        &mut self,
        service: &str,
        key: &str,
        name: &str,
        value: &T,
    ) {
        self.set_state_of(&KeyedId::new(service, key, None), name, value);
    }

    #[track_caller]
    pub(super) fn set_state_of<T: Encode + ?Sized>(&mut self, of: &KeyedId, name: &str, value: &T) {
        let value = encoded(value);
        let engine = &mut self.driver.engine;
        let place = engine.place(of);
        let name = Bytes::copy_from_slice(name.as_bytes());
        engine.keyed_mut(place).state.insert(name, value);
    }

    /// Clears the whole state of an object or workflow.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{Endpoint, testing::TestRuntime};
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().build()?);
    /// runtime.set_state("Counter", "ada", "sum", &7);
    /// runtime.clear_state("Counter", "ada");
    /// assert_eq!(runtime.state::<u64>("Counter", "ada", "sum"), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_state(&mut self, service: &str, key: &str) {
        self.clear_state_of(&KeyedId::new(service, key, None));
    }

    pub(super) fn clear_state_of(&mut self, of: &KeyedId) {
        let engine = &mut self.driver.engine;
        let place = engine.place(of);
        engine.keyed_mut(place).state.clear();
    }

    // ---- operators ---------------------------------------------------------------------------

    /// Cancels an invocation: what it awaits ends with 409, and so do its calls. One that has not begun
    /// leaves no trace; a paused one goes on.
    ///
    /// # Errors
    ///
    /// 404 if there is no such invocation, 409 if it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{InvocationStatus, TestRuntime, service}};
    ///
    /// struct Nap;
    ///
    /// #[durably::service]
    /// impl Nap {
    ///     #[handler]
    ///     async fn nap(&self, ctx: &Context) -> HandlerResult<()> {
    ///         Ok(ctx.sleep(Duration::from_secs(60)).await?)
    ///     }
    /// }
    ///
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Nap).build()?);
    /// let id = runtime.send(service::<NapClient>().nap())?;
    /// runtime.settle();
    /// assert_eq!(runtime.status(&id), InvocationStatus::Running);
    /// runtime.cancel(&id)?;
    /// assert_eq!(runtime.attach::<()>(&id).unwrap_err().code(), 409);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&mut self, id: &InvocationId) -> Result<(), TerminalError> {
        let index = self.operated(id)?;
        self.driver.engine.cancel(index).map_err(terminal)
    }

    /// Kills an invocation: it ends at once with 409, and so do those that it has called, or sent something.
    ///
    /// # Errors
    ///
    /// 404 if there is no such invocation, 409 if it has ended.
    ///
    /// # Examples
    ///
    /// As [`cancel`](Self::cancel).
    pub fn kill(&mut self, id: &InvocationId) -> Result<(), TerminalError> {
        let index = self.operated(id)?;
        self.driver.engine.kill(index).map_err(terminal)
    }

    /// Pauses an invocation that is being attempted, or about to be again. As on the server, an attempt goes on until
    /// it would suspend, and a suspended one is not paused, though the request is accepted.
    ///
    /// # Errors
    ///
    /// 404 if there is no such invocation, 409 if it has not begun or has ended.
    ///
    /// # Examples
    ///
    /// See [`resume`](Self::resume).
    pub fn pause(&mut self, id: &InvocationId) -> Result<(), TerminalError> {
        let index = self.operated(id)?;
        self.driver.engine.pause(index).map_err(terminal)
    }

    /// Lets a paused invocation go on, and one that backs off make its next attempt now. For one that goes on
    /// anyway there is nothing to do.
    ///
    /// # Errors
    ///
    /// 404 if there is no such invocation, 425 if it has not begun, 409 if it has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use durably::{prelude::*, testing::{InvocationStatus, TestRuntime, service}};
    /// # struct Nap;
    /// # #[durably::service]
    /// # impl Nap {
    /// #     #[handler]
    /// #     async fn nap(&self, ctx: &Context) -> HandlerResult<()> {
    /// #         Ok(ctx.sleep(Duration::from_secs(60)).await?)
    /// #     }
    /// # }
    /// # let mut runtime = TestRuntime::new(Endpoint::builder().bind(Nap).build()?);
    /// let id = runtime.send(service::<NapClient>().nap())?;
    /// runtime.settle();
    /// runtime.pause(&id)?;
    /// runtime.run_until_idle();
    /// assert_eq!(runtime.status(&id), InvocationStatus::Paused);
    /// runtime.resume(&id)?;
    /// assert_eq!(runtime.attach::<()>(&id), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&mut self, id: &InvocationId) -> Result<(), TerminalError> {
        let index = self.operated(id)?;
        self.driver.engine.resume(index).map_err(terminal)
    }

    /// Forgets an invocation that has ended: its idempotency key or its workflow's key is free again.
    ///
    /// # Errors
    ///
    /// 404 if there is no such invocation, 409 if it has not ended.
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
    /// let run = || workflow::<SignupClient>("ada").run();
    /// let id = runtime.send(run())?;
    /// runtime.run_until_idle();
    /// assert_eq!(runtime.call(run()).unwrap_err().code(), 409);
    /// runtime.purge(&id)?;
    /// assert_eq!(runtime.call(run()), Ok(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn purge(&mut self, id: &InvocationId) -> Result<(), TerminalError> {
        let index = self.operated(id)?;
        self.driver.engine.purge(index).map_err(terminal)
    }

    fn operated(&mut self, id: &InvocationId) -> Result<Index, TerminalError> {
        let found = self.driver.engine.find(id.as_str());
        found.ok_or_else(|| terminal(does_not_exist(id.as_str())))
    }

    // ---- results from outside ----------------------------------------------------------------

    /// Delivers the result of an awakeable; only the first one counts.
    ///
    /// # Errors
    ///
    /// 400 if this is not the id of an awakeable.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{TestRuntime, object}};
    ///
    /// struct Door;
    ///
    /// #[durably::object]
    /// impl Door {
    ///     #[handler]
    ///     async fn open(&self, ctx: &ObjectContext) -> HandlerResult<String> {
    ///         let code = ctx.awakeable::<String>();
    ///         ctx.set("awakeable", code.id());
    ///         Ok(code.await?)
    ///     }
    /// }
    ///
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Door).build()?);
    /// let id = runtime.send(object::<DoorClient>("front").open())?;
    /// runtime.settle();
    /// let awakeable = runtime.state::<String>("Door", "front", "awakeable").ok_or("not there")?;
    /// runtime.resolve_awakeable(&awakeable, "sesame")?;
    /// assert_eq!(runtime.attach::<String>(&id)?, "sesame");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn resolve_awakeable<T: Encode + ?Sized>(
        &mut self,
        id: &str,
        value: &T,
    ) -> Result<(), TerminalError> {
        self.complete_awakeable(id, Ok(encoded(value)))
    }

    /// Lets an awakeable fail.
    ///
    /// # Errors
    ///
    /// As [`resolve_awakeable`](Self::resolve_awakeable).
    ///
    /// # Examples
    ///
    /// As [`resolve_awakeable`](Self::resolve_awakeable).
    pub fn reject_awakeable(
        &mut self,
        id: &str,
        error: &TerminalError,
    ) -> Result<(), TerminalError> {
        self.complete_awakeable(id, Err(error.into()))
    }

    fn complete_awakeable(&mut self, id: &str, outcome: Outcome) -> Result<(), TerminalError> {
        let engine = &mut self.driver.engine;
        engine.complete_awakeable(id, &outcome).map_err(terminal)
    }

    /// Delivers a named signal to an invocation. As on the server it is lost if the invocation has not begun:
    /// see [`settle`](Self::settle).
    ///
    /// # Errors
    ///
    /// 404 if there is no such invocation.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::{TestRuntime, service}};
    ///
    /// struct Waiter;
    ///
    /// #[durably::service]
    /// impl Waiter {
    ///     #[handler]
    ///     async fn wait(&self, ctx: &Context) -> HandlerResult<u64> {
    ///         Ok(ctx.signal::<u64>("go").await?)
    ///     }
    /// }
    ///
    /// let mut runtime = TestRuntime::new(Endpoint::builder().bind(Waiter).build()?);
    /// let id = runtime.send(service::<WaiterClient>().wait())?;
    /// runtime.signal(&id, "go", &7)?;
    /// assert_eq!(runtime.attach::<u64>(&id)?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn signal<T: Encode + ?Sized>(
        &mut self,
        id: &InvocationId,
        name: &str,
        value: &T,
    ) -> Result<(), TerminalError> {
        let index = self.find(id)?;
        let engine = &mut self.driver.engine;
        engine.signal(index, name, &Ok(encoded(value)));
        Ok(())
    }

    /// Delivers a failure as a named signal.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    ///
    /// # Examples
    ///
    /// As [`signal`](Self::signal).
    pub fn reject_signal(
        &mut self,
        id: &InvocationId,
        name: &str,
        error: &TerminalError,
    ) -> Result<(), TerminalError> {
        let index = self.find(id)?;
        let engine = &mut self.driver.engine;
        engine.signal(index, name, &Err(error.into()));
        Ok(())
    }
}

fn status_of(status: &Status) -> InvocationStatus {
    match status {
        Status::Scheduled(_) => InvocationStatus::Scheduled,
        Status::Queued => InvocationStatus::Queued,
        Status::Running(_) => InvocationStatus::Running,
        Status::Suspended(_) => InvocationStatus::Suspended,
        Status::BackingOff(_) => InvocationStatus::BackingOff,
        Status::Paused => InvocationStatus::Paused,
        Status::Completed(Ok(_)) => InvocationStatus::Succeeded,
        Status::Completed(Err(_)) => InvocationStatus::Failed,
    }
}
