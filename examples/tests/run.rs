//! Each example runs to its end and says what it should; each one also serves.

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use durably::prelude::*;
use durably::test_server::{Ingress, ProcessUnderTest, RestateServer, free_port};
use durably::testing::RecordedJournal;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Installing the server or the broker included.
const LIMIT: Duration = Duration::from_secs(300);

/// How many times longer the stories take that race with the clock: other tests keep the machine busy.
const SLOWNESS: &str = "2";

/// What nobody waits longer for, on the local runtime, while other tests keep the machine busy. Alone it is less than
/// ten seconds, which CI checks for `quickstart`.
const LOCAL_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn greeter() -> Result {
    shows_both_ways(
        env!("CARGO_BIN_EXE_greeter"),
        &[
            "Greeter/greet \"Ada\"    → \"Hello, Countess Ada!\"",
            // None, or on a busy machine what is awaited in the next line.
            "its result now         → ",
            "its result, awaited    → \"Hello, Rear Admiral Grace!\"",
            "failed with code 400: whom shall I greet?",
        ],
    )
    .await
}

#[tokio::test]
async fn counter() -> Result {
    shows_both_ways(
        env!("CARGO_BIN_EXE_counter"),
        &[
            "Counter/apples/get    → 7",
            "the sums returned     → [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]",
            "Counter/visits/get    → 20",
        ],
    )
    .await
}

#[tokio::test]
async fn signup() -> Result {
    shows_both_ways(
        env!("CARGO_BIN_EXE_signup"),
        &[
            "Approved { by: \"Grace\" }",
            "Signup/ada/run              → it has run already",
            "Signup/bob                  → TimedOut",
        ],
    )
    .await
}

#[tokio::test]
async fn mounted() -> Result {
    shows_both_ways(
        env!("CARGO_BIN_EXE_mounted"),
        &[
            "GET /                        → 200 welcome to the shop",
            "without the secret           → 401",
            "the provider calls           → 202",
            "and once more, to be sure    → 202",
            "Checkout/ada                 → Paid(Payment { cents: 1200 })",
            "Checkout/bob                 → TimedOut",
            "the old program has ended",
            "Checkout/eve                 → Paid(Payment { cents: 700 })",
        ],
    )
    .await
}

#[tokio::test]
async fn orders() -> Result {
    shows(
        env!("CARGO_BIN_EXE_orders"),
        &[
            "the server is back, with its data",
            "all 160 events arrived exactly once, and for each order in the order of the topic",
            "Returned (called)",
            "Orders/order-00   (forgotten)",
        ],
    )
    .await
}

#[tokio::test]
async fn three_ways() -> Result {
    shows(
        env!("CARGO_BIN_EXE_three_ways"),
        &[
            "HTTP     again → Level { pieces: 100, changes: 1 }",
            "handler    -3 → sold, 97 left",
            "Kafka      +5 → Level { pieces: 102, changes: 3 }",
            "the server is gone",
            "Level { pieces: 142, changes: 63 }",
            "status 409: there are only 142 of tea",
            "Kafka      +1 → Level { pieces: 143, changes: 64 }",
        ],
    )
    .await
}

#[tokio::test]
async fn long_jobs() -> Result {
    shows(
        env!("CARGO_BIN_EXE_long_jobs"),
        &[
            "Channel/bob   bob's clip, bob's second clip, bob's third clip",
            "Channel/ada   ada's long film, ada's clip",
            "the object: in order for each channel",
            "ada  ada's clip         ░",
            "the service: all at once",
            "nobody else waited for the long film, and each channel kept its order",
        ],
    )
    .await
}

#[tokio::test]
async fn webhook() -> Result {
    shows(
        env!("CARGO_BIN_EXE_webhook"),
        &[
            "nobody is there to hear its answers",
            "Payment/order-1 → Paid { receipt: \"receipt 77\" }",
            "Payment/order-2 → Declined { reason: \"no funds\" }",
            "Payment/order-3 → TimedOut",
            "Payment/order-3 → TimedOut, as before",
            "the provider's books: order-3, withdrawn",
        ],
    )
    .await
}

