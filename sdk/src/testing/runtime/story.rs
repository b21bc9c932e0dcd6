//! An invocation told as a story: what was issued, what came, in order.

use std::{fmt, time::Duration};

use crate::engine::{
    invocation::{Invocation, What},
    words::{describe_record, describe_status},
};

/// What happened to one invocation, in order; from [`TestRuntime::journal`](crate::testing::TestRuntime::journal).
///
/// Displayed it reads like a story: `→` is what the handler issued, `←` what came to it, `·` what the
/// runtime did. The times are virtual, since the invocation was made.
///
/// # Examples
///
/// ```
/// use durably::{prelude::*, testing::{JournalEventKind, TestRuntime, object}};
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
/// let id = runtime.send(object::<CounterClient>("ada").add(3))?;
/// runtime.run_until_idle();
/// let journal = runtime.journal(&id);
/// assert!(journal.to_string().contains("→ set state `sum` = 3"), "{journal}");
/// let issued = journal.events().iter().filter(|event| event.kind == JournalEventKind::Issued);
/// assert_eq!(issued.count(), 3); // get, set, output
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    title: String,
    events: Vec<JournalEvent>,
}

/// One thing that happened to an invocation; see [`Journal`].
///
/// # Examples
///
/// See [`Journal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalEvent {
    /// Virtual time since the invocation was made.
    pub at: Duration,
    /// The attempt during which it happened, from 1; 0 before the first.
    pub attempt: u32,
    /// Who did it.
    pub kind: JournalEventKind,
    /// What it was, in words.
    pub text: String,
}

/// Who did something to an invocation; see [`Journal`].
///
/// # Examples
///
/// See [`Journal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JournalEventKind {
    /// The handler issued a command.
    Issued,
    /// A notification came to the handler: a completion, or a signal.
    Came,
    /// The runtime did something: it began an attempt, ended the request, waits to try again.
    Runtime,
}

impl Journal {
    /// The events, in order.
    ///
    /// # Examples
    ///
    /// See [`Journal`].
    #[must_use]
    pub fn events(&self) -> &[JournalEvent] {
        &self.events
    }

    pub(in crate::testing) fn of(invocation: &Invocation) -> Self {
        let title = format!(
            "{} {}: {}",
            invocation.id,
            invocation.target(),
            describe_status(invocation)
        );
        let events = invocation.records.iter().map(|record| {
            let (kind, text) = (kind_of(&record.what), describe_record(invocation, record));
            JournalEvent {
                at: Duration::from_millis(record.at.saturating_sub(invocation.created_at)),
                attempt: record.attempt,
                kind,
                text,
            }
        });
        Self {
            title,
            events: events.collect(),
        }
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        let mut attempt = 0;
        for event in &self.events {
            if event.attempt != attempt {
                attempt = event.attempt;
                write!(f, "\n  attempt {attempt}")?;
            }
            let sign = match event.kind {
                JournalEventKind::Issued => "→",
                JournalEventKind::Came => "←",
                JournalEventKind::Runtime => "·",
            };
            let at = format!("{:?}", event.at);
            write!(f, "\n    {at:>8} {sign} {}", event.text)?;
        }
        Ok(())
    }
}

fn kind_of(what: &What) -> JournalEventKind {
    match what {
        What::Command(..) => JournalEventKind::Issued,
        What::Notification(..) => JournalEventKind::Came,
        _ => JournalEventKind::Runtime,
    }
}
