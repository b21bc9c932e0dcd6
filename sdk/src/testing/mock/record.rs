//! What a handler did, for a test to look at afterwards.

use std::{any::type_name, cell::RefCell, collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{MockContext, script::is_target};
use crate::{Decode, Headers, Key, Raw, Request, Target, TerminalError};

/// A call or send that the handler made.
///
/// # Examples
///
/// See [`MockContext::sends`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded<In> {
    /// The input, decoded.
    pub input: In,
    /// Whom it was for: service, key and handler.
    pub target: Target,
    /// Its headers, in order.
    pub headers: Headers,
    /// Its idempotency key.
    pub idempotency_key: Option<String>,
    /// The delay of a send; none for calls, and for sends at once.
    pub delay: Option<Duration>,
    /// The name of its journal entry; mostly empty.
    pub name: String,
    /// The scope in which it runs.
    pub scope: Option<String>,
    /// The limit key under which it runs.
    pub limit_key: Option<String>,
    /// The id that the mock gave it.
    pub invocation_id: String,
}

impl Recorded<Raw> {
    #[track_caller]
    fn decoded<In: Decode>(&self) -> Recorded<In> {
        let Self {
            input,
            target,
            headers,
            idempotency_key,
            delay,
            name,
            scope,
            limit_key,
            invocation_id,
        } = self.clone();
        Recorded {
            input: decode(input.0, || format!("the input of {target}")),
            target,
            headers,
            idempotency_key,
            delay,
            name,
            scope,
            limit_key,
            invocation_id,
        }
    }
}

/// Decodes what a handler wrote as the type that the test expects.
#[track_caller]
pub(super) fn decode<T: Decode>(bytes: Bytes, what: impl FnOnce() -> String) -> T {
    T::decode(bytes.clone()).unwrap_or_else(|error| {
        panic!(
            "{} is no `{}`: {error}\n  it is: {}",
            what(),
            type_name::<T>(),
            String::from_utf8_lossy(&bytes)
        )
    })
}

/// A result, as its bytes.
pub(super) type Outcome = Result<Bytes, TerminalError>;

/// A run, and its result if there is one.
#[derive(Clone, Debug)]
pub(super) struct RecordedRun {
    pub(super) name: String,
    pub(super) result: Option<Outcome>,
}

/// Everything that handlers did through one mock.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) calls: Vec<Recorded<Raw>>,
    pub(super) sends: Vec<Recorded<Raw>>,
    pub(super) runs: Vec<RecordedRun>,
    pub(super) sleeps: Vec<Duration>,
    pub(super) state: BTreeMap<String, Bytes>,
    /// Promises that are completed, by the handler or by hand.
    pub(super) promises: BTreeMap<String, Outcome>,
    /// Those that the handler completed.
    pub(super) resolved: BTreeMap<String, Outcome>,
    /// Signals to other invocations: whose, the name, and the result.
    pub(super) signals: Vec<(String, String, Outcome)>,
    pub(super) cancelled: Vec<String>,
    /// Awakeables completed by the handler: the id, and the result.
    pub(super) awakeables: Vec<(String, Outcome)>,
    /// What happened, for people.
    pub(super) story: Vec<String>,
}

#[track_caller]
fn of_target<In: Decode>(requests: &[Recorded<Raw>], target: &Target) -> Vec<Recorded<In>> {
    requests
        .iter()
        .filter(|request| is_target(target, &request.target))
        .map(Recorded::decoded)
        .collect()
}

#[track_caller]
fn outcome<T: Decode>(outcome: Outcome, what: impl FnOnce() -> String) -> Result<T, TerminalError> {
    Ok(decode(outcome?, what))
}

impl<C> MockContext<C> {
    fn record(&self) -> &RefCell<Record> {
        &self.world.record
    }

    /// The calls that were made to a handler, in order, with their inputs. The request names the handler
    /// as in [`on`](Self::on); its input does not matter.
    ///
    /// # Examples
    ///
    /// See [`sends`](Self::sends).
    #[track_caller]
    pub fn calls<In: Decode, Out>(&self, request: Request<'_, In, Out>) -> Vec<Recorded<In>> {
        of_target(&self.record().borrow().calls, request.target())
    }

