//! The page: one file, without anything from elsewhere.

use std::sync::LazyLock;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};

const PAGE: &str = include_str!("../../page.html");

/// Only the page's own script and style run, which their hashes say, and it speaks only with this server.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The hash of the one element of this name.
fn hash(element: &str) -> String {
    let inner = PAGE
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    let inner = inner.map_or("", |(inner, _)| inner);
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(inner)))
}

pub(super) fn answer() -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(Bytes::from_static(PAGE.as_bytes())));
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_nothing_else_may_run() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1);
            assert_eq!(PAGE.matches(&format!("<{element}>")).count(), 1);
            assert_eq!(PAGE.matches(&format!("</{element}>")).count(), 1);
        }
        let policy = POLICY.to_str().unwrap();
        assert!(!policy.contains("unsafe"), "{policy}");
        let of_nothing = BASE64_STANDARD.encode(Sha256::digest(""));
        assert!(!policy.contains(&of_nothing), "{policy}");
        // Each button does something: by itself, or as one of those for operations.
        let operations = PAGE.split_once("const ALLOWED = {").unwrap().1;
        let operations = operations.split_once("};").unwrap().0;
        for button in PAGE.split("<button type=\"button\" id=\"").skip(1) {
            let id = button.split('"').next().unwrap();
            let listens = PAGE.contains(&format!("$(\"{id}\").addEventListener(\"click\""));
            assert!(
                listens || operations.contains(&format!("{id}: row =>")),
                "{id}"
            );
        }
        // Nothing comes from elsewhere, no handler is in an attribute, and nothing is written as markup.
        for word in [
            "http://",
            "https://",
            " onclick=",
            " onload=",
            "innerHTML",
            "document.write",
            " style=\"",
        ] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }
}
