//! Request identity: only requests that the trusted server has signed are served.
//!
//! The server signs each request with an Ed25519 key: `x-restate-signature-scheme: v1` and, in
//! `x-restate-jwt-v1`, a JWT of algorithm EdDSA whose audience is the request's path. Public keys
//! come in at build time as `publickeyv1_…`; a request's headers, path and the time come in later;
//! out comes "trusted" or the reason why not, which is logged and never sent. Any header whatever
//! is an answer, not a panic. The key id in the token and claims that are not named here are ignored.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use http::HeaderMap;
use serde::Deserialize;

const SCHEME: &str = "x-restate-signature-scheme";
const TOKEN: &str = "x-restate-jwt-v1";
const KEY_PREFIX: &str = "publickeyv1_";

/// The public keys of the servers that an endpoint trusts. Empty: every request is trusted.
#[derive(Clone, Default)]
pub(crate) struct Identity {
    keys: Vec<VerifyingKey>,
}

impl Identity {
    /// Adds a key, written `publickeyv1_<base58 of its 32 bytes>`; an error says what is wrong.
    pub(crate) fn add(&mut self, key: &str) -> Result<(), String> {
        let encoded = key
            .strip_prefix(KEY_PREFIX)
            .ok_or_else(|| format!("it does not start with `{KEY_PREFIX}`"))?;
        let bytes = bs58::decode(encoded)
            .into_vec()
            .map_err(|error| format!("what follows `{KEY_PREFIX}` is not base58: {error}"))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|bytes: Vec<u8>| {
            format!("it has {} bytes, an Ed25519 public key has 32", bytes.len())
        })?;
        let key = VerifyingKey::from_bytes(&bytes)
            .map_err(|_| "its bytes are no Ed25519 public key".to_owned())?;
        if key.is_weak() {
            return Err("it is a weak key: anybody can make signatures for it".to_owned());
        }
        self.keys.push(key);
        Ok(())
    }

    /// Checks a request; `path` is without the prefix under which the endpoint is mounted.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        path: &str,
        now_secs: u64,
    ) -> Result<(), Distrust> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let header = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().ok_or(Distrust::MissingHeader(name))?;
            // Which of two is meant, somebody in between might see otherwise.
            if values.next().is_some() {
                return Err(Distrust::RepeatedHeader(name));
            }
            value.to_str().map_err(|_| Distrust::UnreadableHeader(name))
        };
        match header(SCHEME)? {
            "v1" => self.check_token(header(TOKEN)?, path, now_secs),
            "unsigned" => Err(Distrust::Unsigned),
            _ => Err(Distrust::UnknownScheme),
        }
    }

    /// The signature first: nothing else in a token means anything before it is right.
    fn check_token(&self, token: &str, path: &str, now_secs: u64) -> Result<(), Distrust> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Distrust::Malformed("parts"))?;
        let (head, claims) = signed.split_once('.').ok_or(Distrust::Malformed("parts"))?;

        let head: Head = decode(head).ok_or(Distrust::Malformed("header"))?;
        if head.alg != "EdDSA" {
            return Err(Distrust::WrongAlgorithm);
        }
        // A critical extension is one that must be refused by whoever does not know it.
        if head.crit.is_some() {
            return Err(Distrust::Malformed("header"));
        }

        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .ok()
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or(Distrust::Malformed("signature"))?;
        let signed = signed.as_bytes();
        if !self
            .keys
            .iter()
            .any(|key| key.verify_strict(signed, &signature).is_ok())
        {
            return Err(Distrust::WrongSignature);
        }

        let claims: Claims = decode(claims).ok_or(Distrust::Malformed("claims"))?;
        claims.check(path, now_secs)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("keys", &self.keys.len())
            .finish()
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    aud: Option<Audience>,
    exp: Option<f64>,
    iat: Option<f64>,
    nbf: Option<f64>,
}

/// A JWT names one audience or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Claims {
    /// All four must be there; the time is checked without leeway, whole seconds, both ends included.
    fn check(&self, path: &str, now_secs: u64) -> Result<(), Distrust> {
        let audience = self.aud.as_ref().ok_or(Distrust::MissingClaim("aud"))?;
        let expires = self.exp.ok_or(Distrust::MissingClaim("exp"))?;
        self.iat.ok_or(Distrust::MissingClaim("iat"))?;
        let not_before = self.nbf.ok_or(Distrust::MissingClaim("nbf"))?;

        let named = match audience {
            Audience::One(one) => one == path,
            Audience::Several(several) => several.iter().any(|one| one == path),
        };
        if !named {
            return Err(Distrust::WrongAudience);
        }
        // Seconds since 1970 are exact in an f64 for the next 285 million years.
        #[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
        let now = now_secs as f64;
        if now > expires {
            return Err(Distrust::Expired);
        }
        if now < not_before {
            return Err(Distrust::NotYetValid);
        }
        Ok(())
    }
}

/// Why a request is not trusted. For the log only: an answer that explained it would help forgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    #[error("the header {0} is missing: give the server that calls a request identity key")]
    MissingHeader(&'static str),
    #[error("the header {0} is there twice: find out which proxy in between adds it")]
    RepeatedHeader(&'static str),
    #[error("the header {0} is not text: find out who sends it, the server does not")]
    UnreadableHeader(&'static str),
    #[error("the request is not signed: give the server that calls a request identity key")]
    Unsigned,
    #[error(
        "the signature scheme is neither `v1` nor `unsigned`: update this program, if the server \
         was updated"
    )]
    UnknownScheme,
    #[error("the token's {0} cannot be read: find out who sends it, the server does not")]
    Malformed(&'static str),
    #[error("the token's algorithm is not EdDSA: find out who sends it, the server does not")]
    WrongAlgorithm,
    #[error(
        "no configured key matches the token's signature: add the public key of the server that \
         calls, which it logs when it starts, with `EndpointBuilder::identity_key`"
    )]
    WrongSignature,
    #[error("the token lacks the claim {0}: find out who sends it, the server does not")]
    MissingClaim(&'static str),
    #[error("the token is for another path: find out whether a proxy in between changes paths")]
    WrongAudience,
    #[error("the token has expired: if this goes on, compare the clocks")]
    Expired,
    #[error("the token is not valid yet: if this goes on, compare the clocks")]
    NotYetValid,
}

#[cfg(test)]
mod tests;
