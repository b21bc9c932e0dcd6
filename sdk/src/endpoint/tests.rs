//! Requests against an endpoint, without a server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::executor::block_on;
use http::Method;
use http_body_util::{BodyExt, Full};

use super::testutil::{END, echo, journal, terminator};
use super::*;
use crate::service::{HandlerDefinition, HandlerKind, ServiceDefinition, ServiceKind};

const V7: &str = "application/vnd.restate.invocation.v7";

fn endpoint() -> Endpoint {
    builder().build().unwrap()
}

fn builder() -> EndpointBuilder {
    Endpoint::builder().bind(echo("Echo"))
}

fn request(method: Method, path: &str, content_type: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request.body(Full::new(journal("\"hi\""))).unwrap()
}

/// Status, content type and body of the answer.
fn answer(endpoint: &Endpoint, request: Request<Full<Bytes>>) -> (u16, String, Bytes) {
    let response = endpoint.handle(request);
    let status = response.status().as_u16();
    assert_eq!(response.headers()[SERVER], SERVER_VALUE);
    let content_type = response.headers()[header::CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    let body = block_on(response.into_body().collect()).unwrap().to_bytes();
    (status, content_type, body)
}

#[test]
fn invocations_run_in_every_version_under_any_prefix() {
    for version in ["5", "6", "7"] {
        for prefix in ["", "/some/prefix"] {
            let content_type = format!("application/vnd.restate.invocation.v{version}");
            let path = format!("{prefix}/invoke/Echo/echo");
            let request = request(Method::POST, &path, Some(&content_type));
            let (status, got, body) = answer(&endpoint(), request);
            assert_eq!((status, got), (200, content_type));
            assert_eq!(terminator(&body), Some(END));
            assert!(body.windows(4).any(|bytes| bytes == b"\"hi\""));
        }
    }
}

#[test]
fn refusals_are_one_line_of_text() {
    let endpoint = endpoint();
    let post = |path, content_type| answer(&endpoint, request(Method::POST, path, content_type));
    let cases = [
        (post("/", None), 404, "no such path"),
        (post("/invoke/Echo", Some(V7)), 404, "no such path"),
        (post("/invoke/Nobody/echo", Some(V7)), 404, "`Nobody`"),
        (post("/invoke/Echo/nothing", Some(V7)), 404, "`nothing`"),
        (post("/discover", None), 404, "GET"),
        (
            answer(
                &endpoint,
                request(Method::GET, "/invoke/Echo/echo", Some(V7)),
            ),
            404,
            "POST",
        ),
        (post("/invoke/Echo/echo", None), 415, "(none)"),
        (
            post("/invoke/Echo/echo", Some("application/json")),
            415,
            "application/json",
        ),
        (
            post(
                "/invoke/Echo/echo",
                Some("application/vnd.restate.invocation.v4"),
            ),
            415,
            "v4",
        ),
        (
            post(
                "/invoke/Echo/echo",
                Some("application/vnd.restate.invocation.v8"),
            ),
            415,
            "v8",
        ),
    ];
    for ((status, content_type, body), expected, text) in cases {
        let body = std::str::from_utf8(&body).unwrap();
        assert_eq!((status, &*content_type), (expected, TEXT), "{body}");
        assert!(body.contains(text) && body.lines().count() == 1, "{body}");
    }
}

#[test]
fn long_names_are_quoted_in_part() {
    let path = format!("/invoke/{}/h", "x".repeat(10_000));
    let (status, _, body) = answer(&endpoint(), request(Method::POST, &path, Some(V7)));
    assert_eq!(status, 404);
    assert!(body.len() < 500);
}

#[test]
fn version_8_is_an_option() {
    let v8 = "application/vnd.restate.invocation.v8";
    let endpoint = builder().experimental_protocol_v8(true).build().unwrap();
    let invoke = request(Method::POST, "/invoke/Echo/echo", Some(v8));
    assert_eq!(endpoint.handle(invoke).status(), 200);
    let (_, _, manifest) = answer(&endpoint, request(Method::GET, "/discover", None));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["maxProtocolVersion"], 8);
}

