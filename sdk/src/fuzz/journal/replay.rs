//! What a journal has written, played back: the same operations are accepted and give the same.

use std::collections::BTreeSet;

use prost::Message as _;

use super::{Entry, World};
use crate::{
    fuzz::{operations::MARK, output::Output},
    journal::{CANCEL, Change, Issued, Journal, Notifications, Source},
    protocol::message::{Incoming, NotificationId, Start},
};

impl World {
    /// A journal that knows these entries.
    fn knowing(&self, entries: &[Entry]) -> Journal {
        let mut journal = Journal::new(self.version, self.limit);
        let start = Start {
            known_entries: entries.len() as u32,
            ..self.start.clone()
        };
        let started = journal.handle_message(Incoming::Start(start.encode_to_vec().into()));
        assert_eq!(started, Ok(Change::Nothing));
        for (at, entry) in entries.iter().enumerate() {
            let change = match at + 1 == entries.len() {
                true => Change::Ready,
                false => Change::Nothing,
            };
            assert_eq!(journal.handle_message(entry.message()), Ok(change));
        }
        journal
    }

    pub(super) fn check_replay(&mut self) {
        if !self.ready {
            return;
        }
        let mut replay = self.knowing(&self.history);
        for (operation, issued) in &self.issued {
            let again = operation.later().issue(&mut replay);
            let expected = Issued {
                replayed: true,
                ..*issued
            };
            assert_eq!(again, Ok(expected), "{operation:?}");
        }
        assert_eq!(replay.take_output(), None, "a replay writes nothing");
        self.check_results(&mut replay);

        let Some(((other, _), same)) = self.issued.split_last() else {
            return;
        };
        for other in other.others() {
            let mut replay = self.knowing(&self.history);
            for (operation, _) in same {
                assert!(operation.issue(&mut replay).is_ok());
            }
            let refused = other.issue(&mut replay).expect_err("another one");
            assert_eq!(refused.code, 570, "{refused}");
            assert!(!refused.message.contains(MARK), "{refused}");
        }
    }

    /// The results are the same and come in the same order.
    fn check_results(&mut self, replay: &mut Journal) {
        let mut sources: BTreeSet<Source> = (1..self.next_id).map(Source::Completion).collect();
        for entry in &self.history {
            sources.insert(match entry {
                Entry::Notification(NotificationId::Completion(id), _) => Source::Completion(*id),
                Entry::Notification(NotificationId::Signal(id), _) => Source::Signal(*id),
                Entry::Notification(NotificationId::NamedSignal(name), _) => {
                    Source::NamedSignal(name.as_str().into())
                }
                Entry::Command(..) => continue,
            });
        }
        let (live, again) = (&mut self.journal.notifications, &mut replay.notifications);
        let next = |notifications: &Notifications, sources: &BTreeSet<Source>| {
            let orders = sources
                .iter()
                .filter_map(|source| Some((notifications.order(source)?, source.clone())));
            orders.min().map(|(_, source)| source)
        };
        loop {
            let source = next(live, &sources);
            assert_eq!(next(again, &sources), source);
            let Some(source) = source else {
                break;
            };
            assert_eq!(live.take(&source), again.take(&source));
            // Invocation ids and the news of a CANCEL stay for whoever asks again.
            if matches!(source, Source::Completion(_) | Source::Signal(CANCEL)) {
                sources.remove(&source);
            }
        }
        while let Some(_cancel) = live.take_cancel() {
            assert!(again.take_cancel().is_some());
        }
        assert_eq!(again.cancel(), None);
    }

    /// With a part of the journal known, the operations write the rest of it.
    pub(super) fn check_partial_replay(&mut self, chosen: usize) {
        let known = chosen % (self.issued.len() + 1);
        let mut commands = 0;
        let cut = self.history.iter().position(|entry| {
            commands += usize::from(matches!(entry, Entry::Command(..)));
            commands > known
        });
        let cut = cut.map_or(self.history.len(), |at| at + 1);
        let mut replay = self.knowing(&self.history[..cut]);
        for (at, (operation, issued)) in self.issued.iter().enumerate() {
            let expected = Issued {
                replayed: at < known,
                ..*issued
            };
            assert_eq!(operation.issue(&mut replay), Ok(expected));
        }
        let mut output = Output::default();
        output.take(|| replay.take_output());
        let written = self.output.commands();
        assert_eq!(output.commands(), written[known..]);
    }
}
