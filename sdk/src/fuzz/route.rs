//! The path router: any method and path, under any prefix.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;

use super::plan::Plan;
use crate::endpoint::{Endpoint, route::Route};

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::HEAD,
    Method::OPTIONS,
];

/// `method, prefix (length first), path…`
///
/// - A route has the names that stand in the path, and the method that goes with it.
/// - The signed path is the end of the path.
/// - A prefix in front changes neither.
/// - The endpoint answers with a status that it documents.
///
/// # Panics
///
/// If one of these does not hold.
pub fn route(data: &[u8]) {
    let mut plan = Plan::new(data);
    let method = plan.choose(&METHODS).clone();
    let prefix = String::from_utf8_lossy(plan.bytes()).into_owned();
    let path = String::from_utf8_lossy(plan.rest()).into_owned();

    let found = Route::parse(&method, &path);
    match found {
        Ok(Route::Invoke { service, handler }) => {
            assert_eq!(method, Method::POST);
            assert!(path.ends_with(&format!("/invoke/{service}/{handler}")));
            for name in [service, handler] {
                assert!(!name.is_empty() && !name.contains('/'), "{name:?}");
            }
        }
        Ok(Route::Discover) => assert!(method == Method::GET && path.ends_with("/discover")),
        Ok(Route::Health) => assert!(method == Method::GET && path.ends_with("/health")),
        Err(ref error) => assert_eq!(error.status(), StatusCode::NOT_FOUND),
    }
    let known = ["/discover", "/health"]
        .iter()
        .any(|end| path.ends_with(end));
    assert!(
        !(method == Method::GET && known && found.is_err()),
        "{path:?}"
    );

    let prefixed = format!("/{prefix}{path}");
    if found.is_ok() {
        assert_eq!(Route::parse(&method, &prefixed), found);
    } else {
        let _ = Route::parse(&method, &prefixed);
    }
    #[cfg(feature = "identity")]
    signed(&method, &path, &prefixed, found.is_ok());
    answered(&method, &path);
    answered(&method, &prefixed);
}

#[cfg(feature = "identity")]
fn signed(method: &Method, path: &str, prefixed: &str, is_route: bool) {
    use crate::endpoint::route::signed_path;

    let signed = signed_path(method, path);
    assert!(path.ends_with(signed), "{signed:?} of {path:?}");
    if is_route {
        assert!(signed.starts_with('/'));
        assert_eq!(signed_path(method, prefixed), signed);
        // What is signed is what is served.
        let (route, end) = (Route::parse(method, path), Route::parse(method, signed));
        assert_eq!(route, end);
    }
}

/// The whole endpoint, which serves `S/h`, if the path can stand in a request at all.
fn answered(method: &Method, path: &str) {
    let request = Request::builder().method(method).uri(path);
    let Ok(request) = request.body(Empty::<Bytes>::new()) else {
        return;
    };
    let endpoint = Endpoint::builder().build().expect("an empty endpoint");
    let is_known = match Route::parse(method, request.uri().path()) {
        Ok(Route::Discover | Route::Health) => StatusCode::OK,
        _ => StatusCode::NOT_FOUND,
    };
    assert_eq!(endpoint.handle(request).status(), is_known, "{path:?}");
}
