//! Calls: results, content types, bodies.

use serde_json::json;

use crate::exchange::{Ask, Http};
use crate::table::Suite;

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("results", async |p| {
        p.see(Ask::post("/Plain/json").json(json!({"a": [1, "é"]})))
            .await;
        p.see(Ask::get("/Plain/json").json(json!(null))).await;
        p.see(Ask::post("/Plain/hello").json("Ada")).await;
        p.see(Ask::post("/Plain/hello").json("ünï\u{1F600}\n\"'"))
            .await;
        p.see(Ask::post("/Plain/nothing")).await;
        p.see(Ask::post("/Plain/echo").text("image/png", &b"\x89\xff\0"[..]))
            .await;
        p.see(Ask::post("/Plain/echo").text("image/png", "")).await;
        p.see(Ask::post("/Plain/maybe").json(json!(null))).await;
        p.see(Ask::post("/Plain/maybe").json(4)).await;
        let key = p.key("a");
        p.see(Ask::post(format!("/Obj/{key}/shared"))).await;
        p.see(Ask::post(format!("/Brief/{key}/run"))).await;
        p.see(Ask::post(format!("/Brief/{key}/run"))).await;
    });

    suite.case("keys", async |p| {
        for key in [
            "a%2Fb",
            "a%20b",
            "a+b",
            "%C3%A9",
            "é",
            "%FF",
            "%C3",
            "%",
            "%2",
            "%zz",
            "a%00b",
            "%0a",
            ".",
            "..",
            "%2E%2E",
            "send",
            "restate",
            "%25",
            "a;b=c",
            "a:b@c!$&'()*,=",
            "~-_",
            "%7b%22%7D",
        ] {
            p.see(Ask::get(format!("/Obj/{key}/key"))).await;
            p.see(Ask::get(format!("/restate/call/Obj/{key}/shared")))
                .await;
        }
        let long = "k".repeat(5000);
        p.see(Ask::get(format!("/Obj/{long}/key"))).await;
    });

    suite.case("content_types_of_a_kind", async |p| {
        for content_type in [
            "image/png",
            "image/svg+xml; charset=utf-8",
            "image/*",
            "image/",
            "image",
            "IMAGE/png",
            "images/png",
            "*/*",
            "text/plain",
            "",
        ] {
            p.see(Ask::post("/Typed/size").text(content_type, "abc"))
                .await;
        }
        p.see(Ask::post("/Typed/size").body("abc")).await;
        p.see(Ask::post("/Typed/size")).await;
    });

    suite.case("content_types", async |p| {
        for handler in ["hello", "nothing", "echo", "maybe", "json"] {
            let path = format!("/Plain/{handler}");
            for content_type in [
                "application/json",
                "application/json; charset=utf-8",
                "application/json;",
                " application/json",
                "APPLICATION/JSON",
                "application/*",
                "*/*",
                "text/plain",
                "text",
                ";",
                "",
                "application/json, text/plain",
                "application/x-www-form-urlencoded",
                "application/problem+json",
            ] {
                for body in ["\"4\"", ""] {
                    p.see(Ask::post(&path).text(content_type, body)).await;
                }
            }
            p.see(Ask::post(&path)).await;
            p.see(Ask::post(&path).body("\"4\"")).await;
            p.see(Ask::get(&path).body("\"4\"")).await;
            let twice = Ask::post(&path).text("application/json", "\"a\"");
            p.see(twice.header("content-type", "text/plain")).await;
            let twice = Ask::post(&path).text("text/plain", "\"a\"");
            p.see(twice.header("content-type", "application/json"))
                .await;
            p.see(
                Ask::post(&path)
                    .text("text/plain", "a")
                    .header("content-type", b"\xff"),
            )
            .await;
            p.see(Ask::post(&path).header("content-type", b"\xff").body("a"))
                .await;
        }
    });

    suite.case("bad_inputs", async |p| {
        for body in [
            "no JSON",
            "5",
            "\"open",
            "\"a\" \"b\"",
            "\u{feff}\"a\"",
            "[]",
        ] {
            p.see(Ask::post("/Plain/hello").text("application/json", body))
                .await;
        }
        let bytes = Ask::post("/Plain/hello").text("application/json", &b"\"\xff\""[..]);
        p.see(bytes).await;
    });

    suite.case("long_bodies", async |p| {
        let megabytes = |n: usize| vec![b'x'; n << 20];
        for length in [1, 9, 20] {
            let echo = Ask::post("/Plain/echo").text("a/b", megabytes(length));
            let answer = echo.send(p.address, p.http).await;
            assert_eq!(answer.body.len(), length << 20);
            p.saw(&format!("{length} MiB"), &answer);
        }
    });

    suite.on_http1("bodies_that_are_too_long", async |p| {
        for path in ["/Plain/echo", "/Nobody/x", "/", "/restate/health"] {
            for method in ["POST", "GET", "OPTIONS"] {
                for length in ["33554433", "99999999999"] {
                    let head = format!(
                        "{method} {path} HTTP/1.1\r\nhost: a\r\norigin: http://o\r\ncontent-type: a/b\r\n\
                         content-length: {length}\r\nconnection: close\r\n\r\n"
                    );
                    p.see_raw(head.as_bytes()).await;
                }
            }
        }
        p.see_raw(
            b"POST /Nobody/x HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        )
        .await;
        // One whose length comes out only as it comes.
        let mut chunked = b"POST /Plain/echo/send HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\n\
            transfer-encoding: chunked\r\nconnection: close\r\n\r\n2000001\r\n"
            .to_vec();
        chunked.resize(chunked.len() + (32 << 20) + 1, b'x');
        let answer = crate::exchange::raw(p.address, &chunked).await;
        let answer = crate::exchange::shown(&answer);
        p.write_raw("33554433 bytes in a chunk", &answer);
    });

    suite.on_http1("bodies_in_chunks", async |p| {
        let head = "HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\
                    connection: close\r\n\r\n";
        for (path, body) in [
            ("/Plain/echo", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
            ("/Plain/echo", "0\r\n\r\n"),
            ("/Plain/headers", "3\r\nabc\r\n0\r\nx-trailer: a\r\n\r\n"),
            ("/Plain/echo", "nonsense"),
            ("/Nobody/x", "nonsense"),
        ] {
            p.see_raw(format!("POST {path} {head}{body}").as_bytes()).await;
        }
        p.see_raw(
            b"POST /Plain/echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-type: a/b\r\n\
              content-length: 3\r\nconnection: close\r\n\r\nabc",
        )
        .await;
        // What does not come is waited for.
        p.see_unanswered(
            b"POST /Plain/echo HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ncontent-length: 9\r\n\r\nabc",
        )
        .await;
        p.see_raw(
            b"POST /Nobody/echo HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ncontent-length: 9\r\n\r\nabc",
        )
        .await;
    });

    suite.case("a_client_that_goes_away", async |p| {
        let call = Ask::post("/Plain/wait")
            .json(p.note("gone"))
            .header("idempotency-key", p.key("gone"));
        let caller = p.begin(call);
        let awakeable = p.noted("gone").await;
        caller.abort();
        drop(caller.await);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let path = format!("/restate/invocation/Plain/wait/{}", p.key("gone"));
        p.see(Ask::get(format!("{path}/output"))).await;
        let send = Ask::post("/Plain/wait/send")
            .json("")
            .header("idempotency-key", p.key("gone"));
        let id = p.see(send).await.id();
        p.see(Ask::post(format!("/restate/awakeables/{awakeable}/resolve")).json("still"))
            .await;
        p.ended(&id).await;
        p.see(Ask::get(format!("{path}/attach"))).await;
    });
}
