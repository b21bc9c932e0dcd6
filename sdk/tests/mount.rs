//! An endpoint within an axum router: beside other routes, under a prefix, or as the fallback.

#![allow(clippy::unwrap_used, reason = "a test")]

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use durably::{Endpoint, prelude::*};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tower_service::Service as _;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Hello, {name}!"))
    }
}

async fn ask(router: &mut Router, request: Request<Body>) -> (StatusCode, Bytes) {
    let response = router.call(request).await.unwrap();
    let status = response.status();
    (
        status,
        response.into_body().collect().await.unwrap().to_bytes(),
    )
}

/// Start (one known entry) and Input with the JSON string `"Ada"`, on protocol v6.
fn invocation() -> Body {
    let start = [0, 0, 0, 0, 0, 0, 0, 2, 0x18, 1];
    let input = [
        4, 0, 0, 0, 0, 0, 0, 9, 0x72, 7, 0x0A, 5, b'"', b'A', b'd', b'a', b'"',
    ];
    Body::from([start.as_slice(), &input].concat())
}

#[tokio::test]
async fn an_endpoint_mounts_beside_other_routes() {
    let endpoint = Endpoint::builder().bind(Greeter).build().unwrap();
    let own = || get(async || "mine");
    let nested = Router::new()
        .route("/own", own())
        .nest_service("/restate", endpoint.clone());
    let fallback = Router::new()
        .route("/own", own())
        .fallback_service(endpoint);
    for (mut router, prefix) in [
        (nested, "/restate"),
        (fallback.clone(), ""),
        (fallback, "/any/where"),
    ] {
        let request = Request::get("/own").body(Body::empty()).unwrap();
        assert_eq!(
            ask(&mut router, request).await,
            (StatusCode::OK, Bytes::from("mine"))
        );

        let request = Request::get(format!("{prefix}/discover"))
            .body(Body::empty())
            .unwrap();
        let (status, manifest) = ask(&mut router, request).await;
        assert_eq!(status, StatusCode::OK);
        assert!(String::from_utf8_lossy(&manifest).contains("\"Greeter\""));

        let request = Request::post(format!("{prefix}/invoke/Greeter/greet"))
            .header("content-type", "application/vnd.restate.invocation.v6")
            .body(invocation())
            .unwrap();
        let (status, frames) = ask(&mut router, request).await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            String::from_utf8_lossy(&frames).contains("Hello, Ada!"),
            "{frames:?}"
        );

        let request = Request::post(format!("{prefix}/invoke/Greeter/nobody"))
            .body(Body::empty())
            .unwrap();
        assert_eq!(ask(&mut router, request).await.0, StatusCode::NOT_FOUND);
    }
}
