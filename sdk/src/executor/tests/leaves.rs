//! The table of leaves by itself.

use std::task::{Poll, Waker};

use crate::{
    executor::leaves::{Delivery, LeafHandle, Leaves},
    executor::runs::Runs,
    journal::{Notifications, Source},
    protocol::message::{NotificationResult, Void},
};

#[derive(Default)]
struct Table {
    leaves: Leaves,
    notifications: Notifications,
    runs: Runs,
}

impl Table {
    fn poll(&mut self, handle: &mut LeafHandle) -> bool {
        let Self {
            leaves,
            notifications,
            runs,
        } = self;
        let (poll, _) = leaves.poll(handle, Some(Waker::noop()), notifications, runs);
        matches!(poll, Poll::Ready(Delivery::Result(_)))
    }

    fn arrive(&mut self, source: &Source) {
        if let Source::NamedSignal(name) = source {
            let result = NotificationResult::Void(Void {});
            self.notifications.named_signal(name.clone(), result);
        }
        self.leaves.arrived(source, &self.notifications);
    }

    fn offers(&mut self) -> bool {
        self.leaves.next_offer(&self.notifications).is_some()
    }

    fn offer(&mut self) -> bool {
        let Some((_, slot)) = self.leaves.next_offer(&self.notifications) else {
            return false;
        };
        self.leaves.offer(slot, &mut self.runs).is_some()
    }
}

/// A leaf that comes to wait while the only notification of its source is on offer to another one
/// waits for the next.
#[test]
fn a_leaf_that_joins_during_an_offer_keeps_waiting() {
    let mut table = Table::default();
    let source = Source::NamedSignal("go".into());
    let [mut first, mut second] = [(); 2].map(|()| table.leaves.create(source.clone()));
    assert!(!table.poll(&mut first));
    table.arrive(&source);
    assert!(table.offer());
    assert!(!table.poll(&mut second));
    assert!(table.poll(&mut first));
    assert!(!table.offers());
    assert!(!table.offer());
    assert_eq!(table.leaves.len(), 1);
    table.arrive(&source);
    assert!(table.offer());
    assert!(table.poll(&mut second));
    assert_eq!((table.leaves.len(), table.offers()), (0, false));
}

/// The same when the offer is not taken, or its leaf dropped.
#[test]
fn what_is_not_taken_goes_to_the_next_leaf_of_its_source() {
    for dropped in [false, true] {
        let mut table = Table::default();
        let source = Source::NamedSignal("go".into());
        let [mut first, mut second] = [(); 2].map(|()| table.leaves.create(source.clone()));
        assert!(!table.poll(&mut first) && !table.poll(&mut second));
        table.arrive(&source);
        assert!(table.offer());
        if dropped {
            table.leaves.remove(&mut first, &mut table.runs);
        } else {
            table.leaves.withdraw();
        }
        assert!(table.offer());
        assert!(table.poll(&mut second));
        assert!(dropped || !table.poll(&mut first));
        assert!(!table.offers());
    }
}
