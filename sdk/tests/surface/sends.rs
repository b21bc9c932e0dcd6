//! Sends, and when they happen.

use crate::exchange::{Ask, Http};
use crate::table::Suite;

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("sends", async |p| {
        for path in [
            "/Plain/nothing/send",
            "/Plain/nothing/send/",
            "/restate/send/Plain/nothing",
            "/Obj/a/key/send",
            "/restate/send/Obj/a/key",
            "/Nobody/x/send",
            "/Plain/x/send",
            "/Plain/private/send",
            "/Plain/hello/send",
        ] {
            p.see(Ask::post(path)).await;
        }
        p.see(Ask::post("/Plain/hello/send").json("Ada")).await;
        // It is the handler that refuses it.
        let sent = p.see(Ask::post("/Plain/hello/send").text("application/json", "bad"));
        let id = sent.await.id();
        p.ended(&id).await;
        p.see(Ask::get(format!("/restate/attach/{id}"))).await;
    });

    suite.case("delays", async |p| {
        for delay in [
            "600s",
            "0",
            "0s",
            "100ms",
            "1h%2030m",
            "1h+30m",
            "1h30m",
            "PT600S",
            "PT0.5S",
            "P1D",
            "P1DT1H",
            "P1W",
            "pt10m",
            "600%20seconds",
            "600sec",
            "1.5h",
            "PT1.5H",
            "1us",
            "1ns",
            "1d",
            "1w",
            "2%20days",
            "1%20hour,%205%20minutes",
            "01:30:00",
            "%2B10m",
            "10m%20",
            "%310m",
            "10m&delay=20m",
            "10m&x",
            "P1DT25H",
            "1d%2025h",
        ] {
            p.see(Ask::post(format!("/Plain/nothing/send?delay={delay}")))
                .await;
        }
        for query in [
            "delaysec=10m",
            "Delay=10m",
            "DELAY=10m",
            "dEl%61y=10m",
            "x=1&delay=10m",
            "x=%FF&delay=10m",
            "&&delay=10m",
        ] {
            p.see(Ask::post(format!("/Plain/nothing/send?{query}")))
                .await;
        }
    });

    // One in a thousand: it is written in its own way.
    suite.case("delays_to_whole_seconds", async |p| {
        p.see_whole_second(Ask::post("/Plain/nothing/send?delay=10m"))
            .await;
    });

    suite.case("delays_that_are_none", async |p| {
        for delay in [
            "",
            "10",
            "abc",
            "10S",
            "1M",
            "P1M",
            "P1Y",
            "1y",
            "1month",
            "1000y",
            "10000000000y",
            "-10s",
            "-PT10S",
            "10s%20ago",
            "PT-10S",
            "18446744073709551615s",
            "P99999999999D",
            "%FF",
            "%2010s",
            "PT",
            "P",
            "PT10",
            "1s%201s",
            "inf",
            "2100-01-01T00:00:00Z",
            "10s;x=1",
            "x&delay=1s",
            "1e3s",
            "0x10s",
            "1,5s",
        ] {
            p.see(Ask::post(format!("/Plain/nothing/send?delay={delay}")))
                .await;
        }
        p.see(Ask::post("/Plain/nothing/send?delay")).await;
    });

    suite.case("delays_of_calls", async |p| {
        for query in [
            "delay=10s",
            "delay=x",
            "delay=0",
            "delay=",
            "delay=1s&delay=x",
        ] {
            p.see(Ask::post(format!("/Plain/nothing?{query}"))).await;
            p.see(Ask::post(format!("/restate/call/Plain/nothing?{query}")))
                .await;
        }
        // What else is wrong comes first, or not.
        p.see(Ask::post("/Plain/nothing?delay=1s").body("abc"))
            .await;
        p.see(Ask::post("/Plain/nothing?delay=x").body("abc")).await;
        p.see(Ask::post("/Plain/hello?delay=1s")).await;
        p.see(Ask::post("/Plain/private?delay=x")).await;
        for query in ["delay=1s", "delay=x"] {
            let path = format!("/Plain/nothing?{query}");
            p.see(Ask::post(&path).header("x-bad", b"\xff")).await;
            p.see(Ask::post(&path).header("x-restate-limit-key", "a"))
                .await;
            p.see(Ask::post(&path).header("x-restate-limit-key", "a b"))
                .await;
        }
    });
}