#[tokio::test]
async fn postpone() -> Result {
    shows(
        env!("CARGO_BIN_EXE_postpone"),
        &[
            "the server is gone",
            "the server is back, with everything that it has to remember",
            "mail to ada   \"your cart is waiting\"",
            "one mail each: ada's first reminder was postponed, bob's was called off",
        ],
    )
    .await
}

#[tokio::test]
async fn ledger() -> Result {
    shows(
        env!("CARGO_BIN_EXE_ledger"),
        &[
            "kill  6  some",
            "transactions cut off in the middle, rolled back and begun again: ",
            "the sum is 10000000; 300 transfers took effect, each exactly once",
        ],
    )
    .await
}

#[tokio::test]
async fn subscription() -> Result {
    shows(
        env!("CARGO_BIN_EXE_subscription"),
        &[
            "dora  Cancelled",
            "A new card comes by Kafka",
            "the server is gone",
            "the server is back, with everything that is due",
            "cleo  Cancelled, months paid: 0",
            "ada   Cancelled",
            "bob   Cancelled",
            "cleo  your subscription is suspended",
            "cleo  your subscription has ended",
            "each month was paid once, and none too early; cleo was asked 3 times",
        ],
    )
    .await
}

#[tokio::test]
async fn order_saga() -> Result {
    shows(
        env!("CARGO_BIN_EXE_order_saga"),
        &[
            "order-1  → parcel 77",
            "8 teapots on the shelf, 2400 cents charged",
            "order-2  → 402: the card is not good for that",
            "order-3  → 409: cancelled",
            "8 teapots on the shelf, 2400 cents charged",
            "nobody is there to hear it",
            "order-4  → 410: the carrier has lost it",
            "times for the refund of 4800, and paid 4800",
            "of the others nothing is left, and nothing was undone twice",
        ],
    )
    .await
}

#[tokio::test]
async fn backlog() -> Result {
    shows(
        env!("CARGO_BIN_EXE_backlog"),
        &[
            "1000 payments wait in a topic",
            "the bare handler",
            "with lanes",
            "server: few attempts",
            "server: limited scope",
            "Each payment was made once, and those of an account in their order.",
        ],
    )
    .await
}

#[tokio::test]
async fn burst() -> Result {
    shows(
        env!("CARGO_BIN_EXE_burst"),
        &[
            "change of the subscription: Created",
            "subscribed kafka://photos/uploads → service://Photos/on_upload",
            "and nothing can get lost any more",
            "change of the subscription: Nothing",
            "the first process is killed (kill -9)",
            "all 2000 thumbnails are there, each once",
        ],
    )
    .await
}

#[tokio::test]
async fn routing() -> Result {
    shows(
        env!("CARGO_BIN_EXE_routing"),
        &[
            "target   wanted  requests  delivered  dead letters",
            "search       24        24         24             0",
            "partner      24        26         24             0",
            "legacy       24         1          0            24",
            "mail was done first: it waited for nobody",
            "the partner asked for a pause 2 times, and had it each time",
            "each event reached each target once, also those that came twice",
        ],
    )
    .await
}

#[tokio::test]
async fn quickstart() -> Result {
    shows_both_ways(
        env!("CARGO_BIN_EXE_quickstart"),
        &[
            "Greeter/greet \"Ada\"     → \"Hello, Ada!\"",
            "KILLED   kill -9",
            "RESULT   \"order 3: a teapot is on its way\"",
            "charge the card     done              -",
            "pack the parcel     begun, killed     done",
            "Each step took effect exactly once",
        ],
    )
    .await
}

