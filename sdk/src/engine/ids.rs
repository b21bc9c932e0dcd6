//! Ids of invocations and awakeables, as the server writes them.

use std::borrow::Cow;

use super::{
    Engine, Origin, Submission,
    invocation::{Index, RawId},
    keyed::KeyedId,
    submit::IdempotencyKey,
};
use crate::{
    protocol::ids::{base_62, base_64},
    random::Rng,
};

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

/// The kinds of resources that have ids.
const KINDS: [&str; 6] = ["inv", "sign", "prom", "dp", "sub", "snap"];

const BAD_LENGTH: &str = "bad length";
const BAD_DIGITS: &str = "base62 decode error";
const WRONG_KIND: &str = "id doesn't match the expected type";

/// The kind of an id, and what follows its version. The failures have the server's words.
fn kind_of(id: &str) -> Result<(&str, &str), Cow<'static, str>> {
    let Some((kind, rest)) = id.split_once('_') else {
        let why = if id.is_empty() {
            BAD_LENGTH
        } else {
            "bad format"
        };
        return Err(why.into());
    };
    if !KINDS.contains(&kind) {
        return Err(format!("unrecognized resource type: {kind}").into());
    }
    let (version, rest) = rest.split_at_checked(1).ok_or(BAD_LENGTH)?;
    if version != "1" {
        return Err("unrecognized codec version".into());
    }
    Ok((kind, rest))
}

/// The invocation and the signal that an awakeable's id names; `None` for an id in the form that came
/// before signals.
pub(super) fn parse_awakeable(id: &str) -> Result<Option<(RawId, u32)>, Cow<'static, str>> {
    let (kind, encoded) = kind_of(id)?;
    let decoded = base_64(encoded).map_err(|_| BAD_DIGITS).and_then(|bytes| {
        let (raw, signal) = bytes.split_first_chunk::<24>().ok_or(BAD_LENGTH)?;
        let signal = signal.try_into().map_err(|_| BAD_LENGTH)?;
        Ok((*raw, u32::from_be_bytes(signal)))
    });
    match (kind, decoded) {
        ("sign", Ok(parsed)) => Ok(Some(parsed)),
        ("prom", Ok(_)) => Ok(None),
        ("prom", Err(why)) => Err(why.into()),
        _ => Err(WRONG_KIND.into()),
    }
}

/// Whether the server could read this as an invocation's id.
pub(super) fn is_invocation_id(id: &str) -> bool {
    check_invocation_id(id).is_ok()
}

/// Why the server could not read this as an invocation's id, in its words.
pub(crate) fn check_invocation_id(id: &str) -> Result<(), Cow<'static, str>> {
    let (kind, digits) = kind_of(id)?;
    if kind != "inv" {
        return Err(WRONG_KIND.into());
    }
    if digits.len() != 33 {
        return Err(BAD_LENGTH.into());
    }
    let (partition, rest) = digits.split_at_checked(11).ok_or(BAD_LENGTH)?;
    let partition = base_62(partition).and_then(|number| u64::try_from(number).ok());
    match (partition, base_62(rest)) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(BAD_DIGITS.into()),
    }
}

impl Engine {
    /// The generator of an invocation's id and random seed. It depends on the runtime's seed and on who
    /// asks for what, never on who asks first: so the same invocation is called the same in each
    /// order of events. Of workflows and idempotency keys, the key says which invocation it is.
    pub(super) fn rng_of(&mut self, submission: &Submission, origin: Origin, by_key: bool) -> Rng {
        if by_key {
            let (key, scope) = (submission.key.as_deref(), submission.scope.as_deref());
            let idempotency_key = submission.idempotency_key.as_deref();
            let (service, handler) = (&submission.service, &submission.handler);
            return self.rng_by_key(service, key, handler, idempotency_key, scope);
        }
        let mut hash = Fnv::new(self.seed);
        let made = match origin {
            Origin::Outside | Origin::Kafka => &mut self.made,
            Origin::Handler(index) => {
                let parent = &mut self.invocations[index];
                hash.add(&parent.raw);
                if self.archive.is_some() {
                    // Of one that was forgotten and is made again the id is the same; its calls are others.
                    hash.add(&(index as u64).to_be_bytes());
                }
                &mut parent.made
            }
        };
        *made += 1;
        hash.add(&made.to_be_bytes());
        if let Origin::Handler(parent) = origin {
            self.touch(parent);
        }
        Rng::new(hash.get())
    }

    fn rng_by_key(
        &self,
        service: &str,
        key: Option<&str>,
        handler: &str,
        idempotency_key: Option<&str>,
        scope: Option<&str>,
    ) -> Rng {
        // Which run of a workflow it is, the workflow alone says, also where a handler gives an idempotency key.
        let is_run = self.catalog.run_of(service) == Some(handler);
        let idempotency_key = idempotency_key.filter(|_| !is_run);
        let mut hash = Fnv::new(self.seed);
        hash.add(service.as_bytes());
        hash.add(key.unwrap_or_default().as_bytes());
        hash.add(handler.as_bytes());
        hash.add(idempotency_key.unwrap_or_default().as_bytes());
        // The empty one is another than none.
        hash.add(&scope.map_or_else(Vec::new, |scope| [b"+", scope.as_bytes()].concat()));
        Rng::new(hash.get())
    }

    /// The id that the invocation of an idempotency key has, or would have.
    pub(crate) fn id_by_idempotency_key(&self, by: &IdempotencyKey) -> String {
        let (service, key, handler, idempotency_key, scope) = by;
        let (key, scope) = (key.as_deref(), scope.as_deref());
        let mut rng = self.rng_by_key(service, key, handler, Some(idempotency_key), scope);
        invocation_id(&raw_id(&mut rng))
    }

    /// The id that the run of a workflow has, or would have.
    pub(crate) fn id_of_run(&self, workflow: &KeyedId) -> String {
        let (service, scope) = (&workflow.service, workflow.scope.as_deref());
        // What is no workflow has no run; the server takes the usual name then.
        let run = self.catalog.run_of(service).unwrap_or("run");
        let mut rng = self.rng_by_key(service, Some(&workflow.key), run, None, scope);
        invocation_id(&raw_id(&mut rng))
    }

    /// An id that nobody has; that of an invocation by its key is the same, as on the server, when what was
    /// forgotten is done again.
    pub(super) fn new_raw_id(&self, rng: &mut Rng, by_key: bool, index: Index) -> RawId {
        loop {
            let mut raw = raw_id(rng);
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

fn raw_id(rng: &mut Rng) -> RawId {
    let mut raw = [0; 24];
    rng.fill_bytes(&mut raw);
    raw
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
