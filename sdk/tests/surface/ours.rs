//! What only the local runtime has: signals over HTTP, and an end.

use std::net::SocketAddr;
use std::path::Path;

use durably::local::LocalRuntime;

use crate::exchange::{Ask, Http};
use crate::paths::GONE;
use crate::play::Play;
use crate::services::{noted, services};
use crate::table::Suite;

/// A handler that listens for a signal.
async fn listener(p: &Play, name: &str) -> String {
    let sent = Ask::post("/Plain/listen/send").json(name);
    let id = p.see(sent).await.id();
    // A signal to what has not begun is lost, as on the server.
    noted(&id).await;
    id
}

/// A runtime of one's own, and its ingress.
async fn start(folder: &Path) -> (LocalRuntime, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let builder = LocalRuntime::builder(services());
    let builder = builder.path(folder).ingress(any).admin(any);
    let runtime = builder.start().await.unwrap();
    let url = runtime.ingress_url();
    let address = url.trim_start_matches("http://").parse().unwrap();
    (runtime, address)
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

    suite.ours("who_waits_hears_of_the_end", async |p| {
        const TRIES: u32 = 5;
        let mut tries = 1;
        let (folder, awakeable, told) = loop {
            let folder = tempfile::tempdir().unwrap();
            let (runtime, address) = start(folder.path()).await;
            let name = format!("end {tries}");
            let call = Ask::post("/Plain/wait").json(p.note(&name));
            let call = call.header("idempotency-key", "k");
            let waiting = tokio::spawn(call.try_send(address, p.http));
            let awakeable = p.noted(&name).await;
            let began = std::time::Instant::now();
            runtime.shutdown().await.unwrap();
            // It does not wait for the invocation, which would be for ever.
            assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
            match waiting.await.unwrap() {
                Ok(told) => break (folder, awakeable, told),
                // At the end there is a while for answers, in which a machine may be busy with something else.
                Err(cut) => assert!(tries < TRIES, "{cut}"),
            }
            tries += 1;
        };
        assert_eq!(told.status, 503);
        let source = told.headers.get("x-restate-error-source").unwrap();
        assert_eq!(source, "ingress");

        // The invocation knows nothing of that.
        let (runtime, address) = start(folder.path()).await;
        let resolve = Ask::post(format!("/restate/awakeables/{awakeable}/resolve"));
        assert_eq!(resolve.json(7).send(address, p.http).await.status, 202);
        let attach = Ask::get("/restate/invocation/Plain/wait/k/attach");
        let answer = attach.send(address, p.http).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"7"[..]));
        runtime.shutdown().await.unwrap();
    });
}
