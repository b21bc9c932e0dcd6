//! A function of AWS Lambda in a process of its own, against an emulation of Lambda on loopback: event by
//! event, and at the end with a real server that invokes it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod emulation;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../hostile/wire.rs"]
mod wire;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use durably::{Endpoint, prelude::*, test_server::RestateServer};
use serde_json::{Value, json};

use emulation::Lambda;

/// The name of the function.
const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:handlers:1";

const V6: &str = "application/vnd.restate.invocation.v6";

const MIB: usize = 1024 * 1024;

struct Greeter;

#[durably::service]
impl Greeter {
    #[handler]
    async fn greet(&self, _ctx: &Context, name: String) -> HandlerResult<String> {
        Ok(format!("Hello, {name}!"))
    }

    /// Two steps and a nap between them.
    #[handler]
    async fn journey(&self, ctx: &Context, name: String) -> HandlerResult<String> {
        let there = ctx
            .run("there", async || {
                Ok::<_, HandlerError>(format!("{name} went"))
            })
            .await?;
        ctx.sleep(Duration::from_millis(300)).await?;
        let back = ctx
            .run("back", async || {
                Ok::<_, HandlerError>("came back".to_owned())
            })
            .await?;
        Ok(format!("{there} and {back}"))
    }

    #[handler]
    async fn fail(&self, _ctx: &Context, terminal: bool) -> HandlerResult<()> {
        if terminal {
            return Err(TerminalError::new("never again").with_code(418).into());
        }
        Err(HandlerError::from(std::io::Error::other("not today")))
    }

    #[handler]
    async fn panics(&self, _ctx: &Context) -> HandlerResult<()> {
        panic!("at the disco")
    }

    /// So many letters, of which a computer makes little or nothing shorter.
    #[handler]
    async fn letters(&self, _ctx: &Context, (count, dull): (usize, bool)) -> HandlerResult<String> {
        let mut state = 1_u64;
        Ok((0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let letter = if dull { 0 } else { (state >> 58) as u8 };
                char::from(b'0' + letter)
            })
            .filter(|letter| *letter != '\\')
            .collect())
    }
}

fn endpoint() -> Endpoint {
    Endpoint::builder().bind(Greeter).build().unwrap()
}

/// An event as the server writes it.
fn event(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let headers: Value = headers
        .iter()
        .map(|(name, value)| (*name, *value))
        .collect();
    json!({
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "body": STANDARD.encode(body),
        "isBase64Encoded": true,
    })
}

fn invocation(handler: &str, journal: &[u8]) -> Value {
    let path = format!("/invoke/Greeter/{handler}");
    event(
        "POST",
        &path,
        &[("content-type", V6), ("accept", V6)],
        journal,
    )
}

fn body(response: &Value) -> Vec<u8> {
    assert_eq!(response["isBase64Encoded"], true);
    STANDARD.decode(response["body"].as_str().unwrap()).unwrap()
}

/// The frames of the answer to an invocation.
async fn attempt(lambda: &Lambda, event: &Value) -> Vec<u8> {
    let response = lambda.invoke(event).await.unwrap();
    assert_eq!(response["statusCode"], 200, "{response}");
    assert_eq!(response["headers"]["content-type"], V6);
    body(&response)
}

/// Status and text of the answer to a request that is refused.
async fn refusal(lambda: &Lambda, event: &Value) -> (u64, String) {
    let response = lambda.invoke(event).await.unwrap();
    let text = String::from_utf8(body(&response)).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (response["statusCode"].as_u64().unwrap(), text)
}

fn types(messages: &[wire::Message]) -> Vec<u16> {
    messages.iter().map(|message| message.ty).collect()
}

#[test]
fn a_handler_ends_in_one_event() {
    emulation::test("a_handler_ends_in_one_event", async |lambda| {
        for name in ["Ada", "Grace"] {
            let journal = wire::journal(format!("\"{name}\""));
            let frames = attempt(&lambda, &invocation("greet", &journal)).await;
            assert_eq!(wire::output(&frames), format!("\"Hello, {name}!\""));
            assert_eq!(types(&wire::ended(&frames)), [wire::OUTPUT, wire::END]);
        }
    });
}

