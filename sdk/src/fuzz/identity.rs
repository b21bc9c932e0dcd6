//! Request identity: any headers, and tokens that are almost right.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::plan::Plan;
use crate::endpoint::identity::Identity;

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const PATH: &str = "/invoke/Greeter/greet";
const SCHEME: &str = "x-restate-signature-scheme";
const TOKEN: &str = "x-restate-jwt-v1";

/// The first key is trusted, the other is not.
static KEYS: LazyLock<[SigningKey; 2]> = LazyLock::new(|| {
    [
        SigningKey::from_bytes(&[1; 32]),
        SigningKey::from_bytes(&[2; 32]),
    ]
});

static TRUSTED: LazyLock<Identity> = LazyLock::new(|| {
    let mut identity = Identity::default();
    let key = bs58::encode(KEYS[0].verifying_key().to_bytes()).into_string();
    identity.add(&format!("publickeyv1_{key}")).expect("a key");
    identity
});

/// `0, scheme (length first), token…` is checked as it is; `1, claims, changes (place, byte)…` makes
/// a token of the claims, signs it, and changes some of its bytes.
///
/// - A token is trusted only if it is, to the byte, what the trusted key signs, and says that it is for
///   this path and this time.
/// - One that is so is trusted.
/// - Any text is a public key or not.
///
/// # Panics
///
/// If one of these does not hold.
pub fn identity(data: &[u8]) {
    let mut plan = Plan::new(data);
    if plan.byte() & 1 == 0 {
        let scheme = plan.bytes();
        let token = plan.rest();
        let trusted = check(scheme, token, PATH);
        if trusted {
            let token = std::str::from_utf8(token).expect("text");
            assert!(
                scheme == b"v1" && is_signed(token) && is_valid(token),
                "{token}"
            );
        }
        let key = String::from_utf8_lossy(token);
        let _ = Identity::default().add(&key);
        let _ = Identity::default().add(&format!("publickeyv1_{key}"));
        return;
    }
    let (token, expected) = made(&mut plan);
    assert_eq!(check(b"v1", token.as_bytes(), PATH), expected, "{token}");
    assert!(!check(b"v1", token.as_bytes(), "/invoke/Greeter/other"));
    assert!(!check(b"unsigned", token.as_bytes(), PATH));

    let mut changed = token.clone().into_bytes();
    for _ in 0..8 {
        if plan.is_empty() {
            break;
        }
        let at = plan.number() as usize % (changed.len() + 1);
        match (plan.byte(), plan.byte()) {
            (0..=63, _) if at < changed.len() => drop(changed.remove(at)),
            (64..=127, byte) => changed.insert(at, byte),
            (128..=159, _) => changed.truncate(at),
            (_, byte) if at < changed.len() => changed[at] = byte,
            _ => {}
        }
    }
    if changed != token.as_bytes() {
        assert!(!check(b"v1", &changed, PATH), "{token} changed");
    }
}

fn check(scheme: &[u8], token: &[u8], path: &str) -> bool {
    let mut headers = HeaderMap::new();
    for (name, value) in [(SCHEME, scheme), (TOKEN, token)] {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return false;
        };
        headers.insert(name, value);
    }
    match TRUSTED.check(&headers, path, NOW) {
        Ok(()) => true,
        Err(reason) => {
            let reason = reason.to_string();
            assert!(!reason.is_empty() && reason.len() < 200, "{reason}");
            false
        }
    }
}

/// A token of the script's claims, and whether it is to be trusted.
fn made(plan: &mut Plan<'_>) -> (String, bool) {
    let audiences = [
        json!(PATH),
        json!(["/a", PATH]),
        json!("/discover"),
        json!([]),
        json!(7),
    ];
    let offsets = [0.0, 1.0, -1.0, 0.5, -0.5, 60.0, -60.0, 1e300];
    let (audience, expires, not_before) = (plan.below(5), plan.below(8), plan.below(8));
    let (algorithm, key) = (plan.below(4), plan.below(2));
    let missing = plan.below(16);

    let mut claims = json!({
        "aud": audiences[audience],
        "exp": NOW as f64 + offsets[expires],
        "nbf": NOW as f64 + offsets[not_before],
        "iat": NOW,
    });
    let names = ["aud", "exp", "nbf", "iat"];
    if let Some(name) = names.get(missing) {
        claims.as_object_mut().expect("an object").remove(*name);
    }
    let algorithms = ["EdDSA", "EdDSA", "none", "HS256"];
    let head = json!({ "alg": algorithms[algorithm], "kid": "k" });
    let is_valid = audience < 2
        && offsets[expires] >= 0.0
        && offsets[not_before] <= 0.0
        && algorithm < 2
        && missing >= names.len();
    (signed(&head, &claims, &KEYS[key]), is_valid && key == 0)
}

fn signed(head: &Value, claims: &Value, key: &SigningKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    sign(&format!("{}.{}", part(head), part(claims)), key)
}

fn sign(text: &str, key: &SigningKey) -> String {
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).to_bytes());
    format!("{text}.{signature}")
}

/// A good token, for seeds.
#[cfg(test)]
pub(super) fn token() -> String {
    made(&mut Plan::new(&[0, 5, 6, 0, 0, 9])).0
}

/// Whether the trusted key gives this very token. Signatures of Ed25519 have no chance in them.
fn is_signed(token: &str) -> bool {
    let signed = token.rsplit_once('.');
    signed.is_some_and(|(text, _)| sign(text, &KEYS[0]) == token)
}

/// Whether the claims say what they must; read without the library's types.
fn is_valid(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, _] = parts[..] else {
        return false;
    };
    let read = |part: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let (Some(head), Some(claims)) = (read(head), read(claims)) else {
        return false;
    };
    let number = |name: &str| claims[name].as_f64();
    let for_path = match &claims["aud"] {
        Value::Array(several) => several.iter().any(|one| one == PATH),
        one => one == PATH,
    };
    for_path
        && head["alg"] == "EdDSA"
        && number("exp").is_some_and(|expires| expires >= NOW as f64)
        && number("nbf").is_some_and(|not_before| not_before <= NOW as f64)
        && number("iat").is_some()
}
