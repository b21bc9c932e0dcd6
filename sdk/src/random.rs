//! Random numbers that are the same in every attempt, and UUIDs made from them.
//!
//! In: a seed, from the Start message or derived from the invocation's id. Out: numbers. The
//! algorithms are fixed: another SDK version, or a port to another machine, must draw the same
//! numbers from the same seed, or journals recorded before would no longer match. They are
//! xoshiro256++ (Blackman, Vigna: "Scrambled linear pseudorandom number generators", 2019) with its
//! state filled by SplitMix64, as its authors recommend. Nothing here is fit for secrets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A generator of deterministic random numbers: xoshiro256++ seeded by SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut seed = seed;
        // Never the four zeros that xoshiro must not start from: SplitMix64's outputs are a
        // permutation of its states, and four successive states differ.
        Self {
            state: std::array::from_fn(|_| split_mix_64(&mut seed)),
        }
    }

    /// The next 64 random bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = self.state;
        let result = s0.wrapping_add(s3).rotate_left(23).wrapping_add(s0);
        let (t2, t3) = (s2 ^ s0, s3 ^ s1);
        self.state = [s0 ^ t3, s1 ^ t2, t2 ^ (s1 << 17), t3.rotate_left(45)];
        result
    }

    /// Fills the buffer; each 64 bits drawn give eight bytes, lowest first. What the last draw has
    /// left over is discarded.
    pub(crate) fn fill_bytes(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *byte = random;
            }
        }
    }

    /// A number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub(crate) fn f64(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * SCALE
    }

    /// A number below `n`, each with the same probability; 0 if `n` is 0.
    ///
    /// Lemire's multiplication ("Fast random integer generation in an interval", 2019): the upper
    /// half of the product is the number, and draws whose lower half would favour some are repeated.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            // 2⁶⁴ mod n; n is not 0 here, as nothing is below 0
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill_bytes(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Uuid(bytes)
    }
}

/// Advances the state and returns its next output.
fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The seed of an invocation whose Start message brings none (before service protocol v6): the
/// first eight bytes, big endian, of the SHA-256 of the invocation's id.
pub(crate) fn seed_from_id(id: &[u8]) -> u64 {
    let digest = Sha256::digest(id);
    digest
        .iter()
        .take(8)
        .fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// A universally unique identifier.
///
/// The ones a context makes are valid version 4 UUIDs and the same in every attempt of an
/// invocation, so they make good idempotency keys. In JSON, and wherever `serde` writes it, it is
/// its text form. With the feature `uuid` it converts from and to the `uuid` crate's type.
///
/// # Examples
///
/// ```
/// use durably::Uuid;
///
/// let uuid: Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
/// assert_eq!(uuid.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// assert_eq!(serde_json::to_string(&uuid).unwrap(), "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The UUID of these bytes, whatever its version.
    ///
    /// # Examples
    ///
    /// ```
    /// let nil = durably::Uuid::from_bytes([0; 16]);
    /// assert_eq!(nil.to_string(), "00000000-0000-0000-0000-000000000000");
    /// ```
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, in the order of the text form.
    ///
    /// # Examples
    ///
    /// ```
    /// let uuid: durably::Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
    /// assert_eq!(uuid.as_bytes()[0], 0x67);
    /// ```
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a hyphenated UUID.
///
/// # Examples
///
/// ```
/// use durably::{ParseUuidError, Uuid};
///
/// let error: ParseUuidError = "67e55044".parse::<Uuid>().unwrap_err();
/// assert!(error.to_string().contains("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in hexadecimal digits")]
pub struct ParseUuidError(());

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Self, ParseUuidError> {
        let mut digits = text.chars().enumerate();
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            for _ in 0..2 {
                let digit = match digits.next() {
                    Some((8 | 13 | 18 | 23, '-')) => digits.next(),
                    Some((8 | 13 | 18 | 23, _)) => None,
                    digit => digit,
                };
                let value = digit
                    .and_then(|(_, c)| c.to_digit(16))
                    .ok_or(ParseUuidError(()))?;
                *byte = *byte << 4 | value as u8;
            }
        }
        match digits.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(ParseUuidError(())),
        }
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Uuid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UUID as text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Uuid, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(feature = "uuid")]
impl From<Uuid> for uuid::Uuid {
    fn from(uuid: Uuid) -> Self {
        Self::from_bytes(uuid.0)
    }
}

#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for Uuid {
    fn from(uuid: uuid::Uuid) -> Self {
        Self(uuid.into_bytes())
    }
}

#[cfg(test)]
mod tests;
