//! Headers: which reach the handler, which come back, what browsers ask.

use crate::exchange::{Ask, Http};
use crate::table::Suite;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("headers_of_requests", async |p| {
        let all = |path: &str| {
            [
                ("x-a", "1"),
                ("x-b", "2"),
                ("x-a", "3"),
                ("accept", "*/*"),
                ("user-agent", "me"),
                ("authorization", "Bearer x"),
                ("cookie", "a=b"),
                ("traceparent", TRACE),
                ("tracestate", "a=b"),
                ("baggage", "a=b"),
                ("x-restate-id", "z"),
                ("x-restate-scope", "z"),
                ("x-restate-ingress-path", "mine"),
                ("x-forwarded-for", "1.1.1.1"),
                ("accept-encoding", "gzip"),
                ("origin", "http://o"),
                ("prefer", "respond-async"),
                ("x-empty", ""),
                ("via", "x"),
                ("te", "trailers"),
                ("expect", "x"),
                ("x-restate-limit-key", ""),
            ]
            .into_iter()
            .fold(Ask::post(path), |ask, (name, value)| {
                ask.header(name, value)
            })
        };
        p.see(all("/Plain/headers")).await;
        p.see(all("/Plain/headers").header("idempotency-key", p.key("k")))
            .await;
        p.see(all("/restate/call/Plain/headers")).await;
        for path in [
            "/Plain/headers?a=b",
            "/Plain/headers/?a=%20",
            "//Plain/headers?",
            "/restate/call/Plain/headers/",
        ] {
            p.see(Ask::post(path)).await;
        }
        p.see(Ask::post("/Plain/headers").text("text/plain", ""))
            .await;
        p.see(Ask::post("/Plain/headers").text("text/plain", "abc"))
            .await;
        for (name, value) in [
            ("x-bad", &b"\xff"[..]),
            ("x-utf", "é".as_bytes()),
            ("traceparent", b"\xff"),
            ("x-restate-x", b"\xff"),
            ("x-tab", b"a\tb"),
        ] {
            p.see(Ask::post("/Plain/headers").header(name, value)).await;
            p.see(Ask::post("/Plain/headers/send").header(name, value))
                .await;
            p.see(Ask::get("/restate/x").header(name, value)).await;
        }
        let mut many = Ask::post("/Plain/headers");
        for n in 0..60 {
            many = many.header(&format!("x-{n}"), "1");
        }
        p.see(many).await;
        let long = Ask::post("/Plain/headers").header("x-long", "1".repeat(10_000));
        p.see(long).await;
    });

    suite.on_http1("headers_of_http1", async |p| {
        for headers in [
            "connection: close, x-foo\r\nx-foo: 1",
            "connection: close\r\nkeep-alive: x\r\nproxy-authorization: x\r\nupgrade: x",
            "connection: close\r\nX-Upper: A\r\nx-upper: b",
            "connection: close\r\nhost: b",
            "connection: close\r\ncontent-length: 0",
            "connection: close\r\nx-space:   a  b  ",
        ] {
            let head = format!("POST /Plain/headers HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n");
            p.see_raw(head.as_bytes()).await;
        }
        let many: String = (0..110).map(|n| format!("x-{n}: 1\r\n")).collect();
        let head = format!("POST /Plain/headers HTTP/1.1\r\nhost: a\r\n{many}\r\n");
        p.see_raw(head.as_bytes()).await;
    });

    suite.case("limit_keys_without_a_scope", async |p| {
        for key in [
            &b"a"[..],
            b"a/b",
            b"a/b/c",
            b"/",
            b"a/",
            b"/a",
            b"a//b",
            b"*",
            b"a b",
            b"\xff",
            b"",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            b"a/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
        ] {
            let ask = || Ask::post("/Plain/about").header("x-restate-limit-key", key);
            p.see(ask()).await;
            p.see(ask().header("x-bad", b"\xff")).await;
            p.see(ask().header("idempotency-key", b"\xff")).await;
            p.see(ask().body("a")).await;
        }
        p.see(Ask::post("/Plain/private").header("x-restate-limit-key", "a"))
            .await;
    });

    suite.case("other_origins", async |p| {
        let origin = |ask: Ask| ask.header("origin", "http://x");
        for path in ["/Plain/nothing", "/Plain/nobody", "/", "/restate/x"] {
            p.see(origin(Ask::get(path))).await;
            let ask = origin(Ask::new("OPTIONS", path));
            let ask = ask.header("access-control-request-method", "POST");
            p.see(ask.header("access-control-request-headers", "content-type, x-foo"))
                .await;
        }
        p.see(origin(Ask::new("OPTIONS", "/a")).header("access-control-request-method", "FOO"))
            .await;
        p.see(Ask::new("OPTIONS", "/a").header("access-control-request-headers", "x"))
            .await;
        p.see(
            Ask::new("OPTIONS", "/a")
                .header("origin", "null")
                .body("abc"),
        )
        .await;
        p.see(Ask::get("/Plain/nothing").header("origin", b"\xff"))
            .await;
        p.see(Ask::get("/restate/x").header("access-control-request-method", "a"))
            .await;
        p.see(
            Ask::get("/restate/x")
                .header("origin", "a")
                .header("origin", "b"),
        )
        .await;
    });
}
