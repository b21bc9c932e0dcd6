//! Ids of invocations and awakeables, as the server writes them.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    Engine, Origin, Submission,
    invocation::{Index, RawId},
};
use crate::random::Rng;

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
    /// The generator of an invocation's id and random seed. It depends on the runtime's seed and on who
    /// asks for what, never on who asks first: so the same invocation is called the same in each
    /// order of events. Of workflows and idempotency keys, the key says which invocation it is.
    pub(super) fn rng_of(&mut self, submission: &Submission, origin: Origin, by_key: bool) -> Rng {
        let mut hash = Fnv::new(self.seed);
        if by_key {
            hash.add(submission.service.as_bytes());
            hash.add(submission.key.as_deref().unwrap_or_default().as_bytes());
            hash.add(submission.handler.as_bytes());
            let key = submission.idempotency_key.as_deref();
            hash.add(key.unwrap_or_default().as_bytes());
            hash.add(submission.scope.as_deref().unwrap_or_default().as_bytes());
        } else {
            let made = match origin {
                Origin::Outside | Origin::Kafka => &mut self.made,
                Origin::Handler(index) => {
                    let parent = &mut self.invocations[index];
                    hash.add(&parent.raw);
                    &mut parent.made
                }
            };
            *made += 1;
            hash.add(&made.to_be_bytes());
        }
        Rng::new(hash.get())
    }

    /// An id that nobody has; that of an invocation by its key is the same, as on the server, when what was
    /// forgotten is done again.
    pub(super) fn new_raw_id(&self, rng: &mut Rng, by_key: bool, index: Index) -> RawId {
        loop {
            let mut raw = [0; 24];
            rng.fill_bytes(&mut raw);
            if self.archive.is_some() && !by_key {
                // Not all ids are in memory: the number makes it one that nobody has.
                raw[16..].copy_from_slice(&(index as u64).to_be_bytes());
            }
            if by_key || !self.by_raw.contains_key(&raw) {
                return raw;
            }
        }
    }
}

/// A hash that is the same everywhere and for ever: FNV-1a.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new(seed: u64) -> Self {
        let mut hash = Self(0xcbf2_9ce4_8422_2325);
        hash.add(&seed.to_be_bytes());
        hash
    }

    /// Adds a piece; pieces that are cut otherwise give another hash.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let length = (piece.len() as u64).to_be_bytes();
        for byte in piece.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}