#[test]
fn discovery_negotiates_version_and_mode() {
    let discover = |accept: Option<&str>, version| {
        let mut request = Request::get("/discover").version(version);
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let (status, content_type, body) =
            answer(&endpoint(), request.body(Full::default()).unwrap());
        assert_eq!(status, 200);
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["minProtocolVersion"], 5);
        assert_eq!(document["maxProtocolVersion"], 7);
        (
            content_type,
            document["protocolMode"].as_str().unwrap().to_owned(),
        )
    };
    let v4 = "application/vnd.restate.endpointmanifest.v4+json".to_owned();
    let both = format!("application/vnd.restate.endpointmanifest.v3+json, {v4}");
    let bidi = "BIDI_STREAM".to_owned();
    assert_eq!(
        discover(Some(&both), http::Version::HTTP_2),
        (v4.clone(), bidi.clone())
    );
    let half = "REQUEST_RESPONSE".to_owned();
    assert_eq!(discover(Some(&both), http::Version::HTTP_11), (v4, half));
    let v2 = "application/vnd.restate.endpointmanifest.v2+json".to_owned();
    assert_eq!(discover(None, http::Version::HTTP_2), (v2, bidi));
}

#[test]
fn a_manifest_that_cannot_say_an_option_is_refused_with_its_name() {
    let lazy = echo("Echo").lazy_state(true);
    let endpoint = Endpoint::builder().bind(lazy).build().unwrap();
    let (status, _, body) = answer(&endpoint, request(Method::GET, "/discover", None));
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert_eq!(status, 415);
    assert!(
        body.contains("enableLazyState") && body.contains("v3"),
        "{body}"
    );
}

#[test]
fn health_is_for_everybody_without_identity() {
    let (status, content_type, body) = answer(&endpoint(), request(Method::GET, "/health", None));
    assert_eq!((status, &*content_type, &body[..]), (200, TEXT, &b"ok"[..]));
}

#[test]
fn it_is_a_tower_service() {
    let mut endpoint = endpoint();
    let call = tower_service::Service::call(&mut endpoint, request(Method::GET, "/health", None));
    assert_eq!(block_on(call).unwrap().status(), 200);
}

#[test]
fn bodies_are_send() {
    fn assert_send<T: Send>(_: &T) {}
    let response = endpoint().handle(request(Method::GET, "/health", None));
    assert_send(&response);
}

#[test]
fn the_attempt_is_handed_the_clock_of_the_endpoint() {
    let time = Arc::new(AtomicU64::new(7));
    let clock = Clock::new({
        let time = Arc::clone(&time);
        move || time.load(Ordering::SeqCst)
    });
    let endpoint = builder().clock(clock).build().unwrap();
    time.store(9, Ordering::SeqCst);
    assert_eq!(endpoint.shared.clock.now(), 9);
    assert!(clock::system().now() > 1_700_000_000_000);
}

#[test]
fn a_handler_gets_the_body_of_its_input() {
    let seen = Arc::new(Mutex::new(Bytes::new()));
    let definition = ServiceDefinition::new(ServiceKind::Service, "See").handler({
        let seen = Arc::clone(&seen);
        HandlerDefinition::new(
            HandlerKind::Service,
            "see",
            Arc::new(move |_, input| {
                *seen.lock().unwrap() = input.body().clone();
                Box::pin(async { Ok(Bytes::new()) })
            }),
        )
    });
    let endpoint = Endpoint::builder().bind(definition).build().unwrap();
    let (_, _, body) = answer(
        &endpoint,
        request(Method::POST, "/invoke/See/see", Some(V7)),
    );
    assert_eq!(terminator(&body), Some(END));
    assert_eq!(*seen.lock().unwrap(), "\"hi\"");
}

#[cfg(feature = "identity")]
mod signed {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn signed_endpoint() -> Endpoint {
        let public = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        let key = format!("publickeyv1_{}", bs58::encode(public).into_string());
        builder()
            .clock(Clock::new(|| NOW * 1000 + 999))
            .identity_key(key)
            .build()
            .unwrap()
    }

