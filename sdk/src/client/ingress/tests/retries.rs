//! When it tries again, under a paused clock.

use std::{io::ErrorKind, time::Duration};

use tokio::time::Instant;

use super::super::{IngressClient, IngressError, IngressRequest};
use super::{Answer, ID, Script, greet, outputs, refuses, says};
use crate::RetryPolicy;

const SECOND: Duration = Duration::from_secs(1);

fn all(client: &IngressClient) -> IngressRequest<&'static str, String> {
    greet(client)
}

fn keyed(client: &IngressClient) -> IngressRequest<&'static str, String> {
    greet(client).idempotency_key("k")
}

fn repeatable(client: &IngressClient) -> IngressRequest<&'static str, String> {
    greet(client).repeatable()
}

/// Whether a request is made again after this answer.
async fn again(
    answer: &Answer,
    request: fn(&IngressClient) -> IngressRequest<&'static str, String>,
) -> bool {
    let script = Script::new([answer.clone(), outputs("\"hi\"")]);
    let outcome = request(&script.client()).call().await;
    assert_eq!(outcome.is_ok(), script.count() == 2, "{outcome:?}");
    assert!((1..=2).contains(&script.count()));
    for seen in script.seen() {
        let line = "POST http://ingress:8080/restate/call/Greeter/greet";
        assert_eq!((seen.line().as_str(), seen.body()), (line, "\"Ada\""));
    }
    outcome.is_ok()
}

