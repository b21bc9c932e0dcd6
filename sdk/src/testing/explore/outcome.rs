//! What a run came to: state, promises, invocations with their results, signals sent. Runs are compared
//! by it.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

use crate::{
    engine::words::show,
    engine::{
        Engine,
        invocation::{self, Invocation, Status, What},
    },
    protocol::message::Failure,
    wire::{CANCEL, CommandMessage},
};

/// Headers that say where a request comes from, not what it is.
const TRACING: [&str; 2] = ["traceparent", "tracestate"];

/// Bytes, compared as what they say: JSON by its values, since the order of a map means nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Payload(Bytes);

impl Payload {
    fn normal(&self) -> Self {
        Self(normal(&self.0))
    }
}

/// JSON with the keys of its objects in order; other bytes as they are.
pub(super) fn normal(bytes: &Bytes) -> Bytes {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => sorted(value).to_string().into(),
        Err(_) => bytes.clone(),
    }
}

/// A value with the keys of its objects in order, whatever map the JSON library was built with.
fn sorted(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let entries: BTreeMap<_, _> = map.into_iter().collect();
            let entries = entries.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(entries.collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Value(Payload),
    Failure(u32, String, Vec<(String, String)>),
    Open(&'static str),
}

impl End {
    fn of(outcome: &invocation::Outcome) -> Self {
        match outcome {
            Ok(value) => Self::Value(Payload(value.clone())),
            Err(failure) => Self::failure(failure),
        }
    }

    fn failure(failure: &Failure) -> Self {
        let metadata = failure.metadata.iter();
        let metadata = metadata.map(|header| (header.key.clone(), header.value.clone()));
        Self::Failure(failure.code, failure.message.clone(), metadata.collect())
    }

    fn of_invocation(invocation: &Invocation) -> Self {
        Self::Open(match &invocation.status {
            Status::Completed(outcome) => return Self::of(outcome),
            Status::Running(_) | Status::Suspended(_) => "waits",
            Status::Scheduled(_) => "begins later",
            Status::Queued => "is queued",
            Status::BackingOff(_) => "tries again later",
            Status::Paused => "is paused",
        })
    }

    fn normal(&self) -> Self {
        match self {
            Self::Value(payload) => Self::Value(payload.normal()),
            other => other.clone(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) if value.0.is_empty() => f.write_str("ended with nothing"),
            Self::Value(value) => write!(f, "ended with {}", show(&value.0)),
            Self::Failure(code, message, _) => write!(f, "failed: [{code}] {message}"),
            Self::Open(how) => f.write_str(how),
        }
    }
}

/// An invocation by what was asked for, and its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    target: String,
    input: Payload,
    headers: Vec<(String, String)>,
    end: End,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}({}), which {}",
            self.target,
            show(&self.input.0),
            self.end
        )
    }
}

/// A signal: to whom, which one, with what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    target: String,
    what: String,
    value: Option<Payload>,
    failure: Option<End>,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.what, self.target)?;
        match (&self.value, &self.failure) {
            (Some(value), _) => write!(f, " with {}", show(&value.0)),
            (None, Some(failure)) => write!(f, ", which {failure}"),
            (None, None) => Ok(()),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Service/key, and the name.
    state: BTreeMap<(String, String), Payload>,
    promises: BTreeMap<(String, String), End>,
    asked: Vec<Asked>,
    sent: Vec<Sent>,
}

impl Outcome {
    pub(super) fn of(engine: &Engine) -> Self {
        let (mut state, mut promises) = (BTreeMap::new(), BTreeMap::new());
        for keyed in engine.all_keyed() {
            let of = keyed.id.to_string();
            for (name, value) in &keyed.state {
                let name = String::from_utf8_lossy(name).into_owned();
                state.insert((of.clone(), name), Payload(value.clone()));
            }
            for (name, promise) in &keyed.promises {
                if let Some(result) = &promise.result {
                    promises.insert((of.clone(), name.clone()), End::of(result));
                }
            }
        }
        let mut asked: Vec<_> = engine.invocations.values().map(asked).collect();
        asked.sort_unstable();
        let records = engine.invocations.values().flat_map(|one| &one.records);
        let mut sent: Vec<_> = records
            .filter_map(|record| match &record.what {
                What::Command(_, command) => sent(engine, command),
                _ => None,
            })
            .collect();
        sent.sort_unstable();
        Self {
            state,
            promises,
            asked,
            sent,
        }
    }

    /// What differs in `self`, in a sentence, if anything does. `this` and `other` name the two runs.
    pub(super) fn difference(&self, other: &Self, names: (&str, &str)) -> Option<String> {
        if self == other {
            return None;
        }
        let (here, there) = (self.normal(), other.normal());
        here.first_difference(&there, names)
    }

