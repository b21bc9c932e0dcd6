//! What needs no process of its own: events that are told apart before anything is unpacked, and sizes.

use futures::executor::block_on;
use serde_json::{Value, json};

use super::*;
use crate::endpoint::testutil::echo;

fn answer(function: &LambdaEndpoint, event: &Value) -> Result<Value, LambdaError> {
    let event = serde_json::from_value(event.clone()).unwrap();
    let response = block_on(function.handle(event))?;
    Ok(serde_json::to_value(&response).unwrap())
}

fn text(response: &Value) -> String {
    use base64::Engine as _;
    let body = response["body"].as_str().unwrap();
    let body = base64::engine::general_purpose::STANDARD.decode(body);
    String::from_utf8_lossy(&body.unwrap()).into_owned()
}

fn function() -> LambdaEndpoint {
    LambdaEndpoint::new(Endpoint::builder().bind(echo("Echo")).build().unwrap())
}

#[test]
fn path_and_method_are_read_in_both_formats() {
    for event in [
        json!({ "path": "/health", "httpMethod": "GET", "headers": {}, "body": "",
                "isBase64Encoded": true }),
        json!({ "version": "2.0", "rawPath": "/health", "rawQueryString": "",
                "requestContext": { "http": { "method": "GET", "path": "/health" }, "stage": "x" } }),
        json!({ "path": "/any/where/health", "httpMethod": "GET", "headers": null, "body": null,
                "requestContext": null, "multiValueHeaders": { "a": ["b"] } }),
    ] {
        let response = answer(&function(), &event).unwrap();
        assert_eq!(response["statusCode"], 200, "{event}");
        assert_eq!(text(&response), "ok");
    }
    for event in [
        json!({}),
        json!({ "path": "/health" }),
        json!({ "httpMethod": "GET" }),
        json!({ "source": "aws.events", "detail": {} }),
    ] {
        let error = answer(&function(), &event).unwrap_err();
        assert!(error.to_string().contains("no HTTP request"), "{event}");
    }
}

#[test]
fn what_is_no_request_is_refused_in_one_line() {
    for (event, problem) in [
        (
            json!({ "path": "/health", "httpMethod": "G T" }),
            "no HTTP method",
        ),
        (
            json!({ "path": "/a b", "httpMethod": "GET" }),
            "`/a b` is no path",
        ),
        (json!({ "path": "health", "httpMethod": "GET" }), "no path"),
        (json!({ "path": "", "httpMethod": "GET" }), "no path"),
        (
            json!({ "path": "/health", "httpMethod": "GET", "headers": { "a b": "c" } }),
            "`a b`",
        ),
        (
            json!({ "path": "/health", "httpMethod": "GET", "headers": { "a": "b\nc" } }),
            "`a`",
        ),
    ] {
        let response = answer(&function(), &event).unwrap();
        assert_eq!(response["statusCode"], 400, "{event}");
        let text = text(&response);
        assert!(
            text.contains(problem) && text.lines().count() == 1,
            "{text}"
        );
        assert!(
            response["headers"]["x-restate-server"]
                .as_str()
                .unwrap()
                .starts_with("durably/")
        );
    }
}

/// A stranger's bytes are neither decoded nor unpacked.
#[cfg(feature = "identity")]
#[test]
fn identity_comes_before_the_body() {
    let key = "publickeyv1_w7YHemBctH5Ck2nQRQ47iBBqhNHy4FV7t2Usbye2A6f";
    let endpoint = Endpoint::builder().bind(echo("Echo")).identity_key(key);
    let function = LambdaEndpoint::new(endpoint.build().unwrap());
    let event = json!({ "path": "/invoke/Echo/echo", "httpMethod": "POST", "isBase64Encoded": true,
        "body": "no base64!", "headers": { "content-encoding": "zstd",
        "content-type": "application/vnd.restate.invocation.v6" } });
    assert_eq!(answer(&function, &event).unwrap()["statusCode"], 401);
    // With a service that everybody may call it is the body that is wrong.
    let open = answer(&self::function(), &event).unwrap();
    assert_eq!(open["statusCode"], 400);
    assert!(text(&open).contains("not base64"), "{}", text(&open));
}

#[test]
fn a_response_is_given_up_at_the_limit() {
    use base64::Engine as _;
    let journal = crate::endpoint::testutil::journal(&"x".repeat(100));
    let event = json!({ "path": "/invoke/Echo/echo", "httpMethod": "POST", "isBase64Encoded": true,
        "body": base64::engine::general_purpose::STANDARD.encode(journal),
        "headers": { "content-type": "application/vnd.restate.invocation.v6" } });
    let given = answer(&function().max_body_size(200), &event).unwrap();
    assert!(text(&given).contains(&"x".repeat(100)));
    let refused = answer(&function().max_body_size(100), &event).unwrap();
    assert_eq!(refused["statusCode"], 200);
    let frame = text(&refused);
    assert!(
        frame.starts_with("\0\x02") && frame.contains("than 100 bytes"),
        "{frame}"
    );
}

#[test]
fn codings_are_found_in_lists() {
    let mentions = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        mentions_zstd(&headers, ACCEPT_ENCODING)
    };
    assert!(mentions("zstd") && mentions("gzip, ZSTD"));
    assert!(!mentions("") && !mentions("gzip") && !mentions("zstdx"));
    assert!(!mentions_zstd(&HeaderMap::new(), CONTENT_ENCODING));
}

#[test]
fn the_largest_body_fits_into_the_payload() {
    let body = vec![0xff; MAX_BASE64 / 4 * 3];
    assert!(base64_len(body.len()) <= MAX_BASE64 && base64_len(body.len() + 1) > MAX_BASE64);
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(ProtocolVersion::MAX.content_type()),
    );
    let response = LambdaResponse::new(StatusCode::OK, &headers, &body);
    let json = serde_json::to_vec(&response).unwrap();
    assert!(json.len() <= MAX_PAYLOAD, "{}", json.len());
}
