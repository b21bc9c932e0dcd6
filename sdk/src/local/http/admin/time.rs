//! Times as the admin API writes them: milliseconds since 1970 in, RFC 3339 and ISO 8601 out.

use std::fmt;

const DAY: u64 = 24 * 60 * 60 * 1000;

/// A moment, displayed as `2026-11-22T15:48:22.307Z`.
pub(super) struct Moment(pub(super) u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / DAY);
        let (seconds, millis) = (self.0 % DAY / 1000, self.0 % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// A span, displayed as the server writes it: `PT86400S`, `PT0.500S`.
pub(super) struct Span(pub(super) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1000, self.0 % 1000) {
            (seconds, 0) => write!(f, "PT{seconds}S"),
            (seconds, millis) => write!(f, "PT{seconds}.{millis:03}S"),
        }
    }
}

/// Year, month and day of a day since 1970-01-01. Counted from a first of March, a year's leap day is its last,
/// and five months of 153 days repeat.
fn date(days: u64) -> (u64, u64, u64) {
    const OF_ERA: u64 = 146_097; // 400 years
    let days = days + 719_468; // from 0000-03-01
    let (era, day) = (days / OF_ERA, days % OF_ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_the_server_does() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_001, "2000-03-01T00:00:00.001Z"),
            (1_795_362_502_307, "2026-11-22T15:48:22.307Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, text) in cases {
            assert_eq!(Moment(millis).to_string(), text);
        }
        // Nothing that comes from a request may panic.
        assert!(Moment(u64::MAX).to_string().ends_with('Z'));
    }

    #[test]
    fn spans_too() {
        assert_eq!(Span(86_400_000).to_string(), "PT86400S");
        assert_eq!(Span(500).to_string(), "PT0.500S");
    }
}
