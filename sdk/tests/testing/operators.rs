//! Cancellation with children, kill, pause, and what has not begun.

use durably::{
    prelude::*,
    testing::{InvocationStatus, TestRuntime, object},
};

use crate::{endpoint, in_all_modes, secs};

struct Tree;

#[durably::object]
impl Tree {
    /// Calls the next, down to zero; the last one waits.
    #[handler]
    async fn grow(&self, ctx: &ObjectContext, depth: u32) -> HandlerResult<()> {
        let waited = if depth == 0 {
            let awakeable = ctx.awakeable::<()>();
            ctx.set("awakeable", awakeable.id());
            awakeable.await
        } else {
            let child = ctx.object_client::<TreeClient>(format!("{}.", ctx.key()));
            child.grow(depth - 1).await
        };
        if let Err(error) = waited {
            // Compensation works after a cancellation.
            ctx.sleep(secs(5)).await?;
            ctx.set("ended", &error.code());
            return Err(error.into());
        }
        Ok(())
    }
}

fn tree() -> Endpoint {
    endpoint(Tree)
}

#[test]
fn a_cancellation_reaches_the_children_and_lets_them_compensate() {
    in_all_modes(tree, |runtime| {
        let id = runtime.send(object::<TreeClient>("a").grow(2)).unwrap();
        runtime.settle();
        runtime.cancel(&id).unwrap();
        assert_eq!(runtime.attach::<()>(&id).unwrap_err().code(), 409);
        runtime.run_until_idle();
        for key in ["a", "a.", "a.."] {
            assert_eq!(
                runtime.state::<u16>("Tree", key, "ended"),
                Some(409),
                "{key}"
            );
        }
    });
}

#[test]
fn a_kill_ends_the_children_at_once() {
    in_all_modes(tree, |runtime| {
        let id = runtime.send(object::<TreeClient>("a").grow(2)).unwrap();
        runtime.settle();
        let behind = runtime.send(object::<TreeClient>("a").grow(0)).unwrap();
        runtime.kill(&id).unwrap();
        let error = runtime.attach::<()>(&id).unwrap_err();
        assert_eq!((error.code(), error.message()), (409, "killed"));
        for key in ["a", "a.", "a.."] {
            assert_eq!(runtime.state::<u16>("Tree", key, "ended"), None, "{key}");
        }
        runtime.settle();
        // Whoever waited has its turn.
        let awakeable = runtime.state::<String>("Tree", "a", "awakeable").unwrap();
        runtime.resolve_awakeable(&awakeable, &()).unwrap();
        assert_eq!(runtime.attach::<()>(&behind), Ok(()));
        let ended = runtime.invocations();
        assert_eq!(ended.len(), 4);
        assert!(
            ended[..3]
                .iter()
                .all(|one| one.status == InvocationStatus::Failed)
        );
    });
}

#[test]
fn an_awakeable_can_be_rejected_once() {
    in_all_modes(tree, |runtime| {
        let id = runtime.send(object::<TreeClient>("a").grow(1)).unwrap();
        runtime.settle();
        let awakeable = runtime.state::<String>("Tree", "a.", "awakeable").unwrap();
        let error = TerminalError::new("broken").with_code(410);
        runtime.reject_awakeable(&awakeable, &error).unwrap();
        runtime.resolve_awakeable(&awakeable, &()).unwrap();
        assert_eq!(runtime.attach::<()>(&id).unwrap_err(), error);
    });
    let mut runtime = TestRuntime::new(tree());
    let wrong = runtime.resolve_awakeable("sign_1nonsense", &());
    assert_eq!(wrong.unwrap_err().code(), 400);
}

#[test]
fn what_has_not_begun_is_cancelled_without_a_trace() {
    let mut runtime = TestRuntime::new(tree());
    let first = runtime.send(object::<TreeClient>("a").grow(0)).unwrap();
    let queued = runtime.send(object::<TreeClient>("a").grow(0)).unwrap();
    let later = runtime
        .send_after(object::<TreeClient>("a").grow(0), secs(60))
        .unwrap();
    runtime.settle();
    for id in [&queued, &later] {
        runtime.cancel(id).unwrap();
        assert_eq!(runtime.attach::<()>(id).unwrap_err().code(), 404);
        assert_eq!(runtime.status(id), InvocationStatus::Failed);
    }
    let awakeable = runtime.state::<String>("Tree", "a", "awakeable").unwrap();
    runtime.resolve_awakeable(&awakeable, &()).unwrap();
    assert_eq!(runtime.attach::<()>(&first), Ok(()));
    runtime.run_until_idle();
    assert_eq!(runtime.invocations()[2].attempts, 0);
}

#[test]
fn a_paused_invocation_waits_for_its_resumption_or_a_cancellation() {
    let mut runtime = TestRuntime::new(tree());
    let id = runtime.send(object::<TreeClient>("a").grow(0)).unwrap();
    // There is nothing to resume.
    runtime.resume(&id).unwrap();
    runtime.settle();
    runtime.pause(&id).unwrap();
    let awakeable = runtime.state::<String>("Tree", "a", "awakeable").unwrap();
    runtime.resolve_awakeable(&awakeable, &()).unwrap();
    runtime.run_until_idle();
    assert_eq!(runtime.status(&id), InvocationStatus::Paused);
    runtime.resume(&id).unwrap();
    assert_eq!(runtime.attach::<()>(&id), Ok(()));

    let id = runtime.send(object::<TreeClient>("a").grow(0)).unwrap();
    runtime.settle();
    runtime.pause(&id).unwrap();
    runtime.cancel(&id).unwrap();
    assert_eq!(runtime.attach::<()>(&id).unwrap_err().code(), 409);
}