#[test]
fn each_wait_ends_the_event_and_the_next_one_replays() {
    emulation::test(
        "each_wait_ends_the_event_and_the_next_one_replays",
        async |lambda| {
            // The step is executed and proposed; its result can only come in the next event.
            let frames = attempt(&lambda, &invocation("journey", &wire::journal("\"Ada\""))).await;
            let messages = wire::ended(&frames);
            assert_eq!(
                types(&messages),
                [wire::RUN, wire::PROPOSE_RUN, wire::SUSPENSION]
            );
            let step = wire::message(wire::RUN, &messages[0].payload);

            // With the result it goes on to the nap.
            let stepped = [
                wire::start(3),
                wire::input("\"Ada\""),
                step,
                wire::value(wire::RUN_COMPLETION, 1, "\"Ada went\""),
            ];
            let frames = attempt(&lambda, &invocation("journey", &stepped.concat())).await;
            let messages = wire::ended(&frames);
            assert_eq!(types(&messages), [wire::SLEEP, wire::SUSPENSION]);
            let nap = wire::message(wire::SLEEP, &messages[0].payload);

            let [_, rest @ ..] = stepped;
            let rested = [
                &wire::start(5)[..],
                &rest.concat(),
                &nap,
                &wire::void(wire::SLEEP_COMPLETION, 2),
            ];
            let frames = attempt(&lambda, &invocation("journey", &rested.concat())).await;
            let messages = wire::ended(&frames);
            assert_eq!(
                types(&messages),
                [wire::RUN, wire::PROPOSE_RUN, wire::SUSPENSION]
            );
        },
    );
}

#[test]
fn failures_are_frames() {
    emulation::test("failures_are_frames", async |lambda| {
        let frames = attempt(&lambda, &invocation("fail", &wire::journal("false"))).await;
        let (code, message) = wire::error(&frames);
        assert_eq!(
            (code, message.contains("not today")),
            (500, true),
            "{message}"
        );
        let frames = attempt(&lambda, &invocation("fail", &wire::journal("true"))).await;
        let messages = wire::ended(&frames);
        assert_eq!(types(&messages), [wire::OUTPUT, wire::END]);
        assert!(String::from_utf8_lossy(&frames).contains("never again"));
        let frames = attempt(&lambda, &invocation("panics", &wire::journal(""))).await;
        assert!(wire::error(&frames).1.contains("at the disco"));

        // A journal that is cut off, and bytes that are none.
        let journal = wire::journal("\"Ada\"");
        let cut = attempt(&lambda, &invocation("greet", &journal[..journal.len() - 3])).await;
        assert_eq!(wire::error(&cut).0, 571);
        let noise = attempt(&lambda, &invocation("greet", b"What is this?")).await;
        assert_eq!(wire::error(&noise).0, 571);
        let nothing = attempt(&lambda, &invocation("greet", b"")).await;
        assert_eq!(wire::error(&nothing).0, 571);
    });
}

#[test]
fn what_is_no_request_of_a_server_is_refused() {
    emulation::test(
        "what_is_no_request_of_a_server_is_refused",
        async |lambda| {
            let mut bad_base64 = invocation("greet", b"");
            bad_base64["body"] = "?".into();
            let zstd = |body: &[u8]| {
                let mut event = invocation("greet", body);
                event["headers"]["Content-Encoding"] = "zstd".into();
                event
            };
            let json = [("content-type", "application/json")];
            for (event, status, what) in [
                (event("GET", "/nowhere", &[], b""), 404, "no such path"),
                (event("POST", "/discover", &[], b""), 404, "GET"),
                (
                    event("POST", "/invoke/Nobody/h", &json, b""),
                    404,
                    "`Nobody`",
                ),
                (
                    event("POST", "/invoke/Greeter/greet", &json, b""),
                    415,
                    "json",
                ),
                (bad_base64, 400, "not base64"),
                (zstd(b"no zstd at all"), 400, "zstd"),
                (zstd(&wire::journal("\"Ada\"")), 400, "zstd"),
            ] {
                let (got, text) = refusal(&lambda, &event).await;
                assert_eq!((got, text.contains(what)), (status, true), "{text}");
            }
            // What has no path at all is nothing that has an HTTP status.
            for event in [
                json!({ "detail-type": "Scheduled Event" }),
                json!("warm up"),
                json!(null),
            ] {
                let error = lambda.invoke(&event).await.unwrap_err();
                assert!(error["errorMessage"].is_string(), "{error}");
            }
            // And the function is still there.
            let frames = attempt(&lambda, &invocation("greet", &wire::journal("\"Ada\""))).await;
            assert_eq!(wire::output(&frames), "\"Hello, Ada!\"");
        },
    );
}

