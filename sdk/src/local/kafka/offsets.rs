//! Where a partition begins, and what it comes to that some of its records are to be skipped: decisions, of what others
//! have found out.

use super::{OffsetReset, position::Begun};

/// By so many milliseconds the clocks of producers may be behind ours.
const CLOCKS: i64 = 60_000;

/// Where a partition begins that the subscription does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Earliest,
    Latest,
    /// With the first record that is not from before this, in milliseconds since 1970.
    Since(i64),
}

impl First {
    pub(super) fn of(reset: OffsetReset, begun: Option<Begun>, partition: i32) -> Self {
        match (reset, begun) {
            (OffsetReset::Latest, None) => Self::Latest,
            // When the subscription began, the topic was not to be seen, or the partition could not be asked where
            // it ends. Either may have been full of records that are none of the subscription's, and what has come
            // since then is.
            (OffsetReset::Latest, Some(Begun { since, there }))
                if since > 0 && (there == 0 || partition < there) =>
            {
                Self::Since(since.saturating_sub(CLOCKS))
            }
            // A partition that came later has only records that came later.
            _ => Self::Earliest,
        }
    }
}

/// What it comes to that a partition's records up to an offset are to be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// The partition is behind them.
    Done,
    /// It has no such record yet: to go there would count as out of range.
    TooFar,
    To(i64),
}

impl Skip {
    /// Up to `last`, in a partition that stands at `next` and ends before `end`.
    pub(super) fn of(last: i64, next: i64, end: i64) -> Self {
        if last < next {
            Self::Done
        } else if last < end {
            Self::To(last + 1)
        } else {
            Self::TooFar
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Begun, CLOCKS, First, OffsetReset, Skip};

    #[test]
    fn where_a_partition_begins() {
        let of = |reset, begun: Option<(i64, i32)>, partition| {
            let begun = begun.map(|(since, there)| Begun { since, there });
            First::of(reset, begun, partition)
        };
        let moment = 1_793_620_800_000;
        let since = First::Since(moment - CLOCKS);
        for (begun, partition, expected) in [
            // The first look.
            (None, 0, First::Latest),
            (None, 7, First::Latest),
            // It has waited for the topic.
            (Some((moment, 0)), 0, since),
            (Some((moment, 0)), 7, since),
            // It was there already, and could not be asked.
            (Some((moment, 3)), 0, since),
            (Some((moment, 3)), 2, since),
            // It is a new one.
            (Some((moment, 3)), 3, First::Earliest),
            (Some((moment, 3)), 4, First::Earliest),
            // An earlier version has begun, and did not write when.
            (Some((0, 0)), 0, First::Earliest),
            (Some((0, 3)), 2, First::Earliest),
        ] {
            let first = of(OffsetReset::Latest, begun, partition);
            assert_eq!(first, expected, "{partition} of {begun:?}");
            let first = of(OffsetReset::Earliest, begun, partition);
            assert_eq!(first, First::Earliest, "{partition} of {begun:?}");
        }
    }

    #[test]
    fn what_is_skipped_lies_in_the_partition_and_before_it() {
        for (last, next, end, expected) in [
            (9, 10, 20, Skip::Done),
            (10, 10, 20, Skip::To(11)),
            (15, 10, 20, Skip::To(16)),
            (19, 10, 20, Skip::To(20)),
            (20, 10, 20, Skip::TooFar),
            (i64::MAX, 10, 20, Skip::TooFar),
            // Again, when it has been done.
            (15, 16, 20, Skip::Done),
            (-1, 0, 0, Skip::Done),
            (i64::MIN, 0, 0, Skip::Done),
            (0, 0, 0, Skip::TooFar),
        ] {
            let skip = Skip::of(last, next, end);
            assert_eq!(skip, expected, "up to {last} at {next} of {end}");
        }
    }
}
