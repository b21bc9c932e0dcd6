//! What a test says beforehand: how calls, runs, promises, awakeables and signals turn out.

use std::{any::type_name, fmt, marker::PhantomData, time::Duration};

use bytes::Bytes;

use super::{MockContext, record::Recorded};
use crate::{Decode, Encode, Raw, TerminalError};

/// As the key of a client in [`MockContext::on`], [`calls`](MockContext::calls) and
/// [`sends`](MockContext::sends): any key.
///
/// # Examples
///
/// ```
/// use durably::{Target, testing::{ANY_KEY, MockContext, request}};
///
/// let mock = MockContext::service();
/// mock.on(request::<(), u64>(Target::object("Counter", ANY_KEY, "get"), ())).returns(&3);
/// ```
pub const ANY_KEY: &str = "\u{0}any key";

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Call(crate::Target),
    /// Calls by a predicate alone.
    AnyCall,
    Run(String),
    Promise(String),
    Awakeable(u32),
    Signal(String),
    Attach(String),
}

impl Subject {
    fn describe(&self) -> String {
        match self {
            Self::Call(target) => match target.key() {
                Some(ANY_KEY) => {
                    let (service, handler) = (target.service_name(), target.handler_name());
                    format!("call {service}/(any key)/{handler}")
                }
                _ => format!("call {target}"),
            },
            Self::AnyCall => "call by a predicate".to_owned(),
            Self::Run(name) => format!("run `{name}`"),
            Self::Promise(key) => format!("promise `{key}`"),
            Self::Awakeable(index) => format!("awakeable {index}"),
            Self::Signal(name) => format!("signal `{name}`"),
            Self::Attach(which) => format!("invocation {which}"),
        }
    }
}

/// How something turns out.
pub(super) enum Answer {
    Value(Bytes),
    Failure(TerminalError),
    Never,
    Computed(Box<dyn Fn(Bytes) -> Result<Bytes, TerminalError>>),
}

/// The result that is due, and after which time; none if it never comes.
pub(super) type Due = Option<(Duration, Result<Bytes, TerminalError>)>;

/// A predicate over a call.
type Accepts = Box<dyn Fn(&Recorded<Raw>) -> bool>;

struct Rule {
    subject: Subject,
    accepts: Option<Accepts>,
    /// How often it still applies; `None`: as often as one likes.
    left: Option<usize>,
    after: Duration,
    answer: Answer,
    used: bool,
}

impl Rule {
    fn is_about(&self, subject: &Subject, call: Option<&Recorded<Raw>>) -> bool {
        let about = match (&self.subject, subject) {
            (Subject::AnyCall, Subject::Call(_)) => true,
            (Subject::Call(expected), Subject::Call(target)) => is_target(expected, target),
            (expected, subject) => expected == subject,
        };
        about
            && self.left != Some(0)
            && self
                .accepts
                .as_ref()
                .is_none_or(|accepts| call.is_some_and(accepts))
    }

    fn due(&self, input: &Bytes) -> Due {
        let result = match &self.answer {
            Answer::Value(value) => Ok(value.clone()),
            Answer::Failure(error) => Err(error.clone()),
            Answer::Computed(compute) => compute(input.clone()),
            Answer::Never => return None,
        };
        Some((self.after, result))
    }
}

/// Whether a client's request names this target, maybe with any key.
pub(super) fn is_target(expected: &crate::Target, target: &crate::Target) -> bool {
    expected.service_name() == target.service_name()
        && expected.handler_name() == target.handler_name()
        && (expected.key() == target.key() || expected.key() == Some(ANY_KEY))
}

/// All rules of a mock.
#[derive(Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.rules.iter().map(|rule| &rule.subject))
            .finish()
    }
}

impl Script {
    /// What the script says about this; `None`: nothing. Rules for a number of times go first, in the
    /// order in which they were written; of the others the one that was written last.
    pub(super) fn take(&mut self, subject: &Subject, call: Option<&Recorded<Raw>>) -> Option<Due> {
        let rule = self.find(subject, call)?;
        rule.used = true;
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        let input = call.map(|call| call.input.0.clone()).unwrap_or_default();
        Some(rule.due(&input))
    }

    /// The same, and it is not used up.
    pub(super) fn peek(&mut self, subject: &Subject) -> Option<Due> {
        let rule = self.find(subject, None)?;
        rule.used = true;
        Some(rule.due(&Bytes::new()))
    }

