//! How much is asked for at once, how soon again, and where: what the answers so far have taught. Nothing here asks.

use std::time::{Duration, Instant};

/// What is asked for where nothing smaller seems to fit, at most, unless more was wanted from the start.
const LARGE: u32 = 16 * 1024 * 1024;

/// When no records have come for so long although there are some, the log says so.
const LONG: Duration = Duration::from_secs(60);

/// Pauses that grow.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Pause {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Self {
        Self {
            next: first,
            first,
            longest,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = self.longest.min(now * 2);
        now
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// How many bytes are asked for.
#[derive(Debug)]
pub(super) struct Size {
    now: u32,
    usual: u32,
}

impl Size {
    pub(super) fn new(usual: u32) -> Self {
        let usual = usual.max(1);
        Self { now: usual, usual }
    }

    pub(super) fn bytes(&self) -> u32 {
        self.now
    }

    /// An answer could not be decoded: the batches before the one at fault shall come without it, one by one.
    pub(super) fn shrink(&mut self) {
        self.now = 1;
    }

    /// Records came: so back to what is usual, little by little, since what is at fault may lie right behind them.
    pub(super) fn recover(&mut self) {
        self.now = self.now.saturating_mul(2).min(self.usual);
    }

    /// Nothing came, and at once, although there is something. A broker should send at least one whole batch,
    /// however large it is; if it does not, more must be asked for. How much has a bound: it may have other reasons.
    pub(super) fn grow(&mut self) {
        self.now = self.now.saturating_mul(2).min(LARGE.max(self.usual));
    }

    pub(super) fn reset(&mut self) {
        self.now = self.usual;
    }
}

/// For how long no records have come although there are some.
#[derive(Debug, Default)]
pub(super) struct Stuck {
    since: Option<Instant>,
    is_told: bool,
}

impl Stuck {
    /// Takes note of an answer, and says whether it is time to tell: once, until records come again.
    pub(super) fn note(&mut self, is_stuck: bool, now: Instant) -> bool {
        if !is_stuck {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_due = !self.is_told && now.saturating_duration_since(since) >= LONG;
        self.is_told |= is_due;
        is_due
    }
}

/// Looks for the end of a batch that cannot be decoded: a broker sends it whole for each offset in it, so those
/// cannot be read either.
#[derive(Debug)]
pub(super) struct Search {
    /// The last offset that is known to be unreadable.
    bad: i64,
    /// One behind it that can be read, as far as is known.
    good: i64,
    step: i64,
}

impl Search {
    /// Behind `bad`; at the partition's end there is nothing that could not be read.
    pub(super) fn new(bad: i64, end: i64) -> Self {
        Self {
            bad,
            good: end.max(bad.saturating_add(1)),
            step: 1,
        }
    }

    /// The offset to be tried next; `None` when it is found.
    pub(super) fn candidate(&self) -> Option<i64> {
        let half = self.good.saturating_sub(self.bad) / 2;
        // By steps that double, as batches are short and partitions are long; back in halves.
        (half > 0).then(|| self.bad + self.step.min(half))
    }

    pub(super) fn tell(&mut self, candidate: i64, can_be_read: bool) {
        if can_be_read {
            self.good = candidate;
            self.step = i64::MAX;
        } else {
            self.bad = candidate;
            self.step = self.step.saturating_mul(2);
        }
    }

    /// The first offset that can be read again.
    pub(super) fn found(&self) -> i64 {
        self.good
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, LARGE, LONG, Pause, Search, Size, Stuck};

    #[test]
    fn pauses_grow_to_their_bound_and_begin_again_after_a_success() {
        let mut pause = Pause::new((Duration::from_millis(100), Duration::from_secs(10)));
        let pauses: Vec<_> = (0..9).map(|_| pause.next().as_millis()).collect();
        let expected = [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000];
        assert_eq!(pauses, expected);
        pause.reset();
        assert_eq!(pause.next(), Duration::from_millis(100));
    }

    #[test]
    fn what_is_asked_for_grows_to_a_bound_and_comes_back() {
        // Who wants more from the start gets that, and no more.
        for (usual, largest) in [
            (0, LARGE),
            (100, LARGE),
            (1024 * 1024, LARGE),
            (2 * LARGE, 2 * LARGE),
            (u32::MAX, u32::MAX),
        ] {
            let mut size = Size::new(usual);
            for _ in 0..40 {
                size.grow();
            }
            assert_eq!(size.bytes(), largest);
        }

        let mut size = Size::new(1024);
        size.grow();
        assert_eq!(size.bytes(), 2048);
        size.recover();
        assert_eq!(size.bytes(), 1024);
        size.grow();
        size.reset();
        assert_eq!(size.bytes(), 1024);
    }

    #[test]
    fn after_what_cannot_be_decoded_batches_come_one_by_one_for_a_while() {
        let mut size = Size::new(1000);
        size.shrink();
        let mut sizes = vec![size.bytes()];
        for _ in 0..11 {
            size.recover();
            sizes.push(size.bytes());
        }
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn it_is_told_once_that_nothing_comes() {
        let begun = Instant::now();
        let mut stuck = Stuck::default();
        let mut note = |is_stuck: bool, after: Duration| stuck.note(is_stuck, begun + after);
        assert!(!note(true, Duration::ZERO));
        assert!(!note(true, LONG / 2));
        assert!(note(true, LONG));
        assert!(!note(true, LONG * 3));
        // It is another time, once records have come.
        assert!(!note(false, LONG * 4));
        assert!(!note(true, LONG * 5));
        assert!(note(true, LONG * 6));
    }

    #[test]
    fn the_end_of_a_batch_is_found_with_few_questions() {
        for (first, last, end) in [
            (10, 10, 11),
            (10, 10, 1_000),
            (10, 11, 12),
            (10, 12, 13),
            (10, 12, 14),
            (0, 499, 500),
            (0, 499, 501),
            (7, 506, 5_000_000_000),
            (0, 1_000_000, i64::MAX),
            (i64::MAX - 2, i64::MAX - 1, i64::MAX),
        ] {
            let mut search = Search::new(first, end);
            let mut asked = 0;
            while let Some(at) = search.candidate() {
                assert!(first < at && at < end, "{at} of {first}..{end}");
                search.tell(at, at > last);
                asked += 1;
            }
            assert_eq!(search.found(), last + 1, "{first}..={last} of {end}");
            let length = (last - first + 2).ilog2() as usize;
            assert!(
                asked <= 2 * length + 2,
                "{asked} for {first}..={last} of {end}"
            );
        }
        // A broker that does not know of the batch any more.
        assert_eq!(Search::new(10, 3).candidate(), None);
        assert_eq!(Search::new(10, 3).found(), 11);
    }
}