    fn normal(&self) -> Self {
        let mut normal = self.clone();
        for value in normal.state.values_mut() {
            *value = value.normal();
        }
        for end in normal.promises.values_mut() {
            *end = end.normal();
        }
        for asked in &mut normal.asked {
            asked.input = asked.input.normal();
            asked.end = asked.end.normal();
        }
        normal.asked.sort_unstable();
        for sent in &mut normal.sent {
            sent.value = sent.value.as_ref().map(Payload::normal);
        }
        normal.sent.sort_unstable();
        normal
    }

    fn first_difference(&self, other: &Self, (this, that): (&str, &str)) -> Option<String> {
        let show = |value: &Payload| show(&value.0);
        if let Some(((of, name), here, there)) = in_map(&self.state, &other.state, show) {
            return Some(format!(
                "the state `{name}` of {of} is {here} {this}, and {there} {that}"
            ));
        }
        if let Some(((of, name), here, there)) =
            in_map(&self.promises, &other.promises, ToString::to_string)
        {
            return Some(format!(
                "the promise `{name}` of {of}: {here} {this}, and {there} {that}"
            ));
        }
        if let Some((more, fewer)) = in_lists(&self.asked, &other.asked) {
            return Some(match (more, fewer) {
                (Some(more), Some(fewer)) => {
                    format!("{this} there is the invocation {more}; {that} {fewer}")
                }
                (Some(more), None) => {
                    format!("{this} there is one more invocation: {more}")
                }
                (None, Some(fewer)) => {
                    format!("{this} an invocation is missing: {fewer}")
                }
                (None, None) => return None,
            });
        }
        let (more, fewer) = in_lists(&self.sent, &other.sent)?;
        Some(match (more, fewer) {
            (Some(more), Some(fewer)) => format!("{this} there is {more}; {that} {fewer}"),
            (Some(more), None) => format!("{this} one more is sent: {more}"),
            (None, Some(fewer)) => format!("{this} nothing is sent of this: {fewer}"),
            (None, None) => return None,
        })
    }
}

fn asked(invocation: &Invocation) -> Asked {
    let headers = invocation.headers.iter();
    let headers = headers.filter(|(key, _)| !TRACING.contains(&key.as_str()));
    Asked {
        target: invocation.target(),
        input: Payload(invocation.input.clone()),
        headers: headers.cloned().collect(),
        end: End::of_invocation(invocation),
    }
}

fn sent(engine: &Engine, command: &CommandMessage) -> Option<Sent> {
    let (target, what, value, failure) = match command {
        CommandMessage::SendSignal(signal) => {
            let target = engine.find_any(&signal.target);
            let target = target.map_or_else(
                || signal.target.clone(),
                |index| engine.invocations[index].target(),
            );
            let what = match (signal.idx, &signal.signal) {
                (Some(CANCEL), _) => "a cancellation".to_owned(),
                (_, Some(name)) => format!("the signal `{name}`"),
                (id, None) => format!("signal {}", id.unwrap_or_default()),
            };
            (target, what, &signal.value, &signal.failure)
        }
        CommandMessage::CompleteAwakeable(message) => {
            let (target, what) = match engine.awakeable_of(&message.id) {
                Some((index, id)) => (
                    engine.invocations[index].target(),
                    format!("the result of awakeable {id}"),
                ),
                None => (message.id.clone(), "the result of an awakeable".to_owned()),
            };
            (target, what, &message.value, &message.failure)
        }
        _ => return None,
    };
    Some(Sent {
        target,
        what,
        value: value.as_ref().map(|value| Payload(value.content.clone())),
        failure: failure.as_ref().map(End::failure),
    })
}

fn in_map<'a, K: Ord, V: PartialEq>(
    this: &'a BTreeMap<K, V>,
    that: &'a BTreeMap<K, V>,
    show: impl Fn(&V) -> String,
) -> Option<(&'a K, String, String)> {
    let keys = this.keys().chain(that.keys());
    let mut differ = keys.filter(|key| this.get(key) != that.get(key));
    let key = differ.next()?;
    let told = |value: Option<&V>| value.map_or_else(|| "not there".to_owned(), &show);
    Some((key, told(this.get(key)), told(that.get(key))))
}

/// What only one of two sorted lists holds, the first of each.
fn in_lists<'a, T: Ord>(this: &'a [T], that: &'a [T]) -> Option<(Option<&'a T>, Option<&'a T>)> {
    let (mut here, mut there) = (this.iter().peekable(), that.iter().peekable());
    let (mut more, mut fewer) = (None, None);
    loop {
        match (here.peek(), there.peek()) {
            (None, None) => break,
            (Some(a), Some(b)) if a == b => {
                here.next();
                there.next();
            }
            (Some(a), Some(b)) if a > b => fewer = fewer.or(there.next()),
            (Some(_), _) => more = more.or(here.next()),
            (None, Some(_)) => fewer = fewer.or(there.next()),
        }
    }
    (more.is_some() || fewer.is_some()).then_some((more, fewer))
}