#[tokio::test]
async fn they_serve_for_a_server_elsewhere() -> Result {
    let server = RestateServer::builder().start().await?;
    for (program, argument, path, services) in [
        (env!("CARGO_BIN_EXE_greeter"), "serve", "", &["Greeter"][..]),
        (env!("CARGO_BIN_EXE_counter"), "--serve", "", &["Counter"]),
        (env!("CARGO_BIN_EXE_signup"), "serve", "", &["Signup"]),
        (env!("CARGO_BIN_EXE_orders"), "serve", "", &["Orders"]),
        (
            env!("CARGO_BIN_EXE_backlog"),
            "serve",
            "",
            &["Direct", "Intake", "Lane"],
        ),
        (
            env!("CARGO_BIN_EXE_three_ways"),
            "serve",
            "",
            &["Shop", "Stock"],
        ),
        (
            env!("CARGO_BIN_EXE_long_jobs"),
            "serve",
            "",
            &["Channel", "Posters"],
        ),
        (env!("CARGO_BIN_EXE_webhook"), "serve", "", &["Payment"]),
        (env!("CARGO_BIN_EXE_burst"), "serve", "", &["Photos"]),
        (
            env!("CARGO_BIN_EXE_routing"),
            "serve",
            "",
            &["DeadLetters", "Lane", "Router"],
        ),
        (env!("CARGO_BIN_EXE_postpone"), "serve", "", &["Cart"]),
        (env!("CARGO_BIN_EXE_ledger"), "serve", "", &["Ledger"]),
        (
            env!("CARGO_BIN_EXE_subscription"),
            "serve",
            "",
            &["Subscription"],
        ),
        (
            env!("CARGO_BIN_EXE_order_saga"),
            "serve",
            "",
            &["Fulfilment", "Stockroom"],
        ),
        (
            env!("CARGO_BIN_EXE_quickstart"),
            "serve",
            "",
            &["Checkout", "Counter", "Greeter"],
        ),
        // It has a Checkout of its own, which takes the name over.
        (
            env!("CARGO_BIN_EXE_mounted"),
            "serve",
            "/durable",
            &["Checkout"],
        ),
    ] {
        let port = free_port()?.to_string();
        let process = ProcessUnderTest::builder(program)
            .arg(argument)
            .env("PORT", &port)
            .spawn()?;
        process
            .wait_for_log("listening", Duration::from_secs(30))
            .await?;
        let mut found = server
            .register(&format!("http://127.0.0.1:{port}{path}"))
            .await?
            .services;
        found.sort();
        assert_eq!(found, services, "{program}");
        let status = process.terminate().await?;
        assert!(
            status.is_some_and(|status| status.success()),
            "{program} ended with {status:?}:\n{}",
            process.log()
        );
    }
    Ok(())
}

/// A journal that a demonstration has left goes on where it was, also after a crash.
#[tokio::test]
async fn a_journal_is_kept() -> Result {
    let directory = tempfile::tempdir()?;
    let folder = directory.path().join("data");
    let folder = folder.to_str().ok_or("no text")?;
    let program = env!("CARGO_BIN_EXE_counter");
    let keep = async || {
        let mut command = tokio::process::Command::new(program);
        command.args(["--keep", folder]).output().await
    };
    let output = keep().await?;
    let said = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("counter local {folder}")), "{said}");
    let output = keep().await?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success());
    assert!(said.contains("there is something in"), "{said}");

    let (ingress, admin) = (free_port()?, free_port()?);
    let process = ProcessUnderTest::builder(program)
        .arg("local")
        .arg(folder)
        .env("INGRESS_PORT", ingress.to_string())
        .env("ADMIN_PORT", admin.to_string())
        .spawn()?;
    let ready = async || {
        let patience = Duration::from_secs(30);
        process
            .wait_for_log("the local runtime runs", patience)
            .await
    };
    ready().await?;
    let counter = Ingress::new(format!("http://127.0.0.1:{ingress}"))?;
    let add = async |n: u64| -> Result<u64> {
        Ok(counter.call_object("Counter", "apples", "add", &n).await?)
    };
    assert_eq!(add(1).await?, 8, "seven apples were there");
    process.kill9();
    process.restart()?;
    ready().await?;
    assert_eq!(add(1).await?, 9);

    let page = reqwest::get(format!("http://127.0.0.1:{admin}/")).await?;
    let kind = page.headers().get("content-type").cloned();
    let kind = kind.ok_or("the page has no type")?;
    assert!(kind.to_str()?.starts_with("text/html"), "{kind:?}");
    assert!(page.error_for_status()?.text().await?.contains("<html"));

    let status = process.terminate().await?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    Ok(())
}

struct Echo;

