//! The process: its variables and its end.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use durably::test_server::ProcessUnderTest;
use serde_json::{Value, json};

use crate::suite::{DEFAULT, Mode, SERVER, Suite};
use crate::{LISTENS, PATIENCE, PROGRAM, eventually, ports};

const MANIFEST: &str = "application/vnd.restate.endpointmanifest.v4+json";

/// How long a process may take to its end once it is told to: it cuts off what is open after 8 seconds, and a
/// machine that is busy takes longer.
pub(crate) const END_LIMIT: Duration = Duration::from_secs(20);

/// The process with some variables, and the port it listens on.
async fn start(variables: &[(&str, &str)]) -> (ProcessUnderTest, u16) {
    let described = |[port]: [u16; 1]| {
        let process = ProcessUnderTest::builder(PROGRAM).env("PORT", port.to_string());
        let variables = variables.iter();
        variables.fold(process, |process, (name, value)| process.env(*name, *value))
    };
    let (process, [port]) = ports::start_on(described, LISTENS, PATIENCE).await;
    (process, port)
}

/// The status and body of the answer to a discovery over HTTP/1.1.
fn discover(port: u16) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET /discover HTTP/1.1\r\nhost: localhost\r\naccept: {MANIFEST}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

fn services(port: u16) -> Vec<String> {
    let (status, body) = discover(port);
    assert_eq!(status, 200, "{body}");
    let manifest: Value = serde_json::from_str(&body).unwrap();
    let services = manifest["services"].as_array().unwrap();
    services
        .iter()
        .map(|service| service["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn services_are_chosen_by_name(_: Mode) {
    for (chosen, due) in [
        ("*", 14),
        ("", 14),
        ("Counter,Proxy", 2),
        ("CancelTestRunner, Unknown", 1),
    ] {
        let (_process, port) = start(&[("SERVICES", chosen)]).await;
        assert_eq!(services(port).len(), due, "{chosen}");
    }
}

async fn requests_must_be_signed_if_there_is_a_key(_: Mode) {
    let key = "publickeyv1_w7YHemBctH5Ck2nQRQ47iBBqhNHy4FV7t2Usbye2A6f";
    for variable in ["E2E_REQUEST_SIGNING", "E2E_REQUEST_SIGNING_ENV"] {
        let keys = format!("{key},{key}");
        let (_process, port) = start(&[(variable, &keys)]).await;
        assert_eq!(discover(port).0, 401, "{variable}");
        let (_process, port) = start(&[(variable, "")]).await;
        assert_eq!(discover(port).0, 200, "{variable}");
    }
}

/// Two pairs of keys: the private one as PKCS #8, and the public one.
const PAIRS: [(&str, &str); 2] = [
    (
        "MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH",
        "publickeyv1_GmaDrppBC7P5ARKV8g3djiwP89vz1jLK23V2GBjuAEGB",
    ),
    (
        "MC4CAQAwBQYDK2VwBCIEIAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI",
        "publickeyv1_2KW2XRd9kwqet15Aha2oK3tYvd3nWbTFH1MBiRAv1BE1",
    ),
];

async fn a_server_that_signs_with_either_key_is_served(mode: Mode) {
    let [(private, public), (_, other)] = PAIRS;
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("key.pem");
    let text = format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&pem, text).unwrap();
    let server = mode
        .server()
        .env("RESTATE_REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE", pem)
        .start()
        .await
        .unwrap();
    // The log names the key that is to be configured, as our own log tells people to look there.
    eventually("the server's log names the key", async || {
        server.log().contains(public)
    })
    .await;

    for (variable, keys) in [
        ("E2E_REQUEST_SIGNING", format!("{other},{public}")),
        ("E2E_REQUEST_SIGNING_ENV", format!("{public}, {other}")),
    ] {
        let (_process, port) = start(&[(variable, &keys)]).await;
        let uri = format!("http://127.0.0.1:{port}");
        let deployment = mode.register(&server, &uri).await.unwrap();
        assert_eq!(deployment.services.len(), 14, "{keys}");
        let ingress = server.ingress();
        let echo = json!("signed");
        let echoed: Value = ingress
            .call("TestUtilsService", "echo", &echo)
            .await
            .unwrap();
        assert_eq!(echoed, echo, "{keys}");
        // A key in the path is not part of what is signed.
        let added: Value = ingress
            .call_object("Counter", "a key/ü", "add", &1)
            .await
            .unwrap();
        assert_eq!(added["newValue"].as_i64().unwrap() - 1, added["oldValue"]);
        // Nobody else is.
        assert_eq!(discover(port).0, 401, "{keys}");
    }

    // With the other key alone, not even this server is, and the log says why.
    let (process, port) = start(&[("E2E_REQUEST_SIGNING", other)]).await;
    let uri = format!("http://127.0.0.1:{port}");
    let refused = mode.register(&server, &uri).await;
    assert!(refused.is_err(), "{refused:?}");
    process
        .wait_for_log("no configured key matches", PATIENCE)
        .await
        .unwrap();
}

async fn it_ends_when_told_to_and_starts_again_on_its_port(_: Mode) {
    let (process, port) = start(&[]).await;
    let open = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(discover(port).0, 200);
    let told = Instant::now();
    let ended = process.terminate().await.unwrap();
    // By itself: had it to be killed, there would be no status.
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    assert!(told.elapsed() < END_LIMIT);
    process.restart().unwrap();
    ports::serves_again(&process, LISTENS, PATIENCE).await;
    assert_eq!(discover(port).0, 200);
    drop(open);
}

pub(crate) fn cases(suite: &mut Suite) {
    let signed = requests_must_be_signed_if_there_is_a_key;
    let either = a_server_that_signs_with_either_key_is_served;
    let again = it_ends_when_told_to_and_starts_again_on_its_port;
    suite.alone(
        "services_are_chosen_by_name",
        DEFAULT,
        services_are_chosen_by_name,
    );
    suite.alone("requests_must_be_signed_if_there_is_a_key", DEFAULT, signed);
    suite.alone(
        "a_server_that_signs_with_either_key_is_served",
        SERVER,
        either,
    );
    suite.alone(
        "it_ends_when_told_to_and_starts_again_on_its_port",
        DEFAULT,
        again,
    );
}
