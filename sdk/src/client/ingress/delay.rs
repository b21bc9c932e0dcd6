//! How long to wait before another try: the policy's delay with jitter, and what the server asks for.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header};

/// The longest pause that a server is granted; when it asks for more, that is the caller's affair.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The pause before the next try; `None` if the server asks for a longer one than is waited for.
pub(super) fn before_retry(policy: Duration, retry_after: Option<Duration>) -> Option<Duration> {
    let jittered = policy.mul_f64(0.5 + 0.5 * fraction());
    match retry_after {
        Some(asked) if asked > MAX_PAUSE => None,
        Some(asked) => Some(jittered.max(asked)),
        None => Some(jittered),
    }
}

/// A random number of [0, 1). Clients that failed together shall not come back together; the keys
/// of hash maps are random enough for that.
fn fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

/// What `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    let date = Duration::from_secs(http_date(text)?);
    Some(date.saturating_sub(now))
}

/// The seconds since 1970 of a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`. Its two
/// obsolete forms are not read.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let mut clock = time.splitn(3, ':').map(str::parse::<u64>);
    let (hours, minutes, seconds) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    if hours > 23 || minutes > 59 || seconds > 60 {
        return None;
    }
    // Days since 1970-01-01 in a calendar whose years begin with March, so that leap days are last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_up_to_half() {
        let delays: Vec<Duration> = (0..200)
            .filter_map(|_| before_retry(Duration::from_secs(2), None))
            .collect();
        assert_eq!(delays.len(), 200);
        assert!(
            delays
                .iter()
                .all(|d| (1.0..=2.0).contains(&d.as_secs_f64()))
        );
        let (least, most) = (delays.iter().min(), delays.iter().max());
        let spread = most.unwrap().saturating_sub(*least.unwrap());
        assert!(spread > Duration::from_millis(500), "{spread:?}");
    }

    #[test]
    fn the_server_is_waited_for_within_reason() {
        let second = Duration::from_secs(1);
        assert_eq!(before_retry(second, Some(7 * second)), Some(7 * second));
        assert!(before_retry(9 * second, Some(second)) > Some(4 * second));
        assert_eq!(before_retry(second, Some(61 * second)), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let asked = |text: &str| {
            let value = http::HeaderValue::from_str(text).unwrap();
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]))
        };
        assert_eq!(asked("120"), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let far = asked("Fri, 01 Jan 9999 00:00:00 GMT");
        assert!(far > Some(Duration::from_secs(1_000_000)), "{far:?}");
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            http_date("Thu, 29 Feb 2024 23:59:59 GMT"),
            Some(1_709_251_199)
        );
        assert_eq!(
            http_date("Fri, 01 Mar 2024 00:00:00 GMT"),
            Some(1_709_251_200)
        );
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 99999999999999999999 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
