//! Who may ask: programs, and pages that this server has served itself; never other pages in a browser.
//!
//! A web page that its user merely visits can send requests to loopback. Two things are checked on every request, and
//! nothing is served with CORS headers:
//!
//! - `Host` is an address, `localhost` or a name that was allowed. A page that makes its own name point here (DNS
//!   rebinding) comes with that name.
//! - `Origin`, which browsers send with all that another page asks for and that could change something, is the same
//!   host, or one that was allowed.
//!
//! What changes anything is `PATCH` or `DELETE` besides, or has a body of JSON, which a browser asks leave for first, and
//! it gets none.

use std::net::IpAddr;

use http::{HeaderMap, Uri, header};

/// Refuses what a foreign page asks for, and says why. `allowed` are names besides addresses and `localhost`.
pub(super) fn check(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Result<(), String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), uri.authority()) {
        (Some(host), _) => Some(host.to_str().map_err(|_| "the header Host is not text")?),
        (None, Some(authority)) => Some(authority.as_str()),
        // HTTP/1.0: no browser.
        (None, None) => None,
    };
    if hosts.next().is_some() {
        return Err("the header Host comes twice".to_owned());
    }
    let is_allowed = |name: &str| allowed.iter().any(|known| known.eq_ignore_ascii_case(name));
    if let Some(host) = host {
        let name = name_of(host);
        if !is_local(name) && !is_allowed(name) {
            return Err(format!(
                "the header Host names {}, which is neither an address nor localhost nor a host that was allowed \
                 (`admin_host`)",
                shown(name)
            ));
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        // Behind a proxy this may be https.
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let same = authority.is_some_and(|authority| {
            host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
                || is_allowed(name_of(authority))
        });
        if !same {
            return Err(format!(
                "a page of {} asks, which is another origin",
                shown(origin)
            ));
        }
    }
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let navigates = headers
        .get("sec-fetch-mode")
        .is_some_and(|mode| mode == "navigate");
    if matches!(site, Some(b"cross-site" | b"same-site")) && !navigates {
        return Err("a page of another origin asks".to_owned());
    }
    Ok(())
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// An address needs no resolver, and `localhost` asks none.
fn is_local(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let parent = name.rsplit('.').next().unwrap_or_default();
    parent.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(headers: &[(&str, &str)]) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                header::HeaderName::try_from(*name).unwrap(),
                value.parse().unwrap(),
            );
        }
        check(
            &Uri::from_static("/invocations"),
            &map,
            &["ops.example".into()],
        )
    }

    #[test]
    fn programs_and_own_pages_are_served() {
        for host in [
            "localhost:9070",
            "LOCALHOST",
            "127.0.0.1:9070",
            "10.0.0.7:1",
            "[::1]:9070",
            "[::1]",
            "durably.localhost:9070",
            "ops.example",
            "Ops.Example:443",
        ] {
            assert_eq!(verdict(&[("host", host)]), Ok(()), "{host}");
            let origin = format!("http://{host}");
            assert_eq!(
                verdict(&[
                    ("host", host),
                    ("origin", &origin),
                    ("sec-fetch-site", "same-origin")
                ]),
                Ok(()),
                "{host}"
            );
        }
        assert_eq!(verdict(&[]), Ok(()));
        // A link to the page, from anywhere.
        assert_eq!(
            verdict(&[
                ("host", "localhost:1"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate")
            ]),
            Ok(())
        );
    }

    #[test]
    fn other_pages_are_not() {
        for host in [
            "evil.example",
            "localhost.evil.example:9070",
            "127.0.0.1.evil.example",
            "evil.example:9070",
            "",
            "[evil]",
            ":",
            "notlocalhost",
        ] {
            assert!(verdict(&[("host", host)]).is_err(), "{host}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:9071",
            "http://localhost",
            "",
            "://",
        ] {
            let refused = verdict(&[("host", "localhost:9070"), ("origin", origin)]);
            assert!(refused.is_err(), "{origin}");
        }
        assert!(verdict(&[("host", "localhost"), ("host", "localhost")]).is_err());
        assert!(
            verdict(&[
                ("host", "localhost:9070"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "no-cors")
            ])
            .is_err()
        );
    }
}
