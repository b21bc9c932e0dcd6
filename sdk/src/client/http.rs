//! What the HTTP clients share: errors in words, and paths.

use std::error::Error;

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
    use super::encode_segment;

    #[test]
    fn segments_hold_any_text() {
        assert_eq!(encode_segment("user-1_a.b~c"), "user-1_a.b~c");
        assert_eq!(encode_segment("a/b ?#%+é"), "a%2Fb%20%3F%23%25%2B%C3%A9");
        assert_eq!(encode_segment(""), "");
    }
}