    fn sign(mut request: Request<Full<Bytes>>, audience: &str) -> Request<Full<Bytes>> {
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({ "aud": audience, "exp": NOW, "iat": NOW, "nbf": NOW });
        let text = format!(
            "{}.{}",
            part(json!({ "alg": "EdDSA", "typ": "JWT" })),
            part(claims)
        );
        let signature = SigningKey::from_bytes(&[1; 32])
            .sign(text.as_bytes())
            .to_bytes();
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
        let headers = request.headers_mut();
        headers.insert("x-restate-signature-scheme", HeaderValue::from_static("v1"));
        headers.insert("x-restate-jwt-v1", token.parse().unwrap());
        request
    }

    #[test]
    fn requests_are_served_if_signed_for_their_path_without_prefix() {
        for (method, path, audience) in [
            (Method::GET, "/discover", "/discover"),
            (Method::GET, "/pre/fix/discover", "/discover"),
            (Method::GET, "/health", "/health"),
            (Method::POST, "/invoke/Echo/echo", "/invoke/Echo/echo"),
            (
                Method::POST,
                "/pre/fix/invoke/Echo/echo",
                "/invoke/Echo/echo",
            ),
        ] {
            let request = sign(request(method, path, Some(V7)), audience);
            assert_eq!(answer(&signed_endpoint(), request).0, 200, "{path}");
        }
    }

    #[test]
    fn others_get_401_before_anything_is_looked_at() {
        for (method, path) in [
            (Method::GET, "/discover"),
            (Method::GET, "/health"),
            (Method::GET, "/nowhere"),
            (Method::POST, "/invoke/Echo/echo"),
            (Method::POST, "/invoke/Nobody/echo"),
        ] {
            let unsigned = request(method.clone(), path, None);
            let elsewhere = sign(request(method, path, None), "/invoke/Echo/other");
            for request in [unsigned, elsewhere] {
                let (status, content_type, body) = answer(&signed_endpoint(), request);
                let body = String::from_utf8(body.to_vec()).unwrap();
                assert_eq!((status, &*content_type), (401, TEXT), "{path}");
                assert_eq!(body.lines().count(), 1);
                assert!(
                    !body.contains("audience") && !body.contains("header"),
                    "{body}"
                );
            }
        }
    }
}

/// An endpoint in a server that is not ours.
#[cfg(feature = "http-server")]
#[tokio::test]
async fn blocked_attempts_suspend_when_the_endpoint_drains() {
    use super::testutil::{SUSPENSION, sleeper};
    let endpoint = Endpoint::builder().bind(sleeper("Sleeper")).build();
    let endpoint = endpoint.unwrap();
    let attempt = || {
        let (sender, body) = futures::channel::mpsc::unbounded();
        let frame = http_body::Frame::data(journal("1"));
        sender.unbounded_send(Ok::<_, Infallible>(frame)).unwrap();
        let request = Request::post("/invoke/Sleeper/sleep").header(header::CONTENT_TYPE, V7);
        let request = request.body(http_body_util::StreamBody::new(body));
        (sender, endpoint.handle(request.unwrap()).into_body())
    };
    let (sender, mut body) = attempt();
    let mut bytes = Vec::new();
    let next = body.frame().await.unwrap().unwrap();
    bytes.extend_from_slice(&next.into_data().unwrap());
    assert_ne!(terminator(&bytes), Some(SUSPENSION));
    let other = endpoint.clone();
    let rest = tokio::spawn(async move { body.frame().await.unwrap().unwrap() });
    tokio::task::yield_now().await;
    other.drain();
    bytes.extend_from_slice(&rest.await.unwrap().into_data().unwrap());
    assert_eq!(terminator(&bytes), Some(SUSPENSION));
    drop(sender);

    // So does one that comes later, once it has its journal.
    let (sender, body) = attempt();
    drop(sender);
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(terminator(&body), Some(SUSPENSION));
}
