//! The life of invocations, each step seen through SQL.

use durably::{
    Endpoint,
    admin::{
        AdminClient, AdminError, At, Invocation, InvocationFilter, InvocationStatus as Status,
    },
    prelude::*,
    test_server::RestateServer,
};
use serde::Deserialize;

use crate::{Result, eventually, in_time, refused};

struct Patient;

#[durably::object]
impl Patient {
    #[handler]
    async fn wait(&self, ctx: &ObjectContext) -> HandlerResult<u64> {
        ctx.set("waits", &true);
        Ok(ctx.signal("never").await?)
    }

    #[handler]
    async fn add(&self, ctx: &ObjectContext, n: u64) -> HandlerResult<u64> {
        let first = ctx
            .run("first", async || Ok::<_, std::io::Error>(n))
            .await?;
        Ok(first + 1)
    }

    #[handler]
    async fn fail(&self, _ctx: &ObjectContext) -> HandlerResult<()> {
        Err(std::io::Error::other("out of order"))?
    }
}

async fn reaches(admin: &AdminClient, id: &str, status: Status) -> Result<Invocation> {
    eventually(&format!("{id} is {status}"), async || {
        let found = admin.invocation(id).await?;
        Ok(found.filter(|found| found.status == status))
    })
    .await
}

#[tokio::test]
async fn invocations_are_found_and_told_what_to_do() -> Result {
    in_time(lives()).await
}