    fn find(&mut self, subject: &Subject, call: Option<&Recorded<Raw>>) -> Option<&mut Rule> {
        let limited = |rule: &Rule| rule.left.is_some() && rule.is_about(subject, call);
        let at = match self.rules.iter().position(limited) {
            Some(at) => at,
            None => self
                .rules
                .iter()
                .rposition(|rule| rule.is_about(subject, call))?,
        };
        self.rules.get_mut(at)
    }

    /// What was scripted and never happened: never, or not as often as said.
    pub(super) fn unused(&self) -> Vec<String> {
        let unused = |rule: &&Rule| !rule.used || rule.left.is_some_and(|left| left > 0);
        let rules = self.rules.iter().filter(unused);
        rules.map(|rule| rule.subject.describe()).collect()
    }

    /// Whether something is scripted for a handler, with whatever key and input: for messages.
    pub(super) fn is_mentioned(&self, target: &crate::Target) -> bool {
        self.rules.iter().any(|rule| match &rule.subject {
            Subject::Call(expected) => {
                expected.service_name() == target.service_name()
                    && expected.handler_name() == target.handler_name()
            }
            _ => false,
        })
    }
}

#[track_caller]
pub(super) fn encode<T: Encode + ?Sized>(value: &T) -> Bytes {
    value.encode().unwrap_or_else(|error| {
        panic!(
            "a value of type `{}` cannot be encoded: {error}",
            type_name::<T>()
        )
    })
}

/// The beginning of a rule: what it is about, and when it applies.
struct Draft<'m> {
    script: &'m std::cell::RefCell<Script>,
    subject: Subject,
    accepts: Option<Accepts>,
    left: Option<usize>,
    after: Duration,
}

impl Draft<'_> {
    fn end(self, answer: Answer) {
        self.script.borrow_mut().rules.push(Rule {
            subject: self.subject,
            accepts: self.accepts,
            left: self.left,
            after: self.after,
            answer,
            used: false,
        });
    }
}

macro_rules! modifiers {
    ($example:literal) => {
        /// Only the next time; then what is scripted next applies. Rules for a number of times come
        /// before those without.
        ///
        /// # Examples
        ///
        /// ```
        /// use durably::{Target, testing::{MockContext, request}};
        ///
        /// let mock = MockContext::workflow("order-7");
        #[doc = concat!("mock.", $example, ".once().returns(&1);")]
        #[doc = concat!("mock.", $example, ".returns(&2);")]
        /// ```
        pub fn once(self) -> Self {
            self.times(1)
        }

        /// Only the next `times` times.
        ///
        /// # Examples
        ///
        /// ```
        /// use durably::{Target, testing::{MockContext, request}};
        ///
        /// let mock = MockContext::workflow("order-7");
        #[doc = concat!("mock.", $example, ".times(2).returns(&1);")]
        /// ```
        pub fn times(mut self, times: usize) -> Self {
            self.draft.left = Some(times);
            self
        }

        /// The result comes after this time, which passes as that of sleeps does: in no real time.
        ///
        /// # Examples
        ///
        /// ```
        /// use durably::{Target, testing::{MockContext, request}};
        /// use std::time::Duration;
        ///
        /// let mock = MockContext::workflow("order-7");
        #[doc = concat!("mock.", $example, ".after(Duration::from_secs(60)).returns(&1);")]
        /// ```
        pub fn after(mut self, time: Duration) -> Self {
            self.draft.after = time;
            self
        }

        /// It fails with this error.
        ///
        /// # Examples
        ///
        /// ```
        /// use durably::{Target, TerminalError, testing::{MockContext, request}};
        ///
        /// let mock = MockContext::workflow("order-7");
        #[doc = concat!("mock.", $example, ".fails(TerminalError::new(\"no\").with_code(409));")]
        /// ```
        pub fn fails(self, error: TerminalError) {
            self.draft.end(Answer::Failure(error));
        }

        /// There never is a result: a sleep beside it is over first, and a handler that waits for nothing
        /// else fails the test.
        ///
        /// # Examples
        ///
        /// ```
        /// use durably::{Target, testing::{MockContext, request}};
        ///
        /// let mock = MockContext::workflow("order-7");
        #[doc = concat!("mock.", $example, ".never();")]
        /// ```
        pub fn never(self) {
            self.draft.end(Answer::Never);
        }
    };
}

