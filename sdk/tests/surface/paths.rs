//! Paths and methods.

use crate::exchange::{Ask, Http};
use crate::table::Suite;

/// An id that nobody has.
pub(crate) const GONE: &str = "inv_1dbhPRDdDpYI1Ahn7RDWfZWPGDsYYaFAcb";

const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO",
];

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("methods", async |p| {
        for path in [
            "/Plain/nothing",
            "/Plain/nothing/send",
            "/Plain/private",
            "/Plain/nobody",
            "/Nobody/nothing",
            "/Plain",
            "/",
            "/Obj/key",
            "/restate/call/Plain/nothing",
            "/restate/call/Nobody/nothing",
            "/restate/call/Plain",
            "/restate/send/Plain/nothing",
            "/restate/x",
            "/openapi/x",
            "/restate/attach/x",
            "/restate/invocation/x",
            "/restate/invocation/x/output",
            "/restate/invocation/Plain/nothing/none/output",
            "/restate/invocation/Nobody/nothing/none/output",
            "/restate/workflow/Flow",
            "/restate/workflow/Flow/none/output",
            "/restate/workflow/Flow/%FF/output",
            "/restate/awakeables",
            "/restate/awakeables/x/y",
            "/restate/awakeables/x/resolve",
            "/restate/scope/!/call/Plain/nothing",
        ] {
            for method in METHODS {
                p.see(Ask::new(method, path)).await;
            }
        }
        for path in ["/restate/output", "/restate/attach", "/restate/lookup"] {
            for method in ["GET", "PUT", "HEAD", "OPTIONS"] {
                p.see(Ask::new(method, path)).await;
            }
        }
        for verb in ["attach", "output"] {
            for method in METHODS {
                p.see(Ask::new(method, format!("/restate/{verb}/{GONE}")))
                    .await;
                let path = format!("/restate/invocation/{GONE}/{verb}");
                p.see(Ask::new(method, path)).await;
            }
        }
    });

    suite.case("health", async |p| {
        for path in [
            "/restate/health",
            "/restate/health/",
            "/restate/health/x",
            "/restate/health?x",
        ] {
            let sorted = |body: &str| {
                let mut health: serde_json::Value = serde_json::from_str(body).unwrap();
                let services = health["services"].as_array_mut().unwrap();
                services.sort_by_key(ToString::to_string);
                health.to_string()
            };
            p.see_but("the order of services", Ask::get(path), sorted)
                .await;
        }
        for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
            p.see(Ask::new(method, "/restate/health")).await;
        }
    });

    suite.case("paths_of_handlers", async |p| {
        for path in [
            "/",
            "/Plain",
            "/Plain/",
            "/Plain/nothing/",
            "/Plain/nothing//",
            "//Plain/nothing",
            "/Plain//nothing",
            "///Plain///nothing",
            "////",
            "/Nobody/x",
            "/Nobody",
            "/Nobody/a/b/c/d",
            "/Nobody/a/b/c/d/e/f",
            "/Nobody/a/b/c/d/e/f/g",
            "/Nobody/%FF/x",
            "/Plain/nobody",
            "/Plain/nobody/x",
            "/Plain/nothing/x",
            "/Plain/k/nothing",
            "/Plain/%FF/nothing",
            "/Plain/a/b/c/d/e/f/g",
            "/Plain/nothing/send/send",
            "/Plain/nothing/SEND",
            "/Plain/nothing/call",
            "/plain/nothing",
            "/Plain/Nothing",
            "/Plai%6e/nothing",
            "/Plain/noth%69ng",
            "/Plain%2Fnothing",
            "/Plain/nothing%2F",
            "/Plain/%FF",
            "/%FF/x",
            "/Plain/nothing?x=y",
            "/Plain/nothing?",
            "/Hidden/nothing",
            "/Plain/private",
            "/names.with-Dots_2/nothing",
            "/names.with-Dots_2/send",
            "/names.with-Dots_2/send/send",
            "/Obj/key",
            "/Obj/a",
            "/Obj/%FF",
            "/Obj/a/nobody",
            "/Obj/a/key/x",
            "/Obj/a/key/send/x",
            "/Obj/a/key/SEND",
            "/Obj//key",
            "/Obj///key",
            "/Obj/a/send",
            "/Obj/a/send/send",
            "/Obj/send/send",
            "/Obj/send/send/send",
            "/Flow/run",
            "/restate",
            "/restate/",
            "/Restate/health",
            "/%72estate/health",
            "/health",
            "/metrics",
            "/openapi",
            "/openapi/",
            "/openapi/Plain",
            "/openapi/Plain/x",
            "/openapi/a/b/c/d/e/f",
            "/openapi/a/b/c/d/e/f/g",
        ] {
            p.see(Ask::get(path)).await;
            p.see(Ask::post(path)).await;
        }
    });

    suite.case("paths_of_the_server", async |p| {
        for path in [
            "/restate/x",
            "/restate//health",
            "/restate/h%65alth",
            "/restate/restate/health",
            "/restate/x/a/b/c/d/e/f",
            "/restate/health/a/b/c/d/e/f",
            "/restate/version",
            "/restate/openapi",
            "/restate/services",
            "/restate/state",
            "/restate/invocations",
            "/restate/signals",
            "/restate/signal",
            "/restate/promises",
            "/restate/promise/Flow/k/go/resolve",
            "/restate/call",
            "/restate/call/",
            "/restate/call/Plain",
            "/restate/call/Plain/nothing",
            "/restate/call/Plain/nothing/",
            "/restate/call/Plain/nothing/x",
            "/restate/call/Plain/nothing/send",
            "/restate/call/Plain/nobody",
            "/restate/call/Plain/private",
            "/restate/call/Nobody",
            "/restate/call/Nobody/x",
            "/restate/call/Obj/key",
            "/restate/call/Obj/a/key",
            "/restate/call/Obj//key",
            "/restate/call/Obj/a%2Fb/key",
            "/restate/call/Obj/%FF",
            "/restate/call/Obj/%FF/key",
            "/restate/call/Obj/a/key/send",
            "/restate/send",
            "/restate/send/Plain",
            "/restate/send/Plain/nothing",
            "/restate/send/Plain/nothing/send",
            "/restate/send/Plain/private",
            "/restate/send/Obj/key",
            "/restate/send/Obj/a/key",
            "/restate/scope",
            "/restate/scope/s",
            "/restate/scope/!",
            "/restate/scope/!/x",
            "/restate/scope/!/call",
            "/restate/scope/!/call/Plain",
            "/restate/scope/%FF/x",
            "/restate/scope/s/x",
            "/restate/scope/s/Plain/about",
            "/restate/scope/s/attach",
            "/restate/scope/s/attach/x",
            "/restate/scope/s/workflow/Flow/k/attach",
            "/restate/scope/s/invocation/Plain/about/k/attach",
            "/restate/scope/s/call/Obj/key",
            "/restate/awakeables",
            "/restate/awakeables/",
            "/restate/awakeables//resolve",
            "/restate/awakeables/x",
            "/restate/awakeables/x/y",
            "/restate/awakeable/x/resolve",
            "/restate/a",
            "/restate/a/x",
            "/restate/a/x/resolve",
            "/restate/invocation",
            "/restate/invocation/",
            "/restate/invocation/x",
            "/restate/invocation/x/y",
            "/restate/invocation//attach",
            "/restate/invocation/Plain/nothing/k",
            "/restate/invocation/Plain/nothing/k/x",
            "/restate/invocation/Plain/a/nothing/k/output",
            "/restate/invocation/Plain/a/b/c/d/output",
            "/restate/invocation/Plain/nobody/k/output",
            "/restate/invocation/Plain/private/k/output",
            "/restate/invocation/Nobody/x/k/output",
            "/restate/invocation/Obj/key/k/output",
            "/restate/invocation/Obj/a/key/k/output",
            "/restate/invocation/Obj/%FF/key/k/output",
            "/restate/invocation/Obj/%FF/key/k",
            "/restate/workflow",
            "/restate/workflow/Flow",
            "/restate/workflow/Flow/none",
            "/restate/workflow/Flow/none/x",
            "/restate/workflow/Flow/%FF",
            "/restate/workflow/Flow/%FF/x",
            "/restate/workflow/Fl%6fw/none/output",
            "/restate/workflow/%FF/none/output",
            "/restate/workflow/Flow//output",
            "/restate/workflow/Nobody/none/output",
            "/restate/workflow/Nobody/none/attach",
            "/restate/workflow/Obj/none/output",
            "/restate/workflow/Plain/none/output",
            "/restate/workflow/Flow/none/attach",
            "/restate/lookup/x",
            "/restate/attach/x/y",
            "/restate/output/x/y",
            "/restate/cancel/x",
            "/restate/kill/x",
        ] {
            p.see(Ask::get(path)).await;
            // Of their bodies another case speaks.
            if !["/restate/attach/", "/restate/output/"].contains(&path) {
                p.see(Ask::post(path)).await;
            }
        }
    });

    suite.on_http1("targets_that_are_no_paths", async |p| {
        for target in [
            "*",
            "http://other/Plain/nothing",
            "http://other",
            "Plain/nothing",
            "/Plain/nothing#fragment",
            "/Obj/a|b/key",
            "/Obj/\"a\"/key",
            "/Obj/{a}/key",
            "/Obj/a b/key",
            "/Obj/\u{e9}/key",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            p.see_raw(head.as_bytes()).await;
        }
        p.see_raw(b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        p.see_raw(b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await;
        p.see_raw(b"GET /Obj/\xff/key HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        p.see_raw(b"GET /Plain/nothing HTTP/1.0\r\n\r\n").await;
        p.see_raw(b"GET /Plain/nothing HTTP/1.1\r\nconnection: close\r\n\r\n")
            .await;
        p.see_raw(b"GET /Plain/nothing HTTP/1.1\r\n\r\n").await;
        p.see_raw(b"garbage\r\n\r\n").await;
        p.see_raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            .await;
    });
}