    /// The requests that were sent to a handler, in order, with their inputs and delays. The request names
    /// the handler as in [`on`](Self::on); its input does not matter.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, prelude::*, testing::{MockContext, request}};
    ///
    /// fn remind(ctx: &Context, whom: &str) {
    ///     let request = ctx.request::<_, ()>(Target::service("Mail", "remind"), whom.to_owned());
    ///     request.send_after(Duration::from_secs(60));
    /// }
    ///
    /// let mock = MockContext::service();
    /// mock.call_blocking(async |ctx| remind(ctx, "ada"));
    ///
    /// let sent = mock.sends(request::<String, ()>(Target::service("Mail", "remind"), String::new()));
    /// assert_eq!(sent[0].input, "ada");
    /// assert_eq!(sent[0].delay, Some(Duration::from_secs(60)));
    /// ```
    #[track_caller]
    pub fn sends<In: Decode, Out>(&self, request: Request<'_, In, Out>) -> Vec<Recorded<In>> {
        of_target(&self.record().borrow().sends, request.target())
    }

    /// All calls, in order, with their inputs as bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let mock = durably::testing::MockContext::service();
    /// assert!(mock.all_calls().is_empty());
    /// ```
    #[must_use]
    pub fn all_calls(&self) -> Vec<Recorded<Raw>> {
        self.record().borrow().calls.clone()
    }

    /// All sends, in order, with their inputs as bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// let mock = durably::testing::MockContext::service();
    /// assert!(mock.all_sends().is_empty());
    /// ```
    #[must_use]
    pub fn all_sends(&self) -> Vec<Recorded<Raw>> {
        self.record().borrow().sends.clone()
    }

    /// A value of the state as it is now; `None` if the key is not set.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::object("order-7");
    /// mock.call_blocking(async |ctx| ctx.set("seen", &1));
    /// assert_eq!(mock.get::<u64>("seen"), Some(1));
    /// ```
    #[track_caller]
    pub fn get<T: Decode>(&self, key: impl Key<T>) -> Option<T> {
        let value = self.record().borrow().state.get(key.name()).cloned()?;
        Some(decode(value, || format!("the state `{}`", key.name())))
    }

    /// The keys of the state as it is now, sorted.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::object("order-7").state("seen", &3);
    /// mock.call_blocking(async |ctx| ctx.clear_all());
    /// assert!(mock.state_keys().is_empty());
    /// ```
    #[must_use]
    pub fn state_keys(&self) -> Vec<String> {
        self.record().borrow().state.keys().cloned().collect()
    }

    /// The names of the runs, in the order in which they were made.
    ///
    /// # Examples
    ///
    /// See [`run_result`](Self::run_result).
    #[must_use]
    pub fn runs(&self) -> Vec<String> {
        let record = self.record().borrow();
        record.runs.iter().map(|run| run.name.clone()).collect()
    }

    /// The result of the last run of this name; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The terminal failure of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::MockContext};
    ///
    /// let mock = MockContext::service();
    /// mock.call_blocking(async |ctx| ctx.run("draw", async || HandlerResult::Ok(4)).await).unwrap();
    /// assert_eq!(mock.runs(), ["draw"]);
    /// assert_eq!(mock.run_result::<u64>("draw"), Some(Ok(4)));
    /// ```
    #[track_caller]
    pub fn run_result<T: Decode>(&self, name: &str) -> Option<Result<T, TerminalError>> {
        let record = self.record().borrow();
        let run = record.runs.iter().rfind(|run| run.name == name)?;
        let result = run.result.clone()?;
        Some(outcome(result, || format!("the result of run `{name}`")))
    }

    /// How long the handler slept, sleep by sleep; those of `or_timeout` count, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    /// use std::time::Duration;
    ///
    /// let mock = MockContext::service();
    /// mock.call_blocking(async |ctx| ctx.sleep(Duration::from_secs(3600)).await).unwrap();
    /// assert_eq!(mock.sleeps(), [Duration::from_secs(3600)]);
    /// ```
    #[must_use]
    pub fn sleeps(&self) -> Vec<Duration> {
        self.record().borrow().sleeps.clone()
    }

