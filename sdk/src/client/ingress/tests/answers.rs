//! What is made of answers.

use std::{error::Error as _, io};

use super::super::IngressError;
use super::{Answer, ID, Script, greet, outputs, refuses, says};
use crate::{HandlerError, Raw, Target, TerminalError};

const INVOCATION: (&str, &str) = ("x-restate-error-source", "invocation");

async fn fails(answer: Answer) -> IngressError {
    let script = Script::new([answer]);
    let error = greet(&script.client()).call().await.unwrap_err();
    assert_eq!(script.count(), 1, "tried again after {error}");
    error
}

#[tokio::test]
async fn terminal_errors_come_back_whole() {
    let body =
        r#"{"code":402,"message":"declined","metadata":{"b":"2","a":"1"},"source":"invocation"}"#;
    let error = fails(says(402, &[INVOCATION, ("x-restate-id", ID)], body)).await;
    let expected = TerminalError::new("declined")
        .with_code(402)
        .with_metadata("a", "1")
        .with_metadata("b", "2");
    assert_eq!(error.as_terminal(), Some(&expected));
    assert_eq!(error.invocation_id(), Some(ID));
    assert_eq!(error.status(), Some(402));
    assert_eq!(error.message(), Some("declined"));
    assert_eq!(error.metadata().len(), 2);
    assert_eq!(
        error.to_string(),
        "POST /restate/call/Greeter/greet failed with code 402: declined"
    );
    assert!(error.source().is_some());
    // In a handler it ends the invocation like the failure of a call.
    assert!(HandlerError::from(error).is_terminal());
}

#[tokio::test]
async fn terminal_errors_may_have_any_code() {
    for code in [429, 470, 500, 503] {
        let body = format!(r#"{{"code":{code},"message":"mine"}}"#);
        let error = fails(says(code, &[INVOCATION], &body)).await;
        assert_eq!(error.as_terminal().unwrap().code(), code);
    }
    // No HTTP status: the body knows better.
    let error = fails(says(
        500,
        &[INVOCATION],
        r#"{"code":1234,"message":"mine"}"#,
    ))
    .await;
    assert_eq!(error.as_terminal().unwrap().code(), 1234);
}

#[tokio::test]
async fn servers_that_do_not_say_who_failed_name_the_invocation() {
    let body = r#"{"code":503,"message":"mine"}"#;
    let error = fails(says(503, &[("x-restate-id", ID)], body)).await;
    assert_eq!(error.as_terminal().unwrap().code(), 503);
}

#[tokio::test]
async fn refusals_are_no_terminal_errors() {
    for status in [400, 404, 405, 409, 413, 470] {
        let error = fails(refuses(status)).await;
        assert!(error.as_terminal().is_none());
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.message(), Some("not now"));
        assert!(!HandlerError::from(error).is_terminal());
    }
}

#[tokio::test]
async fn what_is_no_json_is_repeated_in_part() {
    let page = format!("<html>{}", "é".repeat(500));
    let error = fails(says(404, &[], &page)).await;
    let message = error.message().unwrap();
    assert!(message.starts_with("<html>éé"));
    assert_eq!(message.chars().count(), 200);
    let error = fails(says(301, &[("location", "/elsewhere")], "")).await;
    assert_eq!(error.status(), Some(301));
    assert_eq!(error.message(), Some("Moved Permanently"));
}

#[tokio::test]
async fn outputs_are_decoded_or_an_error() {
    let error = fails(outputs("17")).await;
    assert!(matches!(error, IngressError::Decode { .. }), "{error:?}");
    let text = "POST /restate/call/Greeter/greet gave what cannot be decoded: invalid type: integer `17`, \
                expected a string at line 1 column 2";
    assert_eq!(error.to_string(), text);
    let error = fails(outputs("")).await;
    assert!(matches!(error, IngressError::Decode { .. }), "{error:?}");

    let script = Script::new([outputs("{}"), outputs("secret"), outputs("secret")]);
    let client = script.client();
    let error = greet(&client).send().await.unwrap_err();
    assert!(matches!(error, IngressError::Decode { .. }), "{error:?}");
    assert!(
        error.to_string().contains("missing field `invocationId`"),
        "{error}"
    );
    let request = client.request::<_, Raw>(Target::service("A", "b"), ());
    let response = request.call_with_response().await.unwrap();
    assert_eq!(response.output, Raw::from("secret"));
    assert_eq!(response.invocation_id().unwrap().as_str(), ID);
    let error = client.invocation(ID).attach::<u32>().await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn what_is_not_ready_is_none() {
    let script = Script::new([refuses(470), outputs("null"), refuses(404)]);
    let invocation = script.client().invocation(ID);
    assert_eq!(invocation.output::<Option<u32>>().await.unwrap(), None);
    assert_eq!(
        invocation.output::<Option<u32>>().await.unwrap(),
        Some(None)
    );
    let error = invocation.output::<Option<u32>>().await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    // A handler's own 470 is its failure.
    let script = Script::new([says(470, &[INVOCATION], r#"{"message":"mine"}"#)]);
    let error = script
        .client()
        .invocation(ID)
        .output::<u32>()
        .await
        .unwrap_err();
    assert_eq!(error.as_terminal().unwrap().code(), 470);
}

#[tokio::test]
async fn broken_connections_say_what_broke() {
    let error = fails(Answer::Breaks(io::ErrorKind::ConnectionReset)).await;
    assert!(matches!(error, IngressError::Transport { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "POST /restate/call/Greeter/greet got no answer: connection reset"
    );
    assert_eq!((error.status(), error.message()), (None, None));
}

#[tokio::test]
async fn nothing_to_attach_to_is_no_terminal_error() {
    let not_found = says(
        404,
        &[INVOCATION, ("x-restate-id", ID)],
        r#"{"code":404,"message":"not found"}"#,
    );
    let script = Script::new([not_found.clone(), refuses(404)]);
    let error = script
        .client()
        .invocation(ID)
        .attach::<u32>()
        .await
        .unwrap_err();
    assert_eq!((error.status(), error.as_terminal()), (Some(404), None));
    assert!(
        script.seen()[1]
            .line()
            .starts_with("GET http://ingress:8080/restate/output/")
    );

    // A handler may say the same.
    let script = Script::new([not_found]);
    let error = script
        .client()
        .invocation(ID)
        .attach::<u32>()
        .await
        .unwrap_err();
    assert!(error.as_terminal().is_some());
}
