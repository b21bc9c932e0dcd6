//! The admin API by plain requests.

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    Result,
    patience::{eventually, in_time},
    world::{World, without_length},
};

fn ids(listed: &Value) -> Vec<&str> {
    let rows = listed["invocations"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap()).collect()
}

/// A refusal in the server's words.
fn refused(answer: (StatusCode, Value), status: u16, message: &str) {
    let body = json!({"message": message, "restate_code": null});
    assert_eq!((answer.0.as_u16(), answer.1), (status, body));
}

fn done(answer: (StatusCode, Value), status: u16) {
    assert_eq!((answer.0.as_u16(), answer.1), (status, Value::Null));
}

#[tokio::test]
async fn invocations_are_rows_newest_first() -> Result {
    in_time(rows()).await
}

async fn rows() -> Result {
    let world = World::start().await?;
    let charged = world.send("Clerk/charge", 50).await?;
    let ended = world.reaches(&charged, "completed").await?;
    let refused = world.send("Clerk/refuse", Value::Null).await?;
    let works = world.send("Clerk/work", Value::Null).await?;
    let fails = world.send("Clerk/fail", Value::Null).await?;
    let waits = world.send("Desk/a%20b/wait", "hello").await?;
    let behind = world.send("Desk/a%20b/wait", "later").await?;

    assert_eq!(ended["completion_result"], "success");
    assert_eq!(
        (&ended["target"], &ended["target_service_ty"]),
        (&json!("Clerk/charge"), &json!("service"))
    );
    assert_eq!(
        (&ended["input"], &ended["output"]),
        (&json!("50"), &json!("55"))
    );
    // Input, run, its result, sleep, its end, call, its id, its result, output.
    assert_eq!(
        (&ended["journal_size"], &ended["journal_commands_size"]),
        (&json!(9), &json!(5))
    );
    let row = world.reaches(&refused, "completed").await?;
    assert_eq!(
        (&row["completion_result"], &row["completion_failure"]),
        (&json!("failure"), &json!("[402] no money"))
    );
    let row = world.reaches(&works, "running").await?;
    assert_eq!(
        (&row["retry_count"], &row["attempts"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(row.get("last_failure"), None);
    let row = world.reaches(&fails, "backing-off").await?;
    assert_eq!(row["last_failure"], "[500] the card reader is out of order");
    assert!(row["next_retry_at"].as_str().unwrap() > row["created_at"].as_str().unwrap());
    let row = world.reaches(&waits, "suspended").await?;
    assert_eq!(
        (
            &row["target"],
            &row["target_service_key"],
            &row["target_service_ty"]
        ),
        (
            &json!("Desk/a b/wait"),
            &json!("a b"),
            &json!("virtual_object")
        )
    );
    assert_eq!(row["status_text"], "suspended on signal `go`");
    let row = world.reaches(&behind, "pending").await?;
    assert_eq!(row.get("journal_size"), None);

    let all = world.get("/invocations").await?;
    let found = ids(&all);
    let of_six = [&*behind, &waits, &fails, &works, &refused, &charged];
    assert_eq!(
        found.iter().filter(|id| of_six.contains(id)).count(),
        6,
        "{all}"
    );
    // What `charge` has called is there as well.
    assert_eq!((found.len(), &all["next"]), (7, &Value::Null));
    assert_eq!(&found[0], &behind);
    let oldest = all["invocations"].as_array().unwrap().last().unwrap();
    assert_eq!(oldest["id"], *charged);

    let find = async |query: &str| -> Result<Vec<String>> {
        let found = world.get(&format!("/invocations?{query}")).await?;
        Ok(ids(&found).into_iter().map(str::to_owned).collect())
    };
    assert_eq!(find("status=suspended").await?, [&*waits]);
    assert_eq!(find("status=suspended,pending").await?, [&*behind, &waits]);
    assert_eq!(
        find("service=Desk&key=a%20b&status=pending").await?,
        [&*behind]
    );
    assert_eq!(find("handler=fail").await?, [&*fails]);
    assert_eq!(find("status=completed&handler=refuse").await?, [&*refused]);
    assert_eq!(find("service=Nobody").await?, [""; 0]);

    // Page by page.
    let (mut seen, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        let page = world.get(&format!("/invocations?{query}")).await?;
        assert!(ids(&page).len() <= 2);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        match page["next"].as_u64() {
            Some(next) => query = format!("limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!(seen, found);
    Ok(())
}

#[tokio::test]
async fn a_journal_is_told_in_parts() -> Result {
    in_time(journal()).await
}

async fn journal() -> Result {
    let world = World::start().await?;
    let id = world.send("Clerk/linger", Value::Null).await?;
    // While it runs, which it does until it is cancelled, and when it has ended and is read from disk.
    for status in ["running", "completed"] {
        let one = world.reaches(&id, status).await?;
        let journal = one["journal"].as_array().unwrap();
        let first = &journal[0];
        assert_eq!(
            (&first["kind"], &first["type"], &first["attempt"]),
            (&json!("runtime"), &json!("Began"), &json!(1))
        );
        assert!(first["at"].as_u64().unwrap() > 1_700_000_000_000);
        assert_eq!(one["journal_next"], Value::Null);
        if status == "running" {
            done(world.tell(&id, "cancel").await?, 202);
        }
    }
    let id = world.send("Clerk/charge", 50).await?;
    let one = world.reaches(&id, "completed").await?;
    let journal = one["journal"].as_array().unwrap();
    let told: Vec<_> = journal
        .iter()
        .map(|event| {
            format!(
                "{} {}: {}",
                event["kind"].as_str().unwrap(),
                event["type"].as_str().unwrap(),
                without_length(event["text"].as_str().unwrap())
            )
        })
        .collect();
    let called = journal
        .iter()
        .find_map(|event| event["invocation"].as_str())
        .unwrap();
    assert_eq!(
        told,
        [
            "runtime Began: the attempt begins",
            "issued Run: run `fee`",
            "came RunCompletion: run `fee`: 5",
            "issued Sleep: sleep …",
            "came SleepCompletion: sleep",
            "issued Call: call Clerk/add([50,5])",
            &format!(
                "came CallInvocationIdCompletion: the invocation id of call Clerk/add: {called}"
            ),
            "came CallCompletion: call Clerk/add: 55",
            "issued Output: output 55",
            "runtime Ended: ended with 55",
        ]
    );
    // A command and its completion have the same id.
    assert_eq!(journal[1]["completion_id"], journal[2]["completion_id"]);
    assert_eq!(journal[5]["completion_id"], journal[7]["completion_id"]);
    let part = world
        .get(&format!("/invocations/{id}?from=3&limit=2"))
        .await?;
    assert_eq!(part["journal"].as_array().unwrap()[..], journal[3..5]);
    assert_eq!(part["journal_next"], 5);
    let rest = world.get(&format!("/invocations/{id}?from=100")).await?;
    assert_eq!(
        (&rest["journal"], &rest["journal_next"]),
        (&json!([]), &Value::Null)
    );
    Ok(())
}

#[tokio::test]
async fn operators_are_answered_as_by_the_server() -> Result {
    in_time(operators()).await
}

async fn operators() -> Result {
    let world = World::start().await?;
    let says = |id: &str, what: &str| format!("The invocation '{id}' {what}");
    let gone = |id: &str| format!("The requested invocation '{id}' does not exist");

    let id = world.send("Clerk/charge", 50).await?;
    world.reaches(&id, "completed").await?;
    refused(
        world.tell(&id, "cancel").await?,
        409,
        &says(&id, "was already completed."),
    );
    refused(
        world.tell(&id, "kill").await?,
        409,
        &says(&id, "was already completed."),
    );
    refused(
        world.tell(&id, "pause").await?,
        409,
        &says(&id, "is not running, cannot be paused."),
    );
    refused(
        world.tell(&id, "resume").await?,
        409,
        &says(&id, "is completed, cannot be resumed."),
    );
    done(world.tell(&id, "purge").await?, 200);
    for what in ["cancel", "kill", "pause", "resume", "purge"] {
        refused(world.tell(&id, what).await?, 404, &gone(&id));
    }
    refused(
        world
            .ask(Method::GET, &format!("/invocations/{id}"))
            .await?,
        404,
        &gone(&id),
    );

    let waits = world.send("Desk/k/wait", "x").await?;
    world.reaches(&waits, "suspended").await?;
    let behind = world.send("Desk/k/wait", "y").await?;
    refused(
        world.tell(&waits, "purge").await?,
        409,
        &says(&waits, "is not yet completed."),
    );
    refused(
        world.tell(&behind, "pause").await?,
        409,
        &says(&behind, "is not running, cannot be paused."),
    );
    let why = "is either inboxed or scheduled, cannot be resumed.";
    refused(
        world.tell(&behind, "resume").await?,
        425,
        &says(&behind, why),
    );
    done(world.tell(&behind, "cancel").await?, 200);
    refused(world.tell(&behind, "cancel").await?, 404, &gone(&behind));
    done(world.tell(&waits, "cancel").await?, 202);
    let ended = world.reaches(&waits, "completed").await?;
    assert_eq!(ended["completion_failure"], "[409] cancelled");

    let works = world.send("Clerk/linger", Value::Null).await?;
    world.reaches(&works, "running").await?;
    done(world.tell(&works, "pause").await?, 202);
    world.reaches(&works, "paused").await?;
    done(world.tell(&works, "pause").await?, 200);
    done(world.tell(&works, "resume?deployment=latest").await?, 200);
    world.reaches(&works, "running").await?;
    done(world.tell(&works, "resume").await?, 200);
    done(world.tell(&works, "kill").await?, 200);
    let ended = world.reaches(&works, "completed").await?;
    assert_eq!(ended["completion_failure"], "[409] killed");

    // The older form says nothing of what is not there.
    let works = world.send("Clerk/work", Value::Null).await?;
    let path = |mode: &str| format!("/invocations/{works}{mode}");
    done(world.ask(Method::DELETE, &path("?mode=Kill")).await?, 202);
    world.reaches(&works, "completed").await?;
    done(world.ask(Method::DELETE, &path("")).await?, 202);
    done(world.ask(Method::DELETE, &path("?mode=purge")).await?, 202);
    done(world.ask(Method::DELETE, &path("?mode=purge")).await?, 202);
    assert_eq!(world.ask(Method::GET, &path("")).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn services_and_state_are_shown() -> Result {
    in_time(services()).await
}

/// Asks for another state, and gives the answer's status.
async fn replace(world: &World, service: &str, body: &Value) -> Result<u16> {
    let url = format!("{}/services/{service}/state", world.runtime.admin_url());
    let answer = world.client.post(url).json(body).send().await?;
    Ok(answer.status().as_u16())
}

async fn services() -> Result {
    let world = World::start().await?;
    let all = world.get("/services").await?;
    let names: Vec<_> = all["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["Clerk", "Desk"]);
    let desk = world.get("/services/Desk").await?;
    assert_eq!(
        desk,
        json!({"name": "Desk", "ty": "VirtualObject", "handlers": [
            {"name": "look", "ty": "Shared", "public": true}, {"name": "wait", "ty": "Exclusive", "public": true}
        ]})
    );
    let nobody = world.ask(Method::GET, "/services/Nobody").await?;
    refused(nobody, 404, "The requested service 'Nobody' does not exist");

    let id = world.send("Desk/a%2Fb/wait", "it's \"here\"").await?;
    world.reaches(&id, "suspended").await?;
    assert_eq!(
        world.get("/state/Desk/a%2Fb").await?,
        json!({"state": {"note": "it's \"here\""}, "base64": {"raw": "//4="}, "more": false})
    );
    assert_eq!(
        world.get("/state/Desk/other").await?,
        json!({"state": {}, "base64": {}, "more": false})
    );

    // State is replaced where no handler is at work.
    let ours = json!({"object_key": "other", "new_state": {"note": b"1".to_vec()}});
    assert_eq!(replace(&world, "Desk", &ours).await?, 202);
    assert_eq!(
        world.get("/state/Desk/other").await?,
        json!({"state": {"note": 1}, "base64": {}, "more": false})
    );
    // Each scope has its own.
    let scoped = json!({"object_key": "other", "scope": "s", "new_state": {"note": b"2".to_vec()}});
    assert_eq!(replace(&world, "Desk", &scoped).await?, 202);
    for (query, note) in [("", 1), ("?scope=s", 2)] {
        let state = world.get(&format!("/state/Desk/other{query}")).await?;
        assert_eq!(state["state"], json!({"note": note}));
    }
    let ours = json!({"object_key": "other", "new_state": {}});
    assert_eq!(replace(&world, "Desk", &ours).await?, 202);
    assert_eq!(
        world.get("/state/Desk/other").await?,
        json!({"state": {}, "base64": {}, "more": false})
    );
    let busy = json!({"object_key": "a/b", "new_state": {}});
    assert_eq!(replace(&world, "Desk", &busy).await?, 409);
    assert_eq!(replace(&world, "Clerk", &ours).await?, 400);
    assert_eq!(replace(&world, "Nobody", &ours).await?, 404);
    assert_eq!(replace(&world, "Desk", &json!({})).await?, 400);

    done(world.ask(Method::GET, "/health").await?, 200);
    assert_eq!(
        world.get("/version").await?["version"],
        env!("CARGO_PKG_VERSION")
    );
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() -> Result {
    in_time(nonsense()).await
}

async fn nonsense() -> Result {
    let world = World::start().await?;
    let id = "inv_1foAirY4KKzi0wHvvPMbrrsZJBrLvOhzO2";
    for (method, path, status) in [
        (Method::GET, "/nothing".to_owned(), 404),
        (Method::GET, "//".to_owned(), 404),
        (Method::GET, "/%ff".to_owned(), 400),
        (Method::POST, "/".to_owned(), 405),
        (Method::POST, "/invocations".to_owned(), 405),
        (Method::POST, format!("/invocations/{id}/cancel"), 405),
        (Method::PATCH, format!("/invocations/{id}/bogus"), 404),
        (
            Method::PATCH,
            format!("/invocations/{id}/purge-journal"),
            501,
        ),
        (
            Method::PATCH,
            format!("/invocations/{id}/cancel?force=1"),
            400,
        ),
        (
            Method::PATCH,
            format!("/invocations/{id}/resume?deployment=dp_1"),
            400,
        ),
        (
            Method::PATCH,
            "/invocations/nonsense/cancel".to_owned(),
            400,
        ),
        (
            Method::PATCH,
            format!("/invocations/inv_1{}/cancel", "Z".repeat(33)),
            400,
        ),
        (
            Method::PATCH,
            format!("/invocations/inv_1{}/cancel", "%C3%A4".repeat(11)),
            400,
        ),
        (
            Method::DELETE,
            format!("/invocations/{id}?mode=gently"),
            400,
        ),
        (Method::GET, format!("/invocations/{id}?from=x"), 400),
        (Method::GET, "/invocations?limit=1001".to_owned(), 400),
        (Method::GET, "/invocations?status=done".to_owned(), 400),
        (Method::GET, "/deployments".to_owned(), 501),
        (Method::POST, "/services/Desk/state".to_owned(), 415),
    ] {
        let (found, body) = world.ask(method.clone(), &path).await?;
        assert_eq!(found, status, "{method} {path}: {body}");
        if [400, 501].contains(&status) {
            assert!(
                body["message"]
                    .as_str()
                    .is_some_and(|message| !message.is_empty()),
                "{path}"
            );
        }
    }
    let (status, body) = world.ask(Method::POST, "/query").await?;
    assert_eq!(status, 501);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("GET /invocations"),
        "{body}"
    );
    Ok(())
}

#[tokio::test]
async fn pages_of_others_are_refused() -> Result {
    in_time(foreign()).await
}

async fn foreign() -> Result {
    let world = World::start().await?;
    let url = world.runtime.admin_url();
    let id = world.send("Clerk/work", Value::Null).await?;
    world.reaches(&id, "running").await?;
    let ask = async |method: Method,
                     path: &str,
                     headers: &[(&'static str, &str)]|
           -> Result<StatusCode> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        }
        let request = world
            .client
            .request(method, format!("{url}{path}"))
            .headers(map);
        let answer = request.send().await?;
        for name in answer.headers().keys() {
            assert!(!name.as_str().starts_with("access-control-"), "{name}");
        }
        Ok(answer.status())
    };
    let kill = format!("/invocations/{id}/kill");
    for headers in [
        &[("host", "evil.example")][..],
        &[
            ("host", "evil.example:9070"),
            ("origin", "http://evil.example:9070"),
        ],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost:1")],
        &[("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(
            ask(Method::PATCH, &kill, headers).await?,
            403,
            "{headers:?}"
        );
        assert_eq!(
            ask(Method::GET, "/invocations", headers).await?,
            403,
            "{headers:?}"
        );
        let asks_leave = [headers, &[("access-control-request-method", "PATCH")]].concat();
        assert_eq!(
            ask(Method::OPTIONS, &kill, &asks_leave).await?,
            403,
            "{headers:?}"
        );
    }
    assert_eq!(
        world.get(&format!("/invocations/{id}")).await?["status"],
        "running"
    );
    let own = url.as_str();
    assert_eq!(ask(Method::GET, "/", &[("origin", own)]).await?, 200);
    let proxied = [("host", "ops.example"), ("origin", "https://ops.example")];
    assert_eq!(ask(Method::PATCH, &kill, &proxied).await?, 200);

    let page = world.client.get(&url).send().await?;
    let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str()?;
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_requests_do_no_harm() -> Result {
    in_time(garbage()).await
}

async fn garbage() -> Result {
    use tokio::{io::AsyncWriteExt as _, net::TcpStream};

    let world = World::start().await?;
    let url = world.runtime.admin_url();
    let address = url.strip_prefix("http://").unwrap();
    for bytes in [
        &b"\0\xff\xfe GET /\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET /invocations?\xff\xfe=\xff HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET /invocations/%f HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n",
        b"PATCH /invocations/inv_1\xc3\xa4 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await?;
        // It may have been closed already.
        drop(stream.write_all(bytes).await);
        drop(stream.shutdown().await);
    }
    eventually("it still answers", async || {
        let (status, _) = world.ask(Method::GET, "/health").await?;
        Ok((status == 200).then_some(()))
    })
    .await
}
