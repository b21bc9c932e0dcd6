//! Tokens of every kind, right and wrong.

use ed25519_dalek::{Signer as _, SigningKey};
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_700_000_000;
const PATH: &str = "/invoke/Greeter/greet";

fn private(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> String {
    let bytes = key.verifying_key().to_bytes();
    format!("{KEY_PREFIX}{}", bs58::encode(bytes).into_string())
}

fn identity(seeds: &[u8]) -> Identity {
    let mut identity = Identity::default();
    for seed in seeds {
        identity.add(&public(&private(*seed))).unwrap();
    }
    identity
}

fn claims() -> Value {
    json!({ "aud": PATH, "exp": NOW + 60, "iat": NOW, "nbf": NOW - 60, "sub": "key" })
}

fn head() -> Value {
    json!({ "alg": "EdDSA", "typ": "JWT", "kid": "ignored" })
}

fn token(head: &Value, claims: &Value, key: &SigningKey) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(head), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes());
    format!("{signed}.{signature}")
}

fn headers(scheme: &str, token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SCHEME, HeaderValue::from_bytes(scheme.as_bytes()).unwrap());
    headers.insert(TOKEN, HeaderValue::from_bytes(token.as_bytes()).unwrap());
    headers
}

fn check(head: &Value, claims: &Value) -> Result<(), Distrust> {
    let token = token(head, claims, &private(1));
    identity(&[1]).check(&headers("v1", &token), PATH, NOW)
}

/// The claims with some of them replaced, or removed by `null`.
fn claims_with(changes: Value) -> Value {
    let mut all = claims();
    let (Value::Object(map), Value::Object(changes)) = (&mut all, changes) else {
        panic!()
    };
    for (name, value) in changes {
        match value {
            Value::Null => map.remove(&name),
            value => map.insert(name, value),
        };
    }
    all
}

#[test]
fn claims_are_checked() {
    let cases = [
        (json!({}), Ok(())),
        (json!({ "exp": NOW }), Ok(())),
        (json!({ "nbf": NOW }), Ok(())),
        (json!({ "exp": NOW as f64 + 0.5 }), Ok(())),
        (json!({ "aud": ["/elsewhere", PATH] }), Ok(())),
        (json!({ "exp": NOW - 1 }), Err(Distrust::Expired)),
        (json!({ "exp": 0 }), Err(Distrust::Expired)),
        (json!({ "exp": -5 }), Err(Distrust::Expired)),
        (json!({ "nbf": NOW + 1 }), Err(Distrust::NotYetValid)),
        (
            json!({ "aud": "/invoke/Greeter/other" }),
            Err(Distrust::WrongAudience),
        ),
        (
            json!({ "aud": "/prefix/invoke/Greeter/greet" }),
            Err(Distrust::WrongAudience),
        ),
        (json!({ "aud": "/discover" }), Err(Distrust::WrongAudience)),
        (json!({ "aud": [] }), Err(Distrust::WrongAudience)),
        (json!({ "aud": null }), Err(Distrust::MissingClaim("aud"))),
        (json!({ "exp": null }), Err(Distrust::MissingClaim("exp"))),
        (json!({ "iat": null }), Err(Distrust::MissingClaim("iat"))),
        (json!({ "nbf": null }), Err(Distrust::MissingClaim("nbf"))),
        (
            json!({ "exp": "never" }),
            Err(Distrust::Malformed("claims")),
        ),
        (json!({ "aud": 7 }), Err(Distrust::Malformed("claims"))),
    ];
    for (changes, expected) in cases {
        assert_eq!(
            check(&head(), &claims_with(changes.clone())),
            expected,
            "{changes}"
        );
    }
    assert_eq!(
        check(&head(), &json!([])),
        Err(Distrust::Malformed("claims"))
    );
}

#[test]
fn other_algorithms_are_refused() {
    for alg in ["none", "HS256", "RS256", "ES256", "eddsa", ""] {
        assert_eq!(
            check(&json!({ "alg": alg }), &claims()),
            Err(Distrust::WrongAlgorithm),
            "{alg}"
        );
    }
    assert_eq!(
        check(&json!({}), &claims()),
        Err(Distrust::Malformed("header"))
    );
    let critical = json!({ "alg": "EdDSA", "crit": ["exp"] });
    assert_eq!(
        check(&critical, &claims()),
        Err(Distrust::Malformed("header"))
    );
}

