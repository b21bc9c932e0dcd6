//! Times as the ingress writes and reads them: moments with and without a zone, delays in two notations.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

use super::answer::Refusal;

/// A moment in milliseconds since 1970, with the zone as an offset: `2026-11-23T15:50:44.240+00:00`.
pub(super) fn with_offset(millis: u64) -> Option<String> {
    let format = if millis.is_multiple_of(1000) {
        "%Y-%m-%dT%H:%M:%S+00:00"
    } else {
        "%Y-%m-%dT%H:%M:%S%.3f+00:00"
    };
    Some(moment(millis)?.strftime(format).to_string())
}

/// The same in nanoseconds: `2026-11-23T15:50:44.240000000Z`, and a whole second as
/// `2026-11-23T15:50:44Z`.
pub(super) fn in_nanoseconds(millis: u64) -> Option<String> {
    let format = if millis.is_multiple_of(1000) {
        "%Y-%m-%dT%H:%M:%SZ"
    } else {
        "%Y-%m-%dT%H:%M:%S%.9fZ"
    };
    Some(moment(millis)?.strftime(format).to_string())
}

/// `None` for one after the year 9999.
fn moment(millis: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()
}

/// A delay as in ISO 8601 (`PT10S`) or in words (`10s`, `1h 30m`, `2 days`).
pub(super) fn delay(text: &str) -> Result<Duration, Refusal> {
    let refused = |why: &dyn std::fmt::Display| {
        let message = format!("bad delay query parameter, must be a ISO8601 duration: {why}");
        Refusal::new(400, message)
    };
    // The one number that needs no unit.
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let span: Span = text.parse().map_err(|error: jiff::Error| refused(&error))?;
    // How long months are depends on the month.
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(refused(&"please use units of days or smaller"));
    }
    let day = SpanRelativeTo::days_are_24_hours();
    let duration = span.to_duration(day).map_err(|error| refused(&error))?;
    Duration::try_from(duration).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_written_as_the_server_does() {
        let text = with_offset(1_795_449_044_240);
        assert_eq!(text.as_deref(), Some("2026-11-23T15:50:44.240+00:00"));
        let text = with_offset(1_795_449_044_000);
        assert_eq!(text.as_deref(), Some("2026-11-23T15:50:44+00:00"));
        let text = in_nanoseconds(1_795_449_044_240);
        assert_eq!(text.as_deref(), Some("2026-11-23T15:50:44.240000000Z"));
        let text = in_nanoseconds(1_795_449_044_000);
        assert_eq!(text.as_deref(), Some("2026-11-23T15:50:44Z"));
        assert_eq!(with_offset(u64::MAX), None);
    }

    #[test]
    fn delays_come_in_two_notations() {
        let seconds = Duration::from_secs;
        for (text, expected) in [
            ("10s", seconds(10)),
            ("PT10S", seconds(10)),
            ("1h 30m", seconds(5400)),
            ("P1DT1H", seconds(90_000)),
            ("1w", seconds(604_800)),
            ("0", Duration::ZERO),
            ("1.5s", Duration::from_millis(1500)),
        ] {
            assert_eq!(delay(text), Ok(expected), "{text}");
        }
        for text in [
            "", "10", "00", "+0", "0 ", "abc", "P1M", "1y", "-10s", "10S", "P",
        ] {
            assert!(delay(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "[-+PTYMWDHSsmhd0-9. ,]{0,12}|\\PC{0,12}", millis: u64) {
            let _ = delay(&text);
            let _ = (with_offset(millis), in_nanoseconds(millis));
        }
    }
}