/// How a call turns out; made by [`MockContext::on`] and [`MockContext::on_where`].
///
/// # Examples
///
/// See [`MockContext::on`].
#[must_use = "say how it turns out: `returns`, `fails`, `never` or `replies_with`"]
pub struct CallScript<'m, In, Out> {
    draft: Draft<'m>,
    marker: PhantomData<fn(In) -> Out>,
}

impl<In, Out> fmt::Debug for CallScript<'_, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CallScript")
            .field(&self.draft.subject)
            .finish()
    }
}

impl<'m, In, Out> CallScript<'m, In, Out> {
    pub(super) fn new<C>(mock: &'m MockContext<C>, subject: Subject) -> Self {
        Self {
            draft: ResultScript::new(mock, subject).draft,
            marker: PhantomData,
        }
    }

    pub(super) fn accepting(mut self, accepts: Accepts) -> Self {
        // Both hold: `matching` narrows `on_where` down, and another `matching`.
        let both: Accepts = match self.draft.accepts.take() {
            Some(before) => Box::new(move |call: &Recorded<Raw>| before(call) && accepts(call)),
            None => accepts,
        };
        self.draft.accepts = Some(both);
        self
    }

    /// Only calls whose input fulfils this, beside everything else that is said about them. Without it, the
    /// input does not matter.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, testing::{MockContext, request}};
    ///
    /// let mock = MockContext::service();
    /// mock.on(request::<u32, bool>(Target::service("Stock", "reserve"), 0))
    ///     .matching(|quantity| *quantity > 10)
    ///     .returns(&false);
    /// ```
    pub fn matching(self, accepts: impl Fn(&In) -> bool + 'static) -> Self
    where
        In: Decode,
    {
        self.accepting(Box::new(move |call| {
            In::decode(call.input.0.clone()).is_ok_and(|input| accepts(&input))
        }))
    }

    modifiers!("on(request::<(), u64>(Target::service(\"Prices\", \"get\"), ()))");

    /// It returns this value.
    ///
    /// # Examples
    ///
    /// See [`MockContext::on`].
    #[track_caller]
    pub fn returns(self, value: &Out)
    where
        Out: Encode,
    {
        self.draft.end(Answer::Value(encode(value)));
    }

    /// Its result is computed from its input.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Target, testing::{MockContext, request}};
    ///
    /// let mock = MockContext::service();
    /// mock.on(request::<u64, u64>(Target::service("Maths", "double"), 0))
    ///     .replies_with(|n| Ok(2 * n));
    /// ```
    pub fn replies_with(self, reply: impl Fn(In) -> Result<Out, TerminalError> + 'static)
    where
        In: Decode,
        Out: Encode,
    {
        self.draft.end(Answer::Computed(Box::new(move |input| {
            let input = In::decode(input).map_err(|error| {
                TerminalError::new(format!("the input cannot be decoded: {error}")).with_code(400)
            })?;
            Ok(encode(&reply(input)?))
        })));
    }
}

/// How a run, a promise, an awakeable, a signal or another invocation turns out; made by
/// [`MockContext::run`], [`promise`](MockContext::promise), [`awakeable`](MockContext::awakeable),
/// [`signal`](MockContext::signal) and [`invocation`](MockContext::invocation).
///
/// # Examples
///
/// See [`MockContext::run`].
#[must_use = "say how it turns out: `returns`, `fails` or `never`"]
pub struct ResultScript<'m> {
    draft: Draft<'m>,
}

impl fmt::Debug for ResultScript<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResultScript")
            .field(&self.draft.subject)
            .finish()
    }
}

impl<'m> ResultScript<'m> {
    pub(super) fn new<C>(mock: &'m MockContext<C>, subject: Subject) -> Self {
        Self {
            draft: Draft {
                script: &mock.world.script,
                subject,
                accepts: None,
                left: None,
                after: Duration::ZERO,
            },
        }
    }

    modifiers!("run(\"draw a number\")");

    /// It results in this value.
    ///
    /// # Examples
    ///
    /// See [`MockContext::run`].
    #[track_caller]
    pub fn returns<T: Encode + ?Sized>(self, value: &T) {
        self.draft.end(Answer::Value(encode(value)));
    }
}
