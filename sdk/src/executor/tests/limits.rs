//! Messages that are too large to be sent, and texts that are too long for an error.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;

use super::{
    driver::{MAX_OUTGOING, Outside},
    scenario::{Outcome, scenario},
    wire::set,
};
use crate::{Raw, RetryableError, Target, TerminalError, WorkflowContext};

fn large() -> Raw {
    Raw(vec![b'x'; MAX_OUTGOING].into())
}

/// Nothing of the command is sent, and whatever stands before it is.
#[test]
fn a_message_above_the_limit_fails_the_attempt_before_it_is_sent() {
    type Body = for<'a> fn(&'a WorkflowContext, Arc<Outside>) -> Outcome<'a>;
    macro_rules! body {
        ($ctx:ident => $body:expr) => {{
            fn body($ctx: &WorkflowContext, _: Arc<Outside>) -> Outcome<'_> {
                async move {
                    $ctx.set("before", &1);
                    $body
                }
                .boxed()
            }
            body as Body
        }};
    }
    let table: [(Body, &[&str], &str); 5] = [
        (
            body!(ctx => {
                ctx.set("k", &large());
                ctx.sleep(Duration::ZERO).await?;
                Ok(String::new())
            }),
            &[],
            "@2 SetState: a SetState",
        ),
        (
            body!(ctx => {
                ctx.request::<_, ()>(Target::service("S", "h"), large()).call().await?;
                Ok(String::new())
            }),
            &[],
            "@2 Call: a Call",
        ),
        (
            body!(ctx => {
                ctx.run("r", async || Ok::<_, TerminalError>(large())).await?;
                Ok(String::new())
            }),
            &["Run #1 `r`"],
            "@2 Run `r`: a ProposeRunCompletion",
        ),
        (
            body!(_ctx => Ok("x".repeat(MAX_OUTGOING))),
            &[],
            "@2 Output: a Output",
        ),
        (
            body!(_ctx => Err(TerminalError::new("x".repeat(MAX_OUTGOING)).into())),
            &[],
            "@2 Output: a Output",
        ),
    ];
    for (body, before, about) in table {
        let error = format!("Error 500 {about} message of 524…");
        let expected = [&["SetState before=1"], before, &[&*error]].concat();
        scenario(body).expect(expected).run();
    }
}

/// What was recorded was taken once; a lower limit since then is no reason to fail.
#[test]
fn a_recorded_command_may_be_above_the_limit() {
    let body: &'static str = "x".repeat(MAX_OUTGOING + 1).leak();
    scenario(|ctx, _| {
        async move {
            ctx.set("k", &Raw(vec![b'x'; MAX_OUTGOING + 1].into()));
            Ok(String::new())
        }
        .boxed()
    })
    .start(|start| start.known_entries = 2)
    .replay([set("k", body)])
    .expect(["Output ", "End"])
    .run();
}

#[test]
fn an_error_arrives_however_long_its_texts_are() {
    let mut text = "é".repeat(50_000);
    text.insert(0, 'x');
    scenario(move |_, _| {
        let error = RetryableError::new(text.clone());
        async move { Err(error.into()) }.boxed()
    })
    .expect(["Error 500 @0 Input: xéé…"])
    .run();
}
