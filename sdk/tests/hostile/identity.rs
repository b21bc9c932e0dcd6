//! Request identity over HTTP: who is served, what the others are told, and what the log says.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use crate::rig::{Client, Server, Wild, invocation, read};
use crate::wire;

const PATH: &str = "/invoke/Plain/echo";
const SCHEME: &str = "x-restate-signature-scheme";
const TOKEN: &str = "x-restate-jwt-v1";

fn private(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> String {
    let key = private(seed).verifying_key().to_bytes();
    format!("publickeyv1_{}", bs58::encode(key).into_string())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Header and claims of a good token, with some claims replaced, or removed by `null`.
fn parts(audience: &str, changes: Value) -> (Value, Value) {
    let mut claims = json!({
        "aud": audience, "exp": now() + 600, "iat": now(), "nbf": now() - 600, "sub": "a key",
    });
    let all = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.remove(name),
            value => all.insert(name.clone(), value.clone()),
        };
    }
    (
        json!({ "alg": "EdDSA", "typ": "JWT", "kid": "any" }),
        claims,
    )
}

fn sign(head: &Value, claims: &Value, seed: u8) -> String {
    let signed = format!("{}.{}", part(head), part(claims));
    let signature = private(seed).sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn token(changes: Value, seed: u8) -> String {
    let (head, claims) = parts(PATH, changes);
    sign(&head, &claims, seed)
}

fn algorithm(name: &str) -> String {
    let (mut head, claims) = parts(PATH, json!({}));
    head["alg"] = json!(name);
    sign(&head, &claims, 1)
}

/// HMAC with SHA-256, keyed by the public key, as forgers of other libraries do it.
fn hmac_with_public_key() -> String {
    use sha2::{Digest as _, Sha256};
    let (mut head, claims) = parts(PATH, json!({}));
    head["alg"] = json!("HS256");
    let signed = format!("{}.{}", part(&head), part(&claims));
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        let key = private(1).verifying_key().to_bytes();
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(&signed)
        .finalize();
    let mac = Sha256::new()
        .chain_update(pad(0x5C))
        .chain_update(inner)
        .finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// What a request carries; what the log says of it, if it is refused.
struct Case {
    name: &'static str,
    headers: Vec<(&'static str, Vec<u8>)>,
    refused: Option<&'static str>,
}

fn case(name: &'static str, token: impl Into<Vec<u8>>, refused: Option<&'static str>) -> Case {
    let headers = vec![(SCHEME, b"v1".to_vec()), (TOKEN, token.into())];
    Case {
        name,
        headers,
        refused,
    }
}

fn cases() -> Vec<Case> {
    let good = || token(json!({}), 1);
    let refused = |name, token: String, reason| case(name, token, Some(reason));
    let mut cases = vec![
        case("the first key", good(), None),
        case("the second key", token(json!({}), 2), None),
        case(
            "several audiences",
            token(json!({ "aud": ["/x", PATH] }), 1),
            None,
        ),
        refused("a third key", token(json!({}), 3), "no configured key"),
        refused("expired", token(json!({ "exp": now() - 1 }), 1), "expired"),
        refused("expired long ago", token(json!({ "exp": 0 }), 1), "expired"),
        refused(
            "not yet valid",
            token(json!({ "nbf": now() + 600 }), 1),
            "not valid yet",
        ),
        refused(
            "another handler",
            token(json!({ "aud": "/invoke/Plain/hold" }), 1),
            "another path",
        ),
        refused(
            "discovery",
            token(json!({ "aud": "/discover" }), 1),
            "another path",
        ),
        refused(
            "a path with a prefix",
            token(json!({ "aud": "/a/invoke/Plain/echo" }), 1),
            "another path",
        ),
        refused(
            "no audience",
            token(json!({ "aud": null }), 1),
            "lacks the claim aud",
        ),
        refused(
            "no end",
            token(json!({ "exp": null }), 1),
            "lacks the claim exp",
        ),
        refused(
            "no issue",
            token(json!({ "iat": null }), 1),
            "lacks the claim iat",
        ),
        refused(
            "no beginning",
            token(json!({ "nbf": null }), 1),
            "lacks the claim nbf",
        ),
        refused(
            "an end in words",
            token(json!({ "exp": "tomorrow" }), 1),
            "claims cannot be read",
        ),
        refused(
            "HMAC with the public key",
            hmac_with_public_key(),
            "algorithm is not EdDSA",
        ),
        refused("RS256", algorithm("RS256"), "algorithm is not EdDSA"),
        refused(
            "none, but signed",
            algorithm("none"),
            "algorithm is not EdDSA",
        ),
        refused("lower case", algorithm("eddsa"), "algorithm is not EdDSA"),
    ];
    let unsigned = format!(
        "{}.{}.",
        part(&json!({ "alg": "none" })),
        part(&parts(PATH, json!({})).1)
    );
    cases.push(refused("none", unsigned, "algorithm is not EdDSA"));

    // Each part broken, left out, or there twice.
    let whole = good();
    let [head, claims, signature] = whole.split('.').collect::<Vec<_>>()[..] else {
        panic!("a token has three parts")
    };
    for (name, token, reason) in [
        ("nothing", String::new(), "parts cannot be read"),
        ("one part", head.to_owned(), "parts cannot be read"),
        (
            "two parts",
            format!("{head}.{claims}"),
            "parts cannot be read",
        ),
        ("dots", "..".to_owned(), "header cannot be read"),
        (
            "no header",
            format!(".{claims}.{signature}"),
            "header cannot be read",
        ),
        (
            "no claims",
            format!("{head}..{signature}"),
            "no configured key",
        ),
        (
            "no signature",
            format!("{head}.{claims}."),
            "signature cannot be read",
        ),
        (
            "four parts",
            format!("{whole}.{signature}"),
            "no configured key",
        ),
        (
            "half a signature",
            format!("{head}.{claims}.{}", &signature[..43]),
            "signature cannot be read",
        ),
        (
            "a padded signature",
            format!("{whole}=="),
            "signature cannot be read",
        ),
        (
            "an altered signature",
            format!("{head}.{claims}.A{}", &signature[1..]),
            "no configured key",
        ),
        (
            "altered claims",
            format!("{head}.{}.{signature}", part(&json!({ "aud": PATH }))),
            "no configured key",
        ),
        (
            "a header that is no base64",
            format!("!{head}.{claims}.{signature}"),
            "header cannot be read",
        ),
        (
            "a header that is no JSON",
            format!("{}.{claims}.{signature}", STANDARD.encode("{,}")),
            "header cannot be read",
        ),
        (
            "a bearer",
            format!("Bearer {whole}"),
            "header cannot be read",
        ),
        ("a huge token", "A".repeat(200_000), "parts cannot be read"),
        (
            "huge parts",
            format!("{}.{}.{signature}", "A".repeat(90_000), "A".repeat(90_000)),
            "header cannot be read",
        ),
    ] {
        cases.push(refused(name, token, reason));
    }
    cases.push(case(
        "bytes above ASCII",
        "é.é.é".as_bytes(),
        Some("not text"),
    ));

    let v1 = || (SCHEME, b"v1".to_vec());
    let signed = || (TOKEN, good().into_bytes());
    for (name, headers, reason) in [
        (
            "no headers",
            vec![],
            "x-restate-signature-scheme is missing",
        ),
        (
            "no scheme",
            vec![signed()],
            "x-restate-signature-scheme is missing",
        ),
        ("no token", vec![v1()], "x-restate-jwt-v1 is missing"),
        (
            "unsigned",
            vec![(SCHEME, b"unsigned".to_vec())],
            "not signed",
        ),
        (
            "unsigned with a token",
            vec![(SCHEME, b"unsigned".to_vec()), signed()],
            "not signed",
        ),
        (
            "a later scheme",
            vec![(SCHEME, b"v2".to_vec()), signed()],
            "signature scheme",
        ),
        (
            "a scheme that is no text",
            vec![(SCHEME, vec![0xFF]), signed()],
            "not text",
        ),
        (
            "the token twice",
            vec![v1(), signed(), signed()],
            "x-restate-jwt-v1 is there twice",
        ),
        (
            "a second token",
            vec![v1(), signed(), (TOKEN, b"x".to_vec())],
            "x-restate-jwt-v1 is there twice",
        ),
        (
            "two schemes",
            vec![v1(), (SCHEME, b"unsigned".to_vec()), signed()],
            "x-restate-signature-scheme is there twice",
        ),
    ] {
        cases.push(Case {
            name,
            headers,
            refused: Some(reason),
        });
    }
    cases
}

/// What was logged, for a test on one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// The warnings of this crate since the last time, and everything else.
    fn take(&self) -> (Vec<String>, String) {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        let warnings = text.lines().filter(|line| line.contains(" WARN durably"));
        (warnings.map(str::to_owned).collect(), text)
    }
}

/// On one thread, so that the log of the server can be captured.
fn alone(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = std::time::Duration::from_secs(300);
    let test = async { tokio::time::timeout(limit, test).await };
    assert!(runtime.block_on(test).is_ok(), "not within {limit:?}");
}

async fn two_keys() -> Server {
    Server::serving(
        |endpoint| endpoint.identity_key(public(1)).identity_key(public(2)),
        |server| server,
    )
    .await
}

/// Looks at the answer and at what was logged.
#[track_caller]
fn check(case: &Case, status: u16, body: &[u8], log: &Log) {
    let name = case.name;
    let (warnings, all) = log.take();
    let Some(reason) = case.refused else {
        assert_eq!(status, 200, "{name}: {warnings:?}");
        assert_eq!(wire::output(body), "x", "{name}");
        assert_eq!(warnings, [""; 0], "{name}");
        return;
    };
    assert_eq!(status, 401, "{name}");
    let [warning] = &warnings[..] else {
        panic!("{name}: {warnings:?}")
    };
    assert!(warning.contains(reason), "{name}: {warning}");
    assert!(
        warning.len() < 1000,
        "{name}: {} bytes of log",
        warning.len()
    );
    // What to do stands after a colon.
    assert!(
        warning.split(reason).nth(1).unwrap().contains(": "),
        "{name}: {warning}"
    );
    // The same answer whatever the reason.
    let text = std::str::from_utf8(body).unwrap();
    assert_eq!(
        text,
        "request identity check failed: the request must be signed by the server that this \
         endpoint trusts",
    );
    // Nothing that could be used again stands in a log that only has what we wrote.
    let ours = all.lines().filter(|line| line.contains(" durably"));
    for (header, value) in &case.headers {
        let value = String::from_utf8_lossy(value);
        if *header == TOKEN && value.len() > 20 {
            let secret = &value[value.len() - 20..];
            assert!(ours.clone().all(|line| !line.contains(secret)), "{name}");
        }
    }
}

#[test]
fn who_is_served_over_http2() {
    alone(async {
        let log = Log::default();
        let _guard = log.capture();
        let server = two_keys().await;
        let mut client = Client::connect(server.address).await;
        for prefix in ["", "/some/prefix", "/invoke/Plain/hold/discover"] {
            for case in cases() {
                let mut request = invocation(&format!("{prefix}{PATH}"));
                for (name, value) in &case.headers {
                    let value = http::HeaderValue::from_bytes(value).unwrap();
                    request.headers_mut().append(*name, value);
                }
                let (response, mut body) = client.open(request).await;
                let _ = body.send_data(wire::journal("x").into(), true);
                let (status, answer) = read(response.await.unwrap()).await;
                check(&case, status.as_u16(), &answer, &log);
            }
        }
    });
}

#[test]
fn who_is_served_over_http1() {
    alone(async {
        let log = Log::default();
        let _guard = log.capture();
        let server = two_keys().await;
        for case in cases() {
            let mut peer = Wild::connect(server.address).await;
            let mut head = crate::rig::head(PATH).into_bytes();
            for (name, value) in &case.headers {
                head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            let journal = wire::journal("x");
            head.extend(format!("content-length: {}\r\n\r\n", journal.len()).bytes());
            peer.send([head, journal].concat()).await;
            let (status, _, body) = peer.answer().await;
            check(&case, status, &body, &log);
        }
    });
}

#[test]
fn every_path_and_method_asks_for_a_signature_of_its_own() {
    alone(async {
        let log = Log::default();
        let _guard = log.capture();
        let server =
            Server::serving(|endpoint| endpoint.identity_key(public(1)), |server| server).await;
        let mut client = Client::connect(server.address).await;
        let long = format!("/{}", "long".repeat(10_000));
        for (method, path, audience, status) in [
            ("GET", "/discover", "/discover", 200),
            ("GET", "/some/prefix/discover", "/discover", 200),
            ("GET", "/health", "/health", 200),
            ("GET", "/discover", PATH, 401),
            ("GET", "/discover", "/some/prefix/discover", 401),
            // Known or not, everything is refused in the same way.
            ("GET", "/nowhere", "/discover", 401),
            ("POST", "/invoke/Nobody/home", PATH, 401),
            ("POST", "/invoke/Plain/echo/", PATH, 401),
            ("PUT", "/discover", PATH, 401),
            ("GET", &long, PATH, 401),
            // Signed for what is not there.
            ("GET", "/nowhere", "/nowhere", 404),
            ("POST", "/invoke/Nobody/home", "/invoke/Nobody/home", 404),
        ] {
            let (head, claims) = parts(audience, json!({}));
            let request = http::Request::builder()
                .method(method)
                .uri(format!("http://localhost{path}"))
                .header(SCHEME, "v1")
                .header(TOKEN, sign(&head, &claims, 1))
                .body(())
                .unwrap();
            let (response, _open) = client.open(request).await;
            let (got, _) = read(response.await.unwrap()).await;
            let (warnings, _) = log.take();
            assert_eq!(
                got.as_u16(),
                status,
                "{method} {path} for {audience}: {warnings:?}"
            );
            assert!(
                warnings.iter().all(|line| line.len() < 1000),
                "the log repeats the path"
            );
        }
    });
}
