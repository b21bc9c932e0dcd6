//! What only the local runtime has: signals over HTTP, and an end.

use crate::exchange::{Ask, Http};
use crate::paths::GONE;
use crate::play::Play;
use crate::table::Suite;

/// A handler that listens for a signal.
async fn listener(p: &Play, name: &str) -> String {
    let sent = Ask::post("/Plain/listen/send").json(name);
    let id = p.see(sent).await.id();
    // A signal to what has not begun is lost, as on the server.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    id
}

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.ours("signals_resolve", async |p| {
        let id = listener(p, "a b").await;
        let path = format!("/restate/invocation/{id}/signal");
        let other = p
            .see(Ask::post(format!("{path}/other/resolve")).json(0))
            .await;
        assert_eq!(other.status, 202);
        let output = p.see(Ask::get(format!("/restate/output/{id}"))).await;
        assert_eq!(output.status, 470);
        let sent = p
            .see(Ask::post(format!("{path}/a%20b/resolve")).json(7))
            .await;
        assert_eq!((sent.status, &*sent.body), (202, &b""[..]));
        let answer = p.see(Ask::get(format!("/restate/attach/{id}"))).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"7"[..]));
        // It has ended: there is nobody left to hear of it.
        let late = p
            .see(Ask::post(format!("{path}/a%20b/resolve")).json(8))
            .await;
        assert_eq!(late.status, 202);
    });

    suite.ours("signals_reject", async |p| {
        let id = listener(p, "s").await;
        let path = format!("/restate/invocation/{id}/signal/s/reject");
        assert_eq!(p.see(Ask::post(path).body("why not")).await.status, 202);
        let answer = p.see(Ask::get(format!("/restate/attach/{id}"))).await;
        assert_eq!(answer.status, 500);
        let text = String::from_utf8_lossy(&answer.body);
        assert!(text.contains("\"message\":\"why not\""), "{text}");
    });

    suite.ours("signals_that_nobody_takes", async |p| {
        for (ask, status) in [
            (
                Ask::post(format!("/restate/invocation/{GONE}/signal/s/resolve")),
                404,
            ),
            (
                Ask::get(format!("/restate/invocation/{GONE}/signal/s/resolve")),
                405,
            ),
            (
                Ask::post(format!("/restate/invocation/{GONE}/signal/s/x")),
                404,
            ),
            (
                Ask::post(format!("/restate/invocation/{GONE}/signal/s")),
                400,
            ),
            (
                Ask::post(format!("/restate/invocation/{GONE}/signal/%FF/resolve")),
                400,
            ),
            (
                Ask::post("/restate/invocation/inv_1x/signal/s/resolve"),
                404,
            ),
        ] {
            assert_eq!(p.see(ask.clone()).await.status, status, "{ask}");
        }
    });
}
