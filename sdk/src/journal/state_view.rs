//! The state as the handler sees it: what the runtime sent along, and what was set since.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::protocol::message::StateEntry;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    Value(Bytes),
    Absent,
    /// The view is partial and the key is not in it: the runtime must be asked.
    Unknown,
}

/// The local view of the state. Sets and clears change it, during replay too.
#[derive(Debug, Default)]
pub(crate) struct StateView {
    /// What came with Start, sorted by key.
    base: Vec<(Bytes, Bytes)>,
    /// What was set or cleared since; `None` is cleared.
    changes: BTreeMap<Bytes, Option<Bytes>>,
    partial: bool,
}

impl StateView {
    pub(crate) fn new(entries: Vec<StateEntry>, partial: bool) -> Self {
        let mut base: Vec<_> = entries.into_iter().map(|e| (e.key, e.value)).collect();
        base.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self {
            base,
            changes: BTreeMap::new(),
            partial,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Known {
        if let Some(changed) = self.changes.get(key.as_bytes()) {
            return changed.clone().map_or(Known::Absent, Known::Value);
        }
        match self
            .base
            .binary_search_by(|(k, _)| k.as_ref().cmp(key.as_bytes()))
        {
            Ok(at) => Known::Value(self.base[at].1.clone()),
            Err(_) if self.partial => Known::Unknown,
            Err(_) => Known::Absent,
        }
    }

    /// All keys, sorted; `None` if the view is partial.
    pub(crate) fn keys(&self) -> Option<Vec<Bytes>> {
        if self.partial {
            return None;
        }
        let mut keys: BTreeMap<&Bytes, ()> = self.base.iter().map(|(key, _)| (key, ())).collect();
        for (key, change) in &self.changes {
            match change {
                Some(_) => keys.insert(key, ()),
                None => keys.remove(key),
            };
        }
        Some(keys.into_keys().cloned().collect())
    }

    pub(crate) fn set(&mut self, key: &str, value: Bytes) {
        self.changes
            .insert(Bytes::copy_from_slice(key.as_bytes()), Some(value));
    }

    pub(crate) fn clear(&mut self, key: &str) {
        self.changes
            .insert(Bytes::copy_from_slice(key.as_bytes()), None);
    }

    /// Afterwards the view is complete and empty.
    pub(crate) fn clear_all(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &'static str, value: &'static str) -> StateEntry {
        StateEntry {
            key: Bytes::from(key),
            value: Bytes::from(value),
        }
    }

    #[test]
    fn a_complete_view_answers_everything() {
        let mut view = StateView::new(vec![entry("b", "2"), entry("a", "1")], false);
        assert_eq!(view.get("a"), Known::Value(Bytes::from("1")));
        assert_eq!(view.get("c"), Known::Absent);
        view.set("c", Bytes::from("3"));
        view.clear("a");
        assert_eq!(view.get("a"), Known::Absent);
        assert_eq!(view.keys(), Some(vec![Bytes::from("b"), Bytes::from("c")]));
    }

    #[test]
    fn a_partial_view_knows_what_it_holds_and_becomes_complete_when_cleared() {
        let mut view = StateView::new(vec![entry("a", "1")], true);
        assert_eq!(view.get("b"), Known::Unknown);
        assert_eq!(view.keys(), None);
        view.clear("b");
        assert_eq!(view.get("b"), Known::Absent);
        view.clear_all();
        assert_eq!(view.get("a"), Known::Absent);
        assert_eq!(view.keys(), Some(vec![]));
    }
}
