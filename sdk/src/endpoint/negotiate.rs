//! Versions: which endpoint manifest a discovery gets, which service protocol an invocation speaks.

use http::{HeaderMap, header};

use super::error::{RequestError, printable};
use crate::protocol::ProtocolVersion;
use crate::service::manifest::ManifestVersion;

/// The highest manifest version among those that the request accepts.
///
/// The server lists its versions in ascending order and without weights, so the place in the list
/// means nothing. A request that accepts nothing in particular gets v2, which every server reads.
pub(crate) fn manifest_version(headers: &HeaderMap) -> Result<ManifestVersion, RequestError> {
    let mut best = None;
    let mut seen = String::new();
    for value in headers.get_all(header::ACCEPT) {
        for entry in value.as_bytes().split(|byte| *byte == b',') {
            // Parameters, weights among them, are not part of the name.
            let entry = entry
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            let known = ManifestVersion::ALL
                .into_iter()
                .find(|version| entry.eq_ignore_ascii_case(version.content_type().as_bytes()));
            best = best.max(known);
        }
        let separator = if seen.is_empty() { "" } else { ", " };
        seen.push_str(separator);
        seen.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    match best {
        Some(version) => Ok(version),
        None if !headers.contains_key(header::ACCEPT) => Ok(ManifestVersion::V2),
        None => Err(RequestError::UnsupportedManifest(format!(
            "this endpoint has no manifest that the request accepts ({}): it can give {} to {}",
            printable(&seen),
            ManifestVersion::V2.content_type(),
            ManifestVersion::V4.content_type(),
        ))),
    }
}

/// The protocol version that an invocation's content type names.
pub(crate) fn protocol_version(
    headers: &HeaderMap,
    max: ProtocolVersion,
) -> Result<ProtocolVersion, RequestError> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let named = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(ProtocolVersion::from_content_type)
        .filter(|version| *version <= max);
    named.ok_or_else(|| {
        let got = match content_type {
            Some(value) => printable(&String::from_utf8_lossy(value.as_bytes())),
            None => "none".to_owned(),
        };
        RequestError::UnsupportedProtocol(format!(
            "unsupported content type ({got}): this endpoint takes {} to {}; if the server was \
             updated or the endpoint exchanged, register the deployment again",
            ProtocolVersion::MIN.content_type(),
            max.content_type(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(values: &[&'static str]) -> Result<ManifestVersion, RequestError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        manifest_version(&headers)
    }

    const V1: &str = "application/vnd.restate.endpointmanifest.v1+json";
    const V2: &str = "application/vnd.restate.endpointmanifest.v2+json";
    const V3: &str = "application/vnd.restate.endpointmanifest.v3+json";
    const V4: &str = "application/vnd.restate.endpointmanifest.v4+json";

    #[test]
    fn the_highest_known_manifest_version_wins() {
        let all: &'static str = "application/vnd.restate.endpointmanifest.v1+json, \
             application/vnd.restate.endpointmanifest.v2+json, \
             application/vnd.restate.endpointmanifest.v3+json, \
             application/vnd.restate.endpointmanifest.v4+json";
        assert_eq!(accept(&[]), Ok(ManifestVersion::V2));
        assert_eq!(accept(&[all]), Ok(ManifestVersion::V4));
        assert_eq!(accept(&[V2]), Ok(ManifestVersion::V2));
        assert_eq!(accept(&[V3]), Ok(ManifestVersion::V3));
        assert_eq!(accept(&[V4]), Ok(ManifestVersion::V4));
        assert_eq!(accept(&[V3, V2]), Ok(ManifestVersion::V3));
        assert_eq!(accept(&[V2, V3]), Ok(ManifestVersion::V3));
        assert_eq!(
            accept(&["application/vnd.restate.endpointmanifest.v4+json; q=0.1"]),
            Ok(ManifestVersion::V4)
        );
        assert_eq!(
            accept(&[
                "application/vnd.restate.endpointmanifest.v9+json,application/vnd.restate.endpointmanifest.v3+json"
            ]),
            Ok(ManifestVersion::V3)
        );
    }

    #[test]
    fn unknown_manifest_versions_get_415_with_a_line_of_text() {
        for values in [
            &[V1][..],
            &["text/html"],
            &["*/*"],
            &[""],
            &["application/json, ,"],
        ] {
            let error = accept(values).unwrap_err();
            assert_eq!(error.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }

    #[test]
    fn hostile_headers_are_quoted_in_part() {
        let mut headers = HeaderMap::new();
        let long = vec![0xff_u8; 4096];
        headers.insert(header::ACCEPT, HeaderValue::from_bytes(&long).unwrap());
        let text = manifest_version(&headers).unwrap_err().to_string();
        assert!(text.chars().count() < 500, "{text}");
    }

    #[test]
    fn invocations_name_their_protocol_version_exactly() {
        let negotiate = |value: &'static str, max| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            protocol_version(&headers, max).map_err(|error| error.status())
        };
        let refused = Err(http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
        for version in [
            ProtocolVersion::V5,
            ProtocolVersion::V6,
            ProtocolVersion::V7,
        ] {
            assert_eq!(
                negotiate(version.content_type(), ProtocolVersion::MAX),
                Ok(version)
            );
        }
        let v8 = ProtocolVersion::V8;
        assert_eq!(negotiate(v8.content_type(), ProtocolVersion::MAX), refused);
        assert_eq!(negotiate(v8.content_type(), v8), Ok(v8));
        for wrong in [
            "",
            "application/json",
            "application/vnd.restate.invocation.v4",
        ] {
            assert_eq!(negotiate(wrong, v8), refused);
        }
        let none = protocol_version(&HeaderMap::new(), ProtocolVersion::MAX).unwrap_err();
        assert!(none.to_string().contains("(none)"));
    }
}
