//! Bytes as they are.

use std::ops::Deref;

use bytes::Bytes;

use super::{Decode, Encode};
use crate::error::BoxError;

/// Bytes that travel as they are, without a format.
///
/// As a handler's output they are announced as `application/octet-stream`; as its input they take
/// any content type, and an empty body too. (`Vec<u8>` and `Bytes` themselves are `serde` types and
/// hence JSON.)
///
/// # Examples
///
/// ```
/// use durably::{Decode, Encode, Raw};
///
/// let image = Raw::from(vec![0x89, b'P', b'N', b'G']);
/// let bytes = image.encode().unwrap();
/// assert_eq!(bytes, &b"\x89PNG"[..]);
/// assert_eq!(Raw::decode(bytes).unwrap(), image);
/// assert_eq!(image.len(), 4);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Raw(
    /// The bytes.
    pub Bytes,
);

impl Encode for Raw {
    const CONTENT_TYPE: &'static str = "application/octet-stream";
    const STABLE: bool = true;

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(self.0.clone())
    }
}

impl Decode for Raw {
    // A handler that reads raw bytes usually takes what others send, such as a webhook's form.
    const CONTENT_TYPE: &'static str = "*/*";
    const REQUIRED: bool = false;

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        Ok(Self(bytes))
    }
}

impl Deref for Raw {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl AsRef<[u8]> for Raw {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<B: Into<Bytes>> From<B> for Raw {
    fn from(bytes: B) -> Self {
        Self(bytes.into())
    }
}