#[test]
fn the_manifest_says_how_it_is_served() {
    emulation::test("the_manifest_says_how_it_is_served", async |lambda| {
        for (version, compression) in [(2, Value::Null), (3, Value::Null), (4, "zstd".into())] {
            let accept = format!("application/vnd.restate.endpointmanifest.v{version}+json");
            let discover = event("GET", "/discover", &[("accept", &accept)], b"");
            let response = lambda.invoke(&discover).await.unwrap();
            assert_eq!(response["statusCode"], 200);
            assert_eq!(response["headers"]["content-type"], accept);
            let manifest: Value = serde_json::from_slice(&body(&response)).unwrap();
            assert_eq!(manifest["protocolMode"], "REQUEST_RESPONSE");
            assert_eq!(manifest["lambdaCompression"], compression);
        }
    });
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn large_bodies_are_compressed_both_ways() {
    emulation::test("large_bodies_are_compressed_both_ways", async |lambda| {
        // Larger than any payload, unless packed.
        let name = "Ada ".repeat(2 * MIB);
        let mut event = invocation("greet", &zstd(&wire::journal(format!("\"{name}\""))));
        event["headers"]["content-encoding"] = "zstd".into();
        event["headers"]["accept-encoding"] = "zstd".into();
        let response = lambda.invoke(&event).await.unwrap();
        assert_eq!(response["headers"]["content-encoding"], "zstd");
        let mut frames = Vec::new();
        let packed = body(&response);
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(&packed[..]).unwrap();
        std::io::Read::read_to_end(&mut decoder, &mut frames).unwrap();
        let [output, _] = &wire::ended(&frames)[..] else {
            panic!("more than an output");
        };
        let greeting = format!("\"Hello, {name}!\"");
        assert!(output.payload.ends_with(greeting.as_bytes()));

        // What is small is not worth it, and nobody gets what he did not ask for.
        let mut small = invocation("greet", &wire::journal("\"Ada\""));
        small["headers"]["accept-encoding"] = "zstd".into();
        let large = invocation("letters", &wire::journal(format!("[{}, true]", 2 * MIB)));
        for event in [small, large] {
            let response = lambda.invoke(&event).await.unwrap();
            assert!(response["headers"].get("content-encoding").is_none());
            let messages = wire::ended(&body(&response));
            assert_eq!(types(&messages), [wire::OUTPUT, wire::END]);
        }
    });
}

#[test]
fn a_response_that_does_not_fit_is_an_error_of_the_attempt() {
    emulation::test(
        "a_response_that_does_not_fit_is_an_error_of_the_attempt",
        async |lambda| {
            for (count, accept, what) in [
                (
                    7 * MIB,
                    "zstd",
                    "once compressed), and AWS Lambda passes at most 4715595",
                ),
                (5 * MIB, "identity", "did not ask for compression"),
            ] {
                let journal = wire::journal(format!("[{count}, false]"));
                let mut event = invocation("letters", &journal);
                event["headers"]["accept-encoding"] = accept.into();
                let (code, message) = wire::error(&attempt(&lambda, &event).await);
                assert_eq!(code, 500);
                assert!(message.contains("too large"), "{message}");
                assert!(message.contains(what), "{message}");
            }
        },
    );
}

#[test]
fn a_bomb_takes_no_more_memory_than_the_limit_allows() {
    emulation::test(
        "a_bomb_takes_no_more_memory_than_the_limit_allows",
        async |lambda| {
            // Blocks of one byte repeated: 128 KiB in four bytes, together 12 GiB in 400 KB.
            let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3];
            for _ in 0..100_000 {
                bomb.extend_from_slice(&((131_072_u32 << 3) | (1 << 1)).to_le_bytes()[..3]);
                bomb.push(0);
            }
            let mut event = invocation("greet", &bomb);
            event["headers"]["content-encoding"] = "zstd".into();
            let (status, text) = refusal(&lambda, &event).await;
            assert_eq!(status, 400);
            assert!(text.contains("larger than 67108864 bytes"), "{text}");
            let peak = lambda.peak_memory();
            // The limit is 64 MiB; a vector grows by doubling.
            assert!(peak < 256 * MIB, "{} MiB", peak / MIB);
        },
    );
}

#[test]
fn a_server_invokes_the_function() {
    emulation::test("a_server_invokes_the_function", async |lambda| {
        let server = RestateServer::builder()
            .env("AWS_ENDPOINT_URL", format!("http://{}", lambda.address))
            .env("AWS_ACCESS_KEY_ID", "nobody")
            .env("AWS_SECRET_ACCESS_KEY", "nothing")
            .env("AWS_REGION", "us-east-1")
            .disable_retries()
            .start()
            .await
            .unwrap();
        let deployment = server.register(ARN).await.unwrap();
        assert_eq!(deployment.services, ["Greeter"]);
        let ingress = server.ingress();
        let greeting: String = ingress.call("Greeter", "greet", "Ada").await.unwrap();
        assert_eq!(greeting, "Hello, Ada!");

        // Four attempts: each step and the nap end one.
        let before = lambda.invocations();
        let journey: String = ingress.call("Greeter", "journey", "Grace").await.unwrap();
        assert_eq!(journey, "Grace went and came back");
        assert_eq!(lambda.invocations() - before, 4);

        // Packed both ways: either is larger than what Lambda passes on.
        let name = "Ada ".repeat(2 * MIB);
        let greeting: String = ingress.call("Greeter", "greet", &name).await.unwrap();
        assert!(greeting == format!("Hello, {name}!"));

        let failure = ingress
            .call::<()>("Greeter", "fail", &true)
            .await
            .unwrap_err();
        assert!(failure.to_string().contains("never again"), "{failure}");
        let letters = ingress.call::<String>("Greeter", "letters", &(7 * MIB, false));
        let failure = letters.await.unwrap_err();
        assert!(failure.to_string().contains("too large"), "{failure}");
    });
}
