//! What the HTTP clients share: errors in words, addresses and paths.

use std::{error::Error, io};

use http::StatusCode;

use crate::error::BoxError;

/// An error of the client with all its causes in one line and without the address, which the
/// caller states anyway.
pub(crate) fn describe(error: reqwest::Error) -> BoxError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.into()
}

/// Whether another try would end the same: the request cannot be written, or not even the system was asked for
/// a connection, as with `https` without TLS.
pub(crate) fn is_impossible(error: &reqwest::Error) -> bool {
    error.is_builder()
        || (error.is_connect() && !error.is_timeout() && io_errors(error).next().is_none())
}

/// What the system said, somewhere in an error's chain.
pub(crate) fn io_errors<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e io::Error> {
    std::iter::successors(Some(error), |error| (*error).source())
        .take(32)
        .filter_map(|error| error.downcast_ref::<io::Error>())
}

/// What an answer says that is none of the server's own: the beginning of its text, or what its status means.
pub(crate) fn said(status: u16, body: &[u8], most_chars: usize) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(most_chars).collect();
    if !text.is_empty() {
        return text;
    }
    let status = StatusCode::from_u16(status).ok();
    let meaning = status.and_then(|status| status.canonical_reason());
    meaning.unwrap_or("an empty answer").to_owned()
}

/// An address as it may be shown: without a user name and password.
pub(crate) fn without_userinfo(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(start);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}{}", rest.split_at(at + 1).1),
        None => url.to_owned(),
    }
}

/// Percent-encodes one segment of a path: everything except RFC 3986's unreserved characters.
pub(crate) fn encode_segment(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{encode_segment, said, without_userinfo};

    #[test]
    fn segments_hold_any_text() {
        assert_eq!(encode_segment("user-1_a.b~c"), "user-1_a.b~c");
        assert_eq!(encode_segment("a/b ?#%+é"), "a%2Fb%20%3F%23%25%2B%C3%A9");
        assert_eq!(encode_segment(""), "");
    }

    #[test]
    fn an_answer_always_says_something() {
        assert_eq!(said(502, b" bad gateway\n", 200), "bad gateway");
        assert_eq!(said(502, b"bad gateway", 3), "bad");
        assert_eq!(said(405, b"", 200), "Method Not Allowed");
        assert_eq!(said(599, b" ", 200), "an empty answer");
    }

    #[test]
    fn addresses_are_shown_without_passwords() {
        for (url, shown) in [
            ("http://ada:hush@host:1/a@b", "http://host:1/a@b"),
            ("http://ada:h@sh@host", "http://host"),
            ("ada:hush@host:1", "host:1"),
            ("http://host/a@b", "http://host/a@b"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(url), shown);
        }
    }
}
