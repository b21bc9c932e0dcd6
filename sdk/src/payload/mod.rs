//! How values become the bytes of inputs, outputs, state, promises and run results, and back.
//!
//! In: a value (to encode) or the bytes of a body (to decode). Out: bytes, or an error that says
//! which field is wrong. A handler's input additionally passes [`FromInput`], which sees the
//! request's headers.
//!
//! Any `serde` type is JSON without a wrapper, through blanket implementations. Types that do not
//! implement `serde` can therefore have formats of their own: [`Raw`], [`Proto`], [`Unstable`], and
//! whatever a user adds.

mod from_input;
mod input;
mod json;
mod proto;
mod raw;
mod unit;
mod unstable;

use bytes::Bytes;

pub use self::from_input::FromInput;
pub(crate) use self::from_input::bad_input;
pub use self::input::{Headers, Input};
pub use self::proto::Proto;
pub use self::raw::Raw;
pub use self::unstable::Unstable;
use crate::error::BoxError;

/// A value that can be written as the bytes of a payload.
///
/// **Every type that implements `serde::Serialize` has it, as JSON.** There is nothing to derive
/// and nothing to wrap: strings, numbers, your structs and enums, `Vec<Order>`, `serde_json::Value`.
///
/// * **`Vec<u8>` is a JSON array of numbers**, as `serde` sees it, four times as large as the bytes.
///   Use [`Raw`] for bytes.
/// * `()` and unit structs are an empty body. `None` is `null`.
/// * `HashMap` and `HashSet` are written in an order that differs from attempt to attempt. The
///   journal compares what a replaying handler sends with what it sent before, so use `BTreeMap`
///   (or an ordered map), or wrap the value in [`Unstable`].
///
/// Other formats: [`Raw`] (bytes as they are), [`Proto`] (protocol buffers), or your own.
///
/// # Examples
///
/// ```
/// use durably::Encode;
///
/// #[derive(serde::Serialize)]
/// struct Order { sku: String, quantity: u32 }
///
/// let order = Order { sku: "A-17".into(), quantity: 2 };
/// assert_eq!(order.encode().unwrap(), r#"{"sku":"A-17","quantity":2}"#);
/// assert_eq!(().encode().unwrap(), "");
/// assert_eq!(None::<u32>.encode().unwrap(), "null");
/// assert_eq!(vec![1_u8, 2].encode().unwrap(), "[1,2]"); // not two bytes!
/// ```
///
/// A format of your own, for a type that does not implement `serde`:
///
/// ```
/// use bytes::Bytes;
/// use durably::{BoxError, Decode, Encode};
///
/// /// One reading a line.
/// #[derive(Debug, PartialEq)]
/// struct Readings(Vec<f64>);
///
/// impl Encode for Readings {
///     const CONTENT_TYPE: &'static str = "text/csv";
///     const STABLE: bool = true;
///
///     fn encode(&self) -> Result<Bytes, BoxError> {
///         Ok(self.0.iter().map(|r| format!("{r}\n")).collect::<String>().into())
///     }
/// }
///
/// impl Decode for Readings {
///     const CONTENT_TYPE: &'static str = "text/csv";
///
///     fn decode(bytes: Bytes) -> Result<Self, BoxError> {
///         let text = std::str::from_utf8(&bytes)?;
///         Ok(Self(text.lines().map(str::parse).collect::<Result<_, _>>()?))
///     }
/// }
///
/// let readings = Readings(vec![20.5, 21.0]);
/// let bytes = readings.encode().unwrap();
/// assert_eq!(bytes, "20.5\n21\n");
/// assert_eq!(Readings::decode(bytes).unwrap(), readings);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as a payload",
    label = "neither `serde::Serialize` nor `durably::Encode`",
    note = "derive `serde::Serialize` to send it as JSON, wrap it in `durably::Raw` or `durably::Proto`, \
            or implement `durably::Encode` for a format of your own"
)]
pub trait Encode {
    /// The content type of the bytes, as announced for a handler's output.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(<String as durably::Encode>::CONTENT_TYPE, "application/json");
    /// ```
    const CONTENT_TYPE: &'static str;

    /// Whether the same value always gives the same bytes.
    ///
    /// Where it is false, a replay does not compare the payload with the recorded one.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Encode, Unstable};
    ///
    /// assert!(<String as Encode>::STABLE);
    /// assert!(!<Unstable<String> as Encode>::STABLE);
    /// ```
    const STABLE: bool;

    /// Writes the value.
    ///
    /// # Errors
    ///
    /// When the format cannot express the value, such as a JSON map whose keys are not text.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Encode;
    ///
    /// assert_eq!("hi".encode().unwrap(), "\"hi\"");
    /// ```
    fn encode(&self) -> Result<Bytes, BoxError>;
}

/// A value that can be read from the bytes of a payload.
///
/// **Every type that implements `serde::Deserialize` has it, as JSON**; the mirror image of
/// [`Encode`], where formats of your own are shown too. Borrowed types (`&str`) cannot be read;
/// take the owned one.
///
/// * `()` and unit structs accept and ignore any body. For every other JSON type an empty body is
///   an error, `Option` included: `None` is `null`.
/// * **`Vec<u8>` is a JSON array of numbers.** Use [`Raw`] for bytes.
/// * An error names the field it is about.
///
/// # Examples
///
/// ```
/// use durably::Decode;
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Order { lines: Vec<Line> }
/// #[derive(Debug, serde::Deserialize)]
/// struct Line { quantity: u32 }
///
/// let order = Order::decode(r#"{"lines":[{"quantity":2}]}"#.into()).unwrap();
/// assert_eq!(order.lines[0].quantity, 2);
///
/// let error = Order::decode(r#"{"lines":[{"quantity":"two"}]}"#.into()).unwrap_err();
/// assert!(error.to_string().starts_with("`lines[0].quantity`: invalid type: string \"two\""));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a payload",
    label = "neither `serde::Deserialize` (owned) nor `durably::Decode`",
    note = "derive `serde::Deserialize` to receive it as JSON, wrap it in `durably::Raw` or `durably::Proto`, \
            or implement `durably::Decode` for a format of your own"
)]
pub trait Decode: Sized {
    /// The content type of the bytes, as announced for a handler's input; `*/*` accepts any.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(<String as durably::Decode>::CONTENT_TYPE, "application/json");
    /// ```
    const CONTENT_TYPE: &'static str;

    /// Whether a handler's input must have a body: whether an empty one is an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{Decode, Raw};
    ///
    /// assert!(<String as Decode>::REQUIRED);
    /// assert!(!<() as Decode>::REQUIRED);
    /// assert!(!<Raw as Decode>::REQUIRED);
    /// ```
    const REQUIRED: bool = true;

    /// Reads a value. The bytes are the body's own; keeping a slice of them copies nothing.
    ///
    /// # Errors
    ///
    /// When the bytes are not a value of this type. A [`TerminalError`](crate::TerminalError) in
    /// the error's chain becomes the answer to the caller when the bytes were a handler's input;
    /// any other error becomes a terminal error with code 400.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::Decode;
    ///
    /// assert_eq!(u32::decode("7".into()).unwrap(), 7);
    /// ```
    fn decode(bytes: Bytes) -> Result<Self, BoxError>;
}

#[cfg(test)]
mod tests;
