//! From an invocation's input to a handler's argument.

use std::fmt;

use super::{Decode, Input};
use crate::error::{BoxError, TerminalError, causes, find_terminal};

/// The type of a handler's input argument.
///
/// Every [`Decode`] type is one, made from the body alone. [`KafkaEvent`](crate::KafkaEvent) also
/// reads the headers, and so can a type of your own:
///
/// # Examples
///
/// ```
/// use durably::{FromInput, Headers, Input, TerminalError};
///
/// /// A body and the tenant it came from.
/// struct FromTenant<T> { tenant: String, body: T }
///
/// impl<T: durably::Decode> FromInput for FromTenant<T> {
///     type Body = T; // clients send a `T`
///     const CONTENT_TYPE: &'static str = <T as FromInput>::CONTENT_TYPE;
///     const REQUIRED: bool = <T as FromInput>::REQUIRED;
///
///     fn from_input(input: Input) -> Result<Self, TerminalError> {
///         let Some(tenant) = input.headers().get("x-tenant").map(str::to_owned) else {
///             return Err(TerminalError::new("header x-tenant is missing").with_code(400));
///         };
///         Ok(Self { tenant, body: FromInput::from_input(input)? })
///     }
/// }
///
/// let input = Input::new(Headers::from_iter([("x-tenant", "acme")]), "7");
/// let order = FromTenant::<u32>::from_input(input).unwrap();
/// assert_eq!((&*order.tenant, order.body), ("acme", 7));
///
/// let input = Input::new(Headers::default(), "7");
/// assert_eq!(FromTenant::<u32>::from_input(input).err().unwrap().code(), 400);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a payload",
    label = "neither `serde::Deserialize` (owned) nor `durably::Decode`",
    note = "derive `serde::Deserialize` to receive it as JSON, wrap it in `durably::Raw` or `durably::Proto`, \
            or implement `durably::Decode` for a format of your own"
)]
pub trait FromInput: Sized {
    /// What a client sends as the body.
    type Body;

    /// The content type announced for the input.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(<String as durably::FromInput>::CONTENT_TYPE, "application/json");
    /// ```
    const CONTENT_TYPE: &'static str = "application/json";

    /// Whether the input must have a body.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{FromInput, KafkaEvent};
    ///
    /// assert!(<String as FromInput>::REQUIRED);
    /// assert!(!<KafkaEvent<String> as FromInput>::REQUIRED);
    /// ```
    const REQUIRED: bool;

    /// Makes the argument.
    ///
    /// # Errors
    ///
    /// When the input is not what the handler takes; the invocation ends with the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use durably::{FromInput, Headers, Input};
    ///
    /// assert_eq!(u32::from_input(Input::new(Headers::default(), "7")).unwrap(), 7);
    ///
    /// let error = u32::from_input(Input::new(Headers::default(), "seven")).unwrap_err();
    /// assert_eq!(error.code(), 400);
    /// ```
    fn from_input(input: Input) -> Result<Self, TerminalError>;
}

#[diagnostic::do_not_recommend]
impl<T: Decode> FromInput for T {
    type Body = Self;
    const CONTENT_TYPE: &'static str = <T as Decode>::CONTENT_TYPE;
    const REQUIRED: bool = <T as Decode>::REQUIRED;

    fn from_input(input: Input) -> Result<Self, TerminalError> {
        let (_, body) = input.into_parts();
        T::decode(body).map_err(|error| bad_input(&error))
    }
}

/// The terminal error for a body that could not be decoded: the decoder's own if it gave one,
/// otherwise a 400.
pub(crate) fn bad_input(error: &BoxError) -> TerminalError {
    find_terminal(&**error).unwrap_or_else(|| {
        let error = shortened(one_line(error).to_string());
        TerminalError::new(format_args!("the input cannot be decoded: {error}")).with_code(400)
    })
}

/// The beginning of a long text and its end, which tells the place. A decoder may quote all of the
/// input, and a message as long as the input could not be sent.
fn shortened(text: String) -> String {
    const BEGIN: usize = 300;
    const END: usize = 200;
    if text.len() <= BEGIN + END {
        return text;
    }
    let begin = text.floor_char_boundary(BEGIN);
    let end = text.ceil_char_boundary(text.len() - END);
    format!("{} … {}", &text[..begin], &text[end..])
}

/// The error and its causes, separated by colons.
fn one_line(error: &BoxError) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        write!(f, "{error}")?;
        causes(&**error).try_for_each(|cause| write!(f, ": {cause}"))
    })
}
