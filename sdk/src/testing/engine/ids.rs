//! Ids of invocations and awakeables, as the server writes them.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{Engine, invocation::RawId};

const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// `inv_1`, the partition key in 11 digits of base 62, the rest in 22.
pub(super) fn invocation_id(raw: &RawId) -> String {
    let (partition, rest) = raw.split_at(8);
    let mut id = "inv_1".to_owned();
    for (bytes, digits) in [(partition, 11), (rest, 22)] {
        let number = bytes
            .iter()
            .fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        let mut text = vec![b'0'; digits];
        let mut left = number;
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(left % 62) as usize];
            left /= 62;
        }
        id.extend(text.into_iter().map(char::from));
    }
    id
}

/// The id of an invocation that is known by names: of a workflow's run, or by its idempotency key. As on the
/// server it is the same one when what was forgotten is done again.
pub(super) fn known_raw_id<'a>(names: impl IntoIterator<Item = &'a str>) -> RawId {
    let mut hash = Sha256::new();
    for name in names {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut raw = [0; 24];
    raw.copy_from_slice(&digest[..24]);
    raw
}

/// The invocation and the signal that an awakeable's id names; `None` for an id in the form that came
/// before signals.
pub(super) fn parse_awakeable(id: &str) -> Result<Option<(RawId, u32)>, &'static str> {
    let parts = id.split_once("_1");
    let Some((kind @ ("sign" | "prom"), encoded)) = parts else {
        return Err("bad format");
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
    let bytes = bytes.map_err(|_| "bad format")?;
    let signal = bytes.split_first_chunk::<24>();
    let signal =
        signal.and_then(|(raw, rest)| Some((*raw, u32::from_be_bytes(rest.try_into().ok()?))));
    match (kind, signal) {
        (_, None) => Err("id doesn't match the expected type"),
        ("prom", Some(_)) => Ok(None),
        (_, Some(parsed)) => Ok(Some(parsed)),
    }
}

/// Whether the server could read this as an invocation's id.
pub(super) fn is_invocation_id(id: &str) -> bool {
    id.strip_prefix("inv_1").is_some_and(|digits| {
        digits.len() == 33 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

impl Engine {
    /// An id that nobody has.
    pub(super) fn new_raw_id(&mut self) -> RawId {
        loop {
            let mut raw = [0; 24];
            self.rng.fill_bytes(&mut raw);
            if !self.by_raw.contains_key(&raw) {
                return raw;
            }
        }
    }
}
