//! Negotiation: any `accept` and `content-type` headers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;

use super::plan::Plan;
use crate::{
    endpoint::{
        Endpoint,
        negotiate::{manifest_version, protocol_version},
    },
    protocol::ProtocolVersion,
    service::manifest::ManifestVersion,
};

/// `highest protocol version, headers (kind, length, value)…`
///
/// - The manifest is of the highest version that any `accept` header names, and of the lowest if
///   there is none; the protocol version is exactly the one that the content type names.
/// - What cannot be given is refused with 415 and one line of bounded length.
///
/// # Panics
///
/// If one of these does not hold.
pub fn negotiate(data: &[u8]) {
    let mut plan = Plan::new(data);
    let max = plan.version();
    let mut headers = HeaderMap::new();
    let (mut accepted, mut content_type) = (Vec::new(), None);
    for _ in 0..16 {
        if plan.is_empty() {
            break;
        }
        let name = plan.choose(&[header::ACCEPT, header::CONTENT_TYPE]).clone();
        let bytes = plan.bytes();
        let Ok(value) = HeaderValue::from_bytes(bytes) else {
            continue;
        };
        if name == header::ACCEPT {
            accepted.push(bytes);
        } else {
            content_type = content_type.or(Some(bytes));
        }
        headers.append(name, value);
    }

    let manifest = manifest_version(&headers);
    let expected = best(&accepted);
    match &manifest {
        Ok(version) => assert_eq!(Some(*version), expected),
        Err(error) => {
            assert_eq!(expected, None);
            refused(error.status(), &error.to_string());
        }
    }

    let protocol = protocol_version(&headers, max);
    let expected = ProtocolVersion::ALL
        .into_iter()
        .find(|version| *version <= max && content_type == Some(version.content_type().as_bytes()));
    match &protocol {
        Ok(version) => assert_eq!(Some(*version), expected),
        Err(error) => {
            assert_eq!(expected, None);
            refused(error.status(), &error.to_string());
        }
    }

    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = "/discover".parse().expect("a path");
    *request.headers_mut() = headers;
    let endpoint = Endpoint::builder().build().expect("an empty endpoint");
    let response = endpoint.handle(request);
    let given = response.headers().get(header::CONTENT_TYPE);
    match manifest {
        Ok(version) => assert_eq!(given.expect("a type"), version.content_type()),
        Err(error) => assert_eq!(response.status(), error.status()),
    }
}

/// The highest version in these headers, told in another way than the library does it.
fn best(accepted: &[&[u8]]) -> Option<ManifestVersion> {
    if accepted.is_empty() {
        return Some(ManifestVersion::V2);
    }
    let entries: Vec<String> = accepted
        .iter()
        .flat_map(|value| {
            let text: String = value.iter().map(|byte| char::from(*byte)).collect();
            let entries: Vec<_> = text.split(',').map(str::to_owned).collect();
            entries
        })
        .map(|entry| {
            let name = entry.find(';').map_or(&*entry, |end| &entry[..end]);
            name.trim_matches([' ', '\t']).to_ascii_lowercase()
        })
        .collect();
    let mut versions = ManifestVersion::ALL;
    versions.sort();
    versions
        .into_iter()
        .rev()
        .find(|version| entries.iter().any(|entry| entry == version.content_type()))
}

fn refused(status: StatusCode, text: &str) {
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.chars().count() < 600, "{text:?}");
}