    /// How a promise was completed by the handler; `None` if it was not.
    ///
    /// # Errors
    ///
    /// The failure that it was rejected with.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::shared_workflow("order-7");
    /// mock.call_blocking(async |ctx| ctx.promise("approval").resolve(&true).await).unwrap();
    /// assert_eq!(mock.promise_result::<bool>("approval"), Some(Ok(true)));
    /// ```
    #[track_caller]
    pub fn promise_result<T: Decode>(&self, key: &str) -> Option<Result<T, TerminalError>> {
        let result = self.record().borrow().resolved.get(key).cloned()?;
        Some(outcome(result, || format!("the promise `{key}`")))
    }

    /// How the handler completed an awakeable of somebody's; `None` if it did not.
    ///
    /// # Errors
    ///
    /// The failure that it was rejected with.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let id = "sign_1________________________________AAAAEQ";
    /// let mock = MockContext::service();
    /// mock.call_blocking(async |ctx| ctx.resolve_awakeable(id, &true)).unwrap();
    /// assert_eq!(mock.awakeable_result::<bool>(id), Some(Ok(true)));
    /// ```
    #[track_caller]
    pub fn awakeable_result<T: Decode>(&self, id: &str) -> Option<Result<T, TerminalError>> {
        let record = self.record().borrow();
        let (_, result) = record.awakeables.iter().find(|(other, _)| other == id)?;
        Some(outcome(result.clone(), || format!("the awakeable {id}")))
    }

    /// The named signals that the handler sent to an invocation, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::MockContext};
    ///
    /// let id = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
    /// let mock = MockContext::service();
    /// mock.call_blocking(async |ctx| {
    ///     ctx.invocation(id)?.resolve_signal("go", &42);
    ///     HandlerResult::Ok(())
    /// })
    /// .unwrap();
    /// assert_eq!(mock.signals_to::<u64>(id), [("go".to_owned(), Ok(42))]);
    /// ```
    #[track_caller]
    pub fn signals_to<T: Decode>(&self, id: &str) -> Vec<(String, Result<T, TerminalError>)> {
        let record = self.record().borrow();
        let signals = record.signals.iter().filter(|(target, ..)| target == id);
        signals
            .map(|(_, name, result)| {
                let result = outcome(result.clone(), || format!("the signal `{name}`"));
                (name.clone(), result)
            })
            .collect()
    }

    /// The ids of the invocations that the handler cancelled, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{prelude::*, testing::MockContext};
    ///
    /// let id = "inv_1gdJBtdVEcM942bjcDmb1c1khoaJe11Hbz";
    /// let mock = MockContext::service();
    /// mock.call_blocking(async |ctx| HandlerResult::Ok(ctx.invocation(id)?.cancel())).unwrap();
    /// assert_eq!(mock.cancelled(), [id]);
    /// ```
    #[must_use]
    pub fn cancelled(&self) -> Vec<String> {
        self.record().borrow().cancelled.clone()
    }

    /// What is scripted and has not happened, or not as often as [`times`](super::CallScript::times) says.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::service();
    /// mock.run("charge the card").returns(&42);
    /// mock.call_blocking(async |_| ());
    /// assert_eq!(mock.unused(), ["run `charge the card`"]);
    /// ```
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        self.world.script.borrow().unused()
    }

    /// What happened, in order, one line each: `→` the handler did, `←` came back. For a snapshot, or to
    /// look at.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::testing::MockContext;
    ///
    /// let mock = MockContext::object("order-7");
    /// mock.call_blocking(async |ctx| ctx.set("seen", &1));
    /// assert_eq!(mock.story(), "→ set state `seen` to 1\n→ return\n");
    /// ```
    #[must_use]
    pub fn story(&self) -> String {
        let record = self.record().borrow();
        record.story.iter().flat_map(|line| [line, "\n"]).collect()
    }
}
