//! How a test fails: what is wrong, what to write, and what the handler had done so far.

use std::{error::Error, fmt};

use crate::{Raw, Target};

use super::record::Recorded;

/// What kind of failure it is.
///
/// # Examples
///
/// See [`MockContext::try_call`](super::MockContext::try_call).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// A call, or a run while they are forbidden, for which nothing is scripted.
    Unscripted,
    /// The handler waits for something that will not come.
    Stuck,
    /// The handler waits for something that is not durable.
    Foreign,
    /// The handler panicked.
    Panicked,
    /// The attempt failed, as it would in production: a run that failed and is to be tried again, a value
    /// that cannot be encoded or decoded, a use of the context within a run.
    AttemptFailed,
    /// The handler issues more commands than the mock allows, gets more scripted signals, or goes on
    /// without either.
    Endless,
    /// A run closure waits for the world outside for too long.
    RunLimit,
}

/// Why a handler did not come to its end; see [`MockContext::try_call`](super::MockContext::try_call).
///
/// # Examples
///
/// ```
/// use durably::testing::{FailureKind, MockContext};
///
/// # futures::executor::block_on(async {
/// let mock = MockContext::service();
/// let failure = mock.try_call(async |_| panic!("oh no")).await.map(|()| ()).unwrap_err();
/// assert_eq!(failure.kind(), FailureKind::Panicked);
/// assert!(failure.to_string().contains("oh no"));
/// # });
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MockFailure {
    kind: FailureKind,
    what: String,
    write: Vec<String>,
    story: Vec<String>,
}

/// Lines of the story that are shown.
const STORY: usize = 40;

impl MockFailure {
    pub(super) fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        let what = what.into();
        Self {
            kind,
            what,
            write: Vec::new(),
            story: Vec::new(),
        }
    }

    /// Lines of code that a test would contain if it meant this.
    pub(super) fn write(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.write.extend(lines);
        self
    }

    pub(super) fn telling(mut self, story: &[String]) -> Self {
        self.story = story.to_vec();
        self
    }

    /// What kind of failure it is.
    ///
    /// # Examples
    ///
    /// See [`MockFailure`].
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }
}

impl fmt::Display for MockFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.write.is_empty() {
            f.write_str("\n\nIf that is meant to happen, script it:\n")?;
            for line in &self.write {
                write!(f, "\n    {line}")?;
            }
        }
        if self.story.is_empty() {
            return f.write_str("\n\nThe handler had done nothing so far.");
        }
        f.write_str("\n\nThe handler had done this so far:\n")?;
        let hidden = self.story.len().saturating_sub(STORY);
        if hidden > 0 {
            write!(f, "\n    … {hidden} lines")?;
        }
        let mut shown = self.story.iter().skip(hidden);
        shown.try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// `unwrap` shows it, and it is for people.
impl fmt::Debug for MockFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl Error for MockFailure {}

/// A payload for people: text as it is, cut where it is long.
pub(super) fn shown(payload: &[u8]) -> String {
    const MAX: usize = 200;
    match std::str::from_utf8(payload) {
        Ok("") => "nothing".to_owned(),
        Ok(text) if text.len() <= MAX => text.to_owned(),
        Ok(text) => format!("{} …", &text[..text.floor_char_boundary(MAX)]),
        Err(_) => format!("{} bytes", payload.len()),
    }
}

/// The line that scripts a call, as one writes it with the generated client.
pub(super) fn call_line(call: &Recorded<Raw>) -> String {
    let target = &call.target;
    let client = match target.key() {
        None => format!("service::<{}Client>()", target.service_name()),
        // Nothing but its name tells a workflow's handler from an object's.
        Some(key) => {
            let workflow = target.handler_name() == "run";
            let kind = if workflow { "workflow" } else { "object" };
            format!("{kind}::<{}Client>({key:?})", target.service_name())
        }
    };
    let input = argument(&call.input.0);
    format!(
        "mock.on({client}.{}({input})).returns(&…);",
        target.handler_name()
    )
}

/// The same without a generated client.
pub(super) fn request_line(target: &Target) -> String {
    let (service, handler) = (target.service_name(), target.handler_name());
    let target = match target.key() {
        None => format!("Target::service({service:?}, {handler:?})"),
        Some(key) => format!("Target::object({service:?}, {key:?}, {handler:?})"),
    };
    format!("mock.on(request::<Raw, _>({target}, Raw::default())).returns(&…);")
}

/// An input of this form, as code. It does not matter for what is scripted.
fn argument(input: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(input) {
        _ if input.is_empty() => String::new(),
        Ok(serde_json::Value::String(text)) => format!("{text:?}.into()"),
        Ok(value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_))) => {
            value.to_string()
        }
        _ => "Default::default()".to_owned(),
    }
}
