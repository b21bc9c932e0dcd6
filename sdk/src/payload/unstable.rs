//! Payloads whose bytes vary from attempt to attempt.

use bytes::Bytes;

use super::{Decode, Encode};
use crate::error::BoxError;

/// A payload whose bytes may differ each time it is written, such as anything with a `HashMap`.
///
/// When a handler is replayed, what it sends is compared with what the journal recorded, and a
/// difference stops the invocation with a journal mismatch. A `HashMap` has another order in each
/// process, so the same map gives other bytes. Prefer `BTreeMap`; where that is not possible, this
/// wrapper takes the payload out of the comparison. It changes nothing in the bytes.
///
/// # Examples
///
/// ```
/// use std::collections::HashMap;
/// use durably::{Decode, Encode, Unstable};
///
/// let stock = Unstable(HashMap::from([("A-17", 3), ("B-2", 0)]));
/// assert!(!<Unstable<HashMap<&str, u32>> as Encode>::STABLE);
///
/// let bytes = stock.encode().unwrap(); // {"A-17":3,"B-2":0} or {"B-2":0,"A-17":3}
/// let Unstable(read) = Unstable::<HashMap<String, u32>>::decode(bytes).unwrap();
/// assert_eq!(read["A-17"], 3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unstable<T>(
    /// The value.
    pub T,
);

impl<T: Encode> Encode for Unstable<T> {
    const CONTENT_TYPE: &'static str = T::CONTENT_TYPE;
    const STABLE: bool = false;

    fn encode(&self) -> Result<Bytes, BoxError> {
        self.0.encode()
    }
}

impl<T: Decode> Decode for Unstable<T> {
    const CONTENT_TYPE: &'static str = T::CONTENT_TYPE;
    const REQUIRED: bool = T::REQUIRED;

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        T::decode(bytes).map(Self)
    }
}

impl<T> From<T> for Unstable<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}
