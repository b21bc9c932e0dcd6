//! Protocol buffers through `prost`.

use bytes::Bytes;

use super::{Decode, Encode};
use crate::error::BoxError;

/// A protocol buffers message.
///
/// An empty body is the message with all fields at their defaults, as the format has it.
///
/// A `map` field that `prost` generated as a `HashMap` is written in varying order; have it
/// generated as a `BTreeMap` (`prost_build::Config::btree_map`) or send
/// [`Unstable`](crate::Unstable)`<Proto<M>>`.
///
/// # Examples
///
/// ```
/// use durably::{Decode, Encode, Proto};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Order {
///     #[prost(string, tag = "1")]
///     sku: String,
///     #[prost(uint32, tag = "2")]
///     quantity: u32,
/// }
///
/// let order = Proto(Order { sku: "A-17".into(), quantity: 2 });
/// let bytes = order.encode().unwrap();
/// assert_eq!(bytes, &b"\x0a\x04A-17\x10\x02"[..]);
/// assert_eq!(Proto::<Order>::decode(bytes).unwrap(), order);
/// assert_eq!(<Proto<Order> as Encode>::CONTENT_TYPE, "application/protobuf");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proto<M>(
    /// The message.
    pub M,
);

const PROTOBUF: &str = "application/protobuf";

impl<M: prost::Message> Encode for Proto<M> {
    const CONTENT_TYPE: &'static str = PROTOBUF;
    const STABLE: bool = true;

    fn encode(&self) -> Result<Bytes, BoxError> {
        Ok(self.0.encode_to_vec().into())
    }
}

impl<M: prost::Message + Default> Decode for Proto<M> {
    const CONTENT_TYPE: &'static str = PROTOBUF;
    const REQUIRED: bool = false;

    fn decode(bytes: Bytes) -> Result<Self, BoxError> {
        Ok(Self(M::decode(bytes)?))
    }
}

impl<M> From<M> for Proto<M> {
    fn from(message: M) -> Self {
        Self(message)
    }
}
