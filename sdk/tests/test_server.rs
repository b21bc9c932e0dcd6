//! The test tools against the real programs: a server that starts, dies and comes back, handlers
//! called through its ingress, a broker that feeds it, and nothing left behind by any of them.
//!
//! The handlers here are a few canned frames, so that a failure in this file is a failure of the
//! tools.

use std::convert::Infallible;
use std::io::Write;
use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use durably::test_server::{
    IngressError, KafkaBroker, KafkaRecord, ProcessUnderTest, RestateServer, TestServerError,
    free_port,
};
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Chooses what [`the_role_of_a_child`] does in a process of its own.
const ROLE: &str = "DURABLY_TEST_ROLE";

#[tokio::test]
async fn a_server_comes_back_with_its_data_and_leaves_nothing_behind() -> Result {
    let server = RestateServer::builder().start().await?;
    let pid = server.id().ok_or("no process id")?;
    let (ingress, admin) = (
        server.ingress_url().to_owned(),
        server.admin_url().to_owned(),
    );
    for url in [&ingress, &admin] {
        TcpStream::connect(url.trim_start_matches("http://"))?;
    }
    assert!(alive(pid));
    server.create_kafka_cluster("events", "127.0.0.1:1").await?;

    server.kill9();
    assert_eq!((server.id(), alive(pid)), (None, false));
    let error = server.query("SELECT 1").await.unwrap_err();
    assert!(
        matches!(error, TestServerError::Unanswered { .. }),
        "{error}"
    );

    server.restart().await?;
    assert_eq!(
        (server.ingress_url(), server.admin_url()),
        (&*ingress, &*admin)
    );
    let error = server
        .create_kafka_cluster("events", "127.0.0.1:1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, TestServerError::Refused { status: 409, .. }),
        "{error}"
    );

    let rows = server.query("SELECT 1 + 1 AS two").await?;
    assert_eq!(rows, [serde_json::json!({ "two": 2 })]);
    assert_eq!(server.log().matches("Starting Restate Server").count(), 2);

    let pid = server.id().ok_or("no process id")?;
    let directory = server.log_path().parent().ok_or("no directory")?.to_owned();
    drop(server);
    assert!(!alive(pid));
    assert!(!directory.exists());
    Ok(())
}

