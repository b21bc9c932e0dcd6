//! What a blocked handler waits for, as `Suspension` and `AwaitingOn` carry it.

use std::sync::Arc;

use super::notifications::{CANCEL, Source};
use crate::protocol::{MessageType, ProtocolVersion, encode::Encoder};

/// The combinator of all awaited sets.
const FIRST_COMPLETED: u64 = 1;

/// The sources that a handler waits for; any of them lets it go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwaitSet {
    /// CANCEL is awaited as well, unless one has come.
    cancel: bool,
    completions: Vec<u32>,
    signals: Vec<u32>,
    named: Vec<Arc<str>>,
}

impl AwaitSet {
    /// The set of these sources, sorted and without duplicates.
    pub(crate) fn new<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Self {
        let mut set = Self {
            cancel: true,
            completions: Vec::new(),
            signals: Vec::new(),
            named: Vec::new(),
        };
        for source in sources {
            match source {
                Source::Signal(CANCEL) => {}
                Source::Completion(id) => set.completions.push(*id),
                Source::Signal(id) => set.signals.push(*id),
                Source::NamedSignal(name) => set.named.push(Arc::clone(name)),
            }
        }
        set.completions.sort_unstable();
        set.completions.dedup();
        set.signals.sort_unstable();
        set.signals.dedup();
        set.named.sort_unstable();
        set.named.dedup();
        set
    }

    /// Without CANCEL: one has come already, and the runtime would take that for a reason to go on at once.
    pub(crate) fn without_cancel(mut self) -> Self {
        self.cancel = false;
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.completions.len() + self.signals.len() + self.named.len()
    }

    /// For reports: `completion 3, signal 17, signal "go"`.
    pub(crate) fn describe(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(
            self.completions
                .iter()
                .take(8)
                .map(|id| format!("completion {id}")),
        );
        parts.extend(self.signals.iter().take(8).map(|id| format!("signal {id}")));
        parts.extend(
            self.named
                .iter()
                .take(8)
                .map(|name| format!("signal `{name}`")),
        );
        if parts.is_empty() {
            parts.push("the cancellation".to_owned());
        }
        if self.len() > parts.len() {
            parts.push(format!("{} more", self.len() - parts.len()));
        }
        parts.join(", ")
    }

    /// Writes a `Suspension` frame: three flat lists up to v6, a tree from v7 on.
    pub(crate) fn encode_suspension(&self, version: ProtocolVersion, encoder: &mut Encoder) {
        let frame = encoder.begin(MessageType::SUSPENSION);
        if version.has_v7() {
            encoder.nested(4, |encoder| self.encode_tree(encoder));
        } else {
            encoder.packed(1, &self.completions);
            let signals: Vec<u32> = self
                .cancel
                .then_some(CANCEL)
                .into_iter()
                .chain(self.signals.iter().copied())
                .collect();
            encoder.packed(2, &signals);
            self.encode_named(encoder);
        }
        encoder.end_small(frame);
    }

    /// Writes an `AwaitingOn` frame (v7).
    pub(crate) fn encode_awaiting_on(&self, encoder: &mut Encoder) {
        let frame = encoder.begin(MessageType::AWAITING_ON);
        encoder.nested(1, |encoder| self.encode_tree(encoder));
        encoder.end_small(frame);
    }

    /// `FIRST_COMPLETED { CANCEL, FIRST_COMPLETED { what is awaited } }`, or the inner one alone.
    fn encode_tree(&self, encoder: &mut Encoder) {
        if !self.cancel {
            return self.encode_awaited(encoder);
        }
        encoder.packed(2, &[CANCEL]);
        if self.len() > 0 {
            encoder.nested(4, |encoder| self.encode_awaited(encoder));
        }
        encoder.uint(5, FIRST_COMPLETED);
    }

    fn encode_awaited(&self, encoder: &mut Encoder) {
        encoder.packed(1, &self.completions);
        encoder.packed(2, &self.signals);
        self.encode_named(encoder);
        encoder.uint(5, FIRST_COMPLETED);
    }

    fn encode_named(&self, encoder: &mut Encoder) {
        for name in &self.named {
            encoder.bytes_always(3, name.as_bytes());
        }
    }
}
