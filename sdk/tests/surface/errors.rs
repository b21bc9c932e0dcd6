//! Failures of handlers.

use serde_json::json;

use crate::exchange::{Ask, Http};
use crate::table::Suite;

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("codes", async |p| {
        for code in [
            400, 401, 403, 404, 405, 408, 409, 410, 413, 418, 422, 429, 451, 470, 499, 500, 501,
            502, 503, 504, 511, 599, 0, 1, 42, 99, 200, 201, 250, 299, 300, 302, 399, 600, 700,
            999, 1000, 65535,
        ] {
            let fail = json!({"code": code, "message": "msg"});
            p.see(Ask::post("/Plain/fail").json(fail.clone())).await;
            let key = p.key(&code.to_string());
            let ask = || {
                Ask::post("/Obj/a/fail")
                    .json(fail.clone())
                    .header("idempotency-key", &key)
            };
            p.see(ask()).await;
            p.see(ask()).await;
            for verb in ["attach", "output"] {
                p.see(Ask::get(format!(
                    "/restate/invocation/Obj/a/fail/{key}/{verb}"
                )))
                .await;
            }
        }
    });

    // What libraries make of them is another matter, and not worth their while on one that others use.
    suite.on_http1("codes_that_are_no_answers", async |p| {
        for code in [100, 101, 102, 150, 199, 204, 304] {
            let body = json!({"code": code, "message": "msg"}).to_string();
            let head = format!(
                "POST /Plain/fail HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            p.see_raw(head.as_bytes()).await;
        }
    });

    suite.case("messages", async |p| {
        for message in [
            "",
            "ünicode",
            "two\nlines",
            "\"\\\u{0}\u{2028}<&",
            &"long ".repeat(100),
        ] {
            let fail = json!({"code": 500, "message": message});
            p.see(Ask::post("/Plain/fail").json(fail)).await;
        }
        let metadata = json!({"z": "1", "a": "é\n", "": "empty"});
        let fail = json!({"code": 400, "message": "m", "metadata": metadata});
        p.see(Ask::post("/Plain/fail").json(fail.clone())).await;
        let sent = p.see(Ask::post("/Plain/fail/send").json(fail)).await;
        p.ended(&sent.id()).await;
        p.see(Ask::get(format!("/restate/attach/{}", sent.id())))
            .await;
        p.see(Ask::get(format!("/restate/output/{}", sent.id())))
            .await;
    });
}
