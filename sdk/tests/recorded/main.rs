//! Journals of a real server, exported and replayed: against the code that made them, and against code that was
//! changed since.
//!
//! `journals/` holds some as they were exported. `DURABLY_WRITE_JOURNALS=1 cargo test -p durably --all-features --test
//! recorded` exports them anew.

#![allow(clippy::unwrap_used, reason = "a test")]

mod journey;
#[path = "../suite/patience.rs"]
mod patience;

use std::{env, fs, path::Path, time::Duration};

use durably::{
    Endpoint,
    admin::AdminClient,
    test_server::{RestateServer, RestateServerBuilder},
    testing::{ExportError, RecordedJournal, ReplayFailureKind as Kind},
};
use journey::{Change, Guide, Journey};
use patience::{eventually, in_time};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const JOURNALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/journals");

/// What each change does to an invocation that waits, and to one that has ended.
const CHANGES: [(Change, Option<Kind>, Option<Kind>); 10] = [
    (Change::Nothing, None, None),
    (
        Change::RenamedStep,
        Some(Kind::Mismatch),
        Some(Kind::Mismatch),
    ),
    (
        Change::SwappedSteps,
        Some(Kind::Mismatch),
        Some(Kind::Mismatch),
    ),
    (
        Change::RemovedStep,
        Some(Kind::Mismatch),
        Some(Kind::Mismatch),
    ),
    (
        Change::AddedStep,
        Some(Kind::Mismatch),
        Some(Kind::Mismatch),
    ),
    (
        Change::ResultType,
        Some(Kind::AttemptFailed),
        Some(Kind::AttemptFailed),
    ),
    (
        Change::InputType,
        Some(Kind::Mismatch),
        Some(Kind::Mismatch),
    ),
    (Change::MoreAtTheEnd, None, Some(Kind::Mismatch)),
    (Change::OtherSignal, Some(Kind::NotAwaited), None),
    (Change::OtherOutput, None, Some(Kind::Output)),
];

fn endpoint(change: Change) -> Result<Endpoint> {
    let builder = Endpoint::builder().bind(Journey(change)).bind(Guide);
    Ok(builder.build()?)
}

/// Replays a journal of the journey against each change.
fn check(journal: &RecordedJournal) -> Result {
    let over = journal.status() == "completed";
    for (change, waiting, ended) in CHANGES {
        let due = if over { ended } else { waiting };
        let replayed = journal.replay(&endpoint(change)?);
        let kind = replayed.as_ref().err().map(|failure| failure.kind());
        assert_eq!(kind, due, "{change:?}: {replayed:?}");
        if let Ok(replayed) = replayed {
            assert_eq!(replayed.new_commands(), [""; 0], "{change:?}");
            assert_eq!(replayed.ended(), over);
            if !over {
                assert_eq!(
                    replayed.awaits(),
                    "get promise `decision`, or signal `bell`"
                );
            }
        }
    }
    let gone = Endpoint::builder().bind(Guide).build()?;
    assert_eq!(journal.replay(&gone).unwrap_err().kind(), Kind::HandlerGone);
    Ok(())
}

async fn export_both(builder: RestateServerBuilder, name: &str) -> Result {
    let server = builder.start().await?;
    let _served = server.serve(endpoint(Change::Nothing)?).await?;
    let (ingress, admin) = (server.ingress(), AdminClient::new(server.admin_url()));
    let sent = ingress.send_object("Journey", "ada", "run", "Ada").await?;
    let id = &sent.invocation_id;

    let waiting = eventually("the wait for the decision", async || {
        let journal = admin.export_journal(id).await?;
        let waits = journal.to_json().contains("\"bell\"");
        Ok(waits.then_some(journal))
    });
    let waiting = waiting.await?;
    ingress
        .call_object::<()>("Journey", "ada", "decide", "go")
        .await?;
    let output: String = ingress.attach(id).await?;
    let ended = admin.export_journal(id).await?;
    let replayed = ended.replay(&endpoint(Change::Nothing)?)?;
    let replayed = replayed.output().ok_or("no output")??;
    assert_eq!(serde_json::from_slice::<String>(&replayed)?, output);

    for (journal, stand) in [(waiting, "waiting"), (ended, "ended")] {
        let text = journal.to_json();
        assert_eq!(text.parse::<RecordedJournal>()?, journal);
        if env::var_os("DURABLY_WRITE_JOURNALS").is_some() {
            fs::write(
                Path::new(JOURNALS).join(format!("{name}-{stand}.json")),
                text,
            )?;
        }
        check(&journal)?;
    }
    Ok(())
}

#[tokio::test]
async fn journals_of_a_server_replay_at_v6() -> Result {
    in_time(export_both(RestateServer::builder().always_suspend(), "v6")).await
}

#[tokio::test]
async fn journals_of_a_server_replay_at_v7() -> Result {
    in_time(export_both(RestateServer::builder().protocol_v7(), "v7")).await
}

#[test]
fn journals_that_were_recorded_once_replay() -> Result {
    let journals = RecordedJournal::read_all(JOURNALS)?;
    assert_eq!(journals.len(), 4);
    journals.iter().try_for_each(check)
}

#[test]
fn failures_show_what_differs_and_where() -> Result {
    let journal = RecordedJournal::read(Path::new(JOURNALS).join("v6-waiting.json"))?;
    let failure = journal
        .replay(&endpoint(Change::SwappedSteps)?)
        .unwrap_err();
    let text = failure.to_string();
    for part in [
        "of Journey/ada/run (suspended, protocol v6)",
        "570",
        "`lock`",
        "\n        0 → input \"Ada\"",
        "\n  ✗     6 → run `pack`",
        "\n        7 ← run `pack`: 1",
        "entries",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    Ok(())
}

#[tokio::test]
async fn what_has_no_journal_is_not_exported_and_restarts_replay() -> Result {
    in_time(exceptions()).await
}

async fn exceptions() -> Result {
    let server = RestateServer::builder().start().await?;
    let _served = server.serve(endpoint(Change::Nothing)?).await?;
    let (ingress, admin) = (server.ingress(), AdminClient::new(server.admin_url()));

    let nobody = "inv_115oNPF1D1aq0OKbfpqDzDDTgV3Vi3MwgT";
    let error = admin.export_journal(nobody).await.unwrap_err();
    assert!(
        matches!(error, ExportError::NoSuchInvocation { .. }),
        "{error}"
    );
    let later = ingress.service("Guide", "advise").json("later");
    let later = later.send_after(Duration::from_secs(600)).await?;
    let error = admin
        .export_journal(&later.invocation_id)
        .await
        .unwrap_err();
    assert!(matches!(error, ExportError::NoJournal { .. }), "{error}");
    let unheard = AdminClient::new("http://127.0.0.1:1");
    let error = unheard.export_journal(nobody).await.unwrap_err();
    assert!(matches!(error, ExportError::Admin(_)), "{error}");

    let first = ingress.send("Guide", "guess", &()).await?;
    assert_eq!(ingress.attach::<u64>(&first.invocation_id).await?, 3);
    // It draws numbers of its own.
    let second = server.restart_as_new(&first.invocation_id, 0).await?;
    assert_eq!(ingress.attach::<u64>(&second).await?, 3);
    for id in [&first.invocation_id, &second] {
        let journal = admin.export_journal(id).await?;
        assert!(journal.replay(&endpoint(Change::Nothing)?)?.ended());
    }
    Ok(())
}
