//! Handles of other invocations: attach and output, by id, by idempotency key and by workflow key,
//! before and after the end; from handlers and over HTTP.

use durably::{Target, prelude::*};
use futures::future::join_all;

use crate::harness::{Result, effects, eventually, ms};
use crate::signals::WaiterClient;
use crate::suite::{ALL, Suite};
use crate::workflows::PilgrimageClient;

type Seen = Vec<(Option<Vec<u64>>, Option<Vec<u64>>)>;

pub(crate) struct Handles;

#[durably::service]
impl Handles {
    /// Starts an invocation that waits for an awakeable and a workflow that waits for a promise; looks at
    /// them by each handle, before and after they end.
    #[handler]
    async fn look(&self, ctx: &Context, note: String) -> HandlerResult<Seen> {
        let waiter = ctx.service_client::<WaiterClient>();
        let sent = waiter.awakeable(note.clone()).idempotency_key(&note).send();
        let sent = sent.await?;
        let by_id = ctx.invocation(sent.id())?;
        let by_key = ctx.idempotent_invocation(Target::service("Waiter", "awakeable"), &note);
        let flow = ctx.workflow_client::<PilgrimageClient>(&note);
        flow.run(1).send().await?;
        let by_workflow = ctx.workflow_invocation("Pilgrimage", &note);

        let mut before = vec![
            sent.output().await?,
            by_id.output().await?,
            by_key.output().await?,
            by_workflow.output().await?,
        ];
        // Somebody outside completes the awakeable, once all of these wait.
        let attached = durably::try_join!(
            sent.attach::<Vec<u64>>(),
            by_id.attach::<Vec<u64>>(),
            by_key.attach::<Vec<u64>>(),
            by_workflow.attach::<Vec<u64>>(),
            flow.let_on((0, 5)),
        )?;
        // The second looks come after the end.
        let after: Vec<Option<Vec<u64>>> = vec![
            sent.output().await?,
            by_id.output().await?,
            by_key.output().await?,
            by_workflow.output().await?,
        ];
        assert_eq!(attached.0, sent.attach::<Vec<u64>>().await?);
        assert_eq!(attached.1, by_id.attach::<Vec<u64>>().await?);
        assert_eq!(attached.2, by_key.attach::<Vec<u64>>().await?);
        assert_eq!(attached.3, by_workflow.attach::<Vec<u64>>().await?);
        Ok(before.drain(..).zip(after).collect())
    }

    /// Whom nobody knows.
    #[handler]
    async fn unknown(&self, ctx: &Context) -> HandlerResult<Vec<u16>> {
        let by_key = ctx.idempotent_invocation(Target::service("Waiter", "awakeable"), "nobody");
        let by_workflow = ctx.workflow_invocation("Pilgrimage", "nobody");
        let code = |result: Result<(), TerminalError>| result.err().map_or(0, |e| e.code());
        Ok(vec![
            code(by_key.attach::<()>().await),
            code(by_key.output::<()>().await.map(drop)),
            code(by_workflow.attach::<()>().await),
            code(by_workflow.output::<()>().await.map(drop)),
        ])
    }
}

pub(crate) fn cases(suite: &mut Suite) {
    suite.case(
        "handles_see_the_same_before_and_after_the_end",
        ALL,
        async |env| {
            let ingress = env.ingress();
            let note = &format!("handles {:?}", env.mode);
            let sent = ingress.send("Handles", "look", note).await?;
            let awakeable =
                eventually("the awakeable", async || Ok(effects(note).first().cloned()));
            let awakeable = awakeable.await?;
            // By now it attaches: the first looks are over.
            eventually("it attaches", async || {
                let mut journal = env.journal(&sent.invocation_id).await?;
                journal.retain(|entry| entry.kind == "Command: AttachInvocation");
                Ok((journal.len() == 4).then_some(()))
            })
            .await?;
            ingress.resolve_awakeable(&awakeable, &[1, 2]).await?;
            let seen: Seen = ingress.attach(&sent.invocation_id).await?;
            let (given, told) = (Some(vec![1, 2]), Some(vec![5]));
            assert_eq!(
                seen[..3],
                [(None, given.clone()), (None, given.clone()), (None, given)]
            );
            assert_eq!(seen[3], (None, told));
            Ok(())
        },
    );

    suite.case("handles_of_nobody_end_with_404", ALL, async |env| {
        let codes: Vec<u16> = env.ingress().call("Handles", "unknown", &()).await?;
        assert_eq!(codes, [404; 4]);
        Ok(())
    });

    suite.case(
        "one_request_over_http_is_one_invocation",
        ALL,
        async |env| {
            let ingress = env.ingress();
            let note = &format!("once {:?}", env.mode);
            let request = ingress
                .service("Waiter", "awakeable")
                .idempotency_key(note)
                .json(note);
            let first = request.clone().send().await?;
            let again = request.clone().send().await?;
            assert!(!first.already && again.already);
            assert_eq!(first.invocation_id, again.invocation_id);
            let id = &first.invocation_id;
            let output = ingress.output::<Vec<u64>>(id).await?;
            assert_eq!(output, None);
            let awakeable =
                eventually("the awakeable", async || Ok(effects(note).first().cloned()));
            let awakeable = awakeable.await?;
            // Several wait for it, each in its own way.
            let complete = async {
                tokio::time::sleep(ms(100)).await;
                ingress.resolve_awakeable(&awakeable, &[9]).await
            };
            let calls = (0..5).map(|_| request.clone().call::<Vec<u64>>());
            let (calls, attached, completed) =
                futures::join!(join_all(calls), ingress.attach::<Vec<u64>>(id), complete);
            completed?;
            for output in calls.into_iter().chain([attached]) {
                assert_eq!(output?, [9]);
            }
            assert_eq!(request.call::<Vec<u64>>().await?, [9]);
            assert_eq!(ingress.output::<Vec<u64>>(id).await?, Some(vec![9]));
            // Only those who say that it is the same are taken for it.
            let other = ingress
                .service("Waiter", "awakeable")
                .json(note)
                .send()
                .await?;
            assert_ne!(&other.invocation_id, id);
            env.admin().kill(&other.invocation_id).await?;
            Ok(())
        },
    );
}