#[test]
fn any_key_may_match() {
    let token = token(&head(), &claims(), &private(2));
    let headers = headers("v1", &token);
    assert_eq!(identity(&[1, 2, 3]).check(&headers, PATH, NOW), Ok(()));
    assert_eq!(
        identity(&[1, 3]).check(&headers, PATH, NOW),
        Err(Distrust::WrongSignature)
    );
    assert_eq!(identity(&[]).check(&HeaderMap::new(), PATH, NOW), Ok(()));
}

#[test]
fn schemes_and_headers() {
    let good = token(&head(), &claims(), &private(1));
    let check = |headers: &HeaderMap| identity(&[1]).check(headers, PATH, NOW);
    assert_eq!(check(&headers("v1", &good)), Ok(()));
    assert_eq!(check(&headers("unsigned", &good)), Err(Distrust::Unsigned));
    for scheme in ["v2", "V1", "", " v1"] {
        assert_eq!(
            check(&headers(scheme, &good)),
            Err(Distrust::UnknownScheme),
            "{scheme}"
        );
    }
    let mut missing = headers("v1", &good);
    missing.remove(TOKEN);
    assert_eq!(check(&missing), Err(Distrust::MissingHeader(TOKEN)));
    let mut missing = headers("v1", &good);
    missing.remove(SCHEME);
    assert_eq!(check(&missing), Err(Distrust::MissingHeader(SCHEME)));
    let unreadable = headers("v1", "ä");
    assert_eq!(check(&unreadable), Err(Distrust::UnreadableHeader(TOKEN)));
}

#[test]
fn malformed_tokens() {
    let good = token(&head(), &claims(), &private(1));
    let parts: Vec<&str> = good.split('.').collect();
    let [head, claims, signature] = parts[..] else {
        panic!()
    };
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        head.into(),
        format!("{head}.{claims}"),
        format!("{head}.{claims}."),
        format!("{head}.{claims}.{signature}="),
        format!("{head}.{claims}.{signature}A"),
        format!("{head}.{claims}.{signature}.{signature}"),
        format!("{head}.{head}.{claims}.{signature}"),
        format!("{claims}.{claims}.{signature}"),
        format!("{head}.{head}.{signature}"),
        format!("!{head}.{claims}.{signature}"),
    ] {
        let refused = identity(&[1]).check(&headers("v1", &bad), PATH, NOW);
        assert!(refused.is_err(), "{bad}");
    }
}

#[test]
fn bad_keys_say_what_is_wrong() {
    let mut identity = Identity::default();
    let mut refused = |key: &str| identity.add(key).unwrap_err();
    let good = public(&private(1));
    let encode = |bytes: &[u8]| format!("{KEY_PREFIX}{}", bs58::encode(bytes).into_string());
    assert!(refused("").contains("does not start with"));
    assert!(refused(&good.replace("v1", "v2")).contains("does not start with"));
    assert!(refused("publickeyv1_0OIl").contains("not base58"));
    assert!(refused("publickeyv1_é").contains("not base58"));
    assert!(refused("publickeyv1_").contains("0 bytes"));
    assert!(refused(&encode(&[1; 31])).contains("31 bytes"));
    assert!(refused(&encode(&[1; 33])).contains("33 bytes"));
    let mut weak = [0_u8; 32];
    weak[0] = 1;
    assert!(refused(&encode(&weak)).contains("weak"));
    // y = 2 is on no point of the curve.
    let mut off = [0_u8; 32];
    off[0] = 2;
    assert!(refused(&encode(&off)).contains("no Ed25519 public key"));
    assert!(identity.add(&good).is_ok());
}

proptest! {
    #[test]
    fn no_header_panics(scheme in "v1|unsigned|.{0,4}", token in "[A-Za-z0-9_.=-]{0,200}|\\PC{0,60}") {
        if let (Ok(scheme), Ok(token)) =
            (HeaderValue::from_str(&scheme), HeaderValue::from_bytes(token.as_bytes()))
        {
            let mut headers = HeaderMap::new();
            headers.insert(SCHEME, scheme);
            headers.insert(TOKEN, token);
            prop_assert!(identity(&[1]).check(&headers, PATH, NOW).is_err());
        }
    }
}