#[durably::service]
impl Echo {
    #[handler]
    async fn echo(&self, _ctx: &Context, text: String) -> HandlerResult<String> {
        Ok(text)
    }
}

#[tokio::test]
async fn a_journal_is_exported() -> Result {
    let endpoint = Endpoint::builder().bind(Echo).build()?;
    let server = RestateServer::builder().start().await?;
    let _served = server.serve(endpoint.clone()).await?;
    let sent = server.ingress().send("Echo", "echo", "tea").await?;
    let id = &*sent.invocation_id;
    server.ingress().attach::<String>(id).await?;
    let export = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_export-journal"));
        command.args(arguments).output().await
    };
    let output = export(&[server.admin_url(), id]).await?;
    let journal: RecordedJournal = String::from_utf8(output.stdout)?.parse()?;
    assert!(journal.replay(&endpoint)?.ended());
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("→ output \"tea\""), "{said}");

    let output = export(&[server.admin_url(), "inv_nobody"]).await?;
    assert!(!output.status.success() && output.stdout.is_empty());
    let output = export(&[]).await?;
    assert!(String::from_utf8(output.stderr)?.contains("usage"));
    Ok(())
}

#[tokio::test]
async fn an_unknown_argument_is_refused() -> Result {
    for program in [
        env!("CARGO_BIN_EXE_greeter"),
        env!("CARGO_BIN_EXE_backlog"),
        env!("CARGO_BIN_EXE_burst"),
        env!("CARGO_BIN_EXE_mounted"),
        env!("CARGO_BIN_EXE_quickstart"),
    ] {
        let output = tokio::process::Command::new(program)
            .arg("severe")
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{program}");
        assert!(said.contains("unknown argument `severe`"), "{said}");
    }
    // No journal is kept where there is none.
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_postpone"));
    let output = command.args(["--keep", "anywhere"]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("needs a Restate server"), "{said}");
    Ok(())
}

/// Runs a program on the local runtime, without a program or a folder of anybody's at hand; and on a real server.
async fn shows_both_ways(program: &str, texts: &[&str]) -> Result {
    let mut bare = tokio::process::Command::new(program);
    bare.env_clear();
    let begin = Instant::now();
    let output = shows_with(bare, texts).await?;
    let took = begin.elapsed();
    println!("{program}: {:.1} s", took.as_secs_f64());
    assert!(took < LOCAL_LIMIT, "{program} took {took:?} by itself");
    assert!(output.contains("page       http://127.0.0.1:"), "{output}");
    assert!(!output.contains("Restate server"), "{output}");

    let mut with_server = tokio::process::Command::new(program);
    with_server.arg("--server");
    let output = shows_with(with_server, texts).await?;
    assert!(output.contains("Start a Restate server"), "{output}");
    Ok(())
}

/// Runs a program to its end, and finds these texts in what it prints, in this order.
async fn shows(program: &str, texts: &[&str]) -> Result {
    shows_with(tokio::process::Command::new(program), texts).await?;
    Ok(())
}

async fn shows_with(mut command: tokio::process::Command, texts: &[&str]) -> Result<String> {
    let program = format!("{:?}", command.as_std());
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("output");
    // One file for both, so that what is shown of a failure stands in the order of time.
    let file = File::create(&path)?;
    let mut child = command
        .env("EXAMPLES_SLOWNESS", SLOWNESS)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true)
        .spawn()?;
    let ended = tokio::time::timeout(LIMIT, child.wait()).await;
    let output = std::fs::read_to_string(&path)?;
    match ended {
        Err(_) => panic!("{program} has not ended after {LIMIT:?}; it printed:\n{output}"),
        Ok(status) => {
            let status = status?;
            assert!(
                status.success(),
                "{program} ended with {status}; it printed:\n{output}"
            );
        }
    }
    let mut rest = &*output;
    for text in texts {
        let Some(at) = rest.find(text) else {
            panic!("{program} did not print {text:?} where it should; it printed:\n{output}");
        };
        rest = &rest[at + text.len()..];
    }
    for noise in ["WARN", "ERROR"] {
        assert!(
            !output.contains(noise),
            "{program} printed log events:\n{output}"
        );
    }
    Ok(output)
}