async fn lives() -> Result {
    let server = RestateServer::builder().start().await?;
    let (admin, ingress) = (server.admin(), server.ingress());
    let served = server
        .serve(Endpoint::builder().bind(Patient).build()?)
        .await?;
    let send = async |key: &str, handler: &str| -> Result<String> {
        let sent = ingress.send_object("Patient", key, handler, &()).await?;
        Ok(sent.invocation_id)
    };

    // Pause and resume.
    let waits = send("it's", "wait").await?;
    let found = reaches(&admin, &waits, Status::Running).await?;
    assert_eq!(
        (&*found.service, found.key.as_deref(), &*found.handler),
        ("Patient", Some("it's"), "wait")
    );
    assert_eq!(found.invoked_by.as_deref(), Some("ingress"));
    admin.pause(&waits).await?;
    reaches(&admin, &waits, Status::Paused).await?;
    admin.resume(&waits).await?;
    reaches(&admin, &waits, Status::Running).await?;
    admin.pause(&waits).await?;
    reaches(&admin, &waits, Status::Paused).await?;
    let at = At::Deployment(served.deployment().id.clone());
    admin.resume_at(&waits, &at).await?;
    reaches(&admin, &waits, Status::Running).await?;
    admin.pause(&waits).await?;
    reaches(&admin, &waits, Status::Paused).await?;
    let nowhere = At::Deployment("dp_14eQjXveV7okOhpdaTpQ8o1".to_owned());
    assert!(
        admin
            .resume_at(&waits, &nowhere)
            .await
            .unwrap_err()
            .status()
            .is_some()
    );
    admin.resume_at(&waits, &At::Latest).await?;
    reaches(&admin, &waits, Status::Running).await?;

    // Filters.
    let behind = send("it's", "wait").await?;
    reaches(&admin, &behind, Status::Pending).await?;
    let other = send("other", "wait").await?;
    reaches(&admin, &other, Status::Running).await?;
    let find = async |filter: InvocationFilter| -> Result<Vec<String>, AdminError> {
        let found = admin.invocations(&filter).await?;
        Ok(found.into_iter().map(|one| one.id).collect())
    };
    let all = InvocationFilter::default;
    assert_eq!(find(all()).await?, [&*waits, &behind, &other]);
    assert_eq!(find(all().key("it's")).await?, [&*waits, &behind]);
    assert_eq!(
        find(all().service("Patient").status(Status::Running)).await?,
        [&*waits, &other]
    );
    let either = all().status(Status::Running).status(Status::Pending);
    assert_eq!(find(either.clone()).await?.len(), 3);
    assert_eq!(find(either.limit(1)).await?, [&*waits]);
    assert_eq!(
        find(all().matching("target_service_key LIKE 'o%'")).await?,
        [&*other]
    );
    assert_eq!(find(all().handler("add")).await?, [""; 0]);
    refused(
        &find(all().matching("no SQL")).await.unwrap_err(),
        400,
        None,
    );

    // Cancel and kill.
    admin.cancel(&waits).await?;
    let ended = reaches(&admin, &waits, Status::Completed).await?;
    assert_eq!(ended.completion_result.as_deref(), Some("failure"));
    assert!(
        ended
            .completion_failure
            .is_some_and(|failure| failure.contains("409"))
    );
    admin.kill(&behind).await?;
    reaches(&admin, &behind, Status::Completed).await?;
    admin.kill(&other).await?;
    reaches(&admin, &other, Status::Completed).await?;
    for refusal in [
        admin.cancel(&waits).await,
        admin.kill(&waits).await,
        admin.pause(&waits).await,
    ] {
        assert!(matches!(refusal.unwrap_err().status(), Some(404 | 409)));
    }

    // Failures are shown, and are resumed before their time.
    let fails = send("fails", "fail").await?;
    let failed = eventually("a failure", async || {
        let found = admin.invocation(&fails).await?;
        Ok(found.filter(|found| found.last_failure.is_some()))
    });
    assert!(
        failed
            .await?
            .last_failure
            .is_some_and(|failure| failure.contains("out of order"))
    );
    // At this very moment it may be attempted again.
    eventually("it is resumed", async || {
        Ok(admin.resume(&fails).await.ok())
    })
    .await?;
    admin.kill(&fails).await?;

    // Restart and purge.
    let added = ingress
        .object("Patient", "adds", "add")
        .json(&1)
        .send()
        .await?;
    assert_eq!(ingress.attach::<u64>(&added.invocation_id).await?, 2);
    let ended = reaches(&admin, &added.invocation_id, Status::Completed).await?;
    assert_eq!(
        ended.pinned_deployment_id.as_deref(),
        Some(&*served.deployment().id)
    );
    assert_eq!(
        (ended.completion_result.as_deref(), ended.journal_size),
        (Some("success"), Some(4))
    );
    let again = admin.restart_as_new(&added.invocation_id, 2).await?;
    assert_ne!(again, added.invocation_id);
    assert_eq!(ingress.attach::<u64>(&again).await?, 2);
    let journal = format!("SELECT index FROM sys_journal WHERE id = '{again}'");
    #[derive(Deserialize)]
    struct Entry {
        index: u32,
    }
    let entries: Vec<Entry> = admin.query(&journal).await?;
    assert_eq!(entries.iter().map(|entry| entry.index).max(), Some(3));
    admin.purge_journal(&again).await?;
    eventually("the journal is gone", async || {
        let left: Vec<Entry> = admin.query(&journal).await?;
        Ok(left.is_empty().then_some(()))
    })
    .await?;
    assert!(admin.invocation(&again).await?.is_some());
    admin.purge(&again).await?;
    eventually("it is forgotten", async || {
        Ok(admin.invocation(&again).await?.is_none().then_some(()))
    })
    .await?;
    refused(&admin.purge(&again).await.unwrap_err(), 404, None);
    refused(&admin.cancel("nonsense").await.unwrap_err(), 400, None);
    Ok(())
}

#[tokio::test]
async fn rows_that_are_of_another_type_are_undecodable() -> Result {
    let server = RestateServer::builder().start().await?;
    let rows: Vec<(u64,)> = Vec::new();
    let none = server
        .admin()
        .query::<(u64,)>("SELECT id FROM sys_invocation")
        .await?;
    assert_eq!(none, rows);
    let error = server
        .admin()
        .query::<u64>("SELECT 1 AS one")
        .await
        .unwrap_err();
    assert!(matches!(error, AdminError::Undecodable { .. }), "{error}");
    Ok(())
}
