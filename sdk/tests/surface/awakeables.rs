//! Awakeables, completed from outside.

use crate::exchange::{Ask, Http};
use crate::paths::GONE;
use crate::play::Play;
use crate::table::Suite;

/// Lets a handler wait, completes its awakeable in this way, and sees what becomes of it.
async fn complete(p: &Play, name: &str, how: impl AsyncFn(&str)) {
    let sent = Ask::post("/Plain/wait/send").json(p.note(name));
    let id = p.see(sent).await.id();
    let awakeable = p.noted(name).await;
    how(&awakeable).await;
    // So that it is there what came first.
    let path = format!("/restate/awakeables/{awakeable}/resolve");
    p.see(Ask::post(path).json("the end")).await;
    p.ended(&id).await;
    p.see(Ask::get(format!("/restate/attach/{id}"))).await;
}

pub(crate) fn cases(suite: &mut Suite<Http>) {
    suite.case("results_of_awakeables", async |p| {
        for (n, verb) in ["resolve", "reject", "resolve/", "resolve/x", "reject/x/y"]
            .iter()
            .enumerate()
        {
            let bodies = [
                Ask::post("/"),
                Ask::post("/").body("abc"),
                Ask::post("/").text("text/plain", "abc"),
                Ask::post("/").json("abc"),
                Ask::post("/").text("application/json", "{bad"),
                Ask::post("/").text("application/json", "{\"message\": \"why\", \"code\": 418}"),
                Ask::post("/").text("text/plain", &b"\xff\xfe"[..]),
                Ask::post("/").text("text/plain", "ünï\n"),
            ];
            for (m, ask) in bodies.into_iter().enumerate() {
                complete(p, &format!("{n}-{m}"), async |id| {
                    p.see(ask.clone().to(format!("/restate/awakeables/{id}/{verb}")))
                        .await;
                })
                .await;
            }
        }
        complete(p, "short", async |id| {
            p.see(Ask::post(format!("/restate/a/{id}/reject")).body("short"))
                .await;
        })
        .await;
        complete(p, "padded", async |id| {
            p.see(Ask::post(format!("/restate/awakeables/{id}==/resolve")).json(1))
                .await;
        })
        .await;
    });

    suite.case("what_does_not_complete_awakeables", async |p| {
        for (n, (method, end)) in [
            ("GET", "/resolve"),
            ("PUT", "/resolve"),
            ("HEAD", "/resolve"),
            ("OPTIONS", "/resolve"),
            ("GET", "/reject"),
            ("POST", "/x"),
            ("POST", ""),
            ("POST", "%3D/resolve"),
            ("POST", "AA/resolve"),
            ("POST", "x/resolve"),
        ]
        .into_iter()
        .enumerate()
        {
            complete(p, &n.to_string(), async |id| {
                p.see(Ask::new(method, format!("/restate/awakeables/{id}{end}")))
                    .await;
            })
            .await;
        }
    });

    suite.case("ids_of_awakeables", async |p| {
        let of = |kind: &str, letters: usize| format!("{kind}_1{}", "A".repeat(letters));
        for id in [
            of("sign", 38),
            of("prom", 38),
            of("sign", 37),
            of("prom", 37),
            of("sign", 39),
            of("prom", 39),
            of("sign", 40),
            of("sign", 200),
            of("prom", 200),
            of("sign", 0),
            of("prom", 0),
            of("foo", 0),
            of("dp", 38),
            format!("{}=", of("sign", 38)),
            format!("{}==", of("sign", 38)),
            format!("{}=", of("sign", 37)),
            format!("{}=x", of("sign", 38)),
            "sign".to_owned(),
            "sign_".to_owned(),
            "sign_2".to_owned(),
            "prom_".to_owned(),
            "prom_2".to_owned(),
            "x".to_owned(),
            "_".to_owned(),
            "%20".to_owned(),
            "é".to_owned(),
            GONE.to_owned(),
            format!("sign_1{}", "!".repeat(38)),
            format!("prom_1{}", "!".repeat(38)),
            format!("%73ign_1{}", "A".repeat(38)),
        ] {
            for verb in ["resolve", "reject"] {
                p.see(Ask::post(format!("/restate/awakeables/{id}/{verb}")).json(1))
                    .await;
            }
            p.see(Ask::get(format!("/restate/awakeables/{id}/resolve")))
                .await;
        }
    });
}
