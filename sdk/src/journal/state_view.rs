//! The state as the handler sees it: what the runtime sent along, and what was set since.

use std::{cmp::Ordering, collections::BTreeMap};

use bytes::Bytes;

use crate::protocol::start::StateMap;

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
    /// What came with Start.
    base: StateMap,
    /// Whether the base is sorted by key. It is once enough was looked for.
    sorted: bool,
    searches: usize,
    /// Many handlers write nothing.
    changes: Option<Box<Changes>>,
    partial: bool,
}

/// What was set since, and what was cleared (`None`).
#[derive(Debug, Default)]
struct Changes {
    /// Entries of the base, by their place.
    replaced: BTreeMap<usize, Option<Bytes>>,
    /// Keys that are not in the base.
    added: BTreeMap<Bytes, Option<Bytes>>,
}

/// So many keys are looked for by going through all of them; for more, the base is sorted.
const SEARCHES: usize = 4;

impl StateView {
    pub(crate) fn new(base: StateMap, partial: bool) -> Self {
        Self {
            base,
            partial,
            ..Self::default()
        }
    }

    pub(crate) fn get(&mut self, key: &str) -> Known {
        let found = self.find(key.as_bytes());
        let changes = self.changes.as_ref();
        let changed = changes.and_then(|changes| match found {
            Some(at) => changes.replaced.get(&at),
            None => changes.added.get(key.as_bytes()),
        });
        match (changed, found) {
            (Some(changed), _) => changed.clone().map_or(Known::Absent, Known::Value),
            (None, Some(at)) => Known::Value(self.base.value(at)),
            (None, None) if self.partial => Known::Unknown,
            (None, None) => Known::Absent,
        }
    }

    /// The place of a key in the base. A key that came twice counts as it came last.
    fn find(&mut self, key: &[u8]) -> Option<usize> {
        if !self.sorted {
            self.searches += 1;
            if self.searches <= SEARCHES {
                return (0..self.base.len())
                    .rev()
                    .find(|at| self.base.key(*at) == key);
            }
            self.sort();
        }
        let (mut low, mut high) = (0, self.base.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.base.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Some(middle),
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn sort(&mut self) {
        if self.sorted {
            return;
        }
        let replaced = self
            .changes
            .as_mut()
            .map(|changes| std::mem::take(&mut changes.replaced));
        let replaced: Vec<_> = replaced
            .into_iter()
            .flatten()
            .map(|(at, change)| (self.base.key_slice(at), change))
            .collect();
        self.base.sort();
        self.sorted = true;
        for (key, change) in replaced {
            self.change(&key, change);
        }
    }

    /// All keys, sorted; `None` if the view is partial.
    pub(crate) fn keys(&mut self) -> Option<Vec<Bytes>> {
        if self.partial {
            return None;
        }
        self.sort();
        let none = Changes::default();
        let changes = self.changes.as_deref().unwrap_or(&none);
        let base = (0..self.base.len())
            .filter(|at| !matches!(changes.replaced.get(at), Some(None)))
            .map(|at| self.base.key_slice(at));
        let added = changes.added.iter();
        let added = added.filter_map(|(key, change)| change.as_ref().map(|_| key.clone()));
        let mut keys: Vec<_> = base.chain(added).collect();
        keys.sort_unstable();
        Some(keys)
    }

    pub(crate) fn set(&mut self, key: &str, value: Bytes) {
        self.change(key.as_bytes(), Some(value));
    }

    pub(crate) fn clear(&mut self, key: &str) {
        self.change(key.as_bytes(), None);
    }

    fn change(&mut self, key: &[u8], change: Option<Bytes>) {
        let found = self.find(key);
        let changes = self.changes.get_or_insert_default();
        if let Some(at) = found {
            changes.replaced.insert(at, change);
        } else if let Some(added) = changes.added.get_mut(key) {
            *added = change;
        } else {
            changes.added.insert(Bytes::copy_from_slice(key), change);
        }
    }

    /// Afterwards the view is complete and empty.
    pub(crate) fn clear_all(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::protocol::{
        message::{self, StateEntry},
        start::Start,
    };

    fn view(entries: &[(&'static str, &'static str)], partial: bool) -> StateView {
        let entries = entries.iter().map(|(key, value)| StateEntry {
            key: Bytes::from(*key),
            value: Bytes::from(*value),
        });
        let message = message::Start {
            state_map: entries.collect(),
            ..message::Start::default()
        };
        let start = Start::decode(message.encode_to_vec().into()).unwrap();
        StateView::new(start.state, partial)
    }

    /// However often and in whatever order it is asked, it is a map.
    #[test]
    fn the_view_is_a_map() {
        let keys = ["", "a", "b", "ba", "c", "z"];
        proptest!(|(
            entries in prop::collection::vec((0..keys.len(), 0..9u32), 0..12),
            operations in prop::collection::vec((0..4u8, 0..keys.len(), 0..9u32), 0..40),
        )| {
            let text = |n: u32| -> &'static str { ["0", "1", "2", "3", "4", "5", "6", "7", "8"][n as usize] };
            let entries: Vec<_> = entries.into_iter().map(|(key, n)| (keys[key], text(n))).collect();
            let mut view = view(&entries, false);
            let mut map: BTreeMap<_, _> = entries.into_iter().collect();
            for (operation, key, n) in operations {
                let key = keys[key];
                match operation {
                    0 => {
                        view.set(key, Bytes::from(text(n)));
                        map.insert(key, text(n));
                    }
                    1 => {
                        view.clear(key);
                        map.remove(key);
                    }
                    2 => {
                        let due: Vec<_> = map.keys().map(|key| Bytes::from(*key)).collect();
                        prop_assert_eq!(view.keys(), Some(due));
                    }
                    _ => {
                        let due = map.get(key).map_or(Known::Absent, |text| Known::Value((*text).into()));
                        prop_assert_eq!(view.get(key), due);
                    }
                }
            }
        });
    }

    #[test]
    fn a_complete_view_answers_everything() {
        let mut view = view(&[("b", "2"), ("a", "1")], false);
        assert_eq!(view.get("a"), Known::Value(Bytes::from("1")));
        assert_eq!(view.get("c"), Known::Absent);
        view.set("c", Bytes::from("3"));
        view.clear("a");
        assert_eq!(view.get("a"), Known::Absent);
        assert_eq!(view.keys(), Some(vec![Bytes::from("b"), Bytes::from("c")]));
    }

    #[test]
    fn a_partial_view_knows_what_it_holds_and_becomes_complete_when_cleared() {
        let mut view = view(&[("a", "1")], true);
        assert_eq!(view.get("b"), Known::Unknown);
        assert_eq!(view.keys(), None);
        view.clear("b");
        assert_eq!(view.get("b"), Known::Absent);
        view.clear_all();
        assert_eq!(view.get("a"), Known::Absent);
        assert_eq!(view.keys(), Some(vec![]));
    }
}