#[tokio::test(start_paused = true)]
async fn only_what_is_safe_is_tried_again() {
    let body = r#"{"code":503,"message":"x"}"#;
    // Whether requests without a key are tried again, and those with one.
    let table = [
        (Answer::Breaks(ErrorKind::ConnectionRefused), true, true),
        (Answer::Breaks(ErrorKind::ConnectionReset), false, true),
        (Answer::Breaks(ErrorKind::UnexpectedEof), false, true),
        (refuses(429), true, true),
        (refuses(500), false, true),
        (refuses(503), false, true),
        (refuses(400), false, false),
        (refuses(404), false, false),
        (refuses(409), false, false),
        (refuses(470), false, false),
        // A proxy's.
        (says(429, &[], "slow down"), false, true),
        (says(502, &[], "bad gateway"), false, true),
        (says(503, &[], body), false, true),
        (says(504, &[], "too late"), false, true),
        (says(500, &[], "broken"), false, false),
        (says(302, &[("location", "/")], ""), false, false),
        // The handler's.
        (
            says(503, &[("x-restate-error-source", "invocation")], body),
            false,
            false,
        ),
        (
            says(429, &[("x-restate-error-source", "invocation")], body),
            false,
            false,
        ),
        (says(503, &[("x-restate-id", ID)], body), false, false),
    ];
    for (answer, without, with) in table {
        assert_eq!(again(&answer, all).await, without, "{answer:?}");
        assert_eq!(again(&answer, keyed).await, with, "{answer:?}, with a key");
        assert_eq!(
            again(&answer, repeatable).await,
            with,
            "{answer:?}, repeatable"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn reads_and_completions_are_tried_again() {
    let broken = Answer::Breaks(ErrorKind::ConnectionReset);
    let script = Script::new([broken.clone(), outputs("1")]);
    let client = script.client();
    assert_eq!(client.invocation(ID).attach::<u32>().await.unwrap(), 1);
    let script = Script::new([broken.clone(), outputs("1")]);
    let workflow = script.client().workflow_invocation("Signup", "ada");
    assert_eq!(workflow.output::<u32>().await.unwrap(), Some(1));
    let script = Script::new([broken.clone(), says(202, &[], "")]);
    script
        .client()
        .resolve_awakeable("sign_1a", &1)
        .await
        .unwrap();
    let script = Script::new([broken, says(202, &[], "")]);
    script
        .client()
        .reject_awakeable("sign_1a", "no")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_header_is_a_key_too() {
    let script = Script::new([
        Answer::Breaks(ErrorKind::ConnectionReset),
        outputs("\"hi\""),
    ]);
    let request = greet(&script.client()).header("Idempotency-Key", "k");
    request.call().await.unwrap();
    assert_eq!(script.seen()[1].header("idempotency-key"), Some("k"));
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_tries_run_out() {
    let script = Script::new([refuses(503)]);
    let policy = RetryPolicy::exponential(SECOND, 2.0)
        .max_delay(4 * SECOND)
        .max_attempts(5);
    let client = script.builder().retry(policy).build().unwrap();
    let error = keyed(&client).call().await.unwrap_err();
    assert_eq!(error.status(), Some(503));
    let pauses = script.pauses();
    assert_eq!(pauses.len(), 4);
    for (pause, most) in pauses.iter().zip([1, 2, 4, 4]) {
        let most = f64::from(most);
        let range = most / 2.0..=most + 0.01;
        assert!(range.contains(&pause.as_secs_f64()), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_it_outlasts_a_restart() {
    let script = Script::new([Answer::Breaks(ErrorKind::ConnectionRefused)]);
    let started = Instant::now();
    greet(&script.client()).call().await.unwrap_err();
    assert_eq!(script.count(), 10);
    let spent = started.elapsed();
    assert!((10 * SECOND..30 * SECOND).contains(&spent), "{spent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_have_its_own_policy() {
    let script = Script::new([refuses(503)]);
    let once = RetryPolicy::fixed(Duration::ZERO).max_attempts(1);
    keyed(&script.client())
        .retry(once.clone())
        .call()
        .await
        .unwrap_err();
    assert_eq!(script.count(), 1);
    let client = script.builder().retry(once).build().unwrap();
    let thrice = RetryPolicy::fixed(SECOND).max_attempts(3);
    keyed(&client).retry(thrice).call().await.unwrap_err();
    assert_eq!(script.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_server_says_how_long_to_wait() {
    let asks = |seconds: &str| says(503, &[("retry-after", seconds)], "later");
    let script = Script::new([asks("30"), outputs("\"hi\"")]);
    keyed(&script.client()).call().await.unwrap();
    let pause = script.pauses()[0];
    assert!((30 * SECOND..31 * SECOND).contains(&pause), "{pause:?}");

    // Longer than anybody would expect of a call: that is the caller's decision.
    let script = Script::new([asks("61"), outputs("\"hi\"")]);
    let error = keyed(&script.client()).call().await.unwrap_err();
    assert_eq!(error.retry_after(), Some(61 * SECOND));
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_request_covers_its_tries() {
    let hangs = [Answer::Breaks(ErrorKind::ConnectionReset), Answer::Hangs];
    let script = Script::new(hangs);
    let client = script.builder().timeout(10 * SECOND).build().unwrap();
    let started = Instant::now();
    let error = keyed(&client).call().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let text = "POST /restate/call/Greeter/greet got no answer within 10s";
    assert_eq!(error.to_string(), text);
    let spent = started.elapsed();
    assert!((10 * SECOND..11 * SECOND).contains(&spent), "{spent:?}");
    assert_eq!(script.count(), 2);

    let script = Script::new([Answer::Hangs]);
    let client = script.builder().timeout(10 * SECOND).build().unwrap();
    let started = Instant::now();
    let error = client
        .invocation(ID)
        .timeout(2 * SECOND)
        .attach::<u32>()
        .await;
    assert!(matches!(error, Err(IngressError::Timeout { timeout, .. }) if timeout == 2 * SECOND));
    assert!(started.elapsed() < 3 * SECOND);
    let sent = greet(&client).timeout(SECOND).send().await;
    assert!(sent.is_err_and(|error| error.is_timeout()));
}

#[tokio::test(start_paused = true)]
async fn a_pause_beyond_the_time_is_not_begun() {
    let script = Script::new([says(503, &[("retry-after", "20")], "later")]);
    let request = keyed(&script.client()).timeout(10 * SECOND);
    let started = Instant::now();
    let error = request.call().await.unwrap_err();
    // What went wrong, at once, rather than that the time was over.
    assert_eq!(error.status(), Some(503));
    assert!(started.elapsed() < SECOND);

    // Nor is one that no clock can say.
    let script = Script::new([refuses(503)]);
    let endless = RetryPolicy::fixed(Duration::MAX);
    let request = keyed(&script.client()).timeout(10 * SECOND).retry(endless);
    let error = request.call().await.unwrap_err();
    assert_eq!(error.status(), Some(503));
}

#[tokio::test(start_paused = true)]
async fn no_time_is_set_by_default() {
    let script = Script::new([Answer::Hangs]);
    let request = greet(&script.client()).call();
    let year = 365 * 86_400 * SECOND;
    assert!(tokio::time::timeout(year, request).await.is_err());
    let endless = greet(&script.client()).timeout(Duration::MAX).call();
    assert!(tokio::time::timeout(year, endless).await.is_err());
}
