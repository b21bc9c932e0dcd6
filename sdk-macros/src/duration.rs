//! Durations as people write them: `"100ms"`, `"30s"`, `"1h 30m"`.
//!
//! Text in, milliseconds out: the endpoint manifest counts in milliseconds, so nothing finer is
//! accepted. This module knows no tokens.

/// The accepted form, for error messages.
pub(crate) const ACCEPTED: &str = "whole numbers with a unit (`ms`, `s`, `m` or `min`, `h`, `d`), \
                                   largest unit first, such as \"500ms\", \"30s\" or \"1h 30m\"";

/// Unit names and their lengths in milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Parses `text` into milliseconds, or says in a few words what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
        if digits.is_empty() {
            let (found, _) = split_while(rest, |c| !c.is_whitespace());
            return Err(format!("expected a whole number at `{found}`"));
        }
        let (unit, after) = split_while(after.trim_start(), char::is_alphabetic);
        if unit.is_empty() {
            return Err(match after.chars().next() {
                Some('.') => "fractions are not accepted".to_owned(),
                _ => format!("`{digits}` has no unit"),
            });
        }
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is not a unit"));
        };
        if *length >= smallest {
            return Err(format!("`{unit}` comes after a unit that is not larger"));
        }
        smallest = *length;
        total = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(*length))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| "it does not fit into 64 bits of milliseconds".to_owned())?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Splits off the longest prefix whose characters all satisfy `accept`.
fn split_while(text: &str, accept: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !accept(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_unit_is_read() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("100ms", 100),
            ("30s", 30_000),
            ("5m", 300_000),
            ("5min", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            (" 10 s ", 10_000),
            ("1h30m", 5_400_000),
            ("1d 2h 3m 4s 5ms", 93_784_005),
        ] {
            assert_eq!(parse(text), Ok(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, message) in [
            ("", "it is empty"),
            ("  ", "it is empty"),
            ("30", "`30` has no unit"),
            ("s", "expected a whole number at `s`"),
            ("-1s", "expected a whole number at `-1s`"),
            ("1.5h", "fractions are not accepted"),
            ("3 weeks", "`weeks` is not a unit"),
            ("3S", "`S` is not a unit"),
            ("1s 1m", "`m` comes after a unit that is not larger"),
            ("1m 1min", "`min` comes after a unit that is not larger"),
            ("1h,30m", "expected a whole number at `,30m`"),
            (
                "18446744073709551615s",
                "it does not fit into 64 bits of milliseconds",
            ),
            (
                "99999999999999999999ms",
                "it does not fit into 64 bits of milliseconds",
            ),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }
}