#[tokio::test]
async fn a_given_directory_is_kept_and_continued() -> Result {
    let base = tempfile::tempdir()?;
    let settings = || {
        RestateServer::builder()
            .base_dir(base.path().join("server"))
            .scopes()
    };
    let server = settings().start().await?;
    server.create_kafka_cluster("events", "127.0.0.1:1").await?;
    server.terminate().await?;
    assert_eq!(server.id(), None);
    drop(server);

    let server = settings().start().await?;
    let error = server
        .create_kafka_cluster("events", "127.0.0.1:1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, TestServerError::Refused { status: 409, .. }),
        "{error}"
    );

    // Scopes are understood: what is missing is the service.
    let request = server
        .ingress()
        .service("Nobody", "home")
        .scope("s")
        .limit_key("k");
    let error = request.json(&()).call::<()>().await.unwrap_err();
    assert!(
        error.to_string().contains("service 'Nobody' not found"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn handlers_are_called_through_the_ingress() -> Result {
    let server = RestateServer::builder()
        .always_suspend()
        .disable_retries()
        .start()
        .await?;
    let deployment = server.register(&serve().await?).await?;
    assert_eq!(deployment.services.len(), 2);
    server.register_http1(&serve().await?).await?;
    let ingress = server.ingress();

    let text: String = ingress.call("Echo", "echo", "hello").await?;
    assert_eq!(text, "hello");
    ingress.call::<()>("Echo", "echo", &()).await?;
    let key = "a/b ?#%+é";
    let numbers: Vec<u8> = ingress.call_object("Keyed", key, "echo", &[1, 2]).await?;
    assert_eq!(numbers, [1, 2]);
    let rows = server
        .query("SELECT DISTINCT target_service_key AS key FROM sys_invocation")
        .await?;
    assert!(
        rows.contains(&serde_json::json!({ "key": key })),
        "{rows:?}"
    );
    let error = ingress
        .call_object::<()>("Keyed", "..", "echo", &())
        .await
        .unwrap_err();
    assert!(matches!(error, IngressError::Invalid { .. }), "{error}");

    let reply = ingress
        .service("Echo", "echo")
        .raw("text/plain", "raw")
        .call_raw()
        .await?;
    assert_eq!(reply.body, "raw");
    let id = reply.invocation_id().ok_or("no invocation id")?;
    let error = server.cancel(id).await.unwrap_err();
    assert!(matches!(error, TestServerError::Refused { .. }), "{error}");

    let error = ingress.call::<()>("Echo", "fail", &()).await.unwrap_err();
    assert_eq!(
        (error.status(), error.message()),
        (Some(418), Some("canned"))
    );
    let error = ingress.call::<()>("Echo", "crash", &()).await.unwrap_err();
    assert_eq!(error.status(), Some(500), "{error}");
    let error = ingress
        .call::<()>("Echo", "missing", &())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(404), "{error}");

    let request = ingress
        .service("Echo", "echo")
        .json(&7)
        .idempotency_key("once");
    let sent = request.clone().send().await?;
    let again = request.send().await?;
    assert_eq!(
        (&again.invocation_id, sent.already, again.already),
        (&sent.invocation_id, false, true)
    );
    assert_eq!(ingress.attach::<u8>(&sent.invocation_id).await?, 7);
    assert_eq!(ingress.output::<u8>(&sent.invocation_id).await?, Some(7));
    server.purge(&sent.invocation_id).await?;
    let error = ingress.output::<u8>(&sent.invocation_id).await.unwrap_err();
    assert_eq!(error.status(), Some(404), "{error}");

    let later = ingress.service("Echo", "echo").json(&8);
    let sent = later.send_after(Duration::from_secs(600)).await?;
    assert_eq!(ingress.output::<u8>(&sent.invocation_id).await?, None);
    server.kill(&sent.invocation_id).await?;
    // One that had not begun leaves no trace.
    let error = ingress.attach::<u8>(&sent.invocation_id).await.unwrap_err();
    assert_eq!(error.status(), Some(404), "{error}");

    let request = ingress.service("Echo", "echo").limit_key("k").json(&1);
    let error = request.call::<u8>().await.unwrap_err();
    assert!(error.to_string().contains("requires a scope"), "{error}");
    let error = ingress
        .resolve_awakeable("sign_1nonsense", &1)
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    Ok(())
}

#[tokio::test]
async fn records_are_produced_and_reach_handlers() -> Result {
    let (broker, server) = tokio::join!(KafkaBroker::start(), RestateServer::builder().start());
    let (broker, server) = (broker?, server?);
    broker.create_topic("orders", 2).await?;
    let error = broker.create_topic("orders", 2).await.unwrap_err();
    assert!(matches!(error, TestServerError::Kafka { .. }), "{error}");

    let first = broker
        .produce("orders", Some(1), Some(b"k"), Some(b"1"))
        .await?;
    let tombstone = broker.produce("orders", Some(1), Some(b"k"), None).await?;
    assert_eq!((first.partition, first.offset, tombstone.offset), (1, 0, 1));
    let batch = (0..20).map(|n| KafkaRecord::new().key(format!("k{n}")).value(n.to_string()));
    let positions = broker.produce_all("orders", batch.clone()).await?;
    assert_eq!(positions.len(), 20);
    assert!((0..2).all(|partition| positions.iter().any(|at| at.partition == partition)));
    let again = broker.produce_all("orders", batch).await?;
    let partitions = |at: &[durably::test_server::KafkaPosition]| {
        at.iter()
            .map(|position| position.partition)
            .collect::<Vec<_>>()
    };
    assert_eq!(partitions(&positions), partitions(&again));
    for (topic, partition) in [("orders", 7), ("nothing", 0)] {
        let error = broker
            .produce(topic, Some(partition), None, None)
            .await
            .unwrap_err();
        assert!(matches!(error, TestServerError::Kafka { .. }), "{error}");
    }

    server.register(&serve().await?).await?;
    server
        .create_kafka_cluster("events", broker.bootstrap_servers())
        .await?;
    let options = [("auto.offset.reset", "earliest")];
    let sink = "service://Keyed/echo";
    let subscription = server
        .subscribe("kafka://events/orders", sink, &options)
        .await?;
    assert!(!subscription.is_empty());
    let count = "SELECT COUNT(1) AS n FROM sys_invocation WHERE status = 'completed'";
    within(Duration::from_secs(60), async || {
        Ok(server.query(count).await? == [serde_json::json!({ "n": 42 })])
    })
    .await
}

#[tokio::test]
async fn a_process_is_killed_terminated_and_started_again() -> Result {
    const SCRIPT: &str = "trap 'exit 7' TERM; echo run $RUN; while :; do sleep 0.02; done";
    let process = ProcessUnderTest::builder("sh")
        .arg("-c")
        .arg(SCRIPT)
        .env("RUN", "x")
        .spawn()?;
    let limit = Duration::from_secs(60);
    process.wait_for_log("run x", limit).await?;
    let pid = process.id().ok_or("no process id")?;
    assert!(process.is_running() && alive(pid));

    process.kill9();
    assert!(!process.is_running() && !alive(pid));
    assert_eq!(process.terminate().await?, None);
    let error = process
        .wait_for_log("more", limit)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("it was stopped"), "{error}");

    process.restart()?;
    process.wait_for_log("run x", limit).await?;
    assert_eq!(process.log(), "run x\nrun x\n");
    let status = process.terminate().await?.ok_or("it had to be killed")?;
    assert_eq!(status.code(), Some(7));

    let missing = ProcessUnderTest::spawn("/nonexistent/program", [("A", "b")])?;
    let error = missing
        .wait_for_log("anything", limit)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nonexistent/program"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_no_server_is_reported_with_what_it_said() -> Result {
    let error = RestateServer::builder()
        .binary("/nonexistent/server")
        .start()
        .await
        .unwrap_err();
    assert!(
        matches!(error, TestServerError::NotInstalled { .. }),
        "{error}"
    );

    let directory = tempfile::tempdir()?;
    let fake = directory.path().join("fake");
    std::fs::write(&fake, "#!/bin/sh\necho not a server; exit 3\n")?;
    let chmod = Command::new("chmod").arg("+x").arg(&fake).status()?;
    assert!(chmod.success());
    let error = RestateServer::builder()
        .binary(&fake)
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exit status: 3") && error.contains("not a server"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_killed_test_process_leaves_no_server() -> Result {
    let child = role("hold")?;
    child
        .wait_for_log("holding", Duration::from_secs(120))
        .await?;
    let log = child.log();
    let line = log
        .lines()
        .find(|line| line.starts_with("holding"))
        .ok_or("no line")?;
    let mut words = line.split(' ').skip(1);
    let pid: u32 = words.next().ok_or("no process id")?.parse()?;
    let data = Path::new(words.next().ok_or("no directory")?).join("data");
    assert!(alive(pid) && data.exists());
    child.kill9();
    within(Duration::from_secs(60), async || {
        Ok(!alive(pid) && !data.exists())
    })
    .await?;
    std::fs::remove_dir_all(data.parent().ok_or("no parent")?)?;
    Ok(())
}

#[tokio::test]
async fn a_failing_test_shows_the_log() -> Result {
    let child = role("panic")?;
    // All is said by then: what a line consists of is written piece by piece.
    child
        .wait_for_log("test result:", Duration::from_secs(120))
        .await?;
    let log = child.log();
    assert!(
        log.contains("--- the end of restate-server's log ---"),
        "{log}"
    );
    assert!(
        log.contains("Partition processor") || log.contains("Leader"),
        "{log}"
    );
    let path = log
        .split("all of it is in ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let path = Path::new(path.ok_or("no path")?);
    assert!(path.exists());
    let directory = path.parent().ok_or("no parent")?;
    assert!(!directory.join("data").exists());
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// Not a test: what this program does when one of the tests above starts it again.
#[tokio::test]
async fn the_role_of_a_child() -> Result {
    let Ok(role) = std::env::var(ROLE) else {
        return Ok(());
    };
    let server = RestateServer::builder().start().await?;
    match role.as_str() {
        "hold" => {
            let directory = server.log_path().parent().ok_or("no directory")?;
            println!(
                "holding {} {}",
                server.id().ok_or("no id")?,
                directory.display()
            );
            std::io::stdout().flush()?;
            std::future::pending::<()>().await;
        }
        _ => {
            let failing = async move {
                assert_eq!(server.id(), None, "this fails on purpose");
            };
            assert!(AssertUnwindSafe(failing).catch_unwind().await.is_err());
        }
    }
    Ok(())
}

fn role(role: &str) -> Result<ProcessUnderTest> {
    let builder = ProcessUnderTest::builder(std::env::current_exe()?).env(ROLE, role);
    let arguments = ["--exact", "the_role_of_a_child", "--nocapture"];
    Ok(arguments
        .into_iter()
        .fold(builder, |builder, argument| builder.arg(argument))
        .spawn()?)
}

/// Whether a process runs; a dead one that nobody has waited for yet does not.
fn alive(pid: u32) -> bool {
    let output = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .expect("ps is there");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

async fn within(limit: Duration, condition: impl AsyncFn() -> Result<bool>) -> Result {
    let start = Instant::now();
    while !condition().await? {
        if start.elapsed() > limit {
            return Err("it did not come true in time".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(bytes = "bytes", tag = "1")]
    content: Bytes,
}

/// The fields of the Input and Output messages that matter here.
#[derive(Clone, PartialEq, prost::Message)]
struct InputOrOutput {
    #[prost(message, optional, tag = "14")]
    value: Option<Value>,
    #[prost(message, optional, tag = "15")]
    failure: Option<Failure>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Failure {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
}

const MANIFEST: &str = r#"{
    "minProtocolVersion": 5, "maxProtocolVersion": 6, "services": [
        { "name": "Echo", "ty": "SERVICE", "handlers": [
            { "name": "echo" }, { "name": "fail" }, { "name": "crash" } ] },
        { "name": "Keyed", "ty": "VIRTUAL_OBJECT", "handlers": [
            { "name": "echo", "ty": "EXCLUSIVE" } ] }
    ], "protocolMode": "#;

/// Serves canned handlers on a free port and gives their address.
async fn serve() -> Result<String> {
    let port = free_port()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(async |request| {
                Ok::<_, Infallible>(answer(request).await)
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(format!("http://127.0.0.1:{port}"))
}

async fn answer(request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let version = request.version();
    let content_type = request.headers().get("content-type").cloned();
    if path == "/discover" {
        let two_ways = version == http::Version::HTTP_2;
        let mode = if two_ways {
            "\"BIDI_STREAM\" }"
        } else {
            "\"REQUEST_RESPONSE\" }"
        };
        return http::Response::builder()
            .header(
                "content-type",
                "application/vnd.restate.endpointmanifest.v2+json",
            )
            .body(Full::from(format!("{MANIFEST}{mode}")))
            .expect("the response is valid");
    }
    let input = read_input(request.into_body()).await;
    let output = match path.rsplit('/').next() {
        Some("echo") => InputOrOutput {
            value: Some(input),
            failure: None,
        },
        Some("fail") => InputOrOutput {
            value: None,
            failure: Some(Failure {
                code: 418,
                message: "canned".into(),
            }),
        },
        _ => {
            return http::Response::builder()
                .status(500)
                .body(Full::default())
                .expect("the response is valid");
        }
    };
    let output = output.encode_to_vec();
    let mut frames = BytesMut::new();
    frames.put_u64(0x0401_0000_0000_0000 | output.len() as u64); // Output
    frames.put_slice(&output);
    frames.put_u64(0x0003_0000_0000_0000); // End
    let mut response = http::Response::new(Full::from(frames.freeze()));
    if let Some(content_type) = content_type {
        response.headers_mut().insert("content-type", content_type);
    }
    response
}

/// Reads frames until the Input message is there, which is the second one.
async fn read_input(mut body: Incoming) -> Value {
    let mut received = BytesMut::new();
    loop {
        let mut rest = &received[..];
        while rest.len() >= 8 {
            let header = rest.get_u64();
            let length = (header & 0xFFFF_FFFF) as usize;
            if rest.len() < length {
                break;
            }
            if header >> 48 == 0x0400 {
                let input =
                    InputOrOutput::decode(&rest[..length]).expect("the server sends valid frames");
                return input.value.unwrap_or_default();
            }
            rest.advance(length);
        }
        match body.frame().await {
            Some(Ok(frame)) => received.extend_from_slice(&frame.into_data().unwrap_or_default()),
            _ => return Value::default(),
        }
    }
}
