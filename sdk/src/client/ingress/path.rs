//! Addresses: the server's, and paths with any text as a segment.

use std::fmt;

use crate::{client::http::encode_segment, error::BoxError};

/// Where the ingress is: `http://host:port`, perhaps with a path before its own.
#[derive(Clone, Debug)]
pub(super) struct Base(String);

impl Base {
    pub(super) fn parse(url: &str) -> Result<Self, BoxError> {
        let uri: http::Uri = url.parse()?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        if !web || uri.host().is_none_or(str::is_empty) {
            return Err(
                "an address of the ingress begins with `http://` or `https://` and a host".into(),
            );
        }
        if uri.query().is_some() {
            return Err("an address of the ingress has no query".into());
        }
        // Everything behind it, the path of each request too, would be dropped.
        if url.contains('#') {
            return Err("an address of the ingress has no fragment (`#…`)".into());
        }
        // reqwest would not send them.
        if uri.authority().is_some_and(|of| of.as_str().contains('@')) {
            return Err(
                "an address of the ingress has no user name and password: use `bearer_token` or `header`"
                    .into(),
            );
        }
        Ok(Self(url.trim_end_matches('/').to_owned()))
    }

    pub(super) fn join(&self, path: &Path) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path and query, percent-encoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    text: String,
    /// Whether a segment is one that URLs cannot write.
    impossible: bool,
}

impl Path {
    pub(super) fn new<'s>(segments: impl IntoIterator<Item = &'s str>) -> Self {
        let mut path = Self::default();
        for segment in segments {
            path.push(segment);
        }
        path
    }

    pub(super) fn push(&mut self, segment: &str) {
        // `.` and `..` always mean directories, however they are written.
        self.impossible |= segment == "." || segment == "..";
        self.text.push('/');
        self.text.push_str(&encode_segment(segment));
    }

    pub(super) fn query(&mut self, query: &str) {
        self.text.push('?');
        self.text.push_str(query);
    }

    /// Whether it can be sent.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        if self.impossible {
            return Err("a key of one or two dots cannot be written in a URL".into());
        }
        Ok(())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_hold_any_text() {
        let path = Path::new(["restate", "user-1_a.b~c", "a/b ?#%+é", ""]);
        assert_eq!(
            path.to_string(),
            "/restate/user-1_a.b~c/a%2Fb%20%3F%23%25%2B%C3%A9/"
        );
        assert!(path.check().is_ok());
        for dots in [".", ".."] {
            assert!(Path::new(["a", dots]).check().is_err());
        }
        assert!(Path::new(["a", "..."]).check().is_ok());
    }

    #[test]
    fn addresses_are_those_of_web_servers() {
        for (url, joined) in [
            ("http://localhost:8080", "http://localhost:8080/a"),
            ("https://example.com/", "https://example.com/a"),
            (
                "http://[::1]:8080/under/it/",
                "http://[::1]:8080/under/it/a",
            ),
        ] {
            let base = Base::parse(url).unwrap();
            assert_eq!(base.join(&Path::new(["a"])), joined);
        }
        for url in [
            "",
            "localhost:8080",
            "/a",
            "ftp://host",
            "http://host?a=b",
            "http://",
            "http://host/#",
            "http://host#/a",
            "http://ada:hush@host",
        ] {
            assert!(Base::parse(url).is_err(), "{url}");
        }
    }
}
