//! Journals: the same entries in the same order.

use serde_json::json;

use crate::On;
use crate::program::Step;
use crate::table::Suite;
use crate::world::Ask;

pub(crate) fn scenarios(suite: &mut Suite<On>) {
    suite.scenario("the_journal_of_a_service", async |w| {
        let steps = [
            Step::Sleep(1),
            Step::Run {
                name: "step".into(),
                failures: 0,
                attempts: None,
            },
            Step::Call(w.wanted(Ask::to("Free", "double").json(4))),
            Step::Send(w.wanted(Ask::to("Free", "nothing")), 0),
            Step::Resolve(
                "sign_1NMyOAvDK2CcBjUH4Rmb7eGBp0DNNDnmsAAAAEQ".into(),
                json!(1),
            ),
        ];
        let id = w.start(w.free(steps)).await;
        w.see("result", w.attach(&id).await.is_ok());
        w.see("journal", w.journal(&id).await);
    });

    suite.scenario("the_journal_of_an_object", async |w| {
        let set = Step::Set("n".into(), json!(1));
        let steps = [
            set,
            Step::Get("n".into()),
            Step::Keys,
            Step::Clear("n".into()),
            Step::ClearAll,
            Step::Awakeable(w.key("wait")),
        ];
        let id = w.start(w.object("a", steps)).await;
        let awakeable = w.noted("wait").await;
        // The note is there before the commands are.
        w.until_journal(&id, "ClearAllState").await;
        w.see("resolve", w.resolve(&awakeable, json!(1)).await);
        w.see("result", w.attach(&id).await);
        w.see("journal", w.journal(&id).await);
    });

    suite.scenario("the_journal_of_a_workflow", async |w| {
        let steps = [
            Step::Peek("p".into()),
            Step::ResolvePromise("p".into(), json!(1)),
            Step::Promise("p".into()),
            Step::Fail(418, "no".into(), Vec::new()),
        ];
        let id = w.start(w.workflow("a", steps)).await;
        w.see("result", w.attach(&id).await);
        w.see("journal", w.journal(&id).await);
        let steps = [Step::OutputWorkflow("Flow".into(), w.key("a"))];
        let id = w
            .start(w.free([Step::Try(Box::new(steps[0].clone()))]))
            .await;
        w.see("result", w.attach(&id).await);
        w.see("journal", w.journal(&id).await);
    });

    suite.scenario("the_journal_of_a_cancelled_one", async |w| {
        let child = w.free([Step::Note(w.key("child")), Step::Sleep(3_600_000)]);
        let id = w
            .start(w.free([Step::Try(Box::new(Step::Call(w.wanted(child))))]))
            .await;
        w.noted("child").await;
        w.until_journal(&id, "← CallInvocationId").await;
        w.see("cancel", w.cancel(&id).await);
        w.see("result", w.attach(&id).await);
        w.see("journal", w.journal(&id).await);
    });
}
